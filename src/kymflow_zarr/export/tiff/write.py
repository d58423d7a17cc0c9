"""Write images as TIFF files that Fiji opens with the right axes and calibration."""

from __future__ import annotations

import filecmp
import itertools
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import tifffile

from kymflow_zarr.engine.images.times import kept_times_s
from kymflow_zarr.errors import (
    CorruptDataError,
    KymflowZarrError,
    UnsupportedDataError,
)
from kymflow_zarr.export.complete import give_name, hidden_file, taken
from kymflow_zarr.export.tiff.display import Display
from kymflow_zarr.schema.image import channel_color
from kymflow_zarr.types import ArrayLike, Axis, Quantity, StrPath

if TYPE_CHECKING:
    import numpy.typing as npt

    from kymflow_zarr.engine.image import StoredImage


# The order of ImageJ's dimensions, which is valid in OME-TIFF too.
_ORDER: Final = "TZCYX"
_BY_QUANTITY: Final[dict[Quantity, str]] = {"time": "T", "space": "Z", "channel": "C"}
_RATIONAL_MAX: Final = 2**32 - 1
_RATIONAL_TOLERANCE: Final = Fraction(1, 10**9)

# ImageJ accepts any text as a unit; "um" and "sec" are its own spellings.
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

    Match by name first (``t z c y x``), then by quantity. Each row of a line scan ``(t, x)`` is a
    moment, so without ``y`` the time axis becomes ``Y`` and keeps its unit of time. Remaining axes
    take the free letters.
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
    """Return the TIFF resolution of an axis as a RATIONAL, None if it is unknown.

    TIFF 6.0: "RATIONAL: two LONGs: the first represents the numerator of a fraction; the
    second, the denominator". Also None if no such fraction is accurate enough.
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
    # The unit becomes a line of a Java properties file.
    plain = unit.isascii() and unit.isprintable() and not set(unit) & set("\\=:#!")
    return unit if plain and unit.strip() == unit else None


def ome_length(axis: Axis | None) -> str | None:
    """Return a unit of length as OME-XML spells it, None for any other."""
    return None if axis is None or axis.unit is None else _OME_LENGTHS.get(axis.unit)


def ome_time(axis: Axis | None) -> str | None:
    """Return a unit of time as OME-XML spells it, None for any other."""
    return None if axis is None or axis.unit is None else _OME_TIMES.get(axis.unit)


TiffKind: TypeAlias = Literal["imagej", "ome", "tiff"]

_IMAGEJ_DTYPES: Final = frozenset({"uint8", "uint16", "int16", "float32"})
# OME-XML 2016-06, PixelType; bit, float, double, complex and double-complex in its words.
_OME_DTYPES: Final = frozenset(
    {"bool", "int8", "int16", "int32", "uint8", "uint16", "uint32"}
    | {"float32", "float64", "complex64", "complex128"}
)
# Classic TIFF has 32-bit offsets; leave room for tags and labels.
_CLASSIC_BYTES: Final = 2**32 - 2**25
_PAGE_OVERHEAD_BYTES: Final = 1024
_MAX_COMPOSITE_CHANNELS: Final = 7
# XML 1.0, production 2, without the white space that an attribute would not keep.
_NOT_XML: Final = re.compile("[^\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def tiff_kind(axes: tuple[Axis, ...], shape: tuple[int, ...], dtype: np.dtype[Any]) -> TiffKind:
    """Choose the TIFF dialect that keeps most of an image's metadata.

    ``"imagej"`` if ImageJ supports the dtype and the file is below 4 GB; else ``"ome"``; else a
    plain TIFF with ImageJ's description. The last is for dtypes that OME-TIFF does not support
    (float16, 64-bit integers), and for line scans, since OME-TIFF has no rows in time.
    """
    placed = tiff_axes(axes)
    plane = [axis for axis in (placed.axis("Y"), placed.axis("X")) if axis is not None]
    expressible = all(
        axis.step is None or imagej_unit(axis) is None or samples_per_unit(axis) is not None
        for axis in plane
    )
    # tifffile treats a last axis of length 1 as samples and merges the planes.
    width = shape[placed.order[-1]]
    if dtype.name in _IMAGEJ_DTYPES and width > 1 and expressible and not _is_big(shape, dtype):
        return "imagej"
    return "ome" if no_ome_because(axes, dtype) is None else "tiff"


def write_tiff(
    path: Path,
    pixels: ArrayLike,
    axes: tuple[Axis, ...],
    channel_names: list[str] | None,
    *,
    name: str,
    display: Display | None = None,
    ome: bool = False,
    times_s: npt.NDArray[np.float64] | None = None,
) -> TiffAxes:
    """Write an image; return the arrangement of its dimensions in the file.

    Parameters
    ----------
    path : Path
        A file that is not there yet.
    pixels : ArrayLike
        2-D to 5-D, without a dimension of length 0. Objects other than NumPy arrays are read plane
        by plane.
    axes : tuple of Axis
        One for each dimension.
    channel_names : list of str, optional
    name : str
        Name of the image.
    display : Display, optional
        Display settings of the source TIFF.
    ome : bool
        Write an OME-TIFF, with colors of channels; :func:`no_ome_because` says whether that is
        possible.
    times_s : numpy.ndarray, optional
        For an OME-TIFF, the irregular times of the frames, of shape ``(frames,)``, in seconds.

    Raises
    ------
    CorruptDataError
        If a plane cannot be read.
    """
    placed = tiff_axes(axes)
    dtype = np.dtype(pixels.dtype)
    shape = tuple(int(pixels.shape[i]) for i in placed.order)
    kind = "ome" if ome else tiff_kind(axes, tuple(pixels.shape), dtype)
    display = (display or Display()).fitting(dtype)
    arguments: dict[str, Any] = display.arguments()
    if isinstance(pixels, np.ndarray):
        data: Any = np.ascontiguousarray(pixels.transpose(placed.order))
    else:
        data = _planes(pixels, placed)
        arguments |= {"shape": shape, "dtype": dtype}
    names = _names_of_channels(placed, shape, channel_names)
    if kind == "ome":
        arguments |= {
            "ome": True,
            "bigtiff": _is_big(shape, dtype),
            "metadata": _ome(placed, shape, names, name, colors=ome, times_s=times_s),
        }
    else:
        # Resolutions are per unit of the description; tifffile defaults to inches.
        arguments |= {"resolution": _resolution(placed), "resolutionunit": "NONE"}
        described = _imagej(placed, shape)
        # ImageJ labels planes, and C is the innermost stack axis.
        labels = {"Labels": names * (math.prod(shape[:-2]) // len(names))} if names else {}
        if kind == "imagej":
            arguments |= {"imagej": True, "metadata": described | labels | dict(display.imagej)}
        else:
            arguments |= {
                "bigtiff": _is_big(shape, dtype),
                "byteorder": "<",
                "metadata": None,
                "description": tifffile.imagej_description(shape, rgb=False, **described),
            }
            if labels:
                arguments["extratags"] = tifffile.imagej_metadata_tag(labels, "<")
    tifffile.imwrite(path, data, **arguments)
    return placed


def _is_big(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    pages = math.prod(shape) // max(1, shape[-1] * shape[-2])
    return math.prod(shape) * dtype.itemsize + pages * _PAGE_OVERHEAD_BYTES > _CLASSIC_BYTES


def _planes(pixels: ArrayLike, placed: TiffAxes) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the planes of the file, in its order."""
    *leading, row, column = placed.order
    for position in itertools.product(*(range(int(pixels.shape[i])) for i in leading)):
        index: list[int | slice] = [slice(None)] * len(placed.order)
        for dimension, at in zip(leading, position, strict=True):
            index[dimension] = at
        try:
            plane = np.asarray(pixels[tuple(index)])
        except KymflowZarrError:
            raise
        except (ValueError, RuntimeError, OSError) as error:
            raise CorruptDataError(f"the plane {position} cannot be read: {error}") from error
        yield np.ascontiguousarray(plane if row < column else plane.T)


def _imagej(placed: TiffAxes, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return ImageJ's description of axes and calibration.

    Source: ij.io.FileSaver.getDescriptionString and ij.io.FileOpener.decodeDescription of
    ImageJ 1.x: ``unit`` is that of x, ``yunit`` and ``zunit`` follow where they differ,
    ``spacing`` is the step of z, ``finterval`` that of t, in ``tunit``.
    """
    metadata: dict[str, Any] = {"axes": placed.letters}
    unit = _stated_unit(placed.axis("X"))
    row_unit = _stated_unit(placed.axis("Y"))
    depth, frame = placed.axis("Z"), placed.axis("T")
    depth_unit = None if depth is None or depth.step is None else imagej_unit(depth)
    if unit or row_unit or depth_unit:
        metadata["unit"] = unit or "pixel"
        if row_unit != unit:
            metadata["yunit"] = row_unit or "pixel"
        if depth is not None and depth_unit:
            if depth_unit != unit:
                metadata["zunit"] = depth_unit
            metadata["spacing"] = depth.step
    if frame is not None and frame.quantity == "time" and frame.step is not None:
        frame_unit = imagej_unit(frame)
        if frame_unit:
            metadata |= {"finterval": frame.step, "tunit": frame_unit}
    if "C" in placed.letters and 1 < shape[placed.letters.index("C")] <= _MAX_COMPOSITE_CHANNELS:
        metadata["mode"] = "composite"
    return metadata


def _stated_unit(axis: Axis | None) -> str | None:
    return None if axis is None or samples_per_unit(axis) is None else imagej_unit(axis)


def _resolution(placed: TiffAxes) -> tuple[tuple[int, int], tuple[int, int]]:
    across = samples_per_unit(placed.axis("X"))
    down = samples_per_unit(placed.axis("Y"))
    return across or (1, 1), down or (1, 1)


def _names_of_channels(
    placed: TiffAxes, shape: tuple[int, ...], channel_names: list[str] | None
) -> list[str]:
    """Return a name for each index of the file's C axis, an empty list if there are none."""
    if channel_names is None or not any(channel_names):
        return []
    axis = placed.axis("C")
    count = 1 if axis is None else shape[placed.letters.index("C")]
    fits = len(channel_names) == count and (axis is None or axis.quantity == "channel")
    return list(channel_names) if fits else []


def no_ome_because(axes: tuple[Axis, ...], dtype: np.dtype[Any]) -> str | None:
    """Return why OME-TIFF cannot express an image, None if it can."""
    placed = tiff_axes(axes)
    if dtype.name not in _OME_DTYPES:
        return f"has no pixels of type {dtype.name}"
    if any(a is not None and a.quantity == "time" for a in (placed.axis("Y"), placed.axis("X"))):
        return "has no rows in time, as line scans have"
    return None


def _ome(
    placed: TiffAxes,
    shape: tuple[int, ...],
    channel_names: list[str],
    name: str,
    *,
    colors: bool,
    times_s: npt.NDArray[np.float64] | None,
) -> dict[str, Any]:
    """Return the metadata of OME-XML under tifffile's keys.

    Source: OME-XML 2016-06, https://www.openmicroscopy.org/Schemas/OME/2016-06/: a ``Color`` is
    RGBA in a signed integer of 32 bits, ``DeltaT`` the time of one plane.
    """
    # Make the bytes reproducible, so that a second export recognizes the first one's file.
    metadata: dict[str, Any] = {"axes": placed.letters, "UUID": str(uuid5(NAMESPACE_OID, name))}
    if not _NOT_XML.search(name):
        metadata["Name"] = name
    for letter in "XYZ":
        axis = placed.axis(letter)
        unit = ome_length(axis)
        if axis is not None and axis.step is not None and unit is not None:
            metadata[f"PhysicalSize{letter}"] = axis.step
            metadata[f"PhysicalSize{letter}Unit"] = unit
    frame = placed.axis("T")
    unit = ome_time(frame)
    if frame is not None and frame.step is not None and unit is not None:
        metadata |= {"TimeIncrement": frame.step, "TimeIncrementUnit": unit}
    channel: dict[str, Any] = {}
    if channel_names and not any(map(_NOT_XML.search, channel_names)):
        channel["Name"] = channel_names
    if colors and "C" in placed.letters:
        count = shape[placed.letters.index("C")]
        rgba = [bytes.fromhex(f"{channel_color(index)}FF") for index in range(count)]
        channel["Color"] = [int.from_bytes(color, signed=True) for color in rgba]
    if channel:
        metadata["Channel"] = channel
    if times_s is not None and frame is not None and frame.quantity == "time":
        planes = np.repeat(times_s, math.prod(shape[1:-2]))
        metadata["Plane"] = {"DeltaT": planes.tolist(), "DeltaTUnit": ["s"] * len(planes)}
    return metadata


# Bio-Formats and tifffile take these names for OME-TIFF, with 64-bit offsets or not.
_OME_ENDS: Final = (".ome.tif", ".ome.tiff", ".ome.tf2", ".ome.tf8", ".ome.btf")

# Smaller images are loaded as a whole, larger ones plane by plane.
_WHOLE_BYTES: Final = 256 << 20


def export_tiff(record: StoredImage, path: StrPath) -> None:
    """Write an image; see :meth:`kymflow_zarr.StoredImage.export_tiff`."""
    from kymflow_zarr.export.tiff.display import display_of

    target = Path(path)
    array = record.open_array()
    if 0 in array.shape:
        raise UnsupportedDataError("the image has no pixels", where=record.image_id)
    # Repeating the call is not a conflict: the existing file equals this TIFF byte for byte.
    is_there = os.path.lexists(target)
    if is_there and not (target.is_file() and target.stat().st_size >= array.nbytes):
        raise taken(target)
    pixels = record.load_array() if array.nbytes <= _WHOLE_BYTES else array
    display = display_of(record.storage, record.image_id)
    ome = _asks_for_ome(record, target)
    times_s = kept_times_s(record) if ome else None
    axes, names = record.axes, record.channel_names
    with hidden_file(target) as part:
        write_tiff(
            part, pixels, axes, names, name=record.image_id, display=display, ome=ome,
            times_s=times_s,
        )  # fmt: skip
        if not is_there:
            give_name(part, target)
        elif not filecmp.cmp(part, target, shallow=False):
            raise taken(target)


def _asks_for_ome(record: StoredImage, target: Path) -> bool:
    """Return True if the name of a file is that of an OME-TIFF; raise if it cannot be one."""
    if not target.name.lower().endswith(_OME_ENDS):
        return False
    reason = no_ome_because(record.axes, record.dtype)
    if reason is not None:
        raise UnsupportedDataError(
            f"OME-TIFF {reason}",
            where=str(target),
            hint="Name it .tif: ImageJ's description tells its axes and calibration.",
        )
    return True
