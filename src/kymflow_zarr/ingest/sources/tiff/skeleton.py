"""The skeleton of a TIFF: its bytes around the pixels, so that it can be written back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from kymflow_zarr.schema.tiff_skeleton import TiffSkeleton, coalesced, gaps_of

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffFrame, TiffPage, TiffPageSeries

    from kymflow_zarr.ingest.sources.tiff.calibration import AxisPlan

__all__ = ["skeleton_of"]

# Limit of a skeleton's size: more bytes besides the pixels are likely other images.
MAX_REST_BYTES: Final = 64 << 20
_NO_COMPRESSION: Final = 1
_COMPLEX_INTEGERS: Final = 5


def skeleton_of(
    tif: TiffFile, series: TiffPageSeries, plan: AxisPlan, channel: tuple[int, int] | None
) -> TiffSkeleton | None:
    """Return the skeleton of a TIFF, None unless its pixels are stored uncompressed and in order.

    Parameters
    ----------
    tif : tifffile.TiffFile
    series : tifffile.TiffPageSeries
        The file's only series except previews; a file of several images has no skeleton.
    plan : AxisPlan
    channel : (int, int), optional
        Axis and index, for a file that is one channel of an image.
    """
    if len(_full(tif)) != 1 or series.transform is not None or series.is_multifile:
        return None
    ranges = _stored(tif, series)
    if ranges is None or sum(n for _, n in ranges) != series.nbytes:
        return None
    ranges = coalesced(ranges)
    size = tif.filehandle.size
    try:
        gaps = gaps_of(ranges, size)
    except ValueError:
        return None  # Several pages share the same pixels.
    if sum(count for _, count in gaps) > MAX_REST_BYTES:
        return None
    rest = []
    with Path(tif.filehandle.path).open("rb") as file:
        for offset, count in gaps:
            file.seek(offset)
            rest.append(file.read(count))
    return TiffSkeleton(
        size_bytes=size,
        dtype=np.dtype(series.keyframe.dtype).newbyteorder(tif.byteorder).str,
        shape=[int(n) for n in plan.source_shape],
        dims=[list(dims) for dims in plan.dims],
        ranges=ranges,
        channel=channel,
        rest=b"".join(rest),
    )


def _full(tif: TiffFile) -> list[TiffPageSeries]:
    return [each for each in tif.series if not each.keyframe.subfiletype & 1] or tif.series


def _stored(tif: TiffFile, series: TiffPageSeries) -> list[tuple[int, int]] | None:
    """Return the offsets of the pixels in order; None if they are stored otherwise."""
    keyframe = series.keyframe
    plain = (
        keyframe.compression == _NO_COMPRESSION
        and keyframe.predictor == 1
        and keyframe.fillorder == 1
        and keyframe.sampleformat != _COMPLEX_INTEGERS
        and not keyframe.is_subsampled
        and keyframe.dtype is not None
        and keyframe.bitspersample == keyframe.dtype.itemsize * 8
        and keyframe.dtype.kind in "iufc"
    )
    if not plain:
        return None
    if series.dataoffset is not None:
        return [(series.dataoffset, series.nbytes)]
    if math.prod(series.shape) != keyframe.size * len(series):
        return None
    ranges: list[tuple[int, int]] = []
    for number in range(len(series)):
        page = series[number]
        if page is None or page.parent is not tif:
            return None
        page_ranges = _of_page(page, keyframe)
        if page_ranges is None:
            return None
        ranges += page_ranges
    return ranges


def _of_page(page: TiffPage | TiffFrame, keyframe: TiffPage) -> list[tuple[int, int]] | None:
    own = page.keyframe or keyframe
    if (own.shape, own.dtype, own.compression) != (
        keyframe.shape,
        keyframe.dtype,
        keyframe.compression,
    ):
        return None
    strips = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(strips) == 1:
        return [(strips[0][0], keyframe.nbytes)] if strips[0][1] >= keyframe.nbytes else None
    # Padded or tiled pages do not store the pixels in order.
    whole = sum(count for _, count in strips) == keyframe.nbytes
    if keyframe.is_tiled:
        pieces = coalesced(strips)
        return pieces if keyframe.is_final and whole and len(pieces) == 1 else None
    return strips if whole and all(count > 0 for _, count in strips) else None
