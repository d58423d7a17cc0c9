"""Compare the levels of a foreign pyramid with the first: shapes, scales and values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

# Samples of a level along y and x that are compared at once.
_BLOCK: Final = 256
# A level that takes every second sample has another mean by chance; six standard errors are none.
_ERRORS: Final = 6.0
_SHARE: Final = 0.1
# A scale may be that of the factor, or of the two shapes, which are rounded.
_SCALE_SHARE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Level:
    """A level of a pyramid but the first.

    Parameters
    ----------
    path : str
    pixels : zarr.Array
    scales : sequence of float
        Its steps over those of the first level; empty if they are not known.
    """

    path: str
    pixels: Any
    scales: Sequence[float]


def level_notes(
    first: npt.NDArray[Any], levels: Sequence[Level], *, are_labels: bool
) -> Iterator[str]:
    """Yield a note on each level that is no reduced version of the first.

    Parameters
    ----------
    first : ndarray
        All pixels of the first level.
    levels : sequence of Level
    are_labels : bool
        The values are names and have no mean: those of a level have to be values of the first.
    """
    before: tuple[int, ...] = first.shape
    for level in levels:
        pixels = level.pixels
        fits = pixels.ndim == first.ndim and pixels.dtype == first.dtype
        if not fits or any(n > m or n == 0 for n, m in zip(pixels.shape, before, strict=False)):
            yield (
                f"its level {level.path!r} is {pixels.dtype} {pixels.shape}, no reduced version of "
                f"{first.dtype} {before}"
            )
            continue
        before = pixels.shape
        yield from _scale_note(first.shape, level)
        try:
            # Pixels of a level are not stored, so one that is damaged costs nothing but a note.
            yield from _value_note(first, level, are_labels=are_labels)
        except Exception as error:  # noqa: BLE001 - zarr and its codecs raise many types
            yield f"its level {level.path!r} cannot be read: {type(error).__name__}: {error}"


def _scale_note(shape: tuple[int, ...], level: Level) -> Iterator[str]:
    sizes = zip(shape, level.pixels.shape, strict=True)
    for (size, reduced), scale in zip(sizes, level.scales, strict=False):
        # The shape of a level is rounded up or down.
        low, high = size / (reduced + 1), size / max(reduced - 1, 0.5)
        if not low * (1 - _SCALE_SHARE) <= scale <= high * (1 + _SCALE_SHARE):
            stated = " x ".join(f"{each:g}" for each in level.scales)
            yield (
                f"its level {level.path!r} says that its steps are {stated} those of the first, "
                f"its shape {level.pixels.shape} says otherwise"
            )
            return


def _value_note(first: npt.NDArray[Any], level: Level, *, are_labels: bool) -> Iterator[str]:
    if first.dtype.kind not in "biuf":
        return
    shape = level.pixels.shape
    sizes = [_BLOCK if place >= len(shape) - 2 else 1 for place in range(len(shape))]
    starts = [range(0, n, size) for n, size in zip(shape, sizes, strict=True)]
    wrong = 0
    blocks = 0
    for corner in itertools.product(*starts):
        spans = [
            (start, min(start + size, n))
            for start, size, n in zip(corner, sizes, shape, strict=True)
        ]
        # Programs center levels differently, so the area is one sample wider on each side.
        block = level.pixels[tuple(slice(*span) for span in spans)]
        area = first[
            tuple(
                slice(max(math.floor(a * m / n) - (n < m), 0), math.ceil(b * m / n) + (n < m))
                for (a, b), n, m in zip(spans, shape, first.shape, strict=True)
            )
        ]
        blocks += 1
        same = _known_labels if are_labels else _same_mean
        wrong += not same(block, area)
    if wrong:
        share = "" if wrong == blocks else f" in {wrong} of {blocks} blocks"
        yield f"the values of its level {level.path!r} are not those of the first{share}"


def _known_labels(block: npt.NDArray[Any], area: npt.NDArray[Any]) -> bool:
    return bool(np.isin(np.unique(block), area).all())


def _same_mean(block: npt.NDArray[Any], area: npt.NDArray[Any]) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        values, reduced = (each[np.isfinite(each)].astype(np.float64) for each in (area, block))
        if not len(values) or not len(reduced):
            return True
        error = values.std() * max(_SHARE, _ERRORS / math.sqrt(len(reduced)))
        rounding = 1.0 if block.dtype.kind in "biu" else 1e-3 * float(np.abs(values).max())
        return bool(abs(values.mean() - reduced.mean()) <= error + rounding)
