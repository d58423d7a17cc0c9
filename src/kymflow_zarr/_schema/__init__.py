"""Typed models of every document on disk. No I/O, no zarr.

Each document is a :class:`msgspec.Struct`: reading checks the types and names the
place that is wrong, JSON Schema comes from the same definition, and keys that this
code does not know survive a rewrite (:func:`updated_group`).
"""

from kymflow_zarr._schema._array import (
    DATA_TYPES,
    ArrayDocument,
    array_document,
    read_array_document,
)
from kymflow_zarr._schema._axes import (
    array_dimension_names,
    calibrate,
    default_axis_names,
    normalize_axes,
    normalize_unit,
    ome_axes,
)
from kymflow_zarr._schema._base import (
    ATTRIBUTES_KEY,
    FORMAT,
    FORMAT_VERSION,
    plain_group_document,
    updated_group,
)
from kymflow_zarr._schema._dataset import DatasetDocument, read_dataset_document
from kymflow_zarr._schema._image import (
    ArrayArtifactDocument,
    AxisDocument,
    ImageDocument,
    PixelsDocument,
    SourceDocument,
    read_array_artifact_document,
    read_image_document,
)
from kymflow_zarr._schema._ome import ChannelWindow, ome_attributes

__all__ = [
    "ATTRIBUTES_KEY",
    "DATA_TYPES",
    "FORMAT",
    "FORMAT_VERSION",
    "ArrayArtifactDocument",
    "ArrayDocument",
    "AxisDocument",
    "ChannelWindow",
    "DatasetDocument",
    "ImageDocument",
    "PixelsDocument",
    "SourceDocument",
    "array_dimension_names",
    "array_document",
    "calibrate",
    "default_axis_names",
    "normalize_axes",
    "normalize_unit",
    "ome_attributes",
    "ome_axes",
    "plain_group_document",
    "read_array_artifact_document",
    "read_array_document",
    "read_dataset_document",
    "read_image_document",
    "updated_group",
]
