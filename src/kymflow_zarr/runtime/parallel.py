"""Call a function for many items through any executor, in order, with a bounded queue."""

from __future__ import annotations

import os
import pickle
import platform
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Final, TypeVar

from kymflow_zarr.runtime.lease import Lease, Leased, current_lease, working_under
from kymflow_zarr.runtime.limits import get_limits
from kymflow_zarr.types import Progress

T = TypeVar("T")
R = TypeVar("R")

# For CPU-bound tasks; more than four threads would only compete for the disk.
THREADS: Final = min(4, os.cpu_count() or 1)
# Queued items cost memory, but without a queue workers idle while one item takes long.
_WAITING_PER_WORKER: Final = 4
# Assumed for an executor that does not report its number of workers.
_WORKERS_OF_OTHERS: Final = 256
# How often a call that waits asks whether the executor will answer at all.
_LOOK_S: Final = 0.2
# States of a client of Dask, which was connected when it was made.
_LOST: Final = frozenset({"connecting", "closing", "closed"})
_token: str | None = None


def process_token() -> str:
    """Return a token unique to this process; process ids may repeat across containers."""
    global _token
    if _token is None:
        _token = os.urandom(16).hex()
    return _token


@cache
def host_token() -> str:
    """Return a token of this host, without colons; its processes share the cache of its disks."""
    # Containers of one host share its kernel, though they have names of their own.
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return platform.node().replace(":", "-")


def _forget_token() -> None:
    global _token
    _token = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_token)


def in_order(
    call: Callable[[T], R],
    items: Sequence[T],
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    label: Callable[[T], str] = str,
    threads: int | None = None,
    waiting: int = 0,
    here: Callable[[T], bool] = lambda _: False,
    drop: Callable[[R], object] | None = None,
    leased: Leased = nullcontext,
) -> Generator[tuple[T, R | None, Exception | None]]:
    """Yield each item with the result of its call, or the exception that it raised.

    Parameters
    ----------
    call : callable
        For an executor with processes it must pickle.
    items : sequence
    executor : concurrent.futures.Executor, optional
        Own threads if left out. A given executor is not shut down.
    progress : callable, optional
        Called as ``progress(done, total, label)`` after each item, in this thread.
    label : callable
        Names an item for `progress`, and for the error of an executor that fails.
    threads : int, optional
        Maximum number of own threads.
    waiting : int
        Submit at least this many items before waiting for the first.
    here : callable
        Returns True for an item that this thread processes itself in its turn, because it is
        too small to submit, or cannot be.
    drop : callable, optional
        Called with each result that was not yielded because the caller stopped early; waits
        for running tasks. It implies that the caller has saved the results yielded before.
    leased : callable, optional
        ``storage.lease`` where the calls change a dataset: tasks of the executor that still run
        when this ends, though they were cancelled, change nothing any more.

    Raises
    ------
    BrokenExecutor
        If the executor fails, has cancelled a task, has lost its scheduler, or returns nothing
        within the limit ``worker_seconds``.

    Notes
    -----
    When the caller stops early, for any reason, tasks that have not started are cancelled.
    """
    workers = min(threads or min(32, (os.cpu_count() or 1) + 4), max(len(items), 1))
    begun: deque[tuple[T, Future[R | _Packed] | None]] = deque()
    with ExitStack() as stack:
        # Own threads are waited for.
        given = None if executor is None else _Given(executor, get_limits().worker_seconds)
        if executor is None:
            executor = stack.enter_context(ThreadPoolExecutor(workers))
        workers = getattr(executor, "_max_workers", None) or _WORKERS_OF_OTHERS
        lease = current_lease()
        if given is not None and not all(map(here, items)):
            lease = stack.enter_context(leased()) or lease
        stack.callback(_stop, begun, given, drop)
        most = max(workers * _WAITING_PER_WORKER, waiting)
        task = partial(_leased, lease, call) if lease is not None else call
        ready = _submitted(task, items, executor, begun, most, here)
        for done, item in enumerate(items, start=1):
            result, error = None, None
            with _naming(item, label, kept=drop is not None):
                next(ready)
                future = begun[0][1]
                try:
                    result = call(item) if future is None else _result(future, given)
                except BrokenExecutor:
                    raise
                except Exception as raised:  # noqa: BLE001 - It is yielded.
                    error = raised
            begun.popleft()
            yield item, result, error
            if progress is not None:
                progress(done, len(items), label(item))


@contextmanager
def _naming(item: T, label: Callable[[T], str], *, kept: bool) -> Iterator[None]:
    """Name the item in the error of an executor that fails."""
    try:
        yield
    except BrokenExecutor as broken:
        why = str(broken).rstrip(".") or type(broken).__name__
        then = (
            "What was finished before stays; the same call with another executor goes on from there"
            if kept
            else "The same call with another executor starts again"
        )
        raise BrokenExecutor(
            f"the executor broke down at {label(item)!r}: {why}. {then}"
        ) from broken


def _submitted(
    call: Callable[[T], R],
    items: Iterable[T],
    executor: Executor,
    begun: deque[tuple[T, Future[R | _Packed] | None]],
    most: int,
    here: Callable[[T], bool],
) -> Iterator[None]:
    """Submit items while there is room; yield whenever the caller may wait for the first."""
    # The random token makes the tasks of each call unique: Dask returns the old result of an
    # equal task, even if it failed.
    task = partial(_done, call, process_token(), os.urandom(8).hex())
    for item in items:
        begun.append((item, None if here(item) else executor.submit(task, item)))
        if len(begun) >= most:
            yield
    while begun:
        yield


def _leased(lease: Lease, call: Callable[[T], R], item: T) -> R:
    # In a context of its own: an executor may call in the main thread, where Ctrl-C between two
    # bytecodes could leave the lease to what is saved later.
    return copy_context().run(_under, lease, call, item)


def _under(lease: Lease, call: Callable[[T], R], item: T) -> R:
    with working_under(lease):
        return call(item)


@dataclass(frozen=True, slots=True)
class _Packed:
    """A pickled result of another process, which the caller unpickles, to catch errors of that."""

    data: bytes


def _done(call: Callable[[T], R], caller: str, _unique: str, item: T) -> R | _Packed:
    """Call the function in a worker, so that any error affects only its item.

    Otherwise a result that cannot be pickled or unpickled would break a process pool, or make
    the caller of a cluster wait forever.
    """
    at_home = process_token() == caller
    try:
        result = call(item)
    except SystemExit as left:
        if at_home and threading.current_thread() is threading.main_thread():
            raise
        # SystemExit would end the calling program.
        message = f"what was called for it left with SystemExit: {left}"
    except Exception as error:
        if at_home or _travels(error):
            raise
        message = f"{type(error).__name__}: {error}"
    else:
        return result if at_home else _Packed(_dumps(result))
    # Raised outside of the except blocks to have no cause, which Dask would pickle, too.
    raise RuntimeError(message)


@dataclass(frozen=True, slots=True)
class _Given:
    """An executor of the caller, which may never answer.

    Parameters
    ----------
    executor : Executor
    patience_s : float
        How long to wait for one result.
    """

    executor: Executor
    patience_s: float

    def require_answer(self, future: Future[Any]) -> None:
        """Wait until a task has ended; raise BrokenExecutor if its executor does not run it."""
        until = time.monotonic() + self.patience_s
        while not future.done():
            wait([future], self._wait_s(until))

    def result(self, future: Future[R]) -> R:
        """Return the result of a task; raise BrokenExecutor if its executor does not run it."""
        until = time.monotonic() + self.patience_s
        while not future.done():
            wait_s = self._wait_s(until)
            asked = time.monotonic()
            # Some executors run a task only when its result is asked for, so waiting until it is
            # done would never end.
            try:
                return future.result(wait_s)
            except TimeoutError:
                if time.monotonic() - asked < wait_s / 2:
                    raise  # The error of the function.
        return future.result()

    def _wait_s(self, until: float) -> float:
        """Return how long to wait before the next look at an executor that still runs."""
        # Once it has lost its scheduler a client of Dask cancels what it has submitted, and
        # never answers to what it is given then, unless a scheduler comes back.
        client = getattr(self.executor, "_client", None)
        if getattr(client, "status", None) in _LOST:
            raise BrokenExecutor("its client has lost the connection to the scheduler")
        left_s = until - time.monotonic()
        if left_s <= 0:
            raise BrokenExecutor(f"no result for {self.patience_s} seconds (limit worker_seconds)")
        return min(left_s, _LOOK_S)


def _result(future: Future[R | _Packed], given: _Given | None) -> R:
    """Return the result of a task; raise BrokenExecutor if its executor does not run it."""
    if given is None:
        return _unpacked(future.result())
    try:
        return _unpacked(given.result(future))
    except CancelledError as error:
        raise BrokenExecutor("it cancelled a task") from error


def _unpacked(result: R | _Packed) -> R:
    if isinstance(result, _Packed):
        unpacked: R = pickle.loads(result.data)
        return unpacked
    return result


def _travels(error: Exception) -> bool:
    try:
        return isinstance(pickle.loads(_dumps(error)), Exception)
    except Exception:  # noqa: BLE001 - Constructors of errors may raise anything.
        return False


def _dumps(value: Any) -> bytes:
    # Workers of a cluster use cloudpickle to send functions and classes of a script.
    by: Any = sys.modules.get("cloudpickle", pickle)
    data: bytes = by.dumps(value)
    return data


def _stop(
    begun: Iterable[tuple[Any, Future[Any] | None]],
    given: _Given | None,
    drop: Callable[[Any], object] | None,
) -> None:
    left = [future for _, future in begun if future is not None]
    # Cancel all first, so that none starts while we wait for another.
    running = [future for future in left if not future.cancel()]
    if drop is not None:
        for future in running:
            if given is not None:
                try:
                    given.require_answer(future)
                except BrokenExecutor:
                    continue
            # Ctrl-C reaches the workers, too; their error must not stop this loop.
            if future.exception() is None:
                with suppress(Exception):
                    drop(_unpacked(future.result()))
