"""A memory budget for work on pixels, which the threads of this process share."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from typing import Final

from kymflow_zarr.runtime.scopes import Guard, Scoped, Turn

# For blocks with their chunks and encoded files; see docs/ingest.md.
PIXELS_BYTES: Final = 384 << 20
_POLL_S: Final = 0.005


class MemoryBudget:
    """An amount of memory that threads share; a thread that needs more than is left waits.

    Parameters
    ----------
    size : int
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.reset()

    def reset(self) -> None:
        """Release everything, in a forked child, which has none of the reserving threads."""
        self.queue: list[Turn] = []
        self.held: list[weakref.ref[Reservation]] = []

    def reserve(self, size: int) -> Reservation:
        """Reserve memory for a ``with`` block; more than the whole budget is reserved alone."""
        return Reservation(self, min(size, self._size))

    def fits(self, size: int) -> bool:
        """Return True if that much is left."""
        if size <= self._left():
            return True
        for ref in list(self.held):
            holder = ref()
            if holder is not None and not holder.is_live():
                holder.end()
        return size <= self._left()

    def _left(self) -> int:
        return self._size - sum(r.size for ref in list(self.held) if (r := ref()) is not None)


class Reservation(Scoped):
    """A part of a budget; see :meth:`MemoryBudget.reserve`."""

    def __init__(self, budget: MemoryBudget, size: int) -> None:
        self._budget = budget
        self.size = size

    def begin(self) -> None:
        """Wait until there is enough."""
        # In order of arrival: otherwise small requests could starve a large one.
        with Guard(self._budget.queue):
            while not self._budget.fits(self.size):
                time.sleep(_POLL_S)
            self._budget.held.append(weakref.ref(self))

    def end(self) -> None:
        """Give it back; may be called again."""
        with contextlib.suppress(ValueError):
            self._budget.held.remove(weakref.ref(self))


pixels_memory: Final = MemoryBudget(PIXELS_BYTES)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pixels_memory.reset)
