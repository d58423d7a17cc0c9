"""Pixels of a TIFF series, read region by region."""

from __future__ import annotations

import itertools
import math
import operator
import threading
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from kymflow_zarr.errors import ArgumentTypeError, SourceFileError
from kymflow_zarr.runtime.limits import check_limit

if TYPE_CHECKING:
    import numpy.typing as npt
    from tifffile import TiffFrame, TiffPage, TiffPageSeries

__all__ = ["PixelSource", "StoredPixels", "open_pixels", "selection_of"]

# Read shorter pieces together with the gaps between them, up to this many bytes at once.
_RUN_BYTES: Final = 64 << 10
_HULL_BYTES: Final = 16 << 20
# No dtype needs a larger alignment.
_ALIGNED_TO: Final = 16


class PixelSource(Protocol):
    """Pixels in the file's order of dimensions.

    Attributes
    ----------
    bounded : bool
        Whether a region can be read without the rest of the image.
    held_bytes : int
        Memory needed besides the region while a region is read.
    """

    bounded: bool
    held_bytes: int

    def read_into(self, ranges: Sequence[range], out: npt.NDArray[Any]) -> None:
        """Fill `out` with the pixels at `ranges`, one per dimension, steps positive."""


def open_pixels(series: TiffPageSeries, *, where: str) -> PixelSource:
    """Choose the pixel source of a series that needs the least memory.

    Parameters
    ----------
    series : tifffile.TiffPageSeries
        A series that passed `check_stored_bytes`.
    where : str
        The file, for messages.

    Returns
    -------
    PixelSource
        Direct reads if the pixels are stored contiguously and uncompressed; else page by page; else
        (if the dimensions do not align with pages) the whole series.
    """
    offset = series.dataoffset
    if offset is not None and series.transform is None:
        return StoredPixels(series.keyframe, series.shape, offset)
    lead = _page_dimensions(series)
    if lead is None or series.transform is not None:
        return _Whole(series, where)
    return _Paged(series, lead, where)


def _page_dimensions(series: TiffPageSeries) -> int | None:
    """Return the number of leading dimensions of a series that index pages."""
    for lead in range(len(series.shape), -1, -1):
        if math.prod(series.shape[lead:]) == series.keyframe.size:
            return lead if math.prod(series.shape[:lead]) == len(series) else None
    return None


def _slices(ranges: Sequence[range]) -> tuple[slice, ...]:
    return tuple(slice(r.start, r.stop, r.step) for r in ranges)


class StoredPixels:
    """Uncompressed pixels of one page, or of contiguous pages.

    It reads only the requested bytes, and not through a memory map: mapped pages count as memory of
    this process until the system reclaims them, and truncating a mapped file would crash the
    process.

    Parameters
    ----------
    page : tifffile.TiffPage
        The first.
    shape : sequence of int
    offset : int
        Offset of the pixels in the file.
    path : str, optional
        The file, if it differs from that of the page.
    """

    bounded = True
    held_bytes = 0

    def __init__(
        self, page: TiffPage, shape: Sequence[int], offset: int, path: str | None = None
    ) -> None:
        self._path = Path(page.parent.filehandle.path if path is None else path)
        self._dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
        self._offset = offset
        steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        self._shape = tuple(shape)
        self._steps = [step * self._dtype.itemsize for step in steps]
        self._held: npt.NDArray[np.uint8] | None = None

    def hold(self, size: int) -> memoryview | None:
        """Read the whole file into memory, and serve regions from there; return its bytes.

        Parameters
        ----------
        size : int
            Bytes of the file.

        Returns
        -------
        memoryview or None
            None if the file has another size; it is then not held in memory.
        """
        # Align the first pixel in memory.
        pad = -self._offset % _ALIGNED_TO
        data = np.empty(pad + size + 1, np.uint8)[pad:]
        try:
            with self._path.open("rb", buffering=0) as file:
                done = 0
                while count := file.readinto(data[done:].data):
                    done += count
        except OSError:
            return None  # Reading a region raises the error.
        if done != size:
            return None
        self._held = data[:size]
        self._held.flags.writeable = False
        return self._held.data

    def let_go(self) -> None:
        """Read regions from the file again."""
        self._held = None

    def view(self, ranges: Sequence[range]) -> npt.NDArray[Any] | None:
        """Return the pixels at `ranges`, read-only, if the file is in memory."""
        if self._held is None:
            return None
        start = self._offset + sum(r[0] * step for r, step in zip(ranges, self._steps, strict=True))
        strides = [r.step * step for r, step in zip(ranges, self._steps, strict=True)]
        shape = [len(r) for r in ranges]
        return np.ndarray(shape, self._dtype, self._held, start, strides)

    def read_into(self, ranges: Sequence[range], out: npt.NDArray[Any]) -> None:
        """Fill `out` with the pixels at `ranges`, one per dimension, steps positive."""
        held = self.view(ranges)
        if held is not None:
            out[...] = held
            return
        # Open the file for each call, so that threads do not share a seek position.
        try:
            with self._path.open("rb", buffering=0) as file:
                self._read(file, list(ranges), out)
        except OSError as error:
            raise SourceFileError(
                f"the file cannot be read: {error.strerror or error}", where=str(self._path)
            ) from error

    def _read(self, file: FileIO, ranges: list[range], out: npt.NDArray[Any]) -> None:
        first = [r[0] * step for r, step in zip(ranges, self._steps, strict=True)]
        last = [r[-1] * step for r, step in zip(ranges, self._steps, strict=True)]
        start, size = sum(first), sum(last) - sum(first) + self._dtype.itemsize
        run = self._run(ranges)
        if run == out.nbytes and out.flags.c_contiguous and out.dtype == self._dtype:
            self._fill(file, start, out.reshape(-1).view(np.uint8).data)
            return
        if run == out.nbytes or (size <= _HULL_BYTES and run < _RUN_BYTES):
            data = np.empty(size, np.uint8)
            self._fill(file, start, data.data)
            strides = [r.step * step for r, step in zip(ranges, self._steps, strict=True)]
            out[...] = np.ndarray(out.shape, self._dtype, data, 0, strides)
            return
        axis = next(axis for axis, r in enumerate(ranges) if len(r) > 1)
        half = len(ranges[axis]) // 2
        before: tuple[slice, ...] = (slice(None),) * axis
        for part in (slice(0, half), slice(half, None)):
            some = [*ranges[:axis], ranges[axis][part], *ranges[axis + 1 :]]
            self._read(file, some, out[(*before, part)])

    def _run(self, ranges: Sequence[range]) -> int:
        """Return the number of contiguous bytes along the last dimensions."""
        size = self._dtype.itemsize
        for r, length in zip(reversed(ranges), reversed(self._shape), strict=True):
            if r.step != 1 and len(r) > 1:
                break
            size *= len(r)
            if len(r) != length:
                break
        return size

    def _fill(self, file: FileIO, start: int, view: memoryview) -> None:
        file.seek(self._offset + start)
        done = 0
        while done < len(view):
            count = file.readinto(view[done:])
            if not count:
                raise SourceFileError(
                    "the TIFF file was cut short while it was read",
                    where=str(self._path),
                    hint="Is it still being written? It is left for next time.",
                )
            done += count


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
        # Peak memory is twice the page: decoded strips and the assembled page coexist.
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
            # One lock per page: threads that share the image must not share a seek position or
            # decode a page twice.
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
        self._cached = None  # Free the last page before decoding this one.
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
    """Pixels of a series that can only be read as a whole."""

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


def selection_of(key: Any, shape: tuple[int, ...]) -> tuple[tuple[range, ...], set[int]]:
    """Return the indices wanted along each axis, and the axes that an integer removes."""
    keys = key if isinstance(key, tuple) else (key,)
    dots = [i for i, k in enumerate(keys) if isinstance(k, EllipsisType)]
    if len(dots) > 1:
        raise IndexError("an index can have only one ellipsis ('...')")
    at = dots[0] if dots else len(keys)
    before, after = keys[:at], keys[at + 1 :]
    missing = len(shape) - len(before) - len(after)
    if missing < 0:
        raise IndexError(f"too many indices: the image has {len(shape)} axes")
    wanted: list[range] = []
    integers: set[int] = set()
    full = (*before, *([slice(None)] * missing), *after)
    for axis, (k, length) in enumerate(zip(full, shape, strict=True)):
        if isinstance(k, slice):
            wanted.append(range(length)[k])
            continue
        index = _integer(k)
        if not -length <= index < length:
            raise IndexError(f"index {index} is out of range for axis {axis} of length {length}")
        wanted.append(range(index % length, index % length + 1))
        integers.add(axis)
    return tuple(wanted), integers


def _integer(key: Any) -> int:
    try:
        if not isinstance(key, bool | np.bool_):
            return operator.index(key)
    except TypeError:
        pass
    raise ArgumentTypeError(
        f"an image is indexed with integers and slices, not {type(key).__name__}"
    )
