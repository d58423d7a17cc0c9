"""Axes: names, quantities and units, and their expression in OME-Zarr."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from numbers import Real
from typing import Final, Protocol

from kymflow_zarr.errors import ArgumentError, ArgumentTypeError
from kymflow_zarr.types import Axis, Quantity

_DEFAULTS: Final = {2: "yx", 3: "zyx", 4: "czyx", 5: "tczyx"}
_QUANTITIES: Final[dict[str, Quantity]] = {
    "t": "time",
    "c": "channel",
    "z": "space",
    "y": "space",
    "x": "space",
    "time": "time",
    "channel": "channel",
    "channels": "channel",
    "space": "space",
}
# Spellings of microscopes and ImageJ, and the UDUNITS-2 names that OME-Zarr 0.5 recommends.
_UNITS: Final = {
    "um": "micrometer",
    "µm": "micrometer",  # U+00B5 MICRO SIGN
    "μm": "micrometer",  # U+03BC GREEK SMALL LETTER MU
    "micron": "micrometer",
    "microns": "micrometer",
    "micrometre": "micrometer",
    "nm": "nanometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "s": "second",
    "sec": "second",
    "seconds": "second",
    "ms": "millisecond",
    "msec": "millisecond",
    "us": "microsecond",
    "µs": "microsecond",
    "min": "minute",
    "h": "hour",
}
_NO_UNIT: Final = frozenset({"", "px", "pixel", "pixels", "none"})


class HasQuantity(Protocol):
    """An axis: a value or a document."""

    @property
    def quantity(self) -> str:
        """The quantity along the axis."""


def default_axis_names(ndim: int) -> tuple[str, ...]:
    """Return the default axis names of an image.

    2-D ``y x``, 3-D ``z y x``, 4-D ``c z y x``, 5-D ``t c z y x``.

    Raises
    ------
    ArgumentError
        If an image of `ndim` dimensions cannot be stored.
    """
    if ndim not in _DEFAULTS:
        raise ArgumentError(
            f"an image has 2 to 5 dimensions, not {ndim}",
            hint="Squeeze or reshape it, or keep it with save_array_artifact().",
        )
    return tuple(_DEFAULTS[ndim])


def channel_count(axes: Sequence[HasQuantity], shape: Sequence[int]) -> int:
    """Return the number of channels of an image, 1 without a channel axis."""
    sizes = zip(axes, shape, strict=True)
    return next((size for axis, size in sizes if axis.quantity == "channel"), 1)


def normalize_unit(unit: str | None) -> str | None:
    """Return the UDUNITS-2 name of a unit; None for pixels and for no unit."""
    if unit is None or unit.strip().lower() in _NO_UNIT:
        return None
    stripped = unit.strip()
    return _UNITS.get(stripped, _UNITS.get(stripped.lower(), stripped))


def normalize_axes(axes: str | Sequence[str | Axis] | None, ndim: int) -> tuple[Axis, ...]:
    """Return one axis per dimension from a caller's `axes` argument.

    Parameters
    ----------
    axes : str, sequence of str or Axis, or None
        ``"tyx"``, ``["t", "y", "x"]``, or :class:`Axis` values with calibration. None
        takes the defaults of :func:`default_axis_names`.
    ndim : int
        Number of dimensions of the image.

    Raises
    ------
    ArgumentError
        If there are not `ndim` of them, if two have the same name, or if a step is not
        a positive number.
    ArgumentTypeError
        If `axes` is not a sequence, or a field of an axis has a wrong type.
    """
    if axes is None or type(axes) is str:
        return _named_axes(axes, ndim)
    if not isinstance(axes, str) and (
        isinstance(axes, Mapping | AbstractSet | bytes) or not isinstance(axes, Iterable)
    ):
        default = default_axis_names(ndim)
        raise ArgumentTypeError(
            f"axes are a str or a sequence, one for each dimension, not a {type(axes).__name__}",
            where="axes",
            hint=f"Name them in order, as {''.join(default)!r}, or give a list of Axis(...).",
        )
    return _checked_axes(axes, ndim)


# Cached: the images of an experiment share a few kinds of axes.
@functools.lru_cache(maxsize=64)
def _named_axes(axes: str | None, ndim: int) -> tuple[Axis, ...]:
    return _checked_axes(default_axis_names(ndim) if axes is None else axes, ndim)


def _checked_axes(axes: Iterable[str | Axis], ndim: int) -> tuple[Axis, ...]:
    default = default_axis_names(ndim)
    values = tuple(_axis(axis) for axis in axes)
    if len(values) != ndim:
        raise ArgumentError(
            f"{len(values)} axes were named for an image of {ndim} dimensions",
            where="axes",
            hint=f"Name one for each dimension, as {''.join(default)!r}.",
        )
    names = [axis.name for axis in values]
    if len(set(names)) != len(names):
        raise ArgumentError(f"axis names must differ from each other, not {names}", where="axes")
    return values


def calibrate(
    axes: Sequence[Axis], *, line_period_s: float | None, pixel_size_um: float | None
) -> tuple[Axis, ...]:
    """Return the axes with the line period and pixel size as steps.

    Parameters
    ----------
    axes : sequence of Axis
        From :func:`normalize_axes`.
    line_period_s : float, optional
        Seconds from one line to the next: the step of the time axis. Without a time axis the
        rows are the lines, and the second to last axis becomes time.
    pixel_size_um : float, optional
        Micrometers from one pixel to the next, along ``x`` and ``y`` if they are space.

    Raises
    ------
    ArgumentError
        If a value is not positive.
    ArgumentTypeError
        If a value is not a number.
    """
    _check_step(line_period_s, "line_period_s", hint="Give the seconds from line to line.")
    _check_step(
        pixel_size_um,
        "pixel_size_um",
        hint="Give one number in micrometers; where y and x differ, give "
        'axes=[Axis("y", "space", "um", 0.5), Axis("x", "space", "um", 0.25)].',
    )
    return _calibrated(tuple(axes), line_period_s, pixel_size_um)


# Cached as above; typed, since 1 and 1.0 would be one key.
@functools.lru_cache(maxsize=64, typed=True)
def _calibrated(
    axes: tuple[Axis, ...], line_period_s: float | None, pixel_size_um: float | None
) -> tuple[Axis, ...]:
    filled = list(axes)
    if line_period_s is not None:
        times = [i for i, axis in enumerate(filled) if axis.quantity == "time"]
        row = times[0] if times else len(filled) - 2
        filled[row] = _axis(Axis(filled[row].name, "time", "second", line_period_s))
    if pixel_size_um is not None:
        for i in (len(filled) - 2, len(filled) - 1):
            if filled[i].quantity == "space":
                filled[i] = _axis(Axis(filled[i].name, "space", "micrometer", pixel_size_um))
    return tuple(filled)


def _axis(axis: object) -> Axis:
    if isinstance(axis, str):
        # np.str_ is a str, too; documents need plain ones.
        name = str.__str__(axis).strip()
        name = name.lower() if len(name) == 1 else name
        axis = Axis(name, _QUANTITIES.get(name.lower(), "other"))
    if not isinstance(axis, Axis):
        raise ArgumentTypeError(f"an axis is a name or an Axis, not {axis!r}", where="axes")
    for field, value in (("name", axis.name), ("quantity", axis.quantity), ("unit", axis.unit)):
        if not (isinstance(value, str) or (field == "unit" and value is None)):
            raise ArgumentTypeError(
                f"the {field} of axis {axis.name!r} must be a str, not {value!r}",
                where="axes",
                hint='As in Axis("y", "space", "um", 0.5): name, quantity, unit, step.',
            )
    if not axis.name.strip():
        raise ArgumentError("an axis needs a name", where="axes")
    if axis.quantity not in {"space", "time", "channel", "other"}:
        raise ArgumentError(
            f"axis {axis.name!r} has the unknown quantity {axis.quantity!r}",
            where="axes",
            hint='It is one of "space", "time", "channel", "other".',
        )
    _check_step(
        axis.step,
        f"the step of axis {axis.name!r}",
        where="axes",
        hint="Leave it None where it is not known.",
    )
    step = None if axis.step is None else float(axis.step)
    return Axis(str.__str__(axis.name), axis.quantity, normalize_unit(axis.unit), step)


def _check_step(step: object, what: str, *, hint: str, where: str | None = None) -> None:
    if step is None:
        return
    if isinstance(step, bool) or not isinstance(step, Real):
        raise ArgumentTypeError(
            f"{what} must be a number, not {type(step).__name__}", where=where, hint=hint
        )
    try:
        value = float(step)
    except OverflowError:
        raise ArgumentError(f"{what} is larger than any float", where=where, hint=hint) from None
    if not (math.isfinite(value) and value > 0):
        raise ArgumentError(
            f"{what} must be a positive number, not {step!r}", where=where, hint=hint
        )


def ome_axes(axes: Sequence[Axis]) -> tuple[Axis, ...] | None:
    """Return the axes as expressed in OME-Zarr 0.5, or None if they cannot be.

    A line scan has one space axis, which OME-Zarr does not allow. Its time axis, the last of
    them, is then written as the space axis ``y``, without a unit and with its true step.

    Source: OME-Zarr 0.5, "multiscales" metadata, https://ngff.openmicroscopy.org/0.5/.
    """
    return _ome_axes(tuple(axes))


# Cached: the images of an experiment share a few axes.
@functools.lru_cache(maxsize=64)
def _ome_axes(axes: tuple[Axis, ...]) -> tuple[Axis, ...] | None:
    if _is_ome(axes):
        return axes
    times = [i for i, axis in enumerate(axes) if axis.quantity == "time"]
    spaces = [i for i, axis in enumerate(axes) if axis.quantity == "space"]
    if not times or len(spaces) != 1:
        return None
    expressed = list(axes)
    line = sorted((times[-1], spaces[0]))
    for i, name in zip(line, "yx", strict=True):
        axis = expressed[i]
        expressed[i] = Axis(
            name, "space", axis.unit if axis.quantity == "space" else None, axis.step
        )
    return tuple(expressed) if _is_ome(expressed) else None


def array_dimension_names(axes: Sequence[Axis]) -> tuple[str, ...]:
    """Return the ``dimension_names`` of the array that holds the pixels of an image.

    OME-Zarr 0.5: the "dimension_names" of the array of a level "MUST match the names in the
    'axes' metadata", so a line scan's array has the names of its OME axes. The array of an
    image that OME-Zarr cannot express has the names of the true axes.
    """
    return tuple(axis.name for axis in ome_axes(axes) or axes)


def _is_ome(axes: Sequence[Axis]) -> bool:
    quantities = [axis.quantity for axis in axes]
    # "The length of 'axes' ... MUST be 2-5": true for all our images.
    # "The 'axes' MUST contain 2 or 3 entries of type:space".
    if quantities.count("space") not in (2, 3):
        return False
    # "... MAY contain one additional entry of type:time and MAY contain one additional
    # entry of type:channel or a null / custom type."
    if quantities.count("time") > 1 or quantities.count("channel") + quantities.count("other") > 1:
        return False
    # "The entries MUST be ordered by type where the time axis must come first (if present),
    # followed by the channel or custom axis (if present) and the axes of type space."
    rank = {"time": 0, "channel": 1, "other": 1, "space": 2}
    ranks = [rank[quantity] for quantity in quantities]
    if ranks != sorted(ranks):
        return False
    # "If there are three spatial axes where two correspond to the image plane (yx) and images
    # are stacked along the other (anisotropic) axis (z), the spatial axes SHOULD be ordered zyx."
    names = [axis.name for axis in axes if axis.quantity == "space"]
    usual = [name for name in "zyx" if name in names]
    return [name for name in names if name in "zyx"] == usual
