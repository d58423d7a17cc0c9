"""Write a TIFF back byte by byte, from its skeleton and the pixels of the dataset."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from kymflow_zarr.schema.tiff_skeleton import TiffSkeleton
    from kymflow_zarr.types import ArrayLike

__all__ = ["OneChannel", "fits", "write_with_skeleton"]

# What is read of a large image at a time.
BLOCK_BYTES: Final = 64 << 20


class OneChannel:
    """One index along one axis of an image, read on demand.

    Parameters
    ----------
    pixels : ArrayLike
    axis, index : int
    """

    def __init__(self, pixels: ArrayLike, axis: int, index: int) -> None:
        self._pixels, self._axis, self._index = pixels, axis, index
        shape = tuple(pixels.shape)
        self.shape: tuple[int, ...] = (*shape[:axis], *shape[axis + 1 :])
        self.dtype: Any = pixels.dtype

    def __getitem__(self, key: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        whole = (*key[: self._axis], self._index, *key[self._axis :])
        return np.asarray(self._pixels[whole])


def fits(skeleton: TiffSkeleton, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Return True if pixels have the shape and dtype that a skeleton was made for.

    Parameters
    ----------
    skeleton : TiffSkeleton
    shape : tuple of int
        Of the image, all channels of a set of files included.
    dtype : numpy.dtype
    """
    if np.dtype(skeleton.dtype).newbyteorder("=") != dtype:
        return False
    if skeleton.channel is not None:
        axis, index = skeleton.channel
        if axis >= len(shape) or index >= shape[axis]:
            return False
        shape = (*shape[:axis], *shape[axis + 1 :])
    return shape == skeleton.image_shape


def write_with_skeleton(path: Path, skeleton: TiffSkeleton, pixels: ArrayLike) -> None:
    """Write a TIFF from its skeleton and the pixels, which :func:`fits` has found to fit.

    Parameters
    ----------
    path : Path
        A file that is not there yet.
    skeleton : TiffSkeleton
    pixels : ArrayLike
        Of the image; read in blocks.
    """
    if skeleton.channel is not None:
        pixels = OneChannel(pixels, *skeleton.channel)
    with path.open("xb") as file:
        file.truncate(skeleton.size_bytes)
        at = 0
        for offset, count in skeleton.gaps:
            file.seek(offset)
            file.write(skeleton.rest[at : at + count])
            at += count
        left = iter(skeleton.ranges)
        offset, count = 0, 0
        for block in _blocks(skeleton, pixels):
            data = block.reshape(-1).view(np.uint8).data
            done = 0
            while done < len(data):
                if count == 0:
                    offset, count = next(left)
                    continue
                part = min(count, len(data) - done)
                file.seek(offset)
                file.write(data[done : done + part])
                offset, count, done = offset + part, count - part, done + part


def _blocks(skeleton: TiffSkeleton, pixels: ArrayLike) -> Iterator[npt.NDArray[Any]]:
    """Yield the pixels as the file has them: its dtype, its order, a run at a time."""
    shape = skeleton.shape
    # The first dimension of which a run fits; those before it are gone through one by one.
    cut = next(
        (d for d in range(len(shape)) if _bytes_below(skeleton, d) <= BLOCK_BYTES), len(shape) - 1
    )
    run = max(1, BLOCK_BYTES // max(1, _bytes_below(skeleton, cut)))
    if any(len(dims) > 1 and dims[1] == cut and dims[0] > cut for dims in skeleton.dims):
        run = 1
    for position in itertools.product(*(range(n) for n in shape[:cut])):
        for start in range(0, shape[cut], run):
            yield _block(
                skeleton,
                pixels,
                [
                    *(range(i, i + 1) for i in position),
                    range(start, min(start + run, shape[cut])),
                    *(range(n) for n in shape[cut + 1 :]),
                ],
            )


def _bytes_below(skeleton: TiffSkeleton, dimension: int) -> int:
    return math.prod(skeleton.shape[dimension + 1 :]) * skeleton.itemsize


def _block(skeleton: TiffSkeleton, pixels: ArrayLike, ranges: list[range]) -> npt.NDArray[Any]:
    key = tuple(_slice(skeleton, dims, ranges) for dims in skeleton.dims)
    found = np.asarray(pixels[key])
    order = [d for dims in skeleton.dims for d in dims]
    order += [d for d in range(len(ranges)) if d not in order]
    found = found.reshape([len(ranges[d]) for d in order]).transpose(np.argsort(order))
    return np.ascontiguousarray(found, dtype=skeleton.dtype)


def _slice(skeleton: TiffSkeleton, dims: list[int], ranges: list[range]) -> slice:
    """Return where a part of the file's dimensions lies along the axis they make up."""
    outer = ranges[dims[0]]
    if len(dims) == 1:
        return slice(outer.start, outer.stop)
    count, inner = skeleton.shape[dims[1]], ranges[dims[1]]
    if len(inner) == count:
        return slice(outer.start * count, outer.stop * count)
    first = outer.start * count + inner.start
    if len(outer) == 1:
        return slice(first, first + len(inner))
    return slice(first, outer.stop * count, count)
