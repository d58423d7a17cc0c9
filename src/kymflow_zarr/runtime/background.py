"""Background threads that encode and digest pixels while the caller waits for the file system.

Both take about as long as creating the folders and files of an image, and neither needs the
interpreter's lock. Measured with two busy cores (best of 7): an image of 51 MB
is added in 0.6 of the time with relaxed durability; kymographs of up to 4 MB gain nothing.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable

# Not late: once the main thread has ended, threads go on, and Python refuses to import this.
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeAlias, TypeVar

# Waking a thread costs as much as encoding some 100 kB.
_WORTH_BYTES: Final = 1 << 18
_THREADS: Final = min(4, os.cpu_count() or 1)

T = TypeVar("T")

# The bytes of a file, or the future that returns them.
Content: TypeAlias = bytes | memoryview | Future[bytes | memoryview]


def in_background(call: Callable[[], T], *, size: int) -> T | Future[T]:
    """Call a function in another thread, or at once where that gains nothing.

    Parameters
    ----------
    call : callable
        It must not wait for another call in the background.
    size : int
        Bytes that it works on.

    Returns
    -------
    T or Future of T
        What :func:`finished` takes.
    """
    if size < _WORTH_BYTES or _THREADS == 1:
        return call()
    if threading.current_thread() is not threading.main_thread():
        return call()  # The caller is one of several threads, which keep the cores busy already.
    try:
        return threads().submit(call)
    except RuntimeError:  # While the interpreter ends, no new threads are started.
        return call()


def finished(result: T | Future[T]) -> T:
    """Return the result of a background call, or raise its error."""
    return result.result() if isinstance(result, Future) else result


def arrived(data: Content) -> bytes | memoryview:
    """Wait for the bytes of a file and return them."""
    return data.result() if isinstance(data, Future) else data


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Return the threads of this process for encoding and digesting."""
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="kymflow_zarr background")


if hasattr(os, "register_at_fork"):
    # A forked child has none of its parent's threads.
    os.register_at_fork(after_in_child=threads.cache_clear)
