"""New rows of many images, checked and joined: thousands of small frames at once are usual."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from kymflow_zarr.errors import ArgumentError, ArgumentTypeError
from kymflow_zarr.formats.dataframe.objects import Marker

_RESET = "Call reset_index() first: a replace keeps columns, not row labels"


def check_frames(frames: Mapping[str, pd.DataFrame], image_id_col: str) -> None:
    """Refuse what has no rows of images; :func:`merged` sees whether they name the right ones.

    Raises
    ------
    ArgumentError
        If rows lack the column, or have it twice.
    ArgumentTypeError
        If something is no data frame.
    """
    seen: pd.Index | None = None
    for image_id, df in frames.items():
        if not isinstance(df, pd.DataFrame):
            raise ArgumentTypeError(
                f"the new rows of image {image_id!r} are a {type(df).__name__},"
                " not a pandas DataFrame"
            )
        # Parts of one frame share its labels.
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
    """Yield the rows of frames, those of the very same columns and dtypes joined.

    Parameters
    ----------
    frames : mapping of str to pandas.DataFrame
        Of :func:`check_frames`, by image id.
    note : mapping, optional
        What a table says of its rows; the first frame says it where there is none.
    image_id_col : str

    Raises
    ------
    ArgumentError
        If rows name another image, or are labeled in another way than the table's.
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
    # Whatever else may be in a column may not be comparable.
    if all(type(name) is str for name in named) and named == wanted:
        return
    for image_id, df in group.items():
        _check_id(df[image_id_col], image_id, image_id_col)


def _check_id(column: pd.Series[Any], image_id: str, image_id_col: str) -> None:
    found = sorted({str(value) for value in column[column.notna()]})
    if column.isna().any():
        found.append("null")
    if found != [image_id]:
        named = ", ".join(repr(name) for name in found[:10]) + (" ..." if len(found) > 10 else "")
        raise ArgumentError(
            f"the new rows of image {image_id!r} name other images in {image_id_col!r}: {named}",
            hint="Pass the rows of each image under its own id",
        )


def signatures() -> Callable[[pd.DataFrame], tuple[Any, ...]]:
    """Return what tells of frames, one after the other, what those that can be joined share."""
    # Labels and types are asked for once, where frames are parts of one.
    columns: pd.Index | None = None
    labels: list[Any] = []
    names: dict[int, tuple[Any, str]] = {}

    def name_of(dtype: Any) -> str:
        # With the dtype, so that nothing else gets its id.
        return names.setdefault(id(dtype), (dtype, str(dtype)))[1]

    def signature(df: pd.DataFrame) -> tuple[Any, ...]:
        nonlocal columns, labels
        if columns is None or not df.columns.is_(columns):
            columns, labels = df.columns, df.columns.tolist()
        index = df.index
        several = index.nlevels > 1
        levels = map(index.get_level_values, range(index.nlevels)) if several else [index]
        types = [*df.dtypes.array, *(level.dtype for level in levels)]
        # pandas calls some of its types equal that are not; NumPy does not.
        told = [name_of(dtype) for dtype in types if not isinstance(dtype, np.dtype)]
        return labels, columns.dtype, types, told

    return signature


def _index_model(index: pd.Index) -> Marker:
    if _counts_rows(index):
        return {"kind": "range"}
    kind = "multi" if isinstance(index, pd.MultiIndex) else "single"
    return {"kind": kind, "names": list(index.names)}


def _counts_rows(index: pd.Index) -> bool:
    """Return True if the labels only number the rows, also after a selection of rows."""
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
