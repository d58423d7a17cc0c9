"""Single file operations that behave alike on Linux, macOS and Windows."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from kymflow_zarr.errors import KymflowZarrError, StorageError

# A virus scanner or a viewer on Windows holds a file for a moment; waits add up to about 2 s.
_RETRY_WAITS_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.5, 0.7)

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


@contextlib.contextmanager
def os_errors(doing: str, where: str) -> Iterator[None]:
    """Turn an OSError of the body into a StorageError that says what to do."""
    try:
        yield
    except KymflowZarrError:
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        hint = _HINTS.get(error.errno or 0)
        raise StorageError(f"cannot {doing}: {reason}", where=where, hint=hint) from error


def write_file(path: Path, data: bytes | memoryview, *, durable: bool) -> None:
    """Write a new file; with `durable`, its bytes are on the disk when this returns."""
    # Exclusive creation does not follow a link that somebody put there.
    with path.open("xb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def digest_file(path: Path) -> tuple[int, str]:
    """Return size in bytes and SHA-256, as 64 hexadecimal digits, of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def sync_file(path: Path) -> None:
    """Put the bytes of a file that another library wrote on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def append_lines(path: Path, lines: bytes) -> None:
    """Add whole lines to a file; they are on the disk when this returns.

    What a crash left of a line is ended first, so that it spoils no other.
    """
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                lines = b"\n" + lines
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Put the names in a folder on the disk, where the system has a call for it."""
    if sys.platform == "win32":
        return  # NTFS journals names; Windows cannot open a folder to sync it.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace(source: Path, target: Path) -> None:
    """Rename `source` to `target`, replacing a file, patient with programs that hold it."""
    _patiently(lambda: source.replace(target))


def rename_folder(source: Path, target: Path) -> None:
    """Rename a folder to a name that is free."""
    _patiently(lambda: source.rename(target))


def _patiently(operation: Callable[[], object]) -> None:
    for wait_s in _RETRY_WAITS_S:
        try:
            operation()
        except PermissionError:
            # On POSIX a permission does not come by waiting.
            if sys.platform != "win32":
                raise
            time.sleep(wait_s)
        else:
            return
    operation()


def remove_tree(path: Path) -> None:
    """Delete a folder and all below it; links are deleted, not followed."""
    if path.is_symlink():
        path.unlink()
        return

    def make_writable_and_retry(function: Callable[..., object], name: str, _: object) -> None:
        if not os.path.lexists(name):
            return  # Another sweeper was faster.
        Path(name).chmod(stat.S_IRWXU)
        function(name)

    if sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=make_writable_and_retry)
    else:
        shutil.rmtree(path, onerror=make_writable_and_retry)
