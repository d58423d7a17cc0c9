"""Pixel sizes, line periods and channel names that a TIFF file states."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tifffile import TiffFile, TiffPage, TiffPageSeries

    from kymflow_zarr.types import Quantity

__all__ = ["AxisScale", "channel_names_of", "scales_of", "unit_named"]

_X_RESOLUTION: Final = 282
_Y_RESOLUTION: Final = 283
_PAGE_NAME: Final = 285
_PRINTED_PRECISION: Final = 0.5000001e-6
_FLUOVIEW_LETTERS: Final = {"X": "X", "Y": "Y", "Z": "Z", "T": "T", "TIME": "T"}


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


def scales_of(tif: TiffFile, series: TiffPageSeries) -> dict[str, AxisScale]:
    """Return what a file states about the samples along its axes.

    Resolution tags count in ImageJ files only: other writers put print resolutions
    there (72 or 300 dpi), which are no pixel sizes.

    Parameters
    ----------
    tif : tifffile.TiffFile
        An open file.
    series : tifffile.TiffPageSeries
        One of its series.

    Returns
    -------
    dict
        By tifffile's letter of the axis; axes of which nothing sane is known are absent.
    """
    found: dict[str, AxisScale | None] = {}
    if series.kind == "imagej":
        found = _imagej(tif.imagej_metadata or {}, series.keyframe)
    elif series.kind == "ome":
        pixels = _ome_pixels(tif, series)
        found = {} if pixels is None else _ome(pixels)
    elif series.kind == "fluoview":
        printed = series.keyframe.tags.valueof(_PAGE_NAME)
        found = _fluoview(tif.fluoview_metadata or {}, printed, line_scan="Y" not in series.axes)
    return {letter: scale for letter, scale in found.items() if scale is not None}


def channel_names_of(
    tif: TiffFile, series: TiffPageSeries, channel_count: int
) -> tuple[str, ...] | None:
    """Return the names of the channels, None unless there is one for each.

    Parameters
    ----------
    tif : tifffile.TiffFile
        An open file.
    series : tifffile.TiffPageSeries
        One of its series.
    channel_count : int
        Number of channels of the image.

    Returns
    -------
    tuple of str or None
        ``""`` for a channel without a name among others that have one.
    """
    names: list[str] = []
    if series.kind == "ome":
        pixels = _ome_pixels(tif, series)
        if pixels is not None:
            names = [e.get("Name", "") for e in pixels if _local_name(e) == "Channel"]
    elif series.kind == "imagej":
        meta = tif.imagej_metadata or {}
        # Labels belong to planes; they name channels where there is no other axis.
        if meta.get("frames", 1) == 1 and meta.get("slices", 1) == 1:
            labels = meta.get("Labels") or ()
            names = [str(label) for label in labels]
    return tuple(names) if len(names) == channel_count and any(names) else None


def _imagej(meta: Mapping[str, Any], page: TiffPage) -> dict[str, AxisScale | None]:
    """Read ImageJ's calibration (ij.io.TiffEncoder, ij.io.FileSaver).

    Resolutions are pixels per `unit`; `yunit` and `zunit` occur where they differ.
    The frame interval is in seconds unless there is a `tunit`.
    """
    unit = meta.get("unit")
    per_frame = step_or_none(meta.get("finterval"))
    fps = step_or_none(meta.get("fps"))
    if per_frame is None and fps is not None:
        per_frame = 1.0 / fps
    return {
        "X": axis_scale(_pixel_step(page, _X_RESOLUTION), meta.get("xunit", unit)),
        "Y": axis_scale(_pixel_step(page, _Y_RESOLUTION), meta.get("yunit", unit)),
        "Z": axis_scale(meta.get("spacing"), meta.get("zunit", unit)),
        "T": axis_scale(per_frame, meta.get("tunit", "s")),
    }


def _pixel_step(page: TiffPage, code: int) -> float | None:
    value = page.tags.valueof(code)
    if not isinstance(value, tuple) or len(value) != 2 or 0 in value:
        return None
    numerator, denominator = value
    return step_or_none(denominator / numerator)


def _ome(pixels: ET.Element) -> dict[str, AxisScale | None]:
    """Read sizes and the time increment of OME-XML, with the units it takes as given."""
    found = {
        letter: axis_scale(
            pixels.get(f"PhysicalSize{letter}"), pixels.get(f"PhysicalSize{letter}Unit", "\u00b5m")
        )
        for letter in "XYZ"
    }
    found["T"] = axis_scale(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    return found


def _ome_pixels(tif: TiffFile, series: TiffPageSeries) -> ET.Element | None:
    """Return the Pixels element of a series, None where it cannot be told."""
    try:
        root = ET.fromstring(tif.ome_metadata or "")
    except ET.ParseError:
        return None
    images = [e for e in root if _local_name(e) == "Image"]
    if len(images) == len(tif.series):
        image = images[tif.series.index(series)]
    else:
        # tifffile leaves out images without pixels; a name may tell the rest apart.
        named = [e for e in images if e.get("Name") == series.name]
        if len(named) != 1:
            return None
        (image,) = named
    return next((e for e in image if _local_name(e) == "Pixels"), None)


def _local_name(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _fluoview(
    meta: Mapping[str, Any], printed: object, *, line_scan: bool
) -> dict[str, AxisScale | None]:
    """Read the dimensions of a FluoView header: (name, size, offset, resolution, unit)."""
    stated = _fluoview_printed(printed)
    found: dict[str, AxisScale | None] = {}
    for name, size, _, resolution, unit in meta.get("Dimensions", ()):
        letter = _FLUOVIEW_LETTERS.get(str(name).upper())
        if letter is not None and letter not in found:
            line_count = int(size) if line_scan and letter == "T" else None
            found[letter] = _agreed(axis_scale(resolution, unit), stated.get(letter), line_count)
    return found


def _agreed(
    header: AxisScale | None, printed: AxisScale | None, line_count: int | None
) -> AxisScale | None:
    """Choose between the two places where FluoView states a resolution.

    The page name prints the true one with six decimals. The header has all digits,
    but for line scans divides the duration by the number of intervals, one less than
    that of lines: 35.1 s of 30000 lines are 1.170039 ms there, 1.17 ms in the page
    name and in the instrument's text file. The header's, so corrected, is taken as
    long as it agrees with what is printed.
    """
    if header is None or printed is None or header.unit != printed.unit:
        return printed or header
    step = header.step if line_count is None else header.step * (line_count - 1) / line_count
    agrees = abs(step - printed.step) <= _PRINTED_PRECISION
    return AxisScale(header.quantity, header.unit, step) if agrees else printed


def _fluoview_printed(text: object) -> dict[str, AxisScale]:
    """Read the section "Primary Dimensions" of the page name, a table with tabs."""
    if not isinstance(text, str):
        return {}
    section = text.partition("[Primary Dimensions]")[2].partition("[")[0]
    rows: dict[str, Sequence[str]] = {}
    for line in section.splitlines():
        head, *cells = line.split("\t")
        rows.setdefault(head.strip(), [cell.strip() for cell in cells])
    columns = zip(
        rows.get("Name", ()), rows.get("Resolution", ()), rows.get("Units", ()), strict=False
    )
    found: dict[str, AxisScale] = {}
    for name, resolution, unit in columns:
        letter = _FLUOVIEW_LETTERS.get(name.upper())
        scale = axis_scale(resolution, unit)
        if letter is not None and scale is not None:
            found[letter] = scale
    return found
