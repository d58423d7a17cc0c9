"""A limit on the memory that all threads of a process together use for pixels."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# A block, its chunks and the file made of them; see docs/ingest.md.
PIXELS_BYTES: Final = 384 << 20


class MemoryBudget:
    """An amount of memory that threads share; a thread that asks for more than is left waits.

    Parameters
    ----------
    size : int
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.reset()

    def reset(self) -> None:
        """Release everything: a forked child has none of the threads that reserved."""
        self._left = self._size
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Reserve memory for a block; a request for more than the whole budget gets it alone."""
        size = min(size, self._size)
        # First come, first served: otherwise small requests could starve a large one.
        with self._turn, self._changed:
            self._changed.wait_for(lambda: size <= self._left)
            self._left -= size
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()


pixels_memory: Final = MemoryBudget(PIXELS_BYTES)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pixels_memory.reset)
