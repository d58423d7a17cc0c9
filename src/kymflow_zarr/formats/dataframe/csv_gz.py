"""Data frames as gzip CSV: readable text, with the dtypes in the gzip header.

CSV has no types. They are written, as the JSON note of the Parquet encoding, into
the gzip header's extra field (RFC 1952, FEXTRA): subfield ``KZ`` holds the JSON,
``Kz`` the JSON deflated where 64 KiB do not suffice. Readers skip the field. In
the text, a missing value is an empty field and an empty string is ``""``.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import struct
import zlib
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from kymflow_zarr.errors import CorruptDataError, KymflowZarrError, UnsupportedDataError
from kymflow_zarr.formats.dataframe.arrow_table import (
    NOTE_KEY,
    from_arrow_table,
    parse_note,
    to_arrow_table,
)
from kymflow_zarr.formats.dataframe.columns import whole
from kymflow_zarr.formats.dataframe.csv_foreign import decode_csv
from kymflow_zarr.formats.dataframe.objects import Marker, as_storage
from kymflow_zarr.formats.dataframe.parquet import require_same, require_same_index
from kymflow_zarr.formats.gzip import deflate_bytes
from kymflow_zarr.formats.parquet.footer import arrow_reader
from kymflow_zarr.runtime.limits import gunzip

__all__ = ["decode_csv_gz", "encode_csv_gz"]

_HINT = "Use save_df_parquet, which keeps it"
_FEXTRA = 4
_LIMIT = 65_535 - 4
_NULL_WORDS = ("NA", "NULL", "N/A", "nan", "<NA>", "None", "null", "#N/A", "n/a", "NaN")


def encode_csv_gz(df: pd.DataFrame) -> bytes:
    """Encode a data frame as gzip CSV that also stores its dtypes.

    Equal data frames give equal bytes; the header holds neither time nor name. An index
    that only numbers the rows is not written; any other becomes the first columns.

    Raises
    ------
    ArgumentTypeError
        If `df` is not a data frame.
    UnsupportedDataError
        If a part of it would not come back equal; the message names the column.
    """
    table = to_arrow_table(df)
    parsed = parse_note(table.schema.metadata[NOTE_KEY], where="the encoded data frame")
    assert parsed is not None
    note: Marker = {**parsed, "types": {}}
    levels = note["index"].get("fields", [])
    texts = {}
    for name in [*levels, *(name for name in table.column_names if name not in levels)]:
        kind = _text_type(table[name].type, name)
        note["types"][name] = kind
        texts[name] = _to_text(whole(table[name]), kind)
    if len(texts) == 1:
        name, array = texts.popitem()
        texts[name], note["null"] = _without_blank_lines(array, name)
    data = _gzip(_to_csv(texts), note)
    try:
        back = decode_csv_gz(data, where="the encoded data frame")
    except CorruptDataError as error:
        raise UnsupportedDataError(
            f"CSV cannot keep the data frame: {error}", hint=_HINT
        ) from error
    _verify(df, back)
    return data


def decode_csv_gz(data: bytes, *, where: str) -> pd.DataFrame:
    """Decode a gzip CSV; one without our note comes back as `pandas.read_csv` reads it.

    Parameters
    ----------
    data : bytes
        The whole file.
    where : str
        Name of the file for errors.

    Raises
    ------
    CorruptDataError
        If the bytes are not a gzip CSV, or are damaged.
    FormatVersionError
        If a newer version of this package wrote it.
    LimitExceededError
        If it unpacks to more than the limit ``gzip_bytes``.
    """
    try:
        text = gunzip(data, where=where)
        note = parse_note(_find_note(data), where=where)
        if note is None:
            return decode_csv(text)
        return from_arrow_table(_from_csv(text, note), note)
    except KymflowZarrError:
        raise
    except Exception as error:  # The parsers raise many exception types on corrupt input.
        raise CorruptDataError(f"not a readable gzip CSV: {error}", where=where) from error


def _text_type(arrow_type: Any, name: str) -> str:
    if pa.types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    known = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_timestamp,
        pa.types.is_duration,
        pa.types.is_date,
        pa.types.is_time,
        pa.types.is_decimal,
        pa.types.is_null,
    )
    if isinstance(arrow_type, pa.BaseExtensionType) or not any(is_a(arrow_type) for is_a in known):
        raise UnsupportedDataError(
            f"column {name!r} holds {arrow_type}, which CSV cannot keep", hint=_HINT
        )
    return str(arrow_type)


def _type_of(text: str) -> Any:
    if match := re.fullmatch(r"decimal(128|256)\((\d+), (-?\d+)\)", text):
        make: Any = pa.decimal128 if match[1] == "128" else pa.decimal256
        return make(int(match[2]), int(match[3]))
    if match := re.fullmatch(r"timestamp\[(\w+), tz=.*\]", text):
        # The text holds only the instants; the zone is in the column's marker.
        return pa.timestamp(match[1], tz="UTC")
    by_alias: Any = pa.type_for_alias
    return by_alias(text)


def _to_text(array: Any, kind: str) -> Any:
    array = as_storage(array)
    if pa.types.is_dictionary(array.type):
        return array.cast(array.type.value_type)
    if pa.types.is_timestamp(array.type):
        naive = array.cast(pa.int64()).cast(pa.timestamp(array.type.unit)).cast(pa.string())
        if array.type.tz is None:
            return naive
        return pc.binary_join_element_wise(naive, "Z", "", null_handling="emit_null")
    if pa.types.is_duration(array.type):
        spans: Any = pd.Series(array.to_numpy(zero_copy_only=False)).astype(object)
        return pa.array([None if span is pd.NaT else str(span) for span in spans], pa.string())
    if kind == "halffloat":
        return array.cast(pa.float32())
    if pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        return array
    return array.cast(pa.string())


def _from_text(array: Any, kind: str) -> Any:
    target = _type_of(kind)
    if pa.types.is_timestamp(target) and target.tz is not None:
        naive = pc.utf8_rtrim(array, "Z").cast(pa.timestamp(target.unit))
        return naive.cast(pa.int64()).cast(target)
    if pa.types.is_duration(target):
        spans = pd.to_timedelta(pd.Series(array.to_pylist(), dtype=object))
        return pa.array(spans.to_numpy().astype(f"m8[{target.unit}]"), from_pandas=True)
    if kind == "halffloat":
        halves = array.cast(pa.float32()).to_numpy(zero_copy_only=False).astype(np.float16)
        return pa.array(halves, from_pandas=True)
    if pa.types.is_time64(target):
        times = [
            None if text is None else dt.time.fromisoformat(text) for text in array.to_pylist()
        ]
        return pa.array(times, target)
    if pa.types.is_null(target):
        return pa.nulls(len(array))
    return array.cast(target)


def _without_blank_lines(array: Any, name: str) -> tuple[Any, str]:
    """Replace missing values of a single column by a word, since readers skip blank lines."""
    array = array.cast(pa.string())
    if not array.null_count:
        return array, ""
    taken = set(array.unique().to_pylist())
    word = next((word for word in _NULL_WORDS if word not in taken), None)
    if word is None:
        raise UnsupportedDataError(
            f"column {name!r} holds every word for a missing value as text", hint=_HINT
        )
    return array.fill_null(word), word


def _to_csv(texts: dict[str, Any]) -> bytes:
    if not texts:
        return b""
    sink = pa.BufferOutputStream()
    pa_csv.write_csv(pa.table(texts), sink)
    return sink.getvalue().to_pybytes()


def _from_csv(text: bytes, note: Marker) -> pa.Table:
    types = note["types"]
    if not types:
        return pa.table({})
    word = note.get("null", "")
    table = pa_csv.read_csv(
        arrow_reader(text),
        read_options=pa_csv.ReadOptions(
            column_names=list(types),
            skip_rows_after_names=1,
            # One block, since a value may have any length.
            block_size=min(max(len(text) + 1, 1 << 20), 2**31 - 1),
        ),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(types, pa.string()),
            null_values=[word],
            strings_can_be_null=True,
            quoted_strings_can_be_null=bool(word),
        ),
    )
    if table.num_rows != note["rows"]:
        raise ValueError(f"{table.num_rows} rows where {note['rows']} were written")
    return pa.table({name: _from_text(whole(table[name]), types[name]) for name in types})


def _gzip(text: bytes, note: Marker) -> bytes:
    raw = json.dumps(note, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    name = b"KZ"
    if len(raw) > _LIMIT:
        name, raw = b"Kz", zlib.compress(raw, 9)
    if len(raw) > _LIMIT:
        raise UnsupportedDataError(
            "the dtypes, with all categories, are too long for a CSV", hint=_HINT
        )
    extra = name + struct.pack("<H", len(raw)) + raw
    # RFC 1952: magic, deflate, flags, no time, no extra flags, unknown system.
    header = b"\x1f\x8b\x08" + bytes([_FEXTRA]) + bytes(4) + b"\x00\xff"
    tail = struct.pack("<II", zlib.crc32(text), len(text) & 0xFFFF_FFFF)
    return b"".join([header, struct.pack("<H", len(extra)), extra, deflate_bytes(text), tail])


def _find_note(data: bytes) -> bytes | None:
    if not data[3] & _FEXTRA:
        return None
    end = 12 + int(struct.unpack_from("<H", data, 10)[0])
    at = 12
    while at + 4 <= end:
        name, size = data[at : at + 2], int(struct.unpack_from("<H", data, at + 2)[0])
        raw = data[at + 4 : at + 4 + size]
        if name in (b"KZ", b"Kz"):
            return raw if name == b"KZ" else zlib.decompress(raw)
        at += 4 + size
    return None


def _verify(df: pd.DataFrame, back: pd.DataFrame) -> None:
    for position, label in enumerate(df.columns):
        given, got = df.iloc[:, position], back.iloc[:, position]
        require_same(f"column {str(label)!r}", given, got, hint=_HINT)
    require_same_index(df.index, back.index, hint=_HINT)
