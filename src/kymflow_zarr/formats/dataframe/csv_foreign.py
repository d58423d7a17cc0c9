"""Read the CSV of other programs, with types as pandas infers them where that loses nothing.

CSV declares neither its delimiter nor its types. Another delimiter than the comma is taken where a
line ``sep=`` declares it, or where it alone gives each row as many fields as the header. A file
that two delimiters fit, or whose rows are longer than its header, is refused as ambiguous. pyarrow
splits the text into fields, once; the types are then decided here, column by column. Columns of
known programs always have the type of `PINNED_COLUMNS`, whatever a single file contains; their
numbers are parsed while the text is split. The columns stay in Arrow: pandas is needed only by
callers that want its data frame.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pa_csv

from kymflow_zarr.formats.dataframe.columns import encode_column
from kymflow_zarr.formats.dataframe.objects import Marker
from kymflow_zarr.formats.parquet.footer import arrow_reader
from kymflow_zarr.formats.rows.encoded import Column, Rows
from kymflow_zarr.schema.analysis_columns import pinned_types

__all__ = ["decode_csv", "read_csv"]

# The annotations of pyarrow lack many arguments of its functions, and those of pandas lack the
# Arrow protocol.
pc: Final[Any] = pyarrow.compute
_NUMBER: Final[Marker] = {"kind": "numpy", "dtype": "float64"}
_TYPES_WHILE_SPLIT: Final = {"number": pa.float64(), "integer": pa.int64()}

_BOM: Final = b"\xef\xbb\xbf"
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_UTF_32: Final = b"\xff\xfe\x00\x00"
_SEP_LINE: Final = re.compile(rb'"?sep=(.)"?\s*?(?:\r\n|\n|\r|$)', re.IGNORECASE)
_OTHER_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
_QUOTED: Final = re.compile(r'"[^"]*"')
# The texts that pandas reads as missing values.
_MISSING_TEXTS: Final = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
]  # fmt: skip
_MISSING: Final = pa.array(_MISSING_TEXTS)
_WORDS: Final = pa.array(["True", "TRUE", "true", "False", "FALSE", "false"])
_TRUE: Final = pa.array(["True", "TRUE", "true"])
_INTEGER: Final = r"^\s*[+-]?[0-9]+\s*$"
# Leading zeros ("007") mean an identifier, and a double does not hold seventeen digits.
_NOT_PLAIN_INTEGER: Final = r"^\s*[+-]?(0[0-9]+|[0-9]{17,})\s*$"
_SIXTEEN_DIGITS: Final = r"^\s*[+-]?[0-9]{16}\s*$"
_DECIMAL_COMMA: Final = r"^\s*[+-]?[0-9]+,[0-9]+\s*$"
_EXPONENT: Final = r"([eE][+-]?[0-9]+)?\s*$"
_WITH_COMMA: Final = rf"^\s*[+-]?[0-9]*,[0-9]+{_EXPONENT}"
_COMMA_OR_WHOLE: Final = rf"^\s*[+-]?([0-9]+|[0-9]*,[0-9]+){_EXPONENT}"
_POINT_OR_WHOLE: Final = rf"^\s*[+-]?([0-9]+|[0-9]*\.[0-9]*){_EXPONENT}"
_MAYBE_THOUSANDS: Final = r"^\s*[+-]?[1-9][0-9]{0,2},[0-9]{3}\s*$"
_POINTS_AND_COMMA: Final = r"^\s*[+-]?[0-9]{1,3}(\.[0-9]{3})*(,[0-9]+)?\s*$"
_EXACT_IN_A_DOUBLE: Final = 2**53


def decode_csv(data: bytes) -> pd.DataFrame:
    """Decode a CSV as `read_csv` does, to a data frame."""
    return read_csv(data).to_dataframe()


def read_csv(data: bytes, *, notes: list[str] | None = None) -> Rows:
    """Decode a CSV with one header line; floats exactly.

    A column whose text would not come back from its numbers (leading zeros, more digits than a
    number holds, words such as ``NA`` among other words) stays text.

    Parameters
    ----------
    data : bytes
        The whole file, in UTF-8, or in UTF-16 with a byte order mark. A line such as ``sep=;`` may
        precede the header. In files with other delimiters than commas, decimals may have commas.
    notes : list of str, optional
        Gets how the file was read, if it is no CSV with commas in UTF-8; completes "the file ...".

    Raises
    ------
    ValueError
        If the text is of another encoding or holds null bytes, if the delimiter is none of ``,;|``
        and tabs, if two of them fit, if a row is longer than the header, or if it is not certain
        that commas in numbers are decimal commas; the message completes "the file ...".
    """
    given = data
    data, declared = _without_sep_line(_utf_8(data))
    delimiter = declared or _delimiter(data)
    text, header, body = _split_header(data, delimiter)
    names = _unique_names(header)
    types = pinned_types(names)
    columns = _fields(body, [types.get(name) for name in names], delimiter)
    if len(columns) == 1 and not declared:
        _require_one_field(text, columns[0])
    unusual = ["UTF-16"] if given.startswith(_UTF_16) else []
    if delimiter != ",":
        unusual.append(f"{_OTHER_DELIMITERS[delimiter]} between the fields")
        split = columns
        columns = _with_decimal_points(dict(zip(names, columns, strict=True)), types)
        unusual += ["decimal commas"] if columns != split else []
    if all(map(_is_number, header)) and header != [str(i) for i in range(len(header))]:
        unusual.append("the numbers of its first line as names of columns")
    if notes is not None and unusual:
        notes.append(f"was read with {', '.join(unusual)}")
    decoded = {
        name: Column(name, *(_pinned(column, types[name]) if name in types else _inferred(column)))
        for name, column in zip(names, columns, strict=True)
    }
    if len(columns) > 1 and body.quotes and delimiter == ",":
        _require_decimal_points(columns, decoded)
    return Rows.of_columns(decoded.values())


def _utf_8(data: bytes) -> bytes:
    """Return a text that says by a byte order mark that it is UTF-16 as UTF-8."""
    if data.startswith(_UTF_16) and not data.startswith(_UTF_32):
        try:
            data = data.decode("utf-16").encode()
        except UnicodeError as error:
            raise ValueError(f"is no UTF-16 text, as its first bytes say: {error}") from error
    if b"\0" in data:
        raise ValueError("has null bytes: it is no text, or of another encoding, or damaged")
    while data.startswith(_BOM):  # Some programs write a second one.
        data = data.removeprefix(_BOM)
    return data


def _without_sep_line(data: bytes) -> tuple[bytes, str]:
    """Return the text below a line ``sep=;``, and the delimiter that the line declares."""
    sep = _SEP_LINE.match(data)
    if sep is None:
        return data, ""
    declared = sep[1].decode("latin-1")
    if declared != "," and declared not in _OTHER_DELIMITERS:
        raise ValueError(f"has fields separated by {declared!r}, not by commas")
    return data[sep.end() :], declared


def _delimiter(data: bytes) -> str:
    """Return the one delimiter that fits a file.

    Raises
    ------
    ValueError
        If none fits, or more than one does.
    """
    text, header, body = _split_header(data, ",")
    plain = _QUOTED.sub("", text)
    others = [delimiter for delimiter in _OTHER_DELIMITERS if delimiter in plain]
    if not others:
        return ","
    fitting = []
    for delimiter in others:
        _, fields, below = _split_header(data, delimiter)
        if _fits(below, len(fields), delimiter):
            fitting.append(delimiter)
    words = " or ".join(_OTHER_DELIMITERS[delimiter] for delimiter in fitting or others)
    # A quote that is no quote shows that a field does not begin there.
    commas = len(header) > 1 and not any('"' in field for field in header)
    if not fitting and len(header) == 1:
        raise ValueError(f"has fields separated by {words}, not by commas, of uneven number")
    if not fitting:
        return ","
    if len(fitting) > 1 or (commas and _fits_loosely(body, len(header))):
        raise ValueError(f"has fields separated by {words}, or by commas")
    return fitting[0]


class _Body:
    """The rows of a file, below its header: a part of its bytes, which is not copied."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data, self._start = data, start
        self.quotes = data.count(b'"', start)
        self.view = memoryview(data)[start:]

    @property
    def is_blank(self) -> bool:
        """Whether there is nothing but white space."""
        head = self._data[self._start : self._start + 64]
        return not head.strip() and not self.to_bytes().strip()

    def to_bytes(self) -> bytes:
        """Return a copy."""
        return self._data[self._start :]


def _split_header(data: bytes, delimiter: str) -> tuple[str, list[str], _Body]:
    """Return the text of the header, its fields, and the rows below it."""
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
        for fields in csv.reader(raw_lines(), delimiter=delimiter):
            if fields and (len(fields) > 1 or fields[0].strip()):
                return "".join(lines), fields, _Body(data, read)
            lines.clear()
    except csv.Error as error:
        if "\r" in lines[-1].rstrip("\r\n"):
            raise ValueError("has lines that end in CR beside lines that end in LF") from error
        raise ValueError(f"has a header that is no CSV: {error}") from error
    raise ValueError("is empty")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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


def _fields(body: _Body, kinds: Sequence[str | None], delimiter: str) -> list[Any]:
    """Return the fields of each column as text, or as numbers if that is its pinned kind."""
    width = len(kinds)
    # pyarrow does not report an unclosed quote.
    if body.quotes % 2 == 0 and width > 1:
        if any(kinds) and not body.quotes:
            with contextlib.suppress(pa.ArrowInvalid):  # Not all are numbers: see their text.
                return _split_fast(body, width, delimiter, kinds).columns
        try:
            return _split_fast(body, width, delimiter).columns
        except pa.ArrowInvalid:
            pass  # Rows differ in length, or it is not UTF-8: the slow parser reports which.
    return _split_slowly(body, width, delimiter)


def _split_fast(
    body: _Body, width: int, delimiter: str, kinds: Sequence[str | None] = ()
) -> pa.Table:
    names = [str(i) for i in range(width)]
    if body.is_blank:
        return pa.schema([(name, pa.string()) for name in names]).empty_table()
    types: dict[str, Any] = dict.fromkeys(names, pa.string())
    for name, kind in zip(names, kinds, strict=False):
        types[name] = _TYPES_WHILE_SPLIT.get(kind or "", pa.string())
    return pa_csv.read_csv(
        arrow_reader(body.view),
        read_options=pa_csv.ReadOptions(
            # Each worker of an ingest parses a file of its own.
            use_threads=False,
            column_names=names,
            block_size=min(max(len(body.view) // 4, 1 << 20), 1 << 26),
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=bool(body.quotes)
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=types, null_values=_MISSING_TEXTS, strings_can_be_null=False
        ),
    )


def _split_slowly(body: _Body, width: int, delimiter: str) -> list[Any]:
    """Return the fields of each column with a parser that allows empty fields at row ends."""
    rows: list[list[str]] = []
    longest = 0
    unclosed = body.quotes % 2 == 1
    blank_is_none = width > 1 or not body.quotes
    text = io.StringIO(_text(body.to_bytes()), newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=unclosed)
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


def _fits(body: _Body, width: int, delimiter: str) -> bool:
    try:
        return _split_fast(body, width, delimiter).num_rows > 0
    except pa.ArrowInvalid:
        return False


def _fits_loosely(body: _Body, width: int) -> bool:
    """Return True if commas split each row, though some may end in empty or missing fields."""
    with contextlib.suppress(ValueError):
        return _fits(body, width, ",") or bool(_split_slowly(body, width, ","))
    return False


def _with_decimal_points(columns: Mapping[str, Any], types: Mapping[str, str]) -> list[Any]:
    """Return columns with points in place of decimal commas.

    Raises
    ------
    ValueError
        If others of the columns have points, or if all commas may be those of thousands.
    """
    texts = {
        name: given
        for name, column in columns.items()
        if types.get(name) != "text" and pa.types.is_string(column.type)
        if len(given := column.filter(pc.invert(pc.is_in(column, value_set=_MISSING))))
    }
    commas = [name for name, given in texts.items() if _any(given, _WITH_COMMA)]
    points = [
        n for n, given in texts.items() if _all(given, _POINT_OR_WHOLE) and _any(given, r"\.")
    ]
    points += [name for name, column in columns.items() if pa.types.is_floating(column.type)]
    decimals = [name for name in commas if _all(texts[name], _COMMA_OR_WHOLE)]
    for name in commas:
        if name not in decimals and _all(texts[name], _POINTS_AND_COMMA):
            raise ValueError(f"has numbers with points and commas in column {name!r}")
    if decimals and points:
        raise ValueError(
            f"has numbers with a comma in column {decimals[0]!r}, and with a point in {points[0]!r}"
        )
    if decimals and all(
        _all(texts[name].filter(pc.match_substring(texts[name], ",")), _MAYBE_THOUSANDS)
        for name in decimals
    ):
        raise ValueError(
            f"has numbers with a comma in column {decimals[0]!r}, which may be thousands"
        )
    return [
        pc.replace_substring(column, ",", ".") if name in decimals else column
        for name, column in columns.items()
    ]


def _require_decimal_points(columns: Sequence[Any], decoded: Mapping[str, Column]) -> None:
    """Refuse quoted numbers such as "1,5", unless the file has decimals with points."""
    if any(column.marker == _NUMBER for column in decoded.values()) and any(
        pc.any(pc.match_substring_regex(column, r"^\s*[+-]?[0-9]*\.[0-9]")).as_py()
        for column in columns
    ):
        return
    for name, column in zip(decoded, columns, strict=True):
        given = column.filter(pc.invert(pc.is_in(column, value_set=_MISSING)))
        if len(given) and pc.all(pc.match_substring_regex(given, _DECIMAL_COMMA)).as_py():
            raise ValueError(f"has numbers with a comma in column {name!r}")


def _inferred(texts: Any) -> tuple[Any, Marker]:
    """Convert a column to the type that pandas infers, if that loses no text."""
    missing = pc.is_in(texts, value_set=_MISSING)
    given: Any = texts.filter(pc.invert(missing))
    if not len(texts):
        return _objects(np.array([], dtype=object))
    if not len(given):
        return pa.nulls(len(texts), pa.float64()), _NUMBER
    if pc.all(pc.is_in(given, value_set=_WORDS)).as_py():
        return _booleans(texts, missing)
    return _numbers(texts, given, missing) or _as_text(texts)


def _pinned(values: Any, kind: str) -> tuple[Any, Marker]:
    """Convert a column to its type in all files of its program, if its values fit."""
    if kind in _TYPES_WHILE_SPLIT and values.type == _TYPES_WHILE_SPLIT[kind]:
        return _whole_numbers(values) if kind == "integer" else _decimals(values)
    if kind == "text":
        return _as_text(values)
    missing = pc.is_in(values, value_set=_MISSING)
    if kind == "boolean" and pc.all(pc.or_(missing, pc.is_in(values, value_set=_WORDS))).as_py():
        truth = pc.if_else(missing, None, pc.is_in(values, value_set=_TRUE))
        return truth, _nullable("boolean") if truth.null_count else _numpy("bool")
    given = pc.if_else(missing, None, values)
    if kind == "integer" and (integers := _cast(given, pa.int64())) is not None:
        return _whole_numbers(integers)
    if kind == "number" and (numbers := _cast(given, pa.float64())) is not None:
        return _decimals(numbers)
    return _inferred(values)


def _whole_numbers(values: Any) -> tuple[Any, Marker]:
    return values, _nullable("Int64") if values.null_count else _numpy("int64")


def _decimals(values: Any) -> tuple[Any, Marker]:
    """Return a column of float64, whose NaNs are nulls, as `encode_column` writes them."""
    nans = pc.is_nan(values)
    return pc.if_else(nans, None, values) if pc.any(nans).as_py() else values, _NUMBER


def _numpy(dtype: str) -> Marker:
    return {"kind": "numpy", "dtype": dtype}


def _nullable(dtype: str) -> Marker:
    return {"kind": "nullable", "dtype": dtype}


def _objects(values: np.ndarray) -> tuple[Any, Marker]:
    return encode_column(pd.Series(values, dtype=object, copy=False), "the column")


def _numbers(texts: Any, given: Any, missing: Any) -> tuple[Any, Marker] | None:
    """Return a column as numbers; None if it is text, or if digits would be lost."""
    integers = re.match(_INTEGER, given[0].as_py()) is not None and _all(given, _INTEGER)
    values = _cast(pc.if_else(missing, None, texts), pa.int64() if integers else pa.float64())
    if values is None or _any(given, _NOT_PLAIN_INTEGER):
        return None
    # Integers with missing values become doubles.
    large = pc.max(pc.abs(values)).as_py() >= _EXACT_IN_A_DOUBLE
    if large and not (integers and len(given) == len(texts)) and _any(given, _SIXTEEN_DIGITS):
        return None
    if integers:
        if len(given) == len(texts):
            return values, _numpy("int64")
        return values.cast(pa.float64()), _NUMBER
    infinite = pc.fill_null(pc.is_inf(values), False)
    if pc.any(infinite).as_py() and not _all(texts.filter(infinite), "(?i)inf"):
        return None  # Such as 1e999.
    if pc.any(pc.is_nan(values)).as_py():
        return None  # A word that only Arrow reads as missing.
    return values, _NUMBER


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


def _booleans(texts: Any, missing: Any) -> tuple[Any, Marker]:
    truth = pc.is_in(texts, value_set=_TRUE)
    if not pc.any(missing).as_py():
        return truth, _numpy("bool")
    if pc.any(pc.and_(missing, pc.not_equal(texts, ""))).as_py():
        return _as_text(texts)
    out = np.asarray(truth).astype(object)
    out[np.asarray(missing)] = np.nan
    return _objects(out)


def _as_text(texts: Any) -> tuple[Any, Marker]:
    """Return a column as text, with only empty fields as missing."""
    given = pc.if_else(pc.equal(texts, ""), None, texts)
    kind, marker = _text_type()
    if marker["kind"] == "object":  # pandas before version 3 stores text as objects.
        return _objects(given.to_pandas().to_numpy())
    return given.cast(kind), marker


@functools.cache
def _text_type() -> tuple[Any, Marker]:
    """Return the Arrow type and marker of the dtype that pandas gives to text."""
    array, marker = encode_column(pd.Series(["text"]), "the column")
    return array.type, marker
