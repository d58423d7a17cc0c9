"""Single file operations that behave alike on Linux, macOS and Windows."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final

from kymflow_zarr.errors import KymflowZarrError, StorageError
from kymflow_zarr.storage.local.disk import disk
from kymflow_zarr.types import StrPath

# Below this, threads cost more than they save.
_SYNC_ALONE: Final = 4
_SYNC_THREADS: Final = 8

_HINTS: Final = {
    errno.ENOSPC: "The disk is full: make room and call again.",
    errno.EDQUOT: "The disk quota is used up: make room and call again.",
    errno.EACCES: "This user has no permission to do that there.",
    errno.EPERM: "This user has no permission to do that there.",
    errno.EROFS: "The file system is mounted read-only.",
    errno.EMFILE: "This process has too many files open.",
    errno.ENFILE: "This machine has too many files open.",
    errno.ENAMETOOLONG: "The path is too long for this file system.",
}


class os_errors:  # noqa: N801 - used as a function; a class costs a third of a generator
    """Turn an OSError of the body into a StorageError that says what to do.

    Parameters
    ----------
    doing, where : str
        What cannot be done then, and on what.
    """

    __slots__ = ("_doing", "_where")

    def __init__(self, doing: str, where: str) -> None:
        self._doing, self._where = doing, where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, KymflowZarrError):
            reason = error.strerror or type(error).__name__
            hint = _HINTS.get(error.errno or 0)
            doing = f"cannot {self._doing}: {reason}"
            raise StorageError(doing, where=self._where, hint=hint) from error


def write_file(path: Path, data: bytes | memoryview, *, durable: bool) -> None:
    """Write a new file; with `durable`, its bytes are on the disk when this returns."""
    disk().create(path, data)
    if durable:
        disk().sync(path)


def read_file(path: str) -> bytes:
    """Return the bytes of a file."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - called for every small file
        return file.readall()


class FileParts:
    """A file that is open, of which parts are read.

    Parameters
    ----------
    path : str
    key : str
        What errors call it.
    """

    def __init__(self, path: str, key: str) -> None:
        self._key = key
        self._file = open(path, "rb", buffering=0)  # noqa: PTH123, SIM115 - called for every chunk

    @property
    def size(self) -> int:
        """Bytes that it has."""
        with os_errors("read", self._key):
            return os.fstat(self._file.fileno()).st_size

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, fewer at the end."""
        with os_errors("read", self._key):
            self._file.seek(start)
            return self._file.read(size)

    def close(self) -> None:
        """Be done with it."""
        self._file.close()


def digest_file(path: Path) -> tuple[int, str]:
    """Return size in bytes and SHA-256, as 64 hexadecimal digits, of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def digest_of_bytes(data: bytes) -> str:
    """Return the SHA-256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sync_file(path: Path) -> None:
    """Put the bytes of a file that another library wrote on the disk."""
    disk().sync(path)


def append_lines(path: Path, lines: bytes) -> None:
    """Add whole lines to a file; they are on the disk when this returns.

    What a crash left of a line is ended first, so that it spoils no other.
    """
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                lines = b"\n" + lines
    disk().append(path, lines)
    disk().sync(path)


def sync_folder(path: Path) -> None:
    """Put the names in a folder on the disk, where the system has a call for it."""
    disk().sync_folder(path)


def replace(source: Path, target: Path) -> None:
    """Rename `source` to `target`, replacing a file, patient with programs that hold it."""
    disk().replace(source, target)


def rename_folder(source: Path, target: Path) -> None:
    """Rename a folder to a name that is free."""
    disk().rename_folder(source, target)


def remove_tree(path: Path) -> None:
    """Delete a folder and all below it; links are deleted, not followed."""
    disk().remove_tree(path)


def sync_all(files: Iterable[StrPath], folders: Iterable[StrPath] = ()) -> None:
    """Put files, and then the names in folders, on the disk.

    Several at once: a journaling file system writes them in one go, which costs little more
    than the first alone.
    """
    for paths, sync in ((list(files), disk().sync), (list(folders), disk().sync_folder)):
        if len(paths) < _SYNC_ALONE or not disk().waits:
            for path in paths:
                sync(path)
        else:
            try:
                done = _pool().map(sync, paths)
            except RuntimeError:
                # The main thread has ended, and no more threads are given to those that go on.
                done = map(sync, paths)
            list(done)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix="kymflow_zarr sync")


if hasattr(os, "register_at_fork"):
    # The threads of the pool are not there in a child.
    os.register_at_fork(after_in_child=_pool.cache_clear)
