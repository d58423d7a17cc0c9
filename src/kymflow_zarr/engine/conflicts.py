"""Do a change again if another host changed what it builds on.

Storages in folders keep other writers out with locks. Object stores have none: there a change
is refused at its commit, with everything as it was, and is made again of what is there now.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from kymflow_zarr.storage.interface import ConflictError, Storage

_ATTEMPTS: Final = 20

M = TypeVar("M", bound=Callable[..., Any])


def retried(method: M) -> M:
    """Call a method again after a conflict, at most 20 times.

    The method takes the locks that it needs itself. If the caller holds locks, the conflict is
    the caller's: what it read under them has changed.
    """

    @functools.wraps(method)
    def repeat(self: Any, *args: Any, **kwargs: Any) -> Any:
        for attempt in range(1, _ATTEMPTS):
            try:
                return method(self, *args, **kwargs)
            except ConflictError:
                if _storage_of(self).holds_locks:
                    raise
            time.sleep(random.uniform(0, min(2.0, 0.05 * 1.5**attempt)))
        return method(self, *args, **kwargs)

    return cast("M", repeat)


def _storage_of(owner: Any) -> Storage:
    storage: Storage = owner.storage if hasattr(owner, "storage") else owner._storage  # noqa: SLF001
    return storage
