"""Synthetic blood-flow kymographs with known true velocity, and the vessels they show."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from kymflow_zarr.errors import ArgumentError

Direction: TypeAlias = Literal["forward", "backward"]


@dataclass(frozen=True, slots=True)
class SyntheticVessel:
    """Parameters of one line scan along one vessel: flow and imaging.

    Parameters
    ----------
    name : str
        Animal and vessel, such as ``"A89_0002"``; part of the file name.
    condition : str
        Experimental group; the folder above the date.
    date : str
        Day of the recording, ``YYYYMMDD``.
    clock : str
        Wall clock at the microscope, ``HH:MM:SS.mmm``.
    mean_velocity_mm_s : float
        Mean speed in mm/s, without sign.
    direction : {"forward", "backward"}
        Towards higher or lower pixels; the velocity is negative in the latter.
    pulsatility : float
        Amplitude of the heart beat in the velocity, as a share of the mean.
    heart_rate_hz : float
        Beats per second; 6 to 9 in an anesthetized mouse.
    n_lines, n_pixels : int
        Shape of the image, time by space.
    line_period_s : float
        Seconds per line.
    pixel_size_um : float
        Micrometers per pixel.
    stalls : tuple of (float, float)
        Start and end, in seconds, of periods without flow.
    plasma_level : float
        Gray level of bright plasma, within 12 bits.
    levels_per_photon : float
        Gray levels per detected photon: 0.3 is a clean image, 12 a noisy one.
    seed : int
        Two vessels with equal fields give equal images.
    """

    name: str = "A01_0001"
    condition: str = "Control"
    date: str = "20250722"
    clock: str = "12:13:14.620"
    mean_velocity_mm_s: float = 1.2
    direction: Direction = "forward"
    pulsatility: float = 0.12
    heart_rate_hz: float = 7.5
    n_lines: int = 8000
    n_pixels: int = 38
    line_period_s: float = 0.00117
    pixel_size_um: float = 0.284
    stalls: tuple[tuple[float, float], ...] = ()
    plasma_level: float = 330.0
    levels_per_photon: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("n_lines", "n_pixels"):
            if getattr(self, field) < 1:
                raise ArgumentError(f"{field} must be at least 1", where=self.name)
        for field in (
            "mean_velocity_mm_s",
            "line_period_s",
            "pixel_size_um",
            "plasma_level",
            "levels_per_photon",
        ):
            value = getattr(self, field)
            if not (math.isfinite(value) and value > 0):
                raise ArgumentError(f"{field} must be a positive number", where=self.name)
        if any(stop <= start for start, stop in self.stalls):
            raise ArgumentError("a stall must end after it starts", where=self.name)
        try:
            _ = self.acquired
        except ValueError as error:
            raise ArgumentError(
                f"no such day and time: {self.date} {self.clock}",
                where=self.name,
                hint="Write date as YYYYMMDD and clock as HH:MM:SS.mmm.",
            ) from error

    @property
    def stem(self) -> str:
        """File name without extension, ``<date>_<name>``."""
        return f"{self.date}_{self.name}"

    @property
    def acquired(self) -> dt.datetime:
        """Wall clock at the microscope; no time zone, as instruments write it."""
        return dt.datetime.strptime(f"{self.date} {self.clock}", "%Y%m%d %H:%M:%S.%f")

    @property
    def duration_s(self) -> float:
        """Length of the recording in seconds."""
        return self.n_lines * self.line_period_s

    @property
    def sign(self) -> int:
        """1 where cells move towards higher pixels, else -1."""
        return 1 if self.direction == "forward" else -1


def default_vessels(seed: int = 0) -> tuple[SyntheticVessel, ...]:
    """Six capillaries in two groups: brisk flow, and slower flow that stalls.

    Parameters
    ----------
    seed : int
        Changes cells, noise and, a little, the velocities.

    Returns
    -------
    tuple of SyntheticVessel
        Shapes 8000 x 20 to 8000 x 44, velocities 0.6 to 1.8 mm/s.
    """
    clean = SyntheticVessel(n_lines=8000)
    noisy = dataclasses.replace(
        clean,
        n_pixels=20,
        pixel_size_um=0.45,
        line_period_s=0.00113,
        plasma_level=480.0,
        levels_per_photon=5.0,
    )
    control: dict[str, Any] = {"condition": "Control", "date": "20250715"}
    treated: dict[str, Any] = {"condition": "28d AngII", "date": "20250722"}
    plan: list[tuple[SyntheticVessel, dict[str, Any]]] = [
        (clean, {**control, "name": "A87_0001", "clock": "09:41:07.310", "v": 1.45}),
        (
            clean,
            {
                **control,
                "name": "A87_0002",
                "clock": "09:58:31.042",
                "v": 1.2,
                "direction": "backward",
                "n_pixels": 44,
                "stalls": ((6.1, 6.4),),
            },
        ),
        (noisy, {**control, "name": "A88_0001", "clock": "11:20:55.774", "v": 1.75}),
        (
            clean,
            {
                **treated,
                "name": "A89_0002",
                "clock": "12:13:14.620",
                "v": 0.72,
                "direction": "backward",
                "stalls": ((1.9, 2.7), (5.2, 5.6), (7.4, 8.6)),
            },
        ),
        (noisy, {**treated, "name": "A89_0003", "clock": "12:31:40.155", "v": 1.05}),
        (
            clean,
            {
                **treated,
                "name": "A90_0001",
                "clock": "14:02:09.931",
                "v": 0.58,
                "n_pixels": 32,
                "stalls": ((0.9, 1.5), (4.4, 6.0)),
            },
        ),
    ]
    rng = np.random.default_rng(seed)
    vessels = []
    for base, changes in plan:
        velocity = changes.pop("v") * (1.0 + float(rng.uniform(-0.04, 0.04)))
        heart_rate_hz = round(float(rng.uniform(6.3, 8.3)), 2)
        vessels.append(
            dataclasses.replace(
                base,
                mean_velocity_mm_s=round(velocity, 3),
                heart_rate_hz=heart_rate_hz,
                seed=int(rng.integers(2**31)),
                **changes,
            )
        )
    return tuple(vessels)


Floats: TypeAlias = npt.NDArray[np.float64]

# Sizes of a red cell squeezed through a capillary, and of the plasma between
# two; chosen so that streaks look like those of two-photon line scans.
_CELL_UM = (4.8, 0.9)
_GAP_UM_MEAN = 2.8
_LONG_GAP_UM_MEAN = 11.0
_LONG_GAP_SHARE = 0.04
_LEUKOCYTE_UM = 26.0
_LEUKOCYTE_SHARE = 0.0006
_BLUR_FOCUS_UM = 0.9
_BLUR_DEEP_UM = 3.0
_STALL_REMAINDER = 0.008
_MAX_LEVEL = 4095


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """A simulated change of the flow.

    Parameters
    ----------
    event_type : {"baseline_drop", "baseline_rise"}
        The flow stopped, or started again.
    t_s : float
        When, in seconds from the first line.
    """

    event_type: Literal["baseline_drop", "baseline_rise"]
    t_s: float


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticKymograph:
    """A kymograph and its ground truth.

    Attributes
    ----------
    vessel : SyntheticVessel
        The simulated vessel.
    pixels : ndarray of uint16, shape (n_lines, n_pixels)
        Gray levels, 0 to 4095; rows are time, columns are space.
    time_s, velocity_mm_s : ndarray of float64, shape (n_lines,)
        Start of each line, and the true signed velocity in it.
    events : tuple of FlowEvent
        Start and end of each stall within the recording, in order of time.
    """

    vessel: SyntheticVessel
    pixels: npt.NDArray[np.uint16]
    time_s: Floats
    velocity_mm_s: Floats
    events: tuple[FlowEvent, ...]


def synthesize_kymograph(vessel: SyntheticVessel) -> SyntheticKymograph:
    """Draw the kymograph of a vessel.

    Parameters
    ----------
    vessel : SyntheticVessel
        Parameters of flow and imaging.

    Returns
    -------
    SyntheticKymograph
        Pixels, the true velocity of each line, and the stalls.

    Examples
    --------
    >>> kymograph = synthesize_kymograph(SyntheticVessel(n_lines=500, n_pixels=20))
    >>> kymograph.pixels.shape, str(kymograph.pixels.dtype)
    ((500, 20), 'uint16')
    """
    rng = np.random.default_rng([vessel.seed, vessel.n_lines, vessel.n_pixels])
    time_s: Floats = np.arange(vessel.n_lines, dtype=np.float64) * vessel.line_period_s
    velocity = _velocity(vessel, time_s, rng)
    # mm/s is um/ms, hence the thousand.
    travelled_um = np.cumsum(velocity) * (1000.0 * vessel.line_period_s)
    x_um = np.arange(vessel.n_pixels) * vessel.pixel_size_um
    light = _light(vessel, x_um[None, :] - travelled_um[:, None], rng)
    light *= _profile(vessel.n_pixels, rng)[None, :]
    light *= 0.9 * vessel.plasma_level
    light += 0.1 * vessel.plasma_level  # light that leaks in where there is no plasma
    pixels = _detect(light, vessel.levels_per_photon, rng)
    stalls = [
        event
        for start, stop in sorted(vessel.stalls)
        for event in (FlowEvent("baseline_drop", start), FlowEvent("baseline_rise", stop))
    ]
    events = tuple(event for event in stalls if 0 <= event.t_s < vessel.duration_s)
    return SyntheticKymograph(vessel, pixels, time_s, velocity, events)


def _velocity(vessel: SyntheticVessel, time_s: Floats, rng: np.random.Generator) -> Floats:
    """Signed velocity of each line in mm/s: mean, heart beat, slow drift, stalls."""
    wander = rng.normal(0.0, 0.25) * np.sin(2 * np.pi * 0.11 * time_s + rng.uniform(0, 6))
    phase = 2 * np.pi * (vessel.heart_rate_hz * time_s + wander) + rng.uniform(0, 6)
    # A second harmonic makes the upstroke steeper than the decay.
    beat = np.sin(phase) + 0.3 * np.sin(2 * phase + 0.8)
    slow = np.zeros_like(time_s)
    for hz in rng.uniform(0.05, 0.7, size=3):
        slow += 0.05 * np.sin(2 * np.pi * hz * time_s + rng.uniform(0, 6))
    relative = 1.0 + vessel.pulsatility * beat + slow
    for start, stop in vessel.stalls:
        # Flow breaks off within a few lines and takes longer to recover.
        stopped = _sigmoid((time_s - start) / 0.004) * _sigmoid((stop - time_s) / 0.012)
        relative *= 1.0 - (1.0 - _STALL_REMAINDER) * stopped
    return np.asarray(vessel.sign * vessel.mean_velocity_mm_s * relative, dtype=np.float64)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), dtype=np.float64)


def _light(vessel: SyntheticVessel, position_um: Floats, rng: np.random.Generator) -> Floats:
    """Light that comes through the cells at each position in the moving blood, 0 to 1."""
    low, high = float(position_um.min()), float(position_um.max())
    step_um = min(0.2, vessel.pixel_size_um / 2)
    n_steps = int((high - low + 40.0) / step_um) + 2
    grid_um: Floats = low - 20.0 + step_um * np.arange(n_steps, dtype=np.float64)
    shadow = _shadows(grid_um, step_um, rng)
    sharp = 1.0 - _blur(shadow, _BLUR_FOCUS_UM / step_um)
    deep = 1.0 - _blur(shadow, _BLUR_DEEP_UM / step_um)
    light = np.interp(position_um, grid_um, sharp)
    # One end of the line lies deeper than the other, out of focus: its cells blur
    # into each other and into a haze that darkens where they are dense.
    ramp = np.linspace(0.0, 1.0, position_um.shape[1])
    share = 0.55 * _sigmoid((ramp - rng.uniform(0.35, 0.7)) / 0.1)
    if rng.random() < 0.5:
        share = share[::-1]
    return np.asarray(
        light * (1 - share) + np.interp(position_um, grid_um, deep) * share, dtype=np.float64
    )


def _shadows(grid_um: Floats, step_um: float, rng: np.random.Generator) -> Floats:
    """Share of the light that cells take away, along the blood; boxes that never overlap."""
    length_um = float(grid_um[-1] - grid_um[0])
    count = int(length_um / (_CELL_UM[0] + _GAP_UM_MEAN) * 1.3) + 8
    size_um = np.clip(rng.normal(*_CELL_UM, size=count), 1.5, None)
    # Hematocrit wanders: trains of cells and stretches of plasma take turns.
    crowding = np.exp(0.35 * _blur(rng.standard_normal(count), 6.0) * np.sqrt(2 * 6.0 * 1.77))
    gap_um = 0.6 + rng.gamma(1.6, _GAP_UM_MEAN / 1.6, size=count) * crowding
    long_gap = rng.random(count) < _LONG_GAP_SHARE
    gap_um[long_gap] += np.minimum(rng.exponential(_LONG_GAP_UM_MEAN, int(long_gap.sum())), 16.0)
    contrast = np.clip(rng.normal(0.72, 0.08, size=count), 0.3, 0.9)
    leukocyte = rng.random(count) < _LEUKOCYTE_SHARE
    size_um[leukocyte] = _LEUKOCYTE_UM
    contrast[leukocyte] = 0.95
    gap_um[leukocyte] += 12.0
    stop = np.cumsum(gap_um + size_um) / step_um
    start = stop - size_um / step_um
    last = len(grid_um) - 1
    edges = np.zeros(len(grid_um))
    np.add.at(edges, np.minimum(start.astype(np.int64), last), contrast)
    np.add.at(edges, np.minimum(stop.astype(np.int64), last), -contrast)
    return np.asarray(np.cumsum(edges), dtype=np.float64)


def _blur(values: Floats, sigma: float) -> Floats:
    """Gaussian blur; `sigma` in samples. Edges are treated as empty."""
    radius = max(1, math.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    full: npt.NDArray[Any] = np.convolve(values, kernel / kernel.sum(), mode="full")
    return np.asarray(full[radius : radius + len(values)], dtype=np.float64)


def _profile(n_pixels: int, rng: np.random.Generator) -> Floats:
    """Brightness along the line: a broad bump on a slope, 1 at its brightest."""
    x = np.linspace(0.0, 1.0, n_pixels)
    center, width = rng.uniform(0.1, 0.9), rng.uniform(0.25, 0.5)
    profile = 0.72 + 0.35 * np.exp(-0.5 * ((x - center) / width) ** 2)
    profile *= 1.0 + rng.uniform(-0.12, 0.12) * (x - 0.5)
    profile *= 1.0 + 0.01 * rng.standard_normal(n_pixels)
    return np.asarray(profile / profile.max(), dtype=np.float64)


def _detect(
    light: Floats, levels_per_photon: float, rng: np.random.Generator
) -> npt.NDArray[np.uint16]:
    """Photon shot noise, the photomultiplier's spread of pulse heights, read noise, 12 bits."""
    photons = rng.poisson(light / levels_per_photon).astype(np.float64)
    spread = 0.35 * np.sqrt(photons) * rng.standard_normal(light.shape)
    levels = (photons + spread) * levels_per_photon + rng.normal(0.0, 1.5, light.shape)
    return np.clip(np.rint(levels), 0, _MAX_LEVEL).astype(np.uint16)
