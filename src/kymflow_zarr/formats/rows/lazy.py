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
from kymflow_zarr.schema.analysis_columns import is_known_text

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
    try:
        united = _united_schema(parts)
    except pa.ArrowException:
        parts = _alike(parts)
        try:
            united = _united_schema(parts)
        except pa.ArrowException as error:
            raise ArgumentError(
                f"the columns of some images have no type in common: {error}",
                hint="Save one of them anew with the other type, or gather their ids apart.",
            ) from error
    fragments = [
        _FORMAT.make_fragment(
            pa.py_buffer(data), partition_expression=pads.field(IMAGE_ID) == image_id
        )
        for image_id, data in parts.items()
    ]
    if metadata is not None:
        united = united.with_metadata(metadata)
    made: Any = pads.FileSystemDataset
    dataset: pads.Dataset = made(fragments, united, _FORMAT)
    return dataset


def _united_schema(parts: Mapping[str, bytes]) -> pa.Schema:
    schemas: dict[bytes, pa.Schema] = {}
    for data in parts.values():
        schema = _plain(pq.read_schema(pa.BufferReader(data)))
        schemas.setdefault(schema.serialize().to_pybytes(), schema)
    named = pa.schema([pa.field(IMAGE_ID, pa.string())])
    return _unify([named, *schemas.values()])


def _unify(schemas: list[pa.Schema]) -> pa.Schema:
    return pa.unify_schemas(schemas, promote_options="permissive")


def _alike(parts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Write files anew whose columns differ in type from others, as far as nothing is lost.

    As `gather_arrow` does it: a column without a value has no say in the type, and integers
    become text in columns that known programs mean as text.
    """
    kinds: dict[str, list[Any]] = {}
    for data in parts.values():
        for field in _plain(pq.read_schema(pa.BufferReader(data))):
            if field.type not in kinds.setdefault(field.name, []):
                kinds[field.name].append(field.type)
    doubtful = {name for name, types in kinds.items() if not _go_together(name, types)}
    wanted: dict[str, Any] = {}
    affected = []
    for image_id, data in parts.items():
        schema = _plain(pq.read_schema(pa.BufferReader(data)))
        names = [name for name in schema.names if name in doubtful]
        table = pq.read_table(pa.BufferReader(data), columns=names)
        affected += [image_id] if names else []
        for name in names:
            column: Any = table[name]
            if column.null_count < len(column):
                kind = schema.field(name).type
                text = is_known_text(name) and pa.types.is_string(kind)
                wanted[name] = kind if text else wanted.get(name, kind)
    return {**parts, **{image_id: _as_wanted(parts[image_id], wanted) for image_id in affected}}


def _go_together(name: str, types: list[Any]) -> bool:
    try:
        _unify([pa.schema([(name, kind)]) for kind in types])
    except pa.ArrowException:
        return False
    return True


def _as_wanted(data: bytes, wanted: Mapping[str, Any]) -> bytes:
    table = pq.read_table(pa.BufferReader(data))
    for at, name in enumerate(table.column_names):
        column: Any = table[name]
        if name not in wanted:
            continue
        if column.null_count == len(column):
            table = table.set_column(at, name, pa.nulls(len(column), wanted[name]))
        elif is_known_text(name) and pa.types.is_integer(column.type):
            table = table.set_column(at, name, column.cast(wanted[name]))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


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
