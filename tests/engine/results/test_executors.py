"""Results computed by threads, processes and clusters are the same, whatever happens to workers."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.testing import state_of
from tests.runtime.test_executors import Unstoppable

Pool = Callable[[int], Any]
PROCESSES = ["spawned processes", "loky", "dask"]


def _of_loky(workers: int) -> Any:
    loky = pytest.importorskip("loky", reason="loky is not installed")
    return loky.ProcessPoolExecutor(workers)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a Dask cluster of two worker processes, started at the command line."""
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    folder = tmp_path_factory.mktemp("dask")
    address = folder / "scheduler.json"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    common = ["--scheduler-file", str(address), "--host", "127.0.0.1", "--no-dashboard"]
    worker = ["worker", *common, "--nthreads", "1", "--no-nanny"]
    with ExitStack() as stack:
        for command in (["scheduler", *common, "--port", "0"], worker, worker):
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                env=env, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            stack.enter_context(process)
            stack.callback(process.kill)
        client = stack.enter_context(distributed.Client(scheduler_file=address, timeout=120))
        client.wait_for_workers(2, timeout=120)
        yield client


@pytest.fixture
def pool(request: pytest.FixtureRequest) -> Pool:
    """Make an executor of a number of workers; that of Dask has two."""
    if request.param == "threads":
        return ThreadPoolExecutor
    if request.param == "loky":
        return _of_loky
    if request.param == "dask":
        client = request.getfixturevalue("client")
        return lambda _: client.get_executor()
    # Forking a process whose threads run Arrow may break it.
    return lambda n: ProcessPoolExecutor(n, multiprocessing.get_context("spawn"))


def make(path: Path) -> ZarrDataset:
    ds = ZarrDataset(path, durability="relaxed")
    for number, name in enumerate("abcd"):
        rec = ds.add_image(np.full((20, 8), number + 1, "uint16"), image_id=name)
        rec.save_rois([RectRoi(roi_id=1, x0=0, x1=4, y0=number, y1=10)])
    return ds


class Speed:
    """Measures a speed; for image ``b`` it kills its process, once."""

    def __init__(self, kills: Path | None = None) -> None:
        self.kills = kills

    def __call__(self, rec: ZarrImageRecord, window: int) -> pd.DataFrame:
        roi = rec.load_rois()[0]
        assert isinstance(roi, RectRoi)
        lines = rec.load_array(np.s_[roi.y0 : roi.y1])
        if self.kills is not None and rec.image_id == "b" and not self.kills.exists():
            self.kills.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return pd.DataFrame({"time_s": [0.0, 0.5], "mm_per_s": lines[:2, 0] / window})


def run(ds: ZarrDataset, function: Speed, **options: Any) -> Any:
    return ds.compute("speed", function, params={"window": 16}, version="1", **options)


def seen(ds: ZarrDataset) -> dict[str, Any]:
    """Return all of each result but where and when it was computed."""
    found = {}
    for rec in ds.iter_records():
        for result in rec.results():
            facts = result.to_dict()
            for key in ("computed_utc", "seconds", "machine"):
                del facts[key]
            found[rec.image_id] = {**facts, "value": result.load().to_dict()}
    return found


@pytest.mark.parametrize("pool", ["threads", *PROCESSES], indirect=True)
def test_every_executor_gives_the_same_results_and_lineage(tmp_path: Path, pool: Pool) -> None:
    with make(tmp_path / "here.zarr") as ds:
        run(ds, Speed())
        here = seen(ds)
    assert [found["kind"] for found in here["c"]["inputs"]] == ["regions", "region", "pixels"]
    with make(tmp_path / "there.zarr") as ds, pool(2) as executor:
        assert len(run(ds, Speed(), executor=executor).computed) == 4
        assert seen(ds) == here
        assert len(run(ds, Speed(), executor=executor).up_to_date) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows kills by another name")
@pytest.mark.parametrize("pool", PROCESSES, indirect=True)
def test_a_worker_that_is_killed_loses_the_result_of_one_image(
    tmp_path: Path, pool: Pool, request: pytest.FixtureRequest
) -> None:
    with make(tmp_path / "here.zarr") as ds:
        run(ds, Speed())
        here = seen(ds)
    function = Speed(tmp_path / "killed")
    with make(tmp_path / "there.zarr") as ds:
        is_cluster = "dask" in request.node.callspec.id
        with pool(1) as executor:
            if is_cluster:  # It does the task again, with another worker.
                assert len(run(ds, function, executor=executor).computed) == 4
            else:
                with pytest.raises(BrokenExecutor, match="goes on from there"):
                    run(ds, function, executor=executor)
                # What was computed before is there; the image whose worker died has nothing.
                assert [*seen(ds)] == ["a"]
                assert ds.validate().ok
        assert (tmp_path / "killed").exists()
        report = run(ds, function)
        assert [item.image_id for item in report.computed] == ([] if is_cluster else [*"bcd"])
        assert seen(ds) == here


def test_nothing_is_saved_after_a_call_was_cancelled(tmp_path: Path) -> None:
    def stop(done: int, _total: int, _label: str) -> None:
        raise KeyboardInterrupt

    with make(tmp_path / "x.zarr") as ds:
        cluster = Unstoppable(1)
        with pytest.raises(KeyboardInterrupt):
            run(ds, Speed(), executor=cluster, progress=stop)
        when_it_ended = state_of(ds)
        assert [*seen(ds)] == ["a"]
        cluster.late()
        assert len(cluster.errors) == 3
        assert all("has ended" in str(error) for error in cluster.errors)
        assert state_of(ds) == when_it_ended
        assert [item.image_id for item in run(ds, Speed()).computed] == [*"bcd"]
