"""Datasets as folders of TIFF, JSON, CSV and NumPy files."""

from kymflow_zarr.export._folder import export_folder

__all__ = ["export_folder"]
