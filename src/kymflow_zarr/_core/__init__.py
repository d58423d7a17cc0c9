"""The dataset, its records, artifacts, tables and index."""

from kymflow_zarr._core._dataset import ZarrDataset
from kymflow_zarr._core._draft import RecordDraft
from kymflow_zarr._core._payload import payload_of
from kymflow_zarr._core._record import ZarrImageRecord
from kymflow_zarr._core._regions import ImagePlanes, RoiStatistics
from kymflow_zarr._core._reports import (
    ExportFailure,
    ExportReport,
    IngestItem,
    IngestReport,
    Problem,
    RefreshResult,
    ValidationReport,
)
from kymflow_zarr._core._rois import MaskRoi, RectRoi, roi_from_dict
from kymflow_zarr._core._update import RecordUpdate

__all__ = [
    "ExportFailure",
    "ExportReport",
    "ImagePlanes",
    "IngestItem",
    "IngestReport",
    "MaskRoi",
    "Problem",
    "RecordDraft",
    "RecordUpdate",
    "RectRoi",
    "RefreshResult",
    "RoiStatistics",
    "ValidationReport",
    "ZarrDataset",
    "ZarrImageRecord",
    "payload_of",
    "roi_from_dict",
]
