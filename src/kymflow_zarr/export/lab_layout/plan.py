"""Plan every file of the original folders, and where it goes, before any is written."""

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

__all__ = ["Names", "Roots", "TreePlan", "legal_path", "root_of", "sidecar_name", "stem_of"]

_WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")
# What a sidecar's name cannot hold on one system or another.
_NOT_IN_NAMES: Final = frozenset('<>:"|?*\\/') | {chr(i) for i in range(32)}


def root_of(document: SourceFileDocument) -> str | None:
    """Return the folder that a file was ingested with, None if its two paths do not agree."""
    path = document.path
    if _WINDOWS_PATH.match(path):
        path = path.replace("\\", "/")
    end = f"/{document.rel_path}"
    return path[: -len(end)] if path.endswith(end) else None


def legal_path(rel_path: str, *, windows: bool = sys.platform == "win32") -> str:
    """Return a path below the target, as this system can have it.

    Parameters
    ----------
    rel_path : str
        From a document.
    windows : bool
        Whether names that Windows does not take are spelled otherwise.

    Raises
    ------
    ArgumentError
        If it leads out of the target, or is none.
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


def sidecar_name(name: str) -> str:
    """Return the name of an artifact as a part of a file name: ``a/b`` is ``a%2fb``."""
    return "".join(f"%{ord(c):02x}" if c in _NOT_IN_NAMES else c for c in name)


class Roots:
    """The folders that files were ingested with, and where each of them goes.

    One alone is the target itself. Of several each is a folder of its own name in the target;
    one that lies in another stays there.

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
        """Return where in the target a file goes.

        Raises
        ------
        ArgumentError
            If that would be outside.
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
    """Names that are taken, on disks too that do not tell capitals from small letters."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def claim(self, path: str) -> None:
        """Take a path as it is."""
        self._taken.add(path.casefold())
        self._taken.update(str(parent).casefold() for parent in PurePosixPath(path).parents)

    def has(self, path: str) -> bool:
        """Return True if a path is taken."""
        return path.casefold() in self._taken

    def take(self, stem: str, separator: str = "_", suffix: str = "") -> str:
        """Return `stem` and `suffix`, with a number between them if that is taken."""
        path, number = f"{stem}{suffix}", 1
        while path.casefold() in self._taken:
            number += 1
            path = f"{stem}{separator}{number}{suffix}"
        self.claim(path)
        return path


class TreePlan:
    """The files of the tree, and what there is to say of them.

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
        """Return where a file of the original folder goes; None, and noted, if nowhere."""
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
        """Say how a file differs from the original."""
        self.differences.append(ExportDifference(path, reason))

    def fail(self, kind: ExportKind, name: str, reason: str) -> None:
        """Say what could not be exported."""
        self.failed.append(ExportFailure(kind, name, reason))

    # Stems -----------------------------------------------------------------------------

    def claim_stem(self, stem: str) -> bool:
        """Note that a TIFF takes what lies beside a stem; False if another does already."""
        free = stem.casefold() not in self._stems
        self._stems.add(stem.casefold())
        return free

    def belongs_elsewhere(self, named: str, stem: str) -> bool:
        """Return True if a sidecar would be taken for that of a longer stem."""
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
        """Plan a file as it was; of several states of one file the latest."""
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
        """Plan a file made of artifacts; raises what `build` does if it cannot be."""
        # What was built is not kept: many together would be too much.
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
    """Return a path without the suffix of the file."""
    path = PurePosixPath(place)
    return str(path.with_name(path.stem))


def _write(build: Callable[[], tuple[bytes, str | None]], path: Path) -> str | None:
    data, reason = build()
    with target_errors("write", str(path)):
        write_file(path, data, durable=False)
    return reason
