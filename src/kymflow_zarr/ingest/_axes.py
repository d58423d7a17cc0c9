"""The true axes of an image, from its file, its instrument header and its metadata.

Where they disagree the metadata sidecar, which the lab has edited, goes before the instrument
header, and that before the TIFF's own tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kymflow_zarr._schema import normalize_unit
from kymflow_zarr._types import Axis, Quantity
from kymflow_zarr.ingest._olympus import OlympusHeader

_TIME_UNITS = frozenset({"second", "millisecond", "microsecond", "minute", "hour"})


def true_axes(
    axes: Sequence[Axis],
    shape: Sequence[int],
    *,
    header: OlympusHeader | None,
    payload: Mapping[str, Any] | None,
) -> tuple[Axis, ...]:
    """Return the axes with what header and payload know of them filled in.

    A line scan, whichever of the three says that it is one, has ``y`` as its time axis.
    """
    filled = [_as_row(axis, axes) for axis in axes]
    if header is not None:
        filled = [_from_header(axis, i, len(filled), header) for i, axis in enumerate(filled)]
    if payload is not None:
        filled = _from_payload(filled, shape, payload)
    return tuple(filled)


def _as_row(axis: Axis, axes: Sequence[Axis]) -> Axis:
    # (t, x) and (c, t, x): the rows are lines in time, and rows are called y.
    names = [a.name for a in axes]
    is_line_scan = names[-2:] == ["t", "x"] and "y" not in names
    return replace(axis, name="y") if is_line_scan and axis.name == "t" else axis


def _from_header(axis: Axis, index: int, ndim: int, header: OlympusHeader) -> Axis:
    if header.is_line_scan and index == ndim - 2 and axis.name == "y":
        period = header.line_period_s
        if period is None:
            return replace(axis, quantity="time")
        return Axis("y", "time", "second", period)
    found = header.dimension(axis.name.upper())
    if found is None or axis.quantity == "channel":
        return axis
    step = found.step
    if step is None and found.count > 1 and axis.quantity == "time":
        step = found.extent / (found.count - 1)
    return axis if not step or step <= 0 else Axis(axis.name, axis.quantity, found.unit, step)


def _from_payload(axes: list[Axis], shape: Sequence[int], payload: Mapping[str, Any]) -> list[Axis]:
    header = payload.get("header")
    if not isinstance(header, Mapping):
        return axes
    steps, units = header.get("voxels"), header.get("voxels_units")
    # Only a header that speaks of this very image.
    if list(header.get("shape") or shape) != list(shape):
        return axes
    if not (isinstance(steps, list) and isinstance(units, list)):
        return axes
    if not len(steps) == len(units) == len(axes):
        return axes
    return [_stated(axis, step, unit) for axis, step, unit in zip(axes, steps, units, strict=True)]


def _stated(axis: Axis, step: object, unit: object) -> Axis:
    if not isinstance(unit, str) or isinstance(step, bool) or not isinstance(step, int | float):
        return axis
    name = normalize_unit(unit)
    if name is None or not 0 < step < float("inf") or axis.quantity == "channel":
        return axis
    quantity: Quantity = "time" if name in _TIME_UNITS else "space"
    if quantity == "time" and axis.name not in ("y", "t"):
        return axis
    return Axis(axis.name, quantity, name, float(step))
