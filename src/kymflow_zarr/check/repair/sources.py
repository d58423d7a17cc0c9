"""Check which files are readable, and rebuild files from the image's source files."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from kymflow_zarr import layout
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.engine.images.draft import RecordDraft
from kymflow_zarr.engine.results.lineage import KEY as LINEAGE
from kymflow_zarr.engine.source_files import read_source_file
from kymflow_zarr.errors import KymflowZarrError, StorageError
from kymflow_zarr.formats.gzip import gzip_bytes
from kymflow_zarr.ingest.recipe import rebuild_image
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.schema.image import ImageDocument, SourceFileDocument
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.files import digest_file, digest_of_bytes


def is_readable(storage: Storage, prefix: str, below: str, document: ImageDocument) -> str | None:
    """Return the error of a file of an image, None if none is known.

    Arrays are checked elsewhere, by comparing their digests with the documents.
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
    """Return the error of a kept source file, None if none is known."""
    try:
        data = read_source_file(storage, f"{prefix}/{below}" if prefix else below)
    except StorageError:
        raise
    except KymflowZarrError as error:
        return error.what
    recorded = {file.sha256 for file in files if file.kept_as == below}
    if recorded and hashlib.sha256(data).hexdigest() not in recorded:
        return "it is not the file that was kept"
    return None


class Sources:
    """The source files of one image; a context manager.

    Parameters
    ----------
    storage : Storage
    document : ImageDocument, optional
        None if it cannot be read; then no source file is known.
    """

    def __init__(self, storage: Storage, document: ImageDocument | None) -> None:
        self._storage = storage
        self._document = document
        self._draft: RecordDraft | None = None
        self._staged: dict[FileSum, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._draft is not None:
            self._draft.__exit__(kind, error, trace)

    def may_hold(self, below: str) -> bool:
        """Return True if a file of the image may be rebuilt from unchanged source files."""
        document = self._document
        if document is None:
            return False
        images = [file for file in document.source_files if file.role in ("image", "member")]
        if not images or not all(map(is_unchanged, images)):
            return False
        fed = {key for file in document.source_files for key in file.feeds}
        first = below.split("/")[0]
        return (
            first in (document.pixels.path, layout.SOURCE_FILES)
            or below in fed
            or "/".join(below.split("/")[:2]) in fed
            or below == LINEAGE
        )

    def find(self, wanted: FileSum) -> bytes | None:
        """Return the rebuilt bytes of a file if they have this size and digest."""
        key = self._made().get(wanted)
        if key is not None and self._draft is not None:
            return self._draft.read(key)
        files = () if self._document is None else self._document.source_files
        for file in files:
            if file.kept_as is not None and is_unchanged(file):
                # Earlier builds compressed with zlib.
                earlier = gzip.compress(Path(file.path).read_bytes(), mtime=0)
                if FileSum.of(earlier) == wanted:
                    return earlier
        return None

    def pixels(self) -> dict[str, FileSum]:
        """Return the rebuilt files of the pixels, by key below their array."""
        self._made()
        prefix = f"{layout.LEVEL_0}/"
        staged = {} if self._draft is None else self._draft.sums
        return {k.removeprefix(prefix): v for k, v in staged.items() if k.startswith(prefix)}

    def _made(self) -> dict[FileSum, str]:
        if self._staged is None:
            self._staged = {}
            if self._document is not None:
                # Unreadable source files cannot be used for a rebuild.
                with contextlib.suppress(KymflowZarrError, OSError):
                    self._draft = RecordDraft(self._storage)
                    rebuild_image(self._draft, self._document.source_files)
            if self._draft is not None:
                self._staged = {file_sum: key for key, file_sum in self._draft.sums.items()}
        return self._staged


def is_unchanged(file: SourceFileDocument) -> bool:
    """Return True if a source file exists at its path with unchanged bytes."""
    path = Path(file.path)
    try:
        # Compare the size before reading: a document may name an endless device file.
        return (
            path.is_file()
            and path.stat().st_size == file.size_bytes
            and digest_file(path) == (file.size_bytes, file.sha256)
        )
    except (OSError, ValueError):
        return False


def kept_again(files: Iterable[SourceFileDocument], key: str) -> bytes | None:
    """Return the bytes for a kept source file, read from its original path."""
    if not layout.is_source_file_key(key):
        return None  # Documents are not trusted: they may name any file.
    for file in files:
        if file.kept_as == key and is_unchanged(file):
            with contextlib.suppress(OSError):
                data = Path(file.path).read_bytes()
                if digest_of_bytes(data) == file.sha256:
                    return gzip_bytes(data)
    return None
