"""One dataset for a whole imaging experiment.

Images, metadata, regions of interest, provenance, analysis and tables live together in one
folder of open files: OME-Zarr, Parquet and JSON.

>>> from kymflow_zarr import ZarrDataset
>>> ds = ZarrDataset("experiment.zarr", mode="a")
"""

from importlib import import_module
from typing import TYPE_CHECKING

from kymflow_zarr._version import __version__

if TYPE_CHECKING:
    from kymflow_zarr import errors
    from kymflow_zarr.api.dataset import ZarrDataset
    from kymflow_zarr.api.image import ReadingRecord, ZarrImageRecord
    from kymflow_zarr.check.report import (
        Damage,
        Problem,
        RepairAction,
        RepairReport,
        ValidationReport,
        VerifyReport,
    )
    from kymflow_zarr.engine.curation.document import Curation, Edit, EditChange
    from kymflow_zarr.engine.curation.editing import RecordEdit
    from kymflow_zarr.engine.curation.fields import MetadataField
    from kymflow_zarr.engine.curation.merging import MergeConflict, MergeReport
    from kymflow_zarr.engine.curation.sheet import RefusedCell, SheetReport
    from kymflow_zarr.engine.query.map import MapResult
    from kymflow_zarr.engine.query.watch import DatasetChange
    from kymflow_zarr.engine.results.compute import ComputeItem, ComputeReport
    from kymflow_zarr.engine.results.result import Result, ResultInput
    from kymflow_zarr.engine.rois.planes import RoiStatistics
    from kymflow_zarr.engine.rois.values import (
        EllipseRoi,
        LineRoi,
        MaskRoi,
        PointsRoi,
        PolygonRoi,
        PolylineRoi,
        RectRoi,
        UnknownRoi,
    )
    from kymflow_zarr.errors import (
        KymflowZarrError,
        MetadataNotFoundError,
        SchemaValidationError,
    )
    from kymflow_zarr.export.archives.report import ArchiveGap, ArchiveReport
    from kymflow_zarr.export.copying import CopyItem, CopyReport, copy_dataset
    from kymflow_zarr.export.publishing.report import PublishItem, PublishReport
    from kymflow_zarr.export.report import ExportDifference, ExportFailure, ExportReport
    from kymflow_zarr.ingest.report import IngestItem, IngestReport, RefreshResult
    from kymflow_zarr.legacy_v1.migrate import (
        MigrationItem,
        MigrationReport,
        migrate_dataset,
        migrate_in_place,
    )
    from kymflow_zarr.runtime.limits import Limits, get_limits, set_limits
    from kymflow_zarr.schema.published import json_schema
    from kymflow_zarr.types import ArtifactInfo, Axis, ImageBounds, Level
    from kymflow_zarr.viewer.web.serving import Viewer

__all__ = [
    "ArchiveGap",
    "ArchiveReport",
    "ArtifactInfo",
    "Axis",
    "ComputeItem",
    "ComputeReport",
    "CopyItem",
    "CopyReport",
    "Curation",
    "Damage",
    "DatasetChange",
    "Edit",
    "EditChange",
    "EllipseRoi",
    "ExportDifference",
    "ExportFailure",
    "ExportReport",
    "ImageBounds",
    "IngestItem",
    "IngestReport",
    "KymflowZarrError",
    "Level",
    "Limits",
    "LineRoi",
    "MapResult",
    "MaskRoi",
    "MergeConflict",
    "MergeReport",
    "MetadataField",
    "MetadataNotFoundError",
    "MigrationItem",
    "MigrationReport",
    "PointsRoi",
    "PolygonRoi",
    "PolylineRoi",
    "Problem",
    "PublishItem",
    "PublishReport",
    "ReadingRecord",
    "RecordEdit",
    "RectRoi",
    "RefreshResult",
    "RefusedCell",
    "RepairAction",
    "RepairReport",
    "Result",
    "ResultInput",
    "RoiStatistics",
    "SchemaValidationError",
    "SheetReport",
    "UnknownRoi",
    "ValidationReport",
    "VerifyReport",
    "Viewer",
    "ZarrDataset",
    "ZarrImageRecord",
    "__version__",
    "copy_dataset",
    "errors",
    "get_limits",
    "json_schema",
    "migrate_dataset",
    "migrate_in_place",
    "set_limits",
]

# NumPy alone takes a tenth of a second; a name costs its import when it is first used.
_HOMES = {
    "ArchiveGap": "export.archives.report",
    "ArchiveReport": "export.archives.report",
    "ArtifactInfo": "types",
    "Axis": "types",
    "Level": "types",
    "ComputeItem": "engine.results.compute",
    "ComputeReport": "engine.results.compute",
    "CopyItem": "export.copying",
    "CopyReport": "export.copying",
    "Curation": "engine.curation.document",
    "DatasetChange": "engine.query.watch",
    "Damage": "check.report",
    "Edit": "engine.curation.document",
    "EditChange": "engine.curation.document",
    "EllipseRoi": "engine.rois.values",
    "ExportDifference": "export.report",
    "ExportFailure": "export.report",
    "ExportReport": "export.report",
    "ImageBounds": "types",
    "IngestItem": "ingest.report",
    "IngestReport": "ingest.report",
    "KymflowZarrError": "errors",
    "Limits": "runtime.limits",
    "LineRoi": "engine.rois.values",
    "MapResult": "engine.query.map",
    "MergeConflict": "engine.curation.merging",
    "MergeReport": "engine.curation.merging",
    "MetadataField": "engine.curation.fields",
    "RefusedCell": "engine.curation.sheet",
    "SheetReport": "engine.curation.sheet",
    "MaskRoi": "engine.rois.values",
    "MetadataNotFoundError": "errors",
    "MigrationItem": "legacy_v1.migrate",
    "MigrationReport": "legacy_v1.migrate",
    "PointsRoi": "engine.rois.values",
    "PolygonRoi": "engine.rois.values",
    "PolylineRoi": "engine.rois.values",
    "Problem": "check.report",
    "PublishItem": "export.publishing.report",
    "PublishReport": "export.publishing.report",
    "ReadingRecord": "api.image",
    "RecordEdit": "engine.curation.editing",
    "RectRoi": "engine.rois.values",
    "RefreshResult": "ingest.report",
    "RepairAction": "check.report",
    "RepairReport": "check.report",
    "Result": "engine.results.result",
    "ResultInput": "engine.results.result",
    "RoiStatistics": "engine.rois.planes",
    "SchemaValidationError": "errors",
    "UnknownRoi": "engine.rois.values",
    "ValidationReport": "check.report",
    "VerifyReport": "check.report",
    "Viewer": "viewer.web.serving",
    "ZarrDataset": "api.dataset",
    "ZarrImageRecord": "api.image",
    "copy_dataset": "export.copying",
    "get_limits": "runtime.limits",
    "json_schema": "schema.published",
    "migrate_dataset": "legacy_v1.migrate",
    "migrate_in_place": "legacy_v1.migrate",
    "set_limits": "runtime.limits",
}


if not TYPE_CHECKING:  # Type checkers use the imports above; at runtime the names load lazily.

    def __getattr__(name: str) -> object:
        if name == "errors":
            return import_module("kymflow_zarr.errors")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"kymflow_zarr.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
