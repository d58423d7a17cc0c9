"""A folder for the files that one writer stages, and the proof that the writer lives.

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
from kymflow_zarr.storage.local.disk import Disk, disk
from kymflow_zarr.storage.local.files import sync_all
from kymflow_zarr.storage.local.locks import Guard, LockFile, Scoped, TryLock, Turn
from kymflow_zarr.storage.local.work_dir import (
    LOCK_SUFFIX,
    journal_names,
    keep_reserve,
    session_names,
    work_folder,
)

_BEGIN_ATTEMPTS: Final = 100
# Those of this process that may have a folder.
_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


class Session:
    """The work folder of one writer, made when it is first asked for.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    durable : bool
        Whether the folder is to survive a power loss, as a journal that speaks of it does.
    """

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.root = root
        self._durable = durable
        self._queue: list[Turn] = []
        self._open: tuple[int, Path, weakref.finalize[..., Session]] | None = None
        self._users: list[weakref.ref[InUse]] = []
        self._to_close = False

    def new_path(self) -> Path:
        """Return a path in the folder that nothing has."""
        return self._folder() / uuid.uuid4().hex

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self._folder().name

    def _folder(self) -> Path:
        with Guard(self._queue):
            return self._opened()

    def _opened(self) -> Path:
        # A forked child shares the lock of its parent and must not share its folder.
        if self._open is None or self._open[0] != os.getpid() or not self._open[1].is_dir():
            self._open = self._begin()
        return self._open[1]

    def _begin(self) -> tuple[int, Path, weakref.finalize[..., Session]]:
        sessions = work_folder(self.root, "sessions")
        work_folder(self.root, "journal")
        for _ in range(_BEGIN_ATTEMPTS):
            folder = sessions / uuid.uuid4().hex
            lock = LockFile(Path(f"{folder}{LOCK_SUFFIX}"))
            lock.acquire(float("inf"))
            # A sweeper that came between the file and its lock has deleted the file.
            if lock.path.exists():
                break
            lock.end()
        else:
            raise FileNotFoundError(errno.ENOENT, "its lock file does not stay", str(lock.path))
        try:
            disk().make_folder(folder)
            keep_reserve(self.root)
            if self._durable:
                # The process that made these may have died before it synced them.
                sync_all((), [self.root, sessions.parent, sessions])
        except BaseException as error:
            if isinstance(error, OSError):
                _end(disk(), folder, lock, os.getpid(), ())
            lock.end()
            raise
        _sessions.add(self)
        self._users = []
        # Not disk(): the garbage is collected at any moment, and not as part of an operation.
        end = weakref.finalize(self, _end, Disk(), folder, lock, os.getpid(), self._users)
        return os.getpid(), folder, end

    def in_use(self) -> InUse:
        """Keep the folder in a ``with`` block, in which its files become a change."""
        return InUse(self)

    def enter(self, user: InUse) -> None:
        """Note a user of the folder."""
        with Guard(self._queue):
            self._opened()
            self._users.append(weakref.ref(user))

    def leave(self, user: InUse) -> None:
        """Note that a user is done; may be called again."""
        with contextlib.suppress(ValueError):
            self._users.remove(weakref.ref(user))
        if self._to_close:
            self.close()

    def close(self) -> None:
        """Delete the folder with what is left in it; its last user does so if there is one."""
        with Guard(self._queue):
            self._to_close = in_use = _is_in_use(self._users)
            if self._open is not None and not in_use:
                # Before the clean-up, which Ctrl-C may end: the next writer sweeps what is left.
                opened, self._open = self._open, None
                detached = opened[2].detach()
                if detached is not None:
                    _, _, (_, *rest), _ = detached
                    _end(disk(), *rest)

    def forget_threads(self) -> None:
        """Forget who waits: in a forked child, those threads are not there."""
        self._queue = []

    def abandon(self) -> None:
        """Do as if the process had died: drop the lock and leave everything as it is."""
        opened, self._open = self._open, None
        detached = None if opened is None else opened[2].detach()
        if detached is not None:
            _, _, (_, _, lock, _, _), _ = detached
            lock.end()


class InUse(Scoped):
    """Keeps the folder of a session in a ``with`` block; see :meth:`Session.in_use`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def begin(self) -> None:
        """Keep the folder."""
        self._session.enter(self)

    def end(self) -> None:
        """Let it go."""
        self._session.leave(self)


def _is_in_use(users: Iterable[weakref.ref[InUse]]) -> bool:
    return any((user := ref()) is not None and user.is_live() for ref in list(users))


def _after_fork() -> None:
    for session in list(_sessions):
        session.forget_threads()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def abandon_sessions(touched: Iterable[Path]) -> None:
    """Let the writers of this process die that work on the datasets some paths are in; for tests.

    Their locks are free then, and everything is left as it is.
    """
    touched = list(touched)
    for session in list(_sessions):
        if any(path.is_relative_to(session.root) for path in touched):
            session.abandon()


def sweep(root: Path, *, spare: Collection[Path] = ()) -> list[Path]:
    """Delete what dead writers have left and return it.

    Parameters
    ----------
    root : Path
    spare : collection of Path
        Folders of sessions to leave, because a journal still speaks of them.
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
        return False  # Another user's, and closed to us.


def _swept(folder: Path) -> bool:
    """Delete what a dead writer has left; False if it lives, or another sweeps, or we may not."""
    lock = LockFile(Path(f"{folder}{LOCK_SUFFIX}"))
    try:
        # Held meanwhile: a writer that is about to begin there waits, and finds the file gone.
        if not lock.acquire(0) or _has_journal(folder):
            return False  # Or its writer committed, and died, since journals were looked at.
        with contextlib.suppress(FileNotFoundError):
            disk().remove_tree(folder)
        _unlink_and_release(disk(), lock)
    except PermissionError:
        return False  # Another user's. It is invisible, and the owner's next session sweeps it.
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
        # An open file cannot be deleted there, and another process may have opened it by now.
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
        return  # The interpreter ends while a thread commits: the next writer tidies up.
    try:
        # Where the disk refuses, the next writer sweeps.
        with contextlib.suppress(OSError):
            if _has_journal(folder):
                return  # One that was not carried out.
            if folder.is_dir():
                on.remove_tree(folder)
            _unlink_and_release(on, lock)
    finally:
        with contextlib.suppress(OSError):
            lock.end()
