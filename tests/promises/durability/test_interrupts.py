"""Ctrl-C at any bytecode of the storage room leaves no lock, and the state before or after.

With KYMFLOW_ZARR_LONG=1 each bytecode is tried once for each way by which functions of the storage
call each other to it; else one in some hundred.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset, layout
from kymflow_zarr.api.internals import open_dataset_of
from kymflow_zarr.errors import LockTimeoutError, NotFoundError, RecordExistsError
from kymflow_zarr.runtime.limits import PIXELS_BYTES, MemoryBudget, pixels_memory
from kymflow_zarr.storage.local import locks
from kymflow_zarr.storage.local.disk import disk
from kymflow_zarr.storage.local.session import Session
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.testing import InterruptPoint, check_invariants, interrupt_points
from tests.helpers.operations import LONG, OPERATIONS, PIXELS, write_base, write_lab
from tests.runtime.test_executors import Here

fcntl = pytest.importorskip("fcntl")

CALLS = (
    "save_json, new", "save_array", "delete_array_artifact", "add_image", "save_table", "edit",
    "delete_image",
)  # fmt: skip
# What interrupted descriptors are closed by is the garbage collection of their file.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def _small_heap() -> Iterator[None]:
    """Collect the garbage of this test alone; a whole suite makes each collection slow."""
    gc.collect()
    gc.freeze()
    yield
    gc.collect()  # Before another test, which expects no warnings.
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a lock that is not free at once for one that is never released."""
    monkeypatch.setattr(locks, "LOCK_TIMEOUT_S", 0.5)


def held(path: Path) -> list[str]:
    """Return the lock files that are held, as another process sees it."""
    found = []
    for file in (path / ".kymflow_zarr" / "locks").glob("*.lock"):
        with file.open("r+b") as opened:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(file.name)
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.zarr"
    write_base(path)
    return path


Way = tuple[tuple[CodeType, int], ...]
ways_tried: set[Way] = set()


class Ways(InterruptPoint):
    """Interrupts nothing; notes by which calls of the storage each bytecode is reached."""

    def __init__(self) -> None:
        super().__init__(sys.maxsize)
        self.ways: list[Way] = []

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        traced = super()._trace(frame, event, arg)
        if event == "opcode":
            frames = (found for found, _ in traceback.walk_stack(frame))
            self.ways.append(
                tuple(
                    (found.f_code, found.f_lasti)
                    for found in frames
                    if found.f_code.co_filename.startswith(self._files)
                )
            )
        return traced


def bytecodes(work: Callable[[], object], *, sample: int) -> Iterator[InterruptPoint]:
    """Yield one bytecode in `sample` of some work; in a long run those by ways not tried yet."""
    if not LONG:
        yield from interrupt_points(step=sample)
        return
    with Ways() as run:
        work()
    for number, way in enumerate(run.ways, start=1):
        if way not in ways_tried:
            ways_tried.add(way)
            yield InterruptPoint(number)


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> Iterator[None]:
    """Write how many ways were tried into the report, see ``pytest --junitxml``."""
    tried = len(ways_tried)
    yield
    request.node.user_properties.append(("tried", len(ways_tried) - tried))


def opened(base: Path, path: Path) -> ZarrDataset:
    """Return a copy of the base, opened for writing, with its session and caches in use."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(base, path)
    ds = ZarrDataset(path, durability="relaxed")
    ds["b"].save_json("opens", "the session")
    return ds


def strike(point: InterruptPoint, call: Callable[[], object]) -> None:
    """Run a call in a generator, and interrupt it.

    Unlike a signal, a trace function may strike at the bytecode that ends an ``except`` block. The
    exception then stays the one that is handled, with all its frames, until the thread ends or, in
    a generator, the generator does.
    """

    def steps() -> Iterator[object]:
        yield call()

    with point:
        next(steps())


def left_in(path: Path) -> list[str]:
    """Return the names of sessions and journals."""
    folders = (path / layout.WORK / name for name in ("sessions", "journal"))
    return sorted(entry.name for folder in folders for entry in folder.iterdir())


def contents(ds: ZarrDataset) -> dict[str, bytes | None]:
    """Return the files, pending changes included, but those of the image that is always saved."""
    storage = open_dataset_of(ds).storage
    skipped = (f"{layout.IMAGES}/b/", layout.WORK, layout.INDEX)
    return {key: storage.read(key) for key, _ in storage.walk("") if not key.startswith(skipped)}


def interrupted(
    base: Path, path: Path, call: Callable[[ZarrDataset], object], *, sample: int
) -> int:
    """Interrupt a call at many points and look at what is left; return how many were tried."""
    ds = opened(base, path)
    before = contents(ds)
    call(ds)
    changes = contents(ds) != before  # Not so where only derived files change.
    ds.close()
    ds = opened(base, path)
    tried = 0
    for point in bytecodes(partial(call, ds), sample=sample):
        ds.close()
        ds = opened(base, path)
        strike(point, partial(call, ds))
        if not point.reached:
            continue
        tried += 1
        # Its traceback lives on, as in a notebook, and keeps the frames and what they refer to.
        assert point.error is None or point.error.__traceback__ is not None
        assert held(path) == [], point
        if contents(ds) == before:
            call(ds)  # It can be made again, and at once.
            assert (contents(ds) != before) is changes, point
        else:
            with contextlib.suppress(NotFoundError, RecordExistsError):
                call(ds)
        ds["b"].save_json("next", point.count)
        ds.close()
        if not LONG or tried % 10 == 1:
            with ZarrDataset(path, "r+") as again:
                check_invariants(again)
                assert again["b"].load_json("next") == point.count
    ds.close()
    with ZarrDataset(path, "r+") as again:
        check_invariants(again)
    return tried


@pytest.mark.parametrize("name", OPERATIONS if LONG else CALLS)
def test_ctrl_c_anywhere_in_a_call_leaves_no_lock_and_the_next_save_works_at_once(
    name: str, base: Path, tmp_path: Path
) -> None:
    tried = interrupted(base, tmp_path / "x.zarr", OPERATIONS[name], sample=901)
    assert LONG or tried > 3


def test_ctrl_c_anywhere_while_a_dataset_is_opened_leaves_it_to_be_opened(
    base: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(base, tmp_path / "x.zarr")

    def opens() -> None:
        with ZarrDataset(path, durability="relaxed") as ds:
            ds["a"].save_json("opens", 1)

    for point in bytecodes(opens, sample=211):
        strike(point, opens)
        assert held(path) == [], point
        with ZarrDataset(path, durability="relaxed") as again:
            again["b"].save_json("next", point.count)
        point.error = None  # The dataset that its traceback keeps is still open.
        gc.collect()
        assert left_in(path) == [], point
    with ZarrDataset(path) as again:
        check_invariants(again)


def test_ctrl_c_anywhere_while_a_session_begins_leaves_no_lock_file_of_it(
    ds: ZarrDataset,
) -> None:
    ds.close()
    for point in interrupt_points(step=1 if LONG else 7):
        session = Session(ds.path, durable=True)
        strike(point, session.new_path)
        point.error = None
        if point.count % 2:
            assert session.name  # It begins at once, and leaves nothing of the first attempt.
            assert len(left_in(ds.path)) == 2, point
            session.close()
        del session
        gc.collect()
        assert left_in(ds.path) == [], point


@pytest.mark.parametrize("mode", ["w", "a"])
def test_ctrl_c_anywhere_while_a_dataset_is_created_or_emptied(mode: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"

    def creates() -> None:
        ZarrDataset(path, mode, durability="relaxed").close()

    for point in bytecodes(creates, sample=211):
        if mode == "a":
            shutil.rmtree(path, ignore_errors=True)
        strike(point, creates)
        assert held(path) == [], point
        point.error = None
        gc.collect()
        with ZarrDataset(path, mode, durability="relaxed") as ds:
            assert len(ds) == 0
        with ZarrDataset(path) as ds:
            check_invariants(ds)


def test_ctrl_c_anywhere_while_a_folder_is_scanned_again(tmp_path: Path) -> None:
    path, lab = tmp_path / "x.zarr", tmp_path / "lab"
    write_lab(lab)
    with ZarrDataset(path, durability="relaxed") as ds:
        ds.ingest_legacy_folder(lab)
        tiff = min(lab.rglob("*.tif"))
        pixels = tifffile.imread(tiff)

        def scans() -> None:
            nonlocal pixels
            pixels = pixels + 1
            tifffile.imwrite(tiff, pixels)
            ds.refresh_from_folder(lab, mode="reingest_if_changed", executor=Here())

        for point in bytecodes(scans, sample=1607):
            strike(point, scans)
            assert held(path) == [], point
            assert pixels_memory.fits(PIXELS_BYTES), point
            found = [rec.load_array() for rec in ds.iter_records()]
            assert any(np.array_equal(array + 1, pixels) for array in found) or any(
                np.array_equal(array, pixels) for array in found
            ), point
            with ThreadPoolExecutor(1) as other:  # Ctrl-C strikes the main thread.
                other.submit(ds.refresh_from_folder, lab, mode="reingest_if_changed").result(60)
            assert any(np.array_equal(rec.load_array(), pixels) for rec in ds.iter_records()), point
            point.error = None
        ds.close()
        check_invariants(ds)


def test_memory_that_an_interrupted_call_reserved_is_free_again() -> None:
    """As in a notebook, the traceback lives on, and with it the frames."""
    kept = []
    for number in itertools.count(1):
        budget = MemoryBudget(100)
        point = InterruptPoint(number)
        with point:
            _work_with(budget)
        kept.append(point)
        with ThreadPoolExecutor(1) as other:
            assert other.submit(_take_all, budget).result(20), point
        if not point.reached:
            break
    assert len(kept) > 50


@contextlib.contextmanager
def _reserved(budget: MemoryBudget) -> Iterator[None]:
    with budget.reserve(60):
        yield


def _work_with(budget: MemoryBudget) -> None:
    with _reserved(budget):
        pass


def _take_all(budget: MemoryBudget) -> bool:
    with budget.reserve(100):
        return True


def test_ctrl_c_while_a_folder_is_opened_closes_no_descriptor_twice(ds: ZarrDataset) -> None:
    place = ds.path / "images" / ds.add_image(PIXELS).image_id / "analysis" / "x"
    place.mkdir(parents=True)
    # A descriptor closed twice is an OSError here, and the file of another thread elsewhere.
    for point in interrupt_points():
        with point:
            disk().make_folder(place / "new")
        shutil.rmtree(place / "new", ignore_errors=True)


NOTEBOOK = """
import signal, sys, threading, time
import numpy as np
from kymflow_zarr import ZarrDataset, layout
from kymflow_zarr.api.internals import open_dataset_of
ds = ZarrDataset(sys.argv[1], durability="relaxed")
rec = ds.add_image(np.zeros((4, 4)), image_id="a")
kept, end = [], time.monotonic() + float(sys.argv[2])
saving = False
def handler(*_):
    # As a notebook: a second interrupt while the first is handled is not another exception.
    global saving
    if saving:
        saving = False
        raise KeyboardInterrupt
signal.signal(signal.SIGINT, handler)
def kernel():
    # "Interrupt kernel", at moments that have nothing to do with what runs.
    while time.monotonic() < end:
        time.sleep(0.004)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
n = 0
stop = threading.Thread(target=kernel)
stop.start()
while stop.is_alive():
    try:
        saving = True
        while stop.is_alive():
            n += 1
            rec.save_json("n", n)
        saving = False
    except KeyboardInterrupt as error:
        kept[:] = [error]  # As a notebook does.
saving = False
rec.save_json("n", "last")
print(n, len(kept))
"""


def test_a_notebook_that_is_interrupted_again_and_again_saves_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NOTEBOOK, str(tmp_path / "x.zarr"), "20" if LONG else "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    saves, kept = done.stdout.split()
    assert (int(saves) > 1, kept) == (True, "1"), done.stderr
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        assert ds["a"].load_json("n") == "last"
        check_invariants(ds)


@pytest.mark.parametrize("code", ["ENOLCK", "EIO"])
def test_an_unlock_that_fails_on_a_share_does_not_keep_the_lock(
    ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    rec = ds.add_image(PIXELS, image_id="a")
    real, failures = fcntl.flock, [1, 10**6]

    def flock(descriptor: int, what: int) -> None:
        if what == fcntl.LOCK_UN and failures[0]:
            failures[0] -= 1
            raise OSError(getattr(errno, code), code)
        real(descriptor, what)

    monkeypatch.setattr(fcntl, "flock", flock)
    for number in range(2):
        rec.save_json("n", number)
        monkeypatch.undo()
        assert held(ds.path) == []
        failures.pop(0)
        monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.undo()
    rec.save_json("n", "next")
    assert rec.load_json("n") == "next"


def test_a_lock_that_a_stack_frame_still_holds_is_not_taken_by_another(ds: ZarrDataset) -> None:
    storage = LocalStorage(ds.path, writable=True)
    with storage.lock("a"), pytest.raises(LockTimeoutError), locks.Locks(ds.path).hold(["a"]):
        pass
    with storage.lock("a"), storage.lock("a"):
        pass

    @contextlib.contextmanager
    def wrapped():  # type: ignore[no-untyped-def]
        with storage.lock("a"):
            yield

    with wrapped(), pytest.raises(LockTimeoutError), locks.Locks(ds.path).hold(["a"]):
        pass
    with contextlib.ExitStack() as stack:
        stack.enter_context(storage.lock("a"))
        with pytest.raises(LockTimeoutError), locks.Locks(ds.path).hold(["a"]):
            pass
    assert held(ds.path) == []


def test_threads_take_turns_and_a_thread_that_has_died_holds_nothing(ds: ZarrDataset) -> None:
    entered, leave = threading.Event(), threading.Event()

    storage = LocalStorage(ds.path, writable=True)

    def hold() -> None:
        with storage.lock("a"):
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait(10)
    with pytest.raises(LockTimeoutError), locks.Locks(ds.path).hold(["a"]):
        pass
    leave.set()
    holder.join(10)
    with locks.Locks(ds.path).hold(["a"]):
        pass
