"""What it costs to list a dataset, against `os.scandir` of its folder of images."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import Row, interleaved
from kymflow_zarr import ZarrDataset

# The most that each may cost, as a multiple of the floor.
GOALS = {
    "list_image_ids()": 2,
    "list_image_ids() of a dataset just opened": 2,
    'iter_records("created_utc")': 10,
    'iter_records("acquired_local_epoch_ns")': 10,
    "images()": 10,
    "a stat of each folder": None,
}

NO_INDEX = 'images(), mode "r", no index'


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    count = 2_000 if quick else 100_000
    small, large = (folder / f"{n}.zarr" for n in (count // 10, count))
    make_dataset(small, count // 10)
    make_dataset(large, count)
    time.sleep(2.1)  # What changed a moment ago is not trusted by any index.
    with ZarrDataset(small, "r+") as few, ZarrDataset(large, "r+") as many:
        images = large / "images"
        frozen = ZarrDataset(large, "r")
        frozen.images()
        time.sleep(2.1)
        frozen.images()  # From now on it has the rows in memory, while there is no index.
        times = interleaved(
            {NO_INDEX: lambda _: frozen.images(), "floor": lambda _: names_in(images)}, repeat=7
        )
        yield Row(f"{NO_INDEX}, {count:,} images", "os.scandir", times[NO_INDEX], times["floor"])
        rebuilt = interleaved(
            {"few": lambda _: few.update_manifest(), "many": lambda _: many.update_manifest()},
            repeat=1 if quick else 3,
        )
        calls: dict[str, Callable[[int], object]] = {
            "floor": lambda _: names_in(images),
            "a stat of each folder": lambda _: stats_in(images),
            "list_image_ids()": lambda _: many.list_image_ids(),
            "list_image_ids() of a dataset just opened": lambda _: ZarrDataset(
                large, "r"
            ).list_image_ids(),
            "images()": lambda _: many.images(),
        }
        for order in ("created_utc", "acquired_local_epoch_ns"):
            calls[f'iter_records("{order}")'] = lambda _, order=order: sum(
                1 for _ in many.iter_records(order)
            )
        times = interleaved(calls, repeat=7)
    for name, goal in GOALS.items():
        yield Row(f"{name}, {count:,} images", "os.scandir", times[name], times["floor"], goal)
    each = [rebuilt["many"] / count, rebuilt["few"] / (count // 10)]
    yield Row(f"update_manifest(), an image of {count:,}", f"of {count // 10:,}", *each, 1.5)


def make_dataset(path: Path, count: int) -> None:
    """Write a dataset of many small images; all but the first are copies of its files."""
    with ZarrDataset(path, mode="w-", durability="relaxed") as ds:
        record = ds.add_image(
            np.zeros((20, 8), "uint16"),
            image_id="template",
            line_period_s=0.001,
            pixel_size_um=0.3,
        )
        record.save_metadata_payload(
            {
                "version": "2.0",
                "header": {"acquired_local_epoch_ns": 1_700_000_000_000_000_000},
                "experiment_metadata": {"condition": "control"},
                "rois": [],
            }
        )
        record.save_df_parquet("events", pd.DataFrame({"t": [1.0, 2.0]}))
    template = path / "images" / "template"
    files = {
        file.relative_to(template): file.read_bytes()
        for file in template.rglob("*")
        if file.is_file()
    }
    numbers = random.Random(0)
    for i in range(count - 1):
        image_id = str(uuid.UUID(int=numbers.getrandbits(128)))
        for name, data in files.items():
            target = template.with_name(image_id) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            text = data.replace(b"template", image_id.encode())
            target.write_bytes(text.replace(b"17000", b"1%04d" % (i % 10_000)))


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder: the floor."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def stats_in(folder: Path) -> list[int]:
    """Return the times of what is in a folder: what an answer that is never stale must ask."""
    with os.scandir(folder) as entries:
        return [entry.stat().st_mtime_ns for entry in entries]
