"""The writing half of a storage that can only be read: every call is refused."""

from __future__ import annotations

from typing import Any, NoReturn

from kymflow_zarr.storage.interface import Storage


class ReadOnlyStorage(Storage):
    """A base for storages that implement the reading half of the interface."""

    writable = False

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        self.require_writable()
        raise AssertionError("a read-only storage is writable")

    lock = stage = publish = transaction = put_derived = settled = create = _refuse

    def reader(self) -> Storage:
        """Return this storage."""
        return self

    def unfinished(self, prefix: str) -> set[str]:  # noqa: ARG002 - as the interface has it
        """Return nothing: no change of this storage is being applied."""
        return set()

    def recover(self) -> None:
        """Do nothing: there is nothing to recover."""

    def leftovers(self) -> dict[str, list[str]]:
        """Return nothing: there are no writers."""
        return {}

    def close(self) -> None:
        """Do nothing: reading acquires nothing."""
