"""What must never happen to somebody's data, by mistake or by bad luck."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import DatasetNotFoundError, StorageError
from kymflow_zarr.storage.local.disk import disk_replaced
from kymflow_zarr.storage.local.files import FileParts
from kymflow_zarr.storage.local.session import sweep
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.testing import (
    FaultPoint,
    FaultyDisk,
    PowerLossDisk,
    check_invariants,
    fault_points,
    state_of,
)
from tests.conftest import files_of

PIXELS = np.arange(24, dtype=np.uint16).reshape(4, 6)


class TestForeignFolders:
    @pytest.mark.parametrize("mode", ["a", "w", "w-", "r+"])
    @pytest.mark.parametrize(
        "name", ["images/fig1.png", "tables/thesis.xlsx", "index/a", "images/zarr.json/x"]
    )
    def test_folders_that_are_named_like_ours_are_not_taken_over(
        self, tmp_path: Path, mode: Any, name: str
    ) -> None:
        path = tmp_path / "paper" / name
        path.parent.mkdir(parents=True)
        path.write_text("years of work")
        before = files_of(tmp_path)
        with pytest.raises((ValueError, FileNotFoundError)):
            ZarrDataset(tmp_path / "paper", mode=mode)
        assert files_of(tmp_path) == before

    @pytest.mark.parametrize("name", ["images/notes.txt", "tables/thesis.xlsx", "images/a/x.png"])
    def test_w_refuses_foreign_files_deep_in_a_dataset(self, ds: ZarrDataset, name: str) -> None:
        ds.add_image(PIXELS)
        path = ds.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
        with pytest.raises(ValueError, match="Nothing was deleted"):
            ZarrDataset(ds.path, mode="w")
        assert path.read_text() == "mine"
        assert len(ds) >= 1

    @pytest.mark.parametrize("below", ["sub.zarr", "images/q.zarr", "tables/x/y.zarr"])
    def test_a_dataset_is_not_made_inside_another(self, ds: ZarrDataset, below: str) -> None:
        before = files_of(ds.path)
        with pytest.raises(ValueError, match="lies inside"):
            ZarrDataset(ds.path / below, mode="a")
        assert files_of(ds.path) == before

    def test_an_image_is_not_a_dataset(self, rec: ZarrImageRecord, ds: ZarrDataset) -> None:
        with pytest.raises(ValueError, match="this is one image of a dataset"):
            ZarrDataset(ds.path / "images" / rec.image_id, mode="r")

    @pytest.mark.parametrize("path", ["ftp://host/x.zarr", "https://host/x.zarr", "", None, 3])
    def test_what_is_no_path_makes_no_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=r"path|address|read only"):
            ZarrDataset(path)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
    def test_links_are_deleted_and_what_they_lead_to_is_not(
        self, ds: ZarrDataset, tmp_path: Path
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir(mode=0o755)
        (outside / "zarr.json").write_text("{}")
        mode = outside.stat().st_mode
        (ds.path / "images" / "x").symlink_to(outside)
        ds.delete_image("x")
        assert (outside / "zarr.json").read_text() == "{}"
        assert outside.stat().st_mode == mode
        assert not (ds.path / "images" / "x").is_symlink()


class TestInterruptions:
    @pytest.mark.parametrize("mode", ["w", "a"])
    def test_an_interrupted_wipe_is_finished_and_brings_nothing_back(
        self, ds: ZarrDataset, mode: Any
    ) -> None:
        ds.add_image(PIXELS)
        ds.save_table("t", pd.DataFrame({"a": [1]}))
        ds.close()
        empty = FaultyDisk()
        with disk_replaced(empty):
            ZarrDataset(shutil.copytree(ds.path, ds.path.with_name("other")), "w").close()
        removals = [i for i, name in enumerate(empty.operations, 1) if name.startswith("rename")]
        for point in fault_points("crash", first=removals[1], step=10**6):
            with point:
                ZarrDataset(ds.path, mode="w").close()
            if point.reached:
                with pytest.raises(FileNotFoundError):
                    ZarrDataset(ds.path, mode="r")
        again = ZarrDataset(ds.path, mode=mode)
        assert len(again) == 0
        assert again.list_table_names() == []
        assert again.validate().problems == ()

    @pytest.mark.parametrize("mode", ["a", "w", "w-"])
    def test_an_interrupted_creation_does_not_stand_in_the_way(
        self, tmp_path: Path, mode: Any
    ) -> None:
        path = tmp_path / "x.zarr"
        interrupted = 0
        for point in fault_points("crash"):
            shutil.rmtree(path, ignore_errors=True)
            with point:
                ZarrDataset(path, mode="w").close()
            # One that is complete, though the process died, is a dataset, which "w-" leaves alone.
            if mode == "w-" and _is_there(path):
                continue
            interrupted += 1
            assert len(ZarrDataset(path, mode=mode)) == 0
        assert interrupted > 5


def _is_there(path: Path) -> bool:
    try:
        ZarrDataset(path, "r").close()
    except FileNotFoundError:
        return False
    return True


class TestPlaces:
    def test_a_relative_path_means_the_same_after_the_current_folder_has_changed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            ZarrDataset("lab.zarr", mode="w-")
        monkeypatch.chdir(tmp_path / "a")
        ds = ZarrDataset("lab.zarr")
        rec = ds.add_image(PIXELS, image_id="one")
        monkeypatch.chdir(tmp_path / "b")
        ds.add_image(PIXELS, image_id="two")
        assert rec.shape == (4, 6)
        assert ds.list_image_ids() == ["one", "two"]
        assert len(ZarrDataset("lab.zarr")) == 0
        assert ZarrDataset(tmp_path / "a" / "lab.zarr")["one"] == rec

    def test_a_dataset_that_has_vanished_is_not_an_empty_one(self, ds: ZarrDataset) -> None:
        rec = ds.add_image(PIXELS)
        ds.path.rename(ds.path.with_name("unmounted"))
        calls: list[Callable[[], object]] = [
            ds.list_image_ids,
            lambda: len(ds),
            lambda: list(ds),
            lambda: list(ds.iter_records()),
            ds.list_table_names,
            ds.load_manifest,
        ]
        for call in calls:
            with pytest.raises(DatasetNotFoundError, match="not there any more"):
                call()
        with pytest.raises((KeyError, OSError)):
            rec.load_array()
        with pytest.raises((ValueError, OSError)):
            ds.add_image(PIXELS)
        assert not ds.path.exists()


class TestWritersAtOnce:
    def test_an_image_deleted_and_added_again_is_never_read_as_a_mixture(
        self, ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        zeros = np.zeros((40, 1024, 1024), np.uint16)
        ds.add_image(zeros, image_id="m")
        real = LocalStorage.open
        switched = threading.Event()

        @contextlib.contextmanager
        def opened(self: LocalStorage, key: str) -> Iterator[FileParts | None]:
            with real(self, key) as file:
                yield file
            if "/c/" in key and not switched.is_set():
                switched.set()
                ds.delete_image("m")
                ds.add_image(zeros + 7, image_id="m")

        monkeypatch.setattr(LocalStorage, "open", opened)
        assert np.unique(ZarrDataset(ds.path, mode="r")["m"].load_array()).tolist() == [7]

    def test_two_programs_that_save_a_part_of_the_metadata_each_find_theirs(
        self, rec: ZarrImageRecord
    ) -> None:
        for _ in range(20):
            rec.save_metadata_payload({"version": "2.0"})
            with ThreadPoolExecutor(2) as pool:
                futures = [
                    pool.submit(rec.save_metadata_objects, header={"a": 1}),
                    pool.submit(rec.save_metadata_objects, rois=[{"roi_id": 1}]),
                ]
                for future in futures:
                    future.result()
            payload = rec.load_metadata_payload()
            assert payload["header"] == {"a": 1}
            assert payload["rois"] == [{"roi_id": 1}]

    def test_saving_beside_an_artifact_that_is_being_deleted(self, rec: ZarrImageRecord) -> None:
        stop = threading.Event()

        def delete() -> None:
            while not stop.is_set():
                rec.delete_analysis(["v/a"])

        with ThreadPoolExecutor(2) as pool:
            deleting = pool.submit(delete)
            for i in range(300):
                rec.save_json("v/a", i)
                rec.save_json("v/b", i)
                rec.delete_analysis(["v/b"])
            stop.set()
            deleting.result()

    def test_opening_while_pixels_are_replaced(self, rec: ZarrImageRecord) -> None:
        stop = threading.Event()

        def replace() -> None:
            value = 0
            while not stop.is_set():
                value += 1
                rec.save_array(np.full((8, 8), value, np.uint16))

        with ThreadPoolExecutor(1) as pool:
            replacing = pool.submit(replace)
            for _ in range(100):
                assert rec.open_array().ndim == 2
                assert len(np.unique(rec.load_array()[:1])) >= 1
            stop.set()
            replacing.result()


class TestDeletion:
    def test_a_table_that_cannot_be_read_stops_it_before_anything_is_deleted(
        self, ds: ZarrDataset
    ) -> None:
        rec = ds.add_image(PIXELS)
        for name in ("a", "z"):
            ds.save_table(name, pd.DataFrame({"image_id": [rec.image_id]}))
        (ds.path / "tables" / "z.parquet").write_bytes(b"broken")
        with pytest.raises(ValueError, match=r"z\.parquet"):
            ds.delete_image(rec.image_id)
        assert rec.shape == (4, 6)
        assert len(ds.load_table("a")) == 1

    def test_rows_that_name_the_image_in_the_index_go_too(self, ds: ZarrDataset) -> None:
        gone, kept = (ds.add_image(PIXELS).image_id for _ in range(2))
        index = pd.Index([gone, kept, gone], name="image_id")
        ds.save_table("t", pd.DataFrame({"v": [1, 2, 3]}, index=index))
        assert ds.delete_image(gone) == 2
        assert ds.load_table("t").index.tolist() == [kept]


class _Meanwhile(FaultyDisk):
    """Lets something happen just before one operation."""

    def __init__(self, number: int, happens: Callable[[], object]) -> None:
        super().__init__()
        self._number, self._happens = number, happens
        self.came = False

    def _next(self, name: str, path: Path, partly: Callable[[], object] | None = None) -> None:
        super()._next(name, path, partly)
        if not self.came and len(self.operations) == self._number:
            self.came = True
            self._happens()


class _SlowToClose(_Meanwhile):
    """Begins to close before an operation, and deletes just before names are changed."""

    def __init__(self, number: int, close: Callable[[], object]) -> None:
        super().__init__(number, self._begin)
        self.closing = threading.Thread(target=close)
        self._at_it, self._go, self._gone = (threading.Event() for _ in range(3))

    def _begin(self) -> None:
        self.closing.start()
        self._at_it.wait(0.03)

    def _next(self, name: str, path: Path, partly: Callable[[], object] | None = None) -> None:
        if threading.current_thread() is self.closing:
            if name == "remove_tree":
                self._at_it.set()
                self._go.wait(0.2)
            return
        super()._next(name, path, partly)
        if self._at_it.is_set() and name in ("replace", "rename_folder"):
            self._go.set()
            self._gone.wait(0.2)

    def finish(self) -> None:
        self._go.set()
        if self.came:
            self.closing.join()

    def remove_tree(self, path: Path) -> None:
        super().remove_tree(path)
        if threading.current_thread() is self.closing:
            self._gone.set()


class TestMeanwhile:
    @pytest.mark.parametrize("call", ["add_image", "save_json", "save_array"])
    def test_a_dataset_closed_by_another_thread_in_the_midst_of_a_change(
        self, tmp_path: Path, call: str
    ) -> None:
        number, came = 0, True
        while came:
            number += 1
            path = tmp_path / f"{number}.zarr"
            ds = ZarrDataset(path)
            rec = ds.add_image(PIXELS, image_id="a")
            calls: dict[str, Callable[[], object]] = {
                "add_image": functools.partial(ds.add_image, PIXELS, image_id="new"),
                "save_json": functools.partial(rec.save_json, "new", 1),
                "save_array": functools.partial(rec.save_array, PIXELS + 1),
            }
            before = state_of(ds)
            disk, done = _SlowToClose(number, ds.close), True
            with disk_replaced(disk):
                try:
                    calls[call]()
                except StorageError:
                    done = False
                finally:
                    disk.finish()
            came = disk.came
            ds.close()
            with ZarrDataset(path, "r+") as again:
                assert (state_of(again) != before) == done, disk.operations[: number + 1]
                check_invariants(again)

    def test_what_a_writer_committed_just_before_it_died_is_not_swept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "x.zarr"
        writer = ZarrDataset(path)
        writer.add_image(PIXELS, image_id="a").save_json("n", 1)

        counted = FaultyDisk()
        with disk_replaced(counted):
            writer["a"].save_json("n", 1)
        names = [operation.partition(" ")[0] for operation in counted.operations]
        between = names.index("replace") + 2  # One of two files is in its place.

        def commit_and_die(*args: Any, **how: Any) -> Any:
            with FaultPoint(FaultyDisk(between), between, "crash"):
                writer["a"].save_json("n", 2)
            return sweep(*args, **how)

        # After the journals were looked at, and before the folders of the dead are.
        monkeypatch.setattr("kymflow_zarr.storage.local.storage.sweep", commit_and_die)
        ZarrDataset(path, "r+").close()
        monkeypatch.undo()
        with ZarrDataset(path, "r+") as ds:
            assert ds["a"].load_json("n") == 2
            check_invariants(ds)

    def test_a_forgotten_dataset_is_tidied_up_and_is_no_part_of_another_ones_work(
        self, tmp_path: Path
    ) -> None:
        forgotten = ZarrDataset(tmp_path / "forgotten.zarr")
        forgotten.add_image(PIXELS)
        forgotten.itself = forgotten  # type: ignore[attr-defined]
        with ZarrDataset(tmp_path / "x.zarr") as ds:
            elsewhere = PowerLossDisk(ds.path)
            with disk_replaced(elsewhere):
                del forgotten
                gc.collect()
                ds.add_image(PIXELS, image_id="a")
        assert not list((tmp_path / "forgotten.zarr/.kymflow_zarr/sessions").iterdir())
        assert not [done for done in elsewhere.operations if done.startswith("remove_tree")]

    def test_a_change_whose_files_are_deleted_concurrently_is_not_reported_as_done(
        self, tmp_path: Path
    ) -> None:
        number, came = 0, True
        while came:
            number += 1
            path = tmp_path / f"{number}.zarr"
            with ZarrDataset(path) as ds:
                rec = ds.add_image(PIXELS, image_id="a")
                rec.save_json("n", 1)
                sessions = path / ".kymflow_zarr" / "sessions"
                disk = _Meanwhile(number, functools.partial(shutil.rmtree, sessions))
                with disk_replaced(disk):
                    try:
                        rec.save_json("n", 2)
                        wanted = [2]
                    except StorageError:
                        wanted = [1, 2]
                came = disk.came
            with ZarrDataset(path, "r+") as ds:
                assert ds["a"].load_json("n") in wanted, disk.operations[number - 1]

    def test_a_thread_that_outlives_the_main_thread_writes_and_verifies(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "x.zarr"
        script = (
            "import sys, threading, numpy as np\n"
            "from kymflow_zarr import ZarrDataset\n"
            "def work():\n"
            "    threading.main_thread().join()\n"
            "    with ZarrDataset(sys.argv[1]) as ds:\n"
            "        ds.add_image(np.zeros((20, 6)), image_id='a', chunks=(1, 6))\n"
            "        print(ds.verify().ok)\n"
            "threading.Thread(target=work).start()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
        )
        assert (done.stdout.strip(), done.stderr) == ("True", "")
        with ZarrDataset(path, "r") as ds:
            assert ds.list_image_ids() == ["a"]
