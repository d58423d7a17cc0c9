"""How much memory a process takes that ingests large TIFFs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from benchmarks.measure import Row, Skipped

GOAL_BYTES = 600e6
COLUMNS = 2048
# Megabytes of a large file; how many files at once, and megabytes of each.
QUICK, FULL = (300, 2, 60), (4096, 4, 200)

INGEST = """
import resource, sys
from kymflow_zarr import ZarrDataset
with ZarrDataset({dataset!r}, mode="w", durability="relaxed") as ds:
    report = ds.ingest_legacy_folder({source!r})
assert len(report.ingested) == {count} and not report.failed, report
try:  # Linux counts the memory of the program that started this one into ru_maxrss.
    with open("/proc/self/status") as status:
        print(1024 * int(status.read().partition("VmHWM:")[2].split()[0]))
except FileNotFoundError:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak if sys.platform == "darwin" else peak * 1024)
"""


def run(folder: Path, *, quick: bool) -> Iterator[Row | Skipped]:
    """Yield the comparisons; everything is written below `folder`."""
    large, count, size = QUICK if quick else FULL
    if sys.platform == "win32":
        yield Skipped(f"ingest a TIFF of {large} MB", "this system does not tell the peak")
        return
    (folder / "large").mkdir()
    # A file with a hole for its pixels, which takes no room on the disk.
    path = folder / "large" / "a.tif"
    shape = (_rows(large), COLUMNS)
    tifffile.memmap(path, shape=shape, dtype="uint16", bigtiff=True).flush()
    yield _row(f"ingest a TIFF of {large} MB", folder / "large", 1)

    (folder / "several").mkdir()
    for number in range(count):
        # Noise, which no codec makes smaller: it takes the most memory.
        noise = np.random.default_rng(number).integers(0, 2**16, (_rows(size), COLUMNS), "uint16")
        tifffile.imwrite(folder / "several" / f"{number}.tif", noise)
    yield _row(f"ingest {count} TIFFs of {size} MB, noise", folder / "several", count)


def _rows(megabytes: int) -> int:
    return (megabytes << 20) // (2 * COLUMNS)


def _row(name: str, source: Path, count: int) -> Row:
    dataset = str(source.with_suffix(".zarr"))
    code = INGEST.format(dataset=dataset, source=str(source), count=count)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return Row(f"{name}: peak memory", "goal", float(done.stdout), GOAL_BYTES, 1, unit="B")
