"""The same work with durability "full", "relaxed", and without any syncing, in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.measure import Row, interleaved
from kymflow_zarr import ZarrDataset
from kymflow_zarr.storage.local.disk import Disk, disk_replaced
from kymflow_zarr.testing import SyntheticVessel, write_experiment
from kymflow_zarr.types import StrPath

PIXELS = np.random.default_rng(0).integers(0, 4096, (2000, 64), dtype=np.uint16)
TIMES = 10


class NeverSyncs(Disk):
    """What neither setting does; shown for comparison."""

    waits = False

    def sync(self, path: StrPath) -> None:
        """Do nothing."""

    def sync_folder(self, path: StrPath) -> None:
        """Do nothing."""


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    lab = folder / "lab"
    count = 2 if quick else 6
    vessels = [SyntheticVessel(name=f"v{i}", n_lines=1000, seed=i) for i in range(count)]
    write_experiment(lab, vessels=vessels)
    repeat = 3 if quick else 9
    settings = {"full": Disk(), "relaxed": Disk(), "nothing synced": NeverSyncs()}
    for i, (name, work) in enumerate(WORK.items()):
        ways = {
            setting: _way(work, lab, disk, _datasets(folder / f"{i}", setting, repeat))
            for setting, disk in settings.items()
        }
        times = interleaved(ways, repeat=repeat)
        yield Row(f"{name}, full", "relaxed", times["full"], times["relaxed"])
        unsynced = times["nothing synced"]
        yield Row(f"{name}, relaxed", "nothing synced", times["relaxed"], unsynced)


def single_images(ds: ZarrDataset, lab: Path) -> None:  # noqa: ARG001
    """Add images one by one."""
    for _ in range(TIMES):
        ds.add_image(PIXELS)


def single_artifacts(ds: ZarrDataset, lab: Path) -> None:  # noqa: ARG001
    """Save one artifact again and again."""
    record = ds.add_image(PIXELS)
    for i in range(TIMES):
        record.save_json("note", i)


def single_files(ds: ZarrDataset, lab: Path) -> None:
    """Take in the files of a folder one by one."""
    for path in sorted(lab.rglob("*.tif")):
        ds.ingest_tiff(path)


def whole_folder(ds: ZarrDataset, lab: Path) -> None:
    """Take in a folder."""
    ds.ingest_legacy_folder(lab)


Work = Callable[[ZarrDataset, Path], None]
WORK: dict[str, Work] = {
    f"add_image, {TIMES} times": single_images,
    f"save_json, {TIMES} times": single_artifacts,
    "ingest_tiff, file by file": single_files,
    "ingest_legacy_folder": whole_folder,
}


def _datasets(folder: Path, setting: str, repeat: int) -> list[ZarrDataset]:
    """Make a dataset for each repetition, so that making it is not timed."""
    durability = "full" if setting == "full" else "relaxed"
    return [
        ZarrDataset(folder / f"{setting}-{number}.zarr", durability=durability)  # type: ignore[arg-type]
        for number in range(repeat + 1)
    ]


def _way(work: Work, lab: Path, disk: Disk, datasets: list[ZarrDataset]) -> Callable[[int], None]:
    def way(number: int) -> None:
        with disk_replaced(disk):
            work(datasets[number], lab)

    return way
