"""What one more record costs, as the dataset grows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr

from benchmarks.measure import Row
from benchmarks.pixels import recipe
from kymflow_zarr import ZarrDataset

TINY = np.zeros((20, 8), "uint16")
# How many records of ours come for one of the recipe, which takes turns with them.
A_PEER_IN = 50


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    yield from grow(folder, *((4_000, 500) if quick else (20_000, 1_000)))


def grow(folder: Path, count: int, step: int) -> Iterator[Row]:
    """Yield what the last `step` images of `count` cost."""
    ds = ZarrDataset(folder / "ours.zarr", mode="w-", durability="relaxed")
    zarr.open_group(folder / "plain.zarr", mode="w")
    ours: list[float] = []
    plain: list[float] = []
    for i in range(count):
        begun = time.perf_counter()
        ds.add_image(TINY, line_period_s=0.00117)
        ours.append(time.perf_counter() - begun)
        if i % A_PEER_IN == 0:
            begun = time.perf_counter()
            recipe(folder / "plain.zarr" / f"image-{i}", TINY)
            plain.append(time.perf_counter() - begun)
    points = tuple(
        (end, statistics.median(ours[end - step : end])) for end in range(step, count + 1, step)
    )
    first, last = points[0][1], points[-1][1]
    name = f"add_image, the last {step:,} of {count:,}"
    yield Row(name, f"the first {step:,}", last, first, 1.2, points=points)
    peer = statistics.median(plain)
    yield Row(name, "zarr-python, plainly", last, peer, 0.1)
