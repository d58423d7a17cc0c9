"""Staged folders, which become visible in one rename, complete or not at all."""

from __future__ import annotations

import contextlib
import functools
import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kymflow_zarr.runtime.background import Content, arrived, finished, in_background
from kymflow_zarr.runtime.lease import committing
from kymflow_zarr.runtime.parallel import host_token
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.storage.interface import check_key
from kymflow_zarr.storage.local.disk import disk
from kymflow_zarr.storage.local.files import os_errors, sync_all


class StagedTree:
    """Staged files of a dataset; leaving the ``with`` block before they are published drops them.

    Parameters
    ----------
    folder : Path
        An empty folder on the file system of the dataset.
    root : Path
        The dataset's folder.
    durable : bool
        True if publishing must survive a power cut.
    in_use : callable
        Returns a context manager that keeps the folder from being swept.
    is_for_another_host : bool
        True if another host publishes the tree. An fsync there does not reach what this host
        has in its cache, so it is made here, when the tree is handed over.

    Attributes
    ----------
    folder : Path
        The files until they are published.
    sums : dict of str to FileSum
        Size and digest of each file, by its key below the tree.
    files : list of str
        Their paths.
    folders : dict of str to str
        The path of each folder, by its key below the tree.
    """

    def __init__(
        self,
        folder: Path,
        *,
        root: Path,
        durable: bool,
        in_use: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
        is_for_another_host: bool = False,
    ) -> None:
        self.in_use = in_use
        self._is_for_another_host = is_for_another_host
        self.sums: dict[str, FileSum] = {}
        self.folder = folder
        self.durable = durable
        self.committed = False
        self._root = root
        # Paths as str: an image has many files, and pathlib is slow.
        self.folders = {"": str(folder)}
        self.files: list[str] = []

    def write(self, key: str, data: Content) -> FileSum:
        """Write a file at a key below the tree; return its size and digest."""
        with os_errors("write", key):
            path = self._place(check_key(key))
        content = arrived(data)
        file_sum = in_background(functools.partial(FileSum.of, content), size=len(content))
        with os_errors("write", key):
            disk().create(path, content)
        self.files.append(path)
        self.sums[key] = finished(file_sum)
        return self.sums[key]

    @property
    def area(self) -> str:
        """Host and path of the folder, in which others can be staged."""
        return f"{host_token()}:{self.folder}"

    def __getstate__(self) -> dict[str, Any]:
        # Pickling hands the tree over to the process that publishes it.
        if self._is_for_another_host:
            with os_errors("write", str(self.folder)):
                sync_trees([self])
        return self.__dict__.copy()

    def read(self, key: str) -> bytes:
        """Return the bytes of a file that was written."""
        with os_errors("read back", key):
            return self.folder.joinpath(*key.split("/")).read_bytes()

    def publish(self, key: str) -> bool:
        """Make all files visible below a key, in one step; False if something is there."""
        return commit_trees([(self, key)])[0]

    def _place(self, key: str) -> str:
        """Return the path of a key below the tree, after creating its parents."""
        above, _, name = key.rpartition("/")
        folder = self.folders.get(above)
        if folder is None:
            folder = self._place(above)
            disk().make_folder(folder)
            self.folders[above] = folder
        return f"{folder}{os.sep}{name}"

    def place(self, key: str) -> str:
        """Return the path of a key of the dataset; raise StorageError if it leads out of it."""
        return f"{self._root}{os.sep}{check_key(key).replace('/', os.sep)}"

    def take_place(self, target: str) -> bool:
        """Rename the folder to its target; return False if the target exists."""
        # POSIX lets rename replace an empty folder, but the folder of a record is never empty.
        try:
            disk().rename_folder(self.folder, target)
        except OSError:
            if os.path.isdir(target):  # noqa: PTH112 - see `folders`
                return False
            raise
        self.committed = True
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.committed:
            # The next writer deletes what cannot be deleted now.
            with contextlib.suppress(OSError):
                disk().remove_tree(self.folder)


def staged_in(area: str, *, root: Path, durable: bool) -> StagedTree:
    """Return a tree inside the folder of another tree, whose owner keeps it in use."""
    host, _, path = area.partition(":")
    folder = Path(path) / uuid.uuid4().hex
    with os_errors("write", path):
        disk().make_folder(folder)
    foreign = host != host_token()
    return StagedTree(folder, root=root, durable=durable, is_for_another_host=foreign)


def sync_trees(trees: Iterable[StagedTree]) -> None:
    """Fsync all files of trees, and the folders of those that are durable.

    Journaling file systems keep the order of renames, but not that of file content: if the
    content is fsynced first, a file that is visible after a power cut is whole.
    """
    trees = list(trees)
    sync_all(
        [path for tree in trees for path in tree.files],
        [folder for tree in trees if tree.durable for folder in tree.folders.values()],
    )


def commit_trees(trees: Sequence[tuple[StagedTree, str]]) -> list[bool]:
    """Publish trees, each atomically at its key; they share the cost of fsync.

    Returns
    -------
    list of bool
        False for each that was not published because its key is taken.
    """
    with os_errors("write", trees[0][1] if trees else ""):
        return _commit_in_use(trees, [*{tree.in_use for tree, _ in trees}])


def _commit_in_use(
    trees: Sequence[tuple[StagedTree, str]],
    in_use: Sequence[Callable[[], AbstractContextManager[None]]],
) -> list[bool]:
    # Not an ExitStack: Ctrl-C between two of its bytecodes leaves in use what it has just entered.
    if in_use:
        with in_use[0]():
            return _commit_in_use(trees, in_use[1:])
    committed: list[bool] = []
    with committing():
        sync_trees(tree for tree, _ in trees)
        targets = [tree.place(key) for tree, key in trees]
        for (tree, _), target in zip(trees, targets, strict=True):
            committed.append(tree.take_place(target))
        pairs = zip(trees, targets, strict=True)
        durable = [target for (tree, _), target in pairs if tree.durable]
        sync_all((), {os.path.dirname(target) for target in durable})  # noqa: PTH120 - as above
    return committed
