"""A folder that becomes the original tree: what is there stays, what is missing comes."""

from __future__ import annotations

import contextlib
import os
import stat
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, Self

from filelock import FileLock, Timeout

from kymflow_zarr._core._reports import ExportKind
from kymflow_zarr._storage._files import digest_file, replace, sync_file, sync_folder
from kymflow_zarr.errors import LockTimeoutError, TargetExistsError
from kymflow_zarr.export._errors import target_errors
from kymflow_zarr.export._places import WORK

__all__ = ["TreeFile", "TreeTarget"]

_LOCK: Final = "lock"
_SHOWN: Final = 3
_REPARSE_MOUNT_POINT: Final = 0xA0000003


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of the tree.

    Parameters
    ----------
    path : str
        Below the target, with ``/``.
    write : callable
        Writes the file to a path where nothing is; returns how it differs from the original,
        None if it does not.
    kind, name
        The part of the dataset that it is of.
    sha256 : str, optional
        Digest, if it is known without the file being made.
    mtime_ns : int, optional
        Time of the original, which the file gets unless it differs.
    """

    path: str
    write: Callable[[Path], str | None]
    kind: ExportKind
    name: str
    sha256: str | None = None
    mtime_ns: int | None = None


class TreeTarget:
    """The folder; a context manager while it is written to.

    Nothing in it is overwritten or removed, and nothing but the tree is left in it.

    Parameters
    ----------
    root : Path
        Absolute, without links; it need not be there.

    Raises
    ------
    TargetExistsError
        If it is a file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._work = root / WORK
        self._lock: FileLock | None = None
        self._made_root = False
        self._there: dict[str, str | None] = {}
        self.written: set[str] = set()
        """Files that were written now."""
        if os.path.lexists(root) and not root.is_dir():
            raise TargetExistsError("the target is not a folder", where=str(root))

    def __enter__(self) -> Self:
        self._made_root = not self.root.exists()
        try:
            with target_errors("write to", str(self.root)):
                if os.path.lexists(self._work) and not _is_own_folder(self._work):
                    raise self._in_the_way([WORK])
                self._work.mkdir(parents=True, exist_ok=True)
                self._lock = self._locked()
                self._sweep()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    def _locked(self) -> FileLock:
        lock = FileLock(self._work / _LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise LockTimeoutError(
                "another export is writing to this folder",
                where=str(self.root),
                hint="Wait for it to finish, then call again.",
            ) from error
        return lock

    def _leave(self) -> None:
        if self._lock is None:
            return  # It is another export's.
        # What went wrong before must not be hidden by what goes wrong here.
        with contextlib.suppress(OSError):
            self._sweep()
        self._lock.release()
        with contextlib.suppress(OSError):
            (self._work / _LOCK).unlink(missing_ok=True)
            self._work.rmdir()
            if self._made_root:
                self.root.rmdir()  # Refused, and rightly, unless it is empty.

    def _sweep(self) -> None:
        for leftover in self._work.glob("*.tmp"):
            leftover.unlink(missing_ok=True)

    # What is there ---------------------------------------------------------------------

    def check(
        self, files: Iterable[TreeFile], failed: Callable[[TreeFile, Exception], None]
    ) -> None:
        """Make sure that whatever is where a file has to go is that file.

        Parameters
        ----------
        files : iterable of TreeFile
        failed : callable
            Takes a file that could not be made for comparison, and why.

        Raises
        ------
        TargetExistsError
            If something else is; names up to three. Nothing was written.
        """
        found: dict[str, None] = {}
        for file in files:
            with target_errors("look at", str(self.root)):
                obstacle = self._obstacle(file.path)
                there = obstacle is None and os.path.lexists(self._file(file.path))
            if there:
                try:
                    if not self._is_there(file):
                        obstacle = file.path
                except TargetExistsError:
                    raise
                except Exception as error:  # noqa: BLE001 - sorted by the caller
                    failed(file, error)
            if obstacle is not None:
                found[obstacle] = None
        if found:
            raise self._in_the_way(list(found))

    def _obstacle(self, path: str) -> str | None:
        folder = self.root
        for part in PurePosixPath(path).parent.parts:
            folder = folder / part
            if os.path.lexists(folder) and not _is_own_folder(folder):
                return folder.relative_to(self.root).as_posix()
        file = self._file(path)
        there = os.path.lexists(file) and not stat.S_ISREG(file.lstat().st_mode)
        return path if there else None

    def _is_there(self, file: TreeFile) -> bool:
        """Tell whether a file that is there is the one that would be written."""
        place = self._file(file.path)
        with target_errors("read", str(place)):
            digest = digest_file(place)[1]
        if file.sha256 is not None:
            same, reason = digest == file.sha256, None
        else:
            temporary = self._temporary()
            try:
                reason = file.write(temporary)
                with target_errors("read", str(temporary)):
                    same = digest_file(temporary)[1] == digest
            finally:
                temporary.unlink(missing_ok=True)
        if same:
            self._there[file.path] = reason
        return same

    def _in_the_way(self, paths: list[str]) -> TargetExistsError:
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        return TargetExistsError(
            f"the export would overwrite other files: {', '.join(paths[:_SHOWN])}{more}",
            where=str(self.root),
            hint="Move them away, or export to another folder. Nothing was overwritten.",
        )

    # Writing ---------------------------------------------------------------------------

    def put(self, file: TreeFile) -> str | None:
        """Write a file, unless it is there; return how it differs from the original.

        Raises
        ------
        TargetExistsError
            If something has come into its way.
        """
        if file.path in self._there:
            return self._there[file.path]
        place, temporary = self._file(file.path), self._temporary()
        try:
            reason = file.write(temporary)
            with target_errors("write", str(place)):
                if reason is None and file.mtime_ns is not None:
                    os.utime(temporary, ns=(temporary.stat().st_atime_ns, file.mtime_ns))
                sync_file(temporary)
                if self._obstacle(file.path) is not None:
                    raise self._in_the_way([file.path])
                place.parent.mkdir(parents=True, exist_ok=True)
                self._place(temporary, place, file.path)
                sync_folder(place.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        self.written.add(file.path)
        return reason

    def _place(self, temporary: Path, place: Path, path: str) -> None:
        try:
            # Unlike a rename it never replaces what has come there meanwhile.
            os.link(temporary, place)
        except FileExistsError:
            raise self._in_the_way([path]) from None
        except OSError:  # A file system without such links.
            if os.path.lexists(place):
                raise self._in_the_way([path]) from None
            replace(temporary, place)

    def _file(self, path: str) -> Path:
        return self.root.joinpath(*path.split("/"))

    def _temporary(self) -> Path:
        return self._work / f"{uuid.uuid4().hex}.tmp"


def _is_own_folder(folder: Path) -> bool:
    """Tell whether something is a folder, and no link (or junction) to one."""
    found = folder.lstat()
    tag = getattr(found, "st_reparse_tag", 0)
    return stat.S_ISDIR(found.st_mode) and tag != _REPARSE_MOUNT_POINT
