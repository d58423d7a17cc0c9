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

from kymflow_zarr._encodings._dataframe import decode_parquet, encode_parquet
from kymflow_zarr._encodings._dataframe_objects import Marker
from kymflow_zarr._encodings._parquet_size import check_parquet_size
from kymflow_zarr._encodings._rows_encoded import Rows
from kymflow_zarr._encodings._rows_patch import GroupedTable
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
        grouped = GroupedTable.of_bytes(existing, where=where)
        if grouped is not None:
            added = [Rows.of_frame(df) for df in _merged(filled, grouped.note)]
            done = grouped.replaced(frames.keys(), added, image_id_col=image_id_col)
            if done is not None:
                return done[0]
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
    names = {str(name) for name in image_ids}
    grouped = GroupedTable.of_bytes(existing, where=where)
    done = grouped.replaced(names, (), image_id_col=image_id_col) if grouped is not None else None
    if done is not None:
        return done if done[1] else (existing, 0)
    rows = Rows.of_bytes(existing, where=where)
    if not rows.columns:
        return existing, 0
    if image_id_col in rows.note["index"].get("fields", []):
        return _without_labels(existing, names, image_id_col, where=where)
    left, removed = rows.without(names, image_id_col, where=where)
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
    column = df[image_id_col]
    if df.columns.is_unique and _are_all(column, image_id):
        return df
    if not df.columns.is_unique:
        twice = df.columns[df.columns.duplicated()].unique().tolist()
        raise ArgumentError(f"the new rows have several columns of the same name: {twice}")
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


def _are_all(column: pd.Series[Any], image_id: str) -> bool:
    try:
        return set(column.tolist()) == {image_id}
    except TypeError:  # Lists and the like.
        return False


def _merged(frames: list[pd.DataFrame], note: Marker | None) -> Iterable[pd.DataFrame]:
    """Join frames of the very same columns and dtypes: thousands of images are usual."""
    model = note
    aligned = []
    for df in frames:
        if model is None:
            model = {"index": _index_model(df.index)}
        aligned.append(_with_index(df, model["index"]))
    if model is None:
        return
    numbered = model["index"]["kind"] == "range"
    for _, same in groupby(aligned, key=_signature):
        group = list(same)
        if len(group) > 1:
            yield pd.concat(group, ignore_index=numbered)
        else:
            yield group[0].reset_index(drop=True) if numbered else group[0]


def _signature(df: pd.DataFrame) -> tuple[Any, ...]:
    index = df.index
    several = index.nlevels > 1
    levels = map(index.get_level_values, range(index.nlevels)) if several else [index]
    types = [*df.dtypes, *(level.dtype for level in levels)]
    # pandas calls some of its types equal that are not; NumPy does not.
    names = [str(dtype) for dtype in types if not isinstance(dtype, np.dtype)]
    return df.columns.tolist(), df.columns.dtype, types, names


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
        return df
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
