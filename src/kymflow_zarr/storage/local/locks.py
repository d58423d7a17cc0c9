"""Locks between writers, threads and processes of one machine.

The operating system holds them, so that a writer which dies blocks nobody.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from kymflow_zarr.errors import LockTimeoutError
from kymflow_zarr.storage.local.files import os_errors
from kymflow_zarr.storage.local.session import work_folder

LOCK_TIMEOUT_S: Final = 120.0
# Always taken last, so it must not share a lock file with another scope.
_OWN_FILES: Final = {"top": "top", "recovery": "recovery"}


def lock_name(scope: str) -> str:
    """Return the name of the lock file of a scope; all others share 256 files."""
    return _OWN_FILES.get(scope) or hashlib.sha256(scope.encode()).hexdigest()[:2]


class Locks:
    """The locks of one dataset.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._thread = threading.local()

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the lock files that this thread holds."""
        return tuple(getattr(self._thread, "held", ()))

    @contextlib.contextmanager
    def hold(
        self, scopes: Iterable[str], *, acquired: Callable[[set[str]], None] = lambda _: None
    ) -> Iterator[None]:
        """Keep other writers out of some scopes.

        Taking them in sorted order prevents deadlock. What this thread holds already is held
        once more.

        Parameters
        ----------
        scopes : iterable of str
        acquired : callable
            Called with the names of the lock files when they are held.

        Raises
        ------
        LockTimeoutError
            If another writer holds one for longer than two minutes.
        """
        from filelock import FileLock, Timeout

        named = {lock_name(scope): scope for scope in scopes}
        before = self.held
        new = sorted(set(named) - set(before))
        with contextlib.ExitStack() as stack:
            with os_errors("lock", ".kymflow_zarr"):
                folder = work_folder(self._root, "locks")
                for name in new:
                    path = folder / f"{name}.lock"
                    here = _lock_of_process(path)
                    if not here.acquire(timeout=LOCK_TIMEOUT_S):
                        raise self._timeout(named[name])
                    stack.callback(here.release)
                    try:
                        stack.enter_context(FileLock(path, timeout=LOCK_TIMEOUT_S))
                    except Timeout as error:
                        raise self._timeout(named[name]) from error
            self._thread.held = (*before, *new)
            try:
                acquired(set(new))
                yield
            finally:
                self._thread.held = before

    def is_free(self, name: str) -> bool:
        """Tell whether nobody holds a lock file; whoever held it is dead, then, or done."""
        from filelock import FileLock, Timeout

        if name in self.held:
            return True
        path = work_folder(self._root, "locks") / f"{name}.lock"
        here = _lock_of_process(path)
        if not here.acquire(blocking=False):
            return False
        try:
            with FileLock(path, timeout=0):
                return True
        except Timeout:
            return False
        finally:
            here.release()

    def _timeout(self, scope: str) -> LockTimeoutError:
        return LockTimeoutError(
            f"another writer has held the lock on {scope} for {LOCK_TIMEOUT_S:.0f} s",
            where=str(self._root),
            hint="Wait for it to finish, then call again.",
        )


# Over NFS the lock of a file keeps out other processes and not other threads.
_of_process: dict[str, threading.Lock] = {}


def _lock_of_process(path: Path) -> threading.Lock:
    return _of_process.setdefault(str(path), threading.Lock())


if hasattr(os, "register_at_fork"):
    # The threads that hold them are not there in a child.
    os.register_at_fork(after_in_child=_of_process.clear)
