"""A folder that becomes visible in one step, complete, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from kymflow_zarr._schema._checksums import FileSum
from kymflow_zarr._storage._disk import disk
from kymflow_zarr._storage._files import os_errors, sync_all


class StagedTree:
    """Files on their way into a dataset; leaving the ``with`` block uncommitted drops them.

    Parameters
    ----------
    folder : Path
        An empty folder on the file system of the dataset.
    root : Path
        The dataset's folder.
    durable : bool
        Whether the commit survives a power loss.
    in_use : callable
        Keeps the folder from being tidied up in a ``with`` block.

    Attributes
    ----------
    sums : dict of str to FileSum
        Size and digest of each file, by its key below the tree.
    """

    def __init__(
        self,
        folder: Path,
        *,
        root: Path,
        durable: bool,
        in_use: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self.in_use = in_use
        self.sums: dict[str, FileSum] = {}
        self._folder = folder
        self._root = root
        self.durable = durable
        self.folders = {folder}
        self.committed = False

    def write(self, key: str, data: bytes | memoryview) -> FileSum:
        """Add a file at a key below the tree and return what it is."""
        path = self._path(key)
        with os_errors("write", key):
            self._make(path.parent)
            disk().create(path, data)
        self.sums[key] = FileSum(len(data), hashlib.sha256(data).hexdigest())
        return self.sums[key]

    def _path(self, key: str) -> Path:
        return self._folder.joinpath(*key.split("/"))

    def _make(self, folder: Path) -> None:
        if folder not in self.folders:
            self._make(folder.parent)
            disk().make_folder(folder)
            self.folders.add(folder)

    def commit(self, key: str) -> bool:
        """Make the tree visible at a key; False, and nothing done, if something is there."""
        return commit_trees([(self, key)])[0]

    @property
    def folder(self) -> Path:
        """Where it is until it is committed."""
        return self._folder

    @property
    def files(self) -> list[Path]:
        """Where its files are now."""
        return [self._path(key) for key in self.sums]

    def place(self, key: str) -> Path:
        """Return the path of a key of the dataset."""
        return self._root.joinpath(*key.split("/"))

    def take_place(self, target: Path) -> bool:
        """Go to a path; False if something is there. Of :func:`commit_trees`."""
        # POSIX would let a folder replace an empty one; a record's is never empty.
        try:
            disk().rename_folder(self._folder, target)
        except OSError:
            if target.is_dir():
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
            # What cannot be deleted now is swept when this writer is dead.
            with contextlib.suppress(OSError):
                disk().remove_tree(self._folder)


def sync_trees(trees: Iterable[StagedTree]) -> None:
    """Put all that trees hold on the disk.

    Of those that are not durable only the content of the files: a file system keeps its names
    in order by itself, and not what they name. So what is seen after a power loss is whole.
    """
    trees = list(trees)
    sync_all(
        [path for tree in trees for path in tree.files],
        [folder for tree in trees if tree.durable for folder in tree.folders],
    )


def commit_trees(trees: Sequence[tuple[StagedTree, str]]) -> list[bool]:
    """Make trees visible, each at its key and each in one step.

    They share what it costs to put them on the disk.

    Returns
    -------
    list of bool
        False for one that was not committed, because something is there.
    """
    committed: list[bool] = []
    with os_errors("write", trees[0][1] if trees else ""), contextlib.ExitStack() as stack:
        for tree, _ in trees:
            stack.enter_context(tree.in_use())
        sync_trees(tree for tree, _ in trees)
        targets = [tree.place(key) for tree, key in trees]
        for (tree, _), target in zip(trees, targets, strict=True):
            committed.append(tree.take_place(target))
        sync_all(
            (), {t.parent for (tree, _), t in zip(trees, targets, strict=True) if tree.durable}
        )
    return committed
