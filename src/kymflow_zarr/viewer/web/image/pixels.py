"""Read planes and block means for the page, never a large image as a whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from kymflow_zarr.errors import ArgumentError, EditConflictError, LimitExceededError
from kymflow_zarr.views.plane import Plane, plane_of

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage
    from kymflow_zarr.viewer.web.site import Site

__all__ = [
    "Pixels",
    "at_of",
    "block_means",
    "check_cost",
    "open_pixels",
    "version_of",
    "wire_dtype",
]

_OPENED_BYTES = 2**14  # Size of a cache entry: a few Python objects.
_RELOAD = "Reload the image."


@dataclass(frozen=True)
class Pixels:
    """The current pixels of an image.

    Parameters
    ----------
    image : StoredImage
        A snapshot.
    version : str
        Changes with the pixels.
    plane : Plane
    chunks : tuple of int
    dtype : dtype
    """

    image: StoredImage
    version: str
    plane: Plane
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]

    def window(
        self, at: dict[str, int], rows: slice, columns: slice, step: tuple[int, int]
    ) -> npt.NDArray[Any]:
        """Return the block means of a rectangle of one plane.

        Raises
        ------
        ArgumentError
            If the image has no such plane.
        LimitExceededError
            If it would read too many bytes.
        EditConflictError
            If the pixels were replaced during the read, so that the result would mix both.
        """
        where: list[Any] = list(self.plane.index(at=at))
        down, across = self.plane.rows, self.plane.columns
        level, (by_rows, by_columns) = self._level_for(rows, columns, step)
        rows, columns = _divided(rows, by_rows), _divided(columns, by_columns)
        step = step[0] // by_rows, step[1] // by_columns
        chunks = self.image.levels[level].chunks
        sizes = chunks[down], chunks[across]
        deep = math.prod(n for i, n in enumerate(chunks) if i not in (down, across))
        check_cost((rows, columns), sizes, self.dtype.itemsize, deep=deep)

        def read(rows: slice, columns: slice) -> npt.NDArray[Any]:
            where[down], where[across] = rows, columns
            return self.image.load_array(tuple(where), level=level)

        means = block_means(read, rows, columns, step, self.dtype, chunk_rows=sizes[0])
        if self.image.has_new_pixels():
            raise EditConflictError(
                "the pixels have changed meanwhile", where=self.image.image_id, hint=_RELOAD
            )
        return means

    def _level_for(
        self, rows: slice, columns: slice, step: tuple[int, int]
    ) -> tuple[int, tuple[int, int]]:
        """Return the smallest level whose samples make up these blocks, and its factors."""
        best = 0, (1, 1)
        if self.dtype.kind == "c":
            return best  # The mean of magnitudes is not the magnitude of the mean.
        for number, level in enumerate(self.image.levels):
            factors = level.factors[self.plane.rows], level.factors[self.plane.columns]
            if all(
                n % f == 0 and span.start % f == 0 and (span.stop % f == 0 or span.stop == size)
                for n, f, span, size in zip(step, factors, (rows, columns), self.size, strict=True)
            ):
                best = number, factors
        return best

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the plane."""
        return self.plane.shape[self.plane.rows], self.plane.shape[self.plane.columns]


def _divided(span: slice, factor: int) -> slice:
    return slice(span.start // factor, -(-span.stop // factor))


def open_pixels(site: Site, image_id: str) -> Pixels:
    """Return the current pixels of an image.

    Raises
    ------
    RecordNotFoundError
        If there is no such image.
    """
    image = site.opened.record(image_id).snapshot()
    version = version_of(image)

    def opened() -> Pixels:
        return Pixels(image, version, plane_of(image), image.chunks, image.dtype)

    # The axes may have changed while the pixels have not.
    key = ("pixels", image_id, version, image.axes, tuple(image.channel_names or ()))
    return site.cache.get(key, opened, lambda _: _OPENED_BYTES)


def version_of(image: StoredImage) -> str:
    """Return a version string that changes with the pixels of an image."""
    return image.pixels_sha256[:16]


def at_of(text: str) -> dict[str, int]:
    """Parse positions along axes such as ``c:0,z:3``.

    Raises
    ------
    ArgumentError
        If the text is not of that form.
    """
    at = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.rpartition(":")
        if not name or not number.isascii() or not number.isdigit() or len(number) > 9:
            raise ArgumentError(f"{part!r} is no position", where="at", hint="c:0,z:3 are two.")
        at[name] = int(number)
    return at


Array = npt.NDArray[Any]

# Bytes held at a time, and bytes that one request may decode.
_BAND_BYTES: Final = 2**25
_MAX_DECODED_BYTES: Final = 2**30
_EXACT: Final = frozenset({"u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"})


def wire_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype for sending values, one for which JavaScript has typed arrays."""
    name = f"{dtype.kind}{dtype.itemsize}"
    if name in _EXACT:
        return np.dtype(f"<{name}")
    if dtype.kind == "b":
        return np.dtype("u1")
    # float16 fits into float32; JavaScript numbers hold only 53 bits of 64-bit integers anyway.
    small = name == "f2" or name == "c8"
    return np.dtype("<f4" if small else "<f8")


def check_cost(
    spans: tuple[slice, slice], chunks: tuple[int, int], n_bytes: int, *, deep: int
) -> None:
    """Refuse a request that would decode too many bytes.

    Parameters
    ----------
    spans : (slice, slice)
        Rows and columns to read.
    chunks : (int, int)
        Lengths of a chunk along rows and columns.
    n_bytes : int
        Size of one element.
    deep : int
        Elements of a chunk along the other axes.

    Raises
    ------
    LimitExceededError
    """
    touched = 1
    for span, size in zip(spans, chunks, strict=True):
        touched *= max(0, -(-span.stop // size) - span.start // size)
    decoded = touched * math.prod(chunks) * n_bytes * deep
    if decoded > _MAX_DECODED_BYTES:
        raise LimitExceededError(
            f"this would read {decoded / 1e6:.0f} MB; at most {_MAX_DECODED_BYTES / 1e6:.0f} MB "
            "are read for one answer",
            hint="Ask for a smaller part, or look at the image with plot().",
        )


def block_means(
    read: Callable[[slice, slice], Array],
    rows: slice,
    columns: slice,
    step: tuple[int, int],
    dtype: np.dtype[Any],
    *,
    chunk_rows: int = 1,
) -> Array:
    """Return the mean of each block of a rectangle; blocks at the end may be smaller.

    Parameters
    ----------
    read : callable
        ``read(rows, columns)`` returns that part of the plane.
    rows, columns : slice
        The rectangle, inside the plane.
    step : (int, int)
        Rows and columns of a block.
    dtype : dtype
        Of the plane.
    chunk_rows : int
        Number of rows in a chunk, which are decoded together.

    Returns
    -------
    ndarray
        Shape (ceil(rows / step), ceil(columns / step)), of :func:`wire_dtype`; integers are rounded
        half to even, and complex numbers become magnitudes.
    """
    down, across = step
    height, width = rows.stop - rows.start, columns.stop - columns.start
    out = np.empty((-(-height // down), -(-width // across)), wire_dtype(dtype))
    # Read whole blocks, about as many rows at a time as a chunk has.
    most = max(1, _BAND_BYTES // max(1, width * dtype.itemsize))
    band = max(1, min(most, max(chunk_rows, 512)) // down) * down
    if most < down:
        return _of_tall_blocks(read, rows, columns, step, out, most)
    for first in range(0, height, band):
        last = min(height, first + band)
        part = _numbers(read(slice(rows.start + first, rows.start + last), columns))
        out[first // down : -(-last // down)] = _rounded(_means(part, down, across), out.dtype)
    return out


def _of_tall_blocks(
    read: Callable[[slice, slice], Array],
    rows: slice,
    columns: slice,
    step: tuple[int, int],
    out: Array,
    most: int,
) -> Array:
    """Fill in block means if even one row of blocks is too large to hold at once."""
    down, across = step
    for number, first in enumerate(range(rows.start, rows.stop, down)):
        last = min(rows.stop, first + down)
        total = np.zeros((1, out.shape[1]), np.float64)
        for start in range(first, last, most):
            stop = min(last, start + most)
            part = _numbers(read(slice(start, stop), columns))
            total += _means(part, stop - start, across) * (stop - start)
        out[number] = _rounded(total / (last - first), out.dtype)[0]
    return out


def _numbers(part: Array) -> Array:
    return np.abs(part) if part.dtype.kind == "c" else part


def _means(part: Array, down: int, across: int) -> Array:
    """Return the mean of each block as float64; the unchanged values if blocks have one value.

    Samples that are NaN are left out, as in the levels of a pyramid.
    """
    if down == across == 1:
        return part
    # Integers of up to 32 bits are summed exactly.
    exact = part.dtype.kind in "biu" and part.dtype.itemsize < 8
    kind = np.int64 if exact else np.float64
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        counts = np.outer(_counts(part.shape[0], down), _counts(part.shape[1], across))
        missing = np.isnan(part) if part.dtype.kind == "f" else None
        if missing is not None and missing.any():
            part = np.where(missing, 0, part)
            counts = counts - _summed(_summed(missing, down, 0, np.int64), across, 1, np.int64)
        sums = _summed(_summed(part, down, 0, kind), across, 1, kind)
        return np.asarray(sums / counts)


def _summed(values: Array, step: int, axis: int, kind: type[np.generic]) -> Array:
    """Return the sums of runs of `step` along an axis; the last may be shorter."""
    if step == 1:
        return values.astype(kind, copy=False)
    size = values.shape[axis]
    whole = size // step
    head = values[: whole * step] if axis == 0 else values[:, : whole * step]
    shape = (whole, step, values.shape[1]) if axis == 0 else (values.shape[0], whole, step)
    sums: Array = head.reshape(shape).sum(axis=axis + 1, dtype=kind)
    if whole * step < size:
        tail = values[whole * step :] if axis == 0 else values[:, whole * step :]
        sums = np.concatenate([sums, tail.sum(axis=axis, dtype=kind, keepdims=True)], axis=axis)
    return sums


def _counts(size: int, step: int) -> Array:
    counts = np.full(-(-size // step), step, np.int64)
    if size % step:
        counts[-1] = size % step
    return counts


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    if dtype.kind == "f" or values.dtype.kind != "f":
        return values.astype(dtype, copy=False)
    # The mean of integers lies in their range, so the cast cannot overflow.
    return np.rint(values).astype(dtype)
