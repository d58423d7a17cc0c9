"""A place for files on their way in or out, and the proof that their writer lives.

Each writer has a folder below ``.kymflow_zarr/sessions`` and holds the lock of a file beside
it. The operating system drops the lock when the process ends, however it ends: a folder whose
lock can be had is dead, and whoever comes next sweeps it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import uuid
import weakref
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kymflow_zarr import layout
from kymflow_zarr.storage.local.disk import Disk, disk
from kymflow_zarr.storage.local.files import sync_all

if TYPE_CHECKING:
    from filelock import BaseFileLock

_BEGIN_ATTEMPTS: Final = 100
_LOCK_SUFFIX: Final = ".lock"
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
        self._guard = threading.Lock()
        self._open: tuple[int, Path, weakref.finalize[..., Session]] | None = None
        self._users: list[object] = []
        self._to_close = False

    def new_path(self) -> Path:
        """Return a path in the folder that nothing has."""
        return self._folder() / uuid.uuid4().hex

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self._folder().name

    def _folder(self) -> Path:
        with self._guard:
            return self._opened()

    def _opened(self) -> Path:
        # A forked child shares the lock of its parent and must not share its folder.
        if self._open is None or self._open[0] != os.getpid() or not self._open[1].is_dir():
            self._open = self._begin()
        return self._open[1]

    def _begin(self) -> tuple[int, Path, weakref.finalize[..., Session]]:
        from filelock import FileLock

        sessions = work_folder(self.root, "sessions")
        work_folder(self.root, "journal")
        for _ in range(_BEGIN_ATTEMPTS):
            folder = sessions / uuid.uuid4().hex
            path = Path(f"{folder}{_LOCK_SUFFIX}")
            lock = FileLock(path, thread_local=False)
            lock.acquire()
            # A sweeper that came between the file and its lock has deleted the file.
            if path.exists():
                break
        else:
            raise FileNotFoundError(errno.ENOENT, "its lock file does not stay", str(path))
        try:
            disk().make_folder(folder)
            if self._durable:
                # Whoever made these may not have come to sync them.
                sync_all((), [self.root, sessions.parent, sessions])
        except BaseException as error:
            if isinstance(error, OSError):
                _end(disk(), folder, lock, os.getpid(), ())
            lock.release()
            raise
        _sessions.add(self)
        self._users = []
        # Not disk(): whenever the garbage is collected, it belongs to nobody's operation.
        end = weakref.finalize(self, _end, Disk(), folder, lock, os.getpid(), self._users)
        return os.getpid(), folder, end

    def owns(self, folder: Path) -> bool:
        """Tell whether a folder is the one of this session, in this process."""
        return self._open is not None and self._open[:2] == (os.getpid(), folder)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the folder while what is in it becomes a change, whoever closes meanwhile."""
        user = object()
        with self._guard:
            self._opened()
            users = self._users
            users.append(user)
        try:
            yield
        finally:
            with self._guard:
                users.remove(user)
            if self._to_close:
                self.close()

    def close(self) -> None:
        """Leave: what is left in the folder is of no use to anybody."""
        with self._guard:
            # One who is at it closes when he is done.
            self._to_close = bool(self._users)
            if self._open is not None and not self._users:
                # Before the clean-up, which Ctrl-C may end: what is left is the next writer's.
                opened, self._open = self._open, None
                detached = opened[2].detach()
                if detached is not None:
                    _, _, (_, *rest), _ = detached
                    _end(disk(), *rest)

    def forget_threads(self) -> None:
        """In a forked child: the thread that held the guard is not there."""
        self._guard = threading.Lock()

    def abandon(self) -> None:
        """Do as if the process had died: drop the lock and leave everything as it is."""
        opened, self._open = self._open, None
        detached = None if opened is None else opened[2].detach()
        if detached is not None:
            _, _, (_, _, lock, _, _), _ = detached
            lock.release()


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


def work_folder(root: Path, name: str) -> Path:
    """Return a folder below ``.kymflow_zarr``, made if it is not there."""
    folder = root / layout.WORK / name
    if not folder.is_dir():
        # Not parents=True: a dataset that has vanished must not come back half.
        for path in (folder.parent, folder):
            with contextlib.suppress(FileExistsError):
                disk().make_folder(path)
    return folder


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
    sessions = root / layout.WORK / "sessions"
    try:
        names = {path.stem for path in sessions.iterdir()}
    except FileNotFoundError:
        return []
    folders = [sessions / name for name in sorted(names)]
    return [folder for folder in folders if folder not in spare and is_dead(root, folder.name)]


def is_dead(root: Path, name: str) -> bool:
    """Tell whether the writer of a session is certainly dead."""
    from filelock import FileLock, Timeout

    folder = root / layout.WORK / "sessions" / name
    # Over NFS a process can have any lock that it holds already, and loses it that way.
    if any(session.owns(folder) for session in list(_sessions)):
        return False
    path = Path(f"{folder}{_LOCK_SUFFIX}")
    if not path.exists():
        return True
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return False
    lock.release()
    return True


def _swept(folder: Path) -> bool:
    """Delete what a dead writer has left; False if it is not dead, or somebody sweeps there."""
    from filelock import FileLock, Timeout

    # Held meanwhile: one who is about to begin there waits, and finds that the file is gone.
    lock = FileLock(f"{folder}{_LOCK_SUFFIX}", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return False
    try:
        if _has_journal(folder):
            return False  # Its writer committed, and died, since journals were looked at.
        with contextlib.suppress(FileNotFoundError):
            disk().remove_tree(folder)
        _unlink_and_release(disk(), lock)
    finally:
        lock.release()
    return True


def _has_journal(folder: Path) -> bool:
    """Tell whether a journal needs what is in the folder of a session."""
    return any(folder.parent.with_name("journal").glob(f"{folder.name}-*"))


def _unlink_and_release(on: Disk, lock: BaseFileLock) -> None:
    path = Path(lock.lock_file)
    if sys.platform == "win32":
        # What is open cannot be deleted there; nor can it if somebody else has it by now.
        lock.release()
        with contextlib.suppress(FileNotFoundError, PermissionError):
            path.unlink()
        return
    with contextlib.suppress(FileNotFoundError):
        on.unlink(path)
    lock.release()


def _end(on: Disk, folder: Path, lock: BaseFileLock, pid: int, users: Collection[object]) -> None:
    if pid != os.getpid():
        return  # A forked child: the session is its parent's.
    if users:
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
            lock.release()
