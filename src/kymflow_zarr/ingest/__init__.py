"""Sources into records: TIFF files, folders of them, other programs' objects."""

from kymflow_zarr.ingest.folder.folder import find_tiffs, ingest_folder, refresh_folder
from kymflow_zarr.ingest.image import ingest_tiff
from kymflow_zarr.ingest.rebuild import rebuild_image
from kymflow_zarr.ingest.sources.objects import ingest_object
from kymflow_zarr.ingest.sources.tiff.file import TiffImage, open_tiff

__all__ = [
    "TiffImage",
    "find_tiffs",
    "ingest_folder",
    "ingest_object",
    "ingest_tiff",
    "open_tiff",
    "rebuild_image",
    "refresh_folder",
]
