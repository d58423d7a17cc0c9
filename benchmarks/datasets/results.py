"""What it costs to know what results were made of: to remember, and to ask."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.measure import Row, interleaved
from kymflow_zarr import RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.schema.checksums import FileSum, dump_checksums, parse_checksums

PER_IMAGE = 5
FUNCTION_S = 0.005
PARAMS = {"window": 16}


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    yield from asking(folder / "results.zarr", 20 if quick else 10_000)
    if not quick:
        yield from asking(folder / "many.zarr", 100_000)
    with ZarrDataset(folder / "one.zarr", durability="relaxed") as ds:
        make_dataset(ds, 1)
        rec = ds["0"]
        times = interleaved(
            {"plain": lambda _: velocity(rec), "remembering": lambda _: remembered(rec)},
            repeat=100, clock=time.process_time,
        )  # fmt: skip
        # Less than nothing is what the noise of the clock makes of a small difference.
        more = max(0.0, times["remembering"] - times["plain"])
        yield Row(
            "a function of 5 ms whose record remembers, processor time",
            "the same with a plain record", FUNCTION_S + more, FUNCTION_S, 1.05,
        )  # fmt: skip


def asking(path: Path, count: int) -> Iterator[Row]:
    """Yield what it costs to ask which results of a number of images are out of date."""
    with ZarrDataset(path, durability="relaxed") as ds:
        make_dataset(ds, count)
        time.sleep(2.1)  # What changed a moment ago is not trusted by any index.
        ds.update_manifest()
        asked = interleaved(
            {"stale": lambda _: ds.stale(), "compute": lambda _: nothing_to_do(ds)},
            repeat=5, clock=time.process_time,
        )  # fmt: skip
        told = f"{count:,} images x {PER_IMAGE} results, processor time"
        # The goals are times on the machine of the reader: half a second for 10,000 images.
        goal = 0.5 * count / 10_000
        yield Row(f"stale(), {told}", "half a second for 10,000 images", asked["stale"], goal, 1)
        yield Row(f"compute() with nothing to do, {told}", "stale()", asked["compute"],
                  asked["stale"], 2)  # fmt: skip


def make_dataset(ds: ZarrDataset, count: int) -> None:
    """Write images with a region and results, each made of pixels, region and metadata.

    The first image is copied with its files, as computing 50,000 results would take long. Of a
    thousand images in a row the files are the same, but for the documents.
    """
    pixels = np.arange(2_000, dtype="uint16").reshape(100, 20)
    rec = ds.add_image(pixels, image_id="0", line_period_s=0.001)
    rec.save_metadata_payload({"experiment_metadata": {"condition": "control"}})
    rec.save_rois([RectRoi(roi_id=1, x0=0, x1=9, y0=0, y1=50)])
    for n in range(PER_IMAGE):
        ds.compute(f"r{n}", velocity, params=PARAMS, version="1")
    first = ds.path / "images" / "0"
    document = (first / "zarr.json").read_bytes()
    sums = parse_checksums((first / "checksums.sha256").read_bytes(), where="checksums.sha256")
    for number in range(1, count):
        folder = first.with_name(str(number))
        copied = number % 1_000 == 0  # A file may have 65,000 names on ext4.
        copy = shutil.copyfile if copied else os.link
        shutil.copytree(
            first.with_name(str((number - 1) // 1_000 * 1_000)), folder, copy_function=copy,
            ignore=_documents,
        )  # fmt: skip
        named = document.replace(b'"0"', f'"{number}"'.encode())
        (folder / "zarr.json").write_bytes(named)
        listed = dump_checksums({**sums, "zarr.json": FileSum.of(named)})
        (folder / "checksums.sha256").write_bytes(listed)


def _documents(_: str, names: list[str]) -> list[str]:
    """Return the files that each image has of its own."""
    is_image = "checksums.sha256" in names
    return [name for name in names if is_image and name in ("zarr.json", "checksums.sha256")]


def velocity(rec: ZarrImageRecord, window: int = 16) -> pd.DataFrame:
    """Return a small data frame made of pixels, a region, metadata and axes."""
    roi = rec.load_rois()[0]
    assert isinstance(roi, RectRoi)
    lines = rec.load_array(np.s_[roi.y0 : roi.y1])
    condition = rec.load_metadata_payload()["experiment_metadata"]["condition"]
    step = rec.axes[0].step
    return pd.DataFrame({"v": lines[:9, 0] / window, "condition": condition, "step": step})


def remembered(rec: ZarrImageRecord) -> None:
    """Call the function with a record that remembers, and ask what it has read."""
    reading = rec.reading()
    velocity(reading)
    _ = reading.inputs


def nothing_to_do(ds: ZarrDataset) -> None:
    """Ask for one result of all images, all of which are up to date."""
    assert not ds.compute("r0", velocity, params=PARAMS, version="1").computed
