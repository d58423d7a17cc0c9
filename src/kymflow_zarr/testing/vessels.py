"""What a synthetic kymograph is made of: vessels, and the six of the default experiment."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from kymflow_zarr.errors import ArgumentError

__all__ = ["Direction", "SyntheticVessel", "default_vessels"]

Direction: TypeAlias = Literal["forward", "backward"]


@dataclass(frozen=True, slots=True)
class SyntheticVessel:
    """One line scan along one vessel: what flows in it and how it is seen.

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
        Start and end, in seconds, of the times in which nothing flows.
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
