"""Checks of a dataset: `validate` holds every document against the format."""

from kymflow_zarr.check._dataset import validate_dataset, validate_image
from kymflow_zarr.check._findings import SEVERITIES

__all__ = ["SEVERITIES", "validate_dataset", "validate_image"]
