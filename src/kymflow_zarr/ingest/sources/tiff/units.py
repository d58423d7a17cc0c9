"""Units and steps as TIFF writers spell them."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kymflow_zarr.types import Quantity

__all__ = ["AxisScale", "axis_scale", "step_or_none", "unit_named"]


@dataclass(frozen=True, slots=True)
class AxisScale:
    """What a file says of the samples along one axis: a known unit and a sane step."""

    quantity: Quantity
    unit: str
    step: float


def _spellings(names: dict[str, str]) -> dict[str, str]:
    return {spelling: unit for unit, many in names.items() for spelling in many.split()}


# Keys are NFKC-normalized: both micro signs are the Greek mu, the angstrom sign is a letter.
_LENGTHS: Final = _spellings(
    {
        "picometer": "pm picometer picometers picometre picometres",
        "angstrom": "\u00c5 angstrom angstroms",
        "nanometer": "nm nanometer nanometers nanometre nanometres",
        "micrometer": "um \u03bcm micron microns micrometer micrometers micrometre micrometres",
        "millimeter": "mm millimeter millimeters millimetre millimetres",
        "centimeter": "cm centimeter centimeters centimetre centimetres",
        "decimeter": "dm decimeter decimeters decimetre decimetres",
        "meter": "m meter meters metre metres",
        "kilometer": "km kilometer kilometers kilometre kilometres",
        "megameter": "Mm",
        "inch": "in inch inches",
        "foot": "ft foot feet",
    }
)
_TIMES: Final = _spellings(
    {
        "nanosecond": "ns nsec nanosecond nanoseconds",
        "microsecond": "us \u03bcs usec \u03bcsec microsecond microseconds",
        "millisecond": "ms msec millisecond milliseconds",
        "second": "s sec secs second seconds",
        "minute": "min mins minute minutes",
        "hour": "h hr hrs hour hours",
        "day": "d day days",
    }
)
_ESCAPE: Final = re.compile(r"\\u([0-9A-Fa-f]{4})")


def unit_named(text: object) -> tuple[Quantity, str] | None:
    r"""Return the quantity and UDUNITS-2 name of a unit as a file spells it.

    Case matters first (``Mm`` is not ``mm``) and is ignored next. ImageJ writes the
    micro sign as the six characters ``\u00B5``. None for pixels and unknown units.
    """
    if not isinstance(text, str):
        return None
    plain = _ESCAPE.sub(lambda m: chr(int(m[1], 16)), text)
    plain = unicodedata.normalize("NFKC", plain).strip().rstrip(".")
    for spelling in (plain, plain.lower()):
        if spelling in _LENGTHS:
            return "space", _LENGTHS[spelling]
        if spelling in _TIMES:
            return "time", _TIMES[spelling]
    return None


def step_or_none(value: object) -> float | None:
    """Return a number as a step: finite and above zero, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        step = float(value)
    except (ValueError, OverflowError):
        return None
    return step if math.isfinite(step) and step > 0 else None


def axis_scale(step: object, unit: object) -> AxisScale | None:
    """Return the scale of an axis, or None unless both unit and step make sense."""
    known = unit_named(unit)
    good = step_or_none(step)
    return None if known is None or good is None else AxisScale(*known, good)
