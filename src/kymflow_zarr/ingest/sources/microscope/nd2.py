"""ND2 of Nikon NIS-Elements, read by nd2 (BSD-3-Clause)."""

from __future__ import annotations

import datetime as dt
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from kymflow_zarr.ingest.sources.microscope.decoded import (
    DecodedImage,
    Stated,
    as_json,
    check_series,
    epoch_ns,
    library,
    reading,
)

_DATE_FORMATS = (
    "%d/%m/%Y  %H:%M:%S",
    "%m/%d/%Y  %H:%M:%S",
    "%m/%d/%Y  %I:%M:%S %p",
    "%Y-%m-%d  %H:%M:%S",
)
# Julian day of 1970-01-01T00:00.
_JULIAN_1970 = 2440587.5


def open_nd2(path: Path, series: int) -> DecodedImage:
    """Open one position of an ND2 file.

    Raises
    ------
    MissingDependencyError
        If nd2 is not installed.
    SourceFileError
        If the file cannot be read.
    """
    nd2 = library("nd2", extra="nd2")
    with reading(path), ExitStack() as stack:
        file = stack.enter_context(nd2.ND2File(path))
        sizes = dict(file.sizes)
        count = sizes.pop("P", 1)
        check_series(series, count, path)
        stated = _stated(file, sizes, series if count > 1 else None)
        opened = stack.pop_all()

    def decode() -> Any:
        return file.asarray(position=series if count > 1 else None)

    return DecodedImage(path, stated, series=series, count=count, decode=decode, close=opened.close)


def _stated(file: Any, sizes: dict[str, int], position: int | None) -> Stated:
    voxel = file.voxel_size()
    steps = {dim: ("micrometer", getattr(voxel, dim.lower())) for dim in "XYZ"}
    events = [
        event
        for event in file.events()
        if position is None or event.get("P Index", position) == position
    ]
    channels = file.metadata.channels or []
    text = dict(file.text_info)
    loops = [{"type": loop.type, "count": loop.count} for loop in file.experiment]
    described = {
        "text_info": text,
        "attributes": file.attributes._asdict(),
        "loops": loops,
        "channels": [
            {
                "name": each.channel.name,
                "emission_nm": each.channel.emissionLambdaNm,
                "excitation_nm": each.channel.excitationLambdaNm,
                "color": list(each.channel.color),
                "objective": each.microscope.objectiveName,
                "magnification": each.microscope.objectiveMagnification,
                "numerical_aperture": each.microscope.objectiveNumericalAperture,
            }
            for each in channels
        ],
        "events": events,
    }
    step = next((_period_s(loop) for loop in file.experiment if loop.type == "TimeLoop"), None)
    if step:
        steps["T"] = ("second", step)
    return Stated(
        dims=list(sizes),
        shape=list(sizes.values()),
        dtype=np.dtype(file.dtype),
        steps=steps,
        channel_names=[each.channel.name for each in channels],
        times_s=_times(events, sizes.get("T", 1)),
        acquired_local_epoch_ns=_acquired(file, text.get("date")),
        name=None if position is None else f"position {position + 1}",
        description={"nd2": as_json(described)},
    )


def _period_s(loop: Any) -> float | None:
    period = loop.parameters.periodMs
    return period / 1000 if period and period > 0 else None


def _times(events: list[dict[str, Any]], count: int) -> list[float] | None:
    """Return the time of the first frame at each index of T, in seconds."""
    first: dict[int, float] = {}
    for event in events:
        if "T Index" in event and "Time [s]" in event:
            first.setdefault(int(event["T Index"]), float(event["Time [s]"]))
    if count < 2 or sorted(first) != list(range(count)):
        return None
    return [first[index] for index in range(count)]


def _acquired(file: Any, text: str | None) -> int | None:
    """Return the wall clock of the text; of day and month, those nearest to the Julian day."""
    moments = []
    for pattern in _DATE_FORMATS:
        try:
            moments.append(dt.datetime.strptime(text or "", pattern))
        except ValueError:
            continue
    if not moments:
        return None
    try:
        julian = file.frame_metadata(0).channels[0].time.absoluteJulianDayNumber
    except (AttributeError, IndexError, KeyError, ValueError):
        return epoch_ns(moments[0])
    universal = dt.datetime(1970, 1, 1) + dt.timedelta(days=julian - _JULIAN_1970)
    return epoch_ns(min(moments, key=lambda moment: abs(moment - universal)))
