"""Analysis files of the flow programs, whatever their version, as frames of one schema.

Velocity: ``roi_id, channel, time_s, velocity_mm_s, clean_velocity_mm_s, abs_velocity_mm_s,
algorithm, pixel_size_um, line_period_s, num_lines, num_pixels, parent_folder, file_name``.
Events: ``roi_id, channel, event_type, i_start, i_peak, i_end, t_start_s, t_peak_s, t_end_s,
duration_s, ...``. Columns that no version is known to have keep their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.schema.analysis_columns import EVENT_COLUMNS, VELOCITY_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_EVENT_DTYPES: Final = {
    "roi_id": "Int64",
    "channel": "Int64",
    "event_type": "str",
    "i_start": "Int64",
    "i_peak": "Int64",
    "i_end": "Int64",
    "t_start_s": "float64",
    "t_peak_s": "float64",
    "t_end_s": "float64",
    "score_peak": "float64",
    "baseline_before": "float64",
    "baseline_after": "float64",
    "strength": "float64",
    "nan_fraction_in_event": "float64",
    "n_valid_in_event": "Int64",
    "duration_s": "float64",
    "machine_type": "str",
    "user_type": "str",
    "note": "str",
}


def velocity_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Return a velocity table of any version with the columns of the schema.

    The oldest tables have an unnamed row number, which is dropped, and one region, the whole
    image: their ``roi_id`` is 0 and their ``channel`` 1.
    """
    unnamed = [name for name in table.columns if str(name).startswith("Unnamed:")]
    frame = table.drop(columns=unnamed).rename(columns=VELOCITY_COLUMNS)
    if "roi_id" not in frame.columns:
        frame.insert(0, "roi_id", 0)
    if "channel" not in frame.columns:
        frame.insert(1, "channel", 1)
    return frame


def events_frame(velocity_events: object, *, where: str) -> pd.DataFrame:
    """Return the events of all regions as rows.

    Parameters
    ----------
    velocity_events : mapping
        Lists of events, by region id (``"1"``) or region and channel (``"1:1"``).
    where : str
        The file, for the error.

    Raises
    ------
    SourceFileError
        If it is something else.
    """
    import pandas as pd

    rows = []
    for key, events in _mapping(velocity_events, where).items():
        roi_id, channel = _region(key, where)
        if not isinstance(events, list) or not all(isinstance(e, Mapping) for e in events):
            raise SourceFileError(f"the events of region {key!r} are no list", where=where)
        for event in events:
            named = {EVENT_COLUMNS.get(name, name): value for name, value in event.items()}
            rows.append(named | {"roi_id": roi_id, "channel": channel})
    frame = pd.DataFrame(rows)
    others = [name for name in frame.columns if name not in _EVENT_DTYPES]
    frame = frame.reindex(columns=[*_EVENT_DTYPES, *others])
    return frame.astype({name: _dtype(frame[name], d) for name, d in _EVENT_DTYPES.items()})


def _dtype(column: pd.Series[Any], wanted: str) -> Any:
    # Fractions where whole numbers are usual stay what they are.
    if wanted == "Int64":
        numbers = column.dropna()
        whole = all(isinstance(n, int | float) and float(n).is_integer() for n in numbers)
        return wanted if whole else "object"
    if wanted == "float64":
        return wanted if all(isinstance(n, int | float) for n in column.dropna()) else "object"
    return "object"


def analysis_document(document: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return what an analysis file says beside its events, regions as a list.

    Raises
    ------
    SourceFileError
        If its parts are not what they are in every known version.
    """
    rest = {k: v for k, v in document.items() if k not in ("analysis_metadata", "velocity_events")}
    regions = []
    for key, region in _mapping(document.get("analysis_metadata", {}), where).items():
        roi_id, channel = _region(key, where)
        regions.append({"roi_id": roi_id, "channel": channel, **_mapping(region, where)})
    return {**rest, "regions": regions}


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SourceFileError("a part of the analysis is not an object", where=where)
    return value


def _region(key: str, where: str) -> tuple[int, int]:
    """Return region and channel of ``"1"`` or ``"1:1"``; before channels there was one."""
    roi_id, _, channel = key.partition(":")
    try:
        return int(roi_id), int(channel or 1)
    except ValueError:
        raise SourceFileError(f"{key!r} is no region", where=where) from None
