"""Gather the data frames of many images as one, each row with the id of its image.

The result is a data frame or Arrow table with all rows, or an Arrow dataset that is decoded
lazily.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from kymflow_zarr.errors import ArgumentError, CorruptDataError
from kymflow_zarr.formats.dataframe.arrow_table import NOTE_KEY, from_arrow_table, parse_note
from kymflow_zarr.formats.dataframe.objects import Marker
from kymflow_zarr.formats.dataframe.parquet import decode_parquet, open_table, register_pandas_types
from kymflow_zarr.formats.parquet.footer import check_parquet_size
from kymflow_zarr.formats.rows.encoded import Column, Rows, united_labels, without_nulls
from kymflow_zarr.schema.analysis_columns import is_known_text

__all__ = [
    "IMAGE_ID",
    "Part",
    "dataset_of",
    "gather_arrow",
    "gather_dataframe",
    "has_plain_index",
    "lazy_part_of_bytes",
    "lazy_part_of_dataframe",
    "part_of_bytes",
    "part_of_dataframe",
]


IMAGE_ID: Final = "image_id"

Part = Rows


def part_of_bytes(data: bytes, image_id: str, *, where: str) -> Part:
    """Return the rows of one image from a Parquet file.

    Row labels become columns, as in `reset_index`; labels that only number the rows are
    dropped.

    Raises
    ------
    CorruptDataError, FormatVersionError, LimitExceededError
        If the file cannot be read.
    ArgumentError
        If it has a column ``image_id`` that names another image.
    """
    table, note = open_table(data, where=where)
    if note is not None and has_plain_index(note) and IMAGE_ID not in table.column_names:
        return Rows.of_table(table, note)
    return part_of_dataframe(decode_parquet(data, where=where), image_id, where=where)


def part_of_dataframe(df: pd.DataFrame, image_id: str, *, where: str) -> Part:
    """Return the rows of one image from a data frame, as `part_of_bytes` does."""
    df = _labels_as_columns(df, where)
    if df.columns.nlevels > 1:
        raise ArgumentError("the data frame has several levels of column labels", where=where)
    if IMAGE_ID in df.columns:
        named = {str(value) for value in df[IMAGE_ID].dropna()}
        if not named <= {image_id}:
            raise ArgumentError(
                f"the data frame of image {image_id!r} has a column {IMAGE_ID!r} that names "
                f"other images: {', '.join(map(repr, sorted(named - {image_id})[:5]))}",
                where=where,
                hint="Rename that column.",
            )
        df = df.drop(columns=IMAGE_ID)
    return Rows.of_dataframe(df.reset_index(drop=True))


def _labels_as_columns(df: pd.DataFrame, where: str) -> pd.DataFrame:
    # After `set_index(name, drop=False)` the column exists already.
    columns: list[Any] = list(df.columns)
    duplicates = [
        level
        for level, name in enumerate(df.index.names)
        if name is not None
        and columns.count(name) == 1
        and df.index.get_level_values(level).equals(pd.Index(df[name]))
    ]
    if duplicates:
        df = df.reset_index(level=duplicates, drop=True)
    numbers = df.index.nlevels == 1 and df.index.name is None
    if numbers and pd.api.types.is_integer_dtype(df.index.dtype):
        return df
    try:
        return df.reset_index()
    except ValueError as error:
        raise ArgumentError(
            f"the row labels of the data frame cannot become columns: {error}",
            where=where,
            hint="Rename them, or drop them with reset_index(drop=True), and save it again.",
        ) from error


def has_plain_index(note: Marker) -> bool:
    """Return True if the row labels only number the rows, and columns have one label each."""
    index = note["index"]
    return index["kind"] == "range" and index["name"] is None and not note["labels"]["multi"]


def gather_dataframe(parts: Mapping[str, Part]) -> pd.DataFrame:
    """Return the rows of all images, in their order, with ``image_id`` as the first column.

    Columns are united as in `replace_rows`.

    Raises
    ------
    ArgumentError
        If columns of the same name have no type in common.
    """
    rows, order = _united(parts)
    table = rows.to_table()
    note = parse_note(table.schema.metadata[NOTE_KEY], where="the gathered rows")
    assert note is not None
    frame = from_arrow_table(table, note)
    if order is None:
        return frame
    ordered: pd.DataFrame = frame.iloc[order].reset_index(drop=True)
    return ordered


def gather_arrow(parts: Mapping[str, Part]) -> pa.Table:
    """Return the rows of `gather_dataframe` as an Arrow table, without metadata."""
    rows, order = _united(parts)
    table = rows.to_table().replace_schema_metadata(None)
    return table if order is None else table.take(pa.array(order))


def _united(parts: Mapping[str, Part]) -> tuple[Rows, Any]:
    """Return the rows, grouped by schema, and the indices that restore their order."""
    groups: dict[Any, list[tuple[str, Rows]]] = defaultdict(list)
    for image_id, rows in parts.items():
        groups[_signature(rows)].append((image_id, rows))
    united: Rows | None = None
    for group, more in zip(groups.values(), _alike(map(_with_ids, groups.values())), strict=True):
        try:
            united = more if united is None else united.followed_by(more)
        except ArgumentError as error:
            raise ArgumentError(
                error.what.replace("in the table", "in images before"),
                where=f"image {group[0][0]!r}",
                hint="Save one of them again with the other type, or gather their ids apart.",
            ) from error
    if united is None:
        return Rows.of_dataframe(pd.DataFrame({IMAGE_ID: pd.Series([], dtype="str")})), None
    if len(groups) == 1:
        return united, None
    starts = dict(zip(parts, _starts(rows.rows for rows in parts.values()), strict=True))
    members = [(image_id, rows.rows) for group in groups.values() for image_id, rows in group]
    places = [np.arange(starts[i], starts[i] + n, dtype=np.int64) for i, n in members]
    return united, np.argsort(np.concatenate(places), kind="stable")


def _alike(tables: Iterable[Rows]) -> list[Rows]:
    """Convert integers to text in columns that are text in known programs.

    Earlier releases stored the folder ``20250722`` as a number if all rows of a file had it.
    """
    tables = list(tables)
    texts = {
        name: column
        for rows in tables
        for name, column in rows.columns.items()
        if is_known_text(name) and column.family == "text"
    }
    for rows in tables:
        for name, column in rows.columns.items():
            if name in texts and column.family == "int":
                array = column.array.cast(pa.string()).cast(texts[name].array.type)
                rows.columns[name] = Column(name, array, without_nulls(texts[name].marker))
    return tables


def _starts(counts: Iterable[int]) -> list[int]:
    return [0, *np.cumsum(list(counts)).tolist()][:-1]


def _signature(rows: Rows) -> Any:
    """Return a key that is equal for rows that can be concatenated unchanged."""
    if any("nulls" in column.marker for column in rows.columns.values()):
        return object()  # Positions of nulls are specific to these rows.
    return (
        tuple((name, str(c.array.type), repr(c.marker)) for name, c in rows.columns.items()),
        repr(rows.note["labels"]),
    )


def _with_ids(group: Sequence[tuple[str, Rows]]) -> Rows:
    """Concatenate the rows of some images, with their ids."""
    first = group[0][1]
    counts = [rows.rows for _, rows in group]
    named = Rows.of_dataframe(pd.DataFrame({IMAGE_ID: pd.Series([], dtype="str")}))
    column = named.columns[IMAGE_ID]
    # Not through pandas, which creates a Python object per row.
    ids = pa.array([image_id for image_id, _ in group], column.array.type)
    repeated = ids.take(pa.array(np.repeat(np.arange(len(group)), counts)))
    columns = {IMAGE_ID: Column(IMAGE_ID, pa.chunked_array([repeated]), column.marker)}
    for name, column in first.columns.items():
        chunks = [chunk for _, rows in group for chunk in _chunks(rows.columns[name].array)]
        whole = pa.chunked_array(chunks, type=column.array.type).unify_dictionaries()
        columns[name] = Column(name, whole, column.marker)
    labels = united_labels(named.note["labels"], first.note["labels"])
    index = {"kind": "range", "name": None}
    note = {key: first.note[key] for key in ("encoding", "encoding_version")}
    return Rows(columns, {**note, "labels": labels, "index": index}, sum(counts))


def _chunks(array: Any) -> list[Any]:
    return array.chunks if isinstance(array, pa.ChunkedArray) else [array]


# Its annotations accept only paths.
_FORMAT: Final[Any] = pads.ParquetFileFormat()


def lazy_part_of_bytes(data: bytes, image_id: str, *, where: str) -> bytes:
    """Return the rows of one image as Parquet: the given bytes if nothing needs to change.

    Errors are those of :func:`part_of_bytes`.
    """
    check_parquet_size(data, where=where)
    register_pandas_types()
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        schema, rows = file.schema_arrow, file.metadata.num_rows
    except Exception as error:  # pyarrow raises many exception types on corrupt input.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error
    note = parse_note((schema.metadata or {}).get(NOTE_KEY), where=where)
    try:
        ours = note is not None and note["rows"] == rows and list(note["columns"]) == schema.names
        if ours and note is not None and has_plain_index(note) and IMAGE_ID not in schema.names:
            return data
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptDataError("the note about the data frame is broken", where=where) from error
    return part_of_bytes(data, image_id, where=where).to_bytes()


def lazy_part_of_dataframe(df: pd.DataFrame, image_id: str, *, where: str) -> bytes:
    """Return the rows of one image from a data frame, as `lazy_part_of_bytes` does."""
    return part_of_dataframe(df, image_id, where=where).to_bytes()


def dataset_of(parts: Mapping[str, bytes], metadata: dict[str, str] | None = None) -> pads.Dataset:
    """Return the rows of all images, in their order, with ``image_id`` as the first column.

    Parameters
    ----------
    parts : mapping of str to bytes
        Parquet files by image id.
    metadata : dict of str to str, optional
        Metadata of the schema.

    Raises
    ------
    ArgumentError
        If columns of the same name have no type in common.
    """
    try:
        united = _united_schema(parts)
    except pa.ArrowException:
        parts = _rewritten_alike(parts)
        try:
            united = _united_schema(parts)
        except pa.ArrowException as error:
            raise ArgumentError(
                f"the columns of some images have no type in common: {error}",
                hint="Save one of them again with the other type, or gather their ids apart.",
            ) from error
    fragments = [
        _FORMAT.make_fragment(
            pa.py_buffer(data), partition_expression=pads.field(IMAGE_ID) == image_id
        )
        for image_id, data in parts.items()
    ]
    if metadata is not None:
        united = united.with_metadata(metadata)
    constructor: Any = pads.FileSystemDataset
    dataset: pads.Dataset = constructor(fragments, united, _FORMAT)
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


def _rewritten_alike(parts: Mapping[str, bytes]) -> dict[str, bytes]:
    """Rewrite files whose column types differ from the others', if nothing is lost.

    As in `gather_arrow`, columns without values do not determine the type, and integers become
    text in columns that are text in known programs.
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
    """Return a schema with plain text types, whatever the encoding of texts."""
    fields = []
    for field in schema:
        kind = field.type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_large_string(kind):
            kind = pa.string()
        fields.append(pa.field(field.name, kind))
    return pa.schema(fields)
