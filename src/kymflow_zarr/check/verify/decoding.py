"""Whether a file can be read, where no checksum tells whether it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from kymflow_zarr import layout
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.engine.source_files import read_kept
from kymflow_zarr.errors import KymflowZarrError, StorageError
from kymflow_zarr.schema.image import ImageDocument, SourceFileDocument
from kymflow_zarr.storage.interface import Storage


def is_readable(storage: Storage, prefix: str, below: str, document: ImageDocument) -> str | None:
    """Return what is wrong with a file of an image, None if nothing is known to be.

    Arrays are told by their digests, which are held against documents elsewhere.
    """
    if below.startswith(f"{layout.SOURCE_FILES}/"):
        return is_kept(storage, prefix, below, document.source_files)
    artifact = layout.parse_artifact_key(below)
    if not below.startswith(f"{layout.ANALYSIS}/") or artifact is None:
        return None
    return decodes(storage, f"{prefix}/{below}", below)


def decodes(storage: Storage, key: str, below: str) -> str | None:
    """Return why an artifact or a table cannot be read, None if it can."""
    artifact = layout.parse_artifact_key(below)
    kind = "parquet" if artifact is None else artifact[0]
    try:
        artifacts.decode(kind, storage.read(key) or b"", where=key)
    except StorageError:
        raise
    except KymflowZarrError as error:
        return error.what
    return None


def is_kept(
    storage: Storage, prefix: str, below: str, files: Iterable[SourceFileDocument]
) -> str | None:
    """Return what is wrong with a kept source file, None if nothing is known to be."""
    try:
        data = read_kept(storage, f"{prefix}/{below}" if prefix else below)
    except StorageError:
        raise
    except KymflowZarrError as error:
        return error.what
    said = {file.sha256 for file in files if file.kept_as == below}
    if said and hashlib.sha256(data).hexdigest() not in said:
        return "it is not the file that was kept"
    return None
