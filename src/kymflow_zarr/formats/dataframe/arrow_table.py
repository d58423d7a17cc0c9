"""Convert a data frame to an Arrow table with a note, and back.

The note is JSON under the key ``kymflow_zarr`` of the schema's metadata. It stores what Arrow and
pandas' own metadata do not: the exact dtypes, the kinds of nulls, the index with its frequency,
labels that are not text, and ``attrs``. The metadata by which pandas recognizes its dtypes and
index ("Storing pandas DataFrame objects in Apache Parquet format",
https://pandas.pydata.org/docs/development/developer.html) are written here, too: pyarrow derives
them only from a data frame, which replacing rows never builds.
"""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kymflow_zarr.errors import (
    ArgumentTypeError,
    CorruptDataError,
    FormatVersionError,
    LimitExceededError,
    UnsupportedDataError,
)
from kymflow_zarr.formats.dataframe.columns import (
    decode_column,
    decode_labels,
    encode_column,
    encode_freq,
    encode_labels,
    with_freq,
)
from kymflow_zarr.formats.dataframe.objects import NOT_TEXT_HINT, Marker, same_value
from kymflow_zarr.runtime.limits import loads_json

__all__ = [
    "ENCODING_VERSION",
    "NOTE_KEY",
    "describes",
    "from_arrow_table",
    "index_field",
    "index_of",
    "metadata_of",
    "note_of_rows",
    "pandas_metadata",
    "parse_note",
    "require_unique",
    "series_of",
    "table_of",
    "to_arrow_table",
]


_CELLS = {
    "str": "unicode",
    "bool": "bool",
    "int": "int64",
    "float": "float64",
    "bytes": "bytes",
    "date": "date",
    "time": "time",
    "decimal": "decimal",
    "null": "empty",
}


def pandas_metadata(schema: pa.Schema, note: Marker) -> bytes:
    """Return the value of the schema metadata key ``pandas``."""
    index = note["index"]
    level_fields = index.get("fields", [])
    names = dict(zip(level_fields, index.get("names", []), strict=True))
    columns = [
        {
            "name": names.get(field.name, field.name),
            "field_name": field.name,
            **_column(note["columns"][field.name], field.type),
        }
        for field in schema
    ]
    if index["kind"] == "range":
        index_columns: list[Any] = [
            {key: index[key] for key in ("kind", "name", "start", "stop", "step")}
        ]
    else:
        index_columns = level_fields
    labels = note["labels"]
    levels = [
        {"name": name, "field_name": name, **_label_level(level)}
        for name, level in zip(labels["names"], labels["levels"], strict=True)
    ]
    metadata = {
        "index_columns": index_columns,
        "column_indexes": levels,
        "columns": columns,
        "attributes": note.get("attrs", {}),
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": pd.__version__,
    }
    return json.dumps(metadata, ensure_ascii=False).encode()


def _column(marker: Marker, arrow_type: Any) -> Marker:
    kind = marker["kind"]
    pandas_type, numpy_type, extra = "object", "object", None
    if kind == "numpy":
        pandas_type = numpy_type = np.dtype(marker["dtype"]).name
    elif kind == "datetime":
        pandas_type, numpy_type = "datetime", f"datetime64[{marker['unit']}]"
        if "zone" in marker:
            pandas_type, extra = "datetimetz", {"timezone": arrow_type.tz}
    elif kind == "timedelta":
        pandas_type, numpy_type = "timedelta", f"timedelta64[{marker['unit']}]"
    elif kind in ("nullable", "period"):
        numpy_type = marker["dtype"]
        pandas_type = "object" if kind == "period" else str(arrow_type)
    elif kind == "string":
        pandas_type, numpy_type = "unicode", "string" if marker["missing"] == "NA" else "str"
    elif kind == "interval":
        numpy_type = "object"
    elif kind == "arrow":
        numpy_type = _arrow_name(arrow_type)
    elif kind == "category":
        pandas_type, numpy_type = "categorical", "int8"
        labels = marker["categories"]
        extra = {"num_categories": _length(labels), "ordered": marker["ordered"]}
    elif "form" not in marker:
        pandas_type = _CELLS.get(marker["cells"], "object")
    return {"pandas_type": pandas_type, "numpy_type": numpy_type, "metadata": extra}


def _arrow_name(arrow_type: Any) -> str:
    name = str(pd.ArrowDtype(arrow_type))
    try:
        pd.api.types.pandas_dtype(name)
    except (TypeError, NotImplementedError):
        # For other types pandas writes names that it cannot read itself.
        return "object"
    return name


def _length(labels: Marker) -> int:
    if labels["kind"] == "range":
        return len(range(labels["start"], labels["stop"], labels["step"]))
    values = labels["values"]
    return len(values["left"] if isinstance(values, dict) else values)


def _label_level(level: Marker) -> Marker:
    kind = level["kind"]
    if kind in ("string", "object"):
        numpy_type = "str" if kind == "string" else "object"
        return {
            "pandas_type": "unicode",
            "numpy_type": numpy_type,
            "metadata": {"encoding": "UTF-8"},
        }
    name = "int64" if kind == "range" else level.get("dtype", "object")
    plain = kind in ("range", "numpy")
    return {
        "pandas_type": name if plain else "unicode",
        "numpy_type": name if plain else "object",
        "metadata": None,
    }


NOTE_KEY = b"kymflow_zarr"
ENCODING_VERSION = 1
_MANY_COLUMNS = 64


def _conversion(value: object) -> str:
    if isinstance(value, pd.Series | pd.Index):
        return "Convert it first, with .to_frame()."
    if hasattr(value, "to_pandas"):
        return "Convert it first, with .to_pandas()."
    return "Convert it first, with pd.DataFrame(...)."


def to_arrow_table(df: pd.DataFrame) -> pa.Table:
    """Convert a data frame to an Arrow table with a note about it.

    Raises
    ------
    ArgumentTypeError
        If `df` is not a data frame.
    UnsupportedDataError
        If a part of it cannot be stored; the message names the column.
    """
    if not isinstance(df, pd.DataFrame):
        raise ArgumentTypeError(
            f"a pandas DataFrame is needed, not {type(df).__module__}.{type(df).__qualname__}",
            hint=_conversion(df),
        )
    fields = _field_names(df)
    arrays: list[Any] = []
    markers: dict[str, Marker] = {}
    for position, field in enumerate(fields):
        array, markers[field] = encode_column(df.iloc[:, position], f"column {field!r}")
        arrays.append(array)
    index, levels = _encode_index(df.index, fields)
    for field, array, marker in levels:
        arrays.append(array)
        markers[field] = marker
    note: Marker = {
        "encoding": "dataframe",
        "encoding_version": ENCODING_VERSION,
        "rows": len(df),
        "labels": _encode_columns(df.columns),
        "index": index,
        "columns": markers,
    }
    if df.attrs:
        note["attrs"] = _encode_attrs(df.attrs)
    try:
        return table_of(arrays, [*fields, *(field for field, _, _ in levels)], note)
    except UnicodeEncodeError as error:
        raise UnsupportedDataError(
            f"a name in the data frame, or in its attrs, is not text: {error}", hint=NOT_TEXT_HINT
        ) from error


def note_of_rows(names: pd.Index, rows: int, markers: dict[str, Marker]) -> Marker:
    """Return the note of columns with plain names whose rows are numbered from 0."""
    levels = [encode_labels(names, "the column labels")]
    return {
        "encoding": "dataframe",
        "encoding_version": ENCODING_VERSION,
        "rows": rows,
        "labels": {"names": [None], "multi": False, "levels": levels},
        "index": {"kind": "range", "name": None, "start": 0, "stop": rows, "step": 1},
        "columns": markers,
    }


def table_of(arrays: Sequence[Any], fields: Sequence[str], note: Marker) -> pa.Table:
    """Return a table of columns and note, with metadata that pandas understands, too."""
    table = pa.table(list(arrays), names=list(fields))
    return table.replace_schema_metadata(metadata_of(table.schema, note))


def metadata_of(schema: pa.Schema, note: Marker) -> dict[bytes, bytes]:
    """Return the metadata of a schema: the note, and the metadata of pandas."""
    text = json.dumps(note, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return {b"pandas": pandas_metadata(schema, note), NOTE_KEY: text.encode()}


def parse_note(raw: bytes | None, *, where: str) -> Marker | None:
    """Parse the note of a table; return None for a table of another program.

    Raises
    ------
    FormatVersionError
        If the note has a version that this code does not know.
    CorruptDataError
        If the note is invalid.
    """
    if raw is None:
        return None
    try:
        note = loads_json(raw, where=where)
        version = note["encoding_version"]
        encoding = note["encoding"]
    except LimitExceededError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptDataError(
            "the note about the data frame cannot be read", where=where
        ) from error
    if encoding != "dataframe" or not isinstance(version, int) or version > ENCODING_VERSION:
        raise FormatVersionError(
            f"a data frame of encoding {encoding!r} version {version!r}, where "
            f"'dataframe' version {ENCODING_VERSION} is the newest known",
            where=where,
            hint="Update kymflow_zarr",
        )
    known: Marker = note
    return known


def describes(note: Marker, table: pa.Table) -> bool:
    """Return True if the note fits the table; other programs may copy it to other data."""
    # A table without columns has no row count of its own.
    rows = note["rows"] if table.num_columns == 0 else table.num_rows
    return note["rows"] == rows and list(note["columns"]) == table.column_names


def from_arrow_table(table: pa.Table, note: Marker) -> pd.DataFrame:
    """Undo `to_arrow_table`."""
    index = index_of(table, note)
    level_fields = note["index"].get("fields", [])
    fields = [field for field in note["columns"] if field not in level_fields]
    data = {position: series_of(table, field, note, index) for position, field in enumerate(fields)}
    # Columns have separate buffers. With many columns, pandas is faster after consolidation.
    df = pd.DataFrame(data, index=index, copy=len(data) > _MANY_COLUMNS)
    df.columns = _decode_columns(note["labels"])
    df.attrs = note.get("attrs", {})
    return df


def series_of(table: pa.Table, field: str, note: Marker, index: pd.Index | None) -> Any:
    """Decode one column."""
    values = decode_column(table[field], note["columns"][field])
    return pd.Series(values, index=index, dtype=values.dtype, copy=False)


def index_of(table: pa.Table, note: Marker) -> pd.Index:
    """Decode the row index."""
    index = note["index"]
    if index["kind"] == "range":
        return pd.RangeIndex(index["start"], index["stop"], index["step"], name=index["name"])
    levels: list[pd.Index] = []
    for field in index["fields"]:
        values = decode_column(table[field], note["columns"][field])
        levels.append(pd.Index(values, dtype=values.dtype))
    if index["kind"] == "multi":
        return pd.MultiIndex.from_arrays(levels, names=index["names"])
    only = levels[0].rename(index["names"][0])
    return with_freq(only, index.get("freq"))


def _field_names(df: pd.DataFrame) -> list[str]:
    fields = [str(label) for label in df.columns]
    for field in fields:
        if not _is_text(field):
            raise UnsupportedDataError(
                f"the name of column {field!a} is not text", hint=NOT_TEXT_HINT
            )
    require_unique(fields)
    return fields


def require_unique(names: Sequence[str]) -> None:
    """Raise UnsupportedDataError if two columns have the same name."""
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UnsupportedDataError(
            f"several columns have the same name: {', '.join(map(repr, twice))}",
            hint="Rename them; in a file, names are text",
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _encode_index(
    index: pd.Index, taken: list[str]
) -> tuple[Marker, list[tuple[str, Any, Marker]]]:
    names = [_plain_name(name, "the index") for name in index.names]
    if isinstance(index, pd.RangeIndex):
        span = {"start": index.start, "stop": index.stop, "step": index.step}
        return {"kind": "range", "name": names[0], **span}, []
    levels: list[tuple[str, Any, Marker]] = []
    used = set(taken)
    for position, name in enumerate(names):
        field = index_field(name, position, used)
        if field in used:
            raise UnsupportedDataError(f"a column has the name {field!r}, kept for the index")
        used.add(field)
        values = index.get_level_values(position)
        levels.append((field, *encode_column(values, f"index level {name!r}")))
    kind = "multi" if isinstance(index, pd.MultiIndex) else "single"
    note: Marker = {"kind": kind, "names": names, "fields": [field for field, _, _ in levels]}
    return {**note, **encode_freq(index, "the index")}, levels


def index_field(name: Any, position: int, taken: Container[str]) -> str:
    """Return the field name of an index level, as pandas would choose it."""
    return f"__index_level_{position}__" if name is None or str(name) in taken else str(name)


def _plain_name(name: Any, what: str) -> Any:
    if name is None or type(name) in (str, int, bool):
        return name
    raise UnsupportedDataError(f"{what} has the name {name!r}", hint="Use text as name")


def _encode_columns(columns: pd.Index) -> Marker:
    names = [_plain_name(name, "the columns' Index") for name in columns.names]
    if isinstance(columns, pd.MultiIndex):
        levels = [
            encode_labels(columns.get_level_values(level), "the column labels")
            for level in range(columns.nlevels)
        ]
    else:
        levels = [encode_labels(columns, "the column labels")]
    note = {"names": names, "multi": isinstance(columns, pd.MultiIndex), "levels": levels}
    back = _decode_columns(note)
    if not (columns.identical(back) and _level_types(columns) == _level_types(back)):
        raise UnsupportedDataError(
            "the column labels would not come back equal", hint="Use text as labels"
        )
    return note


def _level_types(labels: pd.Index) -> list[tuple[type, str, Any]]:
    levels = [labels.get_level_values(level) for level in range(labels.nlevels)]
    return [(type(level), str(level.dtype), getattr(level, "freq", None)) for level in levels]


def _decode_columns(labels: Marker) -> pd.Index:
    levels = [decode_labels(level) for level in labels["levels"]]
    if labels["multi"]:
        return pd.MultiIndex.from_arrays(levels, names=labels["names"])
    return levels[0].rename(labels["names"][0])


def _encode_attrs(attrs: Any) -> Marker:
    try:
        back = json.loads(json.dumps(dict(attrs), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UnsupportedDataError(f"df.attrs is not plain JSON: {error}") from error
    if not same_value(dict(attrs), back):
        raise UnsupportedDataError(
            "df.attrs would not come back equal from JSON",
            hint="Use text, numbers, None, lists and dicts whose keys are text",
        )
    attrs_marker: Marker = back
    return attrs_marker
