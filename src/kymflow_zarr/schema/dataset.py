"""The root document of a dataset."""

from __future__ import annotations

from typing import Any

from kymflow_zarr.errors import SchemaValidationError
from kymflow_zarr.schema.base import Document, group_document, own_attributes, read_document


class DatasetDocument(Document, kw_only=True):
    """``attributes.kymflow_zarr`` of the root group."""

    dataset_id: str
    created_utc: str
    created_by: str
    document: str = "dataset"

    def to_group(self) -> dict[str, Any]:
        """Return the whole ``zarr.json``."""
        return group_document(self)


def read_dataset_document(group: Any, *, where: str) -> DatasetDocument:
    """Read the root ``zarr.json`` of a dataset.

    Raises
    ------
    SchemaValidationError, FormatVersionError
        If it is not one of ours, or of a version this code does not know.
    """
    own = own_attributes(group, where=where)
    if own.get("document", "dataset") != "dataset":
        raise SchemaValidationError(
            f"this is one {str(own['document']).replace('_', ' ')} of a dataset, not a dataset",
            where=where,
            hint="Open the dataset's own folder, further up.",
        )
    return read_document(DatasetDocument, own, where=where)
