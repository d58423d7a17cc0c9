"""The velocity analysis of a synthetic kymograph, as an estimate of its known truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kymflow_zarr.testing.kymographs import Floats, SyntheticKymograph
from kymflow_zarr.testing.vessels import SyntheticVessel

__all__ = ["WINDOW_LINES", "Measured", "Region", "find_events", "measure", "regions_of"]

WINDOW_LINES = 16
STRIDE_LINES = 4


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the image; lines by pixels, stops exclusive."""

    roi_id: int
    note: str
    lines: tuple[int, int]
    pixels: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Measured:
    """Velocity per window of lines; arrays of shape (n_windows,)."""

    time_s: Floats
    velocity: Floats
    clean: Floats


def regions_of(vessel: SyntheticVessel) -> tuple[Region, ...]:
    """List the whole image and, where it is wide enough, its center."""
    whole = Region(1, "Full Image", (0, vessel.n_lines), (0, vessel.n_pixels))
    if vessel.n_pixels < 24:
        return (whole,)
    quarter, fifth = vessel.n_lines // 4, vessel.n_pixels // 5
    center = Region(
        2, "Center Region", (quarter, vessel.n_lines - quarter), (fifth, vessel.n_pixels - fifth)
    )
    return (whole, center)


def measure(kymograph: SyntheticKymograph, region: Region, rng: np.random.Generator) -> Measured:
    """Estimate the velocity in windows of 16 lines, every 4 lines, as a Radon transform would."""
    vessel = kymograph.vessel
    first, last = region.lines
    starts = np.arange(first, last - WINDOW_LINES + 1, STRIDE_LINES)
    time_s = np.asarray((starts + WINDOW_LINES // 2) * vessel.line_period_s, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(kymograph.velocity_mm_s)])
    truth = (total[starts + WINDOW_LINES] - total[starts]) / WINDOW_LINES
    estimate = truth + (0.04 * np.abs(truth) + 0.004) * rng.standard_normal(len(starts))
    missed = rng.random(len(starts)) < 0.015
    estimate[missed] *= rng.uniform(-0.4, 1.6, size=int(missed.sum()))
    # The transform tests streak angles on a grid of a quarter of a degree.
    unit = vessel.pixel_size_um / (1000.0 * vessel.line_period_s)
    degrees = np.round(np.degrees(np.arctan(estimate / unit)) * 4) / 4
    velocity = unit * np.tan(np.radians(degrees))
    velocity[rng.random(len(starts)) < 0.004] = np.nan
    return Measured(time_s, velocity, _median_of_five(velocity))


def _median_of_five(values: Floats) -> Floats:
    """Smooth with a running median over 5 samples that ignores NaN; NaN where all 5 are."""
    padded = np.concatenate([[np.nan] * 2, values, [np.nan] * 2])
    windows = np.sort(np.stack([padded[i : i + len(values)] for i in range(5)], axis=1), axis=1)
    n_valid = np.sum(~np.isnan(windows), axis=1)
    # NaN sorts last; with none valid the index is -1, which is a NaN.
    return np.asarray(windows[np.arange(len(windows)), (n_valid + 1) // 2 - 1], dtype=np.float64)


def find_events(kymograph: SyntheticKymograph, measured: Measured) -> list[dict[str, Any]]:
    """List the stalls within the measured time, described as the event detector does."""
    speed = np.abs(measured.clean)
    found = []
    for event in kymograph.events:
        i = int(np.searchsorted(measured.time_s, event.t_s))
        before, after = speed[max(0, i - 60) : i], speed[i : i + 60]
        if np.isnan(before).all() or np.isnan(after).all():
            continue
        low, high = float(np.nanmedian(before)), float(np.nanmedian(after))
        spread = float(np.nanstd(speed))
        t_s = float(measured.time_s[i])
        dropped = event.event_type == "baseline_drop"
        found.append(
            {
                "event_type": event.event_type,
                "i_start": i,
                "i_peak": i,
                "i_end": None,
                "t_start": t_s,
                "t_peak": t_s,
                "t_end": None,
                "score_peak": high - low,
                "baseline_before": low,
                "baseline_after": high,
                "strength": abs(high - low) / spread if spread else None,
                "nan_fraction_in_event": None,
                "n_valid_in_event": None,
                "duration_sec": None,
                "machine_type": "stall_candidate" if dropped else "other",
                "user_type": "unreviewed",
                "note": "",
            }
        )
    return found
