"""Do a change again if another host changed what it builds on.

Storages in folders keep other writers out with locks. Object stores have none: there a change
is refused at its commit, with everything as it was, and is made again of what is there now.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar, cast

from kymflow_zarr.storage.interface import ConflictError, Storage

_ATTEMPTS: Final = 20

M = TypeVar("M", bound=Callable[..., Any])
R = TypeVar("R")


def without_conflict(storage: Storage, change: Callable[[], R]) -> R:
    """Call a function again after a conflict, at most 20 times.

    The function takes the locks that it needs itself. If the caller holds locks, the conflict is
    the caller's: what it read under them has changed.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return change()
        except ConflictError:
            if storage.holds_locks:
                raise
        time.sleep(random.uniform(0, min(2.0, 0.05 * 1.5**attempt)))
    return change()


def retried(method: M) -> M:
    """Call a method again after a conflict, as :func:`without_conflict` does."""

    @functools.wraps(method)
    def repeat(self: Any, *args: Any, **kwargs: Any) -> Any:
        # An iterator gives its items once, and the second attempt needs them too.
        args = tuple(list(arg) if isinstance(arg, Iterator) else arg for arg in args)
        storage = self.storage if hasattr(self, "storage") else self._storage
        return without_conflict(storage, functools.partial(method, self, *args, **kwargs))

    return cast("M", repeat)
