"""Pixels of a TIFF series, read region by region."""

from __future__ import annotations

import itertools
import math
import threading
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.ingest.sources.tiff.stored import StoredPixels
from kymflow_zarr.runtime.limits import check_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from tifffile import TiffFrame, TiffPage, TiffPageSeries

__all__ = ["PixelSource", "open_pixels"]


class PixelSource(Protocol):
    """Pixels in the order of the file.

    Attributes
    ----------
    bounded : bool
        Whether a region is read without the rest of the image.
    held_bytes : int
        How much is in memory beside the region that is read.
    """

    bounded: bool
    held_bytes: int

    def read_into(self, ranges: Sequence[range], out: npt.NDArray[Any]) -> None:
        """Fill `out` with the pixels at `ranges`, one per dimension, steps positive."""


def open_pixels(series: TiffPageSeries, *, where: str) -> PixelSource:
    """Choose the leanest way to the pixels of a series.

    Parameters
    ----------
    series : tifffile.TiffPageSeries
        A series that passed `check_stored_bytes`.
    where : str
        The file, for messages.

    Returns
    -------
    PixelSource
        Straight from the file if the pixels lie in it in one piece, as they are; else
        page by page; else (dimensions that cut through pages) the series as a whole.
    """
    offset = series.dataoffset
    if offset is not None and series.transform is None:
        return StoredPixels(series.keyframe, series.shape, offset)
    lead = _page_dimensions(series)
    if lead is None or series.transform is not None:
        return _Whole(series, where)
    return _Paged(series, lead, where)


def _page_dimensions(series: TiffPageSeries) -> int | None:
    """Return how many leading dimensions of a series count pages."""
    for lead in range(len(series.shape), -1, -1):
        if math.prod(series.shape[lead:]) == series.keyframe.size:
            return lead if math.prod(series.shape[:lead]) == len(series) else None
    return None


def _slices(ranges: Sequence[range]) -> tuple[slice, ...]:
    return tuple(slice(r.start, r.stop, r.step) for r in ranges)


class _Paged:
    """Pixels that are stored, and perhaps compressed, page by page."""

    def __init__(self, series: TiffPageSeries, lead: int, where: str) -> None:
        self._series = series
        self._lead = lead
        self._where = where
        self._lock = threading.Lock()
        self._cached: tuple[int, npt.NDArray[Any]] | None = None
        keyframe = series.keyframe
        self.bounded = len(series) > 1 or keyframe.is_final
        # What is decoded is there twice for a moment: as strips or tiles, and as a page.
        self.held_bytes = 0 if keyframe.is_final else 2 * keyframe.nbytes

    def read_into(self, ranges: Sequence[range], out: npt.NDArray[Any]) -> None:
        inner = _slices(ranges[self._lead :])
        lengths = self._series.shape[: self._lead]
        positions = itertools.product(*(enumerate(r) for r in ranges[: self._lead]))
        for position in positions:
            number = 0
            for length, (_, index) in zip(lengths, position, strict=True):
                number = number * length + index
            at: tuple[Any, ...] = (*(place for place, _ in position), ...)
            target = out[at]
            # One lock for the whole page: threads that share the image must neither
            # mix up seeks nor decode the same page twice.
            with self._lock:
                page = self._page(number)
            if isinstance(page, StoredPixels):
                page.read_into(ranges[self._lead :], target)
            else:
                target[...] = page[inner]

    def _page(self, number: int) -> npt.NDArray[Any] | StoredPixels:
        if self._cached is not None and self._cached[0] == number:
            return self._cached[1]
        page = self._series[number]
        if page is None:
            raise SourceFileError(f"page {number} is missing", where=self._where)
        shape = self._series.shape[self._lead :]
        keyframe = page.keyframe or self._series.keyframe
        if keyframe.is_final:
            return StoredPixels(keyframe, shape, page.dataoffsets[0], page.parent.filehandle.path)
        self._cached = None  # Not the last page and this one at once.
        array = self._decoded(page, number).reshape(shape)
        self._cached = (number, array)
        return array

    def _decoded(self, page: TiffPage | TiffFrame, number: int) -> npt.NDArray[Any]:
        handle = page.parent.filehandle
        closed = handle.closed
        try:
            if closed:
                handle.open()
            return np.asarray(page.asarray())
        except Exception as exc:
            raise _undecodable(f"page {number}", exc, self._where) from exc
        finally:
            if closed:
                handle.close()


class _Whole:
    """Pixels of a series that can only be read all at once."""

    bounded = False

    def __init__(self, series: TiffPageSeries, where: str) -> None:
        self._series = series
        self._where = where
        self.held_bytes = 2 * series.nbytes
        self._lock = threading.Lock()
        self._array: npt.NDArray[Any] | None = None

    def read_into(self, ranges: Sequence[range], out: npt.NDArray[Any]) -> None:
        with self._lock:
            if self._array is None:
                self._array = self._read()
        out[...] = self._array[_slices(ranges)]

    def _read(self) -> npt.NDArray[Any]:
        check_limit("array_bytes", self._series.nbytes, "the image takes", where=self._where)
        try:
            return np.asarray(self._series.asarray()).reshape(self._series.shape)
        except Exception as exc:
            raise _undecodable("the image", exc, self._where) from exc


def _undecodable(what: str, exc: Exception, where: str) -> SourceFileError:
    return SourceFileError(
        f"{what} cannot be decoded: {type(exc).__name__}: {exc}",
        where=where,
        hint="The file is damaged or compressed in a way that is not supported.",
    )
