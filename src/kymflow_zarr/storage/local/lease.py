"""The lease of a call whose workers may be in other processes and on other hosts."""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from pathlib import Path
from typing import Final

from kymflow_zarr.runtime.lease import call_has_ended
from kymflow_zarr.runtime.parallel import process_token
from kymflow_zarr.runtime.scopes import Scoped
from kymflow_zarr.storage.local.disk import disk
from kymflow_zarr.storage.local.locks import LOCK_TIMEOUT_S, LockFile
from kymflow_zarr.storage.local.work_dir import LOCK_SUFFIX

_WITHDRAWN: Final = "withdrawn"


class LocalLease:
    """A folder in which each worker holds the lock of its own file while it commits.

    Parameters
    ----------
    folder : Path
        In the folder of the caller's session, so that it disappears if the caller dies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def committing(self) -> _Committing:
        """Keep the call from ending in a ``with`` block; raise StorageError if it has ended."""
        return _Committing(self._folder)

    def withdraw(self) -> None:
        """End the permission, and wait for the commits that are under way."""
        # A worker that makes its lock file after this finds the lease withdrawn.
        disk().create(self._folder / _WITHDRAWN, b"")
        for path in sorted(self._folder.glob(f"*{LOCK_SUFFIX}")):
            file = LockFile(path)
            try:
                if not file.acquire(LOCK_TIMEOUT_S):
                    warnings.warn(
                        f"a worker has been committing for {LOCK_TIMEOUT_S:.0f} s and may still "
                        f"change {self._folder.parents[2]}",
                        RuntimeWarning,
                        stacklevel=2,
                    )
            finally:
                file.end()


class _Committing(Scoped):
    """The lock of one worker; see :meth:`LocalLease.committing`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        name = f"{process_token()}-{threading.get_ident()}{LOCK_SUFFIX}"
        self._file = LockFile(folder / name, self)

    def begin(self) -> None:
        """Take the lock of this thread's file, and look whether the call still runs."""
        # Creating a file asks the server of a share, whose client may cache that one is missing.
        with contextlib.suppress(FileNotFoundError):
            if self._file.acquire(LOCK_TIMEOUT_S) and not os.path.lexists(
                self._folder / _WITHDRAWN
            ):
                return
        raise call_has_ended(str(self._folder.parents[2]))

    def end(self) -> None:
        """Release the lock."""
        self._file.end()
