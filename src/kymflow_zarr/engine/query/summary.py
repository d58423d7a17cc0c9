"""Means by condition, counted by the unit that counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from kymflow_zarr.errors import ArgumentError

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset

_ID: Final = "image_id"


def summary(
    dataset: OpenDataset,
    table: str | pd.DataFrame,
    value: str,
    by: str | Iterable[str],
    unit: str | None,
    ids: Iterable[str] | None,
) -> pd.DataFrame:
    """Return statistics of a column by groups; see :meth:`kymflow_zarr.ZarrDataset.summary`."""
    frame = dataset.load_table(table) if isinstance(table, str) else table
    groups = [by] if isinstance(by, str) else list(by)
    for name in (value, _ID):
        if list(frame.columns).count(name) != 1:
            raise ArgumentError(
                f"the table has no column {name!r}", where=name,
                hint=f"Its columns are {', '.join(map(str, frame.columns))}.",
            )  # fmt: skip
    if not pd.api.types.is_numeric_dtype(frame[value]):
        raise ArgumentError(f"the column {value!r} holds no numbers", where=value)
    named = [*groups, *([] if unit is None else [unit])]
    frame = _with_facts(dataset, frame, [name for name in named if name != _ID])
    frame = frame.assign(**{value: frame[value].astype("float64")})
    frame = frame[np.isfinite(frame[value])]
    if ids is not None:
        frame = frame[frame[_ID].isin(list(ids))]
    # An image with many rows counts once, and so does an animal with many images.
    images = _mean(frame, [*groups, *([] if unit in (None, _ID) else [unit]), _ID], value)
    units = images if unit in (None, _ID) else _mean(images, [*groups, unit], value)
    if not groups:
        frame, images, units = (each.assign(all="all") for each in (frame, images, units))
    keys = groups or ["all"]
    told = units.groupby(keys, dropna=False, sort=True)[value]
    found = pd.DataFrame(
        {
            "n_rows": frame.groupby(keys, dropna=False)[value].size(),
            "n_images": images.groupby(keys, dropna=False)[_ID].nunique(),
            "n_units": told.size(),
            "mean": told.mean(),
            "sd": told.std(ddof=1),
            "sem": told.sem(ddof=1),
            "median": told.median(),
            "min": told.min(),
            "max": told.max(),
        }
    ).reset_index()
    return found if groups else found.drop(columns="all")


def _mean(frame: pd.DataFrame, keys: list[Any], value: str) -> pd.DataFrame:
    keys = list(dict.fromkeys(keys))
    return frame.groupby(keys, dropna=False, sort=True)[value].mean().reset_index()


def _with_facts(dataset: OpenDataset, frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return a table with columns that are known of its images, where it does not have them."""
    lacking = [name for name in dict.fromkeys(names) if name not in frame]
    if not lacking:
        return frame
    facts = dataset.images([_ID, *lacking])
    return frame.merge(facts, on=_ID, how="left", validate="many_to_one")
