"""Images as TIFF files that Fiji opens with the right axes and calibration."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import tifffile

from kymflow_zarr.errors import CorruptDataError, KymflowZarrError
from kymflow_zarr.export.tiff.axes import (
    TiffAxes,
    imagej_unit,
    ome_length,
    ome_time,
    samples_per_unit,
    tiff_axes,
)
from kymflow_zarr.export.tiff.display import Display
from kymflow_zarr.types import ArrayLike, Axis

__all__ = ["TiffKind", "tiff_kind", "write_tiff"]

TiffKind: TypeAlias = Literal["imagej", "ome", "tiff"]

_IMAGEJ_DTYPES: Final = frozenset({"uint8", "uint16", "int16", "float32"})
# OME-XML 2016-06, PixelType; bit, float, double, complex and double-complex in its words.
_OME_DTYPES: Final = frozenset(
    {"bool", "int8", "int16", "int32", "uint8", "uint16", "uint32"}
    | {"float32", "float64", "complex64", "complex128"}
)
# Offsets in a classic TIFF have 32 bits; tags and labels take some of what they can reach.
_CLASSIC_BYTES: Final = 2**32 - 2**25
_PAGE_OVERHEAD_BYTES: Final = 1024
_MAX_COMPOSITE_CHANNELS: Final = 7
# XML 1.0, production 2, without the white space that an attribute would not keep.
_NOT_XML: Final = re.compile("[^\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def tiff_kind(axes: tuple[Axis, ...], shape: tuple[int, ...], dtype: np.dtype[Any]) -> TiffKind:
    """Choose the dialect of TIFF that says most of an image.

    ``"imagej"`` wherever ImageJ has such pixels, below 4 GB; else ``"ome"``; else a plain
    TIFF with ImageJ's description. The last is for dtypes that OME-TIFF has not (float16,
    64-bit integers), and for line scans, whose rows OME-TIFF cannot call time.
    """
    placed = tiff_axes(axes)
    plane = [axis for axis in (placed.axis("Y"), placed.axis("X")) if axis is not None]
    expressible = all(
        axis.step is None or imagej_unit(axis) is None or samples_per_unit(axis) is not None
        for axis in plane
    )
    # tifffile takes a last axis of length 1 for samples and joins the planes.
    width = shape[placed.order[-1]]
    if dtype.name in _IMAGEJ_DTYPES and width > 1 and expressible and not _is_big(shape, dtype):
        return "imagej"
    if dtype.name in _OME_DTYPES and all(axis.quantity != "time" for axis in plane):
        return "ome"
    return "tiff"


def write_tiff(
    path: Path,
    pixels: ArrayLike,
    axes: tuple[Axis, ...],
    channel_names: list[str] | None,
    *,
    name: str,
    display: Display | None = None,
) -> TiffAxes:
    """Write an image and return how its dimensions are arranged in the file.

    Parameters
    ----------
    path : Path
        A file that is not there yet.
    pixels : ArrayLike
        2-D to 5-D, without a dimension of length 0. What is not a NumPy array is read
        plane by plane.
    axes : tuple of Axis
        One for each dimension.
    channel_names : list of str, optional
    name : str
        Name of the image.
    display : Display, optional
        How it was shown in the TIFF that it came from.

    Raises
    ------
    CorruptDataError
        If a plane cannot be read.
    """
    placed = tiff_axes(axes)
    dtype = np.dtype(pixels.dtype)
    shape = tuple(int(pixels.shape[i]) for i in placed.order)
    kind = tiff_kind(axes, tuple(pixels.shape), dtype)
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
            "metadata": _ome(placed, names, name),
        }
    else:
        # Per unit of the description; without a word tifffile says that it is inches.
        arguments |= {"resolution": _resolution(placed), "resolutionunit": "NONE"}
        described = _imagej(placed, shape)
        # ImageJ labels planes; C is the innermost of the leading axes.
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
    found: dict[str, Any] = {"axes": placed.letters}
    unit = _stated_unit(placed.axis("X"))
    row_unit = _stated_unit(placed.axis("Y"))
    depth, frame = placed.axis("Z"), placed.axis("T")
    depth_unit = None if depth is None or depth.step is None else imagej_unit(depth)
    if unit or row_unit or depth_unit:
        found["unit"] = unit or "pixel"
        if row_unit != unit:
            found["yunit"] = row_unit or "pixel"
        if depth is not None and depth_unit:
            if depth_unit != unit:
                found["zunit"] = depth_unit
            found["spacing"] = depth.step
    if frame is not None and frame.quantity == "time" and frame.step is not None:
        frame_unit = imagej_unit(frame)
        if frame_unit:
            found |= {"finterval": frame.step, "tunit": frame_unit}
    if "C" in placed.letters and 1 < shape[placed.letters.index("C")] <= _MAX_COMPOSITE_CHANNELS:
        found["mode"] = "composite"
    return found


def _stated_unit(axis: Axis | None) -> str | None:
    return None if axis is None or samples_per_unit(axis) is None else imagej_unit(axis)


def _resolution(placed: TiffAxes) -> tuple[tuple[int, int], tuple[int, int]]:
    across = samples_per_unit(placed.axis("X"))
    down = samples_per_unit(placed.axis("Y"))
    return across or (1, 1), down or (1, 1)


def _names_of_channels(
    placed: TiffAxes, shape: tuple[int, ...], channel_names: list[str] | None
) -> list[str]:
    """Return a name for each index of the file's C, none where there are none to give."""
    if channel_names is None or not any(channel_names):
        return []
    axis = placed.axis("C")
    count = 1 if axis is None else shape[placed.letters.index("C")]
    fits = len(channel_names) == count and (axis is None or axis.quantity == "channel")
    return list(channel_names) if fits else []


def _ome(placed: TiffAxes, channel_names: list[str], name: str) -> dict[str, Any]:
    """Return the metadata of OME-XML, in the words of tifffile."""
    # Equal images make equal files, so that a second export finds the first one's.
    found: dict[str, Any] = {"axes": placed.letters, "UUID": str(uuid5(NAMESPACE_OID, name))}
    if not _NOT_XML.search(name):
        found["Name"] = name
    for letter in "XYZ":
        axis = placed.axis(letter)
        unit = ome_length(axis)
        if axis is not None and axis.step is not None and unit is not None:
            found[f"PhysicalSize{letter}"] = axis.step
            found[f"PhysicalSize{letter}Unit"] = unit
    frame = placed.axis("T")
    unit = ome_time(frame)
    if frame is not None and frame.step is not None and unit is not None:
        found |= {"TimeIncrement": frame.step, "TimeIncrementUnit": unit}
    if channel_names and not any(map(_NOT_XML.search, channel_names)):
        found["Channel"] = {"Name": channel_names}
    return found
