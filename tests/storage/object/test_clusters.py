"""Work on a Dask cluster that is started by its own commands, as the page on clusters shows."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import StorageError
from kymflow_zarr.runtime.limits import set_limits
from tests.helpers.operations import LONG

distributed = pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals"),
    # Dask logs and warns, from threads of its own, when its workers die.
    pytest.mark.filterwarnings("ignore"),
]

PATIENCE_S: Final = 120


class Cluster:
    """A scheduler and two workers in processes of their own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._file = folder, folder / "scheduler.json"
        # The functions of this module are imported there.
        top = Path(__file__).parents[3]
        path = os.pathsep.join([str(top / "src"), str(top), os.environ.get("PYTHONPATH", "")])
        self._environment = {
            **os.environ, **environment, "PYTHONPATH": path,
            "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "20s",
        }  # fmt: skip
        self._processes: list[subprocess.Popen[bytes]] = []
        self.client: Any = None

    def start(self) -> None:
        """Start it, and connect."""
        self.scheduler = self._started("scheduler", "--host", "127.0.0.1", "--port", "0")
        until = time.monotonic() + PATIENCE_S
        while not self._file.exists():
            assert self.scheduler.poll() is None, self._log()
            assert time.monotonic() < until, self._log()
            time.sleep(0.05)
        self.workers = [self._worker(), self._worker()]
        self.client = distributed.Client(scheduler_file=str(self._file), timeout=PATIENCE_S)
        self.client.wait_for_workers(2, timeout=PATIENCE_S)
        self.executor: Executor = self.client.get_executor()

    def _log(self) -> str:
        return (self._folder / "log").read_text()

    def _started(self, *args: str, before: str = "") -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-c", f"{before}from dask.__main__ import main; main()", args[0],
            "--scheduler-file", str(self._file), "--no-dashboard", *args[1:],
        ]  # fmt: skip
        # The log of a worker with a full disk would be full at once.
        with Path(os.devnull if before else self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, cwd=self._folder
            )
        self._processes.append(process)
        return process

    def _worker(self, before: str = "") -> subprocess.Popen[bytes]:
        return self._started("worker", "--nthreads", "1", "--no-nanny", before=before)

    def add_worker_with_a_full_disk(self) -> None:
        """Start a worker that writes small files alone: others fail as they do on a full disk."""
        # It limits itself: this process has threads, in whose midst a forked child runs no Python.
        self.workers.append(
            self._worker(
                "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
                "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
            )
        )
        self.client.wait_for_workers(len(self.workers), timeout=PATIENCE_S)

    def close(self) -> None:
        """Kill all of it."""
        try:
            if self.client is not None:
                self.client.close(timeout=1)
        finally:
            for process in self._processes:
                process.kill()
                process.wait(PATIENCE_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Return a function that starts a cluster."""
    started: list[Cluster] = []

    def begin(**environment: str) -> Cluster:
        started.append(Cluster(tmp_path, environment))
        started[-1].start()
        return started[-1]

    try:
        # Without it a call would wait for a day for what a worker that was lost does not answer.
        with set_limits(worker_seconds=PATIENCE_S):
            yield begin
    finally:
        for cluster in started:
            cluster.close()


def images(folder: Path, number: int) -> Path:
    """Write images of noise, which take more bytes than a worker with a full disk may write."""
    folder.mkdir()
    for i in range(number):
        pixels = np.random.default_rng(i).integers(0, 4000, (100, 40)).astype("uint16")
        tifffile.imwrite(folder / f"k{i:03}.tif", pixels)
    return folder


def mean(record: Any) -> float:
    return float(record.load_array().mean())


def at(number: int, call: Callable[[], object]) -> Callable[[int, int, str], None]:
    """Return a progress that calls something once, when so many are done."""

    def progress(done: int, total: int, label: str) -> None:
        if done == number:
            call()

    return progress


def test_a_worker_dies_and_another_has_a_full_disk(
    tmp_path: Path, start: Callable[..., Cluster]
) -> None:
    number = 200 if LONG else 40
    folder = images(tmp_path / "images", number)
    cluster = start()
    cluster.add_worker_with_a_full_disk()
    path = tmp_path / "x.zarr"
    with ZarrDataset(path, shared=True, durability="relaxed") as ds:
        with pytest.raises(StorageError, match="cannot write: File too large"):
            ds.ingest_legacy_folder(folder, executor=cluster.executor)
        there = len(ds)
        assert ds.verify().ok
        cluster.workers[2].kill()
        report = ds.ingest_legacy_folder(
            folder, executor=cluster.executor, progress=at(10, cluster.workers[0].kill)
        )
        assert cluster.workers[0].wait(PATIENCE_S) == -signal.SIGKILL
        assert len(report.ingested) == number - there
        assert ds.verify(executor=cluster.executor).ok
        assert dict(ds.map(mean, executor=cluster.executor)) == dict(ds.map(mean))
        out = ds.export_legacy_folder(tmp_path / "out", executor=cluster.executor)
        assert len([*(tmp_path / "out").rglob("*.tif")]) == number, str(out)
        assert ds.repair(executor=cluster.executor).ok


def test_the_scheduler_dies_and_the_same_call_goes_on_elsewhere(
    tmp_path: Path, start: Callable[..., Cluster]
) -> None:
    number = 120
    folder = images(tmp_path / "images", number)
    cluster = start()
    # So few are submitted at once that not all can be done when the scheduler dies.
    cluster.executor._max_workers = 1  # type: ignore[attr-defined]
    with ZarrDataset(tmp_path / "x.zarr", durability="relaxed") as ds:
        # Of what it had submitted Dask says that it was cancelled; to the rest it never answers.
        with pytest.raises(BrokenExecutor, match="with another executor goes on from there"):
            ds.ingest_legacy_folder(
                folder, executor=cluster.executor, progress=at(10, cluster.scheduler.kill)
            )
        there = len(ds)
        assert 10 <= there < number
        assert len(ds.ingest_legacy_folder(folder).ingested) == number - there
        assert ds.verify().ok


def test_workers_write_to_a_bucket_with_credentials_of_their_own(
    tmp_path: Path,
    start: Callable[..., Cluster],
    s3_options: dict[str, Any],
    new_address: Callable[[], str],
) -> None:
    folder = images(tmp_path / "images", 4)
    cluster = start(
        AWS_ACCESS_KEY_ID=s3_options["access_key_id"],
        AWS_SECRET_ACCESS_KEY=s3_options["secret_access_key"],
    )
    ds = ZarrDataset(new_address(), storage_options=s3_options)
    assert len(ds.ingest_legacy_folder(folder, executor=cluster.executor).ingested) == 4
    assert ds.verify(executor=cluster.executor).ok
    assert dict(ds.map(mean, executor=cluster.executor)) == dict(ds.map(mean))
    array = ds[ds.list_image_ids()[0]].open_array()
    sent = pickle.dumps(array)
    assert s3_options["secret_access_key"].encode() not in sent
    assert len(sent) < 10_000  # The address alone: the chunks are read in the workers.
    import dask.array

    lazy = dask.array.from_array(array, chunks=(50, 40))
    assert int(cluster.client.compute(lazy.sum()).result(PATIENCE_S)) == int(
        np.asarray(array[:]).sum()
    )
