"""Where the files of an export are staged before they are published."""

from __future__ import annotations

import contextlib
import json
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from filelock import FileLock, Timeout

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

if TYPE_CHECKING:
    import numpy as np


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
    """Return True if something is a folder, and no link (or junction) to one."""
    found = folder.lstat()
    tag = getattr(found, "st_reparse_tag", 0)
    return stat.S_ISDIR(found.st_mode) and tag != _REPARSE_MOUNT_POINT


State: TypeAlias = FileEntry | Literal["absent", "foreign"]


class StagedFile(NamedTuple):
    """A file that has not taken its place."""

    path: str
    temporary: Path
    entry: FileEntry


class KnownFiles:
    """What earlier exports wrote, and what became of it; each file is read once at most.

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
        """Take in what an export has written; the latest comes last."""
        self._entries.setdefault(path, []).append(entry)

    def paths(self) -> list[str]:
        """Return the paths of all files."""
        return list(self._entries)

    def of(self, paths: Iterable[str]) -> KnownFiles:
        """Return what is known of some files."""
        some = KnownFiles(self.root)
        for path in paths:
            if path in self._entries:
                some._entries[path] = self._entries[path]
            if path in self._states:
                some._states[path] = self._states[path]
        return some

    def holds(self, path: str, made_from: str) -> bool:
        """Return True if a file is there, ours, intact, and made from the same thing."""
        state = self.state(path)
        return isinstance(state, FileEntry) and state.made_from == made_from

    def wrote(self, path: str, made_from: str) -> bool:
        """Return True if an earlier export needed a file, whatever became of it."""
        return any(entry.made_from == made_from for entry in self._entries.get(path, ()))

    def state(self, path: str) -> State:
        """Return what a file is: the entry of an earlier export if it is as that wrote it."""
        if path not in self._states:
            self._states[path] = self._look(path)
        return self._states[path]

    def _look(self, path: str) -> State:
        file = self.root.joinpath(*path.split("/"))
        with target_errors("read", str(file)):
            try:
                found = file.lstat()
            except (FileNotFoundError, NotADirectoryError):
                return "absent"
            # The latest knows best what it was made from.
            known = reversed(self._entries.get(path, []))
            entries = [entry for entry in known if entry.size_bytes == found.st_size]
            if not entries or not stat.S_ISREG(found.st_mode):
                return "foreign"
            _, digest = digest_file(file)
        return next((entry for entry in entries if entry.sha256 == digest), "foreign")


class StagingArea:
    """The files of one part; it pickles.

    Parameters
    ----------
    known : KnownFiles
        Of the files that the part may need.

    Attributes
    ----------
    staged : list of StagedFile
        Files to take their places.
    kept : dict of str to FileEntry
        Files that are there as they should be, by path.
    """

    def __init__(self, known: KnownFiles) -> None:
        self._known = known
        self.staged: list[StagedFile] = []
        self.kept: dict[str, FileEntry] = {}

    def holds(self, path: str, made_from: str) -> bool:
        """Return True if a file is there, ours, intact, and made from the same thing."""
        return self._known.holds(path, made_from)

    def wrote(self, path: str, made_from: str) -> bool:
        """Return True if an earlier export needed a file, whatever became of it."""
        return self._known.wrote(path, made_from)

    def keep(self, path: str) -> None:
        """Leave a file as the earlier export wrote it; it :meth:`holds` what it should."""
        state = self._known.state(path)
        assert isinstance(state, FileEntry)
        self.kept[path] = state

    def add(self, path: str, made_from: str, write: bytes | Callable[[Path], object]) -> None:
        """Make a file.

        Parameters
        ----------
        path : str
            Below the target, with ``/``.
        made_from : str
            Digest of what the content follows from.
        write : bytes or callable
            The content, or a function that writes it to a path where nothing is.
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
        """Delete the files that have not taken their places."""
        with target_errors("write to", str(self._known.root)):
            for item in self.staged:
                item.temporary.unlink(missing_ok=True)
        self.staged.clear()


def add_bytes(area: StagingArea, path: str, origin: str, data: bytes) -> None:
    """Write a file of known content, unless it is there as it should be."""
    if area.holds(path, origin):
        area.keep(path)
    else:
        area.add(path, origin, data)


def add_frame(area: StagingArea, place: ArtifactPlace, data: bytes) -> dict[str, Any]:
    """Write a CSV, and the stored file itself where that says more; say which is exact."""
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
    """Return a digest of what a file follows from; another version may write differently."""
    return digest_of_bytes(json.dumps([__version__, *parts]).encode())
