"""Typed models of every document on disk. No I/O, no zarr.

Each document is a :class:`msgspec.Struct`: reading checks the types and names the
place that is wrong, JSON Schema comes from the same definition, and keys that this
code does not know survive a rewrite (:func:`updated_group`).
"""

from typing import TYPE_CHECKING

from kymflow_zarr._late import late

if TYPE_CHECKING:
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
    from kymflow_zarr._schema._checksums import FileSum, dump_checksums, parse_checksums
    from kymflow_zarr._schema._curation import (
        CurationDocument,
        new_curation,
        read_curation_document,
    )
    from kymflow_zarr._schema._dataset import DatasetDocument, read_dataset_document
    from kymflow_zarr._schema._image import (
        ArrayArtifactDocument,
        AxisDocument,
        ImageDocument,
        PixelsDocument,
        SourceFileDocument,
        read_array_artifact_document,
        read_image_document,
    )
    from kymflow_zarr._schema._ome import ChannelWindow, ome_attributes
    from kymflow_zarr._schema._payload import (
        PAYLOAD_VERSION,
        Deviation,
        PayloadDocument,
        payload_deviations,
        roi_deviations,
        upgrade_payload,
    )
    from kymflow_zarr._schema._published import SchemaName, json_schema
    from kymflow_zarr._schema._rois import ROI_VERSION, upgrade_roi
    from kymflow_zarr._schema._stated_axes import stated_axes
    from kymflow_zarr._schema._tiff_frame import (
        TiffFrame,
        coalesced,
        decode_frame,
        encode_frame,
        gaps_of,
    )
    from kymflow_zarr._schema._v1 import (
        V1_FORMAT,
        V1Array,
        read_v1_array,
        unknown_v1_attributes,
        v1_array_artifact_group,
        v1_array_document,
        v1_image_group,
        v1_root_group,
    )

__all__ = [
    "ATTRIBUTES_KEY",
    "DATA_TYPES",
    "FORMAT",
    "FORMAT_VERSION",
    "PAYLOAD_VERSION",
    "ROI_VERSION",
    "V1_FORMAT",
    "ArrayArtifactDocument",
    "ArrayDocument",
    "AxisDocument",
    "ChannelWindow",
    "CurationDocument",
    "DatasetDocument",
    "Deviation",
    "FileSum",
    "ImageDocument",
    "PayloadDocument",
    "PixelsDocument",
    "SchemaName",
    "SourceFileDocument",
    "TiffFrame",
    "V1Array",
    "array_dimension_names",
    "array_document",
    "calibrate",
    "coalesced",
    "decode_frame",
    "default_axis_names",
    "dump_checksums",
    "encode_frame",
    "gaps_of",
    "json_schema",
    "new_curation",
    "normalize_axes",
    "normalize_unit",
    "ome_attributes",
    "ome_axes",
    "parse_checksums",
    "payload_deviations",
    "plain_group_document",
    "read_array_artifact_document",
    "read_array_document",
    "read_curation_document",
    "read_dataset_document",
    "read_image_document",
    "read_v1_array",
    "roi_deviations",
    "stated_axes",
    "unknown_v1_attributes",
    "updated_group",
    "upgrade_payload",
    "upgrade_roi",
    "v1_array_artifact_group",
    "v1_array_document",
    "v1_image_group",
    "v1_root_group",
]

_FILES = {
    "_array": ("DATA_TYPES", "ArrayDocument", "array_document", "read_array_document"),
    "_axes": (
        "array_dimension_names",
        "calibrate",
        "default_axis_names",
        "normalize_axes",
        "normalize_unit",
        "ome_axes",
    ),
    "_base": (
        "ATTRIBUTES_KEY",
        "FORMAT",
        "FORMAT_VERSION",
        "plain_group_document",
        "updated_group",
    ),
    "_checksums": ("FileSum", "dump_checksums", "parse_checksums"),
    "_curation": ("CurationDocument", "new_curation", "read_curation_document"),
    "_dataset": ("DatasetDocument", "read_dataset_document"),
    "_image": (
        "ArrayArtifactDocument",
        "AxisDocument",
        "ImageDocument",
        "PixelsDocument",
        "SourceFileDocument",
        "read_array_artifact_document",
        "read_image_document",
    ),
    "_ome": ("ChannelWindow", "ome_attributes"),
    "_payload": (
        "PAYLOAD_VERSION",
        "Deviation",
        "PayloadDocument",
        "payload_deviations",
        "roi_deviations",
        "upgrade_payload",
    ),
    "_published": ("SchemaName", "json_schema"),
    "_rois": ("ROI_VERSION", "upgrade_roi"),
    "_stated_axes": ("stated_axes",),
    "_tiff_frame": ("TiffFrame", "coalesced", "decode_frame", "encode_frame", "gaps_of"),
    "_v1": (
        "V1_FORMAT",
        "V1Array",
        "read_v1_array",
        "unknown_v1_attributes",
        "v1_array_artifact_group",
        "v1_array_document",
        "v1_image_group",
        "v1_root_group",
    ),
}


if not TYPE_CHECKING:  # A checker is to know the names one by one.
    __getattr__ = late(__name__, _FILES)
