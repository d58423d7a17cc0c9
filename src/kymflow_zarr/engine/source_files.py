"""Source files that belong to no single image, stored unchanged at the top of the dataset."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import dump, load
from kymflow_zarr.errors import (
    ArtifactNotFoundError,
    CorruptDataError,
    LimitExceededError,
    SchemaValidationError,
)
from kymflow_zarr.formats.gzip import gzip_bytes
from kymflow_zarr.runtime.limits import gunzip
from kymflow_zarr.schema.base import FORMAT, FORMAT_VERSION, decodable
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.interface import Storage, retried

# The lock of a writer of these files.
SCOPE: Final = "source_files"


def read_source_file(storage: Storage, key: str, *, size: int | None = None) -> bytes:
    """Return the bytes of a stored source file; faster if their size is known.

    Raises
    ------
    ArtifactNotFoundError
        If there is none at that key.
    CorruptDataError
        If it is damaged, or the key is not that of a source file.
    LimitExceededError
        If it unpacks to more than the limit ``gzip_bytes``.
    """
    require_source_file_key(key)
    data = storage.read(key)
    if data is None:
        raise ArtifactNotFoundError("there is no kept source file", where=key)
    try:
        return gunzip(data, where=key, size=size)
    except LimitExceededError:
        raise
    except ValueError as error:
        raise CorruptDataError(f"the kept source file is damaged: {error}", where=key) from error


def require_source_file_key(key: str) -> None:
    """Raise CorruptDataError if a key from an untrusted document is not that of a source file."""
    folder, _, rest = key.partition("/")
    below_record = rest.partition("/")[2] if folder == layout.IMAGES else key
    if not layout.is_safe_key(key) or not layout.is_source_file_key(below_record):
        raise CorruptDataError(
            "the document names a file that is none of the kept source files", where=key
        )


class SourceFiles:
    """The source files at the top of one dataset.

    Parameters
    ----------
    storage : Storage
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def documents(self) -> dict[str, SourceFileDocument]:
        """Return the documents of the stored files, by original path.

        Raises
        ------
        SchemaValidationError
            If the list is damaged.
        """
        raw = load(self.storage, layout.SOURCE_FILES_LIST)
        if raw is None:
            return {}
        try:
            files = msgspec.convert(raw["files"], decodable(list[SourceFileDocument]))
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise SchemaValidationError(
                f"the list is not valid: {error}", where=layout.SOURCE_FILES_LIST
            ) from error
        return {file.path: file for file in files}

    @retried
    def keep(
        self,
        files: Mapping[str, tuple[SourceFileDocument, bytes]],
        instead_of: Collection[str] = (),
    ) -> None:
        """Store files in one step, replacing those of the same paths and of `instead_of`."""
        if not files and not instead_of:
            return
        with (
            self.storage.lock(SCOPE),
            self.storage.lock("top"),
            Change(self.storage, "") as change,
        ):
            self.add_to(change, files, instead_of)

    def add_to(
        self,
        change: Change,
        files: Mapping[str, tuple[SourceFileDocument, bytes]],
        instead_of: Collection[str] = (),
    ) -> None:
        """Store files as :meth:`keep` does, in a change of the caller, who holds `SCOPE`."""
        if not files and not instead_of:
            return
        documents = self.documents()
        before = {document.kept_as for document in documents.values()}
        for path, (document, data) in files.items():
            document.kept_as = layout.source_file_key(f"{document.sha256[:16]}")
            if self.storage.stat(document.kept_as) is None:
                change.write(document.kept_as, gzip_bytes(data))
            documents[path] = document
        for path in set(instead_of) - files.keys():
            documents.pop(path, None)
        listed = [documents[path] for path in sorted(documents)]
        change.write(layout.SOURCE_FILES_LIST, dump(self.document_of(listed)))
        # Remove only contents that no listed file needs; equal files share one.
        after = {document.kept_as for document in documents.values()}
        for key in before - after:
            if key is not None:
                change.remove(key)

    @staticmethod
    def document_of(files: Sequence[SourceFileDocument]) -> dict[str, Any]:
        """Return the document that lists the files."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "document": "source_files",
            "files": msgspec.to_builtins(list(files)),
        }

    def read(self, document: SourceFileDocument) -> bytes:
        """Return the bytes of a stored file; errors as for :func:`read_source_file`."""
        return read_source_file(self.storage, document.kept_as or "", size=document.size_bytes)
