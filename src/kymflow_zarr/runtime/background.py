"""Work for the second core, while the first waits for the file system.

Encoding and digesting the pixels of an image take about as long as making its folders and
files, and neither needs the interpreter's lock.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable

# Not late: once the main thread has ended, threads go on, and Python refuses to import this.
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeAlias, TypeVar

# Waking a thread costs as much as some 100 kB of it.
_WORTH_BYTES: Final = 1 << 18
_THREADS: Final = min(4, os.cpu_count() or 1)

T = TypeVar("T")

# Of a file; they may be on their way.
Content: TypeAlias = bytes | memoryview | Future[bytes | memoryview]


def aside(call: Callable[[], T], *, size: int) -> T | Future[T]:
    """Call something in another thread, or at once where that gains nothing.

    Parameters
    ----------
    call : callable
        It must not wait for another that is called aside.
    size : int
        Bytes that it works on.

    Returns
    -------
    T or Future of T
        What :func:`settled` takes.
    """
    if size < _WORTH_BYTES or _THREADS == 1:
        return call()
    if threading.current_thread() is not threading.main_thread():
        return call()  # One of several threads has company already.
    try:
        return threads().submit(call)
    except RuntimeError:  # Where the interpreter ends, no more threads are given out.
        return call()


def settled(result: T | Future[T]) -> T:
    """Return what a call aside returned, or raise what it raised."""
    return result.result() if isinstance(result, Future) else result


def arrived(data: Content) -> bytes | memoryview:
    """Return the bytes of a file, when they are there."""
    return data.result() if isinstance(data, Future) else data


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Return the threads of this process for encoding and digesting."""
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="kymflow_zarr aside")


if hasattr(os, "register_at_fork"):
    # The threads of the pool are not there in a child.
    os.register_at_fork(after_in_child=threads.cache_clear)
