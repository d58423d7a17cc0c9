"""`ds.map()`: a function for many images, through any executor."""

from __future__ import annotations

import copy
import importlib
import pickle
import re
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

import numpy as np
import pytest

from kymflow_zarr import MapResult, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import RecordNotFoundError
from tests.helpers.process_pool import process_pool


@pytest.fixture
def many(ds: ZarrDataset) -> ZarrDataset:
    for i in range(12):
        ds.add_image(np.full((2, 3), i, "uint16"), image_id=f"i{i:02d}")
    return ds


def total(rec: ZarrImageRecord) -> int:
    return int(rec.load_array().sum())


def save_total(rec: ZarrImageRecord) -> str:
    return rec.save_json("total", total(rec))


def fail_on_three(rec: ZarrImageRecord) -> int:
    if rec.image_id == "i03":
        raise ZeroDivisionError("three")
    return total(rec)


def test_values_come_by_id_in_order(many: ZarrDataset) -> None:
    result = many.map(total)
    assert list(result.items()) == [(f"i{i:02d}", 6 * i) for i in range(12)]
    assert result.ok
    result.raise_errors()
    assert list(many.map(total, ["i07", "i02"])) == ["i07", "i02"]


def test_slow_ones_do_not_change_the_order(many: ZarrDataset) -> None:
    def slow_first(rec: ZarrImageRecord) -> str:
        time.sleep(0.05 if rec.image_id == "i00" else 0)
        return rec.image_id

    assert list(many.map(slow_first).values()) == many.list_image_ids()


def test_one_that_fails_is_reported_and_the_rest_go_on(many: ZarrDataset) -> None:
    result = many.map(fail_on_three)
    assert not result.ok
    assert len(result) == 11
    assert list(result.errors) == ["i03"]
    assert "i03" not in list(result)
    with pytest.raises(ZeroDivisionError):
        result["i03"]
    with pytest.raises(ExceptionGroup) as info:
        result.raise_errors()
    assert "image 'i03'" in info.value.exceptions[0].__notes__
    assert "1 failed" in repr(result)


def test_an_image_that_is_not_there_is_one_that_fails(many: ZarrDataset) -> None:
    result = many.map(total, ["i01", "gone"])
    assert dict(result) == {"i01": 6}
    assert isinstance(result.errors["gone"], RecordNotFoundError)


def test_processes_read_and_write(many: ZarrDataset) -> None:
    with process_pool(2) as pool:
        result: MapResult[str] = many.map(save_total, executor=pool)
        assert many.map(fail_on_three, executor=pool).errors.keys() == {"i03"}
    assert result.ok
    assert [many[i].load_json("total") for i in many] == [6 * i for i in range(12)]


def test_a_dataset_for_reading_stays_one_in_another_process(many: ZarrDataset) -> None:
    with ZarrDataset(many.path, mode="r") as frozen, process_pool(1) as pool:
        errors = frozen.map(save_total, ["i01"], executor=pool).errors
    assert isinstance(errors["i01"], PermissionError)


def test_datasets_and_records_pickle_and_never_empty_anything(ds: ZarrDataset) -> None:
    with ZarrDataset(ds.path, mode="w") as made:
        rec = made.add_image(np.ones((2, 2)))
        for back in (pickle.loads(pickle.dumps(made)), copy.copy(made)):
            assert (back.path, back.mode, list(back)) == (made.path, "r+", [rec.image_id])
        again = pickle.loads(pickle.dumps(rec))
        assert again == rec
        assert again.save_json("x", 1)


def test_progress_and_cancelling(many: ZarrDataset) -> None:
    seen: list[tuple[int, int, str]] = []
    many.map(total, progress=lambda *step: seen.append(step))
    assert seen == [(i + 1, 12, f"i{i:02d}") for i in range(12)]


class Recorder(Executor):
    """Runs a call when its result is asked for; knows what was submitted and what waits."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        recorder = self

        class Lazy(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                recorder.waiting -= 1
                return fn(*args, **kwargs)

        future = Lazy()
        self.futures.append(future)
        return future


def test_any_executor_will_do_and_few_calls_wait(many: ZarrDataset) -> None:
    recorder = Recorder()
    ids = many.list_image_ids() * 1
    assert len(many.map(total, ids, executor=recorder)) == 12
    assert recorder.waiting == 0

    recorder = Recorder()
    recorder._max_workers = 1  # type: ignore[attr-defined]
    many.map(total, executor=recorder)
    assert recorder.most < 12


def test_an_interrupt_cancels_what_has_not_begun(many: ZarrDataset) -> None:
    recorder = Recorder()

    def interrupt(done: int, total: int, label: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        many.map(total, executor=recorder, progress=interrupt)
    assert all(future.cancelled() for future in recorder.futures[2:])
    assert not any(future.cancelled() for future in recorder.futures[:2])


def test_threads_are_used_by_default(many: ZarrDataset) -> None:
    both = threading.Barrier(2, timeout=20)
    assert many.map(lambda rec: both.wait() is not None, ["i00", "i01"]).ok


class Broken(Executor):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise BrokenExecutor("its workers are gone")


def test_a_broken_executor_is_not_the_fault_of_the_images(many: ZarrDataset) -> None:
    with pytest.raises(BrokenExecutor, match=r"'i00'.*starts again"):
        many.map(total, executor=Broken())


class TwoArgsError(Exception):
    """Pickles, and does not come back: as those of many a package."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} at {where}")


class OneWay:
    """Pickles, and does not come back."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def strange(rec: ZarrImageRecord) -> object:
    if rec.image_id == "i01":
        raise TwoArgsError("damaged", "line 7")
    if rec.image_id == "i03":
        raise ValueError("locked", threading.Lock())
    if rec.image_id == "i05":
        sys.exit("cannot be analyzed")
    if rec.image_id == "i07":
        return OneWay()
    if rec.image_id == "i09":
        return threading.Lock()
    return total(rec)


@pytest.mark.parametrize("chained", [False, True])
def test_whatever_one_image_raises_or_returns_in_a_process_the_rest_go_on(
    many: ZarrDataset, chained: bool
) -> None:
    how: dict[str, Any] = {}
    if chained:  # There errors are pickled with what caused them.
        pytest.importorskip("dask.multiprocessing")
        how = {"initializer": importlib.import_module, "initargs": ("dask.multiprocessing",)}
    with process_pool(2, **how) as pool:
        result = many.map(strange, executor=pool)
        assert list(result.errors) == ["i01", "i03", "i05", "i07", "i09"]
        assert len(result) == 7
        assert many.map(total, executor=pool).ok
    for image_id, said in (
        ("i01", "damaged at line 7"),
        ("i03", "locked"),
        ("i05", "cannot be analyzed"),
        ("i07", "no number"),
        ("i09", "lock"),
    ):
        assert re.search(said, str(result.errors[image_id]))


def test_a_function_that_wants_to_end_its_thread_ends_nothing_else(many: ZarrDataset) -> None:
    result = many.map(strange)
    assert list(result.errors) == ["i01", "i03", "i05"]
    assert "cannot be analyzed" in str(result.errors["i05"])


def test_a_single_id_is_one_image_and_not_its_letters(many: ZarrDataset) -> None:
    assert dict(many.map(total, "i03")) == {"i03": 18}
