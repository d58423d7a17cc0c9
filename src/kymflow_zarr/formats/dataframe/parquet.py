"""Data frames as Parquet, decoded equal by this package and readable by other programs."""

from __future__ import annotations

import functools
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kymflow_zarr.errors import CorruptDataError, KymflowZarrError, UnsupportedDataError
from kymflow_zarr.formats.dataframe.arrow_table import (
    NOTE_KEY,
    describes,
    from_arrow_table,
    index_of,
    parse_note,
    series_of,
    to_arrow_table,
)
from kymflow_zarr.formats.dataframe.objects import Marker, same_value
from kymflow_zarr.formats.parquet.footer import arrow_reader, check_parquet_size

__all__ = [
    "ROW_GROUP_ROWS",
    "check_parquet",
    "decode_parquet",
    "encode_parquet",
    "open_table",
    "register_pandas_types",
    "require_same",
    "require_same_index",
    "table_to_bytes",
    "written_options",
]

# Below this size, Arrow's threads cost more than they save, also at process exit.
_ONE_THREAD_BYTES: Final = 4 << 20
_NULLABLE: Final[dict[Any, Any]] = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}
# The rows that replacing a few rows decodes and rewrites; the other row groups are copied.
ROW_GROUP_ROWS: Final = 1 << 16


def encode_parquet(df: pd.DataFrame) -> bytes:
    """Encode a data frame as one Parquet file.

    Values, dtypes, index, labels and ``attrs`` come back equal from
    `decode_parquet`. Other programs see ordinary Parquet columns: NaN in a plain
    float column is null, as in pandas' own files. Equal data frames give equal bytes.

    Raises
    ------
    ArgumentTypeError
        If `df` is not a data frame.
    UnsupportedDataError
        If a part of it would not come back equal; the message names the column.
    """
    table = to_arrow_table(df)
    data = table_to_bytes(table)
    note = parse_note(table.schema.metadata[NOTE_KEY], where="the encoded data frame")
    if note is not None:
        _verify(df, data, note)
    return data


def decode_parquet(data: bytes | pa.Buffer, *, where: str) -> pd.DataFrame:
    """Decode a Parquet file; one of another program comes back as pandas reads it.

    Parameters
    ----------
    data : bytes or pyarrow.Buffer
        The whole file.
    where : str
        Name of the file for errors.

    Raises
    ------
    CorruptDataError
        If the bytes are not a Parquet file, or are damaged.
    FormatVersionError
        If a newer version of this package wrote it.
    LimitExceededError
        If it would take more memory than the limit ``table_bytes``.
    """
    table, note = open_table(data, where=where)
    try:
        if note is not None:
            return from_arrow_table(table, note)
        frame = pd.read_parquet(arrow_reader(data), engine="pyarrow")
        return _with_exact_integers(frame, table)
    except KymflowZarrError:
        raise
    except Exception as error:  # The parsers raise many exception types on corrupt input.
        raise CorruptDataError(f"the data frame cannot be rebuilt: {error}", where=where) from error


def check_parquet(file: BinaryIO, *, where: str) -> None:
    """Check that the footer of a Parquet file, and our note in it, can be read.

    Raises
    ------
    CorruptDataError, FormatVersionError
        If they cannot.
    """
    try:
        with pq.ParquetFile(file) as opened:
            note = (opened.schema_arrow.metadata or {}).get(NOTE_KEY)
    # Parquet: the file ends with "File Metadata ... magic number 'PAR1'".
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptDataError(
            f"not a readable Parquet file: {error}",
            where=where,
            hint="Restore it from a copy of the dataset, or save it again.",
        ) from error
    parse_note(note, where=where)


def _with_exact_integers(frame: pd.DataFrame, table: pa.Table) -> pd.DataFrame:
    """Replace integers beside nulls that pandas converted to floats by the exact ones."""
    for at, label in enumerate(frame.columns):
        if frame.dtypes.iloc[at] != np.float64 or table.column_names.count(str(label)) != 1:
            continue
        column: Any = table[str(label)]
        if pa.types.is_integer(column.type) and column.type.bit_width == 64:
            exact = column.to_pandas(types_mapper=_NULLABLE.get)
            if not exact.dropna().eq(exact.dropna().astype("float64").map(int)).all():
                put: Any = frame.isetitem  # Its annotation lacks Series.
                put(at, exact.set_axis(frame.index))
    return frame


def open_table(data: bytes | pa.Buffer, *, where: str) -> tuple[pa.Table, Marker | None]:
    """Read the Arrow table and its note; None as note for a table of another program.

    Raises
    ------
    CorruptDataError, FormatVersionError
        As for `decode_parquet`.
    """
    register_pandas_types()
    table = _read(data, where=where)
    note = parse_note((table.schema.metadata or {}).get(NOTE_KEY), where=where)
    try:
        return table, note if note is not None and describes(note, table) else None
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptDataError("the note about the data frame is broken", where=where) from error


def table_to_bytes(table: pa.Table) -> bytes:
    """Write an Arrow table as one Parquet file with page checksums."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=ROW_GROUP_ROWS, **written_options(table.schema))
    return sink.getvalue().to_pybytes()


def written_options(schema: pa.Schema) -> dict[str, Any]:
    """Return the writer options for the columns of a table."""
    return {
        "compression": "zstd",
        "write_page_checksum": True,
        "use_dictionary": _with_dictionary(schema),
    }


def _with_dictionary(schema: pa.Schema) -> Any:
    """Return the columns to dictionary-encode; for numbers it costs more than it saves."""
    if any(pa.types.is_nested(kind) for kind in schema.types):
        return True  # The fields of nested columns have other names than the columns.
    numbers = (pa.types.is_integer, pa.types.is_floating)
    return [field.name for field in schema if not any(is_a(field.type) for is_a in numbers)]


def require_same(name: str, given: Any, back: Any, *, hint: str | None = None) -> None:
    """Compare a column with its decoded copy.

    Raises
    ------
    UnsupportedDataError
        If the dtype or a value differs.
    """
    if not _same(given, back):
        raise UnsupportedDataError(
            f"{name} (dtype {given.dtype}) would not come back equal", hint=hint
        )


@functools.cache
def register_pandas_types() -> None:
    """Register pandas' extension types with Arrow."""
    # pandas registers them when the first period and interval array is converted.
    for value in (pd.Period("2000-01-01", freq="D"), pd.Interval(0, 1)):
        array: Any = pd.array([value])
        pa.array(array)


def _read(data: bytes | pa.Buffer, *, where: str, columns: list[str] | None = None) -> pa.Table:
    check_parquet_size(data, where=where)
    try:
        with pq.ParquetFile(arrow_reader(data), page_checksum_verification=True) as file:
            return file.read(columns=columns, use_threads=len(data) > _ONE_THREAD_BYTES)
    except Exception as error:  # pyarrow raises many exception types on corrupt input.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error


def _verify(df: pd.DataFrame, data: bytes, note: Marker) -> None:
    """Decode the columns that are not certain to come back equal, and compare them."""
    level_fields = note["index"].get("fields", [])
    fields = [field for field in note["columns"] if field not in level_fields]
    doubtful = {
        field: position
        for position, field in enumerate(fields)
        if not _certain(df.dtypes.iloc[position])
    }
    if not doubtful and not level_fields:
        return
    table = _read(data, where="the encoded data frame", columns=[*doubtful, *level_fields])
    for field, position in doubtful.items():
        given = df.iloc[:, position]
        require_same(f"column {field!r}", given, series_of(table, field, note, None))
    if level_fields:
        require_same_index(df.index, index_of(table, note))


def require_same_index(given: pd.Index, back: pd.Index, *, hint: str | None = None) -> None:
    """Compare an index with its decoded copy, level by level.

    Raises
    ------
    UnsupportedDataError
        If it differs.
    """
    for level in range(given.nlevels):
        one, other = given.get_level_values(level), back.get_level_values(level)
        require_same(f"index level {one.name!r}", one, other, hint=hint)
    if getattr(given, "freq", None) != getattr(back, "freq", None):
        raise UnsupportedDataError(
            f"the index has a frequency that would not come back: {getattr(given, 'freq', None)}",
            hint="Set df.index.freq to None",
        )


def _certain(dtype: Any) -> bool:
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biufMm"
    return isinstance(dtype, pd.StringDtype) and dtype.na_value is not pd.NA


def _same(given: Any, back: Any) -> bool:
    if given.dtype != back.dtype or str(given.dtype) != str(back.dtype):
        return False
    if given.dtype == object:
        return len(given) == len(back) and all(map(same_value, given, back))
    if isinstance(given.dtype, pd.CategoricalDtype) and _same_codes(given.array, back.array):
        return True
    one, other = (pd.Series(values.array) for values in (given, back))
    try:
        pd.testing.assert_series_equal(one, other, check_exact=True)
    except AssertionError:
        return False
    return True


def _same_codes(one: Any, other: Any) -> bool:
    """Return True if two categorical arrays are equal without a look at the values."""
    labels, others = one.categories, other.categories
    return (
        labels.dtype == others.dtype != object
        and one.ordered == other.ordered
        and bool(labels.equals(others))
        and bool(np.array_equal(one.codes, other.codes))
    )
