"""Plan all files of the original folders and their paths before any is written."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from kymflow_zarr import layout
from kymflow_zarr.errors import ArgumentError, InvalidNameError
from kymflow_zarr.export.dataset_layout.places import WORK, source_segment
from kymflow_zarr.export.report import ExportDifference, ExportFailure, ExportKind
from kymflow_zarr.export.staging_area import target_errors
from kymflow_zarr.export.target import OriginalFile
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.local.files import write_file

__all__ = ["Names", "Roots", "TreePlan", "legal_path", "root_of", "stem_of"]

_WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def root_of(document: SourceFileDocument) -> str | None:
    """Return the folder of a file's ingest, None if its absolute and relative paths disagree."""
    path = document.path
    if _WINDOWS_PATH.match(path):
        path = path.replace("\\", "/")
    end = f"/{document.rel_path}"
    return path[: -len(end)] if path.endswith(end) else None


def legal_path(rel_path: str, *, windows: bool = sys.platform == "win32") -> str:
    """Return a path below the target that is legal on this system.

    Parameters
    ----------
    rel_path : str
        From a document.
    windows : bool
        Whether to escape names that are illegal on Windows.

    Raises
    ------
    ArgumentError
        If it leads out of the target, or is not a path.
    """
    if layout.leads_out(rel_path, windows=False):
        raise ArgumentError(f"the path {rel_path!r} leads out of the folder")
    try:
        rel_path.encode()
    except UnicodeEncodeError:
        raise ArgumentError(f"the path {rel_path!r} is not valid Unicode") from None
    return "/".join(map(_windows_segment, rel_path.split("/"))) if windows else rel_path


def _windows_segment(segment: str) -> str:
    try:
        layout.check_name(segment, what="file name")
        legal = layout.is_legal_on_windows(segment)
    except InvalidNameError:
        legal = False
    return segment if legal else source_segment(segment)


class Roots:
    """The folders of the ingested files, and their paths in the target.

    A single folder maps to the target itself. Several map to folders of their own names in the
    target; nested ones stay nested.

    Parameters
    ----------
    documents : iterable of SourceFileDocument
        All files of the dataset.
    """

    def __init__(self, documents: Iterable[SourceFileDocument]) -> None:
        roots = {root_of(document) for document in documents}
        known = sorted(root for root in roots if root is not None)
        tops: list[str] = []
        for root in known:
            if not any(root.startswith(f"{top}/") for top in tops):
                tops.append(root)
        self._tops = tops
        several = len(tops) + (None in roots) > 1
        names = Names()
        self._folders = {
            top: names.take(_windows_segment(PurePosixPath(top).name or "root"), "-")
            if several
            else ""
            for top in tops
        }
        self._other = names.take("files", "-") if several else ""

    def place(self, document: SourceFileDocument) -> str:
        """Return the path of a file in the target.

        Raises
        ------
        ArgumentError
            If that path would be outside of the target.
        """
        root = root_of(document)
        relative, folder = document.rel_path, self._other
        if root is not None:
            top = next(t for t in self._tops if root == t or root.startswith(f"{t}/"))
            folder = self._folders[top]
            relative = f"{root[len(top) + 1 :]}/{relative}".lstrip("/") if root != top else relative
        legal = legal_path(relative)
        return f"{folder}/{legal}" if folder else legal


class Names:
    """Used names, compared case-insensitively as some file systems do."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def claim(self, path: str) -> None:
        """Mark a path as used."""
        self._taken.add(path.casefold())
        self._taken.update(str(parent).casefold() for parent in PurePosixPath(path).parents)

    def has(self, path: str) -> bool:
        """Return True if a path is used."""
        return path.casefold() in self._taken

    def take(self, stem: str, separator: str = "_", suffix: str = "") -> str:
        """Return an unused path: `stem` and `suffix`, with a number between them if needed."""
        path, number = f"{stem}{suffix}", 1
        while path.casefold() in self._taken:
            number += 1
            path = f"{stem}{separator}{number}{suffix}"
        self.claim(path)
        return path


class TreePlan:
    """The planned files, with differences and failures for the report.

    Parameters
    ----------
    roots : Roots
    """

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._places: dict[tuple[str, str], str | None] = {}
        self.names = Names()
        self.files: dict[str, OriginalFile] = {}
        self._originals: dict[str, SourceFileDocument] = {}
        self._stems: set[str] = set()
        self.differences: list[ExportDifference] = []
        self.failed: list[ExportFailure] = []

    def place(self, file: SourceFileDocument) -> str | None:
        """Return the target path of an original file; report it and return None if it has none."""
        key = (file.path, file.rel_path)
        if key not in self._places:
            self._places[key] = self._placed(file)
        return self._places[key]

    def _placed(self, file: SourceFileDocument) -> str | None:
        try:
            place = self._roots.place(file)
            if place.split("/")[0] == WORK:
                raise ArgumentError(f"{WORK} is the export's own folder")
        except ArgumentError as error:
            self.fail("source_file", file.path, f"not written: {error.what}")
            return None
        if not place.endswith(file.rel_path):
            self.note(place, f"it was {file.rel_path!r}, which this system does not take")
        self.names.claim(place)
        return place

    def note(self, path: str, reason: str) -> None:
        """Report how a file differs from the original."""
        self.differences.append(ExportDifference(path, reason))

    def fail(self, kind: ExportKind, name: str, reason: str) -> None:
        """Report a part that could not be exported."""
        self.failed.append(ExportFailure(kind, name, reason))

    # Stems -----------------------------------------------------------------------------

    def claim_stem(self, stem: str) -> bool:
        """Claim the sidecars of a stem for a TIFF; return False if another TIFF has them."""
        free = stem.casefold() not in self._stems
        self._stems.add(stem.casefold())
        return free

    def belongs_elsewhere(self, named: str, stem: str) -> bool:
        """Return True if ingest would match a sidecar to a longer stem."""
        longer = (
            named[:end].casefold()
            for end in range(len(stem) + 1, len(named) + 1)
            if end == len(named) or named[end] == "."
        )
        return any(each in self._stems for each in longer)

    # Files -----------------------------------------------------------------------------

    def verbatim(
        self, name: str, file: SourceFileDocument, place: str, read: Callable[[], bytes],
        kind: ExportKind = "image",
    ) -> None:  # fmt: skip
        """Plan an unchanged file; of several versions of one file, the latest."""
        other = self._originals.get(place)
        if other is not None and other.sha256 != file.sha256:
            self.note(place, "the dataset keeps several states of it; the latest was written")
        if place in self.files and (other is None or other.mtime_ns >= file.mtime_ns):
            return
        self._originals[place] = file
        write = partial(_write, lambda: (read(), None))
        self.files[place] = OriginalFile(place, write, kind, name, file.sha256, file.mtime_ns)

    def built(
        self, name: str, place: str, build: Callable[[], tuple[bytes, str]],
        kind: ExportKind = "image",
    ) -> None:  # fmt: skip
        """Plan a file made of artifacts; raise the errors of `build`."""
        # Build it again when it is written: keeping all results would take too much memory.
        build()
        self.files[place] = OriginalFile(place, partial(_write, build), kind, name)

    def made(
        self, name: str, place: str, write: Callable[[Path], str | None],
        mtime_ns: int | None = None, *, apart: bool = False,
    ) -> None:  # fmt: skip
        """Plan a file that a function writes."""
        self.files[place] = OriginalFile(
            place, write, "image", name, mtime_ns=mtime_ns, apart=apart
        )


def stem_of(place: str) -> str:
    """Return a path without its suffix."""
    path = PurePosixPath(place)
    return str(path.with_name(path.stem))


def _write(build: Callable[[], tuple[bytes, str | None]], path: Path) -> str | None:
    data, reason = build()
    with target_errors("write", str(path)):
        write_file(path, data, durable=False)
    return reason
