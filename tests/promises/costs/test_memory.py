"""Ingest takes memory for a few blocks, however large the files are and however many."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tifffile

from kymflow_zarr.runtime.limits import PIXELS_BYTES, MemoryBudget

INGEST = """
import resource, sys
import kymflow_zarr.ingest, pyarrow.parquet
from kymflow_zarr import ZarrDataset

def peak():
    if sys.platform == "linux":  # There ru_maxrss takes over that of the program that started it.
        with open("/proc/self/status") as status:
            return 1024 * int(status.read().partition("VmHWM:")[2].split()[0])
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024

before = peak()
with ZarrDataset(sys.argv[1], mode="w", durability="relaxed") as ds:
    report = ds.ingest_legacy_folder(sys.argv[2])
assert len(report.ingested) == 2, report
print(before, peak())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system does not tell the peak")
def test_large_files_take_no_more_than_the_budget(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    for i in range(2):
        # 450 MB, with a hole for the pixels that takes no room on the disk.
        shape = (110_000 + i, 2048)
        tifffile.memmap(tmp_path / "lab" / f"{i}.tif", shape=shape, dtype="uint16").flush()
    done = subprocess.run(
        [sys.executable, "-c", INGEST, str(tmp_path / "a.zarr"), str(tmp_path / "lab")],
        check=True,
        capture_output=True,
        text=True,
    )
    before, peak = map(int, done.stdout.split())
    assert peak < 600e6
    # A single file held whole, or mapped and read, would take more.
    assert peak - before < PIXELS_BYTES + 40e6


class TestBudget:
    def test_those_that_fit_together_go_together(self) -> None:
        budget = MemoryBudget(100)
        both = threading.Barrier(2, timeout=20)

        def work() -> None:
            with budget.reserve(50):
                both.wait()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not both.broken

    def test_what_does_not_fit_waits_and_what_is_too_large_goes_alone(self) -> None:
        budget = MemoryBudget(100)
        held: list[int] = []
        most: list[int] = []

        def work(size: int) -> None:
            with budget.reserve(size):
                held.append(size)
                most.append(sum(min(each, 100) for each in held))
                time.sleep(0.001)
                held.remove(size)

        threads = [threading.Thread(target=work, args=(size,)) for size in (60, 5000, 30, 50) * 5]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(most) == 20
        assert max(most) <= 100

    def test_an_error_gives_back_what_was_held(self) -> None:
        budget = MemoryBudget(100)
        with pytest.raises(ZeroDivisionError), budget.reserve(100):
            raise ZeroDivisionError
        with budget.reserve(100):
            pass
