"""Parquet files for DuckDB to read itself, from memory that nobody can change.

A query is not trusted: DuckDB has SELECT statements that write to each file it may open. Linux
alone has such memory with a name; elsewhere Arrow reads the files for DuckDB.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Final

from kymflow_zarr.storage.local.storage import Stat

__all__ = ["FileCache", "SealedFile"]

_FOLDER: Final = "/proc/self/fd"
# Where times are coarse, a file may change once more without getting another.
_SETTLED_NS: Final = 2_000_000_000
_KEPT_BYTES: Final = 256 << 20


class SealedFile:
    """A file in memory, empty until it is filled, and gone with this object.

    DuckDB must be told which files it may open before it sees a query, and that query tells
    which of them it is about.

    Attributes
    ----------
    path : str
    size : int
        Bytes in it.
    """

    def __init__(self) -> None:
        self.size = 0
        self._number = -1
        if sys.platform == "linux":
            flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
            self._number = os.memfd_create("table", flags)
        self.path = f"{_FOLDER}/{self._number}"

    @staticmethod
    def available() -> bool:
        """Whether the system has such memory."""
        return sys.platform == "linux" and os.path.isdir(_FOLDER)  # noqa: PTH112

    def fill(self, data: bytes) -> None:
        """Put bytes into it, for good."""
        if sys.platform == "linux":
            import fcntl

            left = memoryview(data)
            while left:
                left = left[os.write(self._number, left) :]
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self._number, fcntl.F_ADD_SEALS, seals)
            self.size = len(data)

    def __del__(self) -> None:
        if self._number >= 0:
            os.close(self._number)


class FileCache:
    """The files of the last queries, as long as the tables are what they were.

    To check a table and to copy it takes longer than many a query.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Stat, SealedFile]] = {}

    def get(self, name: str, stat: Stat | None) -> SealedFile | None:
        """Return the file of a table, if it is that of the table as it is now."""
        kept = self._kept.get(name)
        return kept[1] if kept is not None and kept[0] == stat else None

    def keep(self, name: str, stat: Stat | None, file: SealedFile) -> None:
        """Keep the file of a table that was so before it was read."""
        kept = {other: found for other, found in self._kept.items() if other != name}
        settled = stat is not None and time.time_ns() - stat.mtime_ns > _SETTLED_NS
        if stat is not None and settled and stat.size == file.size <= _KEPT_BYTES:
            kept[name] = stat, file
        while sum(found.size for _, found in kept.values()) > _KEPT_BYTES:
            del kept[next(iter(kept))]
        self._kept = kept
