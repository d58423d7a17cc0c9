"""What one more record costs, as the dataset grows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import zarr

from benchmarks.images.pixels import recipe
from benchmarks.measure import Row
from kymflow_zarr import ZarrDataset

TINY = np.zeros((20, 8), "uint16")
# How many records of ours come for one of the recipe, which takes turns with them.
A_PEER_IN = 10


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    yield from grow(folder, *((2_000, 250) if quick else (20_000, 1_000)))


def grow(folder: Path, count: int, step: int) -> Iterator[Row]:
    """Yield what the last `step` images of `count` cost."""
    large, small = (
        ZarrDataset(folder / f"{name}.zarr", mode="w-", durability="relaxed")
        for name in ("large", "small")
    )
    zarr.open_group(folder / "plain.zarr", mode="w")
    grown = [_timed(lambda: _add(large)) for _ in range(count - step)]
    ours: list[float] = []
    first: list[float] = []
    plain: list[float] = []
    # The first ones of another dataset take turns with the last ones, so that a busy moment
    # strikes both.
    for i in range(step):
        ours.append(_timed(lambda: _add(large)))
        first.append(_timed(lambda: _add(small)))
        if i % A_PEER_IN == 0:
            plain.append(_timed(lambda: recipe(folder / "plain.zarr" / f"image-{i}", TINY)))  # noqa: B023 - called at once
    grown += ours
    points = tuple(
        (end, statistics.median(grown[end - step : end])) for end in range(step, count + 1, step)
    )
    name = f"add_image, the last {step:,} of {count:,}"
    last = statistics.median(ours)
    yield Row(name, f"the first {step:,}", last, statistics.median(first), 1.2, points=points)
    yield Row(name, "zarr-python, plainly", last, statistics.median(plain), 0.1)


def _add(ds: ZarrDataset) -> None:
    ds.add_image(TINY, line_period_s=0.00117)


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
