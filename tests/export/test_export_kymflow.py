"""The folders that a dataset was ingested from, written back."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import ExportReport, ZarrDataset
from kymflow_zarr.errors import ArgumentError, LockTimeoutError, TargetExistsError
from kymflow_zarr.export.lab_layout import plan as places
from kymflow_zarr.schema.image import SourceFileDocument
from tests.helpers.kymflow_tree import (
    STEM,
    contents_of,
    differing,
    image_of,
    ingested,
    small_experiment,
)
from tests.helpers.v1_dataset import run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small_experiment(tmp_path / "experiment")


@pytest.fixture
def ds(source: Path, tmp_path: Path) -> ZarrDataset:
    return ingested(source, tmp_path / "d.zarr")


def back(ds: ZarrDataset, folder: Path) -> ExportReport:
    return ds.export_legacy_folder(folder, layout="kymflow")


# Unedited --------------------------------------------------------------------------------


def test_every_file_comes_back_byte_by_byte_with_its_time(
    ds: ZarrDataset, source: Path, tmp_path: Path
) -> None:
    before = contents_of(source)
    shutil.rmtree(source)  # The dataset alone must do it.
    report = back(ds, tmp_path / "out")
    assert contents_of(tmp_path / "out") == before
    assert (report.differences, report.failed) == ((), ())
    assert set(report.files) == set(report.written) == set(before)


@pytest.mark.parametrize("name", ["kymflow_folder", "kymflow_folder_2026_04"])
def test_a_real_folder_comes_back_byte_by_byte(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    ds = ingested(shared_data / name, tmp_path / "d.zarr")
    report = back(ds, tmp_path / "out")
    assert contents_of(tmp_path / "out") == contents_of(shared_data / name)
    assert report.differences == ()
    again = ingested(tmp_path / "out", tmp_path / "again.zarr")
    assert len(again) == len(ds)
    assert again.list_table_names() == ds.list_table_names()


def test_a_second_time_nothing_is_written(ds: ZarrDataset, source: Path, tmp_path: Path) -> None:
    first = back(ds, tmp_path / "out")
    before = contents_of(tmp_path / "out")
    second = back(ds, tmp_path / "out")
    assert second.written == ()
    assert second.files == first.files
    assert contents_of(tmp_path / "out") == before
    # The folder itself is as good a target as any.
    assert back(ds, source).written == ()


def test_what_is_missing_is_added(ds: ZarrDataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    back(ds, out)
    before = contents_of(out)
    (out / f"{STEM}.tif").unlink()
    (out / "mine.txt").write_text("mine", encoding="utf-8")
    assert back(ds, out).written == (f"{STEM}.tif",)
    assert (out / "mine.txt").read_text(encoding="utf-8") == "mine"
    (out / "mine.txt").unlink()
    assert contents_of(out) == before


def test_a_dataset_that_went_through_the_other_layout_still_knows_the_folder(
    ds: ZarrDataset, source: Path, tmp_path: Path
) -> None:
    ds.export_legacy_folder(tmp_path / "plain")
    again = ingested(tmp_path / "plain", tmp_path / "again.zarr")
    assert back(again, tmp_path / "out").differences == ()
    assert contents_of(tmp_path / "out") == contents_of(source)


def test_a_moved_and_changed_folder_comes_back_as_it_is_now(
    ds: ZarrDataset, source: Path, tmp_path: Path
) -> None:
    moved = source.rename(tmp_path / "moved")
    ds.refresh_from_folder(moved)
    assert back(ds, tmp_path / "out").differences == ()
    assert contents_of(tmp_path / "out") == contents_of(moved)
    tiff = moved / f"{STEM}.tif"
    tifffile.imwrite(tiff, tifffile.imread(tiff) + 1, byteorder=">", software="another")
    (moved / f"{STEM}.quality.json").write_bytes(b"[]")
    assert len(ds.refresh_from_folder(moved, mode="reingest_if_changed")) == 1
    assert back(ds, tmp_path / "changed").differences == ()
    assert contents_of(tmp_path / "changed") == contents_of(moved)


def test_leaving_out_columns(ds: ZarrDataset, tmp_path: Path) -> None:
    report = ds.export_legacy_folder(
        tmp_path / "out", layout="kymflow", include_tiff=False, include_tables=False
    )
    assert not [path for path in report.files if path.endswith((".tif", "_db.csv"))]
    assert f"{STEM}.txt" in report.files


# Where files go --------------------------------------------------------------------------


def test_several_folders_each_below_its_name(tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "d.zarr", mode="w", durability="relaxed")
    before = {}
    for place, name in [("a/lab", "lab"), ("b/lab", "lab-2"), ("c/other", "other")]:
        (tmp_path / place).mkdir(parents=True)
        tifffile.imwrite(tmp_path / place / "x.tif", np.full((4, 5), len(name), "uint8"))
        (tmp_path / place / "x.json").write_text('{"version": "1.0"}', encoding="utf-8")
        (tmp_path / place / "y_db.csv").write_text(f"n,rel_path\n1,{name}\n", encoding="utf-8")
        ds.ingest_legacy_folder(tmp_path / place)
        for path, content in contents_of(tmp_path / place).items():
            before[f"{name}/{path}"] = content
    report = back(ds, tmp_path / "out")
    assert report.differences == ()
    assert contents_of(tmp_path / "out") == before


def test_a_folder_in_a_folder_stays_there(source: Path, tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "d.zarr", mode="w", durability="relaxed")
    ds.ingest_tiff(source / f"{STEM}.tif")
    ds.ingest_legacy_folder(source)
    assert back(ds, tmp_path / "out").differences == ()
    assert contents_of(tmp_path / "out") == contents_of(source)


def test_channels_share_what_lies_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for time in (1, 2):
        for channel in (1, 2):
            path = folder / f"a_C00{channel}T00{time}.tif"
            tifffile.imwrite(path, np.full((4, 5), 10 * time + channel, "uint16"))
    (folder / "a.json").write_text('{"version": "1.0", "rois": []}', encoding="utf-8")
    ds = ingested(folder, tmp_path / "d.zarr")
    assert len(ds) == 2
    report = back(ds, tmp_path / "out")
    assert report.differences == ()
    assert contents_of(tmp_path / "out") == contents_of(folder)
    # What one of them has of its own must not become the other's.
    rec = image_of(ds, "a_C001T002.tif")
    rec.save_metadata_payload({"version": "2.0", "experiment_metadata": {"note": "second"}})
    report = back(ds, tmp_path / "edited")
    again = ingested(tmp_path / "edited", tmp_path / "again.zarr")
    notes = [
        image_of(again, f"a_C001T00{time}.tif").load_metadata_payload()["experiment_metadata"]
        for time in (1, 2)
    ]
    assert notes == [{}, {"note": "second"}]
    assert list(differing(report)) == ["a_C001T002.json"]


@pytest.mark.parametrize("rel_path", ["../a.tif", "x/../../a.tif", "", "a//b.tif", "a\0.tif"])
def test_a_path_that_leads_out_is_not_followed(
    tmp_path: Path, rel_path: str, ds: ZarrDataset
) -> None:
    rec = image_of(ds, f"{STEM}.tif")
    with ds._open.update_record(rec.image_id) as update:
        for file in update.document.source_files:
            file.path, file.rel_path = f"/lab/{rel_path}", rel_path
        update.commit(update.document.source_files)
    report = back(ds, tmp_path / "deep" / "out")
    assert report.failed
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}
    assert f"{rec.image_id}.tif" in report.files  # The image itself is not lost.


def test_names_that_windows_does_not_take() -> None:
    spelled = places.legal_path("a/b:c/aux.txt/d .tif/e.", windows=True)
    assert not set(spelled) & set(':"<>|?*\\')
    assert spelled.startswith("a/b%3ac/")
    assert spelled.count("/") == 4
    assert places.legal_path("a/b:c", windows=False) == "a/b:c"


def test_paths_of_windows_have_a_root_too() -> None:
    file = SourceFileDocument(
        path="D:\\lab\\day 1\\a.tif", rel_path="day 1/a.tif", role="image",
        size_bytes=1, mtime_ns=1, sha256="",
    )  # fmt: skip
    assert places.root_of(file) == "D:/lab"


# What is in the way ----------------------------------------------------------------------


def test_another_file_is_never_overwritten(ds: ZarrDataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / STEM).parent.mkdir(parents=True)
    (out / f"{STEM}.txt").write_text("mine", encoding="utf-8")
    (out / f"{STEM}.tif").write_bytes(b"mine, too")
    before = contents_of(out)
    with pytest.raises(TargetExistsError) as raised:
        back(ds, out)
    assert f"{STEM}.tif, {STEM}.txt" in raised.value.what
    assert contents_of(out) == before


@pytest.mark.skipif(sys.platform == "win32", reason="links need a permission there")
def test_a_link_is_not_followed(ds: ZarrDataset, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "28d AngII").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TargetExistsError, match="28d AngII"):
        back(ds, tmp_path / "out")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_where_a_folder_has_to_be(ds: ZarrDataset, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "28d AngII").write_text("mine", encoding="utf-8")
    with pytest.raises(TargetExistsError, match="28d AngII"):
        back(ds, tmp_path / "out")
    assert contents_of(tmp_path / "out").keys() == {"28d AngII"}


def test_not_into_the_dataset(ds: ZarrDataset) -> None:
    before = contents_of(ds.path)
    with pytest.raises(ArgumentError):
        back(ds, ds.path / "images")
    assert contents_of(ds.path) == before


def test_not_an_unknown_layout(ds: ZarrDataset, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="olympus"):
        ds.export_legacy_folder(tmp_path / "out", layout="olympus")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


# Interrupted and damaged -----------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 5])
def test_after_an_interruption_the_rest_comes(
    ds: ZarrDataset, source: Path, tmp_path: Path, after: int
) -> None:
    def stop(done: int, total: int, label: str) -> None:
        if done > after:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        ds.export_legacy_folder(out, layout="kymflow", progress=stop)
    there = contents_of(out)
    # Complete files, and nothing else.
    assert set(there.items()) <= set(contents_of(source).items())
    work = out / ".kymflow_zarr_export"
    work.mkdir(exist_ok=True)
    (work / "0123.tmp").write_bytes(b"left by a crash")
    report = back(ds, out)
    assert set(report.written) == set(report.files) - set(there)
    assert contents_of(out) == contents_of(source)


def test_two_at_once(ds: ZarrDataset, tmp_path: Path) -> None:
    def again(done: int, total: int, label: str) -> None:
        with pytest.raises(LockTimeoutError):
            back(ds, tmp_path / "out")

    ds.export_legacy_folder(tmp_path / "out", layout="kymflow", progress=again)


def test_a_damaged_part_does_not_stop_the_rest(
    ds: ZarrDataset, source: Path, tmp_path: Path
) -> None:
    rec = image_of(ds, f"{STEM}.tif")
    header = next(file for file in rec.source_files if file.role == "header")
    kept = ds.path / "images" / rec.image_id / (header.kept_as or "")
    kept.write_bytes(gzip.compress(b"another"))
    report = back(ds, tmp_path / "out")
    (failure,) = report.failed
    assert failure.kind == "image"
    assert f"{STEM}.txt" in failure.reason
    assert set(contents_of(source)) - set(contents_of(tmp_path / "out")) == {f"{STEM}.txt"}


def test_a_damaged_artifact_is_no_edit(ds: ZarrDataset, source: Path, tmp_path: Path) -> None:
    rec = image_of(ds, f"{STEM}.tif")
    folder = ds.path / "images" / rec.image_id / "analysis"
    for path in (folder / "velocity.parquet", folder / "metadata.json"):
        path.write_bytes(path.read_bytes()[:-9])
    (ds.path / "tables" / "kym_event_db.parquet").write_bytes(b"PAR1")
    report = back(ds, tmp_path / "out")
    # The files that they were made of are there.
    assert contents_of(tmp_path / "out") == contents_of(source)
    assert {failure.name for failure in report.failed} == {rec.image_id, "kym_event_db"}


def test_one_file_twice(source: Path, tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "d.zarr", mode="w", durability="relaxed")
    ds.ingest_tiff(source / f"{STEM}.tif", image_id="a")
    ds.ingest_tiff(source / f"{STEM}.tif", image_id="b").save_json("review", [1])
    report = back(ds, tmp_path / "out")
    name = Path(STEM).name
    before = contents_of((source / STEM).parent)
    after = contents_of(tmp_path / "out")
    assert {path: after[path] for path in before if path.startswith(name) if path in after} == {
        path: content for path, content in before.items() if path.startswith(name)
    }
    assert f"{name}_2.tif" in report.files
    assert f"{name}_2.review.json" in report.files
    again = ingested(tmp_path / "out", tmp_path / "again.zarr")
    assert image_of(again, f"{name}_2.tif").load_json("review") == [1]


def test_what_never_came_from_a_file(tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "d.zarr", mode="w", durability="relaxed")
    pixels = np.arange(20, dtype="uint16").reshape(4, 5)
    rec = ds.add_image(pixels, image_id="My image: 1", line_period_s=0.002, pixel_size_um=0.5)
    payload = {"version": "2.0", "header": {}, "experiment_metadata": {"note": "µ"}, "rois": []}
    rec.save_metadata_payload(payload)
    rec.save_df_parquet("peaks", pd.DataFrame({"n": [1, 2]}))
    ds.save_table("summary", pd.DataFrame({"n": [1, 2]}))
    ds.add_image(np.zeros((0, 5), "uint8"), image_id="empty")
    report = back(ds, tmp_path / "out")
    stem = "My image%3a 1"
    assert list(report.files) == [
        f"{stem}.json", f"{stem}.peaks.parquet", f"{stem}.tif", "tables/summary.csv",
    ]  # fmt: skip
    assert set(differing(report)) == {*report.files, "empty.tif"}
    again = ingested(tmp_path / "out", tmp_path / "again.zarr")
    found = image_of(again, f"{stem}.tif")
    np.testing.assert_array_equal(found.load_array(), pixels)
    assert found.load_metadata_payload()["experiment_metadata"] == {"note": "µ"}
    assert found.load_df_parquet("peaks")["n"].tolist() == [1, 2]
    assert [axis.step for axis in found.axes] == [0.002, 0.5]
    os.utime(tmp_path / "out" / f"{stem}.tif")
    assert back(ds, tmp_path / "out").written == ()


# Command line ----------------------------------------------------------------------------


def test_command_line(ds: ZarrDataset, source: Path, tmp_path: Path) -> None:
    image_of(ds, f"{STEM}.tif").save_json("quality", {"good": False})
    ds.close()
    out = tmp_path / "out"
    code, said = run("export", ds.path, out, "--layout", "kymflow")
    assert code == 0, said
    assert "not as it was" in said
    assert "edited in the dataset" in " ".join(said.split())
    assert set(contents_of(out)) == set(contents_of(source))
