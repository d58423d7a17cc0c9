"""Write the files of one part of an export, in any process, before they take their places.

Nothing outside of the target's work folder is touched. The export itself, which holds the lock,
moves them to where they belong.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from kymflow_zarr._version import __version__
from kymflow_zarr.export.dataset_layout.places import ArtifactPlace
from kymflow_zarr.export.manifest import FileEntry
from kymflow_zarr.export.work_dir import target_errors, temporary_in
from kymflow_zarr.storage.local.files import (
    digest_file,
    sync_file,
    write_file,
)
from kymflow_zarr.storage.local.files import (
    digest_of_bytes as sha256,
)

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "KnownFiles",
    "StagedFile",
    "StagingArea",
    "State",
    "add_bytes",
    "add_frame",
    "made_from",
    "numpy_writer",
    "sha256",
]

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
        """Tell whether a file is there, ours, intact, and made from the same thing."""
        state = self.state(path)
        return isinstance(state, FileEntry) and state.made_from == made_from

    def wrote(self, path: str, made_from: str) -> bool:
        """Tell whether an earlier export needed a file, whatever became of it."""
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
        """Tell whether a file is there, ours, intact, and made from the same thing."""
        return self._known.holds(path, made_from)

    def wrote(self, path: str, made_from: str) -> bool:
        """Tell whether an earlier export needed a file, whatever became of it."""
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
    origin = made_from("frame", place.kind, sha256(data))
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
    return sha256(json.dumps([__version__, *parts]).encode())
