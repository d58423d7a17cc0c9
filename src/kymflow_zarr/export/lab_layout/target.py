"""A folder that becomes the original tree: what is there stays, what is missing comes."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Final, Self

from kymflow_zarr.errors import TargetExistsError
from kymflow_zarr.export.dataset_layout.places import WORK
from kymflow_zarr.export.errors import target_errors
from kymflow_zarr.export.report import ExportKind
from kymflow_zarr.export.work_dir import WorkFolder, is_own_folder, temporary_in
from kymflow_zarr.storage.local.files import digest_file, replace, sync_file, sync_folder

__all__ = ["TreeFile", "TreeTarget", "make_file"]

_SHOWN: Final = 3


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
    apart : bool
        Whether it takes so long to write that an executor may do it: it pickles.
    """

    path: str
    write: Callable[[Path], str | None]
    kind: ExportKind
    name: str
    sha256: str | None = None
    mtime_ns: int | None = None
    apart: bool = False


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
        self._work = WorkFolder(root)
        self._there: dict[str, str | None] = {}
        self.written: set[str] = set()
        """Files that were written now."""
        if os.path.lexists(root) and not root.is_dir():
            raise TargetExistsError("the target is not a folder", where=str(root))

    def __enter__(self) -> Self:
        try:
            with target_errors("write to", str(self.root)):
                if os.path.lexists(self._work.path) and not is_own_folder(self._work.path):
                    raise self._in_the_way([WORK])
                self._work.enter()
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

    def _leave(self) -> None:
        if not self._work.is_held:
            return  # It is another export's.
        # What went wrong before must not be hidden by what goes wrong here.
        with contextlib.suppress(OSError):
            self._work.sweep()
        self._work.leave()

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
            if os.path.lexists(folder) and not is_own_folder(folder):
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
            temporary = temporary_in(self.root)
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

    def temporary(self, file: TreeFile, broken: Container[str]) -> Path | None:
        """Return where to make a file; None if it is there, or is one of some broken ones."""
        there = file.path in self._there or file.path in broken
        return None if there else temporary_in(self.root)

    def place(self, file: TreeFile, temporary: Path | None, reason: str | None) -> str | None:
        """Put a file that was made where it belongs; return how it differs from the original.

        Raises
        ------
        TargetExistsError
            If something has come into its way.
        """
        if temporary is None:
            return self._there[file.path]
        place = self._file(file.path)
        try:
            with target_errors("write", str(place)):
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


def make_file(task: tuple[TreeFile, Path | None]) -> str | None:
    """Make a file in the work folder, in whatever process; return how it differs, as it says."""
    file, temporary = task
    if temporary is None:
        return None
    try:
        reason = file.write(temporary)
        with target_errors("write", file.path):
            if reason is None and file.mtime_ns is not None:
                os.utime(temporary, ns=(temporary.stat().st_atime_ns, file.mtime_ns))
            sync_file(temporary)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return reason
