"""Edges of the bins of a histogram, of any finite numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["histogram_edges"]


def histogram_edges(
    least: float, most: float, *, whole: bool, bins: int
) -> npt.NDArray[np.floating[Any]]:
    """Return edges that differ, in order; the first and the last hold all the values.

    Parameters
    ----------
    least, most : float
        The smallest and the largest value, finite.
    whole : bool
        Whether all values are whole numbers: a bin holds as many of them as every other.
    bins : int
        No more than so many; fewer where there are not so many numbers between.
    """
    if whole:
        span = int(most) - int(least) + 1
        width = max(1, -(-span // bins))
        edges = int(least) + width * np.arange(-(-span // width) + 1, dtype=np.float64)
    else:
        # Halves, as the two may be further apart than the largest number.
        upper = most if most > least else least + 1.0
        edges = np.linspace(least / 2, upper / 2, bins + 1) * 2
    # Large numbers lie further apart than the bins would.
    edges = np.unique(edges)
    edges[0], edges[-1] = min(edges[0], least), max(edges[-1], most)
    if len(edges) > 1:
        return edges
    # One more would be the same: the next smaller number, or larger, is another.
    return np.sort([least, math.nextafter(least, 0.0)])
