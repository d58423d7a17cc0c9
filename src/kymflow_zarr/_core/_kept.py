"""Source files that belong to no single image, kept as they are at the dataset's top."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from typing import Any

import msgspec

from kymflow_zarr import _layout
from kymflow_zarr._core._documents import dump, load
from kymflow_zarr._schema import FORMAT, FORMAT_VERSION, SourceFileDocument
from kymflow_zarr._storage import LocalStorage
from kymflow_zarr.errors import ArtifactNotFoundError, CorruptDataError, SchemaValidationError

_INDEX = f"{_layout.SOURCE_FILES}/files.json"


def read_kept(storage: LocalStorage, key: str) -> bytes:
    """Return the bytes of a kept source file.

    Raises
    ------
    ArtifactNotFoundError
        If there is none at that key.
    CorruptDataError
        If it is damaged.
    """
    data = storage.read(key)
    if data is None:
        raise ArtifactNotFoundError("there is no kept source file", where=key)
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise CorruptDataError(f"the kept source file is damaged: {error}", where=key) from error


class KeptFiles:
    """The source files kept at the top of one dataset.

    Parameters
    ----------
    storage : LocalStorage
    """

    def __init__(self, storage: LocalStorage) -> None:
        self._storage = storage

    def documents(self) -> dict[str, SourceFileDocument]:
        """Return what is kept, by the path each file had.

        Raises
        ------
        SchemaValidationError
            If the list is damaged.
        """
        raw = load(self._storage, _INDEX)
        if raw is None:
            return {}
        try:
            files = msgspec.convert(raw["files"], list[SourceFileDocument])
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise SchemaValidationError(f"the list is not valid: {error}", where=_INDEX) from error
        return {file.path: file for file in files}

    def keep(self, files: Mapping[str, tuple[SourceFileDocument, bytes]]) -> None:
        """Keep files, replacing those of the same path; their bytes first, then the list."""
        if not files:
            return
        with self._storage.lock("source_files"):
            documents = self.documents()
            for path, (document, data) in files.items():
                document.kept_as = _layout.source_file_key(f"{document.sha256[:16]}")
                if self._storage.stat(document.kept_as) is None:
                    packed = gzip.compress(data, mtime=0)
                    self._storage.write(document.kept_as, packed, anchor="")
                documents[path] = document
            listed: dict[str, Any] = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "document": "source_files",
                "files": msgspec.to_builtins([documents[path] for path in sorted(documents)]),
            }
            self._storage.write(_INDEX, dump(listed), anchor="")

    def read(self, document: SourceFileDocument) -> bytes:
        """Return the bytes of a kept file; errors as for :func:`read_kept`."""
        return read_kept(self._storage, document.kept_as or "")
