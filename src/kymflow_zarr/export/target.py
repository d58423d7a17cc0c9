"""The folder that is exported to: whose a file is, and how one is written.

Files are ours that an earlier export of the same dataset wrote and nobody has changed since.
The export's manifest lists them with their digests; while an export runs, so does a journal,
a line for each file before the file takes its place. After a crash the two together know
every file there is.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Final, Self

from kymflow_zarr.errors import TargetExistsError
from kymflow_zarr.export.dataset_layout.places import MANIFEST, WORK
from kymflow_zarr.export.errors import target_errors
from kymflow_zarr.export.manifest import (
    FileEntry,
    journal_header,
    journal_line,
    read_entries,
    read_journal,
)
from kymflow_zarr.export.staging_area import Bench, KnownFiles, Staged
from kymflow_zarr.export.work_dir import WorkFolder, is_own_folder, temporary_in
from kymflow_zarr.storage.local.files import append_lines, replace, sync_folder, write_file

__all__ = ["ExportTarget"]

_JOURNAL: Final = "journal.jsonl"
_SHOWN: Final = 3


class ExportTarget:
    """The target folder of one export; a context manager once it is written to.

    Parameters
    ----------
    root : Path
        The folder, absolute, without links; it need not be there.
    dataset_id : str
    untouchable : Path
        The dataset's folder, from which nothing is removed.

    Raises
    ------
    TargetExistsError
        If the folder is a file, or holds the export of another dataset.
    """

    def __init__(self, root: Path, dataset_id: str, *, untouchable: Path) -> None:
        self.root = root
        self._work = WorkFolder(root)
        self._journal = self._work.path / _JOURNAL
        self._untouchable = untouchable
        self._dataset_id = dataset_id
        self._staged: list[Staged] = []
        self._folders: dict[Path, bool] = {root: True}
        self._known = KnownFiles(root)
        self._untouched: set[str] = set()
        self.earlier: Mapping[str, Any] = {}
        """What the manifest of the earlier export says."""
        self.files: dict[str, FileEntry] = {}
        """The files that make up the export."""
        self.written: set[str] = set()
        """Those that took their places now."""
        if os.path.lexists(root) and not root.is_dir():
            raise TargetExistsError("the target is not a folder", where=str(root))
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

    # Whose a file is -------------------------------------------------------------------

    def check(self, paths: Iterable[str]) -> None:
        """Make sure that nothing of somebody else is in the way of files to be written.

        Raises
        ------
        TargetExistsError
            If something is; names up to three.
        """
        found: dict[str, None] = {}
        with target_errors("look at", str(self.root)):
            for path in paths:
                obstacle = self._obstacle(path)
                if obstacle is not None:
                    found[obstacle] = None
        if found:
            raise self._in_the_way(list(found))

    def _obstacle(self, path: str) -> str | None:
        folder = self.root
        for part in PurePosixPath(path).parent.parts:
            folder = folder / part
            if not self._may_hold_files(folder):
                return folder.relative_to(self.root).as_posix()
        return path if self._known.state(path) == "foreign" else None

    def _may_hold_files(self, folder: Path) -> bool:
        if folder not in self._folders:
            self._folders[folder] = not os.path.lexists(folder) or is_own_folder(folder)
        return self._folders[folder]

    def _file(self, path: str) -> Path:
        return self.root.joinpath(*path.split("/"))

    def _in_the_way(self, paths: list[str]) -> TargetExistsError:
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        return TargetExistsError(
            f"the export would overwrite what it did not write: {', '.join(paths[:_SHOWN])}{more}",
            where=str(self.root),
            hint="Move it away, or export to another folder. Nothing was overwritten.",
        )

    # Writing ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            with target_errors("write to", str(self.root)):
                self._work.enter()
                if not self._journal.exists():
                    self._put(self._journal, journal_header(self._dataset_id))
        except BaseException:
            self._leave_work()
            raise
        return self

    def bench(self, paths: Iterable[str]) -> Bench:
        """Return where to make the files of a part, which may need those of some paths."""
        return Bench(self._known.of(paths))

    def take(self, bench: Bench) -> None:
        """Take over the files of a part; they take their places with the next :meth:`commit`."""
        self._staged += bench.staged
        self.files |= bench.kept

    def discard(self) -> None:
        """Forget the files that were taken over and have not taken their places."""
        with target_errors("write to", str(self.root)):
            for item in self._staged:
                item.temporary.unlink(missing_ok=True)
        self._staged.clear()

    def leave(self, owns: Callable[[str], bool]) -> bool:
        """Leave files of an earlier export as they are, since what they follow from is damaged.

        Parameters
        ----------
        owns : callable
            Tells by its path whether a file is one of them.

        Returns
        -------
        bool
            Whether what the earlier manifest says of them is true still.
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
        """Let the files that were added take their places, all that is left of them first."""
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
            Those that somebody has changed since are kept.
        """
        removed, kept = [], []
        with target_errors("clean up", str(self.root)):
            for path in sorted(set(self._known.paths()) - set(self.files) - self._untouched):
                if self._file(path).is_relative_to(self._untouchable):
                    continue
                if self._obstacle(path) is not None:
                    if os.path.lexists(self._file(path)):
                        kept.append(path)
                elif isinstance(self._known.state(path), FileEntry):
                    self._file(path).unlink()
                    self._remove_empty(self._file(path).parent)
                    removed.append(path)
        return removed, kept

    def finish(self, manifest: bytes | None) -> None:
        """Write the manifest, None if it is as it was; the journal is not needed any more."""
        with target_errors("write", str(self.root / MANIFEST)):
            if manifest is not None:
                self._put(self.root / MANIFEST, manifest)
                sync_folder(self.root)
                self.written.add(MANIFEST)
            self._journal.unlink()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave_work()

    def _leave_work(self) -> None:
        """Remove the folder of the work, unless the next export needs its journal."""
        if not self._work.is_held:
            return  # It is another export's.
        # What went wrong before must not be hidden by what goes wrong here.
        with contextlib.suppress(OSError):
            self._staged.clear()
            self._work.sweep()
            if self._journal.exists() and self._journal.read_bytes() == journal_header(
                self._dataset_id
            ):
                self._journal.unlink()
        self._work.leave(remove=not self._journal.exists())

    def _put(self, file: Path, data: bytes) -> None:
        temporary = temporary_in(self.root)
        write_file(temporary, data, durable=True)
        replace(temporary, file)

    def _remove_empty(self, folder: Path) -> None:
        with contextlib.suppress(OSError):  # Not empty: something else is in it.
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent
