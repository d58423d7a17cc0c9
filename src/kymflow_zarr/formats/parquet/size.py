"""Memory that a Parquet file will take, from its page headers, before a page is unpacked.

A dictionary lets a file of a kilobyte stand for terabytes of text, and the sizes in the footer
may lie. The reader goes by the header of each page, so that is what counts here too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from kymflow_zarr.errors import CorruptDataError, KymflowZarrError
from kymflow_zarr.formats.parquet.footer import ColumnChunk, PageHeader, column_chunks
from kymflow_zarr.runtime.limits import check_limit, get_limits

__all__ = ["check_parquet_size"]

# Parquet, thrift: Type, and what a value of it takes in memory; PageType; Encoding.
_BYTE_ARRAY: Final = 6
_WIDTHS: Final = {0: 1, 1: 8, 2: 8, 3: 12, 4: 8, 5: 8}
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_PREFIXED: Final = 7
_LENGTH: Final = struct.Struct("<I").unpack_from


def check_parquet_size(data: bytes | pa.Buffer, *, where: str) -> None:
    """Raise LimitExceededError if a table would take more than the limit ``table_bytes``.

    Raises
    ------
    CorruptDataError
        If the file is not Parquet, or its pages cannot be followed.
    """
    try:
        view = memoryview(data).cast("B")
        columns = [_column(view, chunk) for chunk in column_chunks(view)]
        size = sum(column.size for column in columns)
        if size > get_limits().table_bytes >= sum(column.least for column in columns):
            # How long the texts of the dictionaries are is looked at only where it matters.
            size = sum(column.exact() for column in columns)
    except KymflowZarrError:
        raise
    except Exception as error:  # What damaged bytes make the parser raise is open.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error
    check_limit("table_bytes", size, "the table takes up to", where=where)


@dataclass(frozen=True, slots=True)
class _Column:
    """Memory of a column, if each value is as long as its whole dictionary."""

    size: int
    values: int = 0
    dictionary: memoryview | None = None
    codec: str | None = None
    longest: int = 0

    @property
    def least(self) -> int:
        """Return what it takes if the texts of the dictionary are empty."""
        return self.size - self.values * self.longest

    def exact(self) -> int:
        """Return what it takes, by the longest text of the dictionary."""
        if self.dictionary is None or not self.longest:
            return self.size
        return self.least + self.values * _longest(self.dictionary, self.codec, self.longest)


def _column(data: memoryview, chunk: ColumnChunk) -> _Column:
    if chunk.values == 0:
        return _Column(max(0, chunk.rows))  # A dictionary may be there, but no page of values.
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
        elif header.kind in (_DATA_PAGE, _DATA_PAGE_V2):
            values += header.values
            if header.encoding == _PREFIXED:
                # Each value may begin with all of the one before.
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
        arrow: Any = pa  # Its annotations leave out a codec and views.
        if not arrow.Codec.is_available(codec):
            return size
        page = memoryview(arrow.decompress(page, decompressed_size=size, codec=codec))
    data = bytes(page)
    if len(data) >= 4:
        # Ids of images are often of one length: then each begins where the first one says.
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
