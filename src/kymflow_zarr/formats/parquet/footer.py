"""Parse footer and page headers of a Parquet file, and check its size in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from kymflow_zarr.errors import CorruptDataError, KymflowZarrError
from kymflow_zarr.runtime.limits import check_limit, get_limits

I64: Final = 6
LIST: Final = 9
STRUCT: Final = 12
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _SET = 1, 2, 3, 7, 8, 10
_INTEGERS: Final = (4, 5, I64)
_MAX_NESTING: Final = 16

Bytes = bytes | memoryview
Struct = dict[int, tuple[int, Any]]
"""Fields by number, each with its Thrift type and value. The value of a list is the type of its
elements and the elements."""


def load_struct(data: Bytes, at: int = 0) -> tuple[Struct, int]:
    """Return the struct that begins at byte `at`, and where it ends.

    Raises
    ------
    ValueError, IndexError
        If it cannot be parsed.
    """
    return _struct(data, at, 0)


def dump_struct(struct: Struct) -> bytes:
    """Encode a struct; the bytes are those it was parsed from if they were canonical."""
    out = bytearray()
    _put_struct(out, struct)
    return bytes(out)


def _struct(data: Bytes, at: int, depth: int) -> tuple[Struct, int]:
    if depth > _MAX_NESTING:
        raise ValueError("a document in the file is nested too deeply")
    fields: Struct = {}
    number = 0
    while head := data[at]:
        at += 1
        kind = head & 15
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        if kind in _INTEGERS:
            # A fast path, since most fields are small numbers and a large file has many pages.
            value: Any = data[at]
            at += 1
            if value > 0x7F:
                value, at = _varint(data, at - 1)
            value = (value >> 1) ^ -(value & 1)
        elif kind == _BINARY:
            length = data[at]
            at += 1
            if length > 0x7F:
                length, at = _varint(data, at - 1)
            value = data[at : at + length]
            at += length
            if at > len(data):
                raise ValueError("a text reaches beyond the footer")
        elif kind == STRUCT:
            value, at = _struct(data, at, depth + 1)
        elif kind in (_TRUE, _FALSE):
            value = None  # The type of a Boolean field is its value, without further bytes.
        else:
            value, at = _value(data, at, kind, depth)
        fields[number] = kind, value
    return fields, at + 1


def _value(data: Bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in _INTEGERS:
        return _integer(data, at)
    if kind == _BINARY:
        length, at = _varint(data, at)
        return _cut(data, at, length)
    if kind == STRUCT:
        return _struct(data, at, depth + 1)
    if kind in (LIST, _SET):
        head = data[at]
        count, at = _varint(data, at + 1) if head >> 4 == 15 else (head >> 4, at + 1)
        if depth > _MAX_NESTING or count > len(data) - at:
            raise ValueError(f"a list of {count} in {len(data)} bytes")
        elements = []
        inner = head & 15
        for _ in range(count):
            if inner == STRUCT:
                element, at = _struct(data, at, depth + 2)
            else:
                element, at = _value(data, at, inner, depth + 1)
            elements.append(element)
        return (inner, elements), at
    if kind == _DOUBLE:
        return _cut(data, at, 8)
    if kind in (_TRUE, _FALSE, _BYTE):
        return _cut(data, at, 1)
    raise ValueError(f"a document in the file has a field of type {kind}")


def _cut(data: Bytes, at: int, length: int) -> tuple[Bytes, int]:
    if length > len(data) - at:
        raise ValueError("a text reaches beyond the footer")
    return data[at : at + length], at + length


def _varint(data: Bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number in the file does not end")


def _integer(data: Bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _put_struct(out: bytearray, struct: Struct) -> None:
    before = 0
    for number, (kind, value) in sorted(struct.items()):
        step = number - before
        if 0 < step < 16:
            out.append(step << 4 | kind)
        else:
            out.append(kind)
            _put_integer(out, number)
        if kind not in (_TRUE, _FALSE):
            _put(out, kind, value)
        before = number
    out.append(0)


def _put(out: bytearray, kind: int, value: Any) -> None:
    if kind in _INTEGERS:
        _put_integer(out, value)
    elif kind == _BINARY:
        _put_varint(out, len(value))
        out += value
    elif kind == STRUCT:
        _put_struct(out, value)
    elif kind in (LIST, _SET):
        inner, elements = value
        if len(elements) < 15:
            out.append(len(elements) << 4 | inner)
        else:
            out.append(0xF0 | inner)
            _put_varint(out, len(elements))
        for element in elements:
            _put(out, inner, element)
    else:
        out += value


def _put_integer(out: bytearray, value: int) -> None:
    _put_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)


def _put_varint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


MAGIC: Final = b"PAR1"
# CompressionCodec of parquet.thrift, by pyarrow's names. pyarrow does not support LZO, and the
# older LZ4 has its own framing.
_CODECS: Final = {
    0: None, 1: "snappy", 2: "gzip", 3: "lzo", 4: "brotli", 5: "lz4_hadoop", 6: "zstd",
    7: "lz4_raw",
}  # fmt: skip
_DATA_PAGE: Final = 0


def footer_of(data: memoryview) -> Struct:
    """Return the FileMetaData of a Parquet file.

    Raises
    ------
    ValueError, IndexError
        If there is none, or it cannot be parsed.
    """
    if len(data) < 12 or bytes(data[-4:]) != MAGIC:
        raise ValueError("it does not end as a Parquet file")
    size = int.from_bytes(data[-8:-4], "little")
    if size > len(data) - 12:
        raise ValueError("its footer is longer than the file")
    return load_struct(bytes(data[len(data) - 8 - size : -8]))[0]


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """Position and content of one column of one row group, according to the footer."""

    start: int
    end: int
    rows: int
    values: int
    kind: int
    width: int
    codec: str | None


def column_chunks(data: memoryview) -> Iterator[ColumnChunk]:
    """Yield the column chunks of a file, from its footer.

    Raises
    ------
    ValueError, KeyError, IndexError, TypeError
        If the footer is invalid, or names an unknown codec.
    """
    footer = footer_of(data)
    # FileMetaData.schema, its root first; SchemaElement.num_children, type_length.
    elements = _elements(footer, 2)[1:]
    widths = [_number(element, 2, 0) for element in elements if not _number(element, 5, 0)]
    # FileMetaData.row_groups; RowGroup.num_rows, columns; ColumnChunk.meta_data.
    for group in _elements(footer, 4) if 4 in footer else ():
        columns = _elements(group, 1) if 1 in group else ()
        for column, width in zip(columns, widths, strict=True):
            yield _column_chunk(column[3][1], _number(group, 3), width)


def _elements(struct: Struct, field: int) -> list[Struct]:
    elements: list[Struct] = struct[field][1][1]
    return elements


def _number(struct: Struct, field: int, default: int | None = None) -> int:
    value = struct[field][1] if default is None or field in struct else default
    if not isinstance(value, int):
        raise TypeError(f"field {field} of a document in the file is no number")
    return value


def _column_chunk(meta: Struct, rows: int, width: int) -> ColumnChunk:
    kind, codec, values, size, start = (_number(meta, field) for field in (1, 4, 5, 7, 9))
    if codec not in _CODECS:
        raise ValueError(f"it needs the codec {codec}, which Parquet does not have")
    dictionary = _number(meta, 11, 0)
    if 0 < dictionary < start:
        start = dictionary
    return ColumnChunk(start, start + size, rows, values, kind, width, _CODECS[codec])


class PageHeader:
    """The header of one page.

    Attributes
    ----------
    kind, encoding : int
        PageType and Encoding of parquet.thrift.
    unpacked, packed : int
        Size of the page data in bytes, unpacked and in the file.
    values : int
    length : int
        Size of the header in bytes.
    checksum : int or None
        CRC-32 of the page data, as a signed 32-bit number.
    """

    def __init__(self, data: memoryview, at: int) -> None:
        fields, end = load_struct(data, at)
        self.length = end - at
        self.kind = _number(fields, 1)
        self.unpacked = _number(fields, 2)
        self.packed = _number(fields, 3)
        self.checksum = _number(fields, 4) if 4 in fields else None
        inner: Struct = fields.get(5 if self.kind == _DATA_PAGE else 8, (0, {}))[1]
        self.values = _number(inner, 1, 0)
        self.encoding = _number(inner, 2 if self.kind == _DATA_PAGE else 4, 0)
        if min(self.unpacked, self.packed, self.values) < 0:
            raise ValueError("a page of negative size")


# From parquet.thrift: Type, with the size of its values in memory; PageType; Encoding.
_BYTE_ARRAY: Final = 6
_WIDTHS: Final = {0: 1, 1: 8, 2: 8, 3: 12, 4: 8, 5: 8}
_PLAIN_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_PREFIXED: Final = 7
_LENGTH: Final = struct.Struct("<I").unpack_from


def check_parquet_size(data: bytes | pa.Buffer, *, where: str) -> None:
    """Raise LimitExceededError if a table would take more memory than ``table_bytes``.

    Raises
    ------
    CorruptDataError
        If the file is not Parquet, or its pages cannot be parsed.
    """
    try:
        view = memoryview(data).cast("B")
        columns = [_column(view, chunk) for chunk in column_chunks(view)]
        size = sum(column.size for column in columns)
        if size > get_limits().table_bytes >= sum(column.least for column in columns):
            # Measure the texts of the dictionaries only if the rough estimate is too large.
            size = sum(column.exact() for column in columns)
    except KymflowZarrError:
        raise
    except Exception as error:  # Parsing corrupt input raises many exception types.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error
    check_limit("table_bytes", size, "the table takes up to", where=where)


@dataclass(frozen=True, slots=True)
class _Column:
    """An upper bound of the memory of a column."""

    size: int
    values: int = 0
    dictionary: memoryview | None = None
    codec: str | None = None
    longest: int = 0

    @property
    def least(self) -> int:
        """Return its size if the texts of the dictionary are empty."""
        return self.size - self.values * self.longest

    def exact(self) -> int:
        """Return its size if each text is as long as the longest of the dictionary."""
        if self.dictionary is None or not self.longest:
            return self.size
        return self.least + self.values * _longest(self.dictionary, self.codec, self.longest)


def _column(data: memoryview, chunk: ColumnChunk) -> _Column:
    if chunk.values == 0:
        return _Column(max(0, chunk.rows))  # There may be a dictionary, but there is no data page.
    start, end = chunk.start, chunk.end
    if not 0 <= start <= end <= len(data):
        raise ValueError(f"a column lies from byte {start} to {end}, the file has {len(data)}")
    unpacked = values = longest = 0
    dictionary = None
    while start < end:
        header = PageHeader(data, start)
        unpacked += header.unpacked
        body = start + header.length
        start = body + header.packed
        if start > end:
            raise ValueError("a page reaches beyond its column")
        if header.kind == _DICTIONARY_PAGE:
            if dictionary is not None:
                raise ValueError("a column has two dictionaries")
            longest = max(longest, header.unpacked)
            dictionary = data[body:start]
        elif header.kind in (_PLAIN_PAGE, _DATA_PAGE_V2):
            values += header.values
            if header.encoding == _PREFIXED:
                # Delta encoding: each value may contain the whole previous one as its prefix.
                unpacked += header.values * header.unpacked
    values = max(values, chunk.values, chunk.rows)
    if chunk.kind != _BYTE_ARRAY:
        return _Column(unpacked + values * _WIDTHS.get(chunk.kind, max(1, chunk.width)))
    size = unpacked + values * (4 + longest)
    return _Column(size, values, dictionary, chunk.codec, longest)


def _longest(page: memoryview, codec: str | None, size: int) -> int:
    """Return the length of the longest text of a dictionary."""
    check_limit("table_bytes", size, "a dictionary takes", where=None)
    if codec is not None:
        arrow: Any = pa  # Its annotations lack a codec and views.
        if not arrow.Codec.is_available(codec):
            return size
        page = memoryview(arrow.decompress(page, decompressed_size=size, codec=codec))
    data = bytes(page)
    if len(data) >= 4:
        # A fast path for texts of equal length, such as image ids.
        step = 4 + int.from_bytes(data[:4], "little")
        if all(data[i::step].count(data[i]) == len(data[i::step]) for i in range(4)):
            return min(step - 4, size)
    at = longest = 0
    while at + 4 <= len(data):
        (length,) = _LENGTH(data, at)
        if length > longest:
            longest = length
        at += 4 + length
    return min(longest, size)


def arrow_reader(data: bytes | memoryview | pa.Buffer) -> Any:
    """Return a file of bytes that are copied into memory owned by Arrow.

    A thread of Arrow may hold the last reference to its input. If that is a Python object and
    the interpreter has exited meanwhile, releasing it aborts the process.
    """
    if isinstance(data, pa.Buffer):
        return pa.BufferReader(data)
    copy: Any = pa.allocate_buffer(len(data))
    memoryview(copy).cast("B")[:] = data
    return pa.BufferReader(copy)
