"""The target folder of an export, with two policies: replace our own files, or only add files.

:class:`ManifestTarget` replaces only files that an earlier export of the same dataset wrote and
that have not changed since. The export's manifest lists them with their digests. During an export,
a journal gets one line for each file before the file is published. After a crash, manifest and
journal together list every published file.

:class:`OriginalTarget` overwrites and removes nothing in the folder, and leaves only the original
files in it.
"""

from __future__ import annotations

import contextlib
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from kymflow_zarr.errors import TargetExistsError
from kymflow_zarr.export.dataset_layout.places import MANIFEST, WORK
from kymflow_zarr.export.manifest import (
    FileEntry,
    journal_header,
    journal_line,
    read_entries,
    read_journal,
)
from kymflow_zarr.export.report import ExportKind
from kymflow_zarr.export.staging_area import (
    ExportWorkDir,
    KnownFiles,
    StagedFile,
    StagingArea,
    is_own_folder,
    target_errors,
    temporary_in,
)
from kymflow_zarr.storage.local.files import (
    append_lines,
    digest_file,
    replace,
    sync_all,
    sync_folder,
    write_file,
)

__all__ = ["ExportTarget", "ManifestTarget", "OriginalFile", "OriginalTarget", "make_file"]

_JOURNAL: Final = "journal.jsonl"
_SHOWN: Final = 3


class ExportTarget(ABC):
    """The target folder of one export; a context manager while it is written to.

    Parameters
    ----------
    root : Path
        Absolute, without links; it may not exist yet.

    Raises
    ------
    TargetExistsError
        If it is a file.
    """

    _refusal: ClassVar[str]

    def __init__(self, root: Path) -> None:
        self.root = root
        self.written: set[str] = set()
        """Files that took their places now."""
        self._work = ExportWorkDir(root)
        if os.path.lexists(root) and not root.is_dir():
            raise TargetExistsError("the target is not a folder", where=str(root))

    def __enter__(self) -> Self:
        try:
            with target_errors("write to", str(self.root)):
                if os.path.lexists(self._work.path) and not is_own_folder(self._work.path):
                    raise self._in_the_way([WORK])
                self._begin()
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

    def _begin(self) -> None:
        """Lock the work folder and prepare it."""
        self._work.enter()

    def _leave(self) -> None:
        if not self._work.is_held:
            return  # Another export holds the lock.
        remove = True
        # An error of the cleanup must not hide the original error.
        with contextlib.suppress(OSError):
            self._work.sweep()
            remove = self._end()
        self._work.leave(remove=remove)

    def _end(self) -> bool:
        """Clean up the work folder; return True if the next export does not need it."""
        return True

    def _obstacle(self, path: str) -> str | None:
        """Return the path that blocks a file, which may be a parent folder that is a link."""
        folder = self.root
        for part in path.split("/")[:-1]:
            folder = folder / part
            if os.path.lexists(folder) and not is_own_folder(folder):
                return folder.relative_to(self.root).as_posix()
        return path if self._is_in_the_way(path) else None

    @abstractmethod
    def _is_in_the_way(self, path: str) -> bool:
        """Return True if a path holds something other than a file of the export."""

    def _file(self, path: str) -> Path:
        return self.root.joinpath(*path.split("/"))

    def _in_the_way(self, paths: list[str]) -> TargetExistsError:
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        return TargetExistsError(
            f"the export would overwrite {self._refusal}: {', '.join(paths[:_SHOWN])}{more}",
            where=str(self.root),
            hint="Move it away, or export to another folder. Nothing was overwritten.",
        )


class ManifestTarget(ExportTarget):
    """A target whose manifest lists our files: changed ones are replaced, stale ones removed.

    Parameters
    ----------
    root : Path
        Absolute, without links; it may not exist yet.
    dataset_id : str
    untouchable : Path or None
        The dataset's folder, in which nothing is removed.

    Raises
    ------
    TargetExistsError
        If it is a file, or holds the export of another dataset.
    """

    _refusal = "what it did not write"

    def __init__(self, root: Path, dataset_id: str, *, untouchable: Path | None) -> None:
        super().__init__(root)
        self._journal = self._work.path / _JOURNAL
        self._untouchable = untouchable
        self._dataset_id = dataset_id
        self._staged: list[StagedFile] = []
        self._known = KnownFiles(root)
        self._untouched: set[str] = set()
        self.earlier: Mapping[str, Any] = {}
        """What the manifest of the earlier export says."""
        self.files: dict[str, FileEntry] = {}
        """The files that make up the export."""
        self._read_known()

    def _read_known(self) -> None:
        with target_errors("read", str(self.root)):
            if os.path.lexists(self._work.path) and not is_own_folder(self._work.path):
                raise self._in_the_way([WORK])
            manifest = self._read_file(self.root / MANIFEST, MANIFEST)
            journal = self._read_file(self._journal, f"{WORK}/{_JOURNAL}")
        if manifest is not None:
            self.earlier, entries = read_entries(
                manifest, self._dataset_id, where=str(self.root / MANIFEST)
            )
            for path, entry in entries.items():
                self._known.add(path, entry)
        if journal is not None:
            for path, entry in read_journal(journal, self._dataset_id, where=str(self._journal)):
                self._known.add(path, entry)

    def _read_file(self, path: Path, name: str) -> bytes | None:
        if not os.path.lexists(path):
            return None
        if not stat.S_ISREG(path.lstat().st_mode):
            raise self._in_the_way([name])
        return path.read_bytes()

    def check(self, paths: Iterable[str]) -> None:
        """Check that no foreign file blocks the files to be written.

        Raises
        ------
        TargetExistsError
            If one does; the message names up to three.
        """
        obstacles: dict[str, None] = {}
        with target_errors("look at", str(self.root)):
            for path in paths:
                obstacle = self._obstacle(path)
                if obstacle is not None:
                    obstacles[obstacle] = None
        if obstacles:
            raise self._in_the_way(list(obstacles))

    def _is_in_the_way(self, path: str) -> bool:
        return self._known.state(path) == "foreign"

    def _begin(self) -> None:
        super()._begin()
        if not self._journal.exists():
            self._put(self._journal, journal_header(self._dataset_id))

    def _end(self) -> bool:
        self._staged.clear()
        # A journal with entries identifies our files: keep it for the next export.
        if self._journal.exists():
            if self._journal.read_bytes() != journal_header(self._dataset_id):
                return False
            self._journal.unlink()
        return True

    def staging_area(self, paths: Iterable[str]) -> StagingArea:
        """Return a staging area for a part, given the paths that the part may need."""
        return StagingArea(self._known.of(paths))

    def take(self, area: StagingArea) -> None:
        """Add the staged files of a part; the next :meth:`commit` publishes them."""
        self._staged += area.staged
        self.files |= area.kept

    def discard(self) -> None:
        """Drop the added files that were not published."""
        with target_errors("write to", str(self.root)):
            for item in self._staged:
                item.temporary.unlink(missing_ok=True)
        self._staged.clear()

    def leave(self, owns: Callable[[str], bool]) -> bool:
        """Keep files of an earlier export unchanged, because their source is damaged now.

        Parameters
        ----------
        owns : callable
            Returns True for the path of such a file.

        Returns
        -------
        bool
            Whether the earlier manifest's entries for them are still correct.
        """
        listed = self.earlier.get("files", {})
        true = True
        with target_errors("look at", str(self.root)):
            for path in filter(owns, self._known.paths()):
                self._untouched.add(path)
                self.files.pop(path, None)
                state = None if self._obstacle(path) is not None else self._known.state(path)
                if isinstance(state, FileEntry):
                    self.files[path] = state
                true = true and isinstance(state, FileEntry) and listed.get(path) == state._asdict()
        return true

    def commit(self) -> None:
        """Publish the added files, after recording them in the journal."""
        staged = self._staged
        if not staged:
            return
        self.check(item.path for item in staged)
        lines = [journal_line(item.path, item.entry) for item in staged]
        folders = {self._file(item.path).parent for item in staged}
        with target_errors("write to", str(self.root)):
            append_lines(self._journal, b"".join(lines))
            while staged:
                path, temporary, entry = staged[0]
                file = self._file(path)
                file.parent.mkdir(parents=True, exist_ok=True)
                replace(temporary, file)
                staged.pop(0)
                self.files[path] = entry
                self.written.add(path)
            for folder in folders:
                sync_folder(folder)

    def remove_stale(self) -> tuple[list[str], list[str]]:
        """Delete the files of earlier exports that this one did not write.

        Returns
        -------
        removed, kept : list of str
            Files that were changed since are kept.
        """
        removed, left_alone = [], []
        with target_errors("clean up", str(self.root)):
            for path in sorted(set(self._known.paths()) - set(self.files) - self._untouched):
                home = self._untouchable
                if home is not None and self._file(path).is_relative_to(home):
                    continue
                if self._obstacle(path) is not None:
                    if os.path.lexists(self._file(path)):
                        left_alone.append(path)
                elif isinstance(self._known.state(path), FileEntry):
                    self._file(path).unlink()
                    self._remove_empty(self._file(path).parent)
                    removed.append(path)
        return removed, left_alone

    def finish(self, manifest: bytes | None) -> None:
        """Write the manifest (None: it is unchanged) and delete the journal."""
        with target_errors("write", str(self.root / MANIFEST)):
            if manifest is not None:
                self._put(self.root / MANIFEST, manifest)
                sync_folder(self.root)
                self.written.add(MANIFEST)
            self._journal.unlink()

    def _put(self, file: Path, data: bytes) -> None:
        temporary = temporary_in(self.root)
        write_file(temporary, data, durable=True)
        replace(temporary, file)

    def _remove_empty(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # The folder is not empty: leave it.
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent


@dataclass(frozen=True, slots=True)
class OriginalFile:
    """A file of the original folders.

    Parameters
    ----------
    path : str
        Below the target, with ``/``.
    write : callable
        Writes the file to an unused path; returns how it differs from the original, None if it does
        not.
    kind, name
        The part of the dataset that it belongs to.
    sha256 : str, optional
        Digest, if it is known before the file is written.
    mtime_ns : int, optional
        Modification time of the original, which the file gets unless it differs.
    apart : bool
        Whether an executor should write it because it is slow; it can then be pickled.
    """

    path: str
    write: Callable[[Path], str | None]
    kind: ExportKind
    name: str
    sha256: str | None = None
    mtime_ns: int | None = None
    apart: bool = False


class OriginalTarget(ExportTarget):
    """A target for the original folders: existing files stay, missing ones are added."""

    _refusal = "other files"

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._there: dict[str, str | None] = {}
        self._folders: set[Path] = set()

    def check(
        self, files: Iterable[OriginalFile], failed: Callable[[OriginalFile, Exception], None]
    ) -> None:
        """Check that each existing file at a target path equals the file to be written.

        Parameters
        ----------
        files : iterable of OriginalFile
        failed : callable
            Called with a file that could not be made for comparison, and the reason.

        Raises
        ------
        TargetExistsError
            If one differs; the message names up to three. Nothing was written.
        """
        obstacles: dict[str, None] = {}
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
                obstacles[obstacle] = None
        if obstacles:
            raise self._in_the_way(list(obstacles))

    def _is_in_the_way(self, path: str) -> bool:
        file = self._file(path)
        return os.path.lexists(file) and not stat.S_ISREG(file.lstat().st_mode)

    def _is_there(self, file: OriginalFile) -> bool:
        """Return True if an existing file equals the one that would be written."""
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

    def temporary(self, file: OriginalFile, broken: Container[str]) -> Path | None:
        """Return a temporary path for a file; None if the file exists, or is a broken one."""
        there = file.path in self._there or file.path in broken
        return None if there else temporary_in(self.root)

    def sync(self, temporaries: Iterable[Path | None]) -> None:
        """Fsync the temporary files before they are renamed."""
        with target_errors("write", str(self.root)):
            sync_all([temporary for temporary in temporaries if temporary is not None])

    def sync_folders(self) -> None:
        """Fsync the parent folders of the published files."""
        folders, self._folders = self._folders, set()
        with target_errors("write to", str(self.root)):
            sync_all([], folders)

    def place(self, file: OriginalFile, temporary: Path | None, reason: str | None) -> str | None:
        """Publish a temporary file; return how it differs from the original.

        Raises
        ------
        TargetExistsError
            If something now exists at its path.
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
                self._folders.add(place.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        self.written.add(file.path)
        return reason

    def _place(self, temporary: Path, place: Path, path: str) -> None:
        try:
            # Unlike a rename, a hard link never replaces a file that was created meanwhile.
            os.link(temporary, place)
        except FileExistsError:
            raise self._in_the_way([path]) from None
        except OSError:  # The file system does not support hard links.
            if os.path.lexists(place):
                raise self._in_the_way([path]) from None
            replace(temporary, place)


def make_file(task: tuple[OriginalFile, Path | None]) -> str | None:
    """Write a file to the work folder, in this process or a worker; return how it differs."""
    file, temporary = task
    if temporary is None:
        return None
    try:
        reason = file.write(temporary)
        with target_errors("write", file.path):
            if reason is None and file.mtime_ns is not None:
                os.utime(temporary, ns=(temporary.stat().st_atime_ns, file.mtime_ns))
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return reason
