"""Replace and remove the rows of single images in an encoded table, and count them.

The remaining rows are never converted to pandas but stay in Arrow, so that neither their values
nor their dtypes can change. New rows may come as thousands of small data frames at once: they are
checked, and joined if they are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, CorruptDataError
from kymflow_zarr.formats.dataframe.objects import Marker
from kymflow_zarr.formats.dataframe.parquet import decode_parquet, encode_parquet
from kymflow_zarr.formats.parquet.footer import arrow_reader, check_parquet_size
from kymflow_zarr.formats.rows.encoded import Rows
from kymflow_zarr.formats.rows.row_groups import GroupedTable

__all__ = ["count_rows", "remove_rows", "replace_rows"]


_RESET = "Call reset_index() first: a replace keeps columns, not row labels"


def check_dataframes(frames: Mapping[str, pd.DataFrame], image_id_col: str) -> None:
    """Check that data frames have an image id column; :func:`merged` checks the ids in it.

    Raises
    ------
    ArgumentError
        If rows lack the column, or have it twice.
    ArgumentTypeError
        If a value is not a data frame.
    """
    seen: pd.Index | None = None
    for image_id, df in frames.items():
        if not isinstance(df, pd.DataFrame):
            raise ArgumentTypeError(
                f"the new rows of image {image_id!r} are a {type(df).__name__},"
                " not a pandas DataFrame"
            )
        # Parts of one data frame share its labels.
        if not len(df) or (seen is not None and df.columns.is_(seen)):
            continue
        if df.columns.nlevels > 1 or image_id_col not in df.columns:
            raise ArgumentError(
                f"the new rows of image {image_id!r} have no column {image_id_col!r}",
                hint=f"Set df[{image_id_col!r}] = {image_id!r}",
            )
        if not df.columns.is_unique:
            twice = df.columns[df.columns.duplicated()].unique().tolist()
            raise ArgumentError(f"the new rows have several columns of the same name: {twice}")
        seen = df.columns


def merged(
    frames: Mapping[str, pd.DataFrame], note: Marker | None, image_id_col: str
) -> Iterator[pd.DataFrame]:
    """Yield the rows of data frames; those with identical columns and dtypes are joined.

    Parameters
    ----------
    frames : mapping of str to pandas.DataFrame
        By image id, checked by :func:`check_dataframes`.
    note : mapping, optional
        The note of the table; None takes that of the first data frame.
    image_id_col : str

    Raises
    ------
    ArgumentError
        If rows name another image, or their index differs in kind from the table's.
    """
    model = note
    aligned: list[tuple[str, pd.DataFrame]] = []
    for image_id, df in frames.items():
        if model is None:
            model = {"index": _index_model(df.index)}
        aligned.append((image_id, _with_index(df, model["index"])))
    numbered = model is not None and model["index"]["kind"] == "range"
    signature = signatures()
    for _, alike in groupby(aligned, key=lambda pair: signature(pair[1])):
        group = dict(alike)
        parts = list(group.values())
        if len(parts) > 1:
            joined = pd.concat(parts, ignore_index=numbered)
        else:
            joined = parts[0].reset_index(drop=True) if numbered else parts[0]
        _check_ids(joined, group, image_id_col)
        yield joined


def _check_ids(joined: pd.DataFrame, group: Mapping[str, pd.DataFrame], image_id_col: str) -> None:
    if not len(joined):
        return
    named = joined[image_id_col].tolist()
    wanted = [image_id for image_id, df in group.items() for _ in range(len(df))]
    # Values of other types may not be comparable.
    if all(type(name) is str for name in named) and named == wanted:
        return
    for image_id, df in group.items():
        _check_id(df[image_id_col], image_id, image_id_col)


def _check_id(column: pd.Series[Any], image_id: str, image_id_col: str) -> None:
    ids = sorted({str(value) for value in column[column.notna()]})
    if column.isna().any():
        ids.append("null")
    if ids != [image_id]:
        named = ", ".join(repr(name) for name in ids[:10]) + (" ..." if len(ids) > 10 else "")
        raise ArgumentError(
            f"the new rows of image {image_id!r} name other images in {image_id_col!r}: {named}",
            hint="Pass the rows of each image under its own id",
        )


def signatures() -> Callable[[pd.DataFrame], tuple[Any, ...]]:
    """Return a function whose results are equal for data frames that can be joined."""
    # Cache labels and dtypes, which are the same objects for parts of one data frame.
    columns: pd.Index | None = None
    labels: list[Any] = []
    names: dict[int, tuple[Any, str]] = {}

    def name_of(dtype: Any) -> str:
        # Store the dtype too, so that its id is not reused.
        return names.setdefault(id(dtype), (dtype, str(dtype)))[1]

    def signature(df: pd.DataFrame) -> tuple[Any, ...]:
        nonlocal columns, labels
        if columns is None or not df.columns.is_(columns):
            columns, labels = df.columns, df.columns.tolist()
        index = df.index
        several = index.nlevels > 1
        levels = map(index.get_level_values, range(index.nlevels)) if several else [index]
        types = [*df.dtypes.array, *(level.dtype for level in levels)]
        # Some different pandas dtypes compare equal, so add their names; NumPy's do not.
        names_of_types = [name_of(dtype) for dtype in types if not isinstance(dtype, np.dtype)]
        return labels, columns.dtype, types, names_of_types

    return signature


def _index_model(index: pd.Index) -> Marker:
    if _counts_rows(index):
        return {"kind": "range"}
    kind = "multi" if isinstance(index, pd.MultiIndex) else "single"
    return {"kind": kind, "names": list(index.names)}


def _counts_rows(index: pd.Index) -> bool:
    """Return True if the labels only number the rows, even after selecting rows."""
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


_IMAGE_ID = "image_id"


def count_rows(data: bytes, *, where: str) -> dict[str, int] | None:
    """Return the number of rows by image id; None if the table has no image ids.

    Raises
    ------
    CorruptDataError
        If `data` is not a readable Parquet file.
    LimitExceededError
        If it would take more memory than the limit ``table_bytes``.
    """
    check_parquet_size(data, where=where)
    try:
        with pq.ParquetFile(arrow_reader(data)) as file:
            footer = file.metadata
            if file.schema_arrow.names.count(_IMAGE_ID) != 1:
                return None
        # Each text once: a column of ids is ten times as fast to count as a dictionary.
        with pq.ParquetFile(
            arrow_reader(data), metadata=footer, read_dictionary=[_IMAGE_ID]
        ) as file:
            column = file.read(columns=[_IMAGE_ID])[_IMAGE_ID]
            counts = pc.value_counts(column)
            names: list[str | None] = pc.cast(counts.field("values"), pa.string()).to_pylist()
    except pa.ArrowNotImplementedError:
        return None  # Nested types are not image ids.
    except Exception as error:  # What damaged bytes make the parser raise is open.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error
    numbers: Any = counts.field("counts").to_pylist()
    return {name: number for name, number in zip(names, numbers, strict=True) if name is not None}


def replace_rows(
    existing: bytes | None,
    replacements: Mapping[str, pd.DataFrame],
    *,
    image_id_col: str = "image_id",
    where: str,
) -> bytes:
    """Replace all rows of some images in one rewrite of the table.

    The rows of each given image are removed and its new rows are appended, in the given
    order; all other rows keep their order, values and dtypes. Columns are united: those
    of the table first, then new ones. Rows that lack a column get nulls, and an integer
    column then becomes pandas' nullable ``Int64``.

    Parameters
    ----------
    existing : bytes or None
        The table as Parquet; None if there is none yet.
    replacements : mapping of str to pandas.DataFrame
        New rows by image id. An empty data frame only removes rows.
    image_id_col : str
        The column with the image id of a row; compared as text.
    where : str
        Name of the table for errors.

    Raises
    ------
    ArgumentError
        If new rows lack the column or name another image, if the table lacks it, or
        if a column of the table and of the new rows have no type in common.
    CorruptDataError, FormatVersionError
        If `existing` cannot be read.
    """
    frames = {str(image_id): df for image_id, df in replacements.items()}
    check_dataframes(frames, image_id_col)
    filled = {image_id: df for image_id, df in frames.items() if len(df)}
    if existing is None:
        shapes = filled or {name: df.iloc[:0] for name, df in frames.items() if len(df.columns)}
        tables = [Rows.of_dataframe(df) for df in merged(shapes, None, image_id_col)]
        rows = tables.pop(0) if tables else Rows.of_dataframe(pd.DataFrame())
    else:
        grouped = GroupedTable.of_bytes(existing, where=where)
        if grouped is not None:
            note = grouped.note
            done = grouped.replaced(
                frames.keys(),
                lambda: [Rows.of_dataframe(df) for df in merged(filled, note, image_id_col)],
                image_id_col=image_id_col,
            )
            if done is not None:
                return done[0]
        rows = Rows.of_bytes(existing, where=where)
        if rows.columns:
            rows = rows.without(frames, image_id_col, where=where)[0]
            tables = [Rows.of_dataframe(df) for df in merged(filled, rows.note, image_id_col)]
        else:
            tables = [Rows.of_dataframe(df) for df in merged(filled, None, image_id_col)]
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
        The table as Parquet and the number of removed rows; the given bytes if that is 0.

    Raises
    ------
    ArgumentError
        If the table lacks the column.
    CorruptDataError, FormatVersionError
        If `existing` cannot be read.
    """
    names = {str(name) for name in image_ids}
    grouped = GroupedTable.of_bytes(existing, where=where)
    done = grouped.replaced(names, list, image_id_col=image_id_col) if grouped is not None else None
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
    """Remove rows from a table that has the image ids in its index."""
    frame = decode_parquet(existing, where=where)
    remaining = frame[~frame.index.get_level_values(level).astype(str).isin(list(image_ids))]
    removed = len(frame) - len(remaining)
    return (encode_parquet(remaining), removed) if removed else (existing, 0)


def names_image(existing: bytes, image_id: str, *, where: str) -> bool:
    """Return True if a table has rows of an image; reads only its column ``image_id``.

    Raises
    ------
    CorruptDataError
        If `existing` cannot be read.
    """
    check_parquet_size(existing, where=where)
    try:
        with pq.ParquetFile(arrow_reader(existing)) as file:
            if file.schema_arrow.names.count("image_id") != 1:
                return False
            column = file.read(columns=["image_id"], use_threads=False)["image_id"]
            return bool(pc.any(pc.equal(pc.cast(column, pa.string()), pa.scalar(image_id))).as_py())
    except pa.ArrowNotImplementedError:
        return False  # Nested types are not image ids.
    except Exception as error:  # What damaged bytes make the parser raise is open.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error
