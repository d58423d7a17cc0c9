"""Tables and events of acqstore and CloudScope as data frames.

Times, rows and pixel columns of their tables count from the first row and column of the region.
The columns of a table stay as they are written; columns that begin with ``image_`` are added, which
count from the first row and column of the image. ``channel`` counts from 1 as everywhere in this
package, ``channel_index`` is the number that was written, from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.formats.acqstore import COLUMNS, ROWS, TIMES

if TYPE_CHECKING:
    import pandas as pd

ANALYSIS: Final = "acqstore/analysis"
EVENTS: Final = "acqstore/event"
TABLE: Final = "acqstore/{name}"
_UNITS: Final = {
    "time_s": "s, from the first row of the region",
    "time_sec": "s, from the first row of the region",
    "velocity": "um/s; (dx/dt)/tan(theta), empty where theta is 0",
    "theta_deg": "degree",
    "diameter_um": "um",
    "d_df_f_signal": "1/s",
}


def table_with_image_columns(
    table: pd.DataFrame, payload: Mapping[str, Any] | None
) -> pd.DataFrame:
    """Return a table of acqstore with channels from 1, and positions in the image.

    Parameters
    ----------
    table : DataFrame
        As written, with ``channel`` and ``roi_id``.
    payload : mapping, optional
        Of the image, for its regions and its seconds per line; without it no positions are added.
    """
    if not {"channel", "roi_id"} <= set(table.columns):
        raise SourceFileError("has no columns channel and roi_id")
    frame = table.copy()
    frame.insert(1, "channel_index", frame["channel"])
    frame["channel"] = frame["channel"] + 1
    rows, columns, line_s = _starts(payload)
    first_row = frame["roi_id"].map(rows).astype("float64")
    first_column = frame["roi_id"].map(columns).astype("float64")
    for name in TIMES:
        if name in frame.columns and line_s is not None:
            frame[f"image_{name}"] = frame[name] + first_row * line_s
    for names, first in ((ROWS, first_row), (COLUMNS, first_column)):
        for name in names:
            if name in frame.columns:
                frame[f"image_{name}"] = frame[name] + first
    return frame


def units_of(columns: Sequence[str]) -> dict[str, str]:
    """Return the units of those columns whose name does not say it."""
    return {name: _UNITS[name] for name in columns if name in _UNITS}


def events_of_runs(
    runs: Sequence[Mapping[str, Any]], payload: Mapping[str, Any] | None
) -> pd.DataFrame | None:
    """Return the events of all runs as rows, None if no run looked for events.

    ``x0`` and ``x1`` are as written, on the time axis of the region's velocity table, and ``x0``
    may be the later one; ``t_start_s`` and ``t_end_s`` are in order, on the time axis of the image.
    """
    import pandas as pd

    looked = [run for run in runs if run.get("analysis_name") == "event"]
    if not looked:
        return None
    starts, _, line_s = _starts(payload)
    rows: list[dict[str, Any]] = []
    for run in looked:
        summary = run.get("summary")
        events = summary.get("events") if isinstance(summary, Mapping) else None
        for event in events if isinstance(events, list) else ():
            if not isinstance(event, Mapping):
                raise SourceFileError("an event of the analysis is not an object")
            row = {key: run.get(key) for key in ("roi_id", "channel", "channel_index")}
            for key, value in event.items():
                if isinstance(value, Mapping):
                    row |= {f"{key}_{name}": number for name, number in value.items()}
                else:
                    row[key] = value
            offset = starts.get(run.get("roi_id"), np.nan) * (np.nan if line_s is None else line_s)
            ends = sorted(float(event.get(end, np.nan)) for end in ("x0", "x1"))
            rows.append(row | {"t_start_s": ends[0] + offset, "t_end_s": ends[1] + offset})
    columns = ["roi_id", "channel", "channel_index", "id", "event_type", "x0", "x1", "duration"]
    frame = pd.DataFrame(rows)
    return frame.reindex(columns=[*columns, *(c for c in frame.columns if c not in columns)])


def _starts(
    payload: Mapping[str, Any] | None,
) -> tuple[dict[Any, float], dict[Any, float], float | None]:
    """Return the first row and column of each rectangle, and the seconds per line."""
    rows: dict[Any, float] = {}
    columns: dict[Any, float] = {}
    for roi in [] if payload is None else payload["rois"]:
        if isinstance(roi, Mapping) and roi.get("roi_type") == "rect":
            rows[roi.get("roi_id")] = roi["data"].get("y0", np.nan)
            columns[roi.get("roi_id")] = roi["data"].get("x0", np.nan)
    header = {} if payload is None else payload["header"]
    units, steps = header.get("voxels_units") or [], header.get("voxels") or []
    # Rows are the second last axis, and lines if their unit is one of time.
    is_lines = len(units) >= 2 and units[-2] in ("s", "seconds", "second", "sec")
    return rows, columns, steps[-2] if is_lines else None
