"""The work folder in the target of an export: its lock, its temporary files, its errors."""

from __future__ import annotations

import contextlib
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from kymflow_zarr.errors import KymflowZarrError, LockTimeoutError, StorageError
from kymflow_zarr.export.dataset_layout.places import WORK
from kymflow_zarr.storage.local.files import os_errors

__all__ = ["TargetStorageError", "WorkFolder", "is_own_folder", "target_errors", "temporary_in"]


class TargetStorageError(StorageError):
    """The disk of the target refused; a StorageError of the dataset is none."""


@contextlib.contextmanager
def target_errors(doing: str, where: str) -> Iterator[None]:
    """Turn an OSError of the body into a TargetStorageError that says what to do."""
    try:
        yield
    except OSError as error:
        # An error of ours comes from what is read while it is written.
        if isinstance(error, KymflowZarrError):
            raise
        try:
            with os_errors(doing, where):
                raise
        except StorageError as told:
            raise TargetStorageError(told.what, where=told.where, hint=told.hint) from error


_LOCK: Final = "lock"
_REPARSE_MOUNT_POINT: Final = 0xA0000003


class WorkFolder:
    """The work folder of one export; nothing is there until :meth:`enter`.

    Parameters
    ----------
    root : Path
        The target.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / WORK
        self._root = root
        self._lock: FileLock | None = None
        self._made_root = False

    @property
    def is_held(self) -> bool:
        """Whether it is this export's."""
        return self._lock is not None

    def enter(self) -> None:
        """Make the folder, lock it, and tidy up what a dead export has left.

        Raises
        ------
        LockTimeoutError
            If another export is writing to the target.
        """
        self._made_root = not self._root.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / _LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise LockTimeoutError(
                "another export is writing to this folder",
                where=str(self._root),
                hint="Wait for it to finish, then call again.",
            ) from error
        self._lock = lock
        self.sweep()

    def leave(self, *, remove: bool = True) -> None:
        """Give up the lock; remove the folder, and the target if it is empty and was not there."""
        if self._lock is None:
            return
        self._lock.release()
        self._lock = None
        if remove:
            with contextlib.suppress(OSError):
                (self.path / _LOCK).unlink(missing_ok=True)
                self.path.rmdir()
                if self._made_root:
                    self._root.rmdir()  # Refused, and rightly, unless it is empty.

    def sweep(self) -> None:
        """Delete the files that have not taken their places."""
        for leftover in self.path.glob("*.tmp"):
            leftover.unlink(missing_ok=True)


def temporary_in(root: Path) -> Path:
    """Return a path in the work folder of a target that nothing has."""
    return root / WORK / f"{uuid.uuid4().hex}.tmp"


def is_own_folder(folder: Path) -> bool:
    """Tell whether something is a folder, and no link (or junction) to one."""
    found = folder.lstat()
    tag = getattr(found, "st_reparse_tag", 0)
    return stat.S_ISDIR(found.st_mode) and tag != _REPARSE_MOUNT_POINT
