"""Source files that the dataset keeps, as the files they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from kymflow_zarr import _layout
from kymflow_zarr._core._kept import read_kept
from kymflow_zarr._core._reports import ExportKind
from kymflow_zarr._schema import SourceFileDocument
from kymflow_zarr._storage import LocalStorage
from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.export._files import add_bytes, made_from, sha256
from kymflow_zarr.export._target import ExportTarget

__all__ = [
    "SourceFilePlan",
    "checked_frame_key",
    "checked_key",
    "kept_bytes",
    "write_frame",
    "write_source_file",
]


@dataclass(frozen=True, slots=True)
class SourceFilePlan:
    """A source file that belongs to no single image, and where it goes.

    Parameters
    ----------
    storage : LocalStorage
    document : SourceFileDocument
    path : str, optional
        None if its bytes are not kept.
    """

    storage: LocalStorage
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

    def write(self, target: ExportTarget) -> dict[str, Any]:
        """Write the file and return what the manifest says of it."""
        described = write_source_file(target, self.storage, "", self.document, self.path)
        target.commit()
        return described


def write_source_file(
    target: ExportTarget,
    storage: LocalStorage,
    prefix: str,
    document: SourceFileDocument,
    path: str | None,
) -> dict[str, Any]:
    """Write a source file as it was, and return what the manifest says of it.

    Parameters
    ----------
    target : ExportTarget
    storage : LocalStorage
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
    if target.holds(path, origin):
        target.keep(path)
        return described | {"file": path}
    data = kept_bytes(storage, f"{prefix}{checked_key(document)}", document)
    add_bytes(target, path, origin, data)
    return described | {"file": path}


def write_frame(
    target: ExportTarget,
    storage: LocalStorage,
    prefix: str,
    document: SourceFileDocument,
    path: str,
) -> None:
    """Write what a TIFF is beside its pixels; parameters and errors as of `write_source_file`."""
    origin = made_from("tiff frame", document.sha256)
    if target.holds(path, origin):
        target.keep(path)
        return
    key = f"{prefix}{checked_frame_key(document)}"
    add_bytes(target, path, origin, read_kept(storage, key))


def kept_bytes(storage: LocalStorage, key: str, document: SourceFileDocument) -> bytes:
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


def checked_key(document: SourceFileDocument) -> str:
    """Return the key of the kept bytes; a document made by others may name anything."""
    return _below_sources(document.kept_as, document.path)


def checked_frame_key(document: SourceFileDocument) -> str:
    """Return the key of a frame, as `checked_key` does."""
    return _below_sources(document.frame_as, document.path)


def _below_sources(key: str | None, where: str) -> str:
    key = key or ""
    folder, _, name = key.partition("/")
    if folder != _layout.SOURCE_FILES or name in {"", ".", ".."} or set(name) & set("/\\:\0"):
        raise CorruptDataError(f"{key!r} is no key of a kept source file", where=where)
    return key
