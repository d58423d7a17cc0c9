"""The metadata of a Parquet file: its footer, and the headers of its pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kymflow_zarr.formats.parquet.thrift import Struct, load_struct

__all__ = ["MAGIC", "ColumnChunk", "PageHeader", "column_chunks", "footer_of"]

MAGIC: Final = b"PAR1"
# Parquet, thrift: CompressionCodec, as pyarrow calls them; LZO it does not know, and the older
# LZ4 has a frame of its own.
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
        If there is none, or it cannot be followed.
    """
    if len(data) < 12 or bytes(data[-4:]) != MAGIC:
        raise ValueError("it does not end as a Parquet file")
    size = int.from_bytes(data[-8:-4], "little")
    if size > len(data) - 12:
        raise ValueError("its footer is longer than the file")
    return load_struct(bytes(data[len(data) - 8 - size : -8]))[0]


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
        PageType and Encoding, as Parquet numbers them.
    unpacked, packed : int
        Bytes of what follows, unpacked and as they are in the file.
    values : int
    length : int
        Bytes of the header itself.
    checksum : int or None
        CRC-32 of what follows, as a number of 32 bits with a sign.
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
