"""A cache of what was made from files, valid while the files are unchanged."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Generic, Protocol, TypeVar

from kymflow_zarr.storage.interface import Stat, Storage


class _Measured(Protocol):
    @property
    def nbytes(self) -> int: ...


V = TypeVar("V", bound=_Measured)


class VersionedCache(Generic[V]):
    """What was made from files of one dataset last, each for one version of its file.

    It is thread-safe, and pickles without its content.

    Parameters
    ----------
    storage : Storage
    most_bytes : int
        What all values take at most; those used least recently are dropped.
    """

    def __init__(self, storage: Storage, most_bytes: int) -> None:
        self._storage = storage
        self._most = most_bytes
        self._values: OrderedDict[tuple[str, Any], tuple[Stat, V]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return VersionedCache, (self._storage, self._most)

    def __len__(self) -> int:
        return len(self._values)

    def version(self, key: str) -> Stat | None:
        """Return the version of a file; None if it is missing, or could change unnoticed."""
        stat = self._storage.stat(key)
        return stat if stat is not None and stat.settled else None

    def get(self, version: Stat | None, key: str, part: Any = None) -> V | None:
        """Return the value of this version of a file, or of a part of it; None if not cached."""
        if version is None:
            return None
        with self._lock:
            known = self._values.get((key, part))
            if known is None or known[0] != version:
                return None
            self._values.move_to_end((key, part))
            return known[1]

    def put(self, version: Stat | None, key: str, value: V, part: Any = None) -> None:
        """Cache a value; `version` is from before the file was read."""
        if version is None or value.nbytes > self._most:
            return
        with self._lock:
            before = self._values.pop((key, part), None)
            self._bytes += value.nbytes - (0 if before is None else before[1].nbytes)
            self._values[key, part] = version, value
            while self._bytes > self._most:
                self._bytes -= self._values.popitem(last=False)[1][1].nbytes
