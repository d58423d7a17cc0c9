"""A base for read-only storages, and a file object that reads by ranges."""

from __future__ import annotations

import io
from typing import Any, NoReturn

from kymflow_zarr.storage.interface import OpenFile, Storage


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
        """Return an empty set: a read-only storage applies no changes."""
        return set()

    def recover(self) -> None:
        """Do nothing: there is nothing to recover."""

    def leftovers(self) -> dict[str, list[str]]:
        """Return an empty dict: there are no writers."""
        return {}

    def close(self) -> None:
        """Do nothing: reading acquires nothing."""


def readable_file(file: OpenFile | None) -> io.BufferedReader:
    """Return a file object that reads an open file of a storage; the caller closes that file.

    Raises
    ------
    FileNotFoundError
        If `file` is None.
    """
    if file is None:
        raise FileNotFoundError("the file is not there")
    return io.BufferedReader(_ReadableFile(file))


class _ReadableFile(io.RawIOBase):
    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from the position on; return the number of bytes."""
        data = self._file.read(self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
