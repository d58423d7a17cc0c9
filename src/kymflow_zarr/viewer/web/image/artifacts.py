"""Endpoints for artifacts of an image, and for data frames as traces and events."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from kymflow_zarr.api.internals import kind_of
from kymflow_zarr.errors import (
    ArgumentError,
    ArtifactNotFoundError,
    KymflowZarrError,
    LimitExceededError,
)
from kymflow_zarr.types import ARTIFACT_SUFFIXES
from kymflow_zarr.viewer.web.answers import answer
from kymflow_zarr.viewer.web.lists.rows import Rows
from kymflow_zarr.viewer.web.site import Site, image_of, number_of, site_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from kymflow_zarr import ArtifactInfo, ZarrImageRecord

__all__ = [
    "artifact",
    "describe_frames",
    "events",
    "find_artifact",
    "forms_of",
    "load_frame",
    "series",
    "unit_of",
]

# Larger data frames can only be downloaded.
_MAX_LOOKED_INTO: Final = 2**26
_TIMES: Final = ("time_s", "t_s", "time")
_START: Final = "t_start_s"
_TYPES: Final = ("user_type", "event_type")
_GROUPS: Final = ("roi_id", "channel")
# Several times the width of a screen; longer traces are reduced to their extremes.
_MAX_POINTS: Final = 100_000
_UNITS: Final = (
    ("_mm_s", "mm/s"), ("_um_s", "µm/s"), ("_mm_per_s", "mm/s"), ("_um_per_s", "µm/s"),
    ("_ms", "ms"), ("_us", "µs"), ("_s", "s"), ("_hz", "Hz"), ("_mm", "mm"), ("_um", "µm"),
    ("_nm", "nm"), ("_px", "px"), ("_deg", "°"), ("_percent", "%"),
)  # fmt: skip
_NOT_DRAWN: Final = re.compile(r"roi_id|channel|i_.*|.*_id|row|index", re.IGNORECASE)


def unit_of(column: str) -> str:
    """Return the unit in the suffix of a column's name, empty if there is none."""
    name = column.lower()
    return next((unit for end, unit in _UNITS if name.endswith(end)), "")


def forms_of(info: ArtifactInfo) -> list[str]:
    """Return the suffixes, without their dots, in which an artifact can be downloaded."""
    if kind_of(info).is_dataframe:
        return ["csv", "parquet"]
    return [ARTIFACT_SUFFIXES[info.kind].removeprefix(".")]


def find_artifact(record: ZarrImageRecord, kind: str, name: str) -> ArtifactInfo:
    """Return an artifact; raise ArtifactNotFoundError if there is none of that kind and name."""
    if kind not in ARTIFACT_SUFFIXES:
        raise ArgumentError(f"there are no artifacts of kind {kind!r}", where="kind")
    for info in record.list_artifacts():
        if (info.kind, info.name) == (kind, name):
            return info
    raise ArtifactNotFoundError(f"the image has no artifact {name!r}", where=record.image_id)


def load_frame(site: Site, record: ZarrImageRecord, info: ArtifactInfo) -> pd.DataFrame:
    """Return a data-frame artifact with texts as column names.

    Raises
    ------
    ArgumentError
        If it is not a data frame.
    """
    if not kind_of(info).is_dataframe:
        raise ArgumentError(f"artifacts of kind {info.kind!r} are no data frames", where="kind")

    def loaded() -> pd.DataFrame:
        return named(record.load_artifact(info.name, info.kind))

    key = ("frame", record.image_id, record.revision, info.kind, info.name)
    return site.cache.get(key, loaded, lambda f: int(f.memory_usage(deep=True).sum()))


def named(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a data frame with distinct texts as column names; the index becomes columns."""
    plain = isinstance(frame.index, pd.RangeIndex)
    if not plain:
        taken = {str(label) for label in frame.columns}
        levels = [f"{_free(str(n or 'index'), taken)}" for n in frame.index.names]
        if len(set(levels)) == len(levels):
            frame = frame.copy(deep=False)
            frame.index = frame.index.set_names(levels)
            frame.columns = pd.Index([str(label) for label in frame.columns])
            frame = frame.reset_index()
    names: list[str] = []
    for label in frame.columns:
        names.append(_free(str(label), set(names)))
    frame = frame.copy(deep=False)
    frame.columns = pd.Index(names)
    return frame


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "'"
    return name


def describe_frames(
    site: Site, record: ZarrImageRecord, infos: list[ArtifactInfo]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, dict[str, str]]]:
    """Return the artifacts with traces over time, those with events, and reasons for others."""
    traces, marks, damaged = [], [], {}
    for info in infos:
        if not kind_of(info).is_dataframe or info.size_bytes > _MAX_LOOKED_INTO:
            continue
        try:
            frame = load_frame(site, record, info)
        except KymflowZarrError as error:
            damaged[info.key] = {"error": str(error)}
            continue
        if _START in frame:
            marks.append({"kind": info.kind, "name": info.name, "n": len(frame)})
            continue
        over = _time_column(frame)
        drawn = [] if over is None else _drawn_columns(frame, over)
        if over is not None and drawn:
            traces.append(
                {
                    "kind": info.kind,
                    "name": info.name,
                    "time_column": over,
                    "columns": [{"name": name, "unit": unit_of(name)} for name in drawn],
                }
            )
    return traces, marks, damaged


def _time_column(frame: pd.DataFrame) -> str | None:
    return next((name for name in _TIMES if name in frame and _is_numeric(frame[name])), None)


def _drawn_columns(frame: pd.DataFrame, over: str) -> list[str]:
    return [
        str(name) for name in frame
        if name != over and not _NOT_DRAWN.fullmatch(str(name)) and _is_numeric(frame[name])
    ]  # fmt: skip


def _is_numeric(values: pd.Series[Any]) -> bool:
    return values.dtype.kind in "iuf"


def series(request: Request) -> Response:
    """Answer ``GET /api/images/{id}/series``."""
    site = site_of(request)
    record = site.dataset.record(image_of(request))
    kind, name = (request.query_params.get(key, "") for key in ("kind", "name"))
    frame = load_frame(site, record, find_artifact(record, kind, name))
    over = _time_column(frame)
    if over is None:
        raise ArgumentError(f"{name!r} has no column of times", where=name)
    offered = _drawn_columns(frame, over)
    if site.blind is not None:
        offered = [each for each in offered if each not in site.blind.hidden]
    column = request.query_params.get("column") or next(iter(offered), "")
    if column not in offered:
        raise ArgumentError(
            f"{name!r} has no numbers {column!r}", where="column", hint=", ".join(offered)
        )
    keys = [key for key in _GROUPS if key in frame]
    groups: Any = frame.groupby(keys, dropna=False, sort=True) if keys else [((), frame)]
    traces = []
    for values, part in groups:
        which = dict(zip(keys, values, strict=True))
        time_s, drawn = _thinned(*(_floats(part[key]) for key in (over, column)))
        traces.append(
            {
                "label": _label(which, column),
                "roi_id": which.get("roi_id"),
                "channel": which.get("channel"),
                "time": time_s,
                "values": drawn,
            }
        )
    return answer(
        {"time_column": over, "column": column, "unit": unit_of(column), "groups": traces}
    )


def _label(which: dict[str, Any], column: str) -> str:
    parts = []
    if "roi_id" in which:
        parts.append(f"ROI {which['roi_id']}")
    if "channel" in which:
        parts.append(f"channel {which['channel']}")
    return ", ".join(parts) or column


def _floats(values: pd.Series[Any]) -> npt.NDArray[np.float64]:
    return values.to_numpy(dtype="float64", na_value=np.nan)


def _thinned(
    time_s: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return values in order of time; reduce long traces to the extremes of short runs."""
    there = np.isfinite(time_s)
    time_s, values = time_s[there], values[there]
    order = np.argsort(time_s, kind="stable")
    time_s, values = time_s[order], values[order]
    if len(values) <= _MAX_POINTS:
        return time_s, values
    run = -(-len(values) * 2 // _MAX_POINTS)
    whole = len(values) // run * run
    blocks = values[:whole].reshape(-1, run)
    starts = np.arange(0, whole, run)
    low = starts + np.where(np.isnan(blocks), np.inf, blocks).argmin(axis=1)
    high = starts + np.where(np.isnan(blocks), -np.inf, blocks).argmax(axis=1)
    taken = np.unique(np.concatenate([low, high, np.arange(whole, len(values))]))
    return time_s[taken], values[taken]


def events(request: Request) -> Response:
    """Answer ``GET /api/images/{id}/events``."""
    site = site_of(request)
    record = site.dataset.record(image_of(request))
    kind, name = (request.query_params.get(key, "") for key in ("kind", "name"))
    frame = load_frame(site, record, find_artifact(record, kind, name))
    if _START not in frame:
        raise ArgumentError(f"{name!r} has no column {_START!r}", where=name)
    if site.blind is not None:
        frame = site.blind.event_columns(frame)
    # Prefer the column that edits of a type write, if there is one.
    type_column = next((column for column in _TYPES if column in frame), None)
    types: set[str] = set()
    for column in _TYPES:
        if column in frame:
            types |= {str(value) for value in frame[column].dropna()}
    columns = [str(column) for column in frame]
    listed = [frame[column].astype(object).to_numpy() for column in columns]
    rows = [
        # The row's position, which edits refer to, even if a column has this name too.
        {**dict(zip(columns, values, strict=True)), "row": row}
        for row, values in enumerate(zip(*listed, strict=True))
    ]
    return answer(
        {
            "columns": columns,
            "rows": rows,
            "types": sorted(types),
            "own_types": site.own_types(frame.get("user_type", ())),
            "type_column": type_column,
        }
    )


_MAX_ROWS: Final = 5000
_MAX_JSON: Final = 2**23


def artifact(request: Request) -> Response:
    """Answer ``GET /api/images/{id}/artifact``."""
    site = site_of(request)
    record = site.dataset.record(image_of(request))
    kind, name = (request.query_params.get(key, "") for key in ("kind", "name"))
    if kind == "array":
        array = record.open_array_artifact(name)
        return answer({"shape": array.shape, "dtype": str(array.dtype)})
    info = find_artifact(record, kind, name)
    if not kind_of(info).is_dataframe:
        if info.size_bytes > _MAX_JSON:
            raise LimitExceededError(
                f"the artifact is {info.size_bytes / 1e6:.0f} MB, too long to be read in a page",
                where=name,
                hint="Download it.",
            )
        return answer({"json": record.load_artifact(name, info.kind)})
    rows = Rows(load_frame(site, record, info))
    offset = number_of(request, "offset", 0)
    limit = number_of(request, "limit", 100, most=_MAX_ROWS)
    positions = range(min(offset, len(rows)), min(offset + limit, len(rows)))
    names = list(rows.columns)
    return answer({"columns": names, "total": len(rows), "rows": rows.rows(positions, names)})
