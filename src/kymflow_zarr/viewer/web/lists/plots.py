"""Simple plots of a table: how numbers are spread, and one over another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.viewer.web.image.artifacts import unit_of
from kymflow_zarr.viewer.web.lists.rows import Asked, Column, Rows
from kymflow_zarr.views.picture import histogram_edges

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

__all__ = ["plot"]

_BINS: Final = 40
# Beyond it there are no halves.
_HALVES: Final = 2.0**52
_MAX_POINTS: Final = 5000
_MAX_GROUPS: Final = 12
_OTHERS: Final = "others"


def plot(rows: Rows, images: Callable[[], Rows], query: QueryParams) -> dict[str, Any]:
    """Return what is to be drawn.

    Parameters
    ----------
    rows : Rows
        The table.
    images : callable
        Returns the list of images: of a table that names images, their metadata group it too.
    query : QueryParams
        ``x``, ``y``, ``by`` and conditions.

    Raises
    ------
    ArgumentError
        If a column is not there, or holds no numbers.
    """
    mask = rows.mask(Asked.of(query))
    x, y = query.get("x", ""), query.get("y", "")
    across = _numbers(rows, x)
    down = _numbers(rows, y) if y else None
    mask &= np.isfinite(across)
    if down is not None:
        mask &= np.isfinite(down)
    groups = _groups(rows, images, query.get("by", ""), mask)
    told: list[dict[str, Any]]
    if down is None:
        told = _histograms(across, mask, groups, whole=_is_whole(across[mask]))
        sampled = False
    else:
        total = int(mask.sum())
        sampled = total > _MAX_POINTS
        taken = np.flatnonzero(mask)
        if sampled:
            # At random, as every n-th row of a table may be of one kind; the same ones each time.
            chosen = np.random.default_rng(0).choice(total, _MAX_POINTS, replace=False)
            taken = taken[np.sort(chosen)]
        told = []
        for label, inside in groups:
            of_group = taken[inside[taken]]
            told.append({"label": label, "x": across[of_group], "y": down[of_group],
                         "rows": of_group})  # fmt: skip
    return {
        "kind": "histogram" if down is None else "scatter",
        "x": x,
        "y": y or None,
        "x_unit": unit_of(x),
        "y_unit": unit_of(y),
        "groups": told,
        "total": int(mask.sum()),
        "sampled": sampled,
    }


def _numbers(rows: Rows, name: str) -> npt.NDArray[np.float64]:
    column = rows.column(name)
    if column.kind not in ("number", "time"):
        raise ArgumentError(f"the column {name!r} holds no numbers", where=name)
    return column.numbers


def _is_whole(values: npt.NDArray[np.float64]) -> bool:
    return bool(len(values)) and bool((values == np.floor(values)).all())


def _histograms(
    values: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    groups: list[tuple[str, npt.NDArray[np.bool_]]],
    *,
    whole: bool,
) -> list[dict[str, Any]]:
    there = values[mask]
    low, high = (float(there.min()), float(there.max())) if len(there) else (0.0, 1.0)
    if whole and high - low < _BINS and max(-low, high) < _HALVES:
        # Each number is in the middle of its bin.
        edges = np.arange(low - 0.5, high + 1.0)
    else:
        edges = histogram_edges(low, high, whole=False, bins=_BINS)
    return [
        {"label": label, "edges": edges, "counts": np.histogram(values[mask & inside], edges)[0]}
        for label, inside in groups
    ]


def _groups(
    rows: Rows, images: Callable[[], Rows], by: str, mask: npt.NDArray[np.bool_]
) -> list[tuple[str, npt.NDArray[np.bool_]]]:
    """Return labels, and which rows have each; the most frequent ones."""
    if not by:
        return [("", np.ones(len(rows), dtype=bool))]
    labels = np.array(_labels(rows, images, by), dtype=object)
    found, counts = np.unique(labels[mask], return_counts=True)
    names = [str(name) for name in found[np.argsort(-counts, kind="stable")][:_MAX_GROUPS]]
    groups = [(name, labels == name) for name in sorted(names)]
    if len(found) > _MAX_GROUPS:
        rest = ~np.any([inside for _, inside in groups], axis=0)
        groups.append((_OTHERS, rest))
    return groups


def _labels(rows: Rows, images: Callable[[], Rows], by: str) -> list[str]:
    if by in rows.columns or "image_id" not in rows.columns:
        return _texts(rows.column(by))
    known = images()
    of_image = dict(zip(known.columns["image_id"].objects, _texts(known.column(by)), strict=True))
    return [of_image.get(image_id, "") for image_id in rows.columns["image_id"].objects]


def _texts(column: Column) -> list[str]:
    pairs = zip(column.objects, column.missing, strict=True)
    return ["" if gone else str(value) for value, gone in pairs]
