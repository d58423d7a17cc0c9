"""Axes as the header of a metadata payload states them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kymflow_zarr.schema.axes import normalize_unit
from kymflow_zarr.types import Axis, Quantity

_TIME_UNITS: Final = frozenset({"second", "millisecond", "microsecond", "minute", "hour"})


def stated_axes(axes: Sequence[Axis], shape: Sequence[int], payload: Any) -> tuple[Axis, ...]:
    """Return the axes with the steps and units that a payload's header states.

    Rows whose step is a time are the lines of a scan: their axis has the quantity ``"time"``.

    Parameters
    ----------
    axes : sequence of Axis
    shape : sequence of int
        Shape of the pixels; a header of another shape speaks of another image.
    payload : object
        A metadata payload, or anything else, which states nothing.
    """
    header = payload.get("header") if isinstance(payload, Mapping) else None
    if not isinstance(header, Mapping):
        return tuple(axes)
    steps, units, stated = (header.get(key) for key in ("voxels", "voxels_units", "shape"))
    if not (isinstance(steps, list) and isinstance(units, list)):
        return tuple(axes)
    if not len(steps) == len(units) == len(axes) or stated not in (None, [], list(shape)):
        return tuple(axes)
    return tuple(
        _stated(axis, step, unit) for axis, step, unit in zip(axes, steps, units, strict=True)
    )


def _stated(axis: Axis, step: object, unit: object) -> Axis:
    if not isinstance(unit, str) or isinstance(step, bool) or not isinstance(step, int | float):
        return axis
    name = normalize_unit(unit)
    # A whole number may be larger than any float.
    if name is None or not 0 < step < 1e300 or axis.quantity == "channel":
        return axis
    quantity: Quantity = "time" if name in _TIME_UNITS else "space"
    if quantity == "time" and axis.name not in ("y", "t"):
        return axis
    return Axis(axis.name, quantity, name, float(step))
