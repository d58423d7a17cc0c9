"""A folder for the files that one writer stages, and a lock that shows the writer is alive.

Each writer has a folder below ``.kymflow_zarr/sessions`` and holds the lock of a file beside
it. The operating system drops the lock when the process ends, however it ends: if the lock of
a session can be taken, its writer is dead, and the next writer sweeps its folder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import uuid
import weakref
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from kymflow_zarr import layout
from kymflow_zarr.runtime.scopes import Guard, Scoped, Turn
from kymflow_zarr.storage.local.disk import (
    Disk,
    disk,
    register_session,
    unregister_session,
)
from kymflow_zarr.storage.local.files import sync_all
from kymflow_zarr.storage.local.locks import LockFile, TryLock
from kymflow_zarr.storage.local.work_dir import (
    LOCK_SUFFIX,
    journal_names,
    keep_reserve,
    session_names,
    work_folder,
)

_BEGIN_ATTEMPTS: Final = 100
# The sessions of this process that may have a folder.
_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


class Session:
    """The staging folder of one writer, created when it is first needed.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    durable : bool
        True if the folder must survive a power cut, as a journal that names it does.
    """

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.root = root
        self._durable = durable
        self._queue: list[Turn] = []
        self._open: tuple[int, Path] | None = None
        self._ending: weakref.finalize[..., Session] | None = None
        self._users: list[weakref.ref[InUse]] = []
        self._to_close = False

    def new_path(self) -> Path:
        """Return an unused path in the folder."""
        return self._folder() / uuid.uuid4().hex

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self._folder().name

    def _folder(self) -> Path:
        with Guard(self._queue):
            return self._opened()

    def _opened(self) -> Path:
        # A forked child shares the lock of its parent, but must not share its folder.
        if self._open is None or self._open[0] != os.getpid() or not self._open[1].is_dir():
            self._clean_up()
            self._open = os.getpid(), self._begin()
        return self._open[1]

    def _begin(self) -> Path:
        sessions = work_folder(self.root, "sessions")
        work_folder(self.root, "journal")
        _sessions.add(self)
        for _ in range(_BEGIN_ATTEMPTS):
            folder = sessions / uuid.uuid4().hex
            lock = LockFile(Path(f"{folder}{LOCK_SUFFIX}"))
            self._users = []
            # Before anything is created: what Ctrl-C leaves is deleted by the next call or with us.
            # Not disk(): garbage collection runs at any time, not as part of an operation.
            self._ending = weakref.finalize(
                self, _end, Disk(), folder, lock, os.getpid(), self._users
            )
            lock.acquire(float("inf"))
            # Another process may have swept the file before we locked it.
            if lock.path.exists():
                break
            self._clean_up()
        else:
            raise FileNotFoundError(errno.ENOENT, "its lock file does not stay", str(lock.path))
        try:
            disk().make_folder(folder)
            register_session(folder)
            keep_reserve(self.root)
            if self._durable:
                # The process that created these may have died before it fsynced them.
                sync_all((), [self.root, sessions.parent, sessions])
        except BaseException:
            self._clean_up()
            raise
        return folder

    def _clean_up(self) -> None:
        """Delete what was begun, even if in part; may be called again."""
        if self._ending is not None and (parts := self._ending.peek()) is not None:
            _, _, (_, *rest), _ = parts
            _end(disk(), *rest)
            self._ending.detach()

    def in_use(self) -> InUse:
        """Keep the folder for a ``with`` block that uses its files."""
        return InUse(self)

    def enter(self, user: InUse) -> None:
        """Register a user of the folder."""
        with Guard(self._queue):
            self._opened()
            self._users.append(weakref.ref(user))

    def leave(self, user: InUse) -> None:
        """Unregister a user; may be called again."""
        with contextlib.suppress(ValueError):
            self._users.remove(weakref.ref(user))
        if self._to_close:
            self.close()

    def close(self) -> None:
        """Delete the folder and its content; if it is in use, its last user does."""
        with Guard(self._queue):
            self._to_close = in_use = _is_in_use(self._users)
            if not in_use:
                self._open = None
                self._clean_up()

    def forget_threads(self) -> None:
        """Forget the waiting threads, which do not exist in a forked child."""
        self._queue = []

    def abandon(self) -> None:
        """Simulate the death of the process: release the lock and leave all files."""
        self._open = None
        detached = None if self._ending is None else self._ending.detach()
        if detached is not None:
            _, _, (_, folder, lock, _, _), _ = detached
            unregister_session(folder)
            lock.end()


class InUse(Scoped):
    """Keeps the folder of a session in a ``with`` block; see :meth:`Session.in_use`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(self) -> None:
        """Keep the folder."""
        self._session.enter(self)

    def end(self) -> None:
        """Release the folder."""
        self._session.leave(self)


def _is_in_use(users: Iterable[weakref.ref[InUse]]) -> bool:
    return any((user := ref()) is not None and user.is_live() for ref in list(users))


def _after_fork() -> None:
    for session in list(_sessions):
        session.forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def abandon_sessions(touched: Iterable[Path]) -> None:
    """Simulate the death of this process's writers on the datasets of some paths; for tests.

    Their locks are released, and their files are left.
    """
    touched = list(touched)
    for session in list(_sessions):
        if any(path.is_relative_to(session.root) for path in touched):
            session.abandon()


def sweep(root: Path, *, spare: Collection[Path] = ()) -> list[Path]:
    """Delete the folders of dead writers and return their paths.

    Parameters
    ----------
    root : Path
    spare : collection of Path
        Session folders to leave, because a journal still needs them.
    """
    return [folder for folder in dead_sessions(root, spare=spare) if _swept(folder)]


def dead_sessions(root: Path, *, spare: Collection[Path] = ()) -> list[Path]:
    """Return the folders of writers that are certainly dead."""
    folders = [root / layout.WORK / "sessions" / name for name in session_names(root)]
    return [folder for folder in folders if folder not in spare and is_dead(root, folder.name)]


def is_dead(root: Path, name: str) -> bool:
    """Return True if the writer of a session is certainly dead."""
    path = root / layout.WORK / "sessions" / f"{name}{LOCK_SUFFIX}"
    if not path.exists():
        return True
    try:
        with TryLock(path) as free:
            return bool(free)
    except PermissionError:
        return False  # Another user's, which we may not open.


def _swept(folder: Path) -> bool:
    """Delete a dead writer's folder; return False if it lives, is being swept, or is not ours."""
    lock = LockFile(Path(f"{folder}{LOCK_SUFFIX}"))
    try:
        # We hold the lock meanwhile: a writer about to begin there waits, then finds no file.
        if not lock.acquire(0) or _has_journal(folder):
            return False  # Its writer may have committed and died since we read the journals.
        with contextlib.suppress(FileNotFoundError):
            disk().remove_tree(folder)
        _unlink_and_release(disk(), lock)
    except PermissionError:
        return False  # Another user's; that user's next session sweeps it.
    finally:
        lock.end()
    return True


def _has_journal(folder: Path) -> bool:
    """Return True if a journal needs what is in the folder of a session."""
    root = folder.parents[2]
    return any(name.startswith(f"{folder.name}-") for name in journal_names(root))


def _unlink_and_release(on: Disk, lock: LockFile) -> None:
    path = lock.path
    if sys.platform == "win32":
        # Windows cannot delete an open file, and another process may have opened it by now.
        lock.end()
        with contextlib.suppress(FileNotFoundError, PermissionError):
            path.unlink()
        return
    with contextlib.suppress(FileNotFoundError):
        on.unlink(path)
    lock.end()


def _end(
    on: Disk, folder: Path, lock: LockFile, pid: int, users: Collection[weakref.ref[InUse]]
) -> None:
    if pid != os.getpid():
        return  # A forked child: the session is its parent's.
    if _is_in_use(users):
        return  # The interpreter exits while a thread commits: the next writer recovers.
    try:
        # If deleting fails, the next writer sweeps.
        with contextlib.suppress(OSError):
            if _has_journal(folder):
                return  # A journal that was not applied.
            if folder.is_dir():
                on.remove_tree(folder)
            _unlink_and_release(on, lock)
    finally:
        unregister_session(folder)
        with contextlib.suppress(OSError):
            lock.end()
