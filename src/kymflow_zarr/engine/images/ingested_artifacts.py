"""What ingest puts beside the pixels of an image, new or there already."""

from __future__ import annotations

import gzip
from typing import Any

from kymflow_zarr import layout
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.storage.local.files import digest_of_bytes
from kymflow_zarr.types import ArtifactKind


class RecordParts:
    """Artifacts and kept source files of one image; the base of its draft and its update.

    Parameters
    ----------
    prefix : str
        Key of the image.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def save(self, kind: ArtifactKind, name: str, value: Any) -> tuple[str, str]:
        """Save an artifact; return its key below the record and its SHA-256."""
        key = layout.artifact_key(kind, name)
        data = artifacts.encode(kind, value, where=f"{self._prefix}/{key}")
        self.write(key, data)
        return key, digest_of_bytes(data)

    def keep_source_file(self, name: str, data: bytes) -> str:
        """Keep the bytes of a source file, compressed, and return their key."""
        key = layout.source_file_key(name)
        self.write(key, gzip.compress(data, mtime=0))
        return key

    def write(self, key: str, data: bytes) -> None:
        """Put bytes, as they are, at a key below the record."""
        raise NotImplementedError
