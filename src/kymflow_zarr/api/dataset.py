"""The dataset."""

from kymflow_zarr.engine.dataset import OpenDataset as ZarrDataset

__all__ = ["ZarrDataset"]
