"""Locks between writers: threads of this process, and processes.

The operating system holds the lock of a lock file, so a writer that dies blocks no other. Ctrl-C
leaves no lock behind: see :mod:`kymflow_zarr.runtime.scopes`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from kymflow_zarr.errors import LockTimeoutError, StorageError
from kymflow_zarr.runtime.scopes import POLL_S, Scoped, Turn
from kymflow_zarr.storage.local.disk import allow_group
from kymflow_zarr.storage.local.files import os_errors
from kymflow_zarr.storage.local.work_dir import work_folder

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_TIMEOUT_S: Final = 120.0
_UNLOCK_ATTEMPTS: Final = 4
# "top" is always taken last, so it must not share a lock file with another scope.
_OWN_FILES: Final = {"top": "top", "recovery": "recovery"}
_NOT_FOLLOWED: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def lock_name(scope: str) -> str:
    """Return the name of the lock file of a scope; all others share 256 files."""
    return _OWN_FILES.get(scope) or hashlib.sha256(scope.encode()).hexdigest()[:2]


# Processes -----------------------------------------------------------------------------

# A process must never open a lock file again that it holds: over NFS it would get the lock a
# second time, and lose it when it closes the file. So threads queue up for each file first.
_queues: dict[str, list[Turn]] = {}
_lock_files: weakref.WeakSet[LockFile] = weakref.WeakSet()


class LockFile:
    """An operating system lock on a file, which is created if it does not exist.

    Parameters
    ----------
    path : Path
    owner : Scoped, optional
        The lock is released when its owner has ended; left out, by :meth:`end` only. An owner
        that is garbage-collected closes the file, and the operating system releases the lock.
    """

    def __init__(self, path: Path, owner: Scoped | None = None) -> None:
        self.path = path
        self._file: io.FileIO | None = None
        self._turn = Turn(_queues.setdefault(str(path), []), owner or self)
        _lock_files.add(self)

    def acquire(self, timeout_s: float) -> bool:
        """Take the lock; return False on timeout.

        Raises
        ------
        OSError
            If the file cannot be opened, or the file system has no locks.
        """
        end = time.monotonic() + timeout_s
        if not self._turn.wait(timeout_s):
            return False
        while not self._lock():
            if time.monotonic() >= end:
                self.end()
                return False
            time.sleep(POLL_S)
        return True

    def _lock(self) -> bool:
        if self._file is None:
            # A garbage-collected FileIO closes its descriptor, even if Ctrl-C ends this function.
            file = _open(self.path)
            if file is None:
                return False
            self._file = file
        return _try_lock(self._file)

    def is_live(self) -> bool:
        """Return True: a lock without another owner ends by :meth:`end`, or with this object."""
        return True

    def end(self) -> None:
        """Release the lock; may be called again."""
        if self._file is not None and not self._file.closed:
            for attempt in range(_UNLOCK_ATTEMPTS):
                with contextlib.suppress(OSError):
                    _unlock(self._file)
                    break
                time.sleep(0.01 * attempt)
            # Closing the descriptor releases the lock, too.
            with contextlib.suppress(OSError):
                self._file.close()
        self._turn.leave()

    def forget(self) -> None:
        """Close the file in a forked child: the lock is the parent's."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()


def _open(path: Path) -> io.FileIO | None:
    """Open a lock file; return None if Windows refuses because another process deletes it."""
    try:
        file = io.FileIO(path, "r+", opener=_create)
    except PermissionError as error:
        if sys.platform == "win32":
            return None
        try:
            # Another user created it. Opening it for reading is enough on most file systems.
            file = io.FileIO(path, "r", opener=_open_as_is)
        except OSError:
            raise error from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise StorageError(
            "a lock is not a file", where=str(path), hint="Delete it: none of our writers made it."
        )
    return file


def _create(path: str, flags: int) -> int:
    try:
        return _open_as_is(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT | _NOT_FOLLOWED, 0o666)
        allow_group(path, descriptor)
        return descriptor


def _open_as_is(path: str, flags: int) -> int:
    return os.open(path, flags | _NOT_FOLLOWED)


if sys.platform == "win32":

    def _try_lock(file: io.FileIO) -> bool:
        try:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
        return True

    def _unlock(file: io.FileIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:

    def _try_lock(file: io.FileIO) -> bool:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            error.filename = str(file.name)
            raise
        return True

    def _unlock(file: io.FileIO) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)


class TryLock(Scoped):
    """``with TryLock(path) as held:`` takes a lock file's lock if no writer has it."""

    def __init__(self, path: Path) -> None:
        self._file = LockFile(path, self)

    def begin(self) -> bool:
        """Return True if the lock was free."""
        return self._file.acquire(0)

    def end(self) -> None:
        """Release the lock."""
        self._file.end()


# Datasets ------------------------------------------------------------------------------


class Locks:
    """The locks of one dataset.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._thread = threading.local()

    def holds(self) -> list[weakref.ref[Hold]]:
        """Return the holds of this thread."""
        holds: list[weakref.ref[Hold]] = self._thread.__dict__.setdefault("holds", [])
        return holds

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the lock files that this thread holds."""
        holds = self.holds()
        if not holds:
            return ()
        live = [hold for ref in list(holds) if (hold := ref()) is not None]
        for hold in live:
            if not hold.is_live():
                hold.end()
        holds[:] = [weakref.ref(hold) for hold in live if hold.names]
        return tuple(name for hold in live for name in hold.names)

    def hold(
        self, scopes: Iterable[str], *, acquired: Callable[[set[str]], None] = lambda _: None
    ) -> Hold:
        """Lock scopes against other writers in a ``with`` block.

        Taking them in sorted order prevents deadlock. A lock file that this thread holds already
        stays with the outer block.

        Parameters
        ----------
        scopes : iterable of str
        acquired : callable
            Called with the names of the lock files when they are held.

        Raises
        ------
        LockTimeoutError
            If another writer holds one for longer than two minutes.
        """
        return Hold(self, self._root, scopes, acquired)

    def is_free(self, name: str) -> bool:
        """Return True if no living writer but this thread holds a lock file."""
        if name in self.held:
            return True
        with TryLock(work_folder(self._root, "locks") / f"{name}.lock") as free:
            return bool(free)


class Hold(Scoped):
    """The locks of some scopes, held in a ``with`` block; see :meth:`Locks.hold`."""

    def __init__(
        self,
        locks: Locks,
        root: Path,
        scopes: Iterable[str],
        acquired: Callable[[set[str]], None],
    ) -> None:
        self._locks, self._root, self._acquired = locks, root, acquired
        self._scopes = {lock_name(scope): scope for scope in scopes}
        self._files: dict[str, LockFile] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the lock files."""
        return tuple(self._files)

    def begin(self) -> None:
        """Take the locks."""
        new = sorted(set(self._scopes) - set(self._locks.held))
        self._locks.holds().append(weakref.ref(self))
        with os_errors("lock", ".kymflow_zarr"):
            folder = work_folder(self._root, "locks")
            for name in new:
                file = self._files[name] = LockFile(folder / f"{name}.lock", self)
                if not file.acquire(LOCK_TIMEOUT_S):
                    raise LockTimeoutError(
                        f"another writer has held the lock on {self._scopes[name]} "
                        f"for {LOCK_TIMEOUT_S:.0f} s",
                        where=str(self._root),
                        hint="Wait for it to finish, then call again.",
                    )
        self._acquired(set(new))

    def end(self) -> None:
        """Release the locks."""
        for file in list(self._files.values()):
            file.end()
        self._files.clear()
        with contextlib.suppress(ValueError):
            self._locks.holds().remove(weakref.ref(self))


def _after_fork() -> None:
    # The locks belong to the parent, whose threads do not exist in the child.
    for file in list(_lock_files):
        file.forget()
    _queues.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
