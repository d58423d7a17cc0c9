"""Bridges to other programs' classes. Nothing above imports this room."""

from kymflow_zarr.adapters.kymflow import RecordImage, load_metadata_objects

__all__ = ["RecordImage", "load_metadata_objects"]
