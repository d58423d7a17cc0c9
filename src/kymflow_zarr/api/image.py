"""One image of a dataset."""

from kymflow_zarr.engine.record import StoredImage as ZarrImageRecord

__all__ = ["ZarrImageRecord"]
