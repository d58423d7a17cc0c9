"""Links inside a dataset lead nobody out of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import KymflowZarrError, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import StorageError
from kymflow_zarr.storage.local.disk import Disk, disk_replaced
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.types import StrPath

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")

PIXELS = np.zeros((4, 4), "uint8")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    (folder / "c").mkdir(parents=True)
    for name in ("note.json", "t.parquet", "c/0"):
        (folder / name).write_text("precious")
    return folder


@pytest.fixture
def rec(ds: ZarrDataset) -> ZarrImageRecord:
    return ds.add_image(PIXELS, image_id="a")


def state(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def link(at: Path, to: Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.symlink_to(to, target_is_directory=to.is_dir())


ACTS: dict[str, tuple[str, Callable[[ZarrDataset, ZarrImageRecord], object]]] = {
    "save_json": ("images/a/analysis", lambda _, r: r.save_json("note", 1)),
    "nested": ("images/a/analysis/sub", lambda _, r: r.save_json("sub/note", 1)),
    "delete_analysis": ("images/a/analysis", lambda _, r: r.delete_analysis("note")),
    "save_array": (
        "images/a/analysis_arrays",
        lambda _, r: r.save_array_artifact("m", np.eye(3)),
    ),
    "delete_array": ("images/a/analysis_arrays/m", lambda _, r: r.delete_array_artifact("m")),
    "replace_pixels": ("images/a/data-2", lambda _, r: r.save_array(PIXELS + 1)),
    "save_table": (
        "tables",
        lambda d, _: d.save_table("t", pd.DataFrame({"image_id": ["a"]})),
    ),
    "delete_table": ("tables", lambda d, _: d.delete_table("t")),
    "update_manifest": ("index", lambda d, _: d.update_manifest()),
    "repair": ("images/b", lambda d, _: d.repair()),
}


@pytest.mark.parametrize("act", ACTS)
def test_nothing_is_written_or_deleted_through_a_link(
    ds: ZarrDataset, rec: ZarrImageRecord, outside: Path, act: str
) -> None:
    key, call = ACTS[act]
    link(ds.path / key, outside)
    before = state(outside)
    with contextlib.suppress(KymflowZarrError):
        call(ds, rec)
    assert state(outside) == before


@pytest.mark.parametrize(
    "call", [lambda d: d.delete_image("a"), lambda d: ZarrDataset(d.path, "w")]
)
def test_a_link_is_deleted_and_what_it_leads_to_is_not(
    ds: ZarrDataset, rec: ZarrImageRecord, outside: Path, call: Callable[[ZarrDataset], object]
) -> None:
    link(ds.path / "images" / "a" / "analysis", outside)
    before = state(outside)
    with contextlib.suppress(KymflowZarrError):
        call(ds)
    assert state(outside) == before


def test_an_export_does_not_go_through_a_link(
    ds: ZarrDataset, rec: ZarrImageRecord, outside: Path, tmp_path: Path
) -> None:
    rec.save_json("note", 1)
    link(tmp_path / "out" / "images", outside)
    before = state(outside)
    with contextlib.suppress(KymflowZarrError):
        ds.export_legacy_folder(tmp_path / "out")
    assert state(outside) == before


def test_an_artifact_that_is_a_link_is_not_read(
    ds: ZarrDataset, rec: ZarrImageRecord, outside: Path
) -> None:
    rec.save_json("note", 1)
    (outside / "secret.json").write_text('"secret"')
    link(ds.path / "images" / "a" / "analysis" / "secret.json", outside / "secret.json")
    with pytest.raises(OSError, match="is a link"):
        rec.load_json("secret")
    assert rec.load_json("note") == 1


def test_pixels_behind_a_link_are_not_read(
    ds: ZarrDataset, rec: ZarrImageRecord, outside: Path
) -> None:
    shutil.move(ds.path / "images" / "a" / "data", outside / "data")
    link(ds.path / "images" / "a" / "data", outside / "data")
    for read in (rec.load_array, rec.open_array):
        with pytest.raises(OSError, match="is a link"):
            read()


def test_the_dataset_itself_may_be_a_link(ds: ZarrDataset, tmp_path: Path) -> None:
    rec = ds.add_image(PIXELS)
    link(tmp_path / "shortcut.zarr", ds.path)
    assert ZarrDataset(tmp_path / "shortcut.zarr", mode="r")[rec.image_id].shape == (4, 4)


def test_a_folder_that_becomes_a_link_after_it_was_checked_gets_no_file(
    ds: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process swaps a folder of the dataset for a link, at the worst moment."""
    rec = ds.add_image(np.zeros((2, 2)), image_id="a")
    rec.save_json("v/x", 1)
    outside = tmp_path / "outside"
    analysis = ds.path / "images" / "a" / "analysis"
    check = LocalStorage.refuse_links

    def swapped(self: LocalStorage, key: str, done: str) -> None:
        check(self, key, done)
        if done == "written" and not outside.exists():
            analysis.rename(outside)
            analysis.symlink_to(outside)

    monkeypatch.setattr(LocalStorage, "refuse_links", swapped)
    for save in (
        lambda: rec.save_json("w/deep/er", 2),
        lambda: rec.save_array_artifact("mean", np.zeros(3)),
    ):
        if outside.exists():
            analysis.unlink()
            outside.rename(analysis)
        with contextlib.suppress(StorageError):
            save()
        assert sorted(p.name for p in outside.rglob("*")) == ["v", "x.json"]


class Swapping(Disk):
    """Puts a link to a folder in the place of one on the way to the n-th file that is staged."""

    def __init__(self, outside: Path, *, number: int, level: int) -> None:
        self._outside, self._left, self._level = outside, number, level
        self.swapped = False

    def create(self, path: StrPath, data: bytes | memoryview) -> None:
        found = Path(path)
        if "sessions" in found.parts:
            self._left -= 1
            first = found.parts.index("sessions") + 2
            way = [Path(*found.parts[:end]) for end in range(first, len(found.parts))]
            if self._left == 0 and self._level < len(way):
                self.swapped = True
                way[self._level].rename(self._outside.parent / "moved")
                way[self._level].symlink_to(self._outside)
        super().create(path, data)


@pytest.mark.skipif(sys.platform == "win32", reason="a folder cannot be held open there")
@pytest.mark.parametrize("level", range(4))
def test_what_is_staged_does_not_go_through_a_link_that_is_put_there_meanwhile(
    ds: ZarrDataset, rec: ZarrImageRecord, outside: Path, level: int
) -> None:
    def stages() -> None:
        rec.save_json("note", 1)
        rec.save_array(PIXELS + 1)
        ds.add_image(PIXELS)

    swapped = 0
    for number in range(1, 12):
        stages()
        before = state(outside)
        with (
            disk_replaced(disk := Swapping(outside, number=number, level=level)),
            contextlib.suppress(KymflowZarrError),
        ):
            stages()
        assert state(outside) == before, number
        swapped += disk.swapped
        ds.close()
        for path in (ds.path / ".kymflow_zarr" / "sessions").iterdir():
            if path.is_symlink():
                path.unlink()
        shutil.rmtree(outside.parent / "moved", ignore_errors=True)
    assert swapped > 1


@pytest.mark.parametrize("key", ["images/a/analysis/f.parquet", "images/a/analysis"])
@pytest.mark.parametrize("leads", [False, True])
def test_rows_of_an_image_whose_artifacts_are_behind_a_link_are_not_left_out_silently(
    ds: ZarrDataset, tmp_path: Path, key: str, leads: bool
) -> None:
    for image_id in ("a", "b"):
        ds.add_image(PIXELS, image_id=image_id).save_df_parquet("f", pd.DataFrame({"n": [1]}))
    (ds.path / key).rename(tmp_path / "elsewhere")
    (ds.path / key).symlink_to(tmp_path / ("elsewhere" if leads else "nowhere"))
    with pytest.raises(StorageError, match="is a link"):
        ds.gather("f")
    found = ds.gather("f", on_error="report")
    assert found["image_id"].tolist() == ["b"]
    assert list(found.attrs["errors"]) == ["a"]
    assert ds.images()["image_id"].tolist() == ["a", "b"]
    assert not ds.verify().ok


def test_rows_behind_a_link_in_place_of_a_subfolder_of_artifacts_are_not_left_out_silently(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    for image_id in ("a", "b"):
        rec = ds.add_image(PIXELS, image_id=image_id)
        rec.save_df_parquet("deep/er/f", pd.DataFrame({"n": [1]}))
        rec.save_df_parquet("g", pd.DataFrame({"n": [1]}))
    folder = ds.path / "images" / "a" / "analysis" / "deep"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    for opened in (ds, ZarrDataset(ds.path, "r")):
        with pytest.raises(StorageError, match="is a link"):
            opened.gather("deep/er/f")
        found = opened.gather("deep/er/f", on_error="report")
        assert found["image_id"].tolist() == ["b"]
        assert list(found.attrs["errors"]) == ["a"]
        with pytest.raises(StorageError, match="is a link"):
            opened.sql('SELECT count(*) FROM "deep/er/f"')
        # What is beside the link is there.
        assert opened.gather("g")["image_id"].tolist() == ["a", "b"]
        images = opened.images(["image_id", "shape", "error"]).set_index("image_id")
        assert images["shape"].tolist() == [images["shape"]["b"]] * 2
        assert "analysis/deep" in images["error"]["a"]
        opened.close()


@pytest.mark.parametrize(
    "key",
    [
        "images/a/analysis/f.parquet",
        "images/a/analysis",
        "images/a/analysis_arrays/m",
        "images/a/data",
        "tables/t.parquet",
        "tables",
    ],
)
def test_a_repair_names_links_and_leaves_what_lies_behind_them(
    ds: ZarrDataset, tmp_path: Path, key: str
) -> None:
    rec = ds.add_image(PIXELS, image_id="a")
    rec.save_df_parquet("f", pd.DataFrame({"n": [1]}))
    rec.save_array_artifact("m", np.eye(3))
    ds.save_table("t", pd.DataFrame({"image_id": ["a"]}))
    (ds.path / key).rename(tmp_path / "elsewhere")
    (ds.path / key).symlink_to(tmp_path / "nowhere")
    plan = ds.repair(dry_run=True)
    assert [(action.kind, action.where) for action in plan.actions] == [("link", key)]
    assert not plan.ok
    assert ds.repair().actions == plan.actions
    # What was moved to another disk comes back whole.
    (ds.path / key).unlink()
    (tmp_path / "elsewhere").rename(ds.path / key)
    assert ds.verify().ok
    assert ds.repair().actions == ()
