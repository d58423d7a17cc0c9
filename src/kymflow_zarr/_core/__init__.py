"""The dataset, its records, artifacts, tables and index."""

from typing import TYPE_CHECKING

from kymflow_zarr._late import late

if TYPE_CHECKING:
    from kymflow_zarr._core._curation import Curation, Edit, EditChange
    from kymflow_zarr._core._dataset import ZarrDataset
    from kymflow_zarr._core._draft import RecordDraft, commit_drafts
    from kymflow_zarr._core._map import MapResult
    from kymflow_zarr._core._payload import payload_of
    from kymflow_zarr._core._record import ZarrImageRecord
    from kymflow_zarr._core._record_edit import RecordEdit
    from kymflow_zarr._core._regions import ImagePlanes, RoiStatistics
    from kymflow_zarr._core._reports import (
        ExportDifference,
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
    from kymflow_zarr._core._verify_reports import Damage, RepairAction, RepairReport, VerifyReport

__all__ = [
    "Curation",
    "Damage",
    "Edit",
    "EditChange",
    "ExportDifference",
    "ExportFailure",
    "ExportReport",
    "ImagePlanes",
    "IngestItem",
    "IngestReport",
    "MapResult",
    "MaskRoi",
    "Problem",
    "RecordDraft",
    "RecordEdit",
    "RecordUpdate",
    "RectRoi",
    "RefreshResult",
    "RepairAction",
    "RepairReport",
    "RoiStatistics",
    "ValidationReport",
    "VerifyReport",
    "ZarrDataset",
    "ZarrImageRecord",
    "commit_drafts",
    "payload_of",
    "roi_from_dict",
]

_FILES = {
    "_curation": ("Curation", "Edit", "EditChange"),
    "_dataset": ("ZarrDataset",),
    "_draft": ("RecordDraft", "commit_drafts"),
    "_map": ("MapResult",),
    "_payload": ("payload_of",),
    "_record": ("ZarrImageRecord",),
    "_record_edit": ("RecordEdit",),
    "_regions": ("ImagePlanes", "RoiStatistics"),
    "_reports": (
        "ExportDifference",
        "ExportFailure",
        "ExportReport",
        "IngestItem",
        "IngestReport",
        "Problem",
        "RefreshResult",
        "ValidationReport",
    ),
    "_rois": ("MaskRoi", "RectRoi", "roi_from_dict"),
    "_update": ("RecordUpdate",),
    "_verify_reports": ("Damage", "RepairAction", "RepairReport", "VerifyReport"),
}


if not TYPE_CHECKING:  # A checker is to know the names one by one.
    __getattr__ = late(__name__, _FILES)
