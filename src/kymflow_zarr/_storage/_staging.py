"""A folder that becomes visible in one step, complete, or not at all."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from kymflow_zarr._storage._files import (
    os_errors,
    remove_tree,
    rename_folder,
    sync_folder,
    write_file,
)


class StagedTree:
    """Files on their way into a dataset; leaving the ``with`` block uncommitted drops them.

    Parameters
    ----------
    folder : Path
        An empty folder on the file system of the dataset.
    root : Path
        The dataset's folder.
    durable : bool
        Whether everything is on the disk before the commit.
    """

    def __init__(self, folder: Path, *, root: Path, durable: bool) -> None:
        self._folder = folder
        self._root = root
        self._durable = durable
        self._folders = {folder}
        self._committed = False

    def write(self, key: str, data: bytes | memoryview) -> None:
        """Add a file at a key below the tree."""
        path = self._folder.joinpath(*key.split("/"))
        with os_errors("write", key):
            self._make(path.parent)
            write_file(path, data, durable=self._durable)

    def _make(self, folder: Path) -> None:
        if folder not in self._folders:
            self._make(folder.parent)
            folder.mkdir()
            self._folders.add(folder)

    def commit(self, key: str) -> bool:
        """Make the tree visible at a key; False, and nothing done, if something is there."""
        target = self._root.joinpath(*key.split("/"))
        with os_errors("write", key):
            if self._durable:
                for folder in self._folders:
                    sync_folder(folder)
            # POSIX would let a folder replace an empty one; a record's is never empty.
            try:
                rename_folder(self._folder, target)
            except OSError:
                if target.is_dir():
                    return False
                raise
            self._committed = True
            if self._durable:
                sync_folder(target.parent)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._committed:
            remove_tree(self._folder)
