"""Which dimension of an image is which of TIFF's axes, and in what units. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from kymflow_zarr.types import Axis, Quantity

# Order of ImageJ's dimensions, which OME-TIFF can have, too.
_ORDER: Final = "TZCYX"
_BY_QUANTITY: Final[dict[Quantity, str]] = {"time": "T", "space": "Z", "channel": "C"}
_RATIONAL_MAX: Final = 2**32 - 1
_RATIONAL_TOLERANCE: Final = Fraction(1, 10**9)

# ImageJ takes any text as a unit; "um" and "sec" are its own spellings.
_IMAGEJ_UNITS: Final = {
    "picometer": "pm",
    "nanometer": "nm",
    "micrometer": "um",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "inch": "inch",
    "nanosecond": "ns",
    "microsecond": "us",
    "millisecond": "ms",
    "second": "sec",
    "minute": "min",
    "hour": "h",
    "day": "d",
}
# OME-XML 2016-06, UnitsLength and UnitsTime.
_OME_LENGTHS: Final = {
    "picometer": "pm",
    "angstrom": "\u00c5",
    "nanometer": "nm",
    "micrometer": "\u00b5m",
    "millimeter": "mm",
    "centimeter": "cm",
    "decimeter": "dm",
    "meter": "m",
    "kilometer": "km",
    "inch": "in",
    "foot": "ft",
}
_OME_TIMES: Final = {
    "nanosecond": "ns",
    "microsecond": "\u00b5s",
    "millisecond": "ms",
    "second": "s",
    "minute": "min",
    "hour": "h",
    "day": "d",
}


@dataclass(frozen=True, slots=True)
class TiffAxes:
    """The dimensions of an image in the order of the file.

    Parameters
    ----------
    letters : str
        A part of ``TZCYX``, in that order.
    order : tuple of int
        For each letter the dimension of the image: the file holds
        ``pixels.transpose(order)``.
    axes : tuple of Axis
        For each letter the axis.
    """

    letters: str
    order: tuple[int, ...]
    axes: tuple[Axis, ...]

    def axis(self, letter: str) -> Axis | None:
        """Return the axis of a letter, None if there is none."""
        return self.axes[self.letters.index(letter)] if letter in self.letters else None


def tiff_axes(axes: Sequence[Axis]) -> TiffAxes:
    """Give each axis one of TIFF's letters.

    Names count first (``t z c y x``), then quantities. Each row of a line scan ``(t, x)``
    is a moment, so without ``y`` the time axis becomes ``Y``; its unit goes on saying that
    it is time. What is left over takes the letters that are free.
    """
    left = list(range(len(axes)))
    letter_of: dict[int, str] = {}

    def give(letter: str, *choices: int | None) -> None:
        taken = next((i for i in choices if i is not None and i in left), None)
        if taken is not None:
            left.remove(taken)
            letter_of[taken] = letter

    def named(name: str) -> int | None:
        return next((i for i in left if axes[i].name.lower() == name), None)

    def of(quantity: Quantity) -> int | None:
        return next((i for i in reversed(left) if axes[i].quantity == quantity), None)

    def last(*without: Quantity) -> int | None:
        fitting = [i for i in left if axes[i].quantity not in without and i != named("z")]
        return fitting[-1] if fitting else None

    give("X", named("x"), last("channel"), left[-1])
    give("Y", named("y"), last("channel", "time"), of("time"), of("space"), left[-1])
    for letter in "TZC":
        give(letter, named(letter.lower()))
    for quantity, letter in _BY_QUANTITY.items():
        if letter not in letter_of.values():
            give(letter, of(quantity))
    for letter in "ZTC":
        if letter not in letter_of.values() and left:
            give(letter, left[0])
    order = tuple(sorted(letter_of, key=lambda i: _ORDER.index(letter_of[i])))
    return TiffAxes("".join(letter_of[i] for i in order), order, tuple(axes[i] for i in order))


def samples_per_unit(axis: Axis | None) -> tuple[int, int] | None:
    """Return TIFF's resolution of an axis as a RATIONAL, None where it is not known.

    TIFF 6.0: "RATIONAL: two LONGs: the first represents the numerator of a fraction; the
    second, the denominator". None, too, where no two of them come near enough.
    """
    if axis is None or axis.step is None or imagej_unit(axis) is None:
        return None
    exact = 1 / Fraction(axis.step)
    largest = min(_RATIONAL_MAX, int(_RATIONAL_MAX / exact))
    if largest < 1:
        return None
    near = exact.limit_denominator(largest)
    if abs(near - exact) > exact * _RATIONAL_TOLERANCE:
        return None
    return near.numerator, near.denominator


def imagej_unit(axis: Axis) -> str | None:
    """Return a unit as ImageJ spells it, None where none is known."""
    if axis.unit is None:
        return None
    unit = _IMAGEJ_UNITS.get(axis.unit, axis.unit)
    # It becomes a line of a Java properties file.
    plain = unit.isascii() and unit.isprintable() and not set(unit) & set("\\=:#!")
    return unit if plain and unit.strip() == unit else None


def ome_length(axis: Axis | None) -> str | None:
    """Return a unit of length as OME-XML spells it, None for any other."""
    return None if axis is None or axis.unit is None else _OME_LENGTHS.get(axis.unit)


def ome_time(axis: Axis | None) -> str | None:
    """Return a unit of time as OME-XML spells it, None for any other."""
    return None if axis is None or axis.unit is None else _OME_TIMES.get(axis.unit)
