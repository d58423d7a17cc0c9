"""Values of a table by condition, and figures, as the page shows and downloads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from kymflow_zarr.api.internals import group_labels_of
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.viewer.web.answers import answer
from kymflow_zarr.viewer.web.downloads import (
    created_file,
    in_turn,
    require_small_planes,
    stem_of,
    wanted_form,
)
from kymflow_zarr.viewer.web.image.pixels import at_of
from kymflow_zarr.viewer.web.lists.rows import Asked
from kymflow_zarr.viewer.web.site import Site, image_of, segments, site_of

if TYPE_CHECKING:
    import pandas as pd
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["download_figure", "download_values", "values"]

_FIGURES: Final = ("svg", "pdf", "png")
_MAX_POINTS: Final = 5000


@dataclass(frozen=True)
class _Choice:
    """What a request asks of a table: which rows, and which columns of them.

    Parameters
    ----------
    rows : DataFrame
    value : str
    by : list of str
    unit : str, optional
    """

    rows: pd.DataFrame
    value: str
    by: list[str]
    unit: str | None

    @classmethod
    def of(cls, site: Site, table: str, request: Request) -> _Choice:
        """Return what a request asks."""
        query = request.query_params
        rows = site.tables.rows(table)
        frame = rows.frame_of(np.flatnonzero(rows.mask(Asked.of(query))))
        return cls(frame, query.get("value", ""), query.getlist("by"),
                   query.get("unit") or None)  # fmt: skip


def values(request: Request) -> Response:
    """Answer ``GET /api/values/{table}``: the values of units by groups, with their statistics."""
    site = site_of(request)
    choice = _Choice.of(site, _table(request), request)
    units = site.dataset.unit_values(choice.rows, choice.value, by=choice.by, unit=choice.unit)
    summaries = site.dataset.summary(choice.rows, choice.value, by=choice.by, unit=choice.unit)
    if len(units) > _MAX_POINTS:
        raise ArgumentError(
            f"{len(units)} points are more than the {_MAX_POINTS} that the page draws",
            where="unit", hint="Filter the rows, or count by something that is less often there.",
        )  # fmt: skip
    labels = np.array(group_labels_of(units, choice.by), dtype=object)
    keys = group_labels_of(summaries, choice.by)
    counted = choice.unit or "image_id"
    groups = []
    for label, statistics in zip(keys, summaries.to_dict("records"), strict=True):
        inside = units[labels == label]
        numbers = inside[choice.value].to_numpy(np.float64)
        groups.append(
            {
                "label": label,
                **{name: statistics[name] for name in _STATISTICS},
                "quartiles": np.quantile(numbers, [0.25, 0.75]),
                "units": inside[counted].tolist(),
                "values": numbers,
            }
        )
    shown = units["image_id"].unique() if counted == "image_id" else ()
    names = {image_id: site.gallery.name_of(image_id) for image_id in shown}
    return answer({"value": choice.value, "unit": counted, "names": names, "groups": groups})


_STATISTICS: Final = (
    "n_rows", "n_images", "n_units", "mean", "sd", "sem", "median", "min", "max",
)  # fmt: skip


async def download_values(request: Request) -> Response:
    """Answer ``GET /download/values/{table}``: values, or a figure of them."""
    return await in_turn(request, _values_file)


async def download_figure(request: Request) -> Response:
    """Answer ``GET /download/figure/{id}``: a plane of an image with axes and scale bar."""
    return await in_turn(request, _figure_file)


def _values_file(request: Request) -> Response:
    site = site_of(request)
    table, query = _table(request), request.query_params
    form = wanted_form(request, "csv", "columns", "xlsx", *_FIGURES)
    choice = _Choice.of(site, table, request)
    paired = query.get("paired") == "true"
    order = query.getlist("order") or None
    title = f"{choice.value} of {table}".replace("/", "_")
    if form in _FIGURES:
        kind: Any = query.get("kind", "swarm")

        def draw(path: Path) -> None:
            from kymflow_zarr.views.plot import new_figure, save_figure

            figure = new_figure()
            site.dataset.plot(
                choice.rows, choice.value, by=choice.by, unit=choice.unit, kind=kind,
                paired=paired, order=order, ax=figure.subplots(),
            )  # fmt: skip
            save_figure(figure, path)

        return created_file(f"{title}.{form}", draw)
    layout: Literal["tidy", "columns"] = "columns" if form == "columns" else "tidy"
    name = f"{title}.xlsx" if form == "xlsx" else f"{title}.csv"

    def write(path: Path) -> None:
        site.dataset.export_values(
            path, choice.rows, choice.value, by=choice.by, unit=choice.unit, layout=layout,
            paired=paired, order=order,
        )  # fmt: skip

    return created_file(name, write)


def _figure_file(request: Request) -> Response:
    record = site_of(request).dataset.record(image_of(request))
    form = wanted_form(request, *_FIGURES)
    require_small_planes(record)
    query = request.query_params
    several = query.get("map") == "composite"
    low, high = (_numbers(query.get(name), name) for name in ("low", "high"))

    def draw(path: Path) -> None:
        from kymflow_zarr.views.plot import new_figure, save_figure

        figure = new_figure()
        ax = record.plot(
            figure.subplots(), at=at_of(query.get("at", "")), vmin=low, vmax=high,
            channel="all" if several else 1,
            cmap=_color_map(query.get("map", "gray")), rois=query.get("rois") != "false",
            scale_bar=True,
        )  # fmt: skip
        ax.set_title(stem_of(request, record.image_id).replace("$", r"\$"))
        save_figure(figure, path)

    return created_file(f"{stem_of(request, record.image_id)}.{form}", draw)


def _color_map(name: str) -> Any:
    """Return the color map that the page calls so; several channels at once need none."""
    from matplotlib.colors import LinearSegmentedColormap

    if name in ("viridis", "magma"):
        return name
    if name in _COLORS:
        return LinearSegmentedColormap.from_list(name, ["black", _COLORS[name]])
    return "gray_r" if name == "gray inverted" else "gray"


# As primary colors of the screen, which the page has: matplotlib's "green" is darker.
_COLORS: Final = {
    "red": "#ff0000", "green": "#00ff00", "magenta": "#ff00ff", "cyan": "#00ffff",
}  # fmt: skip


def _numbers(text: str | None, where: str) -> float | list[float] | None:
    """Return a number, or one for each channel."""
    if not text:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
        return numbers if len(numbers) > 1 else numbers[0]
    except ValueError:
        raise ArgumentError(f"{where} is {text!r}, not a number", where=where) from None


def _table(request: Request) -> str:
    return "/".join(segments(request)[2:])
