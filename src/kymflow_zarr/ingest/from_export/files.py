"""The files of an exported folder, checked against the export's manifest.

Neither the manifest nor the folder is trusted: a file is read only if it lies in the folder,
whatever path the manifest gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.errors import FormatVersionError, SourceFileError
from kymflow_zarr.ingest.folder.scan import sha256_of_file
from kymflow_zarr.runtime.limits import loads_json
from kymflow_zarr.schema.base import decodable
from kymflow_zarr.schema.image import AxisDocument, SourceFileDocument
from kymflow_zarr.storage.local.files import digest_of_bytes
from kymflow_zarr.types import ArtifactKind

__all__ = [
    "ArrayEntry",
    "ArtifactEntry",
    "ExportFailureEntry",
    "ExportedFiles",
    "ImageEntry",
    "Manifest",
    "PixelsEntry",
    "SourceEntry",
    "TableEntry",
    "read_manifest",
]

_VERSION: Final = 1


class PixelsEntry(msgspec.Struct):
    """The file that holds the pixels; axes and shape are those of the file, None for ``.npy``."""

    file: str
    axes: list[str] | None = None
    shape: list[int] | None = None


class ArtifactEntry(msgspec.Struct):
    """A JSON or data-frame artifact; `sha256` is the digest of its file in the dataset."""

    name: str
    kind: ArtifactKind
    file: str
    csv: str | None = None
    sha256: str | None = None


class ArrayEntry(msgspec.Struct):
    """An array artifact; `sha256` is the digest of its files in the dataset."""

    name: str
    file: str
    updated_utc: str
    axes: list[str] | None = None
    chunks: list[int] | None = None
    sha256: str | None = None


class TableEntry(msgspec.Struct):
    """A table of the dataset."""

    name: str
    file: str
    csv: str | None = None


class SourceEntry(SourceFileDocument, kw_only=True):
    """A source file, and the files of the export that hold its bytes or its TIFF skeleton."""

    file: str | None = None
    frame: str | None = None

    def document(self) -> SourceFileDocument:
        """Return the file's document as a dataset stores it."""
        return msgspec.convert(msgspec.to_builtins(self), decodable(SourceFileDocument))


class ImageEntry(msgspec.Struct):
    """An image."""

    axes: list[AxisDocument]
    dtype: str
    shape: list[int]
    chunks: list[int]
    created_utc: str
    updated_utc: str
    channel_names: list[str] | None = None
    pixels: PixelsEntry | None = None
    earlier_artifacts: dict[str, str] = {}
    artifacts: list[ArtifactEntry] = []
    arrays: list[ArrayEntry] = []
    source_files: list[SourceEntry] = []


class ExportFailureEntry(msgspec.Struct):
    """A part of the dataset that the export could not read."""

    kind: str
    name: str
    reason: str


class _FileEntry(msgspec.Struct):
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct):
    """The content of an export's manifest.

    Images stay unvalidated, so that one invalid image does not stop the others.
    """

    files: dict[str, _FileEntry]
    images: dict[str, Any]
    tables: list[TableEntry]
    source_files: list[SourceEntry]
    failed: list[ExportFailureEntry]


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of an exported folder, None if the folder is not one.

    Raises
    ------
    FormatVersionError
        If a newer version wrote it.
    SourceFileError
        If it cannot be read.
    """
    path = folder / layout.EXPORT_MANIFEST
    if not path.is_file():
        return None
    try:
        document = loads_json(path.read_bytes(), where=str(path))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceFileError(
            f"the manifest of an export cannot be read: {error}",
            where=str(path),
            hint="Export again; or delete it, and the folder is taken for one of TIFFs.",
        ) from error
    if not isinstance(document, Mapping) or document.get("format") != layout.EXPORT_FORMAT:
        return None
    if document.get("format_version") != _VERSION:
        raise FormatVersionError(
            f"the export there has the format version {document.get('format_version')!r}, "
            f"{_VERSION} is the newest known",
            where=str(path),
            hint="Update kymflow_zarr.",
        )
    try:
        return msgspec.convert(document, decodable(Manifest))
    except msgspec.ValidationError as error:
        raise SourceFileError(
            f"the manifest of the export is not valid: {error}", where=str(path)
        ) from error


class ExportedFiles:
    """The files that a manifest lists.

    Parameters
    ----------
    root : Path
        The exported folder.
    listed : mapping of str to object
        Size and digest of each file, as ``files`` of the manifest.
    """

    def __init__(self, root: Path, listed: Mapping[str, _FileEntry]) -> None:
        self._root = root.resolve()
        self._listed = listed

    def of(self, paths: Iterable[str | None]) -> ExportedFiles:
        """Return a subset of the files, to be passed to another process."""
        wanted = [path for path in paths if path is not None]
        some = {path: self._listed[path] for path in wanted if path in self._listed}
        return ExportedFiles(self._root, some)

    def place(self, path: str) -> Path:
        """Return the path of a file of the manifest.

        Raises
        ------
        SourceFileError
            If it is not listed, is missing, or lies outside of the folder.
        """
        if not layout.is_safe_key(path):
            raise SourceFileError("the manifest names a file outside of the folder", where=path)
        if path not in self._listed:
            raise SourceFileError("the manifest does not list the file", where=path)
        try:
            place = self._root.joinpath(*path.split("/")).resolve()
            there = place.is_file()
        except (OSError, ValueError, RuntimeError) as error:
            raise SourceFileError(f"the file cannot be looked at: {error}", where=path) from error
        if not place.is_relative_to(self._root):
            raise SourceFileError("the file is a link that leads out of the folder", where=path)
        if not there:
            raise SourceFileError("the file of the export is not there any more", where=path)
        return place

    def read(self, path: str) -> tuple[bytes, bool]:
        """Return the bytes of a file, and True if they are unchanged since the export."""
        place = self.place(path)
        try:
            data = place.read_bytes()
        except OSError as error:
            raise SourceFileError(f"the file cannot be read: {error}", where=path) from error
        return data, digest_of_bytes(data) == self._listed[path].sha256

    def is_intact(self, path: str) -> bool:
        """Return True if a file is unchanged since the export; raises as :meth:`place`."""
        place = self.place(path)
        try:
            return sha256_of_file(place) == self._listed[path].sha256
        except OSError as error:
            raise SourceFileError(f"the file cannot be read: {error}", where=path) from error
