"""One call for each of many items, through any executor: in order, and a few at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final, TypeVar

from kymflow_zarr._types import Progress

T = TypeVar("T")
R = TypeVar("R")

# What waits costs memory; what does not wait leaves workers idle while one item takes long.
_WAITING_PER_WORKER: Final = 4
_WORKERS_OF_OTHERS: Final = 64


def in_order(
    call: Callable[[T], R],
    items: Sequence[T],
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    label: Callable[[T], str] = str,
) -> Iterator[tuple[T, R | None, Exception | None]]:
    """Yield each item with what the call returned, or the exception that it raised.

    Parameters
    ----------
    call : callable
        For an executor of processes it must be one that pickles.
    items : sequence
    executor : concurrent.futures.Executor, optional
        Threads of our own if left out. It is not shut down.
    progress : callable, optional
        Called as ``progress(done, total, label)`` after each item, in this thread.
    label : callable
        Names an item for `progress`.

    Raises
    ------
    BrokenExecutor
        If the executor cannot go on.

    Notes
    -----
    What has not begun is cancelled when the caller stops early, whatever the reason.
    """
    workers = min(32, (os.cpu_count() or 1) + 4)
    with ExitStack() as stack:
        if executor is None:
            executor = stack.enter_context(ThreadPoolExecutor(min(workers, max(len(items), 1))))
        workers = getattr(executor, "_max_workers", None) or _WORKERS_OF_OTHERS
        waiting: deque[tuple[T, Future[R]]] = deque()
        stack.callback(_cancel, waiting)
        ready = _submitted(call, items, executor, waiting, workers * _WAITING_PER_WORKER)
        for done, item in enumerate(ready, start=1):
            future = waiting[0][1]
            try:
                result, error = future.result(), None
            except BrokenExecutor:
                raise
            except Exception as raised:  # noqa: BLE001 - It is handed on.
                result, error = None, raised
            waiting.popleft()
            yield item, result, error
            if progress is not None:
                progress(done, len(items), label(item))


def _submitted(
    call: Callable[[T], R],
    items: Iterable[T],
    executor: Executor,
    waiting: deque[tuple[T, Future[R]]],
    most: int,
) -> Iterator[T]:
    """Submit items as there is room, and yield the first that waits."""
    for item in items:
        waiting.append((item, executor.submit(call, item)))
        if len(waiting) >= most:
            yield waiting[0][0]
    while waiting:
        yield waiting[0][0]


def _cancel(waiting: Iterable[tuple[Any, Future[Any]]]) -> None:
    for _, future in waiting:
        future.cancel()
