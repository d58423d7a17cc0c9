"""Checks of a dataset.

`validate` holds every document against the format, `verify` every byte against its checksum.
"""

from kymflow_zarr.check._dataset import validate_dataset, validate_image
from kymflow_zarr.check._findings import SEVERITIES
from kymflow_zarr.check._group import DAMAGES
from kymflow_zarr.check._repair import repair_dataset
from kymflow_zarr.check._verify import verify_dataset, verify_image

__all__ = [
    "DAMAGES",
    "SEVERITIES",
    "repair_dataset",
    "validate_dataset",
    "validate_image",
    "verify_dataset",
    "verify_image",
]
