"""Stage the files of an export before they are published."""

from __future__ import annotations

import contextlib
import json
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from kymflow_zarr._version import __version__
from kymflow_zarr.errors import KymflowZarrError, LockTimeoutError, StorageError
from kymflow_zarr.export.dataset_layout.places import WORK, ArtifactPlace
from kymflow_zarr.export.manifest import FileEntry
from kymflow_zarr.storage.local.files import (
    digest_file,
    digest_of_bytes,
    os_errors,
    sync_file,
    write_file,
)
from kymflow_zarr.storage.local.locks import LockFile

if TYPE_CHECKING:
    import numpy as np


class TargetStorageError(StorageError):
    """An error of the target's disk, as opposed to a StorageError of the dataset."""


@contextlib.contextmanager
def target_errors(doing: str, where: str) -> Iterator[None]:
    """Turn an OSError in the ``with`` block into a TargetStorageError with advice."""
    try:
        yield
    except OSError as error:
        # Our own errors come from reading the dataset meanwhile: pass them on.
        if isinstance(error, KymflowZarrError):
            raise
        try:
            with os_errors(doing, where):
                raise
        except StorageError as storage_error:
            raise TargetStorageError(
                storage_error.what, where=storage_error.where, hint=storage_error.hint
            ) from error


_LOCK: Final = "lock"
_REPARSE_MOUNT_POINT: Final = 0xA0000003


class ExportWorkDir:
    """The work folder of one export; :meth:`enter` creates it.

    Parameters
    ----------
    root : Path
        The target.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / WORK
        self._root = root
        self._lock: LockFile | None = None
        self._made_root = False

    @property
    def is_held(self) -> bool:
        """Whether this export holds the lock of the folder."""
        return self._lock is not None

    def enter(self) -> None:
        """Create the folder, lock it, and delete the leftovers of a dead export.

        Raises
        ------
        LockTimeoutError
            If another export is writing to the target.
        """
        self._made_root = not self._root.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        lock = LockFile(self.path / _LOCK)
        if not lock.acquire(0):
            raise LockTimeoutError(
                "another export is writing to this folder",
                where=str(self._root),
                hint="Wait for it to finish, then call again.",
            )
        self._lock = lock
        self.sweep()

    def leave(self, *, remove: bool = True) -> None:
        """Release the lock; remove the folder, and the target if it is empty and new."""
        if self._lock is None:
            return
        self._lock.end()
        self._lock = None
        if remove:
            with contextlib.suppress(OSError):
                (self.path / _LOCK).unlink(missing_ok=True)
                self.path.rmdir()
                if self._made_root:
                    self._root.rmdir()  # Removing fails, as intended, unless the folder is empty.

    def sweep(self) -> None:
        """Delete the staged files that were not published."""
        for leftover in self.path.glob("*.tmp"):
            leftover.unlink(missing_ok=True)


def temporary_in(root: Path) -> Path:
    """Return an unused path in the work folder of a target."""
    return root / WORK / f"{uuid.uuid4().hex}.tmp"


def is_own_folder(folder: Path) -> bool:
    """Return True if a path is a folder, not a link (or junction) to one."""
    status = folder.lstat()
    tag = getattr(status, "st_reparse_tag", 0)
    return stat.S_ISDIR(status.st_mode) and tag != _REPARSE_MOUNT_POINT


State: TypeAlias = FileEntry | Literal["absent", "foreign"]


class StagedFile(NamedTuple):
    """A staged file that is not published yet."""

    path: str
    temporary: Path
    entry: FileEntry


class KnownFiles:
    """The files of earlier exports and their current state; each file is read at most once.

    Parameters
    ----------
    root : Path
        The target.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._entries: dict[str, list[FileEntry]] = {}
        self._states: dict[str, State] = {}

    def add(self, path: str, entry: FileEntry) -> None:
        """Add an entry of an earlier export; call it in order, the latest last."""
        self._entries.setdefault(path, []).append(entry)

    def paths(self) -> list[str]:
        """Return the paths of all files."""
        return list(self._entries)

    def of(self, paths: Iterable[str]) -> KnownFiles:
        """Return the subset for some files."""
        some = KnownFiles(self.root)
        for path in paths:
            if path in self._entries:
                some._entries[path] = self._entries[path]
            if path in self._states:
                some._states[path] = self._states[path]
        return some

    def holds(self, path: str, made_from: str) -> bool:
        """Return True if a file exists, is ours and intact, and was made from the same content."""
        state = self.state(path)
        return isinstance(state, FileEntry) and state.made_from == made_from

    def wrote(self, path: str, made_from: str) -> bool:
        """Return True if an earlier export listed a file, whatever its state now."""
        return any(entry.made_from == made_from for entry in self._entries.get(path, ()))

    def state(self, path: str) -> State:
        """Return the state of a file: its entry if it is unchanged since an earlier export."""
        if path not in self._states:
            self._states[path] = self._look(path)
        return self._states[path]

    def _look(self, path: str) -> State:
        file = self.root.joinpath(*path.split("/"))
        with target_errors("read", str(file)):
            try:
                status = file.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return "absent"
            # Prefer the latest entry, since `made_from` may differ.
            known = reversed(self._entries.get(path, []))
            entries = [entry for entry in known if entry.size_bytes == status.st_size]
            if not entries or not stat.S_ISREG(status.st_mode):
                return "foreign"
            _, digest = digest_file(file)
        return next((entry for entry in entries if entry.sha256 == digest), "foreign")


class StagingArea:
    """Stage the files of one part of the dataset; it can be pickled.

    Parameters
    ----------
    known : KnownFiles
        The files that the part may need.

    Attributes
    ----------
    staged : list of StagedFile
        Files to publish.
    kept : dict of str to FileEntry
        Files of an earlier export that are still valid, by path.
    """

    def __init__(self, known: KnownFiles) -> None:
        self._known = known
        self.staged: list[StagedFile] = []
        self.kept: dict[str, FileEntry] = {}

    def holds(self, path: str, made_from: str) -> bool:
        """Return True if a file exists, is ours and intact, and was made from the same content."""
        return self._known.holds(path, made_from)

    def wrote(self, path: str, made_from: str) -> bool:
        """Return True if an earlier export listed a file, whatever its state now."""
        return self._known.wrote(path, made_from)

    def keep(self, path: str) -> None:
        """Reuse a file of the earlier export, for which :meth:`holds` is True."""
        state = self._known.state(path)
        assert isinstance(state, FileEntry)
        self.kept[path] = state

    def add(self, path: str, made_from: str, write: bytes | Callable[[Path], object]) -> None:
        """Write a file to the work folder.

        Parameters
        ----------
        path : str
            Path below the target, with ``/``.
        made_from : str
            Digest of the content that the file is derived from.
        write : bytes or callable
            The content, or a function that writes it to an unused path.
        """
        temporary = temporary_in(self._known.root)
        with target_errors("write", str(self._known.root.joinpath(*path.split("/")))):
            try:
                if isinstance(write, bytes):
                    write_file(temporary, write, durable=True)
                else:
                    write(temporary)
                    sync_file(temporary)
                size, digest = digest_file(temporary)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        self.staged.append(StagedFile(path, temporary, FileEntry(size, digest, made_from)))

    def discard(self) -> None:
        """Delete the staged files that were not published."""
        with target_errors("write to", str(self._known.root)):
            for item in self.staged:
                item.temporary.unlink(missing_ok=True)
        self.staged.clear()


def add_bytes(area: StagingArea, path: str, origin: str, data: bytes) -> None:
    """Write a file of known content, unless it is unchanged."""
    if area.holds(path, origin):
        area.keep(path)
    else:
        area.add(path, origin, data)


def add_dataframe(area: StagingArea, place: ArtifactPlace, data: bytes) -> dict[str, Any]:
    """Write a CSV, plus the stored file if the CSV is lossy; return the path of the exact one."""
    assert place.plain is not None
    origin = made_from("frame", place.kind, digest_of_bytes(data))
    if area.holds(place.plain, origin) and (
        area.holds(place.exact, origin) or not area.wrote(place.exact, origin)
    ):
        area.keep(place.plain)
        complete = not area.holds(place.exact, origin)
        if not complete:
            area.keep(place.exact)
    else:
        from kymflow_zarr.export.dataframes import csv_of

        csv, complete = csv_of(place.kind, data, where=place.key)
        area.add(place.plain, origin, csv)
        if not complete:
            area.add(place.exact, origin, data)
    return {"file": place.plain if complete else place.exact, "csv": place.plain}


def numpy_writer(array: np.ndarray[Any, Any]) -> Callable[[Path], None]:
    """Return a function that writes an array as ``.npy``."""

    def write(path: Path) -> None:
        import numpy as np

        with path.open("xb") as file:
            np.save(file, array, allow_pickle=False)

    return write


def made_from(*parts: Any) -> str:
    """Return the digest of a file's inputs and of the version of the writer."""
    return digest_of_bytes(json.dumps([__version__, *parts]).encode())
