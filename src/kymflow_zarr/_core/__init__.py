"""The dataset, its records, artifacts, tables and index."""

from kymflow_zarr._core._dataset import ZarrDataset
from kymflow_zarr._core._draft import RecordDraft
from kymflow_zarr._core._payload import PAYLOAD_VERSION, payload_of
from kymflow_zarr._core._record import ZarrImageRecord
from kymflow_zarr._core._reports import (
    ExportReport,
    IngestItem,
    IngestReport,
    Problem,
    ValidationReport,
)

__all__ = [
    "PAYLOAD_VERSION",
    "ExportReport",
    "IngestItem",
    "IngestReport",
    "Problem",
    "RecordDraft",
    "ValidationReport",
    "ZarrDataset",
    "ZarrImageRecord",
    "payload_of",
]
