"""Atomic changes of the files under one list of checksums, together with that list."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import dump, load, require_dataset
from kymflow_zarr.schema.base import updated_group
from kymflow_zarr.schema.checksums import FileSum, dump_checksums, updated_checksums
from kymflow_zarr.storage.interface import Staged, Storage, Transaction


class Change:
    """Pending changes to the files of an image, or to those at the top of the dataset.

    The caller holds the lock of the image, or the lock ``top``. The changes are committed when
    the ``with`` block ends, and dropped if it ends with an error.

    Parameters
    ----------
    storage : Storage
    prefix : str
        Key of the image; empty for the top.

    Attributes
    ----------
    prefix : str
    """

    def __init__(self, storage: Storage, prefix: str) -> None:
        self._storage = storage
        self.prefix = prefix
        self._files: dict[str, bytes] = {}
        self._trees: dict[str, Staged] = {}
        self._removed: list[str] = []

    def write(self, key: str, data: bytes) -> None:
        """Put bytes at a key below the group."""
        self._files[key] = data

    def find(self, key: str) -> bytes | None:
        """Return what a key below the group holds after the commit, None for nothing."""
        if key in self._files:
            return self._files[key]
        return self._storage.read(_join(self.prefix, key))

    @property
    def sums(self) -> dict[str, FileSum]:
        """Size and digest of each file put so far, by key below the group."""
        return {key: FileSum.of(data) for key, data in self._files.items()}

    def write_group(self, prefix: str, group: dict[str, Any]) -> None:
        """Put the ``zarr.json`` of a group, preserving keys that this code does not know."""
        key = _join(prefix, layout.GROUP)
        old = load(self._storage, _join(self.prefix, key))
        self.write(key, dump(group if old is None else updated_group(old, group)))

    def stage(self, key: str) -> Staged:
        """Return a staged folder that replaces whatever is at a key on commit."""
        tree = self._trees[key] = self._storage.stage(key=_join(self.prefix, key))
        return tree

    def remove(self, key: str) -> None:
        """Remove the file or folder at a key below the group."""
        self._removed.append(key)

    def __bool__(self) -> bool:
        return bool(self._files or self._trees or self._removed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            for tree in self._trees.values():
                tree.__exit__(kind, error, trace)

    def commit(self) -> None:
        """Commit all changes.

        Raises
        ------
        FileNotFoundError
            If the group does not exist.
        StorageError
            If writing fails. The changes are rolled back.
        SchemaValidationError
            If the list of checksums is damaged. It is not overwritten, so that the checksums
            of the other files are not lost.
        """
        if not self:
            return
        if not self.prefix and layout.GROUP not in self._files:
            # While mode "w" in another process has emptied the folder and not created the new
            # dataset yet, our files would belong to no dataset and block its creation.
            require_dataset(self._storage)
        with self._storage.transaction(self.prefix) as transaction:
            self.put_into(transaction)
        self._files, self._trees, self._removed = {}, {}, []

    def put_into(self, transaction: Transaction) -> None:
        """Add all changes, with the list of checksums, to a transaction that commits them."""
        derived = self._storage.derives_checksums
        listed = {} if derived else {layout.CHECKSUMS: self._checksums()}
        for key, data in (self._files | listed).items():
            transaction.put(_join(self.prefix, key), data)
        for key, tree in self._trees.items():
            transaction.put_staged(_join(self.prefix, key), tree)
        for key in self._removed:
            transaction.remove(_join(self.prefix, key))

    def _checksums(self) -> bytes:
        sums = {
            f"{folder}/{key}": file_sum
            for folder, tree in self._trees.items()
            for key, file_sum in tree.sums.items()
        }
        sums |= self.sums
        key = _join(self.prefix, layout.CHECKSUMS)
        data = self._storage.read(key)
        if data is None:
            return dump_checksums(sums)
        return updated_checksums(data, sums, (*self._removed, *self._trees), where=key)


def _join(prefix: str, key: str) -> str:
    return f"{prefix}/{key}" if prefix else key
