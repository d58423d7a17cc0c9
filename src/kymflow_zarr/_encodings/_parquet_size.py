"""What a Parquet file takes in memory, from its pages, before one of them is unpacked.

A dictionary lets a file of a kilobyte stand for terabytes of text, and the sizes in the footer
may lie. The reader goes by the header of each page, so that is what counts here too.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from kymflow_zarr._encodings._parquet_thrift import ColumnChunk, PageHeader, column_chunks
from kymflow_zarr._limits import check_limit, get_limits
from kymflow_zarr.errors import CorruptDataError, KymflowZarrError

__all__ = ["check_parquet_size"]

# Parquet, thrift: Type, and what a value of it takes in memory; PageType; Encoding.
_BYTE_ARRAY: Final = 6
_WIDTHS: Final = {0: 1, 1: 8, 2: 8, 3: 12, 4: 8, 5: 8}
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_PREFIXED: Final = 7


def check_parquet_size(data: bytes | pa.Buffer, *, where: str) -> None:
    """Raise LimitExceededError if a table would take more than the limit ``table_bytes``.

    Raises
    ------
    CorruptDataError
        If the file is not Parquet, or its pages cannot be followed.
    """
    try:
        view = memoryview(data).cast("B")
        size = sum(_column(view, chunk) for chunk in column_chunks(view))
    except KymflowZarrError:
        raise
    except Exception as error:  # What damaged bytes make the parser raise is open.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error
    check_limit("table_bytes", size, "the table takes up to", where=where)


def _column(data: memoryview, chunk: ColumnChunk) -> int:
    if chunk.values == 0:
        return max(0, chunk.rows)  # A dictionary may be there, but no page of values.
    start, end = chunk.start, chunk.end
    if not 0 <= start <= end <= len(data):
        raise ValueError(f"a column lies from byte {start} to {end}, the file has {len(data)}")
    unpacked = values = longest = 0
    while start < end:
        header = PageHeader(data[start:end])
        unpacked += header.unpacked
        body = start + header.length
        start = body + header.packed
        if start > end:
            raise ValueError("a page reaches beyond its column")
        if header.kind == _DICTIONARY_PAGE:
            longest = max(longest, header.unpacked)
            dictionary = data[body:start]
        elif header.kind in (_DATA_PAGE, _DATA_PAGE_V2):
            values += header.values
            if header.encoding == _PREFIXED:
                # Each value may begin with all of the one before.
                unpacked += header.values * header.unpacked
    values = max(values, chunk.values, chunk.rows)
    if chunk.kind != _BYTE_ARRAY:
        return unpacked + values * _WIDTHS.get(chunk.kind, max(1, chunk.width))
    if longest and values * longest > get_limits().table_bytes:
        longest = _longest(dictionary, chunk.codec, longest)
    return unpacked + values * (4 + longest)


def _longest(page: memoryview, codec: str | None, size: int) -> int:
    """Return the length of the longest text of a dictionary."""
    check_limit("table_bytes", size, "a dictionary takes", where=None)
    if codec is not None:
        arrow: Any = pa  # Its annotations leave out a codec and views.
        if not arrow.Codec.is_available(codec):
            return size
        page = memoryview(arrow.decompress(page, decompressed_size=size, codec=codec))
    at = longest = 0
    while at + 4 <= len(page):
        length = int.from_bytes(page[at : at + 4], "little")
        longest = max(longest, length)
        at += 4 + length
    return min(longest, size)
