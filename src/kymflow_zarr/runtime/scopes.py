"""Context managers and locks between threads that Ctrl-C cannot leave behind.

Ctrl-C can strike between any two bytecodes of the main thread, the ones that take and release a
lock included. Therefore what is taken is recorded before, it belongs to the ``with`` statement of
one frame, and what a frame that has ended still holds is released by the next caller that asks
for it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, Protocol

POLL_S: Final = 0.02
"""The time between two looks at what another thread or process holds."""
_GENERATOR: Final = 0x20


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
            return lambda of, *error: self.__get__(of, type(of))(*error)
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


def _exit(ref: weakref.ref[Scoped], kind: object = None, *_: object) -> None:
    try:
        if kind is None:
            _finish(ref)
    finally:
        _end_surely(ref)


def _finish(ref: weakref.ref[Scoped]) -> None:
    scope = ref()
    if scope is not None:
        scope.finish()


def _end_surely(ref: weakref.ref[Scoped]) -> None:
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

    A generator that :func:`contextlib.contextmanager` drives belongs to the frame of its ``with``,
    and so does a scope that another one begins.
    """
    while frame is not None:
        above = frame.f_back
        if above is not None and above.f_code is _enter.__code__:
            frame = above.f_back
        elif frame.f_code.co_flags & _GENERATOR:
            if above is None or above.f_code is not _CONTEXT_MANAGER:
                return None
            frame = above.f_back
        else:
            break
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

    def finish(self) -> None:
        """Do what is left to do where the body raised nothing; `end` comes after it."""

    def end(self) -> None:
        """Undo as much of `begin` as was done; may be called again."""
        raise NotImplementedError

    def is_live(self) -> bool:
        """Return True unless the frame of the ``with`` statement has ended."""
        # The other thread keeps running: only a live frame is on its stack in each sample.
        return self.frame is None or any(_is_on_stack(self.frame, self.thread) for _ in range(3))


def _is_on_stack(frame: FrameType, thread: int) -> bool:
    current = sys._getframe() if thread == threading.get_ident() else _frame_of(thread)  # noqa: SLF001
    while current is not None:
        if current is frame:
            return True
        current = current.f_back
    return False


def _frame_of(thread: int) -> FrameType | None:
    """Return the frame that another thread runs; None if it has ended."""
    collects = gc.isenabled()
    try:
        # CPython before 3.11.9 and 3.12.3 waits for itself for ever where the garbage collector
        # runs in this call and deletes a threading.local.
        gc.disable()
        return sys._current_frames().get(thread)  # noqa: SLF001
    finally:
        if collects:
            gc.enable()


# Threads -------------------------------------------------------------------------------


class Owner(Protocol):
    """What a turn belongs to."""

    def is_live(self) -> bool:
        """Return True unless it has ended without releasing what it holds."""

    def end(self) -> None:
        """Release what it holds; may be called again."""


class Turn:
    """A place in the queue of this process's threads for one lock.

    Parameters
    ----------
    queue : list of Turn
        The first turn holds the lock.
    owner : Owner
        The turn is over when its owner is.

    Attributes
    ----------
    left : lock
        Free once the turn is over.
    """

    def __init__(self, queue: list[Turn], owner: Owner) -> None:
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
            if first.left.acquire(timeout=min(left_s, POLL_S)):
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
