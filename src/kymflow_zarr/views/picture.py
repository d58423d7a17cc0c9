"""Small gray pictures of large images, with few chunk reads and automatic contrast."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from kymflow_zarr.errors import LimitExceededError
from kymflow_zarr.views.plane import Plane, plane_of

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage

__all__ = [
    "Preview",
    "contrast",
    "data_uri",
    "gray_levels",
    "histogram_edges",
    "preview",
    "reduced",
    "shown_size",
    "stretched",
]

Array = npt.NDArray[Any]

_MAX_PIXELS: Final = 2**22
_MAX_BYTES: Final = 2**26
_PERCENTILES: Final = (0.5, 99.5)


@dataclass(frozen=True)
class Preview:
    """A plane, or a part of a large one.

    Parameters
    ----------
    plane : Plane
    index : tuple
        Which plane it is.
    pixels : ndarray
        Pixels in drawing orientation: (vertical, horizontal).
    start : tuple of int
        First sample, (vertical, horizontal).
    """

    plane: Plane
    index: tuple[int | slice, ...]
    pixels: Array
    start: tuple[int, int]

    @property
    def is_whole(self) -> bool:
        """Whether it shows the whole plane."""
        return self.pixels.shape == (self.plane.vertical.size, self.plane.horizontal.size)


def preview(record: StoredImage, *, channel: int = 1) -> Preview:
    """Read a plane for a picture: the first time, one channel, the middle of the stack.

    Read at most 4 million pixels: the start of a long kymograph, the middle of a large image.

    Raises
    ------
    LimitExceededError
        If the chunks are so large that even that would read more than 64 MiB.
    """
    plane = plane_of(record)
    middle = next(
        (n // 2 for i, n in enumerate(plane.shape)
         if plane.axes[i].name == "z" and i not in (plane.rows, plane.columns)),
        0,
    )  # fmt: skip
    index = plane.index(z=middle, channel=channel)
    height, width = plane.shape[plane.rows], plane.shape[plane.columns]
    taken = _window(height, width, plane)
    spans = [
        _span(plane.axes[position].quantity == "time", plane.shape[position], size)
        for position, size in zip((plane.rows, plane.columns), taken, strict=True)
    ]
    where = list(index)
    where[plane.rows], where[plane.columns] = spans
    _refuse_large_chunks(record, spans, plane)
    pixels = plane.arrange(record.load_array(tuple(where)))
    first = spans[0].start, spans[1].start
    return Preview(plane, index, pixels, first[::-1] if plane.turned else first)


def _window(height: int, width: int, plane: Plane) -> tuple[int, int]:
    """Return the numbers of rows and columns to read."""
    if height * width <= _MAX_PIXELS:
        return height, width
    if plane.is_kymograph:
        # Read as much of the line as possible, then as much time as fits.
        if plane.turned:
            width = min(width, _MAX_PIXELS)
            return max(1, _MAX_PIXELS // width), width
        height = min(height, _MAX_PIXELS)
        return height, max(1, _MAX_PIXELS // height)
    share = math.sqrt(_MAX_PIXELS / (height * width))
    height = min(max(1, int(height * share)), _MAX_PIXELS)
    return height, min(max(1, int(width * share)), _MAX_PIXELS // height)


def _span(is_time: bool, size: int, taken: int) -> slice:
    first = 0 if is_time else (size - taken) // 2
    return slice(first, first + taken)


def _refuse_large_chunks(record: StoredImage, spans: Sequence[slice], plane: Plane) -> None:
    chunks = record.chunks
    chunk = math.prod(chunks) * record.dtype.itemsize
    touched = 1
    for position, span in zip((plane.rows, plane.columns), spans, strict=True):
        size = chunks[position]
        touched *= max(0, (span.stop - 1) // size - span.start // size + 1)
    if chunk * touched > _MAX_BYTES:
        raise LimitExceededError(
            f"a picture would read {chunk * touched / 1e6:.0f} MB, for the chunks are large",
            hint="plot() draws it all the same.",
        )


def reduced(pixels: Array, vertical: int, horizontal: int) -> npt.NDArray[np.float64]:
    """Return the means of blocks; NaN if a sample is not finite."""
    values = np.abs(pixels) if pixels.dtype.kind == "c" else pixels
    height, width = (n // f for n, f in zip(values.shape, (vertical, horizontal), strict=True))
    blocks = values[: height * vertical, : width * horizontal].reshape(
        height, vertical, width, horizontal
    )
    with np.errstate(all="ignore"):
        means: npt.NDArray[np.float64] = blocks.mean(axis=(1, 3), dtype=np.float64)
    means[~np.isfinite(means)] = np.nan
    return means


def contrast(values: Array) -> tuple[float, float]:
    """Return the 0.5th and 99.5th percentiles of the finite values; 0 and 1 if there are none."""
    flat = np.asarray(values).reshape(-1)
    # A million values are a sufficient sample.
    flat = flat[:: max(1, flat.size // 2**20)]
    flat = flat[np.isfinite(flat)].astype(np.float64)
    if not flat.size:
        return 0.0, 1.0
    # Halve first: `high - low` can overflow float64.
    low, high = np.percentile(flat / 2, _PERCENTILES) * 2
    return float(low), float(high)


def gray_levels(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return values scaled to 0 to 255; non-finite ones become 0."""
    low, high = contrast(values)
    with np.errstate(all="ignore"):
        levels = (values - low) / max(high - low, 1e-300) * 255
    return np.rint(np.clip(np.nan_to_num(levels, nan=0.0), 0, 255)).astype(np.uint8)


def data_uri(image: npt.NDArray[np.uint8]) -> str:
    """Return a picture, gray (h, w) or RGBA (h, w, 4), as a data URI with a PNG."""
    import imagecodecs

    png = bytes(imagecodecs.png_encode(np.ascontiguousarray(image)))
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def shown_size(plane: Plane, sizes: tuple[int, int], longer: int) -> tuple[int, int]:
    """Return height and width in pixels of the picture of a plane, or of a part of it.

    Parameters
    ----------
    plane : Plane
    sizes : (int, int)
        Samples from top to bottom and from left to right.
    longer : int
        Longer side of the picture in pixels.
    """
    if plane.is_kymograph:
        # Time and space have no common scale: draw a strip, which shows streaks best.
        return max(1, longer // 2), longer
    tall, wide = map(float, sizes)
    if plane.is_true_to_scale:
        tall, wide = tall * plane.vertical.step, wide * plane.horizontal.step
    scale = longer / max(tall, wide)
    return max(1, math.floor(tall * scale)), max(1, math.floor(wide * scale))


def stretched(values: Array, height: int, width: int) -> Array:
    """Return values of another size, each the nearest one."""
    rows, columns = (
        np.arange(wanted) * n // wanted
        for n, wanted in zip(values.shape, (height, width), strict=True)
    )
    nearest: Array = values[rows][:, columns]
    return nearest


def histogram_edges(
    least: float, most: float, *, whole: bool, bins: int
) -> npt.NDArray[np.floating[Any]]:
    """Return distinct edges in ascending order, which enclose all values.

    Parameters
    ----------
    least, most : float
        The smallest and the largest value, finite.
    whole : bool
        Whether all values are integers; each bin then covers the same number of integers.
    bins : int
        Maximum number of bins; there are fewer if the range has fewer distinct numbers.
    """
    if whole:
        span = int(most) - int(least) + 1
        width = max(1, -(-span // bins))
        edges = int(least) + width * np.arange(-(-span // width) + 1, dtype=np.float64)
    else:
        # Halve first: `upper - least` can overflow float64.
        upper = most if most > least else least + 1.0
        edges = np.linspace(least / 2, upper / 2, bins + 1) * 2
    # Adjacent large floats lie further apart than the bin width.
    edges = np.unique(edges)
    edges[0], edges[-1] = min(edges[0], least), max(edges[-1], most)
    if len(edges) > 1:
        return edges
    # `least + 1` may round to `least`; take the next number that differs.
    return np.sort([least, math.nextafter(least, 0.0)])
