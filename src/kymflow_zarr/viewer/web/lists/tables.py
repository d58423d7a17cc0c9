"""Endpoints for tables of the dataset: rows and simple plots."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from kymflow_zarr.api.internals import open_dataset_of
from kymflow_zarr.errors import ArgumentError, KymflowZarrError
from kymflow_zarr.viewer.web.answers import answer, error_answer
from kymflow_zarr.viewer.web.image.artifacts import named, unit_of
from kymflow_zarr.viewer.web.lists.paged import PagedRows
from kymflow_zarr.viewer.web.lists.rows import Asked, Column, Rows
from kymflow_zarr.viewer.web.site import number_of, segments, site_of
from kymflow_zarr.views.picture import histogram_edges

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.responses import Response

    from kymflow_zarr import ZarrDataset


_BINS: Final = 40
# Larger floats have no fractional part.
_HALVES: Final = 2.0**52
_MAX_POINTS: Final = 5000
_MAX_GROUPS: Final = 12
_OTHERS: Final = "others"


def plot(rows: Rows, images: Callable[[], Rows], query: QueryParams) -> dict[str, Any]:
    """Return the data of a plot.

    Parameters
    ----------
    rows : Rows
        The table.
    images : callable
        Returns the list of images, whose metadata can group the rows of a table that names images.
    query : QueryParams
        ``x``, ``y``, ``by`` and conditions.

    Raises
    ------
    ArgumentError
        If a column does not exist, or holds no numbers.
    """
    mask = rows.mask(Asked.of(query))
    x, y = query.get("x", ""), query.get("y", "")
    across = _numbers(rows, x)
    down = _numbers(rows, y) if y else None
    mask &= np.isfinite(across)
    if down is not None:
        mask &= np.isfinite(down)
    groups = _groups(rows, images, query.get("by", ""), mask)
    plotted: list[dict[str, Any]]
    if down is None:
        plotted = _histograms(across, mask, groups, whole=_is_whole(across[mask]))
        sampled = False
    else:
        total = int(mask.sum())
        sampled = total > _MAX_POINTS
        taken = np.flatnonzero(mask)
        if sampled:
            # Sample at random, since every n-th row may be of one kind; use a fixed seed.
            chosen = np.random.default_rng(0).choice(total, _MAX_POINTS, replace=False)
            taken = taken[np.sort(chosen)]
        plotted = []
        for label, inside in groups:
            of_group = taken[inside[taken]]
            plotted.append({"label": label, "x": across[of_group], "y": down[of_group],
                         "rows": of_group})  # fmt: skip
    return {
        "kind": "histogram" if down is None else "scatter",
        "x": x,
        "y": y or None,
        "x_unit": unit_of(x),
        "y_unit": unit_of(y),
        "groups": plotted,
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
        # Center each integer in its bin.
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
    """Return the most frequent labels, and the rows of each."""
    if not by:
        return [("", np.ones(len(rows), dtype=bool))]
    labels = np.array(_labels(rows, images, by), dtype=object)
    distinct, counts = np.unique(labels[mask], return_counts=True)
    names = [str(name) for name in distinct[np.argsort(-counts, kind="stable")][:_MAX_GROUPS]]
    groups = [(name, labels == name) for name in sorted(names)]
    if len(distinct) > _MAX_GROUPS:
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


_MAX_TABLES: Final = 4
_MAX_ROWS: Final = 5000
# Tables with more are read by column and by row group.
_MAX_CELLS: Final = 2**21


class Tables:
    """A cache of the recently used tables; changed tables are read again.

    Parameters
    ----------
    dataset : ZarrDataset
    """

    def __init__(self, dataset: ZarrDataset) -> None:
        self._dataset = dataset
        self._guard = threading.Lock()
        self._cache: OrderedDict[str, tuple[str, Rows]] = OrderedDict()
        self._edited: tuple[tuple[str, str, str], int] | None = None

    def rows(self, name: str) -> Rows:
        """Return a table.

        Raises
        ------
        TableNotFoundError
            If there is no table of that name.
        """
        token = open_dataset_of(self._dataset).change_token(name)
        with self._guard:
            cached = self._cache.get(name)
            if cached is None or cached[0] != token:
                cached = token, self._read(name)
                self._cache[name] = cached
                while len(self._cache) > _MAX_TABLES:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(name)
            return cached[1]

    def edited_since(self, name: str) -> int:
        """Return of how many images the events were edited after a table was saved."""
        opened = open_dataset_of(self._dataset)
        key = (name, opened.change_token(name), opened.change_token())
        with self._guard:
            if self._edited is None or self._edited[0] != key:
                self._edited = key, len(opened.images_edited_since(name))
            return self._edited[1]

    def _read(self, name: str) -> Rows:
        with (
            open_dataset_of(self._dataset).open_table(name) as opened,
            contextlib.suppress(OSError, pa.ArrowException),
        ):
            footer = pq.read_metadata(opened)
            if footer.num_rows * footer.num_columns > _MAX_CELLS:
                return PagedRows(self._dataset, name)
        return Rows(named(self._dataset.load_table(name)))

    def described(self) -> list[dict[str, Any]]:
        """Return name, number of rows and columns of each table, from the Parquet footers."""
        return [self._described(name) for name in self._dataset.list_table_names()]

    def _described(self, name: str) -> dict[str, Any]:
        try:
            with (
                open_dataset_of(self._dataset).open_table(name) as opened,
                pq.ParquetFile(opened) as file,
            ):
                columns = [c for c in file.schema_arrow.names if not c.startswith("__")]
                return {"name": name, "n_rows": file.metadata.num_rows, "columns": columns}
        except (KymflowZarrError, OSError, pa.ArrowException):
            return {"name": name, "n_rows": None, "columns": [], "error": self._why_broken(name)}

    def _why_broken(self, name: str) -> str:
        try:
            self.rows(name)
        except KymflowZarrError as error:
            return str(error)
        return "the table cannot be described"


def table(request: Request) -> Response:
    """Answer ``GET /api/tables/{name}`` and ``GET /api/tables/{name}/plot``."""
    site = site_of(request)
    parts = segments(request)[2:]
    if len(parts) == 2 and parts[1] == "plot":
        rows = site.tables.rows(parts[0])
        return answer(plot(rows, site.gallery.rows, request.query_params))
    if len(parts) != 1:
        return error_answer(404, "NotFoundError", "there is nothing at this address")
    rows = site.tables.rows(parts[0])
    limit = number_of(request, "limit", 100, most=_MAX_ROWS)
    asked = Asked.of(request.query_params, offset=number_of(request, "offset", 0), limit=limit)
    positions = rows.find(asked)
    names = list(rows.columns)
    return answer(
        {
            "columns": [
                {"name": n, "kind": kind, "unit": unit_of(n)} for n, kind in rows.kinds().items()
            ],
            "edited_since": site.tables.edited_since(parts[0]),
            "total": len(positions),
            "offset": asked.offset,
            "rows": rows.rows(positions[asked.offset : asked.offset + limit], names),
        }
    )
