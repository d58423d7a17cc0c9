"""Digests of many files, several at a time."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeAlias

from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.errors import StorageError
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.storage.interface import Storage

Hashed: TypeAlias = FileSum | str | None
"""What a file is; why it cannot be read; None if it is not there."""

# Opened at once; SHA-256 lets other threads run, so that a few keep disk and cores busy.
_THREADS = 8
_AT_ONCE = 1000
_READ_BYTES = 1 << 20


class Hasher:
    """Hashes files, with or without an executor; a file is read in pieces, never whole.

    Parameters
    ----------
    storage : Storage
    executor : concurrent.futures.Executor, optional
        This thread if left out.
    own : bool
        Whether it is ours: without it this thread goes on.

    Attributes
    ----------
    files, size_bytes : int
        How many files were read, and how many bytes they held.
    """

    def __init__(
        self, storage: Storage, executor: Executor | None = None, *, own: bool = False
    ) -> None:
        self._hash = functools.partial(_hash, Reading(storage))
        self._executor = executor
        self._own = own
        self.files = 0
        self.size_bytes = 0

    def hash(self, files: Mapping[str, str]) -> Iterator[tuple[str, Hashed]]:
        """Yield name and digest of each file, given the keys of files by some name."""
        keys = list(files)
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            wanted = [files[key] for key in some]
            found: Iterator[Hashed]
            try:
                run = map if self._executor is None else self._executor.map
                found = run(self._hash, wanted)
            except RuntimeError:
                if not self._own:
                    raise
                # The main thread has ended, and no more threads are given to those that go on.
                found = map(self._hash, wanted)
            for key, hashed in zip(some, found, strict=True):
                self.files += 1
                self.size_bytes += hashed.size_bytes if isinstance(hashed, FileSum) else 0
                yield key, hashed


@contextmanager
def hashing(storage: Storage, executor: Executor | None) -> Iterator[Hasher]:
    """Give a hasher; it has threads of its own if there is no executor."""
    if executor is not None:
        yield Hasher(storage, executor)
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        yield Hasher(storage, threads, own=True)


def _hash(reading: Reading, key: str) -> Hashed:
    digest, size = hashlib.sha256(), 0
    try:
        with reading.storage.open(key) as file:
            if file is None:
                return None
            while data := file.read(size, _READ_BYTES):
                digest.update(data)
                size += len(data)
    except StorageError as error:
        cause = error.__cause__
        return cause.strerror or error.what if isinstance(cause, OSError) else error.what
    return FileSum(size, digest.hexdigest())
