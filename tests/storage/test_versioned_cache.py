"""What was made from a file is cached until the file changes, within a limit."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from kymflow_zarr.storage.interface import Stat
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.storage.memory import MemoryStorage
from kymflow_zarr.storage.versioned_cache import VersionedCache


def value(size: int) -> np.ndarray[Any, Any]:
    return np.zeros(size, "uint8")


Cache = VersionedCache[np.ndarray[Any, Any]]
FIRST, SECOND = Stat(1, 1), Stat(1, 2)


def test_a_value_holds_for_one_version_of_its_file() -> None:
    cache = Cache(MemoryStorage(), 100)
    old, new = value(10), value(11)
    cache.put(FIRST, "a", old)
    assert cache.get(FIRST, "a") is old
    assert cache.get(SECOND, "a") is None
    assert cache.get(None, "a") is None
    cache.put(SECOND, "a", new)
    assert cache.get(FIRST, "a") is None
    assert cache.get(SECOND, "a") is new
    assert cache.get(SECOND, "a", "part") is None


def test_what_was_used_least_recently_makes_room() -> None:
    cache = Cache(MemoryStorage(), 100)
    for number in range(10):
        cache.put(FIRST, "a", value(10), number)
    assert cache.get(FIRST, "a", 0) is not None
    cache.put(FIRST, "b", value(20))
    assert [n for n in range(10) if cache.get(FIRST, "a", n) is None] == [1, 2]
    cache.put(FIRST, "c", value(101))  # Larger than all of it.
    assert cache.get(FIRST, "c") is None
    assert len(cache) == 9


def test_a_file_that_could_change_unnoticed_has_no_version(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    cache = Cache(LocalStorage(tmp_path, writable=False), 100)
    assert cache.version("a") is None  # Written a moment ago.
    assert cache.version("missing") is None
    os.utime(tmp_path / "a", (1, 1))
    assert cache.version("a") == Stat(1, 10**9)


def test_a_cache_travels_empty() -> None:
    cache = Cache(MemoryStorage(), 100)
    cache.put(FIRST, "a", value(1))
    assert len(pickle.loads(pickle.dumps(cache))) == 0
