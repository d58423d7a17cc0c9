"""Every change of a file system goes through here, so that tests can stand in its way.

Each method is one operation: :mod:`kymflow_zarr.testing` lets the n-th of them fail, or be
the last before a crash, and looks at what is left.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from kymflow_zarr.types import StrPath

# A virus scanner or a viewer on Windows holds a file for a moment; waits add up to about 2 s.
_RETRY_WAITS_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.5, 0.7)
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class Disk:
    """The operations of the operating system, alike on Linux, macOS and Windows.

    Attributes
    ----------
    waits : bool
        Whether syncing waits for hardware, so that several at once are worth threads.
    """

    waits = True

    def create(self, path: StrPath, data: bytes | memoryview) -> None:
        """Write a new file."""
        # Exclusive creation does not follow a link that somebody put there.
        descriptor = os.open(path, _NEW_FILE, 0o666)
        try:
            written = os.write(descriptor, data)
            if written < len(data):  # A single call takes at most 2 GB.
                rest = memoryview(data)
                while written < len(data):
                    written += os.write(descriptor, rest[written:])
        finally:
            os.close(descriptor)

    def append(self, path: Path, data: bytes) -> None:
        """Add bytes to a file, which is made if it is not there."""
        with path.open("ab") as file:
            file.write(data)

    def sync(self, path: StrPath) -> None:
        """Put the bytes of a file on the disk."""
        # Windows syncs only what is open for writing.
        descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)

    def sync_folder(self, path: StrPath) -> None:
        """Put the names in a folder on the disk, where the system has a call for it."""
        if sys.platform == "win32":
            return  # NTFS journals names; Windows cannot open a folder to sync it.
        self.sync(path)

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file, replacing another, patient with programs that hold it."""
        _patiently(lambda: source.replace(target))

    def rename_folder(self, source: StrPath, target: StrPath) -> None:
        """Rename a folder to a name that is free."""
        _patiently(lambda: os.rename(source, target))  # noqa: PTH104 - text is faster than paths

    def make_folder(self, path: StrPath) -> None:
        """Make a folder; FileExistsError if there is one."""
        os.mkdir(path)  # noqa: PTH102 - text is faster than paths

    def unlink(self, path: Path) -> None:
        """Delete a file or a link."""
        _patiently(path.unlink)

    def remove_folder(self, path: Path) -> None:
        """Delete an empty folder."""
        path.rmdir()

    def remove_tree(self, path: Path) -> None:
        """Delete a folder and all below it; links are deleted, not followed."""
        if path.is_symlink():
            path.unlink()
            return
        import shutil

        def make_writable_and_retry(function: Callable[..., object], name: str, _: object) -> None:
            if not os.path.lexists(name):
                return  # Another sweeper was faster.
            if not os.path.islink(name):  # noqa: PTH114 - chmod would follow it
                Path(name).chmod(stat.S_IRWXU)
            if function in (os.unlink, os.rmdir):
                function(name)
            else:  # The folder could not be opened or listed.
                shutil.rmtree(name)

        if sys.version_info >= (3, 12):
            shutil.rmtree(path, onexc=make_writable_and_retry)
        else:
            shutil.rmtree(path, onerror=make_writable_and_retry)

    def touch(self, path: Path) -> None:
        """Set the time of a file or folder to now."""
        os.utime(path)


_current: Disk = Disk()


def disk() -> Disk:
    """Return what carries operations out now."""
    return _current


@contextlib.contextmanager
def disk_replaced(other: Disk) -> Iterator[None]:
    """Let another carry them out, in all threads of this process; for tests."""
    global _current
    before, _current = _current, other
    try:
        yield
    finally:
        _current = before


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # fsync alone leaves the bytes in the cache of the drive there. Not all shares know this.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


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
