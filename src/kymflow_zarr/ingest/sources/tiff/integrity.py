"""Check what a TIFF file declares against the limits and its size, before reading pixels."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from kymflow_zarr import layout
from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.runtime.limits import check_limit

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffFrame, TiffPage, TiffPageSeries

__all__ = [
    "check_image_size",
    "check_ome",
    "check_ome_xml",
    "check_page_chain",
    "check_stored_bytes",
]

# Bytes per value by TIFF data type (TIFF 6.0 section 2; 16 to 18 are BigTIFF's).
_TYPE_SIZES: Final = {
    kind: size
    for size, kinds in {
        1: (1, 2, 6, 7),
        2: (3, 8),
        4: (4, 9, 11, 13),
        8: (5, 10, 12, 16, 17, 18),
    }.items()
    for kind in kinds
}
_HINT: Final = "Copy the file again from where it was made; the original may be complete."
# Found by fuzzing: JPEG XR and NDPI's variant crash the process, also with imagecodecs of 2026.
_CRASHING: Final = frozenset({22610, 34934})
_CONVERT: Final = "Convert the file with a program that you trust, unless it is damaged."
# OME-XML 2016-06: the index attributes of TiffData and Plane.
_COUNTS: Final = ("IFD", "PlaneCount", "NumPlanes", "FirstT", "FirstZ", "FirstC")


def check_page_chain(tif: TiffFile, *, where: str) -> int:
    """Follow the chain of image file directories (IFDs) to its end; return their number.

    tifffile stops at an offset past the end of the file and reports the pages up to there, and it
    drops tags whose values lie past the end. A truncated stack would look like a shorter stack, or
    like one without a description. A circular chain makes tifffile loop forever.

    Raises
    ------
    SourceFileError
        A page, a tag's value or an offset lies past the end of the file, or the chain is circular.
    LimitExceededError
        There are more pages than the limit ``tiff_pages``.
    """
    if tif.is_ndpi:
        return 0  # 64-bit offsets in a 32-bit file; tifffile finds the pages another way
    form, handle = tif.tiff, tif.filehandle
    entry = struct.Struct(f"{form.byteorder}HH{form.offsetformat[1:] * 2}")
    handle.seek(8 if tif.is_bigtiff else 4)
    seen: set[int] = set()
    while True:
        link = handle.read(form.offsetsize)
        if len(link) < form.offsetsize:
            raise _cut_short(f"its chain of pages breaks off after page {len(seen)}", where)
        (offset,) = struct.unpack(form.offsetformat, link)
        if offset == 0:
            return len(seen)
        if offset in seen:
            raise SourceFileError(
                f"the chain of pages turns back after page {len(seen) - 1}",
                where=where,
                hint=_HINT,
            )
        handle.seek(offset)
        head = handle.read(form.tagnosize)
        if len(head) < form.tagnosize:
            raise _cut_short(f"page {len(seen)} lies past its end", where)
        (tag_count,) = struct.unpack(form.tagnoformat, head)
        if handle.tell() + tag_count * form.tagsize > handle.size:
            raise _cut_short(f"the tags of page {len(seen)} break off", where)
        tags = handle.read(tag_count * form.tagsize)
        for code, kind, count, value in entry.iter_unpack(tags):
            size = count * _TYPE_SIZES.get(kind, 0)
            if size > form.tagoffsetthreshold and value + size > handle.size:
                raise _cut_short(f"tag {code} of page {len(seen)} lies past its end", where)
        seen.add(offset)
        check_limit("tiff_pages", len(seen), "the file has at least", where=where)


def check_stored_bytes(series: TiffPageSeries, *, where: str) -> None:
    """Check that the file holds the bytes of every pixel of a series.

    Raises
    ------
    SourceFileError
        Pixels lie past the end of the file, are missing, or are fewer than declared; or their
        decoder is not safe.
    LimitExceededError
        A page takes more memory than the limit ``array_bytes``.
    """
    if math.prod(series.shape) == 0:
        raise SourceFileError(
            f"the image has no pixels (shape {series.shape})",
            where=where,
            hint="Leave the file out.",
        )
    if series.keyframe.dtype is None:
        raise SourceFileError(
            f"samples of {series.keyframe.bitspersample} bits in format "
            f"{int(series.keyframe.sampleformat)} are not supported",
            where=where,
            hint="Convert the file to whole bytes a sample, unless it is damaged.",
        )
    _check_imagej_planes(series, where)
    offset = series.dataoffset
    if offset is not None:
        handle = series.keyframe.parent.filehandle
        _check_end(offset + series.nbytes, handle.size, where)
        return
    pixels = 0
    for number in range(len(series)):
        try:
            page = series[number]
        except IndexError:
            page = None
        if page is None:
            raise SourceFileError(
                f"the metadata describes {len(series)} pages, but page {number} is not there",
                where=where,
                hint="An acquisition that was stopped early, or a file of a set of several.",
            )
        keyframe = page.keyframe or series.keyframe
        _check_page(page, keyframe, number, where)
        check_page_size(keyframe, where=where)
        pixels += keyframe.size
    if pixels != math.prod(series.shape):
        raise SourceFileError(
            f"the metadata describes {math.prod(series.shape)} pixels "
            f"(shape {series.shape}), the pages hold {pixels}",
            where=where,
            hint=_HINT,
        )


def _check_imagej_planes(series: TiffPageSeries, where: str) -> None:
    """Refuse a stack that tifffile failed to read as ImageJ's.

    Large stacks have a single IFD; if truncated, they look like a single plane.
    """
    tif = series.keyframe.parent
    if not tif.is_imagej or series.kind in {"imagej", "ome", "mmstack"}:
        return
    planes = (tif.imagej_metadata or {}).get("images", 1)
    if isinstance(planes, int) and planes > len(tif.pages):
        raise _cut_short(f"it has {len(tif.pages)} of {planes} planes", where)


def _check_page(page: TiffPage | TiffFrame, keyframe: TiffPage, number: int, where: str) -> None:
    size = page.parent.filehandle.size
    offsets, counts = page.dataoffsets, page.databytecounts
    if not offsets:
        raise SourceFileError(f"page {number} has no pixel data", where=where, hint=_HINT)
    if keyframe.is_contiguous:
        _check_end(offsets[0] + keyframe.nbytes, size, where)
        return
    expected = math.prod(keyframe.chunked)
    if min(len(offsets), len(counts)) < expected and not keyframe.is_jfif:
        raise SourceFileError(
            f"page {number} has {min(len(offsets), len(counts))} of {expected} strips or tiles",
            where=where,
            hint=_HINT,
        )
    for offset, count in zip(offsets, counts, strict=False):
        if count == 0:
            # Empty tiles are legal in sparse images; an empty strip is missing data.
            if keyframe.is_tiled and offset == 0:
                continue
            raise SourceFileError(
                f"a strip or tile of page {number} is empty", where=where, hint=_HINT
            )
        _check_end(offset + count, size, where)
    needed = _uncompressed_bytes(keyframe)
    if sum(counts) < needed and all(counts):
        raise SourceFileError(
            f"page {number} needs {needed} bytes of pixels and has {sum(counts)}",
            where=where,
            hint=_HINT,
        )


def _uncompressed_bytes(page: TiffPage) -> int:
    """Return the minimum number of bytes of an uncompressed page; 0 if compressed."""
    if page.compression != 1 or page.is_subsampled or not isinstance(page.bitspersample, int):
        return 0
    return page.size * page.bitspersample // 8


def _check_end(end: int, size: int, where: str) -> None:
    if end > size:
        raise _cut_short(f"its pixels reach to byte {end}, the file ends at {size}", where)


def _cut_short(how: str, where: str) -> SourceFileError:
    return SourceFileError(f"the TIFF file is cut short: {how}", where=where, hint=_HINT)


def check_ome(tif: TiffFile, *, where: str) -> None:
    """Check sizes and file names in the OME-XML of a file before tifffile follows it.

    tifffile allocates a list entry for each plane, and opens every file that is named.

    Raises
    ------
    LimitExceededError
        If it declares more planes than the limit ``tiff_pages``.
    SourceFileError
        If it names a file of another folder, or defines entities.
    """
    text = tif.ome_metadata if tif.is_ome else None
    if text:
        check_ome_xml(text, where=where)


def check_ome_xml(text: str, *, where: str) -> None:
    """Check the text of OME-XML, as :func:`check_ome` does."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise SourceFileError("the OME-XML has a DTD", where=where, hint=_CONVERT)
    try:
        root = ET.fromstring(text)
    except ET.ParseError:
        return  # The pages are then read one by one.
    for element in root.iter():
        name = element.get("FileName", "")
        if "/" in name or (name and layout.leads_out(name, windows=True)):
            raise SourceFileError(
                f"the OME-XML takes pixels from {name!r}, which is not in the folder of the file",
                where=where,
                hint=_CONVERT,
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

    Uncompressed pixels cannot exceed the size of the file.
    """
    if series.dataoffset is None and series.dtype is not None:
        size = math.prod(series.shape) * series.dtype.itemsize
        check_limit("image_bytes", size, "the image takes", where=where)


def check_page_size(page: TiffPage, *, where: str) -> None:
    """Check the decoder and the memory of a page before it is decoded.

    Raises
    ------
    SourceFileError
        If the decoder of its compression is not safe.
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
