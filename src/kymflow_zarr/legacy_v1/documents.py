"""Translate documents and names of format version 1 to version 2."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.errors import (
    ArgumentError,
    FormatVersionError,
    InvalidNameError,
    SchemaValidationError,
)
from kymflow_zarr.schema.axes import normalize_axes
from kymflow_zarr.schema.base import DatasetDocument, read_document
from kymflow_zarr.schema.image import (
    ArrayArtifactDocument,
    AxisDocument,
    ImageDocument,
    PixelsDocument,
)
from kymflow_zarr.schema.payload import stated_axes
from kymflow_zarr.types import ArtifactKind

V1_FORMAT: Final = "kymflow_zarr_v1"
V1_ATTRIBUTES: Final = frozenset({"axes", "created_utc", "updated_utc"})
"""Attributes of an image or an array artifact that version 2 has a place for."""


class V1Array(msgspec.Struct, kw_only=True):
    """The fields of ``.zarray`` that a listing needs."""

    shape: list[int]
    chunks: list[int]
    dtype: str | list[Any]
    zarr_format: int

    @property
    def dtype_name(self) -> str:
        """Name of the dtype without its byte order, as in version 2."""
        import numpy as np

        return "structured" if isinstance(self.dtype, list) else np.dtype(self.dtype).name


class _Root(msgspec.Struct, kw_only=True):
    format: str
    created_utc: str
    schema_version: int = 1


class _Attributes(msgspec.Struct, kw_only=True):
    axes: list[str] | str | None = None
    created_utc: str | None = None
    updated_utc: str | None = None


def read_v1_array(raw: Any, *, where: str) -> V1Array:
    """Read the ``.zarray`` of an array.

    Raises
    ------
    SchemaValidationError
        If it is not the document of a Zarr v2 array.
    """
    array = read_document(V1Array, raw, where=where)
    try:
        known = array.zarr_format == 2 and bool(array.dtype_name)
    except (TypeError, ValueError, SyntaxError, OverflowError):  # from parsing by NumPy
        known = False
    if not known or len(array.chunks) != len(array.shape):
        raise SchemaValidationError("this is not a Zarr v2 array document", where=where)
    return array


def v1_root_group(attributes: Any, *, where: str) -> dict[str, Any]:
    """Return the root document of a dataset.

    Version 1 has no dataset id. Derive one from the constant part of the root's attributes, so that
    it is the same on each read and after a migration.

    Raises
    ------
    SchemaValidationError, FormatVersionError
        If the attributes are damaged, or of a version this code does not know.
    """
    root = read_document(_Root, attributes, where=where)
    if root.schema_version != 1:
        raise FormatVersionError(
            f"{V1_FORMAT} with schema_version {root.schema_version} is not known to this "
            "kymflow_zarr, which reads schema_version 1",
            where=where,
        )
    stable = {key: value for key, value in attributes.items() if key != "updated_utc"}
    text = f"{V1_FORMAT}:{json.dumps(stable, sort_keys=True)}"
    document = DatasetDocument(
        dataset_id=str(uuid.uuid5(uuid.NAMESPACE_URL, text)),
        created_utc=root.created_utc,
        created_by=V1_FORMAT,
    )
    return document.to_group()


def v1_image_group(
    image_id: str,
    attributes: Any,
    array: V1Array,
    *,
    payload: Any,
    changed_utc: str,
    signature: str,
    where: str,
) -> dict[str, Any]:
    """Return the document of an image.

    Parameters
    ----------
    image_id : str
    attributes : object
        The parsed ``.zattrs`` of its group.
    array : V1Array
        The array of its pixels.
    payload : object
        Its metadata payload, where version 1 stores the calibration.
    changed_utc : str
        The time to use if the attributes have none.
    signature : str
        A string that changes with the pixels.
    where : str
        Key of the attributes, for errors.
    """
    own = read_document(_Attributes, attributes, where=where)
    created = own.created_utc or own.updated_utc or changed_utc
    try:
        axes = normalize_axes(own.axes, len(array.shape))
    except ArgumentError as error:
        raise SchemaValidationError(
            f"the axes do not fit the pixels: {error.what}", where=where
        ) from error
    document = ImageDocument(
        image_id=image_id,
        created_utc=created,
        updated_utc=own.updated_utc or created,
        axes=[AxisDocument.of(axis) for axis in stated_axes(axes, array.shape, payload)],
        pixels=_pixels(array, signature),
    )
    return document.to_group(ome=None)


def v1_array_artifact_group(
    name: str, attributes: Any, array: V1Array, *, changed_utc: str, signature: str, where: str
) -> dict[str, Any]:
    """Return the document of an array artifact; parameters as for :func:`v1_image_group`."""
    own = read_document(_Attributes, attributes, where=where)
    document = ArrayArtifactDocument(
        name=name,
        updated_utc=own.updated_utc or changed_utc,
        pixels=_pixels(array, signature),
        axes=None if own.axes is None else list(own.axes),
    )
    return document.to_group()


def v1_array_document(array: V1Array) -> dict[str, Any]:
    """Return a Zarr v3 document without our codecs, so that zarr-python reads the array."""
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": array.shape,
        "data_type": array.dtype_name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": array.chunks}},
        "codecs": [],
    }


def unknown_v1_attributes(attributes: Any) -> bool:
    """Return True if attributes of an image or array have content that version 2 cannot hold."""
    return not isinstance(attributes, Mapping) or not set(attributes) <= V1_ATTRIBUTES


def _pixels(array: V1Array, signature: str) -> PixelsDocument:
    return PixelsDocument(
        path="data",
        generation=1,
        shape=array.shape,
        dtype=array.dtype_name,
        chunks=array.chunks,
        sha256=signature,
        stored_bytes=0,
    )


# The order matters: "x.json.gz" must not match another suffix.
_SUFFIXES: Final[tuple[tuple[str, ArtifactKind], ...]] = (
    (".json", "json"),
    (".json.gz", "json"),
    (".parquet", "parquet"),
    (".csv.gz", "csv_gz"),
)


def image_folder(image_id: str) -> str:
    """Return the folder of an image."""
    return f"{layout.IMAGES}/{image_id}"


def places_of(key: str) -> tuple[str, ...]:
    """Return the candidate names of a key's file or folder; the first that exists is used."""
    parts = key.split("/")
    if parts[0] == layout.TABLES:
        name = layout.parse_table_key(key)
        return (key if name is None else f"{layout.TABLES}/{name}.parquet",)
    if parts[0] != layout.IMAGES or len(parts) < 2:
        return (key,)
    folder = image_folder(layout.parse_image_folder(parts[1]) or parts[1])
    room, rest = parts[2:3], parts[3:]
    if room == [layout.ANALYSIS] and rest:
        artifact = layout.parse_artifact_key("/".join(parts[2:]))
        if artifact is not None:
            kind, name = artifact
            suffixes = (suffix for suffix, of in _SUFFIXES if of == kind)
            return tuple(f"{folder}/{layout.ANALYSIS}/{name}{suffix}" for suffix in suffixes)
    if room == [layout.ANALYSIS_ARRAYS] and rest:
        rest = [layout.decode_name(rest[0]) or rest[0], *rest[1:]]
    return ("/".join([folder, *room, *rest]),)


def image_key_part(folder: str) -> str | None:
    """Return the key part of a folder of ``images``, None if version 2 has no such id."""
    try:
        return layout.image_prefix(folder).removeprefix(f"{layout.IMAGES}/")
    except InvalidNameError:
        return None


def array_key_part(name: str) -> str | None:
    """Return the key part of an array artifact's folder, None if its name is invalid."""
    try:
        return layout.array_artifact_prefix(name).removeprefix(f"{layout.ANALYSIS_ARRAYS}/")
    except InvalidNameError:
        return None


def artifact_key(relative: str) -> str | None:
    """Return the key, below its record, of the artifact in a file below ``analysis``.

    None if the name is not that of an artifact.
    """
    for suffix, kind in _SUFFIXES:
        if relative.endswith(suffix):
            try:
                return layout.artifact_key(kind, relative.removesuffix(suffix))
            except InvalidNameError:
                return None
    return None


def table_key(relative: str) -> str | None:
    """Return the key of the table in a file below ``tables``, None if it is not a table."""
    if not relative.endswith(".parquet"):
        return None
    try:
        return layout.table_key(relative.removesuffix(".parquet"))
    except InvalidNameError:
        return None
