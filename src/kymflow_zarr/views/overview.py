"""Small pictures of all of an image: means of its blocks, read a band of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from kymflow_zarr.engine.images import thumbnails
from kymflow_zarr.errors import LimitExceededError
from kymflow_zarr.views.picture import contrast, shown_size, stretched
from kymflow_zarr.views.plane import Plane, plane_of

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage

__all__ = ["MAX_TINTS", "TINTS", "is_rgb", "overview", "thumbnail", "thumbnail_png"]

Means = npt.NDArray[np.float64]

_CHUNK_BYTES: Final = 2**26
_BAND_BYTES: Final = 2**25
# Of a larger plane some bands only are read, evenly spaced.
_READ_BYTES: Final = 2**30
# Green, magenta, cyan, yellow: pairs that are told apart with every common color blindness.
TINTS: Final = ((0, 255, 0), (255, 0, 255), (0, 255, 255), (255, 255, 0))
MAX_TINTS: Final = len(TINTS)


def thumbnail(image: StoredImage, size: int = thumbnails.SIZE) -> bytes:
    """Return a small picture of an image as PNG.

    A picture of the usual size is read from the index, or drawn and stored there.
    """
    image = image.snapshot()
    return thumbnails.thumbnail(
        image.storage, image.document(), size, lambda side: thumbnail_png(image, side)
    )


def thumbnail_png(record: StoredImage, size: int) -> bytes:
    """Draw a small picture of an image, its longer side `size` pixels long, as PNG."""
    import imagecodecs

    return bytes(imagecodecs.png_encode(np.ascontiguousarray(overview(record, size))))


def is_rgb(dtype: np.dtype[Any], channels: int, names: tuple[str, ...]) -> bool:
    """Return True if the channels of an image are the red, green and blue of a color picture."""
    if dtype != np.uint8 or channels not in (3, 4):
        return False
    initials = [name[:1].casefold() for name in names]
    return len(set(names)) <= 1 or initials[:3] == ["r", "g", "b"]


def overview(record: StoredImage, size: int) -> npt.NDArray[np.uint8]:
    """Draw all of the first time and the middle of the stack.

    Parameters
    ----------
    record : StoredImage
    size : int
        Longer side in pixels.

    Returns
    -------
    ndarray of uint8
        Gray, shape (rows, columns), or of several channels colors, (rows, columns, 3): those of an
        RGB picture as they are, others as a sum of tints with a contrast each.

    Raises
    ------
    LimitExceededError
        If a chunk takes more than 64 MiB.
    """
    plane = plane_of(record)
    sizes = plane.vertical.size, plane.horizontal.size
    shown = shown_size(plane, sizes, size)
    level = _level_for(record, plane, shown)
    n_bytes = math.prod(record.levels[level].chunks) * record.dtype.itemsize
    if n_bytes > _CHUNK_BYTES:
        raise LimitExceededError(
            f"a picture would read {n_bytes / 1e6:.0f} MB at once, for the chunks are large",
            hint="plot() draws it all the same.",
        )
    channels = next((n for a, n in zip(plane.axes, plane.shape, strict=True)
                     if a.quantity == "channel"), 1)  # fmt: skip
    rgb = is_rgb(record.dtype, channels, plane.channel_names)
    several = 3 if rgb else min(channels, len(TINTS))
    drawn = [stretched(_means(record, plane, n + 1, shown, level), *shown) for n in range(several)]
    colors: Means
    if rgb:
        colors = np.stack(drawn, axis=-1)
    else:
        levels = [_levels(means) for means in drawn]
        tints = np.array(TINTS if several > 1 else (255.0,), dtype=np.float64)
        colors = np.tensordot(levels, tints[:several], axes=(0, 0))
    return np.rint(np.minimum(colors, 255)).astype(np.uint8)


def _levels(means: Means) -> Means:
    """Return values scaled to 0 to 1; non-finite ones become 0."""
    low, high = contrast(means)
    with np.errstate(all="ignore"):
        levels = (means - low) / max(high - low, 1e-300)
    return np.clip(np.nan_to_num(levels, nan=0.0), 0, 1)


def _level_for(record: StoredImage, plane: Plane, shown: tuple[int, int]) -> int:
    """Return the smallest level with a sample for each pixel that is shown."""
    if record.dtype.kind == "c":
        return 0  # The mean of magnitudes is not the magnitude of the mean.
    at = (plane.columns, plane.rows) if plane.turned else (plane.rows, plane.columns)
    return max(
        number
        for number, level in enumerate(record.levels)
        if all(level.shape[i] >= min(n, plane.shape[i]) for i, n in zip(at, shown, strict=True))
    )


def _means(
    record: StoredImage, plane: Plane, channel: int, shown: tuple[int, int], level: int
) -> Means:
    """Return the means of blocks of a plane as drawn, at most as many as are shown."""
    middle = next(
        (n // 2 for i, n in enumerate(plane.shape)
         if plane.axes[i].name == "z" and i not in (plane.rows, plane.columns)),
        0,
    )  # fmt: skip
    has_channels = any(axis.quantity == "channel" for axis in plane.axes)
    where = list(plane.index(z=middle, channel=channel if has_channels else 1))
    shape = record.levels[level].shape
    height, width = shape[plane.rows], shape[plane.columns]
    rows, columns = shown[::-1] if plane.turned else shown
    rows, columns = min(rows, height), min(columns, width)
    starts = np.arange(columns) * width // columns
    widths = np.diff(starts, append=width)
    sums = np.zeros((rows, columns))
    counts = np.zeros(rows)
    for band in _bands(height, width, record, plane, level):
        where[plane.rows] = band
        part = record.load_array(tuple(where), level=level)
        part = np.abs(part) if part.dtype.kind == "c" else part
        with np.errstate(all="ignore"):
            across = np.add.reduceat(part, starts, axis=1, dtype=np.float64) / widths
            row_of = np.arange(band.start, band.stop) * rows // height
            firsts = np.flatnonzero(np.diff(row_of, prepend=-1))
            sums[row_of[firsts]] += np.add.reduceat(across, firsts, axis=0)
        np.add.at(counts, row_of, 1)
    # A row of blocks that was not read is like the one before.
    nearest = np.maximum.accumulate(np.where(counts > 0, np.arange(rows), 0))
    with np.errstate(all="ignore"):
        means: Means = sums[nearest] / counts[nearest][:, None]
    means[~np.isfinite(means)] = np.nan
    return means.T if plane.turned else means


def _bands(
    height: int, width: int, record: StoredImage, plane: Plane, level: int
) -> Iterator[slice]:
    """Yield rows to read together: whole chunks, not too many of them."""
    chunks = record.levels[level].chunks
    deep = math.prod(n for i, n in enumerate(chunks) if i not in (plane.rows, plane.columns))
    row_bytes = width * record.dtype.itemsize * deep
    chunk_rows = chunks[plane.rows]
    band = max(1, _BAND_BYTES // max(1, row_bytes * chunk_rows)) * chunk_rows
    every = -(-height * row_bytes // _READ_BYTES)
    for first in range(0, height, band * every):
        yield slice(first, min(height, first + band))
