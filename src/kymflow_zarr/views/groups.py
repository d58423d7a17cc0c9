"""Values by condition, drawn with matplotlib: a point for each unit, boxes, means and pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from kymflow_zarr.engine.query.summary import group_labels, group_order, names_of, require_pairs
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.views.plot import column_label, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

GroupPlot: TypeAlias = Literal["swarm", "strip", "box"]

_ID: Final = "image_id"
# Rows of a swarm; points of one row stand side by side.
_SWARM_ROWS: Final = 40
_HALF_WIDTH: Final = 0.36


def plot_groups(
    ax: Axes,
    values: pd.DataFrame,
    value: str,
    by: str | Iterable[str],
    unit: str | None,
    *,
    kind: GroupPlot,
    paired: bool,
    order: Sequence[str] | None,
    address: Callable[[dict[str, Any]], str] | None,
) -> None:
    """Draw values by groups; see :meth:`kymflow_zarr.ZarrDataset.plot`.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    values : DataFrame
        A row for each unit, as :meth:`kymflow_zarr.ZarrDataset.unit_values` returns it.
    value, by, unit, kind, paired, order
        As for :meth:`kymflow_zarr.ZarrDataset.plot`.
    address : callable, optional
        Returns what a point of an SVG leads to, given the row of `values` as a dict.
    """
    if kind not in get_args(GroupPlot):
        raise ArgumentError(
            f"the kind is {kind!r}", where="kind", hint='It is "swarm", "strip" or "box".'
        )
    names = names_of(by)
    labels = group_labels(values, names) if names else values[value].map(lambda _: "all")
    groups = group_order(labels, order)
    pairing = require_pairs(unit) if paired else None
    span = float(np.ptp(values[value])) if len(values) else 0.0
    places: dict[tuple[Any, str], tuple[float, float]] = {}
    for at, label in enumerate(groups):
        rows = values[labels == label]
        numbers = rows[value].to_numpy(np.float64)
        offsets = np.zeros(len(rows)) if pairing else point_offsets(numbers, span, kind)
        if kind == "box":
            ax.boxplot(
                [numbers], positions=[at], widths=0.6, showfliers=False, whis=(0, 100),
                medianprops={"color": f"C{at % 10}"},
            )  # fmt: skip
        elif len(numbers):
            _draw_mean(ax, at, numbers)
        points = ax.scatter(
            at + offsets, numbers, s=22, color=f"C{at % 10}", alpha=0.8, linewidths=0, zorder=3,
            label=plain(label),
        )  # fmt: skip
        points.set_gid(f"values {at}")
        records = rows.to_dict("records")
        if address is not None:
            points.set_urls([address({str(k): v for k, v in row.items()}) for row in records])
        if pairing:
            places |= {(row[pairing], label): (at, row[value]) for row in records}
    if pairing:
        _draw_pairs(ax, places, groups, list(values[pairing].unique()))
    counts = [int((labels == label).sum()) for label in groups]
    ax.set_xticks(
        range(len(groups)),
        [plain(f"{label}\nn = {n}") for label, n in zip(groups, counts, strict=True)],
    )
    ax.set_xlim(-0.6, max(len(groups), 1) - 0.4)
    ax.set_xlabel(plain(", ".join(names)))
    ax.set_ylabel(plain(column_label(value)))
    counted = "image" if unit in (None, _ID) else str(unit)
    shown = "median, quartiles, range" if kind == "box" else "mean ± SEM"
    ax.set_title(plain(f"each point one {counted}; {shown}"), fontsize="small")


def point_offsets(
    values: npt.NDArray[np.float64], span: float, kind: GroupPlot
) -> npt.NDArray[np.float64]:
    """Return how far each point of a group stands beside the middle, in groups.

    Points of a swarm that have nearly the same value stand side by side; those of a strip, or
    over a box, are spread evenly. The same values are always drawn the same.

    Parameters
    ----------
    values : ndarray of float64
        Shape (points,).
    span : float
        Range of the values of all groups.
    kind : {"swarm", "strip", "box"}

    Returns
    -------
    ndarray of float64
        Shape (points,), from -0.36 to 0.36.
    """
    if not len(values):
        return np.zeros(0)
    if kind != "swarm":
        # Multiples of the golden ratio fill an interval evenly, however many there are.
        shares = np.arange(1, len(values) + 1, dtype=np.float64) * 0.6180339887498949 % 1
        return np.asarray((shares - 0.5) * _HALF_WIDTH, np.float64)
    height = span / _SWARM_ROWS or 1.0
    row_of = np.rint((values - values.min()) / height).astype(np.int64)
    ranks = np.zeros(len(values), np.int64)
    for row in np.unique(row_of):
        inside = np.flatnonzero(row_of == row)
        ranks[inside] = np.arange(len(inside))
    # 0, 1, -1, 2, -2, ...: from the middle outwards.
    places = np.where(ranks % 2 == 1, (ranks + 1) // 2, -(ranks // 2))
    step = min(0.05, _HALF_WIDTH / max(1, int(np.abs(places).max())))
    return np.asarray(places * step, np.float64)


def _draw_mean(ax: Axes, at: int, values: npt.NDArray[np.float64]) -> None:
    mean = float(values.mean())
    ax.hlines(mean, at - 0.25, at + 0.25, color="black", linewidth=1.4, zorder=4)
    if len(values) > 1:
        sem = float(values.std(ddof=1)) / len(values) ** 0.5
        ax.errorbar(
            at, mean, yerr=sem, color="black", linewidth=1.2, capsize=4, fmt="none", zorder=4
        )


def _draw_pairs(
    ax: Axes,
    places: dict[tuple[Any, str], tuple[float, float]],
    groups: Sequence[str],
    units: Sequence[Any],
) -> None:
    """Join the values of each unit, from group to group."""
    for unit in units:
        joined = [places[unit, label] for label in groups if (unit, label) in places]
        if len(joined) > 1:
            line = ax.plot(*zip(*joined, strict=True), color="gray", linewidth=0.8, zorder=2)[0]
            line.set_gid(f"pair {unit}")
