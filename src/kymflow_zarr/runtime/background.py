"""Background threads that encode and digest pixels while the caller waits for the file system.

Encoding and digesting take about as long as creating the folders and files of an image, and both
release the GIL. Measured with two busy cores (best of 7): an image of 51 MB is added in 0.6 of
the time with relaxed durability; kymographs of up to 4 MB gain nothing.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable

# Not a late import: Python refuses it in threads that run on after the main thread has ended.
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeAlias, TypeVar

# Waking a thread costs as much as encoding about 100 kB.
_WORTH_BYTES: Final = 1 << 18
_THREADS: Final = min(4, os.cpu_count() or 1)

T = TypeVar("T")

# The bytes of a file, or a future that returns them.
Content: TypeAlias = bytes | memoryview | Future[bytes | memoryview]


def in_background(call: Callable[[], T], *, size: int) -> T | Future[T]:
    """Call a function in a background thread, or directly if that gains nothing.

    Parameters
    ----------
    call : callable
        It must not wait for another background call.
    size : int
        Number of bytes that it processes.

    Returns
    -------
    T or Future of T
        For :func:`finished`.
    """
    if size < _WORTH_BYTES or _THREADS == 1:
        return call()
    if threading.current_thread() is not threading.main_thread():
        return call()  # The caller is one of several threads, which keep the cores busy already.
    try:
        return threads().submit(call)
    except RuntimeError:  # The interpreter is shutting down and starts no more threads.
        return call()


def finished(result: T | Future[T]) -> T:
    """Return the result of a background call, or raise its error."""
    return result.result() if isinstance(result, Future) else result


def arrived(data: Content) -> bytes | memoryview:
    """Wait for the bytes of a file and return them."""
    return data.result() if isinstance(data, Future) else data


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Return this process's thread pool for encoding and digesting."""
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="kymflow_zarr background")


if hasattr(os, "register_at_fork"):
    # A forked child does not have the threads of its parent.
    os.register_at_fork(after_in_child=threads.cache_clear)
