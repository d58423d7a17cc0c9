"""Values by condition, counted by the unit that counts, and their statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from kymflow_zarr.errors import ArgumentError

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset

_ID: Final = "image_id"
_COUNTS: Final = ("n_images", "n_rows")
# Between the labels of a group of several columns.
_BETWEEN: Final = ", "


class GroupedValues:
    """The rows of a table that count, and the units and groups that they belong to.

    Parameters and errors are those of :meth:`kymflow_zarr.ZarrDataset.summary`.
    """

    def __init__(
        self,
        dataset: OpenDataset,
        table: str | pd.DataFrame,
        value: str,
        by: str | Iterable[str],
        unit: str | None,
        ids: Iterable[str] | None,
    ) -> None:
        self._value = value
        self._groups = names_of(by)
        self._rows = _rows(dataset, table, value, self._groups, unit, ids)
        self.units = _units(self._rows, value, self._groups, unit)
        """A row for each unit; see :meth:`kymflow_zarr.ZarrDataset.unit_values`."""

    def statistics(self) -> pd.DataFrame:
        """Return statistics by groups; see :meth:`kymflow_zarr.ZarrDataset.summary`."""
        rows, units, keys = self._rows, self.units, self._groups
        if not keys:
            rows, units, keys = rows.assign(all="all"), units.assign(all="all"), ["all"]
        of_rows = rows.groupby(keys, dropna=False)
        of_units = units.groupby(keys, dropna=False, sort=True)[self._value]
        statistics = pd.DataFrame(
            {
                "n_rows": of_rows[self._value].size(),
                "n_images": of_rows[_ID].nunique(),
                "n_units": of_units.size(),
                "mean": of_units.mean(),
                "sd": of_units.std(ddof=1),
                "sem": of_units.sem(ddof=1),
                "median": of_units.median(),
                "min": of_units.min(),
                "max": of_units.max(),
            }
        ).reset_index()
        return statistics if self._groups else statistics.drop(columns="all")


def names_of(by: str | Iterable[str]) -> list[str]:
    """Return the columns that make the groups."""
    return [by] if isinstance(by, str) else list(dict.fromkeys(by))


def group_labels(values: pd.DataFrame, by: str | Iterable[str]) -> pd.Series[str]:
    """Return for each row of :func:`unit_values` the label of its group."""
    groups = names_of(by)
    labels = [
        _BETWEEN.join("(none)" if pd.isna(each) else str(each) for each in row)
        for row in values[groups].itertuples(index=False)
    ]
    return pd.Series(labels, index=values.index, dtype=object)


def group_order(labels: Iterable[str], order: Sequence[str] | None) -> list[str]:
    """Return the labels of the groups in the order that is wanted, or else as they come.

    Raises
    ------
    ArgumentError
        If the order names none of the groups, or one twice.
    """
    there = list(dict.fromkeys(labels))
    if order is None:
        return there
    wanted = [order] if isinstance(order, str) else list(map(str, order))
    unknown = [label for label in wanted if label not in there]
    if unknown or len(set(wanted)) < len(wanted):
        raise ArgumentError(
            f"there is no group {unknown[0]!r}" if unknown else "a group is there twice",
            where="order", hint=f"The groups are: {', '.join(there) or 'none'}.",
        )  # fmt: skip
    return wanted


def group_columns(
    values: pd.DataFrame,
    value: str,
    by: str | Iterable[str],
    unit: str | None,
    *,
    paired: bool,
    order: Sequence[str] | None,
) -> pd.DataFrame:
    """Return values with a column for each group.

    See :meth:`kymflow_zarr.ZarrDataset.group_columns`.
    """
    labels = group_labels(values, by) if names_of(by) else pd.Series(value, index=values.index)
    columns = group_order(labels, order)
    if not paired:
        lists = {label: values.loc[labels == label, value].tolist() for label in columns}
        rows = max(map(len, lists.values()), default=0)
        filled = {
            label: [*cells, *[np.nan] * (rows - len(cells))] for label, cells in lists.items()
        }
        return pd.DataFrame(filled, columns=columns, dtype="float64")
    unit = require_pairs(unit)
    of_groups = values[labels.isin(columns)]
    wide: pd.DataFrame = of_groups.assign(**{_GROUP: labels}).pivot_table(
        index=unit, columns=_GROUP, values=value, aggfunc="first", sort=True
    )
    wide = wide.reindex(columns=columns).reset_index()
    wide.columns.name = None
    return wide


# Names that no column of a table has.
_GROUP: Final = "\N{INFORMATION SEPARATOR ONE}group"
_COUNT: Final = "\N{INFORMATION SEPARATOR ONE}count"


def require_pairs(unit: str | None) -> str:
    """Return the unit whose values in several groups belong together.

    Raises
    ------
    ArgumentError
        If none is named: an image is in one group only.
    """
    if unit is None or unit == _ID:
        raise ArgumentError(
            "paired values need a unit that is in several groups", where="unit",
            hint='Name it, as unit="animal": an image is in one group only.',
        )  # fmt: skip
    return unit


def _rows(
    dataset: OpenDataset,
    table: str | pd.DataFrame,
    value: str,
    groups: list[str],
    unit: str | None,
    ids: Iterable[str] | None,
) -> pd.DataFrame:
    """Return the rows that count, with the columns of groups and unit."""
    frame: pd.DataFrame = dataset.load_table(table) if isinstance(table, str) else table
    for name in (value, _ID):
        if list(frame.columns).count(name) != 1:
            raise ArgumentError(
                f"the table has no column {name!r}", where=name,
                hint=f"Its columns are {', '.join(map(str, frame.columns))}.",
            )  # fmt: skip
    if not pd.api.types.is_numeric_dtype(frame[value]):
        raise ArgumentError(f"the column {value!r} holds no numbers", where=value)
    named = [*groups, *([] if unit is None else [unit])]
    taken = [name for name in named if name in (value, *_COUNTS)]
    if taken:
        raise ArgumentError(
            f"{taken[0]!r} makes no groups: it is the value, or a number of what is counted",
            where=taken[0],
        )
    frame = _with_facts(dataset, frame, [name for name in named if name != _ID])
    frame = frame.assign(**{value: frame[value].astype("float64")})
    frame = frame[np.isfinite(frame[value])]
    if ids is not None:
        frame = frame[frame[_ID].isin(list(ids))]
    if unit is not None and frame[unit].isna().any():
        images = frame.loc[frame[unit].isna(), _ID].unique()
        raise ArgumentError(
            f"of {len(images)} images {unit!r} is not known, such as of {images[0]!r}", where=unit,
            hint="It would count as one and the same: set it, or leave them out by ids=.",
        )  # fmt: skip
    return frame


def _units(frame: pd.DataFrame, value: str, groups: list[str], unit: str | None) -> pd.DataFrame:
    """Return the mean of each unit: of its images, each of which is the mean of its rows."""
    # An image with many rows counts once, and so does an animal with many images.
    by_image = _means(frame, [*groups, *([] if unit in (None, _ID) else [unit]), _ID], value)
    by_image = by_image.rename(columns={_COUNT: "n_rows"})
    if unit in (None, _ID):
        keys = list(dict.fromkeys([*groups, _ID]))
        return by_image.assign(n_images=1)[[*keys, value, *_COUNTS]]
    keys = list(dict.fromkeys([*groups, unit]))
    by_unit = _means(by_image, keys, value).rename(columns={_COUNT: "n_images"})
    n_rows = by_image.groupby(keys, dropna=False, sort=True)["n_rows"].sum()
    return by_unit.assign(n_rows=n_rows.to_numpy())[[*keys, value, *_COUNTS]]


def _means(frame: pd.DataFrame, keys: list[Any], value: str) -> pd.DataFrame:
    keys = list(dict.fromkeys(keys))
    grouped = frame.groupby(keys, dropna=False, sort=True)[value]
    return pd.DataFrame({value: grouped.mean(), _COUNT: grouped.size()}).reset_index()


def _with_facts(dataset: OpenDataset, frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return a table with columns that are known of its images, where it does not have them."""
    lacking = [name for name in dict.fromkeys(names) if name not in frame]
    if not lacking:
        return frame
    facts = dataset.images([_ID, *lacking])
    return frame.merge(facts, on=_ID, how="left", validate="many_to_one")
