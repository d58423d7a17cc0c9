"""Checks of a dataset.

`validate` holds every document against the format, `verify` every byte against its checksum.
"""

from kymflow_zarr.check.repair.dataset import repair_dataset
from kymflow_zarr.check.validate.dataset import validate_dataset, validate_image
from kymflow_zarr.check.validate.findings import SEVERITIES
from kymflow_zarr.check.verify.dataset import verify_dataset, verify_image
from kymflow_zarr.check.verify.group import DAMAGES

__all__ = [
    "DAMAGES",
    "SEVERITIES",
    "repair_dataset",
    "validate_dataset",
    "validate_image",
    "verify_dataset",
    "verify_image",
]
