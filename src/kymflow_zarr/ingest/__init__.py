"""Sources into records: TIFF files, folders of them, other programs' objects."""

from kymflow_zarr.ingest._folder import find_tiffs, ingest_folder, refresh_folder
from kymflow_zarr.ingest._image import ingest_tiff
from kymflow_zarr.ingest._migrate import migrate_dataset, migrate_in_place
from kymflow_zarr.ingest._migration_report import MigrationItem, MigrationReport
from kymflow_zarr.ingest._objects import ingest_object
from kymflow_zarr.ingest._restage import restage
from kymflow_zarr.ingest._tiff import TiffImage, open_tiff

__all__ = [
    "MigrationItem",
    "MigrationReport",
    "TiffImage",
    "find_tiffs",
    "ingest_folder",
    "ingest_object",
    "ingest_tiff",
    "migrate_dataset",
    "migrate_in_place",
    "open_tiff",
    "refresh_folder",
    "restage",
]
