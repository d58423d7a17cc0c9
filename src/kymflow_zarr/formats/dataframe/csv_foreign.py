"""Read the CSV of other programs, with types as pandas infers them where that loses nothing.

CSV declares neither its delimiter nor its types. A file that another delimiter fits as well, or
whose rows are longer than its header, is refused as ambiguous. pyarrow splits the text into
fields, once; the types are then decided here, column by column. Columns of known programs always
have the type of `PINNED_COLUMNS`, whatever a single file contains.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pa_csv

from kymflow_zarr.formats.parquet.footer import arrow_reader
from kymflow_zarr.schema.analysis_columns import pinned_types

__all__ = ["decode_csv"]

# The annotations of pyarrow lack many arguments of its functions, and those of pandas lack the
# Arrow protocol.
pc: Final[Any] = pyarrow.compute
_NULLABLE_BOOLEAN: Final[Any] = pd.BooleanDtype()
_NULLABLE_INTEGER: Final[Any] = pd.Int64Dtype()

_BOM: Final = b"\xef\xbb\xbf"
_SEP_LINE: Final = re.compile(rb'"?sep=(.)"?\s*?(?:\r\n|\n|\r|$)', re.IGNORECASE)
_OTHER_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
_QUOTED: Final = re.compile(r'"[^"]*"')
# The texts that pandas reads as missing values.
_MISSING: Final = pa.array(
    [
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
        "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
    ]
)  # fmt: skip
_WORDS: Final = pa.array(["True", "TRUE", "true", "False", "FALSE", "false"])
_TRUE: Final = pa.array(["True", "TRUE", "true"])
_INTEGER: Final = r"^\s*[+-]?[0-9]+\s*$"
# Leading zeros ("007") mean an identifier, and a double does not hold seventeen digits.
_NOT_PLAIN_INTEGER: Final = r"^\s*[+-]?(0[0-9]+|[0-9]{17,})\s*$"
_SIXTEEN_DIGITS: Final = r"^\s*[+-]?[0-9]{16}\s*$"
_DECIMAL_COMMA: Final = r"^\s*[+-]?[0-9]+,[0-9]+\s*$"
_EXACT_IN_A_DOUBLE: Final = 2**53


def decode_csv(data: bytes) -> pd.DataFrame:
    """Decode a CSV with one header line; floats exactly.

    A column whose text would not come back from its numbers (leading zeros, more digits than a
    number holds, words such as ``NA`` among other words) stays text.

    Parameters
    ----------
    data : bytes
        The whole file, in UTF-8. A line ``sep=,`` may precede the header.

    Raises
    ------
    ValueError
        If the delimiter is not a comma, if a row is longer than the header, or if the numbers
        have decimal commas; the message completes "the file ...".
    """
    text, header, body = _split_header(data)
    names = _unique_names(header)
    _require_commas(text, body, len(names))
    columns = _fields(body, len(names))
    if len(columns) == 1:
        _require_one_field(text, columns[0])
    types = pinned_types(names)
    decoded = {
        name: _pinned(column, types[name]) if name in types else _inferred(column)
        for name, column in zip(names, columns, strict=True)
    }
    if len(columns) > 1 and b'"' in body:
        _require_decimal_points(columns, decoded)
    return pd.DataFrame(decoded, columns=pd.Index(names))


def _split_header(data: bytes) -> tuple[str, list[str], bytes]:
    """Return the text of the header, its fields, and the bytes after it."""
    data = data.removeprefix(_BOM)
    if sep := _SEP_LINE.match(data):
        if sep[1] != b",":
            raise ValueError(f"has fields separated by {sep[1].decode('latin-1')!r}, not by commas")
        data = data[sep.end() :]
    if b"\r" in data and b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    read = 0
    lines: list[str] = []

    def raw_lines() -> Iterator[str]:
        nonlocal read
        for line in io.BytesIO(data):
            read += len(line)
            lines.append(_text(line))
            yield lines[-1]

    try:
        for fields in csv.reader(raw_lines()):
            if fields and (len(fields) > 1 or fields[0].strip()):
                return "".join(lines), fields, data[read:]
            lines.clear()
    except csv.Error as error:
        raise ValueError(f"has a header that is no CSV: {error}") from error
    raise ValueError("is empty")


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text: {error}") from error


def _unique_names(header: Sequence[str]) -> list[str]:
    """Return column names as pandas makes them: ``Unnamed: 0``, ``a.1`` for a second ``a``."""
    given = [field or f"Unnamed: {i}" for i, field in enumerate(header)]
    names: list[str] = []
    counts: dict[str, int] = {}
    for name in given:
        unique = name
        while unique in counts or (unique != name and unique in given):
            counts[name] += 1
            unique = f"{name}.{counts[name]}"
        counts[unique] = 0
        names.append(unique)
    return names


def _fields(body: bytes, width: int) -> list[Any]:
    """Return the fields of each column as text."""
    # pyarrow does not report an unclosed quote.
    if body.count(b'"') % 2 == 0 and width > 1:
        try:
            return _split_fast(body, width, ",").columns
        except pa.ArrowInvalid:
            pass  # Rows differ in length, or it is not UTF-8: the slow parser reports which.
    return _split_slowly(body, width)


def _split_fast(body: bytes, width: int, delimiter: str) -> pa.Table:
    names = [str(i) for i in range(width)]
    if not body.strip():
        return pa.schema([(name, pa.string()) for name in names]).empty_table()
    return pa_csv.read_csv(
        arrow_reader(body),
        read_options=pa_csv.ReadOptions(
            column_names=names, block_size=min(max(len(body) // 4, 1 << 20), 1 << 26)
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=b'"' in body and delimiter == ","
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        ),
    )


def _split_slowly(body: bytes, width: int) -> list[Any]:
    """Return the fields of each column with a parser that allows empty fields at row ends."""
    rows: list[list[str]] = []
    longest = 0
    unclosed = body.count(b'"') % 2 == 1
    blank_is_none = width > 1 or b'"' not in body
    reader = csv.reader(io.StringIO(_text(body), newline=""), strict=unclosed)
    try:
        for row in reader:
            if not row or (blank_is_none and len(row) == 1 and row[0].isspace()):
                continue
            if any(row[width:]):
                raise ValueError(
                    f"has rows with more fields than its header: {len(row)}, not {width}, in line "
                    f"{reader.line_num} below it"
                )
            longest = max(longest, len(row))
            rows.append([*row[:width], *[""] * (width - len(row))])
    except csv.Error as error:
        raise ValueError(
            f"is no CSV in line {reader.line_num} below its header: {error}"
        ) from error
    if rows and longest == 1 and width > 1:
        raise ValueError(f"has a single field in each row, and {width} in its header")
    columns = zip(*rows, strict=True) if rows else [()] * width
    return [pa.chunked_array([list(column)], pa.string()) for column in columns]


def _require_commas(header: str, body: bytes, width: int) -> None:
    """Refuse a file whose rows have the same number of fields with another delimiter."""
    plain = _QUOTED.sub("", header)
    for delimiter, word in _OTHER_DELIMITERS.items():
        count = plain.count(delimiter)
        if count and (width == 1 or _fits(body, count + 1, delimiter)):
            commas = "not by commas" if width == 1 else "or by commas"
            raise ValueError(f"has fields separated by {word}, {commas}")


def _require_one_field(header: str, column: Any) -> None:
    """Refuse a file without commas whose rows have several fields with another delimiter."""
    for delimiter, word in _OTHER_DELIMITERS.items():
        counts = pc.unique(pc.count_substring(column, delimiter)).to_pylist()
        if len(column) > 1 and len(counts) == 1 and counts[0]:
            raise ValueError(f"has fields separated by {word}, and a header of one field")
    words = len(_QUOTED.sub("", header).split())
    numbers = rf"^\s*([0-9.eE+-]+\s+){{{words - 1}}}[0-9.eE+-]+\s*$"
    if words > 1 and len(column) and _all(column, numbers):
        raise ValueError("has fields separated by spaces, not by commas")


def _fits(body: bytes, width: int, delimiter: str) -> bool:
    try:
        return _split_fast(body, width, delimiter).num_rows > 0
    except pa.ArrowInvalid:
        return False


def _require_decimal_points(columns: Sequence[Any], decoded: dict[str, Any]) -> None:
    """Refuse quoted numbers such as "1,5", unless the file has decimals with points."""
    if any(values.dtype == np.float64 for values in decoded.values()) and any(
        pc.any(pc.match_substring_regex(column, r"^\s*[+-]?[0-9]*\.[0-9]")).as_py()
        for column in columns
    ):
        return
    for name, column in zip(decoded, columns, strict=True):
        given = column.filter(pc.invert(pc.is_in(column, value_set=_MISSING)))
        if len(given) and pc.all(pc.match_substring_regex(given, _DECIMAL_COMMA)).as_py():
            raise ValueError(f"has numbers with a comma in column {name!r}")


def _inferred(texts: Any) -> Any:
    """Convert a column to the type that pandas infers, if that loses no text."""
    missing = pc.is_in(texts, value_set=_MISSING)
    given: Any = texts.filter(pc.invert(missing))
    if not len(texts):
        return np.array([], dtype=object)
    if not len(given):
        return np.full(len(texts), np.nan)
    if pc.all(pc.is_in(given, value_set=_WORDS)).as_py():
        return _booleans(texts, missing)
    values = _numbers(texts, given, missing)
    return _as_text(texts) if values is None else values


def _pinned(texts: Any, kind: str) -> Any:
    """Convert a column to its type in all files of its program, if its values fit."""
    if kind == "text":
        return _as_text(texts)
    missing = pc.is_in(texts, value_set=_MISSING)
    if kind == "boolean" and pc.all(pc.or_(missing, pc.is_in(texts, value_set=_WORDS))).as_py():
        truth = pc.if_else(missing, None, pc.is_in(texts, value_set=_TRUE))
        return _NULLABLE_BOOLEAN.__from_arrow__(truth) if truth.null_count else _flat(truth)
    given = pc.if_else(missing, None, texts)
    if kind == "integer" and (integers := _cast(given, pa.int64())) is not None:
        gaps = integers.null_count
        return _NULLABLE_INTEGER.__from_arrow__(integers) if gaps else _flat(integers)
    if kind == "number" and (numbers := _cast(given, pa.float64())) is not None:
        return _flat(numbers)
    return _inferred(texts)


def _numbers(texts: Any, given: Any, missing: Any) -> Any:
    """Return a column as numbers; None if it is text, or if digits would be lost."""
    integers = re.match(_INTEGER, given[0].as_py()) is not None and _all(given, _INTEGER)
    values = _cast(given, pa.int64() if integers else pa.float64())
    if values is None or _any(given, _NOT_PLAIN_INTEGER):
        return None
    # Integers with missing values become doubles.
    large = pc.max(pc.abs(values)).as_py() >= _EXACT_IN_A_DOUBLE
    if large and not (integers and len(given) == len(texts)) and _any(given, _SIXTEEN_DIGITS):
        return None
    if integers:
        if len(given) == len(texts):
            return _flat(values)
        values = values.cast(pa.float64())
    else:
        infinite = pc.is_inf(values)
        if pc.any(infinite).as_py() and not _all(given.filter(infinite), "(?i)inf"):
            return None  # Such as 1e999.
        if pc.any(pc.is_nan(values)).as_py():
            return None  # A word that only Arrow reads as missing.
    out = np.full(len(texts), np.nan)
    out[~np.asarray(missing)] = np.asarray(values)
    return out


def _all(texts: Any, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py())


def _any(texts: Any, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(texts, pattern)).as_py())


def _cast(texts: Any, kind: Any) -> Any:
    """Parse numbers; return None if some are not. Signs and blanks are allowed as in pandas."""
    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        plain: Any = pc.utf8_trim_whitespace(texts)
        plain = pc.replace_substring_regex(plain, r"^\+([0-9.iI])", r"\1")
        try:
            return plain.cast(kind)
        except pa.ArrowInvalid:
            return None


def _flat(values: Any) -> np.ndarray:
    return np.array(values.to_numpy(), copy=True)


def _booleans(texts: Any, missing: Any) -> Any:
    truth = pc.is_in(texts, value_set=_TRUE)
    if not pc.any(missing).as_py():
        return _flat(truth)
    if pc.any(pc.and_(missing, pc.not_equal(texts, ""))).as_py():
        return _as_text(texts)
    out = np.asarray(truth).astype(object)
    out[np.asarray(missing)] = np.nan
    return out


def _as_text(texts: Any) -> Any:
    """Return a column as text, with only empty fields as missing."""
    given = pc.if_else(pc.equal(texts, ""), None, texts)
    dtype: Any = pd.Series(["text"]).dtype
    # pandas before version 3 stores text as objects.
    objects = isinstance(dtype, np.dtype)
    return given.to_pandas().to_numpy() if objects else dtype.__from_arrow__(given)
