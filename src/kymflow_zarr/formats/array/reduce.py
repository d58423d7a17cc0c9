"""Reduce arrays to a lower resolution: by the mean of small blocks, of labels by their mode."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from kymflow_zarr.types import ArrayLike

Array: TypeAlias = np.ndarray[Any, Any]

# Elements of the source that are reduced at a time, unless its chunks are larger.
_BLOCK: Final = 1 << 21


def reduced(block: Array, factors: Sequence[int], method: str) -> Array:
    """Return one value for each block of `factors` samples; blocks at the end may be smaller.

    Parameters
    ----------
    block : ndarray
        Bool, integers, floats or complex numbers.
    factors : sequence of int
        Samples of a block along each dimension; at most 4 in all for the mode.
    method : str
        ``"mean"``: of integers (and of bool as 0 and 1) the mean, rounded half to even; of floats
        and complex numbers the mean of those that are not NaN, computed in float64 or complex128,
        NaN if all are. ``"mode"``: the most frequent value, of several the smallest.

    Returns
    -------
    ndarray
        Shape ``ceil(n / factor)``, dtype of `block`.
    """
    out = np.empty([-(-n // f) for n, f in zip(block.shape, factors, strict=True)], block.dtype)
    combine = METHODS[method]
    for parts in itertools.product(*map(_even_parts, block.shape, factors)):
        to, starts, counts = zip(*parts, strict=True)
        views = [
            block[tuple(slice(s.start + i, s.stop, f)
                        for s, i, f in zip(starts, offset, counts, strict=True))]
            for offset in itertools.product(*map(range, counts))
        ]  # fmt: skip
        out[to] = combine(views)
    return out


def _even_parts(size: int, factor: int) -> Iterator[tuple[slice, slice, int]]:
    """Yield the whole blocks along a dimension and the smaller one at its end.

    Yields
    ------
    (slice, slice, int)
        Positions in the result, positions in the array, and samples of a block.
    """
    whole, rest = divmod(size, factor)
    if whole:
        yield slice(0, whole), slice(0, whole * factor), factor
    if rest:
        yield slice(whole, whole + 1), slice(whole * factor, size), rest


def _mean(views: list[Array]) -> Array:
    dtype, n = views[0].dtype, len(views)
    if n == 1:
        return views[0]
    if dtype.kind in "fc":
        return _mean_of_floats(views)
    if dtype.itemsize < 8:
        wide = np.int32 if dtype.itemsize < 4 else np.int64
        total: Array = views[0].astype(wide)
        for view in views[1:]:
            total = np.add(total, view, out=total)
        quotient, rest = _divided(total, n)
    else:
        # The sum itself may overflow.
        high, low = _divided(views[0], n)
        for view in views[1:]:
            more, rest = _divided(view, n)
            high, low = high + more, low + rest
        more, rest = _divided(low, n)
        quotient = high + more
    # Half to even: up from above the half, and from the half if the quotient is odd.
    twice = rest + rest
    up = (twice > n) | ((twice == n) & ((quotient & 1) == 1))
    return np.asarray((quotient + up).astype(dtype))


def _divided(values: Array, n: int) -> tuple[Array, Array]:
    """Return quotient and rest; the quotient is rounded down."""
    if n == 4:  # Shifts are several times as fast.
        return values >> 2, values & 3
    quotient = values // n
    return quotient, values - quotient * n


def _mean_of_floats(views: list[Array]) -> Array:
    dtype, n = views[0].dtype, len(views)
    wide = np.complex128 if dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        mean: Array = views[0].astype(wide)
        for view in views[1:]:
            mean += view
        mean /= n
        if not np.isfinite(mean).all():
            stack = np.stack([view.astype(wide) for view in views])
            missing = np.isnan(stack)
            counts = n - missing.sum(axis=0)
            # Divided first, as the sum of large numbers overflows.
            exact = (np.where(missing, 0, stack) / np.maximum(counts, 1)).sum(axis=0)
            mean = np.where(np.isfinite(mean), mean, np.where(counts > 0, exact, np.nan))
        return np.asarray(mean.astype(dtype))


def _mode(views: list[Array]) -> Array:
    if len(views) == 1:
        return views[0]
    values = np.sort(np.stack(views), axis=0)
    mode: Array = values[0]
    if len(values) == 4:
        mode = np.where((values[0] != values[1]) & (values[2] == values[3]), values[2], mode)
    if len(values) > 2:
        mode = np.where((values[1] == values[2]) & (values[0] != values[1]), values[1], mode)
    return mode


METHODS: Final[dict[str, Callable[[list[Array]], Array]]] = {"mean": _mean, "mode": _mode}


class ReducedArray:
    """An array at a lower resolution, computed from its source where it is read.

    Parameters
    ----------
    source : ArrayLike
        Of at least two dimensions.
    factors : tuple of int
        Samples of the source for one, along each dimension; 1 for all but the last two that are
        reduced.
    method : str
        As for :func:`reduced`.
    unit : tuple of int
        Shape of what the source reads at once, such as a chunk: it is read in multiples of it.
    """

    def __init__(
        self, source: ArrayLike, factors: Sequence[int], method: str, unit: Sequence[int]
    ) -> None:
        self._source = source
        self._factors = tuple(factors)
        self._method = method
        self._unit = tuple(unit)
        self.shape = tuple(-(-n // f) for n, f in zip(source.shape, self._factors, strict=True))
        self.dtype = np.dtype(source.dtype)

    def __getitem__(self, region: tuple[slice, ...]) -> Array:
        """Return a region, given by slices with a start and a stop."""
        out = np.empty([part.stop - part.start for part in region], self.dtype)
        for block in self._parts(out.shape):
            whole = zip(region, block, strict=True)
            out[block] = self._read(
                [slice(all_.start + part.start, all_.start + part.stop) for all_, part in whole]
            )
        return out

    def blocks(self) -> Iterator[tuple[tuple[slice, ...], Array]]:
        """Yield all of the array in blocks, each with its region."""
        for block in self._parts(self.shape):
            yield block, self._read(block)

    def _read(self, region: Sequence[slice]) -> Array:
        sizes = zip(region, self._factors, self._source.shape, strict=True)
        wanted = tuple(slice(part.start * f, min(part.stop * f, n)) for part, f, n in sizes)
        return reduced(np.asarray(self._source[wanted]), self._factors, self._method)

    def _parts(self, shape: Sequence[int]) -> Iterator[tuple[slice, ...]]:
        """Yield the parts of a region, each of which reads a moderate part of the source."""
        lengths = [max(1, u // f) for u, f in zip(self._unit, self._factors, strict=True)]
        size = math.prod(lengths) * math.prod(self._factors)
        for i in reversed(range(len(lengths))):
            times = max(1, min(-(-shape[i] // lengths[i]), _BLOCK // size))
            lengths[i] *= times
            size *= times
        spans = [range(0, n, length) for n, length in zip(shape, lengths, strict=True)]
        for at in itertools.product(*spans):
            yield tuple(
                slice(i, min(i + length, n))
                for i, length, n in zip(at, lengths, shape, strict=True)
            )
