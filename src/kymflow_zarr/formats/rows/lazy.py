"""The data frames of many images as one Arrow dataset, decoded only as far as it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from kymflow_zarr.errors import ArgumentError, CorruptDataError
from kymflow_zarr.formats.dataframe.arrow_table import NOTE_KEY, parse_note
from kymflow_zarr.formats.dataframe.parquet import register_pandas_types
from kymflow_zarr.formats.parquet.size import check_parquet_size
from kymflow_zarr.formats.rows.gather import (
    IMAGE_ID,
    has_plain_index,
    part_of_bytes,
    part_of_frame,
)

__all__ = ["dataset_of", "lazy_part_of_bytes", "lazy_part_of_frame"]

# Its annotations know of paths alone.
_FORMAT: Final[Any] = pads.ParquetFileFormat()


def lazy_part_of_bytes(data: bytes, image_id: str, *, where: str) -> bytes:
    """Return the rows of one image as Parquet: the very file if there is nothing to change.

    Errors are those of :func:`part_of_bytes`.
    """
    check_parquet_size(data, where=where)
    register_pandas_types()
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        schema, rows = file.schema_arrow, file.metadata.num_rows
    except Exception as error:  # What damaged bytes make the parser raise is open.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error
    note = parse_note((schema.metadata or {}).get(NOTE_KEY), where=where)
    try:
        ours = note is not None and note["rows"] == rows and list(note["columns"]) == schema.names
        if ours and note is not None and has_plain_index(note) and IMAGE_ID not in schema.names:
            return data
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptDataError("the note about the data frame is broken", where=where) from error
    return part_of_bytes(data, image_id, where=where).to_bytes()


def lazy_part_of_frame(df: pd.DataFrame, image_id: str, *, where: str) -> bytes:
    """Return the rows of one image, from a data frame; otherwise as `lazy_part_of_bytes`."""
    return part_of_frame(df, image_id, where=where).to_bytes()


def dataset_of(parts: Mapping[str, bytes], metadata: dict[str, str] | None = None) -> pads.Dataset:
    """Return the rows of all images, in their order, with ``image_id`` as the first column.

    Parameters
    ----------
    parts : mapping of str to bytes
        Parquet files by image id.
    metadata : dict of str to str, optional
        Of the schema.

    Raises
    ------
    ArgumentError
        If columns of the same name have no type in common.
    """
    fragments: list[Any] = []
    schemas: dict[bytes, pa.Schema] = {}
    for image_id, data in parts.items():
        here = pads.field(IMAGE_ID) == image_id
        fragment = _FORMAT.make_fragment(pa.py_buffer(data), partition_expression=here)
        schema = _plain(fragment.physical_schema)
        schemas.setdefault(schema.serialize().to_pybytes(), schema)
        fragments.append(fragment)
    named = pa.schema([pa.field(IMAGE_ID, pa.string())])
    try:
        united = pa.unify_schemas([named, *schemas.values()], promote_options="permissive")
    except pa.ArrowException as error:
        raise ArgumentError(
            f"the columns of some images have no type in common: {error}",
            hint="Save one of them anew with the other type, or gather their ids apart.",
        ) from error
    if metadata is not None:
        united = united.with_metadata(metadata)
    made: Any = pads.FileSystemDataset
    dataset: pads.Dataset = made(fragments, united, _FORMAT)
    return dataset


def _plain(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose texts are texts, however they are kept."""
    fields = []
    for field in schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_large_string(kind):
            kind = pa.string()
        fields.append(pa.field(field.name, kind))
    return pa.schema(fields)
