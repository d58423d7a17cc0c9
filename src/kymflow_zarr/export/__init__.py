"""Datasets as folders of TIFF, JSON, CSV and NumPy files."""

from kymflow_zarr.export.folder import export_folder
from kymflow_zarr.export.tiff.single import export_tiff

__all__ = ["export_folder", "export_tiff"]
