"""What it costs to list a dataset, against `os.scandir` of its folder of images.

Run it as ``python benchmarks/lists.py [--full] [--json FILE]``. Each figure is the median of
interleaved repetitions, as a multiple of the floor that was measured between them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from kymflow_zarr import ZarrDataset

REPETITIONS = 7
GOALS = {
    "list_image_ids()": 2.0,
    "iter_records(created_utc)": 10.0,
    "iter_records(acquired)": 10.0,
    "images()": 10.0,
}


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


def measure(calls: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Return the median time of each call in seconds; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def run(folder: Path, count: int, repetitions: int) -> dict[str, float]:
    """Measure the lists of a dataset of `count` images, in seconds."""
    path = folder / f"{count}.zarr"
    make_dataset(path, count)
    time.sleep(2.1)  # What changed a moment ago is not trusted by any index.
    with ZarrDataset(path, mode="r+", durability="relaxed") as ds:
        images = path / "images"
        start = time.perf_counter()
        ds.images()
        cold = time.perf_counter() - start
        found = measure(
            {
                "os.scandir": lambda: names_in(images),
                "os.scandir + stat": lambda: stats_in(images),
                "list_image_ids()": ds.list_image_ids,
                "iter_records(created_utc)": lambda: sum(1 for _ in ds.iter_records("created_utc")),
                "iter_records(acquired)": lambda: sum(
                    1 for _ in ds.iter_records("acquired_local_epoch_ns")
                ),
                "images()": ds.images,
                "load_manifest()": ds.load_manifest,
            },
            repetitions,
        )
    shutil.rmtree(path)
    return found | {"images() without an index": cold}


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="100,000 images, too (minutes)")
    parser.add_argument("--json", type=Path, help="write the figures to a file")
    parser.add_argument("--folder", type=Path, help="where to write the datasets")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for count in (1_000, 10_000, 100_000) if options.full else (1_000, 10_000):
            found = results[count] = run(Path(folder), count, REPETITIONS)
            floor = found["os.scandir"]
            print(f"\n{count:,} images")
            for name, seconds in found.items():
                goal = f"goal {GOALS[name]:g}" if name in GOALS else ""
                print(
                    f"  {name:28} {seconds * 1000:10.2f} ms {seconds / floor:9.2f} x  {goal:8}"
                    f" {seconds / count * 1e6:8.2f} us an image"
                )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
