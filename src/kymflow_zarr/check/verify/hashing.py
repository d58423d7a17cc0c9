"""Digests of many files, several at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.storage.local.files import digest_file

Hashed: TypeAlias = FileSum | str | None
"""What a file is; why it cannot be read; None if it is not there."""

# Opened at once; SHA-256 lets other threads run, so that a few keep disk and cores busy.
_THREADS = 8
_AT_ONCE = 1000


class Hasher:
    """Hashes files through an executor; a file is read in pieces, never whole.

    Parameters
    ----------
    executor : concurrent.futures.Executor
    own : bool
        Whether it is ours: without it this thread goes on.

    Attributes
    ----------
    files, size_bytes : int
        How many files were read, and how many bytes they held.
    """

    def __init__(self, executor: Executor, *, own: bool = False) -> None:
        self._executor = executor
        self._own = own
        self.files = 0
        self.size_bytes = 0

    def hash(self, paths: Mapping[str, Path]) -> Iterator[tuple[str, Hashed]]:
        """Yield key and digest of each file."""
        keys = list(paths)
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            wanted = [paths[key] for key in some]
            try:
                found = self._executor.map(_hash, wanted)
            except RuntimeError:
                if not self._own:
                    raise
                # The main thread has ended, and no more threads are given to those that go on.
                found = map(_hash, wanted)
            for key, hashed in zip(some, found, strict=True):
                self.files += 1
                self.size_bytes += hashed.size_bytes if isinstance(hashed, FileSum) else 0
                yield key, hashed


@contextmanager
def hashing(executor: Executor | None) -> Iterator[Hasher]:
    """Give a hasher; it has threads of its own if there is no executor."""
    if executor is not None:
        yield Hasher(executor)
        return
    with ThreadPoolExecutor(_THREADS) as threads:
        yield Hasher(threads, own=True)


def _hash(path: Path) -> Hashed:
    try:
        return FileSum(*digest_file(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return error.strerror or type(error).__name__
