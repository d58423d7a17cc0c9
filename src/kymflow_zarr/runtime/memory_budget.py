"""How much memory the work on pixels holds, of all threads of a process together."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# A block, its chunks and the file made of them; see docs/ingest.md.
PIXELS_BYTES: Final = 384 << 20


class Budget:
    """An amount that threads share; who asks for more than is left waits.

    Parameters
    ----------
    size : int
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.reset()

    def reset(self) -> None:
        """Forget who holds what: in a forked child nobody does."""
        self._left = self._size
        self._turn = threading.Lock()
        self._changed = threading.Condition()

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """Hold some of it; whoever wants more than there is at all gets it alone."""
        size = min(size, self._size)
        # First come, first served: else small ones would keep a large one waiting for ever.
        with self._turn, self._changed:
            self._changed.wait_for(lambda: size <= self._left)
            self._left -= size
        try:
            yield
        finally:
            with self._changed:
                self._left += size
                self._changed.notify_all()


pixels_memory: Final = Budget(PIXELS_BYTES)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pixels_memory.reset)
