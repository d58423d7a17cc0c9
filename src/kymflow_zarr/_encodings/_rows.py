"""Replace and remove the rows of single images in an encoded table.

The rows that stay are never turned into pandas objects: they go through Arrow
as they are, so that neither their values nor their dtypes can change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kymflow_zarr._encodings._dataframe import (
    decode_parquet,
    encode_parquet,
    open_table,
    table_to_bytes,
)
from kymflow_zarr._encodings._dataframe_columns import decode_column
from kymflow_zarr._encodings._dataframe_frame import NOTE_KEY, disassemble, parse_note, table_of
from kymflow_zarr._encodings._dataframe_labels import decode_labels, encode_labels
from kymflow_zarr._encodings._dataframe_objects import Marker
from kymflow_zarr._encodings._parquet_size import check_parquet_size
from kymflow_zarr._encodings._rows_unite import (
    Column,
    append_column,
    append_missing,
    keep_rows,
    missing_before,
)
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, CorruptDataError

__all__ = ["remove_rows", "replace_rows"]

_RESET = "Call reset_index() first: a replace keeps columns, not row labels"


def replace_rows(
    existing: bytes | None,
    replacements: Mapping[str, pd.DataFrame],
    *,
    image_id_col: str = "image_id",
    where: str,
) -> bytes:
    """Replace all rows of some images in one rewrite of the table.

    The rows of every image named are removed and its new rows are appended, in the
    order given; all other rows keep their order, values and dtypes. Columns are
    united: those of the table first, then new ones. Where a side lacks a column its
    rows get nulls, and an integer column then becomes pandas' nullable ``Int64``.

    Parameters
    ----------
    existing : bytes or None
        The table as Parquet; None if there is none yet.
    replacements : mapping of str to pandas.DataFrame
        New rows by image id. An empty frame only removes.
    image_id_col : str
        The column that says which image a row is about; compared as text.
    where : str
        How an error message calls the table.

    Raises
    ------
    ArgumentError
        If new rows lack the column or name another image, if the table lacks it, or
        if a column of the table and of the new rows have no type in common.
    CorruptDataError, FormatVersionError
        If `existing` cannot be read.
    """
    frames = {
        str(image_id): _checked(df, str(image_id), image_id_col)
        for image_id, df in replacements.items()
    }
    filled = [df for df in frames.values() if len(df)]
    if existing is None:
        shapes = filled or [df.iloc[:0] for df in frames.values() if len(df.columns)]
        tables = [Rows.of_frame(df) for df in _merged(shapes, None)]
        rows = tables.pop(0) if tables else Rows.of_frame(pd.DataFrame())
    else:
        rows = Rows.of_bytes(existing, where=where)
        if rows.columns:
            rows = rows.without(frames, image_id_col, where=where)[0]
            tables = [Rows.of_frame(df) for df in _merged(filled, rows.note)]
        else:
            tables = [Rows.of_frame(df) for df in _merged(filled, None)]
            rows = tables.pop(0) if tables else rows
    for more in tables:
        rows = rows.followed_by(more)
    return rows.to_bytes()


def remove_rows(
    existing: bytes, image_ids: Collection[str], *, image_id_col: str = "image_id", where: str
) -> tuple[bytes, int]:
    """Remove all rows of some images.

    Returns
    -------
    tuple of (bytes, int)
        The table as Parquet, and how many rows went; the bytes given if none did.

    Raises
    ------
    ArgumentError
        If the table lacks the column.
    CorruptDataError, FormatVersionError
        If `existing` cannot be read.
    """
    rows = Rows.of_bytes(existing, where=where)
    if not rows.columns:
        return existing, 0
    if image_id_col in rows.note["index"].get("fields", []):
        return _without_labels(existing, set(image_ids), image_id_col, where=where)
    left, removed = rows.without({str(name) for name in image_ids}, image_id_col, where=where)
    return (left.to_bytes(), removed) if removed else (existing, 0)


def _without_labels(
    existing: bytes, image_ids: Collection[str], level: str, *, where: str
) -> tuple[bytes, int]:
    """Remove rows of a table whose image ids are in its index."""
    frame = decode_parquet(existing, where=where)
    kept = frame[~frame.index.get_level_values(level).astype(str).isin(list(image_ids))]
    removed = len(frame) - len(kept)
    return (encode_parquet(kept), removed) if removed else (existing, 0)


def names_image(existing: bytes, image_id: str, *, where: str) -> bool:
    """Tell whether a table has rows of an image, from its column ``image_id`` alone.

    Raises
    ------
    CorruptDataError
        If `existing` cannot be read.
    """
    check_parquet_size(existing, where=where)
    try:
        with pq.ParquetFile(pa.BufferReader(existing)) as file:
            if file.schema_arrow.names.count("image_id") != 1:
                return False
            column = file.read(columns=["image_id"], use_threads=False)["image_id"]
            return bool(pc.any(pc.equal(pc.cast(column, pa.string()), pa.scalar(image_id))).as_py())
    except pa.ArrowNotImplementedError:
        return False  # Lists and the like name no image.
    except Exception as error:  # What damaged bytes make the parser raise is open.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error


class Rows:
    """An encoded table, column by column."""

    def __init__(self, columns: dict[str, Column], note: Marker, rows: int) -> None:
        self.columns = columns
        self.note = note
        self.rows = rows

    @classmethod
    def of_table(cls, table: pa.Table, note: Marker) -> Rows:
        columns = {
            name: Column(name, table[name], note["columns"][name]) for name in table.column_names
        }
        return cls(columns, note, table.num_rows)

    @classmethod
    def of_frame(cls, df: pd.DataFrame) -> Rows:
        table = disassemble(df)
        note = parse_note(table.schema.metadata[NOTE_KEY], where="the new rows")
        assert note is not None
        return cls.of_table(table, note)

    @classmethod
    def of_bytes(cls, data: bytes, *, where: str) -> Rows:
        table, note = open_table(data, where=where)
        if note is None:
            # Of another program: pandas decides once what its dtypes are.
            return cls.of_frame(decode_parquet(data, where=where))
        return cls.of_table(table, note)

    def without(
        self, image_ids: Collection[str], image_id_col: str, *, where: str
    ) -> tuple[Rows, int]:
        level_fields = self.note["index"].get("fields", [])
        column = self.columns.get(image_id_col)
        if column is None or image_id_col in level_fields:
            raise ArgumentError(
                f"the table has no column {image_id_col!r}",
                where=where,
                hint="Name the column that holds the image ids with image_id_col",
            )
        mask = pc.invert(_names_any(column, image_ids))
        kept = {name: keep_rows(each, mask) for name, each in self.columns.items()}
        left = int(pc.sum(mask).as_py() or 0)
        note = {**self.note, "index": _without_freq(self.note["index"])}
        return Rows(kept, note, left), self.rows - left

    def followed_by(self, more: Rows) -> Rows:
        columns = {}
        for name in [*self.columns, *(name for name in more.columns if name not in self.columns)]:
            if name not in more.columns:
                columns[name] = append_missing(self.columns[name], more.rows)
            elif name not in self.columns:
                columns[name] = missing_before(more.columns[name], self.rows)
            else:
                columns[name] = append_column(self.columns[name], more.columns[name])
        levels = self.note["index"].get("fields", [])
        ordered = {name: column for name, column in columns.items() if name not in levels}
        ordered |= {name: columns[name] for name in levels}
        labels = united_labels(self.note["labels"], more.note["labels"])
        note = {**self.note, "labels": labels, "index": _without_freq(self.note["index"])}
        return Rows(ordered, note, self.rows + more.rows)

    def to_table(self) -> pa.Table:
        index = self.note["index"]
        if index["kind"] == "range":
            index = {**index, "start": 0, "stop": self.rows, "step": 1}
        note = {
            **self.note,
            "rows": self.rows,
            "index": index,
            "columns": {name: column.marker for name, column in self.columns.items()},
        }
        arrays = [column.array for column in self.columns.values()]
        return table_of(arrays, list(self.columns), note)

    def to_bytes(self) -> bytes:
        return table_to_bytes(self.to_table())


def _without_freq(index: Marker) -> Marker:
    return {key: value for key, value in index.items() if key != "freq"}


def _checked(df: pd.DataFrame, image_id: str, image_id_col: str) -> pd.DataFrame:
    if not isinstance(df, pd.DataFrame):
        raise ArgumentTypeError(
            f"the new rows of image {image_id!r} are a {type(df).__name__}, not a pandas DataFrame"
        )
    if not len(df):
        return df
    if df.columns.nlevels > 1 or image_id_col not in df.columns:
        raise ArgumentError(
            f"the new rows of image {image_id!r} have no column {image_id_col!r}",
            hint=f"Set df[{image_id_col!r}] = {image_id!r}",
        )
    if not df.columns.is_unique:
        twice = df.columns[df.columns.duplicated()].unique().tolist()
        raise ArgumentError(f"the new rows have several columns of the same name: {twice}")
    column = df[image_id_col]
    found = sorted({str(value) for value in column[column.notna()]})
    if column.isna().any():
        found.append("null")
    if found != [image_id]:
        named = ", ".join(repr(name) for name in found[:10]) + (" ..." if len(found) > 10 else "")
        raise ArgumentError(
            f"the new rows of image {image_id!r} name other images in {image_id_col!r}: {named}",
            hint="Pass the rows of each image under its own id",
        )
    return df


def _names_any(column: Column, image_ids: Collection[str]) -> Any:
    array = column.array
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return pc.is_in(array, value_set=pa.array(list(image_ids), array.type))
    found = array.unique().drop_null()
    marker = {key: value for key, value in column.marker.items() if key != "nulls"}
    if marker["kind"] == "category":
        marker = marker["cells"]
    named = [str(value) in image_ids for value in decode_column(found, marker)]
    return pc.is_in(array, value_set=found.filter(pa.array(named, pa.bool_())))


def _merged(frames: list[pd.DataFrame], note: Marker | None) -> Iterable[pd.DataFrame]:
    """Join frames of the very same columns and dtypes: thousands of images are usual."""
    model = note
    aligned = []
    for df in frames:
        if model is None:
            model = {"index": _index_model(df.index)}
        aligned.append(_with_index(df, model["index"]))
    for _, same in groupby(aligned, key=_signature):
        group = list(same)
        yield (
            group[0]
            if len(group) == 1
            else pd.concat(group, ignore_index=isinstance(group[0].index, pd.RangeIndex))
        )


def _signature(df: pd.DataFrame) -> tuple[Any, ...]:
    levels = [df.index.get_level_values(level) for level in range(df.index.nlevels)]
    types = [*df.dtypes, *(level.dtype for level in levels)]
    return df.columns.tolist(), df.columns.dtype, types, list(map(str, types))


def _index_model(index: pd.Index) -> Marker:
    if _counts_rows(index):
        return {"kind": "range"}
    kind = "multi" if isinstance(index, pd.MultiIndex) else "single"
    return {"kind": kind, "names": list(index.names)}


def _counts_rows(index: pd.Index) -> bool:
    """Whether the labels only number the rows, also after a selection of rows."""
    if isinstance(index, pd.RangeIndex):
        return True
    return index.nlevels == 1 and index.name is None and index.dtype == np.int64


def _with_index(df: pd.DataFrame, model: Marker) -> pd.DataFrame:
    if model["kind"] == "range":
        if not _counts_rows(df.index):
            raise ArgumentError("the new rows have row labels, the table has none", hint=_RESET)
        return df.reset_index(drop=True)
    kind = "multi" if isinstance(df.index, pd.MultiIndex) else "single"
    if kind != model["kind"] or list(df.index.names) != model["names"]:
        raise ArgumentError(
            f"the rows of the table are labeled by {model['names']}, "
            f"the new ones by {list(df.index.names)}",
            hint=_RESET,
        )
    if isinstance(df.index, pd.RangeIndex):
        return df.set_axis(pd.Index(np.asarray(df.index), name=df.index.name), axis=0)
    return df


def united_labels(old: Marker, new: Marker) -> Marker:
    if old["multi"] or new["multi"]:
        raise ArgumentError("tables with several levels of column labels cannot get other rows")
    before, after = (decode_labels(labels["levels"][0]) for labels in (old, new))
    texts = {str(label): label for label in before}
    added = []
    for label in after:
        if str(label) not in texts:
            added.append(label)
        elif texts[str(label)] != label:
            raise ArgumentError(
                f"column {texts[str(label)]!r} of the table is called {label!r} in the new rows"
            )
    if not added:
        return old
    united = before.append(pd.Index(added, dtype=after.dtype))
    return {**old, "levels": [encode_labels(united, "the column labels")]}
