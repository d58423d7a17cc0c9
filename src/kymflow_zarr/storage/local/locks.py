"""Locks between writers: threads of this process, and processes.

The operating system holds the lock of a lock file, so a writer that dies blocks no other. Ctrl-C
can strike between any two bytecodes, the ones that take and release a lock included. Therefore
a lock is recorded before it is taken, it belongs to the ``with`` statement of one frame, and a
lock whose frame has ended is released by the next caller in this process that asks for it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
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
from types import FrameType
from typing import Any, Final

from kymflow_zarr.errors import LockTimeoutError, StorageError
from kymflow_zarr.storage.local.disk import allow_group
from kymflow_zarr.storage.local.files import os_errors
from kymflow_zarr.storage.local.work_dir import work_folder

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK_TIMEOUT_S: Final = 120.0
# The time between two tries to take a lock that another process holds.
_POLL_S: Final = 0.02
_UNLOCK_ATTEMPTS: Final = 4
# "top" is always taken last, so it must not share a lock file with another scope.
_OWN_FILES: Final = {"top": "top", "recovery": "recovery"}
_NOT_FOLLOWED: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_GENERATOR: Final = 0x20


def lock_name(scope: str) -> str:
    """Return the name of the lock file of a scope; all others share 256 files."""
    return _OWN_FILES.get(scope) or hashlib.sha256(scope.encode()).hexdigest()[:2]


# Scopes --------------------------------------------------------------------------------


class _Call(functools.partial[Any]):
    """A call that keeps its scope alive, without the scope being one of its arguments."""

    scope: Scoped | None = None


class _Bound:
    """Binds ``__enter__`` or ``__exit__`` so that only the ``with`` statement refers to its scope.

    A debugger or a notebook keeps the traceback of a KeyboardInterrupt, and with it the arguments
    of all frames. If the scope were one of them, it would outlive the ``with`` statement.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __get__(self, scope: Scoped | None, _: type) -> Callable[..., Any]:
        if scope is None:  # contextlib.ExitStack looks it up on the class.
            return lambda found, *error: self.__get__(found, type(found))(*error)
        call = _Call(self._function, weakref.ref(scope))
        call.scope = scope
        return call


def _enter(ref: weakref.ref[Scoped]) -> object:
    scope = ref()
    assert scope is not None
    try:
        scope.frame, scope.thread = _owner(sys._getframe(1)), threading.get_ident()  # noqa: SLF001
        result = scope.begin()
        del scope
    except BaseException:
        _end(ref)
        raise
    return result


def _exit(ref: weakref.ref[Scoped], *_: object) -> None:
    try:
        _end(ref)
    finally:
        _end(ref)  # Ctrl-C may have ended the first call; a second does no harm.


def _end(ref: weakref.ref[Scoped]) -> None:
    scope = ref()
    if scope is not None:
        scope.end()


def _owner(frame: FrameType | None) -> FrameType | None:
    """Return the frame that a scope ends with; None if the stack does not show it.

    A generator that :func:`contextlib.contextmanager` drives belongs to the frame of its ``with``.
    """
    while frame is not None and frame.f_code.co_flags & _GENERATOR:
        above = frame.f_back
        if above is None or above.f_code is not _CONTEXT_MANAGER:
            return None
        frame = above.f_back
    # An ExitStack may outlive any frame.
    through_stack = frame is None or frame.f_code.co_filename in (__file__, contextlib.__file__)
    return None if through_stack else frame


_CONTEXT_MANAGER: Final = contextlib._GeneratorContextManager.__enter__.__code__  # noqa: SLF001


class Scoped:
    """A context manager that ends with its ``with`` statement, wherever Ctrl-C strikes.

    Attributes
    ----------
    frame, thread
        The frame of the ``with`` statement, and the thread that runs it.
    """

    frame: FrameType | None = None
    thread = 0
    __enter__ = _Bound(_enter)
    __exit__ = _Bound(_exit)

    def begin(self) -> object:
        """Begin; return the value of the ``with`` statement."""
        raise NotImplementedError

    def end(self) -> None:
        """Undo as much of `begin` as was done; may be called again."""
        raise NotImplementedError

    def is_live(self) -> bool:
        """Return True unless the frame of the ``with`` statement has ended."""
        # The other thread keeps running: only a live frame is on its stack in each sample.
        return self.frame is None or any(_is_on_stack(self.frame, self.thread) for _ in range(3))


def _is_on_stack(frame: FrameType, thread: int) -> bool:
    current = sys._current_frames().get(thread)  # noqa: SLF001
    while current is not None:
        if current is frame:
            return True
        current = current.f_back
    return False


# Threads -------------------------------------------------------------------------------


class Turn:
    """A place in the queue of this process's threads for one lock.

    Parameters
    ----------
    queue : list of Turn
        The first turn holds the lock.
    owner : Scoped or LockFile
        The turn is over when its owner is.

    Attributes
    ----------
    left : lock
        Free once the turn is over.
    """

    def __init__(self, queue: list[Turn], owner: Scoped | LockFile) -> None:
        self._queue = queue
        self._owner = weakref.ref(owner)
        self.left = threading.Lock()
        self.left.acquire()

    def wait(self, timeout_s: float) -> bool:
        """Wait for our turn; return False on timeout."""
        end = time.monotonic() + timeout_s
        self._queue.append(self)
        while (first := self._queue[0]) is not self:
            if first.is_over():
                first.expire()
                continue
            left_s = end - time.monotonic()
            if left_s <= 0:
                self.leave()
                return False
            if first.left.acquire(timeout=min(left_s, _POLL_S)):
                with contextlib.suppress(RuntimeError):
                    first.left.release()
        return True

    def is_over(self) -> bool:
        """Return True if the owner has ended without releasing its turn."""
        owner = self._owner()
        return owner is None or not owner.is_live()

    def expire(self) -> None:
        """Release on behalf of an owner that has ended, and let the next turn in."""
        owner = self._owner()
        if owner is not None:
            owner.end()
        self.leave()

    def leave(self) -> None:
        """Let the next turn in; may be called again."""
        with contextlib.suppress(ValueError):
            self._queue.remove(self)
        with contextlib.suppress(RuntimeError):
            self.left.release()


class Guard(Scoped):
    """A mutex between threads: ``with Guard(queue):`` is a ``with lock:`` that survives Ctrl-C."""

    def __init__(self, queue: list[Turn]) -> None:
        self._turn = Turn(queue, self)

    def begin(self) -> None:
        """Wait for our turn."""
        self._turn.wait(float("inf"))

    def end(self) -> None:
        """Let the next turn in."""
        self._turn.leave()


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
            time.sleep(_POLL_S)
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
