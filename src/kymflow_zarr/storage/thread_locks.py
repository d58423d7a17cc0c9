"""Locks by name that keep the threads of one process apart."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Final

from kymflow_zarr.errors import LockTimeoutError

LOCK_TIMEOUT_S: Final = 120.0


class ThreadLocks:
    """The locks of one dataset; a thread may take a lock again that it holds.

    Parameters
    ----------
    location : str
        Where the dataset is, for errors.
    """

    def __init__(self, location: str) -> None:
        self._location = location
        self._released = threading.Condition()
        self._holders: dict[str, int] = {}

    @contextlib.contextmanager
    def lock(self, *scopes: str) -> Iterator[None]:
        """Hold the locks of some scopes in a ``with`` block.

        Raises
        ------
        LockTimeoutError
            If another thread holds one for longer than two minutes.
        """
        me, holders = threading.get_ident(), self._holders
        taken: list[str] = []
        until = time.monotonic() + LOCK_TIMEOUT_S
        try:
            for scope in sorted(set(scopes)):  # A fixed order prevents deadlock.
                with self._released:
                    if holders.get(scope) == me:
                        continue
                    while scope in holders:
                        if not self._released.wait(until - time.monotonic()):
                            raise LockTimeoutError(
                                f"another writer has held the lock on {scope} for "
                                f"{LOCK_TIMEOUT_S:.0f} s",
                                where=self._location,
                                hint="Wait for it to finish, then call again.",
                            )
                    holders[scope] = me
                    taken.append(scope)
            yield
        finally:
            with self._released:
                for scope in taken:
                    del holders[scope]
                self._released.notify_all()
