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
    from kymflow_zarr._core import (
        Curation,
        Damage,
        Edit,
        EditChange,
        ExportDifference,
        ExportFailure,
        ExportReport,
        IngestItem,
        IngestReport,
        MapResult,
        MaskRoi,
        Problem,
        RecordEdit,
        RectRoi,
        RefreshResult,
        RepairAction,
        RepairReport,
        RoiStatistics,
        ValidationReport,
        VerifyReport,
        ZarrDataset,
        ZarrImageRecord,
    )
    from kymflow_zarr._limits import Limits, get_limits, set_limits
    from kymflow_zarr._schema import json_schema
    from kymflow_zarr._types import ArtifactInfo, Axis, ImageBounds
    from kymflow_zarr.errors import KymflowZarrError, MetadataNotFoundError, SchemaValidationError

__all__ = [
    "ArtifactInfo",
    "Axis",
    "Curation",
    "Damage",
    "Edit",
    "EditChange",
    "ExportDifference",
    "ExportFailure",
    "ExportReport",
    "ImageBounds",
    "IngestItem",
    "IngestReport",
    "KymflowZarrError",
    "Limits",
    "MapResult",
    "MaskRoi",
    "MetadataNotFoundError",
    "Problem",
    "RecordEdit",
    "RectRoi",
    "RefreshResult",
    "RepairAction",
    "RepairReport",
    "RoiStatistics",
    "SchemaValidationError",
    "ValidationReport",
    "VerifyReport",
    "ZarrDataset",
    "ZarrImageRecord",
    "__version__",
    "errors",
    "get_limits",
    "json_schema",
    "set_limits",
]

# NumPy alone takes a tenth of a second; a name costs its import when it is first used.
_HOMES = {
    "ArtifactInfo": "_types",
    "Axis": "_types",
    "ImageBounds": "_types",
    "KymflowZarrError": "errors",
    "Limits": "_limits",
    "MetadataNotFoundError": "errors",
    "SchemaValidationError": "errors",
    "get_limits": "_limits",
    "json_schema": "_schema",
    "set_limits": "_limits",
}


if not TYPE_CHECKING:  # A checker is to know the names one by one.

    def __getattr__(name: str) -> object:
        if name == "errors":
            return import_module("kymflow_zarr.errors")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"kymflow_zarr.{_HOMES.get(name, '_core')}"), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
