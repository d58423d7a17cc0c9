"""Read and write the JSON documents of the format."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, Final

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.errors import (
    DatasetNotFoundError,
    LimitExceededError,
    RecordNotFoundError,
    SchemaValidationError,
)
from kymflow_zarr.runtime.limits import loads_json
from kymflow_zarr.schema.image import ImageDocument, PixelsDocument, read_image_document
from kymflow_zarr.storage.interface import Storage

# json.dumps would create an encoder for each document.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def utc_now() -> str:
    """Return the current time in the documents' form: ISO 8601, UTC, microseconds."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def dump(document: Any) -> bytes:
    """Return the bytes of a document."""
    # With an indent, json uses its pure Python encoder, which is ten times slower.
    line = _ENCODER.encode(document).encode()
    return msgspec.json.format(line, indent=2) + b"\n"


def load(storage: Storage, key: str) -> Any | None:
    """Return the document at a key, None if there is none.

    Raises
    ------
    SchemaValidationError
        If it is not JSON.
    LimitExceededError
        If it is too large or too deep.
    """
    data = storage.read(key)
    return None if data is None else parsed(data, key)


def parsed(data: bytes, key: str) -> Any:
    """Return the document of these bytes; raises as :func:`load`."""
    try:
        document = loads_json(data, where=key)
    except LimitExceededError:
        raise
    except ValueError as error:
        raise SchemaValidationError(f"the document is not JSON: {error}", where=key) from error
    if document is None:
        raise SchemaValidationError("the document is null", where=key)
    return document


def load_image(storage: Storage, image_id: str) -> ImageDocument:
    """Return the document of an image record.

    Raises
    ------
    RecordNotFoundError
        If the dataset has no such image.
    SchemaValidationError
        If its document is damaged.
    """
    key = f"{layout.image_prefix(image_id)}/{layout.GROUP}"
    raw = load(storage, key)
    if raw is None:
        raise _no_image(storage, image_id)
    return read_image_document(raw, where=key)


def _no_image(storage: Storage, image_id: str) -> RecordNotFoundError:
    return RecordNotFoundError(
        f"there is no image {image_id!r} in the dataset",
        where=storage.location,
        hint="list_image_ids() tells which there are.",
    )


def is_no_image(storage: Storage, image_id: str) -> bool:
    """Return True if a folder of ``images/`` is gone, or never held a document of ours.

    A folder that another program made there is stepped over; one that lost the document of an
    image still holds other parts of it.
    """
    try:
        names = storage.names(layout.image_prefix(image_id))
    except SchemaValidationError:
        return False  # Its head is damaged.
    return not any(
        name in _PARTS_OF_AN_IMAGE or layout.parse_pixels_path(name) is not None for name in names
    )


_PARTS_OF_AN_IMAGE: Final = frozenset(
    (
        layout.GROUP,
        layout.CHECKSUMS,
        layout.ANALYSIS,
        layout.ANALYSIS_ARRAYS,
        layout.SOURCE_FILES,
        ".zgroup",
        ".zattrs",
    )
)


class CurrentImage:
    """The document of an image, read immediately, and parsed again only if it has changed.

    Parameters
    ----------
    storage : Storage
    image_id : str

    Attributes
    ----------
    document : ImageDocument
        As it was last read.

    Raises
    ------
    RecordNotFoundError, SchemaValidationError
        As for :func:`load_image`.
    """

    def __init__(self, storage: Storage, image_id: str) -> None:
        self._storage = storage
        self._image_id = image_id
        self._key = f"{layout.image_prefix(image_id)}/{layout.GROUP}"
        self._data: bytes | None = None
        self.document = self._read()

    def pixels(self) -> PixelsDocument:
        """Return the current description of the pixels."""
        self.document = self._read()
        return self.document.pixels

    def _read(self) -> ImageDocument:
        data = self._storage.read(self._key)
        if data is not None and data == self._data:
            return self.document
        if data is None:
            raise _no_image(self._storage, self._image_id)
        document = read_image_document(parsed(data, self._key), where=self._key)
        self._data = data
        return document


def require_image_id(document: ImageDocument, image_id: str) -> None:
    """Raise SchemaValidationError if a document belongs to another image.

    A program that copies or renames the folder of an image does not change its document.
    """
    # On-disk format: "image_id MUST be the id that the folder's name encodes."
    if document.image_id != image_id:
        raise SchemaValidationError(
            f"the document is that of the image {document.image_id!r}: the folder was copied or "
            "renamed by hand",
            where=layout.image_prefix(image_id),
            hint="Delete the copy, or give the folder its name back.",
        )


def require_dataset(storage: Storage) -> None:
    """Raise DatasetNotFoundError if the dataset has vanished since it was opened.

    Otherwise an unmounted share would look like a dataset without images.
    """
    if storage.read(layout.GROUP) is None:
        raise DatasetNotFoundError(
            "the dataset is not there any more",
            where=storage.location,
            hint="Was its folder renamed, or its disk unmounted?",
        )
