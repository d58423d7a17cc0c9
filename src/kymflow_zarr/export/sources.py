"""Source files that the dataset keeps, as the files they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.engine.source_files import read_kept
from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.export.files import add_bytes, made_from, sha256
from kymflow_zarr.export.report import ExportKind
from kymflow_zarr.export.staging_area import Bench
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.interface import Storage

__all__ = [
    "SourceFilePlan",
    "kept_bytes",
    "write_frame",
    "write_source_file",
]


@dataclass(frozen=True, slots=True)
class SourceFilePlan:
    """A source file that belongs to no single image, and where it goes.

    Parameters
    ----------
    reading : Reading
    document : SourceFileDocument
    path : str, optional
        None if its bytes are not kept.
    """

    reading: Reading
    document: SourceFileDocument
    path: str | None
    kind: ClassVar[ExportKind] = "source_file"

    @property
    def label(self) -> str:
        """What progress and reports call it."""
        return self.document.path

    @property
    def paths(self) -> list[str]:
        """All files it may need."""
        return [] if self.path is None else [self.path]

    def owns(self, path: str) -> bool:
        """Tell whether a file of an earlier export belongs to it."""
        return path == self.path

    def write(self, bench: Bench) -> dict[str, Any]:
        """Make the file and return what the manifest says of it."""
        return write_source_file(bench, self.reading.storage, "", self.document, self.path)


def write_source_file(
    bench: Bench,
    storage: Storage,
    prefix: str,
    document: SourceFileDocument,
    path: str | None,
) -> dict[str, Any]:
    """Write a source file as it was, and return what the manifest says of it.

    Parameters
    ----------
    bench : Bench
    storage : Storage
    prefix : str
        Key of the record, with a slash at its end; empty for the dataset itself.
    document : SourceFileDocument
    path : str, optional
        Where it goes; None if its bytes are not kept.

    Raises
    ------
    CorruptDataError
        If the kept bytes are damaged, or are not those of the file.
    ArtifactNotFoundError
        If they are gone.
    """
    described: dict[str, Any] = msgspec.to_builtins(document)
    if path is None:
        return described | {"file": None}
    origin = made_from("source", document.sha256)
    if bench.holds(path, origin):
        bench.keep(path)
        return described | {"file": path}
    data = kept_bytes(storage, f"{prefix}{document.kept_as}", document)
    add_bytes(bench, path, origin, data)
    return described | {"file": path}


def write_frame(
    bench: Bench,
    storage: Storage,
    prefix: str,
    document: SourceFileDocument,
    path: str,
) -> None:
    """Write what a TIFF is beside its pixels; parameters and errors as of `write_source_file`."""
    origin = made_from("tiff frame", document.sha256)
    if bench.holds(path, origin):
        bench.keep(path)
        return
    key = f"{prefix}{document.frame_as}"
    add_bytes(bench, path, origin, read_kept(storage, key))


def kept_bytes(storage: Storage, key: str, document: SourceFileDocument) -> bytes:
    """Return the bytes of a source file at a key of the dataset.

    Raises
    ------
    CorruptDataError
        If they are damaged, or are not those of the file.
    ArtifactNotFoundError
        If they are gone.
    """
    data = read_kept(storage, key)
    if sha256(data) != document.sha256:
        raise CorruptDataError("the kept source file is not the one that was read", where=key)
    return data
