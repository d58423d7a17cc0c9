"""Replace rows of single images in a large table without decoding most of it.

Only the row groups with rows of those images are decoded, and the last one, which gets the new
rows. All others are copied as bytes. A table that is small, damaged or not in the form that this
package writes is left to `formats.rows.replace`, which decodes all of it; the resulting rows are
the same.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kymflow_zarr.formats.dataframe.arrow_table import NOTE_KEY, metadata_of, parse_note
from kymflow_zarr.formats.dataframe.objects import Marker
from kymflow_zarr.formats.dataframe.parquet import (
    ROW_GROUP_ROWS,
    register_pandas_types,
    written_options,
)
from kymflow_zarr.formats.parquet.footer import (
    I64,
    LIST,
    MAGIC,
    STRUCT,
    PageHeader,
    Struct,
    check_parquet_size,
    dump_struct,
    footer_of,
)
from kymflow_zarr.formats.rows.encoded import (
    Column,
    Rows,
    append_column,
    append_missing,
    names_any,
    note_of,
    same_form,
    united_labels,
)

__all__ = ["GroupedTable"]

# Smaller row groups are merged with a neighbour, so that their number stays low.
FEW_ROWS: Final = ROW_GROUP_ROWS // 4
# With fewer row groups, decoding the whole table is as fast.
FEWEST_GROUPS: Final = 3
# Each thread holds one more row group in memory.
_THREADS: Final = min(4, os.cpu_count() or 1)
# Field numbers of parquet.thrift: FileMetaData
_SCHEMA, _ROWS, _ROW_GROUPS, _ORDERS, _ENCRYPTED = 2, 3, 4, 7, (8, 9)
# RowGroup
_COLUMNS, _GROUP_ROWS, _GROUP_OFFSET, _ORDINAL = 1, 3, 5, 7
# ColumnChunk; page indexes are optional, and follow all row groups.
_FILE_PATH, _CHUNK_OFFSET, _META, _CHUNK_ENCRYPTED = 1, 2, 3, (8, 9)
_PAGE_INDEXES: Final = (4, 5, 6, 7)
# ColumnMetaData, Statistics
_PATH, _SIZE, _DATA, _INDEX, _DICTIONARY, _STATISTICS = 3, 7, 9, 10, 11, 12
_BLOOM_FILTER: Final = (14, 15)
_MAX, _MIN = 5, 6


class _NotOrdinaryError(Exception):
    """Raised if the whole table must be decoded."""


@dataclass(slots=True)
class _Run:
    """Adjacent row groups: one that is copied, or several that are rewritten."""

    first: int
    last: int
    rows: int
    rewritten: bool

    def joined(self, other: _Run) -> _Run:
        return _Run(self.first, other.last, self.rows + other.rows, True)


class GroupedTable:
    """A table of several row groups, in the form that this package writes.

    Attributes
    ----------
    note : dict
    """

    def __init__(
        self,
        data: bytes,
        file: pq.ParquetFile,
        short: pq.ParquetFile,
        footer: Struct,
        groups: list[RowGroup],
        note: Marker,
    ) -> None:
        self._data = data
        self._file = file
        self._short = short
        self._footer = footer
        self._groups = groups
        self.note = note

    @classmethod
    def of_bytes(cls, data: bytes, *, where: str) -> Self | None:
        """Return the table; None if it has few row groups, or another form.

        Raises
        ------
        FormatVersionError, LimitExceededError
            As for :func:`decode_parquet`.
        """
        try:
            footer, groups = parse_row_groups(data)
        except (ValueError, KeyError, IndexError, TypeError):
            return None  # It is damaged; decoding all of it reports how.
        if len(groups) < FEWEST_GROUPS:
            return None
        check_parquet_size(data, where=where)
        register_pandas_types()
        try:
            file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            schema = file.schema_arrow
            texts = [
                field.name
                for field in schema
                if _is_text(field.type) and not pa.types.is_dictionary(field.type)
            ]
            # Read texts dictionary-encoded: those that are only copied need not be expanded.
            short = pq.ParquetFile(
                pa.BufferReader(data), page_checksum_verification=True, read_dictionary=texts
            )
        except (pa.ArrowException, OSError):
            return None  # As above.
        note = parse_note((schema.metadata or {}).get(NOTE_KEY), where=where)
        rows = sum(group.rows for group in groups)
        try:
            if note is None or note["rows"] != rows or list(note["columns"]) != schema.names:
                return None
            if note["index"].get("name") is not None:
                return None  # A named range index belongs to its rows.
            # A marker with positions of nulls refers to rows of the whole table.
            if any("nulls" in marker for marker in note["columns"].values()):
                return None
        except (KeyError, TypeError, AttributeError):
            return None
        return cls(data, file, short, footer, groups, note)

    def replaced(
        self,
        image_ids: Collection[str],
        new_rows: Callable[[], Sequence[Rows]],
        *,
        image_id_col: str,
    ) -> tuple[bytes, int] | None:
        """Remove the rows of some images and append the rows that a callable returns.

        Returns
        -------
        tuple of (bytes, int), or None
            The table and the number of removed rows; None if the whole table must be decoded.
        """
        if image_id_col not in self.note["columns"]:
            return None
        if image_id_col in self.note["index"].get("fields", []):
            return None
        try:
            with ThreadPoolExecutor(1) as other:
                # For a thousand images, making new rows takes about as long as finding old ones.
                keep = other.submit(self._masks, image_ids, image_id_col)
                more = new_rows()
                return self._replaced(keep.result(), more)
        except _NotOrdinaryError:
            return None

    def _replaced(self, keep: dict[int, Any], more: Sequence[Rows]) -> tuple[bytes, int]:
        left = [
            int(pc.sum(keep[i]).as_py() or 0) if i in keep else group.rows
            for i, group in enumerate(self._groups)
        ]
        removed = sum(group.rows for group in self._groups) - sum(left)
        added = sum(rows.rows for rows in more)
        if sum(left) + added == 0:
            raise _NotOrdinaryError
        schema = self._file.schema_arrow
        note = note_of(self.note, self.note["columns"], sum(left) + added)
        if not removed and not added and note == self.note:
            return self._data, 0
        schema = schema.with_metadata(metadata_of(schema, note))
        runs = _runs(left, set(keep), added)
        pieces = (
            (number, table)
            for number, run in enumerate(runs)
            if run.rewritten
            for table in _cut(self._tables(run, keep, more if run is runs[-1] else ()), run.rows)
        )
        rewritten: dict[int, list[RowGroup]] = {number: [] for number in range(len(runs))}
        footer = footer_of(memoryview(_encode(schema.empty_table(), schema)))
        # Also if nothing is encoded: copied row groups get the new footer.
        _require_same_columns(self._footer, footer)
        for number, data in _encoded(pieces, schema):
            written, groups = parse_row_groups(data)
            rewritten[number] += groups
            _require_same_columns(written, footer)
        chosen = (
            group
            for number, run in enumerate(runs)
            for group in (rewritten[number] if run.rewritten else self._whole(run))
        )
        return file_of(chosen, footer), removed

    def _whole(self, run: _Run) -> list[RowGroup]:
        """Return the row groups to copy; raise if a page is damaged, to give it no new checksum."""
        groups = self._groups[run.first : run.last + 1]
        try:
            whole = all(group.is_whole() for group in groups)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise _NotOrdinaryError from error
        if not whole:
            raise _NotOrdinaryError
        return groups

    def _masks(self, image_ids: Collection[str], image_id_col: str) -> dict[int, Any]:
        """Return, for each row group that loses rows, a mask of the rows to keep."""
        marker = self.note["columns"][image_id_col]
        texts = _is_text(self._file.schema_arrow.field(image_id_col).type)
        ids = sorted(image_id.encode() for image_id in image_ids) if texts else None
        masks = {}
        for i, group in enumerate(self._groups):
            if ids is not None and _excludes(group.bounds(image_id_col), ids):
                continue
            column = _read_group(self._file, i, [image_id_col])[image_id_col]
            removed = names_any(Column(image_id_col, column, marker), image_ids)
            if pc.any(removed).as_py():
                masks[i] = pc.invert(removed)
        return masks

    def _tables(self, run: _Run, keep: dict[int, Any], more: Sequence[Rows]) -> Iterator[pa.Table]:
        for i in range(run.first, run.last + 1):
            takes = bool(more) and i == run.last
            table = _read_group(self._file if takes else self._short, i)
            if i in keep:
                table = table.filter(keep[i])
            if takes:
                table = self._followed_by(table, more)
                table = _shortened(table, self._short.schema_arrow)
            yield table

    def _followed_by(self, table: pa.Table, more: Sequence[Rows]) -> pa.Table:
        """Append rows, as `Rows.followed_by` does for a whole table."""
        columns = {
            name: Column(name, table[name], marker) for name, marker in self.note["columns"].items()
        }
        for rows in more:
            labels = united_labels(self.note["labels"], rows.note["labels"])
            if labels != self.note["labels"] or not rows.columns.keys() <= columns.keys():
                raise _NotOrdinaryError
            columns = {
                name: _appended(column, rows.columns.get(name), rows.rows)
                for name, column in columns.items()
            }
        return pa.table([column.array for column in columns.values()], schema=table.schema)


def _read_group(file: pq.ParquetFile, number: int, columns: list[str] | None = None) -> pa.Table:
    try:
        # Without Arrow's threads, which could outlive the Python bytes that they read.
        return file.read_row_group(number, columns=columns, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _NotOrdinaryError from error  # Damaged.


def _require_same_columns(one: Struct, other: Struct) -> None:
    # They differ if another version of the writer or another program wrote the file.
    if any(one.get(field) != other.get(field) for field in (_SCHEMA, _ORDERS)):
        raise _NotOrdinaryError


def _appended(old: Column, new: Column | None, rows: int) -> Column:
    """Append rows to a part of a column, unless that changes the type of the other rows."""
    if new is None:
        appended = append_missing(old, rows)
    elif old.marker["kind"] == "object":
        usual = [column.marker.get("null", "None") for column in (old, new)]
        if not same_form(old, new) or "nulls" in new.marker:
            raise _NotOrdinaryError
        if new.array.null_count and usual[0] != usual[1]:
            raise _NotOrdinaryError
        # Only the whole column determines which null is the default.
        appended = Column(old.name, append_column(old, new).array, old.marker)
    elif old.all_null and not same_form(old, new):
        raise _NotOrdinaryError  # Only the whole column shows whether it is all null.
    else:
        appended = append_column(old, new)
        if pa.types.is_dictionary(old.array.type):
            try:
                appended = Column(old.name, appended.array.cast(old.array.type), appended.marker)
            except pa.ArrowException as error:
                raise _NotOrdinaryError from error  # Not only the width of the codes differs.
    if appended.marker != old.marker or appended.array.type != old.array.type:
        raise _NotOrdinaryError
    return appended


def _runs(left: Sequence[int], touched: Collection[int], added: int) -> list[_Run]:
    """Return the runs of row groups to rewrite together, so that no small one is left."""
    runs: list[_Run] = []
    for i, rows in enumerate(left):
        last = i == len(left) - 1
        rewritten = i in touched or rows < FEW_ROWS or (last and added > 0)
        _append(runs, _Run(i, i, rows + (added if last else 0), rewritten))
    at = 0
    while at < len(runs):
        if runs[at].rewritten and 0 < runs[at].rows < FEW_ROWS and len(runs) > 1:
            at = min(at, len(runs) - 2)
            rest = runs[at + 2 :]
            joined = runs[at].joined(runs[at + 1])
            runs = runs[:at]
            for run in (joined, *rest):
                _append(runs, run)
            at = 0
        else:
            at += 1
    return runs


def _append(runs: list[_Run], run: _Run) -> None:
    if runs and runs[-1].rewritten and run.rewritten:
        runs[-1] = runs[-1].joined(run)
    else:
        runs.append(run)


def _encoded(
    pieces: Iterable[tuple[int, pa.Table]], schema: pa.Schema
) -> Iterator[tuple[int, bytes]]:
    """Yield each table as a file with one row group; encode several in parallel."""
    waiting: deque[tuple[int, Future[bytes]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for number, table in pieces:
            waiting.append((number, pool.submit(_encode, table, schema)))
            if len(waiting) == _THREADS:
                first, done = waiting.popleft()
                yield first, done.result()
        for number, encoded in waiting:
            yield number, encoded.result()


def _encode(table: pa.Table, schema: pa.Schema) -> bytes:
    encoded = table.replace_schema_metadata(schema.metadata).unify_dictionaries()
    for at, field in enumerate(schema):
        column: Any = encoded.column(at)
        if pa.types.is_dictionary(column.type) and not pa.types.is_dictionary(field.type):
            encoded = encoded.set_column(at, field.name, _compacted(column))
    sink = pa.BufferOutputStream()
    pq.write_table(encoded, sink, row_group_size=max(1, len(encoded)), **written_options(schema))
    return sink.getvalue().to_pybytes()


def _shortened(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the texts dictionary-encoded for which a schema has dictionaries."""
    for at, field in enumerate(schema):
        if field.type != table.schema.field(at).type:
            kind: Any = field.type
            texts: Any = table.column(at).cast(kind.value_type)
            table = table.set_column(at, field, texts.dictionary_encode())
    return table


def _compacted(column: Any) -> Any:
    """Return texts with a dictionary of only those that occur."""
    array = column.combine_chunks()
    used = array.indices.unique().drop_null()
    codes = np.zeros(len(array.dictionary), dtype=np.int32)
    codes[np.asarray(used)] = np.arange(len(used), dtype=np.int32)
    indices: Any = pc.take(pa.array(codes), array.indices)
    return pa.DictionaryArray.from_arrays(indices, array.dictionary.take(used))


def _cut(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield tables split into pieces of nearly equal size, with few in memory at once."""
    if rows == 0:
        return
    pieces = -(-rows // ROW_GROUP_ROWS)
    sizes = [rows * (i + 1) // pieces - rows * i // pieces for i in range(pieces)]
    waiting: list[pa.Table] = []
    count = 0
    for table in tables:
        waiting.append(table)
        count += len(table)
        while sizes and count >= sizes[0]:
            whole = pa.concat_tables(waiting)
            size = sizes.pop(0)
            yield whole.slice(0, size)
            waiting, count = [whole.slice(size)], count - size


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _excludes(bounds: tuple[bytes, bytes] | None, ids: Sequence[bytes]) -> bool:
    """Return True if none of the sorted ids lies between the bounds."""
    if bounds is None:
        return False
    at = bisect_left(ids, bounds[0])
    return at == len(ids) or ids[at] > bounds[1]


# The bytes of row groups ------------------------------------------------------------


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
