"""Files of a group changed together, with its list of checksums, all of it or nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import dump, load, require_dataset
from kymflow_zarr.schema.base import updated_group
from kymflow_zarr.schema.checksums import FileSum, dump_checksums, updated_checksums
from kymflow_zarr.storage.interface import Staged, Storage


class Change:
    """What is to become of the files of an image, or of those at the top of the dataset.

    The caller holds the lock of the image, or the lock ``top``. Nothing happens before the
    ``with`` block ends, and nothing at all if it ends with an error.

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

    def write_group(self, prefix: str, group: dict[str, Any]) -> None:
        """Put the ``zarr.json`` of a group, keeping the keys this code does not know."""
        key = _join(prefix, layout.GROUP)
        old = load(self._storage, _join(self.prefix, key))
        self.write(key, dump(group if old is None else updated_group(old, group)))

    def stage(self, key: str) -> Staged:
        """Return a folder that takes its place at a key, instead of one that is there."""
        tree = self._trees[key] = self._storage.stage()
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
        """Do all of it.

        Raises
        ------
        FileNotFoundError
            If the group is not there.
        StorageError
            If the disk refuses. The state is the one before.
        SchemaValidationError
            If the list of checksums is damaged: it is not written over, so that what it told
            of the other files is not lost.
        """
        if not self:
            return
        if not self.prefix and layout.GROUP not in self._files:
            # Between the two halves of mode "w", what is written would be of no dataset, and
            # nothing could be created in its folder any more.
            require_dataset(self._storage)
        listed = {layout.CHECKSUMS: self._checksums()}
        with self._storage.transaction(self.prefix) as transaction:
            for key, data in (self._files | listed).items():
                transaction.put(_join(self.prefix, key), data)
            for key, tree in self._trees.items():
                transaction.put_staged(_join(self.prefix, key), tree)
            for key in self._removed:
                transaction.remove(_join(self.prefix, key))
        self._files, self._trees, self._removed = {}, {}, []

    def _checksums(self) -> bytes:
        sums = {
            f"{folder}/{key}": found
            for folder, tree in self._trees.items()
            for key, found in tree.sums.items()
        }
        sums |= {key: FileSum.of(data) for key, data in self._files.items()}
        key = _join(self.prefix, layout.CHECKSUMS)
        data = self._storage.read(key)
        if data is None:
            return dump_checksums(sums)
        return updated_checksums(data, sums, (*self._removed, *self._trees), where=key)


def _join(prefix: str, key: str) -> str:
    return f"{prefix}/{key}" if prefix else key
