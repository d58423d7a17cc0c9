"""Read the axis names, steps, units and channel names of an xarray.DataArray."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.schema.axes import normalize_axes
from kymflow_zarr.types import Axis

__all__ = ["Labeled", "is_data_array", "labels_of"]

_HINT: Final = "Say with axes= what each dimension is, or drop these coordinates with drop_vars()."
# The names that xarray gives to unnamed dimensions.
_NO_NAME: Final = re.compile(r"dim_\d+")


class Labeled(NamedTuple):
    """Pixels and their labels; None for labels that the array does not have."""

    pixels: Any
    axes: Sequence[Axis] | None
    channel_names: list[str] | None


def is_data_array(array: object) -> bool:
    """Return True for an xarray.DataArray, without importing xarray."""
    kinds = (kind for kind in type(array).__mro__ if kind.__name__ == "DataArray")
    return any(kind.__module__.partition(".")[0] == "xarray" for kind in kinds)


def labels_of(array: Any) -> Labeled:
    """Return the pixels of a DataArray with its dimensions, coordinates and units.

    Coordinates become the step of an axis, in their ``units``; those of a channel axis become
    its names. The origin, other coordinates and ``attrs`` are not stored.

    Raises
    ------
    ArgumentError
        If the coordinates of a dimension have no even step, or are labels.
    """
    pixels = array.data if array.chunks is not None else array
    dims = [str(dim) for dim in array.dims]
    if all(map(_NO_NAME.fullmatch, dims)):
        return Labeled(pixels, None, None)
    # The notes of to_xarray() hold for any order of dimensions.
    noted = [array.attrs.get(key) for key in ("axes", "quantities", "steps")]
    known: dict[str, tuple[Any, float]] = {}
    if all(isinstance(value, list | tuple | np.ndarray) for value in noted):
        known = {str(name): (kind, step) for name, kind, step in zip(*noted, strict=False)}
    axes: list[Axis] = []
    names: list[str] | None = None
    for dim, plain in zip(array.dims, normalize_axes(dims, len(dims)), strict=True):
        quantity, step = known.get(str(dim), (plain.quantity, np.nan))
        axis = Axis(plain.name, quantity)
        if dim in array.coords:
            coordinate = array.coords[dim]
            if axis.quantity == "channel":
                names = _names(coordinate)
            else:
                axis = _calibrated(axis, coordinate, step)
        axes.append(axis)
    return Labeled(pixels, axes, names)


def _names(coordinate: Any) -> list[str] | None:
    values = np.asarray(coordinate.values)
    if values.dtype.kind in "iu" and np.array_equal(values, np.arange(len(values))):
        return None  # Channel numbers.
    return [str(value) for value in values.tolist()]


def _calibrated(axis: Axis, coordinate: Any, noted: float) -> Axis:
    values = np.asarray(coordinate.values)
    unit = coordinate.attrs.get("units", coordinate.attrs.get("unit"))
    if values.dtype.kind in "mM":
        values = (values - values[:1]) / np.timedelta64(1, "s")
        unit = "second"
    if values.dtype.kind not in "iuf":
        raise ArgumentError(
            f"the coordinates of dimension {axis.name!r} are labels, which an axis cannot hold",
            where="axes",
            hint=_HINT,
        )
    stated = not np.isnan(noted)
    if len(values) > 1:
        numbers = values.astype(float)
        step = float(numbers[1] - numbers[0])
        even = numbers[0] + np.arange(len(numbers)) * step
        if not (step > 0 and np.allclose(numbers, even, rtol=1e-9, atol=step * 1e-3)):
            raise ArgumentError(
                f"the coordinates of dimension {axis.name!r} do not grow by an even step",
                where="axes",
                hint=_HINT,
            )
        if not np.isclose(step, noted, rtol=1e-9, atol=0):
            # The mean step has the smallest rounding error.
            noted = float(numbers[-1] - numbers[0]) / (len(numbers) - 1)
    if np.isnan(noted) or (not stated and unit is None and noted == 1):
        return axis  # Pixel indices.
    return Axis(axis.name, axis.quantity, unit, float(noted))
