"""A folder of TIFFs into a dataset, against copying the files."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile

from benchmarks.images.durability import NeverSyncs
from benchmarks.measure import Row, interleaved
from kymflow_zarr import ZarrDataset
from kymflow_zarr.formats.array.write import plan_layout
from kymflow_zarr.runtime.parallel import THREADS
from kymflow_zarr.storage.local.disk import disk_replaced
from kymflow_zarr.testing import default_vessels, synthesize_kymograph
from kymflow_zarr.types import Durability

_ROW_BYTES = 2 * 38


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    count = 16 if quick else 200
    source = folder / "tiffs"
    source.mkdir()
    written: list[Path] = []

    def target() -> Path:
        written.append(folder / f"{len(written)}")
        return written[-1]

    lines = np.concatenate([synthesize_kymograph(default_vessels()[0]).pixels] * 7)
    for i in range(count):
        # About 4.2 MB each, no two alike.
        tifffile.imwrite(source / f"{i:03}.tif", np.roll(lines, 37 * i, axis=0))
    size = sum(path.stat().st_size for path in source.iterdir())

    def ingest(durability: Durability, *, verify: bool = False) -> None:
        with ZarrDataset(target(), mode="w", durability=durability) as ds:
            report = ds.ingest_legacy_folder(source, verify=verify, progress=lambda *_: None)
            assert len(report.ingested) == count

    def unsynced(*, verify: bool) -> None:
        # What is copied is not synced either.
        with disk_replaced(NeverSyncs()):
            ingest("relaxed", verify=verify)

    def copy(*, synced: bool) -> None:
        copied = shutil.copytree(source, target())
        if synced:
            _sync(copied)

    def least(*, synced: bool) -> None:
        packed = target()
        packed.mkdir()
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(lambda path: pack_file(path, packed / path.name), source.iterdir()))
        if synced:
            _sync(packed)

    def clear() -> None:
        # Only one at a time takes room. The files stay, empty: after many were deleted, some
        # file systems take ten times as long to make one.
        for path in written[-1].rglob("*"):
            if path.is_file():
                os.truncate(path, 0)
        _settle()

    _settle()
    times = interleaved(
        {
            "full": lambda _: ingest("full"),
            "relaxed": lambda _: ingest("relaxed"),
            "unsynced": lambda _: unsynced(verify=False),
            "verified": lambda _: unsynced(verify=True),
            "copy": lambda _: copy(synced=False),
            "synced copy": lambda _: copy(synced=True),
            "least": lambda _: least(synced=False),
            "synced least": lambda _: least(synced=True),
        },
        repeat=2 if quick else 7,
        between=clear,
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


def pack_file(source: Path, target: Path) -> None:
    """Do what no ingest can leave out, each byte once: read, digest, pack, digest and write."""
    data = source.read_bytes()
    hashlib.sha256(data).digest()
    pixels = np.frombuffer(data, "<u2", offset=len(data) % _ROW_BYTES)
    layout = plan_layout((len(data) // _ROW_BYTES, _ROW_BYTES // 2), "uint16", 2)
    step = math.prod(layout.chunk_shape)
    blosc_encode: Any = imagecodecs.blosc_encode  # Its annotations leave out buffers.
    file = np.empty(2 * len(data), np.uint8)
    end = 0
    for begin in range(0, len(pixels), step):
        packed = blosc_encode(
            pixels[begin : begin + step],
            level=layout.level,
            compressor=layout.compressor,
            shuffle="bitshuffle",
            numthreads=1,
            out=file[end:],
        )
        end += len(packed)
    hashlib.sha256(file[:end].data).digest()
    target.write_bytes(file[:end].data)


def _settle() -> None:
    """Wait until the system has written what it had still to write."""
    if hasattr(os, "sync"):
        os.sync()


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        os.fsync(descriptor)
        os.close(descriptor)
