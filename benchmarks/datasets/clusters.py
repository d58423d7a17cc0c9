"""Work through a Dask cluster of this machine, started by its own commands, against threads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks.measure import Row, Skipped, interleaved
from kymflow_zarr import ZarrDataset, ZarrImageRecord
from kymflow_zarr.testing import default_vessels, synthesize_kymograph

WORKERS = 2
PATIENCE_S = 120.0


def run(folder: Path, *, quick: bool) -> Iterator[Row | Skipped]:
    """Yield the comparisons; everything is written below `folder`."""
    if find_spec("distributed") is None:
        yield Skipped("a cluster", "needs dask and distributed")
        return
    count = 16 if quick else 200
    source = folder / "tiffs"
    source.mkdir()
    pixels = synthesize_kymograph(default_vessels()[0]).pixels
    for number in range(count):
        tifffile.imwrite(source / f"{number:03}.tif", np.roll(pixels, 37 * number, axis=0))

    def ingest(executor: Executor | None, way: str, number: int) -> None:
        with ZarrDataset(folder / f"{way} {number}.zarr", mode="w", durability="relaxed") as ds:
            report = ds.ingest_legacy_folder(source, executor=executor, progress=lambda *_: None)
            assert len(report.ingested) == count

    with _cluster(folder) as client:
        given = {"cluster": client.get_executor(), "threads": None}
        repeat = 2 if quick else 5
        times = interleaved(
            {way: lambda n, way=way, e=e: ingest(e, way, n) for way, e in given.items()},
            repeat=repeat,
        )
        against = "threads of this process"
        yield Row(f"ingest {count} TIFFs, {WORKERS} workers of Dask", against, *times.values())
        with ZarrDataset(folder / "threads 0.zarr", mode="r") as ds:
            for name, work in (
                ("verify", lambda executor: ds.verify(executor=executor)),
                ("map a function of 50 ms over", lambda e: ds.map(analyzed, executor=e)),
            ):
                times = interleaved(
                    {way: lambda _, work=work, e=e: work(e) for way, e in given.items()},
                    repeat=repeat,
                )
                yield Row(f"{name} {count} images, {WORKERS} workers of Dask", against,
                          *times.values())  # fmt: skip


def analyzed(rec: ZarrImageRecord) -> float:
    """Return a number after 50 ms of Python, which threads cannot do at once."""
    pixels = rec.load_array()
    until = time.thread_time() + 0.05
    total = 0.0
    while time.thread_time() < until:
        total += float(pixels[0, 0])
    return total


@contextmanager
def _cluster(folder: Path) -> Iterator[Any]:
    from distributed import Client

    file = folder / "scheduler.json"
    processes = []
    try:
        for role in ("scheduler", *["worker"] * WORKERS):
            options = ["--port", "0"] if role == "scheduler" else ["--nthreads", "1", "--no-nanny"]
            processes.append(_started(folder, role, "--host", "127.0.0.1", *options))
            until = time.monotonic() + PATIENCE_S
            while not file.exists():
                if processes[0].poll() is not None or time.monotonic() > until:
                    raise RuntimeError((folder / "log").read_text())
                time.sleep(0.05)
        with Client(scheduler_file=str(file), timeout=PATIENCE_S) as client:
            client.wait_for_workers(WORKERS, timeout=PATIENCE_S)
            yield client
    finally:
        for process in processes:
            process.kill()
            process.wait(PATIENCE_S)


def _started(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    # Workers import the function of this module.
    top = str(Path(__file__).parents[2])
    path = os.pathsep.join([top, *filter(None, [os.environ.get("PYTHONPATH")])])
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments, "--no-dashboard",
             "--scheduler-file", str(folder / "scheduler.json")],
            env={**os.environ, "PYTHONPATH": path}, stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
