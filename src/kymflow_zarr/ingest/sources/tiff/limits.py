"""What a TIFF file may declare: held against the limits before tifffile follows it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from kymflow_zarr import layout
from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.runtime.limits import check_limit

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

__all__ = ["check_image_size", "check_ome", "check_page_size"]

# Found by fuzzing: JPEG XR and NDPI's form of it end the process, in imagecodecs of 2026 too.
_CRASHING: Final = frozenset({22610, 34934})
_HINT: Final = "Convert the file with a program that you trust, unless it is damaged."
# OME-XML 2016-06: what TiffData and Plane count by.
_COUNTS: Final = ("IFD", "PlaneCount", "NumPlanes", "FirstT", "FirstZ", "FirstC")


def check_ome(tif: TiffFile, *, where: str) -> None:
    """Check the OME-XML of a file before it is followed: sizes, and the names of other files.

    tifffile makes a list with an entry for each plane, and opens whatever file is named.

    Raises
    ------
    LimitExceededError
        If it declares more planes than the limit ``tiff_pages``.
    SourceFileError
        If it names a file of another folder, or defines entities.
    """
    text = tif.ome_metadata if tif.is_ome else None
    if not text:
        return
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise SourceFileError("the OME-XML has a DTD", where=where, hint=_HINT)
    try:
        root = ET.fromstring(text)
    except ET.ParseError:
        return  # Then tifffile takes the pages one by one.
    for element in root.iter():
        name = element.get("FileName", "")
        if "/" in name or (name and layout.leads_out(name, windows=True)):
            raise SourceFileError(
                f"the OME-XML takes pixels from {name!r}, which is not in the folder of the file",
                where=where,
                hint=_HINT,
            )
        if str(element.tag).endswith("Pixels"):
            planes = math.prod(_count(element, f"Size{letter}") for letter in "TZC")
            check_limit("tiff_pages", planes, "the OME-XML declares", where=where)
        for key in _COUNTS:
            check_limit("tiff_pages", _count(element, key), f"{key} in OME-XML is", where=where)


def _count(element: ET.Element, key: str) -> int:
    try:
        return abs(int(element.get(key, "1")))
    except ValueError:
        return 1


def check_image_size(series: TiffPageSeries, *, where: str) -> None:
    """Raise LimitExceededError if a series takes more than the limit ``image_bytes``.

    Pixels that lie in the file as they are cannot be more than the file holds.
    """
    if series.dataoffset is None and series.dtype is not None:
        size = math.prod(series.shape) * series.dtype.itemsize
        check_limit("image_bytes", size, "the image takes", where=where)


def check_page_size(page: TiffPage, *, where: str) -> None:
    """Check a page before it is decoded: by what, and how much memory that takes.

    Raises
    ------
    SourceFileError
        If it is compressed in a way whose decoder is not to be trusted.
    LimitExceededError
        If the page, or a strip or tile of it, takes more than ``array_bytes``.
    """
    if page.is_final:
        return
    if page.compression in _CRASHING:
        raise SourceFileError(
            "the image is compressed as JPEG XR, whose decoder crashes on damaged data",
            where=where,
            hint="Convert the file to another compression first.",
        )
    item = 1 if page.dtype is None else page.dtype.itemsize
    check_limit("array_bytes", math.prod(page.shape) * item, "a page takes", where=where)
    part = math.prod(page.chunks) * item
    check_limit("array_bytes", part, "a strip or tile takes", where=where)
