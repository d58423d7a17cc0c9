"""What durability costs: the same work with durability "full" and "relaxed", in turns.

Run it as ``python benchmarks/durability.py [folder] [rounds]``; the folder says which disk is
measured, the folder for temporary files by default.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kymflow_zarr import ZarrDataset
from kymflow_zarr._storage import Disk, disk_replaced
from kymflow_zarr.testing import SyntheticVessel, write_experiment

PIXELS = np.random.default_rng(0).integers(0, 4096, (2000, 64), dtype=np.uint16)
TIMES = 10


class NeverSyncs(Disk):
    """What neither setting does; shown for comparison."""

    def sync(self, path: Path) -> None:
        """Do nothing."""

    def sync_folder(self, path: Path) -> None:
        """Do nothing."""


def single_images(ds: ZarrDataset, lab: Path) -> None:  # noqa: ARG001
    """Add images one by one."""
    for _ in range(TIMES):
        ds.add_image(PIXELS)


def single_artifacts(ds: ZarrDataset, lab: Path) -> None:  # noqa: ARG001
    """Save one artifact again and again."""
    record = ds["first"]
    for i in range(TIMES):
        record.save_json("note", i)


def single_files(ds: ZarrDataset, lab: Path) -> None:
    """Take in the files of a folder one by one."""
    for path in sorted(lab.rglob("*.tif")):
        ds.ingest_tiff(path)


def whole_folder(ds: ZarrDataset, lab: Path) -> None:
    """Take in a folder."""
    ds.ingest_legacy_folder(lab)


WORK: dict[str, Callable[[ZarrDataset, Path], None]] = {
    f"add_image x {TIMES}": single_images,
    f"save_json x {TIMES}": single_artifacts,
    "ingest_tiff, file by file": single_files,
    "ingest_legacy_folder": whole_folder,
}


def main(folder: Path | None, rounds: int) -> None:
    """Measure and print."""
    settings = {"full": Disk(), "relaxed": Disk(), "no sync at all": NeverSyncs()}
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as top:
        lab = Path(top) / "lab"
        vessels = [SyntheticVessel(name=f"v{i}", n_lines=1000, seed=i) for i in range(6)]
        write_experiment(lab, vessels=vessels)
        took: dict[tuple[str, str], list[float]] = {}
        for turn in range(rounds + 1):
            for name, work in WORK.items():
                for setting, disk in settings.items():
                    path = Path(top) / f"{turn}-{len(took)}-{time.perf_counter_ns()}.zarr"
                    durability = "full" if setting == "full" else "relaxed"
                    with disk_replaced(disk), ZarrDataset(path, durability=durability) as ds:  # type: ignore[arg-type]
                        ds.add_image(PIXELS, image_id="first")
                        begun = time.perf_counter()
                        work(ds, lab)
                        seconds = time.perf_counter() - begun
                    if turn:  # The first warms up.
                        took.setdefault((name, setting), []).append(seconds * 1e3)
    print(f"{'ms, median of ' + str(rounds):28} {'full':>8} {'relaxed':>8} {'no sync':>8}   ratio")
    for name in WORK:
        full, relaxed, none = (statistics.median(took[name, setting]) for setting in settings)
        print(f"{name:28} {full:8.1f} {relaxed:8.1f} {none:8.1f}   {full / relaxed:.2f}")
    print("ratio: full / relaxed")


if __name__ == "__main__":
    main(
        Path(sys.argv[1]) if len(sys.argv) > 1 else None,
        int(sys.argv[2]) if len(sys.argv) > 2 else 5,
    )
