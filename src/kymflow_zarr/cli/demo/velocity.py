"""The analysis of the demo: velocity of the cells in a kymograph, by cross-correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

__all__ = ["find_stalls", "measure_velocity"]

_WINDOW_LINES = 32
_STRIDE_LINES = 8
_MIN_STALL_S = 0.2


def measure_velocity(
    pixels: npt.NDArray[Any], *, line_period_s: float, pixel_size_um: float
) -> pd.DataFrame:
    """Measure how far the pattern of cells moves from line to line.

    Parameters
    ----------
    pixels : ndarray, shape (n_lines, n_pixels)
        The kymograph; it needs 48 lines or more.
    line_period_s, pixel_size_um : float
        Seconds per line and micrometers per pixel.

    Returns
    -------
    DataFrame
        ``time_s`` and ``velocity_mm_s``, one row for each window of 32 lines, every 8 lines;
        positive towards higher pixels.
    """
    import pandas as pd

    image = pixels.astype(np.float64)
    image -= image.mean(axis=0)
    n_pixels = image.shape[1]
    shifts = np.arange(-(n_pixels // 2), n_pixels // 2 + 1)
    scores = []
    for shift in shifts:
        here = image[:-1, max(0, -shift) : n_pixels - max(0, shift)]
        there = image[1:, max(0, shift) : n_pixels + min(0, shift)]
        total = np.concatenate([[0.0], np.cumsum((here * there).mean(axis=1))])
        starts = np.arange(0, len(total) - _WINDOW_LINES, _STRIDE_LINES)
        scores.append(total[starts + _WINDOW_LINES] - total[starts])
    table = np.array(scores)
    peak = np.clip(table.argmax(axis=0), 1, len(shifts) - 2)
    window = np.arange(len(starts))
    below, at, above = (table[peak + step, window] for step in (-1, 0, 1))
    # The vertex of the parabola through the best shift and its neighbors.
    shift_pixels = shifts[peak] + 0.5 * (below - above) / (below - 2 * at + above)
    return pd.DataFrame(
        {
            "time_s": (starts + _WINDOW_LINES / 2) * line_period_s,
            "velocity_mm_s": shift_pixels * pixel_size_um / line_period_s / 1000,
        }
    )


def find_stalls(velocity: pd.DataFrame) -> list[tuple[float, float]]:
    """Return start and end, in seconds, of the times in which nothing moved."""
    speed = velocity["velocity_mm_s"].abs().rolling(5, center=True, min_periods=1).median()
    still = (speed < 0.25 * speed.median()).to_numpy()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(int)))
    time_s = velocity["time_s"].to_numpy()
    runs = [(float(time_s[a]), float(time_s[b - 1])) for a, b in edges.reshape(-1, 2)]
    return [(start, stop) for start, stop in runs if stop - start >= _MIN_STALL_S]
