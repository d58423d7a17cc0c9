"""All files of the tree, before any is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.export.dataset_layout.places import WORK
from kymflow_zarr.export.errors import target_errors
from kymflow_zarr.export.lab_layout.places import Names, Roots
from kymflow_zarr.export.lab_layout.target import TreeFile
from kymflow_zarr.export.report import ExportDifference, ExportFailure, ExportKind
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.local.files import write_file

__all__ = ["TreePlan", "stem_of"]


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
        self.files: dict[str, TreeFile] = {}
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
        """Tell whether a sidecar would be taken for that of a longer stem."""
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
        self.files[place] = TreeFile(place, write, kind, name, file.sha256, file.mtime_ns)

    def built(
        self, name: str, place: str, build: Callable[[], tuple[bytes, str]],
        kind: ExportKind = "image",
    ) -> None:  # fmt: skip
        """Plan a file made of artifacts; raises what `build` does if it cannot be."""
        # What was built is not kept: many together would be too much.
        build()
        self.files[place] = TreeFile(place, partial(_write, build), kind, name)

    def made(
        self, name: str, place: str, write: Callable[[Path], str | None],
        mtime_ns: int | None = None, *, apart: bool = False,
    ) -> None:  # fmt: skip
        """Plan a file that a function writes."""
        self.files[place] = TreeFile(place, write, "image", name, mtime_ns=mtime_ns, apart=apart)


def stem_of(place: str) -> str:
    """Return a path without the suffix of the file."""
    path = PurePosixPath(place)
    return str(path.with_name(path.stem))


def _write(build: Callable[[], tuple[bytes, str | None]], path: Path) -> str | None:
    data, reason = build()
    with target_errors("write", str(path)):
        write_file(path, data, durable=False)
    return reason
