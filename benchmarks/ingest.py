"""A folder of TIFFs into a dataset, against copying the files."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from benchmarks.durability import NeverSyncs
from benchmarks.measure import Row, interleaved
from kymflow_zarr import ZarrDataset
from kymflow_zarr._encodings._chunks import plan_layout
from kymflow_zarr._storage import disk_replaced
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

    def ingest(number: int, durability: Any, *, verify: bool = False) -> None:
        path = folder / f"{durability}-{verify}-{number}.zarr"
        with ZarrDataset(path, mode="w", durability=durability) as ds:
            assert len(ds.ingest_legacy_folder(source, verify=verify).ingested) == count
        shutil.rmtree(path)

    def unsynced(number: int, *, verify: bool) -> None:
        # What is copied is not synced either.
        with disk_replaced(NeverSyncs()):
            ingest(number, "relaxed", verify=verify)

    def copy(number: int, *, synced: bool) -> None:
        target = folder / f"copy-{number}"
        shutil.copytree(source, target)
        if synced:
            _sync(target)
        shutil.rmtree(target)

    def least(number: int, *, synced: bool) -> None:
        target = folder / f"least-{number}"
        target.mkdir()
        with ThreadPoolExecutor() as threads:
            list(threads.map(lambda path: _packed(path, target / path.name), source.iterdir()))
        if synced:
            _sync(target)
        shutil.rmtree(target)

    times = interleaved(
        {
            "full": lambda n: ingest(n, "full"),
            "relaxed": lambda n: ingest(n, "relaxed"),
            "unsynced": lambda n: unsynced(n, verify=False),
            "verified": lambda n: unsynced(n, verify=True),
            "copy": lambda n: copy(n, synced=False),
            "synced copy": lambda n: copy(n, synced=True),
            "least": lambda n: least(n, synced=False),
            "synced least": lambda n: least(n, synced=True),
        },
        repeat=2 if quick else 5,
    )
    name = f"ingest {count} TIFFs, {size >> 20} MB"
    for what, way, goal in (("nothing synced", "unsynced", 2.5), ("read back", "verified", 4)):
        yield Row(f"{name}, {what}", "copying", times[way], times["copy"], goal)
        yield Row(f"{name}, {what}", "digest, pack in threads", times[way], times["least"])
    yield Row("that floor", "copying", times["least"], times["copy"])
    for what in ("relaxed", "full"):
        yield Row(f"{name}, {what}", "copying and syncing", times[what], times["synced copy"])
        floor = times["synced least"]
        yield Row(f"{name}, {what}", "digest, pack, sync in threads", times[what], floor)
    yield Row(f"{name}, full", "relaxed", times["full"], times["relaxed"], 1.5)


def _packed(source: Path, target: Path) -> None:
    """Do what no ingest can leave out: digest, pack, digest and write."""
    data = source.read_bytes()
    hashlib.sha256(data).digest()
    pixels = np.frombuffer(data, "<u2")
    layout = plan_layout((len(pixels) // 38, 38), "uint16", 2)
    packed = imagecodecs.blosc_encode(
        pixels, level=layout.level, compressor=layout.compressor, shuffle="bitshuffle"
    )
    hashlib.sha256(packed).digest()
    target.write_bytes(packed)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        os.fsync(descriptor)
        os.close(descriptor)
