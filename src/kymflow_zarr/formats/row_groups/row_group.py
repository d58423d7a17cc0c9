"""Locate the row groups of Parquet files, and assemble a file from copied row groups.

Imports neither Arrow nor pandas.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kymflow_zarr.formats.parquet.footer import (
    I64,
    LIST,
    MAGIC,
    STRUCT,
    PageHeader,
    Struct,
    dump_struct,
    footer_of,
)

__all__ = ["RowGroup", "file_of", "parse_row_groups"]

# Field numbers of parquet.thrift: FileMetaData
_ROWS, _ROW_GROUPS, _ENCRYPTED = 3, 4, (8, 9)
# RowGroup
_COLUMNS, _GROUP_ROWS, _GROUP_OFFSET, _ORDINAL = 1, 3, 5, 7
# ColumnChunk; page indexes are optional, and follow all row groups.
_FILE_PATH, _CHUNK_OFFSET, _META, _CHUNK_ENCRYPTED = 1, 2, 3, (8, 9)
_PAGE_INDEXES: Final = (4, 5, 6, 7)
# ColumnMetaData, Statistics
_PATH, _SIZE, _DATA, _INDEX, _DICTIONARY, _STATISTICS = 3, 7, 9, 10, 11, 12
_BLOOM_FILTER: Final = (14, 15)
_MAX, _MIN = 5, 6


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of a file, and its byte range.

    Parameters
    ----------
    file : memoryview
        The whole file.
    struct : dict
        Its RowGroup struct from the footer.
    start, end : int
        Its byte range.
    """

    file: memoryview
    struct: Struct
    start: int
    end: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        rows: int = self.struct[_GROUP_ROWS][1]
        return rows

    def bounds(self, column: str) -> tuple[bytes, bytes] | None:
        """Return the minimum and maximum of a column; None if the footer has no statistics."""
        for chunk in _chunks(self.struct):
            meta = chunk[_META][1]
            if meta[_PATH][1][1] == [column.encode()] and _STATISTICS in meta:
                statistics = meta[_STATISTICS][1]
                if _MIN in statistics and _MAX in statistics:
                    return statistics[_MIN][1], statistics[_MAX][1]
        return None

    def is_whole(self) -> bool:
        """Return True if every page with a checksum matches it.

        Raises
        ------
        ValueError, KeyError, IndexError
            If the pages cannot be parsed.
        """
        return all(
            checksum is None or zlib.crc32(body) == checksum & 0xFFFFFFFF
            for chunk in _chunks(self.struct)
            for checksum, body in self._pages(chunk)
        )

    def _pages(self, chunk: Struct) -> Iterable[tuple[int | None, memoryview]]:
        start, end = _span(chunk)
        while start < end:
            header = PageHeader(self.file, start)
            body = start + header.length
            start = body + header.packed
            if start > end:
                raise ValueError("a page reaches beyond its column")
            yield header.checksum, self.file[body:start]


def parse_row_groups(data: bytes) -> tuple[Struct, list[RowGroup]]:
    """Return the footer of a file and its row groups.

    Raises
    ------
    ValueError, KeyError, IndexError, TypeError
        If the file has a feature that prevents copying a row group.
    """
    view = memoryview(data)
    footer = footer_of(view)
    if any(field in footer for field in _ENCRYPTED):
        raise ValueError("it is encrypted")
    groups = []
    for struct in footer[_ROW_GROUPS][1][1] if _ROW_GROUPS in footer else ():
        spans = [_span(chunk) for chunk in _chunks(struct)]
        start, end = min(at for at, _ in spans), max(at for _, at in spans)
        if not len(MAGIC) <= start <= end <= len(view):
            raise ValueError("a row group lies outside of the file")
        groups.append(RowGroup(view, struct, start, end))
    if sum(group.end - group.start for group in groups) > len(view):
        raise ValueError("row groups lie in each other")
    return footer, groups


def file_of(groups: Iterable[RowGroup], footer: Struct) -> bytes:
    """Return a file assembled from row groups of any files.

    Parameters
    ----------
    groups : iterable of RowGroup
        All must have the columns that `footer` describes.
    footer : dict
        The footer of a file with these columns; its row count and row groups are replaced.
    """
    pieces: list[bytes | memoryview] = [MAGIC]
    at, rows = len(MAGIC), 0
    structs: list[Struct] = []
    for group in groups:
        structs.append(_moved(group.struct, at - group.start, len(structs)))
        pieces.append(group.file[group.start : group.end])
        at += group.end - group.start
        rows += group.rows
    new_footer = dump_struct({**footer, _ROWS: (I64, rows), _ROW_GROUPS: (LIST, (STRUCT, structs))})
    return b"".join([*pieces, new_footer, len(new_footer).to_bytes(4, "little"), MAGIC])


def _chunks(struct: Struct) -> list[Struct]:
    chunks: list[Struct] = struct[_COLUMNS][1][1]
    if not chunks:
        raise ValueError("a row group has no columns")
    return chunks


def _span(chunk: Struct) -> tuple[int, int]:
    if _FILE_PATH in chunk or any(field in chunk for field in _CHUNK_ENCRYPTED):
        raise ValueError("a column is in another file, or encrypted")
    meta = chunk[_META][1]
    start: int = meta[_DATA][1]
    size: int = meta[_SIZE][1]
    if _DICTIONARY in meta and 0 < meta[_DICTIONARY][1] < start:
        start = meta[_DICTIONARY][1]
    if size < 0:
        raise ValueError("a column of negative size")
    return start, start + size


def _moved(struct: Struct, by: int, ordinal: int) -> Struct:
    """Return the RowGroup struct of a row group moved by `by` bytes."""
    inner, chunks = struct[_COLUMNS][1]
    moved = {**struct, _COLUMNS: (LIST, (inner, [_moved_chunk(chunk, by) for chunk in chunks]))}
    if _ORDINAL in struct:
        # The ordinal is optional and has only 16 bits.
        moved.pop(_ORDINAL)
        if ordinal < 1 << 15:
            moved[_ORDINAL] = struct[_ORDINAL][0], ordinal
    return _shifted(moved, by, _GROUP_OFFSET)


def _moved_chunk(chunk: Struct, by: int) -> Struct:
    kind, meta = chunk[_META]
    meta_data = {field: value for field, value in meta.items() if field not in _BLOOM_FILTER}
    moved = {field: value for field, value in chunk.items() if field not in _PAGE_INDEXES}
    moved[_META] = kind, _shifted(meta_data, by, _DATA, _INDEX, _DICTIONARY)
    return _shifted(moved, by, _CHUNK_OFFSET)


def _shifted(struct: Struct, by: int, *offsets: int) -> Struct:
    # Zero means absent.
    changed = {
        field: (struct[field][0], struct[field][1] + by)
        for field in offsets
        if field in struct and struct[field][1] > 0
    }
    return {**struct, **changed}
