"""The footer and the page headers of a Parquet file: thrift's compact protocol.

pyarrow reads them too, but ends the process where some of its accessors meet a damaged footer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["ColumnChunk", "PageHeader", "column_chunks"]

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS: Final = (4, 5, 6)
_MAX_NESTING: Final = 16
# Parquet, thrift: CompressionCodec, as pyarrow calls them; LZO it does not know, and the older
# LZ4 has a frame of its own.
_CODECS: Final = {
    0: None, 1: "snappy", 2: "gzip", 3: "lzo", 4: "brotli", 5: "lz4_hadoop", 6: "zstd",
    7: "lz4_raw",
}  # fmt: skip
_MAGIC: Final = b"PAR1"
_DATA_PAGE: Final = 0


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """Where one column of one row group lies, and what is in it; numbers as the footer has them."""

    start: int
    end: int
    rows: int
    values: int
    kind: int
    width: int
    codec: str | None


def column_chunks(data: memoryview) -> Iterator[ColumnChunk]:
    """Yield what the footer of a file says of each column of each row group.

    Raises
    ------
    ValueError, KeyError, IndexError, TypeError
        If there is no such footer, or a codec that Parquet does not have.
    """
    if len(data) < 12 or bytes(data[-4:]) != _MAGIC:
        raise ValueError("it does not end as a Parquet file")
    size = int.from_bytes(data[-8:-4], "little")
    if size > len(data) - 12:
        raise ValueError("its footer is longer than the file")
    footer = _Compact(data[len(data) - 8 - size : -8]).struct(0)
    # FileMetaData.schema, its root first; SchemaElement.num_children, type_length.
    widths = [element.get(2, 0) for element in footer[2][1:] if not element.get(5)]
    # FileMetaData.row_groups; RowGroup.num_rows, columns; ColumnChunk.meta_data.
    for group in footer.get(4, ()):
        for column, width in zip(group.get(1, ()), widths, strict=True):
            yield _column_chunk(column[3], group[3], width)


def _column_chunk(meta: dict[int, Any], rows: int, width: int) -> ColumnChunk:
    kind, codec, values, size, start = meta[1], meta[4], meta[5], meta[7], meta[9]
    if codec not in _CODECS:
        raise ValueError(f"it needs the codec {codec}, which Parquet does not have")
    dictionary = meta.get(11, 0)
    if 0 < dictionary < start:
        start = dictionary
    return ColumnChunk(start, start + size, rows, values, kind, width, _CODECS[codec])


class PageHeader:
    """The header of one page.

    Attributes
    ----------
    kind, encoding : int
        PageType and Encoding, as Parquet numbers them.
    unpacked, packed : int
        Bytes of what follows, unpacked and as they are in the file.
    values : int
    length : int
        Bytes of the header itself.
    """

    def __init__(self, data: memoryview) -> None:
        reader = _Compact(data)
        fields = reader.struct(0)
        self.length = reader.at
        self.kind: int = fields[1]
        self.unpacked: int = fields[2]
        self.packed: int = fields[3]
        inner = fields.get(5 if self.kind == _DATA_PAGE else 8, {})
        self.values: int = inner.get(1, 0)
        self.encoding: int = inner.get(2 if self.kind == _DATA_PAGE else 4, 0)
        if min(self.unpacked, self.packed, self.values) < 0:
            raise ValueError("a page of negative size")


class _Compact:
    """Reads structs as dicts by the numbers of their fields; bytes are passed over."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int) -> dict[int, Any]:
        if depth > _MAX_NESTING:
            raise ValueError("a document in the file is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 15
            # A truth value is in the type of its field, and has no bytes.
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._list(depth + 1)
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind in (_DOUBLE, _BINARY):
            # Names, minima and maxima; nothing here asks for them.
            length = 8 if kind == _DOUBLE else self._varint()
            self.at += length
            return None
        raise ValueError(f"a document in the file has a field of type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = self._varint() if head >> 4 == 15 else head >> 4
        if depth > _MAX_NESTING or count > len(self._data) - self.at:
            raise ValueError(f"a list of {count} in {len(self._data)} bytes")
        return [self._value(head & 15, depth) for _ in range(count)]

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number in the file does not end")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
