"""The axes of a TIFF series, and the pixel sizes, line periods and channel names it states."""

from __future__ import annotations

import datetime as dt
import math
import re
import statistics
import unicodedata
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.engine.images.times import SECONDS
from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.ingest.sources.tiff.ome import children

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree import ElementTree as ET

    from tifffile import TiffFile, TiffPage, TiffPageSeries

    from kymflow_zarr.types import Quantity


_X_RESOLUTION: Final = 282
_Y_RESOLUTION: Final = 283
_PAGE_NAME: Final = 285
_RESOLUTION_UNIT: Final = 296
# Kinds of series whose pages tifffile arranges by OME-XML or Micro-Manager's metadata.
OME_KINDS: Final = ("ome", "mmstack")
_EVEN: Final = 0.01
_EPOCH: Final = dt.datetime(1970, 1, 1)
# TIFF 6.0, ResolutionUnit: 2 is inch, 3 is centimeter; here in micrometers.
_RESOLUTION_UNITS: Final = {2: 25400.0, 3: 10000.0}
_ATOM: Final = 1e-4
_MICROMETERS: Final = {
    "picometer": 1e-6,
    "angstrom": 1e-4,
    "nanometer": 1e-3,
    "micrometer": 1.0,
    "millimeter": 1e3,
    "centimeter": 10000.0,
    "meter": 1e6,
    "inch": 25400.0,
}
_SECONDS: Final = {**SECONDS, "day": 86400.0}
_PRINTED_PRECISION: Final = 0.5000001e-6
_FLUOVIEW_LETTERS: Final = {"X": "X", "Y": "Y", "Z": "Z", "T": "T", "TIME": "T"}


@dataclass(frozen=True, slots=True)
class AxisScale:
    """The sampling along one axis as the file states it: a known unit and a valid step."""

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
_PIXELS: Final = ("", "pixel", "pixels", "px")
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
    """Return a number if it is a valid step (finite and positive), else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        step = float(value)
    except (ValueError, OverflowError):
        return None
    return step if math.isfinite(step) and step > 0 else None


def axis_scale(step: object, unit: object) -> AxisScale | None:
    """Return the scale of an axis, None unless both unit and step are valid."""
    known = unit_named(unit)
    good = step_or_none(step)
    return None if known is None or good is None else AxisScale(*known, good)


def scales_of(
    tif: TiffFile, series: TiffPageSeries, pixels: ET.Element | None
) -> dict[str, AxisScale]:
    """Return the sampling along each axis as the file states it.

    Resolution tags count in ImageJ files only: other writers put print resolutions
    there (72 or 300 dpi), which are no pixel sizes.

    Parameters
    ----------
    tif : tifffile.TiffFile
        An open file.
    series : tifffile.TiffPageSeries
        One of its series.
    pixels : Element, optional
        Its Image element in OME-XML.

    Returns
    -------
    dict
        Scales by tifffile's letter of the axis; axes without a valid scale are left out.
    """
    scales: dict[str, AxisScale | None] = {}
    if series.kind == "imagej":
        scales = _imagej(tif.imagej_metadata or {}, series.keyframe)
    elif tif.is_imagej and pixels is None and series.keyframe.index == 0:
        # The description does not match the pages, but its pixel size is still valid.
        scales = _imagej(tif.imagej_metadata or {}, series.keyframe)
        scales = {letter: scales[letter] for letter in "XY"}
    elif pixels is not None:
        scales = _ome(pixels)
        if series.kind not in OME_KINDS:
            # The XML does not match the pages, but its pixel size is still valid.
            scales = {letter: scales[letter] for letter in "XY"}
    elif series.kind == "mmstack":
        scales = _micromanager((tif.micromanager_metadata or {}).get("Summary", {}))
    elif series.kind == "fluoview":
        printed = series.keyframe.tags.valueof(_PAGE_NAME)
        scales = _fluoview(tif.fluoview_metadata or {}, printed, line_scan="Y" not in series.axes)
    return {letter: scale for letter, scale in scales.items() if scale is not None}


def stated_but_unknown(
    tif: TiffFile, series: TiffPageSeries, pixels: ET.Element | None
) -> dict[str, str]:
    """Return what ImageJ and OME-XML state of axes in units or numbers that are not understood.

    Zero and pixels state nothing. Parameters as for :func:`scales_of`.

    Returns
    -------
    dict
        Step and unit as text, by tifffile's letter of the axis.
    """
    stated: dict[str, tuple[object, object]] = {}
    if series.kind == "imagej" or (tif.is_imagej and pixels is None and series.keyframe.index == 0):
        meta, page = tif.imagej_metadata or {}, series.keyframe
        unit = meta.get("unit")
        stated = {
            "X": (_pixel_step(page, _X_RESOLUTION), meta.get("xunit", unit)),
            "Y": (_pixel_step(page, _Y_RESOLUTION), meta.get("yunit", unit)),
            "Z": (meta.get("spacing"), meta.get("zunit", unit)),
            "T": (meta.get("finterval"), meta.get("tunit", "s")),
        }
    elif pixels is not None:
        stated = {
            letter: (
                pixels.get(f"PhysicalSize{letter}"),
                pixels.get(f"PhysicalSize{letter}Unit", "\u00b5m"),
            )
            for letter in "XYZ"
        }
        stated["T"] = (pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    return {
        letter: f"{str(step)[:40]} {str(unit)[:40]}"
        for letter, (step, unit) in stated.items()
        if _states_something(step) and str(unit or "pixel").strip().lower() not in _PIXELS
    }


def _states_something(step: object) -> bool:
    """Return False for a missing step, zero and NaN: programs write these for an unknown step."""
    if step is None or isinstance(step, bool):
        return False
    try:
        return abs(float(str(step))) > 0
    except ValueError:
        return bool(str(step).strip())


def channel_names_of(
    tif: TiffFile, series: TiffPageSeries, pixels: ET.Element | None, channel_count: int
) -> tuple[str, ...] | None:
    """Return the names of the channels, None unless there is one for each.

    Parameters
    ----------
    tif : tifffile.TiffFile
        An open file.
    series : tifffile.TiffPageSeries
        One of its series.
    pixels : Element, optional
        Its Image element in OME-XML.
    channel_count : int
        Number of channels of the image.

    Returns
    -------
    tuple of str or None
        ``""`` for a channel without a name among others that have one. The samples of an
        RGB channel all have its name.
    """
    names: list[str] = []
    if pixels is not None:
        for channel in children(pixels, "Channel"):
            samples = channel.get("SamplesPerPixel", "1")
            names += [channel.get("Name", "")] * (int(samples) if samples.isdecimal() else 1)
    elif series.kind == "imagej":
        meta = tif.imagej_metadata or {}
        # Labels belong to planes; they name channels only if there is no other stack axis.
        if meta.get("frames", 1) == 1 and meta.get("slices", 1) == 1:
            labels = meta.get("Labels") or ()
            names = [str(label) for label in labels]
    elif series.kind == "mmstack":
        stated = (tif.micromanager_metadata or {}).get("Summary", {}).get("ChNames")
        names = [str(name) for name in stated] if isinstance(stated, list | tuple) else []
    return tuple(names) if len(names) == channel_count and any(names) else None


def _imagej(meta: Mapping[str, Any], page: TiffPage) -> dict[str, AxisScale | None]:
    """Read ImageJ's calibration (ij.io.TiffEncoder, ij.io.FileSaver).

    Resolutions are pixels per `unit`; `yunit` and `zunit` are present where they differ. The frame
    interval is in seconds unless there is a `tunit`. ``fps`` is the playback speed, not the
    acquisition rate. A stack scanned downwards has a negative `spacing`, of which ImageJ uses the
    absolute value.
    """
    unit = meta.get("unit")
    spacing = meta.get("spacing")
    if isinstance(spacing, int | float):
        spacing = abs(spacing)
    return {
        "X": _imagej_pixel(page, _X_RESOLUTION, meta.get("xunit", unit)),
        "Y": _imagej_pixel(page, _Y_RESOLUTION, meta.get("yunit", unit)),
        "Z": axis_scale(spacing, meta.get("zunit", unit)),
        "T": axis_scale(meta.get("finterval"), meta.get("tunit", "s")),
    }


def _imagej_pixel(page: TiffPage, code: int, unit: object) -> AxisScale | None:
    """Read a pixel size in `unit`, unless the tags state another unit of length.

    ImageJ writes a unit to the tags only if it equals `unit` (ij.io.TiffEncoder). Other programs
    write centimeters, which ImageJ converts to `unit` (ij.io.FileOpener.decodeDescriptionString,
    for micrometers). Many libraries write inches by default: use them only if a pixel per `unit`
    would be smaller than an atom.
    """
    scale = axis_scale(_pixel_step(page, code), unit)
    micrometers = _RESOLUTION_UNITS.get(_resolution_unit(page))
    if scale is None or micrometers is None or scale.unit not in _MICROMETERS:
        return scale
    own = _MICROMETERS[scale.unit]
    if own == micrometers:
        return scale
    if micrometers == _MICROMETERS["inch"] and scale.step * own > _ATOM:
        return scale
    return AxisScale(scale.quantity, scale.unit, _rounded(scale.step * micrometers / own))


def _resolution_unit(page: TiffPage) -> int:
    # Without the tag, TIFF 6.0 defaults to inches; ImageJ uses the unit of the description.
    value = page.tags.valueof(_RESOLUTION_UNIT)
    return int(value) if isinstance(value, int) else 1


def _pixel_step(page: TiffPage, code: int) -> float | None:
    value = page.tags.valueof(code)
    if not isinstance(value, tuple) or len(value) != 2 or 0 in value:
        return None
    numerator, denominator = value
    return step_or_none(denominator / numerator)


def _micromanager(summary: Mapping[str, Any]) -> dict[str, AxisScale | None]:
    pixel = axis_scale(summary.get("PixelSize_um"), "um")
    return {
        "X": pixel,
        "Y": pixel,
        "Z": axis_scale(summary.get("z-step_um"), "um"),
        "T": axis_scale(summary.get("Interval_ms"), "ms"),
    }


# OME-XML ------------------------------------------------------------------------------------


def ome_image(root: ET.Element, tif: TiffFile, series: TiffPageSeries) -> ET.Element | None:
    """Return the Image element of a series, None if it is ambiguous."""
    images = list(children(root, "Image"))
    own = [each for each in tif.series if each.kind in OME_KINDS]
    if series.kind == "mmstack" and images:
        return images[0]
    if series not in own:
        # No element matches the pages; require at least the size of a plane to match.
        page = series.keyframe
        size = {"SizeX": page.imagewidth, "SizeY": page.imagelength}
        pixels = [each for image in images for each in children(image, "Pixels")]
        fits = all(each.get(key) == str(n) for each in pixels for key, n in size.items())
        return images[0] if len(images) == 1 and pixels and fits else None
    if len(images) == len(own):
        return images[own.index(series)]
    # tifffile skips images without pixels; match the remaining ones by name.
    named = [each for each in images if each.get("Name") == series.name]
    return named[0] if len(named) == 1 else None


def acquired_local_epoch_ns(image: ET.Element) -> int | None:
    """Return the acquisition date of OME-XML in the microscope's local time."""
    for name in ("AcquisitionDate", "AcquiredDate"):
        for element in children(image, name):
            try:
                moment = dt.datetime.fromisoformat((element.text or "").strip())
            except ValueError:
                continue
            since = moment.replace(tzinfo=None) - _EPOCH
            return ((since.days * 86400 + since.seconds) * 10**6 + since.microseconds) * 1000
    return None


def frame_times_s(pixels: ET.Element) -> tuple[float, ...] | None:
    """Return the time of each frame from OME-XML, None unless all are stated."""
    times: dict[int, tuple[tuple[int, int], float]] = {}
    for plane in children(pixels, "Plane"):
        try:
            t, z, c = (int(plane.get(f"The{letter}", "0")) for letter in "TZC")
            time = float(plane.get("DeltaT", "nan"))
        except ValueError:
            continue
        unit = unit_named(plane.get("DeltaTUnit", "s"))
        if math.isfinite(time) and unit is not None and unit[1] in _SECONDS:
            # The time of a frame is that of its first plane.
            stated = ((z, c), time * _SECONDS[unit[1]])
            times[t] = min(times.get(t, stated), stated)
    count = pixels.get("SizeT", "1")
    wanted = range(int(count)) if count.isdecimal() else range(0)
    if len(wanted) < 2 or any(t not in times for t in wanted):
        return None
    return tuple(_rounded(times[t][1]) for t in wanted)


def even_step(times: Sequence[float]) -> float | None:
    """Return the interval between times, None unless all agree within 1 %."""
    intervals = [after - before for before, after in pairwise(times)]
    mean = (times[-1] - times[0]) / len(intervals)
    even = mean > 0 and all(abs(each - mean) <= _EVEN * mean for each in intervals)
    return _rounded(mean) if even else None


def usual_step(times: Sequence[float]) -> float | None:
    """Return the interval between times, their median where they are not even."""
    gaps = [after - before for before, after in pairwise(times)]
    step = even_step(times) or _rounded(statistics.median(gaps))
    return step if step > 0 else None


def _rounded(value: float) -> float:
    # Remove rounding noise in the last digits.
    return float(f"{value:.12g}")


def _ome(pixels: ET.Element) -> dict[str, AxisScale | None]:
    """Read pixel sizes and the time increment of OME-XML, with the schema's default units."""
    scales = {
        letter: axis_scale(
            pixels.get(f"PhysicalSize{letter}"), pixels.get(f"PhysicalSize{letter}Unit", "\u00b5m")
        )
        for letter in "XYZ"
    }
    scales["T"] = axis_scale(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
    times = frame_times_s(pixels) if scales["T"] is None else None
    step = None if times is None else usual_step(times)
    if step is not None:
        scales["T"] = AxisScale("time", "second", step)
    return scales


# FluoView -----------------------------------------------------------------------------------


def _fluoview(
    meta: Mapping[str, Any], printed: object, *, line_scan: bool
) -> dict[str, AxisScale | None]:
    """Read the dimensions of a FluoView header: (name, size, offset, resolution, unit)."""
    stated = _fluoview_printed(printed)
    scales: dict[str, AxisScale | None] = {}
    for name, size, _, resolution, unit in meta.get("Dimensions", ()):
        letter = _FLUOVIEW_LETTERS.get(str(name).upper())
        if letter is not None and letter not in scales:
            line_count = int(size) if line_scan and letter == "T" else None
            scales[letter] = _agreed(axis_scale(resolution, unit), stated.get(letter), line_count)
    return scales


def _agreed(
    header: AxisScale | None, printed: AxisScale | None, line_count: int | None
) -> AxisScale | None:
    """Choose between the two places where FluoView states a resolution.

    The page name states the true value with six decimals. The header has full precision, but for
    line scans it divides the duration by the number of intervals, which is one less than the number
    of lines: 35.1 s of 30000 lines give 1.170039 ms there, but 1.17 ms in the page name and in the
    instrument's text file. Correct the header's value and use it if it agrees with the printed one.
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
    scales: dict[str, AxisScale] = {}
    for name, resolution, unit in columns:
        letter = _FLUOVIEW_LETTERS.get(name.upper())
        scale = axis_scale(resolution, unit)
        if letter is not None and scale is not None:
            scales[letter] = scale
    return scales


QUANTITY_OF_NAME: Final[dict[str, Quantity]] = {
    "t": "time",
    "c": "channel",
    "z": "space",
    "y": "space",
    "x": "space",
}

_KNOWN: Final = {"T": "t", "C": "c", "S": "c", "Z": "z", "Y": "y", "X": "x"}
_FOR_UNKNOWN: Final = ("z", "c", "t", "y", "x")
_OME_ORDER: Final = ("t", "c", "z", "y", "x")
# Without y the rows are line scans, so t precedes x directly.
_LINE_SCAN_ORDER: Final = ("c", "z", "t", "y", "x")
_MAX_NDIM: Final = 5


@dataclass(frozen=True, slots=True)
class AxisPlan:
    """The mapping from dimensions of a TIFF series to named axes.

    Parameters
    ----------
    source_axes : str
        tifffile's letters, one per dimension of the series.
    source_shape : tuple of int
        Shape of the series.
    names : tuple of str
        Names of the axes of the image.
    dims : tuple of tuple of int
        For each axis its source dimensions, the outer one first: usually one, or two if channels
        and RGB samples are merged. A source dimension that is not listed has length 1 and is
        dropped.
    """

    source_axes: str
    source_shape: tuple[int, ...]
    names: tuple[str, ...]
    dims: tuple[tuple[int, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image with its axes in the order of `names`."""
        return tuple(math.prod(self.source_shape[d] for d in dims) for dims in self.dims)

    def letter(self, axis: int) -> str:
        """Return the source letter under which the calibration of an axis is stored."""
        return self.source_axes[self.dims[axis][0]]


def plan_axes(source_axes: str, source_shape: Sequence[int], *, where: str) -> AxisPlan:
    """Name the dimensions of a series and put them in OME order.

    The order is ``t c z y x``; without ``y`` but with ``t`` and ``x`` (line scans) it
    is ``c z t x``. RGB samples (``S``) are channels; channels times samples become one
    axis. Other letters take the free names among z, c, t, in that order, and keep their relative
    order.

    Parameters
    ----------
    source_axes : str
        tifffile's letters, such as ``"TZCYX"``, ``"YXS"`` or ``"TX"``.
    source_shape : sequence of int
        Length of each dimension.
    where : str
        The file, for messages.

    Returns
    -------
    AxisPlan

    Raises
    ------
    SourceFileError
        The image has fewer than two dimensions, or more than five that are longer
        than one.
    """
    shape = tuple(int(n) for n in source_shape)
    dims = list(range(len(shape)))
    if len(_grouped(source_axes, dims)) > _MAX_NDIM:
        dims = [d for d in dims if shape[d] != 1 or source_axes[d] in "YX"]
    groups = _grouped(source_axes, dims)
    if not 2 <= len(groups) <= _MAX_NDIM:
        raise SourceFileError(
            f"the image has {len(groups)} dimensions (axes {source_axes}, "
            f"shape {shape}); 2 to {_MAX_NDIM} are supported",
            where=where,
            hint="Split the file, or reshape it and write it again.",
        )
    named = _named(source_axes, groups)
    line_scan = "y" not in named and "t" in named and "x" in named
    order = _LINE_SCAN_ORDER if line_scan else _OME_ORDER
    names = tuple(name for name in order if name in named)
    return AxisPlan(source_axes, shape, names, tuple(named[name] for name in names))


def _grouped(axes: str, dims: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the source dimensions of each axis, with samples merged into the channels."""
    channel = next((d for d in dims if axes[d] == "C"), None)
    sample = next((d for d in dims if axes[d] == "S"), None)
    if channel is None or sample is None:
        return [(d,) for d in dims]
    return [(d, sample) if d == channel else (d,) for d in dims if d != sample]


def _named(axes: str, groups: Sequence[tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    named: dict[str, tuple[int, ...]] = {}
    unknown: list[tuple[int, ...]] = []
    for group in groups:
        name = _KNOWN.get(axes[group[0]])
        # A letter may occur twice in hand-written metadata.
        if name is None or name in named:
            unknown.append(group)
        else:
            named[name] = group
    free = [name for name in _FOR_UNKNOWN if name not in named][: len(unknown)]
    taken = [name for name in _OME_ORDER if name in free]
    return named | dict(zip(taken, unknown, strict=True))
