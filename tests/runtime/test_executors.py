"""Ingest, refresh, export, validate, verify and repair through any executor."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset, set_limits
from kymflow_zarr.runtime import lease
from kymflow_zarr.runtime.lease import working_under
from kymflow_zarr.runtime.parallel import in_order, process_token
from kymflow_zarr.storage.interface import InMemory
from kymflow_zarr.storage.local import staging
from kymflow_zarr.storage.local.disk import Disk, disk_replaced
from kymflow_zarr.storage.memory import MemoryStorage
from kymflow_zarr.testing import SyntheticVessel, check_invariants, state_of, write_experiment
from tests.conftest import files_of
from tests.helpers.operations import by_source
from tests.helpers.process_pool import process_pool
from tests.storage.test_dataset_on_memory import dataset_on


class Here(Executor):
    """Calls at once, in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as executors do
            future.set_exception(error)
        return future


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    """Processes, which take long to start and serve all tests."""
    with process_pool(2) as pool:
        yield pool


@pytest.fixture
def executor(request: pytest.FixtureRequest, processes: Executor) -> Iterator[Executor | None]:
    """An executor of the kind that the test asks for."""
    if request.param == "default":
        yield None
    elif request.param == "here":
        yield Here()
    elif request.param == "threads":
        with ThreadPoolExecutor(3) as threads:
            yield threads
    else:
        assert request.param == "processes"
        yield processes


EVERY = pytest.mark.parametrize(
    "executor", ["default", "here", "threads", "processes"], indirect=True
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four acquisitions with sidecars and tables, and one that is broken."""
    folder = tmp_path_factory.mktemp("lab")
    vessels = [SyntheticVessel(name=f"v{i}", n_lines=120, seed=i) for i in range(4)]
    write_experiment(folder, vessels=vessels)
    (folder / "broken.tif").write_bytes(b"II*\0\x08\0\0\0")
    return folder


@pytest.fixture
def mine(lab: Path, tmp_path: Path) -> Path:
    """The folder, to be changed."""
    return Path(shutil.copytree(lab, tmp_path / "lab", dirs_exist_ok=True))


def told(report: Any) -> list[tuple[str, str, str | None]]:
    return [(item.status, Path(item.path).name, item.reason) for item in report.items]


def require_whole(ds: ZarrDataset) -> None:
    """Require that a dataset is whole, and that its writer has left nothing."""
    ds.close()
    check_invariants(ds)


def no_leftovers(ds: ZarrDataset) -> bool:
    return not list((ds.path / ".kymflow_zarr" / "sessions").glob("*/*"))


@EVERY
def test_a_folder_is_ingested_the_same_by_any_executor(
    mine: Path, tmp_path: Path, executor: Executor | None
) -> None:
    with ZarrDataset(tmp_path / "one.zarr") as one, ZarrDataset(tmp_path / "other.zarr") as other:
        expected = one.ingest_legacy_folder(mine, executor=Here())
        steps: list[tuple[int, int, str]] = []
        report = other.ingest_legacy_folder(
            mine, executor=executor, progress=lambda *step: steps.append(step)
        )
        assert [step[:2] for step in steps] == [(i, 5) for i in range(6)]
        assert told(report) == told(expected)
        assert [item.path for item in report.failed] == [str(mine / "broken.tif")]
        assert len(other) == 4
        assert state_of(other, name=by_source) == state_of(one, name=by_source)
        assert no_leftovers(other)
        require_whole(other)


@EVERY
def test_a_folder_is_scanned_again_the_same(
    mine: Path, tmp_path: Path, executor: Executor | None
) -> None:
    with ZarrDataset(tmp_path / "one.zarr") as one:
        one.ingest_legacy_folder(mine)
    shutil.copytree(tmp_path / "one.zarr", tmp_path / "other.zarr")
    changed, moved, *_ = sorted(p for p in mine.rglob("*.tif") if p.name != "broken.tif")
    tifffile.imwrite(changed, tifffile.imread(changed) + 1)
    moved.rename(moved.with_name("moved.tif"))
    shutil.copy(changed, changed.with_name("new.tif"))
    with ZarrDataset(tmp_path / "one.zarr") as one, ZarrDataset(tmp_path / "other.zarr") as other:
        mode: Any = "reingest_if_changed"
        expected = one.refresh_from_folder(mine, mode=mode, executor=Here())
        result = other.refresh_from_folder(mine, mode=mode, executor=executor)
        assert told(result.report) == told(expected.report)
        assert {"updated", "moved", "ingested"} <= {item.status for item in result.report.items}
        assert state_of(other, name=by_source) == state_of(one, name=by_source)
        assert no_leftovers(other)
        require_whole(other)


@EVERY
@pytest.mark.parametrize("layout", ["dataset", "kymflow"])
def test_an_export_is_the_same(
    lab: Path, tmp_path: Path, executor: Executor | None, layout: Any
) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        ds.ingest_legacy_folder(lab)
        one, other = tmp_path / "one", tmp_path / "other"
        expected = ds.export_legacy_folder(one, layout=layout, executor=Here())
        steps: list[tuple[int, int, str]] = []
        report = ds.export_legacy_folder(
            other,
            layout=layout,
            executor=executor,
            progress=lambda *step: steps.append(step),
        )
        if layout == "dataset":
            again = ds.export_legacy_folder(other, layout=layout, executor=executor)
            assert again.written == ()
        assert [step[:2] for step in steps] == [(i + 1, len(steps)) for i in range(len(steps))]
        assert (report.files, report.written) == (expected.files, expected.written)
        assert files_of(one).keys() == files_of(other).keys()
        for path in report.files:
            if path != "kymflow_zarr_export.json":  # It tells the time.
                assert (one / path).read_bytes() == (other / path).read_bytes()


@EVERY
def test_an_export_comes_back_the_same(
    lab: Path, tmp_path: Path, executor: Executor | None
) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds, ZarrDataset(tmp_path / "back.zarr") as back:
        ds.ingest_legacy_folder(lab)
        ds.export_legacy_folder(tmp_path / "out")
        broken = ds.list_image_ids()[1]
        (tmp_path / "out" / "images" / broken / "image.tif").write_bytes(b"nothing")
        steps: list[tuple[int, int, str]] = []
        report = back.ingest_legacy_folder(
            tmp_path / "out", executor=executor, progress=lambda *step: steps.append(step)
        )
        assert steps == [*((i, 4, each) for i, each in enumerate(ds)), (4, 4, "")]
        assert [item.image_id for item in report.failed] == [broken]
        expected = {k: v for k, v in state_of(ds).items() if k != f"image {broken}"}
        assert len(expected) > 4
        assert state_of(back) == expected
        back.close()
        assert not list((back.path / ".kymflow_zarr" / "sessions").iterdir())


@EVERY
def test_an_image_that_cannot_be_exported_is_reported(
    lab: Path, tmp_path: Path, executor: Executor | None
) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        ds.ingest_legacy_folder(lab)
        broken = ds.list_image_ids()[1]
        (ds.path / "images" / broken / "data" / "c" / "0" / "0").write_bytes(b"nothing")
        for layout in ("dataset", "kymflow"):
            report = ds.export_legacy_folder(
                tmp_path / layout,
                layout=layout,
                executor=executor,
            )
            assert [failure.name for failure in report.failed] == [broken]
            assert len(list((tmp_path / layout).rglob("*.tif"))) == 3
            assert not (tmp_path / layout / ".kymflow_zarr_export").exists()


@EVERY
def test_checks_find_the_same(lab: Path, tmp_path: Path, executor: Executor | None) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        ds.ingest_legacy_folder(lab)
        first, second, *_ = ds.list_image_ids()
        (ds.path / "images" / first / "analysis" / "metadata.json").write_bytes(b"{")
        (ds.path / "images" / second / "data" / "c" / "0" / "0").unlink()
        steps: list[str] = []
        found = ds.validate(executor=executor, progress=lambda *step: steps.append(step[2]))
        assert steps == ds.list_image_ids()
        assert found.to_dict() == ds.validate().to_dict()
        assert not found.ok
        damages = ds.verify(executor=executor).to_dict()
        assert damages == ds.verify().to_dict()
        dry = ds.repair(dry_run=True, executor=executor).to_dict()
        assert dry == ds.repair(dry_run=True).to_dict()


# When it does not go well --------------------------------------------------------------


@EVERY
def test_cancelling_leaves_whole_images_and_the_next_call_goes_on(
    mine: Path, tmp_path: Path, executor: Executor | None
) -> None:
    def stop(done: int, total: int, label: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with ZarrDataset(tmp_path / "a.zarr") as ds:
        with pytest.raises(KeyboardInterrupt):
            ds.ingest_legacy_folder(mine, executor=executor, progress=stop)
        assert 0 < len(ds) < 4
        assert no_leftovers(ds)
        require_whole(ds)
        before = len(ds)
        report = ds.ingest_legacy_folder(mine, executor=executor)
        assert len(report.ingested) == 4 - before
        assert len(ds) == 4


@EVERY
def test_an_export_that_is_cancelled_is_completed_by_the_next(
    lab: Path, tmp_path: Path, executor: Executor | None
) -> None:
    def stop(done: int, total: int, label: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with ZarrDataset(tmp_path / "a.zarr") as ds:
        ds.ingest_legacy_folder(lab)
        for layout in ("dataset", "kymflow"):
            out: Any = {"layout": layout, "executor": executor}
            with pytest.raises(KeyboardInterrupt):
                ds.export_legacy_folder(tmp_path / layout, progress=stop, **out)
            assert not list((tmp_path / layout).rglob("*.tmp"))
            ds.export_legacy_folder(tmp_path / layout, **out)
            whole = ds.export_legacy_folder(tmp_path / f"{layout} whole", **out)
            assert files_of(tmp_path / layout).keys() == set(whole.files)


class Breaks(Here):
    """Does some calls, and then its workers are gone."""

    def __init__(self, calls: int) -> None:
        self._calls = calls

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._calls -= 1
        if self._calls >= 0:
            return super().submit(fn, *args, **kwargs)
        future: Future[Any] = Future()
        future.set_exception(BrokenExecutor("a worker was killed"))
        return future


@pytest.fixture
def singles(tmp_path: Path) -> Path:
    """A folder of TIFFs of different sizes, which are not digested ahead."""
    folder = tmp_path / "singles"
    folder.mkdir()
    for i in range(6):
        tifffile.imwrite(folder / f"{i}.tif", np.full((20 + i, 8), i, "uint16"))
    return folder


def test_a_broken_executor_is_an_error_and_what_was_committed_stays(
    singles: Path, tmp_path: Path
) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        with pytest.raises(BrokenExecutor, match=r"broke down at '3\.tif': a worker was killed"):
            ds.ingest_legacy_folder(singles, executor=Breaks(3))
        assert len(ds) == 3
        assert no_leftovers(ds)
        require_whole(ds)
        assert len(ds.ingest_legacy_folder(singles).ingested) == 3
        for layout in ("dataset", "kymflow"):
            out = tmp_path / layout
            with pytest.raises(BrokenExecutor, match="a worker was killed"):
                ds.export_legacy_folder(out, layout=layout, executor=Breaks(2))
            assert len(list(out.rglob("*.tif"))) == 2
            ds.export_legacy_folder(out, layout=layout)
            assert len(list(out.rglob("*.tif"))) == 6


def _dies() -> None:
    os._exit(1)


def test_a_process_that_was_killed_is_an_error_and_another_goes_on(
    singles: Path, tmp_path: Path
) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        with process_pool(1) as pool:
            with pytest.raises(BrokenExecutor):
                pool.submit(_dies).result(60)
            with pytest.raises(BrokenExecutor, match="goes on from there"):
                ds.ingest_legacy_folder(singles, executor=pool)
        assert len(ds) == 0
        assert no_leftovers(ds)
        assert len(ds.ingest_legacy_folder(singles).ingested) == 6


def test_an_executor_that_was_shut_down_takes_nothing(singles: Path, tmp_path: Path) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        with pytest.raises(RuntimeError, match="shutdown"):
            ds.ingest_legacy_folder(singles, executor=pool)
        assert len(ds) == 0


@pytest.mark.parametrize("what", ["validate", "verify", "repair"])
def test_checks_do_not_go_on_without_their_executor(
    singles: Path, tmp_path: Path, what: str
) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        ds.ingest_legacy_folder(singles)
        with pytest.raises(BrokenExecutor):
            getattr(ds, what)(executor=Breaks(2))
        with pytest.raises(RuntimeError, match="shutdown"):
            getattr(ds, what)(executor=pool)


class Interrupted(ThreadPoolExecutor):
    """Its first worker gets Ctrl-C while the others, busy with their tasks, do not."""

    def __init__(self) -> None:
        super().__init__(3)
        self._first = True
        self._begun = threading.Event()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self._first:
            self._first = False
            return super().submit(self._interrupt)
        return super().submit(self._late, fn, *args, **kwargs)

    def _interrupt(self) -> None:
        assert self._begun.wait(20)
        raise KeyboardInterrupt

    def _late(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self._begun.set()
        time.sleep(0.1)
        return fn(*args, **kwargs)


@pytest.mark.parametrize("layout", ["dataset", "kymflow"])
def test_a_ctrl_c_that_reaches_a_worker_leaves_nothing(
    singles: Path, tmp_path: Path, layout: Any
) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        with Interrupted() as pool:
            with pytest.raises(KeyboardInterrupt):
                ds.ingest_legacy_folder(singles, executor=pool)
            assert no_leftovers(ds)
        assert len(ds) == 0
        ds.ingest_legacy_folder(singles)
        with Interrupted() as pool, pytest.raises(KeyboardInterrupt):
            ds.export_legacy_folder(tmp_path / "out", layout=layout, executor=pool)
        assert not list(tmp_path.glob("out/**/*.tmp"))


FORKS = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from kymflow_zarr import ZarrDataset
with ZarrDataset(sys.argv[1]) as ds:
    ds.ingest_legacy_folder(sys.argv[2])  # Begins the threads that sync files.
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        report = ds.ingest_legacy_folder(sys.argv[3], executor=pool)
        assert ds.verify(executor=pool).ok
    print(len(report.ingested), len(ds))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_processes_that_are_forked_do_not_wait_for_threads_that_they_lack(
    lab: Path, singles: Path, tmp_path: Path
) -> None:
    # In a program of its own: the threads of other tests may hold locks when this one forks.
    command = [sys.executable, "-c", FORKS, str(tmp_path / "a.zarr"), str(lab), str(singles)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split() == ["6", "10"], done.stderr


def test_work_of_another_process_is_not_swept_while_its_caller_lives(
    singles: Path, tmp_path: Path
) -> None:
    """Whoever opens the dataset meanwhile tidies up after dead writers, not after these."""

    def look(done: int, total: int, label: str) -> None:
        with ZarrDataset(tmp_path / "a.zarr", mode="r+") as other:
            other.ingest_tiff(singles / "0.tif", image_id=f"other-{done}")

    with (
        ZarrDataset(tmp_path / "a.zarr") as ds,
        process_pool(2) as pool,
    ):
        report = ds.ingest_legacy_folder(singles, executor=pool, progress=look)
        assert len(report.ingested) == 6
        assert len(ds) == 13
        require_whole(ds)


def test_closing_the_dataset_meanwhile_takes_nothing_away(singles: Path, tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "a.zarr")
    report = ds.ingest_legacy_folder(singles, progress=lambda *_: ds.close())
    assert len(report.ingested) == 6
    ds.close()
    assert not list((ds.path / ".kymflow_zarr" / "sessions").iterdir())


# Reading back --------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["default", "processes"], indirect=True)
def test_what_was_written_is_read_back(
    lab: Path, tmp_path: Path, executor: Executor | None
) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        report = ds.ingest_legacy_folder(lab, verify=True, executor=executor)
        assert len(report.ingested) == 4


@pytest.mark.parametrize("dtype", ["uint8", ">u2", "float32", "complex64", "bool"])
@pytest.mark.parametrize("shape", [(3, 40, 30), (2, 3, 33, 20), (1700, 800)])
def test_pixels_of_any_kind_come_back_as_they_are(
    tmp_path: Path, dtype: str, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 2, shape).astype(dtype)
    if dtype == "float32":
        pixels[..., 0] = np.nan
        pixels[..., 1] = -0.0
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        rec = ds.ingest_tiff(tmp_path / "a.tif", verify=True)
        np.testing.assert_array_equal(rec.load_array().reshape(shape), pixels)


@pytest.fixture
def bad_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that flips a bit of the pixels of images of 22 lines."""
    from kymflow_zarr.ingest import recipe

    right = recipe._Written.open

    @contextmanager
    def wrong(self: Any, key: str) -> Iterator[Any]:
        with right(self, key) as found:
            data = bytearray(found.read(0, found.size))
            if key.startswith("c") and self.flips:
                data[len(data) // 2] ^= 1
            elif b"22" in data and key == "zarr.json":
                self.flips = True
            yield InMemory(bytes(data))

    monkeypatch.setattr(recipe._Written, "flips", False, raising=False)
    monkeypatch.setattr(recipe._Written, "open", wrong)


@pytest.mark.usefixtures("bad_disk")
def test_what_does_not_come_back_is_not_added_and_the_others_are(
    singles: Path, tmp_path: Path
) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        report = ds.ingest_legacy_folder(singles, verify=True)
        (failed,) = report.failed
        assert failed.path == str(singles / "2.tif")
        assert "does not come back as it was" in str(failed.reason)
        assert len(report.ingested) == len(ds) == 5
        with pytest.raises(ValueError, match="does not come back"):
            ds.ingest_tiff(singles / "2.tif", verify=True)
        assert len(ds) == 5
        assert no_leftovers(ds)
        assert len(ds.ingest_legacy_folder(singles).ingested) == 1


# Executors of clusters ---------------------------------------------------------------------


class Cluster(Executor):
    """Gives out futures that something else is to settle."""

    def __init__(self, settle: Callable[[Future[Any]], object]) -> None:
        self._settle = settle

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._settle(future)
        return future


def _square(number: int) -> int:
    return number * number


def test_a_cluster_that_cancels_its_tasks_is_broken() -> None:
    lost = Cluster(lambda future: future.set_exception(CancelledError()))
    for cluster in (Cluster(Future.cancel), lost):
        with pytest.raises(BrokenExecutor, match="at '1': it cancelled a task"):
            list(in_order(_square, [1, 2], executor=cluster))


def test_a_cluster_that_never_answers_is_broken_in_the_end() -> None:
    with set_limits(worker_seconds=1), pytest.raises(BrokenExecutor, match="worker_seconds"):
        list(in_order(_square, [1, 2], executor=Cluster(lambda _: None)))


@pytest.mark.parametrize("status", ["connecting", "closed"])
def test_a_cluster_that_lost_its_scheduler_is_broken_at_once(status: str) -> None:
    cluster = Cluster(lambda _: None)
    cluster._client = SimpleNamespace(status=status)  # type: ignore[attr-defined]
    # Far less than the limit: that would be named.
    with set_limits(worker_seconds=60), pytest.raises(BrokenExecutor, match="to the scheduler"):
        list(in_order(_square, [1, 2], executor=cluster))


def test_a_call_that_ends_does_not_wait_for_a_cluster_that_never_answers() -> None:
    """What it drops is not there, and never will be."""

    class Silent(Cluster):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(fn, *args, **kwargs)
            future.set_running_or_notify_cancel()
            return future

    cluster = Silent(lambda _: None)
    with set_limits(worker_seconds=1), pytest.raises(BrokenExecutor, match="worker_seconds"):
        list(in_order(_square, [1, 2], executor=cluster, drop=lambda _: None))


def test_a_time_out_of_the_function_is_its_own() -> None:
    def late(_: int) -> int:
        raise TimeoutError("too late")

    for executor in (None, Here()):
        ((_, _, error),) = in_order(late, [1], executor=executor)
        assert isinstance(error, TimeoutError)
        assert str(error) == "too late"


class WhenAsked(Executor):
    """Runs a task when its result is asked for."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        class Lazy(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                return fn(*args, **kwargs)

        return Lazy()


def test_an_executor_may_run_a_task_when_its_result_is_asked_for() -> None:
    calls = []

    def late(item: int) -> int:
        calls.append(item)
        if item == 2:
            raise TimeoutError("too late")
        return item

    results = list(in_order(late, [1, 2, 3], executor=WhenAsked()))
    assert [(item, result, str(error)) for item, result, error in results] == [
        (1, 1, "None"), (2, None, "too late"), (3, 3, "None"),
    ]  # fmt: skip
    assert calls == [1, 2, 3]


@EVERY
def test_no_two_processes_take_each_other_for_the_same(executor: Executor | None) -> None:
    results = [token for _, token, _ in in_order(_token, [1, 2, 3], executor=executor)]
    if isinstance(executor, ProcessPoolExecutor):
        assert process_token() not in results
    else:
        assert set(results) == {process_token()}


def _token(_: int) -> str:
    return process_token()


def test_dask_does_a_task_again_whose_error_was_mended(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    cause = tmp_path / "cause"
    cause.touch()
    with (
        distributed.Client(
            processes=False, n_workers=1, threads_per_worker=2, dashboard_address=":0"
        ) as client,
        ZarrDataset(tmp_path / "x.zarr") as ds,
    ):
        for number in range(3):
            ds.add_image(np.zeros((2, 2)), image_id=f"i{number}")
        executor = client.get_executor()
        call = partial(_needs_no, str(cause))
        assert len(ds.map(call, executor=executor).errors) == 3
        cause.unlink()
        assert ds.map(call, executor=executor).ok


def _needs_no(path: str, record: Any) -> str:
    if Path(path).exists():
        raise ValueError("it is still there")
    return str(record.image_id)


# Work that goes on after its call has ended --------------------------------------------------


class Unstoppable(Executor):
    """Says that it has cancelled a task that runs, as executors of clusters do.

    The first `calls` tasks end at once; the others begin when `late` is called.
    """

    def __init__(self, calls: int) -> None:
        self._calls = calls
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.errors: list[BaseException | None] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._calls -= 1
        future: Future[Any] = Future()
        if self._calls >= 0:
            future.set_result(fn(*args, **kwargs))
        else:
            self._waiting.append((future, partial(fn, *args, **kwargs)))
        return future

    def late(self) -> None:
        """Do in threads what was cancelled."""
        with ThreadPoolExecutor(4) as threads:
            done = [threads.submit(call) for future, call in self._waiting if future.cancelled()]
        self.errors = [future.exception() for future in done]


def _stop_at(number: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, label: str) -> None:
        if done == number:
            raise KeyboardInterrupt

    return progress


def test_images_are_not_replaced_after_a_refresh_was_stopped(singles: Path, tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        ds.ingest_legacy_folder(singles)
        for path in singles.iterdir():
            tifffile.imwrite(path, tifffile.imread(path) + 100)
        cluster = Unstoppable(2)
        with pytest.raises(KeyboardInterrupt):
            ds.refresh_from_folder(
                singles, mode="reingest_if_changed", executor=cluster, progress=_stop_at(1)
            )
        when_it_ended = state_of(ds)
        assert sum(rec.load_array()[0, 0] >= 100 for rec in ds.iter_records()) == 2
        cluster.late()
        assert len(cluster.errors) == 4
        assert all("has ended" in str(error) for error in cluster.errors)
        assert state_of(ds) == when_it_ended
        assert no_leftovers(ds)
        require_whole(ds)
        result = ds.refresh_from_folder(singles, mode="reingest_if_changed")
        assert sum(item.status == "updated" for item in result.report.items) == 4


@pytest.mark.parametrize("exported", [False, True])
def test_images_are_not_added_after_an_ingest_was_stopped(
    singles: Path, tmp_path: Path, *, exported: bool
) -> None:
    folder = singles
    if exported:
        folder = tmp_path / "out"
        with ZarrDataset(tmp_path / "b.zarr") as source:
            source.ingest_legacy_folder(singles)
            source.export_legacy_folder(folder)
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        cluster = Unstoppable(2)
        with pytest.raises(KeyboardInterrupt):
            ds.ingest_legacy_folder(folder, executor=cluster, progress=_stop_at(1))
        when_it_ended = ds.list_image_ids()
        assert 1 <= len(when_it_ended) <= 2
        cluster.late()
        assert ds.list_image_ids() == when_it_ended
        require_whole(ds)
        assert len(ds.ingest_legacy_folder(folder).ingested) == 6 - len(when_it_ended)


def _saves(record: Any) -> None:
    record.save_json("note", record.image_id)


@pytest.mark.parametrize("place", ["folder", "memory", "shared"])
def test_a_function_saves_nothing_after_map_was_stopped(tmp_path: Path, place: str) -> None:
    if place == "memory":
        dataset = dataset_on(MemoryStorage())
    else:
        dataset = ZarrDataset(tmp_path / "a.zarr", shared=place == "shared")
    with dataset as ds:
        for number in range(5):
            ds.add_image(np.zeros((2, 2)), image_id=f"i{number}")
        cluster = Unstoppable(2)
        with pytest.raises(KeyboardInterrupt):
            ds.map(_saves, executor=cluster, progress=_stop_at(2))
        cluster.late()
        assert [rec.list_analysis_keys() != [] for rec in ds.iter_records()] == [
            True, True, False, False, False,
        ]  # fmt: skip
        assert ds.map(_saves, executor=Here()).ok
        assert ds.validate().ok


def _wait_for(path: Path) -> None:
    until = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < until, f"{path.name} does not appear"
        time.sleep(0.01)


class _Waits:
    """Saves a note when a file appears, in a process that was told to stop before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, record: Any) -> str:
        if record.image_id != "i0":
            (self.folder / f"{record.image_id} has begun").touch()
            _wait_for(self.folder / "go")
        try:
            record.save_json("note", 1)
        finally:
            (self.folder / f"{record.image_id} has ended").touch()
        return str(record.image_id)


def test_a_process_saves_nothing_after_its_call_has_ended(
    tmp_path: Path, processes: Executor
) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        for number in range(2):
            ds.add_image(np.zeros((2, 2)), image_id=f"i{number}")

        def stop(done: int, total: int, label: str) -> None:
            _wait_for(tmp_path / "i1 has begun")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ds.map(_Waits(tmp_path), executor=processes, progress=stop)
        (tmp_path / "go").touch()
        _wait_for(tmp_path / "i1 has ended")
        assert ds["i0"].list_analysis_keys() != []
        assert ds["i1"].list_analysis_keys() == []
        assert no_leftovers(ds)


def test_ctrl_c_where_a_task_begins_leaves_its_lease_to_no_later_save(tmp_path: Path) -> None:
    class Struck:
        """The variable of the lease, with Ctrl-C right after it was set."""

        def __init__(self) -> None:
            self.get = variable.get

        def set(self, current: Any) -> None:
            variable.set(current)
            raise KeyboardInterrupt

    variable = lease._current
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        rec = ds.add_image(np.zeros((2, 2)))
        patch = pytest.MonkeyPatch()
        patch.setattr(lease, "_current", Struck())
        with pytest.raises(KeyboardInterrupt):
            ds.map(_Waits(tmp_path), executor=Here())
        patch.undo()
        rec.save_json("note", 1)
        assert rec.load_json("note") == 1


def test_a_call_waits_for_a_commit_that_is_under_way(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "a.zarr") as ds:
        rec = ds.add_image(np.zeros((2, 2)))
        begun, ended = threading.Event(), threading.Event()

        class Slow(Disk):
            def replace(self, source: Path, target: Path) -> None:
                begun.set()
                assert not ended.wait(0.2), "the call has ended while its worker commits"
                super().replace(source, target)

        with ThreadPoolExecutor(1) as pool, disk_replaced(Slow()):
            with ds._open.storage.lease() as lease:
                assert lease is not None

                def save() -> None:
                    with working_under(lease):
                        rec.save_json("note", 1)

                saved = pool.submit(save)
                assert begun.wait(20)
            ended.set()
            saved.result(60)
        assert rec.load_json("note") == 1


def test_what_another_host_stages_is_synced_there(
    singles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An fsync of the caller does not reach the cache of the worker's host."""
    synced: set[str] = set()

    class Noting(Disk):
        def sync(self, path: Any) -> None:
            synced.add(str(path))

    class Elsewhere(Here):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            with monkeypatch.context() as patch:
                patch.setattr(staging, "host_token", lambda: "another")
                synced.clear()
                result = pickle.loads(pickle.dumps(fn(*args, **kwargs)))
                sent.append({Path(path).name for path in synced})
                missing.extend(
                    path for path in staged_files(tmp_path / "a.zarr") if path not in synced
                )
            future: Future[Any] = Future()
            future.set_result(result)
            return future

    sent: list[set[str]] = []
    missing: list[str] = []
    with ZarrDataset(tmp_path / "a.zarr") as ds, disk_replaced(Noting()):
        tifffile.imwrite(tmp_path / "one.tif", np.zeros((20, 8), "uint16"))
        (singles / "only").mkdir()
        shutil.move(tmp_path / "one.tif", singles / "only" / "one.tif")
        ds.ingest_legacy_folder(singles / "only", executor=Elsewhere())
        assert len(ds) == 1
    (names,) = sent
    assert "zarr.json" in names
    assert missing == []


def staged_files(dataset: Path) -> list[str]:
    sessions = dataset / ".kymflow_zarr" / "sessions"
    return [str(path) for path in sessions.glob("*/*/*/**/*") if path.is_file()]
