"""A folder of TIFFs into a dataset, against copying the files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from benchmarks.measure import Row, interleaved
from kymflow_zarr import ZarrDataset
from kymflow_zarr.testing import default_vessels, synthesize_kymograph


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    count = 40 if quick else 200
    source = folder / "tiffs"
    source.mkdir()
    lines = np.concatenate([synthesize_kymograph(default_vessels()[0]).pixels] * 7)
    for i in range(count):
        # About 4.2 MB each, no two alike.
        tifffile.imwrite(source / f"{i:03}.tif", np.roll(lines, 37 * i, axis=0))
    size = sum(path.stat().st_size for path in source.iterdir())

    def ingest(number: int, durability: str) -> None:
        path = folder / f"{durability}-{number}.zarr"
        with ZarrDataset(path, mode="w", durability=durability) as ds:  # type: ignore[arg-type]
            assert len(ds.ingest_legacy_folder(source).ingested) == count
        shutil.rmtree(path)

    def copy(number: int) -> None:
        shutil.copytree(source, folder / f"copy-{number}")
        shutil.rmtree(folder / f"copy-{number}")

    times = interleaved(
        {
            "full": lambda n: ingest(n, "full"),
            "relaxed": lambda n: ingest(n, "relaxed"),
            "copy": copy,
        },
        repeat=2 if quick else 5,
    )
    name = f"ingest {count} TIFFs, {size >> 20} MB"
    yield Row(f"{name}, relaxed", "copying", times["relaxed"], times["copy"], 2.5, at_most=True)
    yield Row(f"{name}, full", "copying", times["full"], times["copy"], 4, at_most=True)
    yield Row(f"{name}, full", "relaxed", times["full"], times["relaxed"], 1.5, at_most=True)
