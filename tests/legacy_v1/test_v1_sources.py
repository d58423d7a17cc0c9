"""A dataset of format version 1, migrated: its old TIFF folder is known when it is scanned."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.legacy_v1.migrate import migrate_dataset, migrate_in_place
from tests.conftest import files_of
from tests.helpers.v1_dataset import CHANNELS_LAST, KYMOGRAPH, LINES, PLAIN, STACK, write_v1


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """The folder that the dataset was made of: a kymograph with its metadata, and a stack."""
    folder = tmp_path / "lab" / "Control"
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / "example.tif", LINES)
    tifffile.imwrite(folder / "plain.tif", np.zeros((40, 50), dtype=np.int16))
    return folder.parent


def write_old(root: Path, lab: Path) -> Path:
    """Write a dataset whose table names one TIFF, and whose provenance names another."""
    write_v1(root)
    save_sources(root, lab / "Control" / "example.tif", KYMOGRAPH)
    provenance = root / "images" / PLAIN / "analysis" / "provenance.json"
    provenance.parent.mkdir(exist_ok=True)
    provenance.write_text(json.dumps({"original_path": str(lab / "Control" / "plain.tif")}))
    return root


def save_sources(root: Path, path: Path, image_id: str, **columns: Any) -> None:
    stat = path.stat()
    row = {
        "source_primary_path": str(path),
        "image_id": image_id,
        "source_mtime_ns": stat.st_mtime_ns,
        "source_size_bytes": stat.st_size,
        "ingested_epoch_ns": 1730000000000000000,
    }
    pd.DataFrame([row | columns]).to_parquet(root / "tables" / "sources.parquet")


def migrated(tmp_path: Path, lab: Path) -> ZarrDataset:
    old = write_old(tmp_path / "old.zarr", lab)
    assert migrate_dataset(old, tmp_path / "new.zarr").ok
    return ZarrDataset(tmp_path / "new.zarr", mode="r+")


def refresh(ds: ZarrDataset, lab: Path, **kwargs: Any) -> Any:
    return ds.refresh_from_folder(lab, mode="reingest_if_changed", **kwargs)


def test_the_sources_are_those_that_were_recorded(tmp_path: Path, lab: Path) -> None:
    ds = migrated(tmp_path, lab)
    index = ds.load_sources_index().set_index("image_id")
    tiff = lab / "Control" / "example.tif"
    assert sorted(index.index) == sorted([KYMOGRAPH, PLAIN])
    assert index.loc[KYMOGRAPH, "source_primary_path"] == str(tiff)
    assert index.loc[KYMOGRAPH, "source_mtime_ns"] == tiff.stat().st_mtime_ns
    assert index.loc[KYMOGRAPH, "source_size_bytes"] == tiff.stat().st_size
    assert index.loc[PLAIN, "source_primary_path"] == str(lab / "Control" / "plain.tif")
    assert ds[STACK].source is None
    known, unknown = ds[KYMOGRAPH].source, ds[PLAIN].source
    assert known is not None
    assert unknown is not None
    assert (known.rel_path, known.role, len(known.sha256)) == ("example.tif", "image", 64)
    assert unknown.sha256 == ""
    assert not ds.validate().errors


@pytest.mark.parametrize("mode", ["skip", "reingest_if_changed"])
def test_no_image_comes_in_twice_and_the_second_scan_writes_nothing(
    tmp_path: Path, lab: Path, mode: Any
) -> None:
    ds = migrated(tmp_path, lab)
    ids = ds.list_image_ids()
    first = ds.refresh_from_folder(lab, mode=mode)
    assert first == []
    assert {item.image_id for item in first.report.unchanged} == {KYMOGRAPH, PLAIN}
    assert ds.list_image_ids() == ids
    before = files_of(ds.path)
    second = ds.refresh_from_folder(lab, mode=mode)
    assert len(second.report.unchanged) == 2
    assert ds.ingest_tiff(lab / "Control" / "example.tif").image_id == KYMOGRAPH
    assert files_of(ds.path) == before


def test_what_lies_beside_comes_in_and_nothing_is_overwritten(tmp_path: Path, lab: Path) -> None:
    tiff = lab / "Control" / "example.tif"
    tiff.with_suffix(".json").write_text(json.dumps({"version": "1.0", "accepted": True}))
    tiff.with_name("example.note.json").write_text('{"good": true}')
    tiff.with_name("example.ROI_table.json").write_text("[1]")
    ds = migrated(tmp_path, lab)
    rec = ds[KYMOGRAPH]
    payload, updated_utc = rec.load_metadata_payload(), rec.updated_utc
    before = files_of(ds.path)
    (item,) = [i for i in ds.refresh_from_folder(lab).report.items if i.image_id == KYMOGRAPH]
    assert item.status == "unchanged"
    assert "example.note.json" in str(item.reason)
    scanned = files_of(ds.path)
    assert {k: v for k, v in scanned.items() if KYMOGRAPH in k} == {
        k: v for k, v in before.items() if KYMOGRAPH in k
    }

    assert refresh(ds, lab) == [KYMOGRAPH]
    assert rec.load_json("note") == {"good": True}
    assert rec.load_json("source_metadata") == {"version": "1.0", "accepted": True}
    assert rec.load_metadata_payload() == payload
    assert rec.load_json("provenance") == {"original_path": "/data/example.tif"}
    np.testing.assert_array_equal(rec.load_array(), LINES)
    assert rec.updated_utc == updated_utc
    assert rec.list_earlier_artifacts() == []
    assert {file.role for file in rec.source_files} == {"image", "metadata", "sidecar"}
    assert refresh(ds, lab) == []
    assert not ds.validate().errors


def test_the_report_names_what_was_left(tmp_path: Path, lab: Path) -> None:
    tiff = lab / "Control" / "example.tif"
    tiff.with_suffix(".json").write_text(json.dumps({"version": "1.0", "accepted": True}))
    ds = migrated(tmp_path, lab)
    (item,) = refresh(ds, lab).report.updated
    assert "metadata is there already and left as it is" in str(item.reason)
    tiff.with_suffix(".json").write_text(json.dumps({"version": "1.0", "accepted": "later"}))
    assert refresh(ds, lab, overwrite_edits=True) == [KYMOGRAPH]
    assert ds[KYMOGRAPH].load_metadata_payload()["accepted"] == "later"


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_folder_that_has_moved_is_the_same_images(tmp_path: Path, lab: Path, where: str) -> None:
    old = write_old(tmp_path / "old.zarr", lab)
    moved = tmp_path / "moved"
    if where == "here":  # At the time of the migration.
        migrate_dataset(old, tmp_path / "new.zarr")
        lab.rename(moved)
    else:
        lab.rename(moved)
        migrate_dataset(old, tmp_path / "new.zarr")
    ds = ZarrDataset(tmp_path / "new.zarr", mode="r+")
    result = refresh(ds, moved)
    assert result == []
    assert {item.image_id for item in result.report.moved} == {KYMOGRAPH, PLAIN}
    for image_id in (KYMOGRAPH, PLAIN):
        source = ds[image_id].source
        assert source is not None
        assert source.path.startswith(str(moved))
        assert len(source.sha256) == 64
        assert source.size_bytes == Path(source.path).stat().st_size
    before = files_of(ds.path)
    assert len(refresh(ds, moved).report.unchanged) == 2
    assert files_of(ds.path) == before


def test_a_file_of_the_same_name_and_pixels_is_the_image_whatever_its_size(
    tmp_path: Path, lab: Path
) -> None:
    old = write_old(tmp_path / "old.zarr", lab)
    shutil.rmtree(lab)
    migrate_dataset(old, tmp_path / "new.zarr")
    (tmp_path / "copied").mkdir()
    tifffile.imwrite(tmp_path / "copied" / "example.tif", LINES, bigtiff=True)
    (tmp_path / "copied" / "example.txt").write_text("not read yet")
    ds = ZarrDataset(tmp_path / "new.zarr", mode="r+")
    (item,) = ds.refresh_from_folder(tmp_path / "copied").report.moved
    assert item.image_id == KYMOGRAPH
    assert "not read yet: example.txt" in str(item.reason)


def test_another_file_of_the_same_name_is_another_image(tmp_path: Path, lab: Path) -> None:
    old = write_old(tmp_path / "old.zarr", lab)
    for path in (lab / "Control").iterdir():
        path.unlink()
    migrate_dataset(old, tmp_path / "new.zarr")
    tifffile.imwrite(lab / "example.tif", LINES + 1)
    ds = ZarrDataset(tmp_path / "new.zarr", mode="r+")
    result = refresh(ds, lab)
    assert len(result) == 1
    assert {item.image_id for item in result.report.missing} == {KYMOGRAPH, PLAIN}
    np.testing.assert_array_equal(ds[KYMOGRAPH].load_array(), LINES)


def test_a_tiff_that_changed_since_updates_its_image(tmp_path: Path, lab: Path) -> None:
    old = write_old(tmp_path / "old.zarr", lab)
    tifffile.imwrite(lab / "Control" / "example.tif", LINES + 1)
    migrate_dataset(old, tmp_path / "new.zarr")
    ds = ZarrDataset(tmp_path / "new.zarr", mode="r+")
    skipped = ds.refresh_from_folder(lab)
    assert [item.image_id for item in skipped.report.skipped] == [KYMOGRAPH]
    assert refresh(ds, lab) == [KYMOGRAPH]
    np.testing.assert_array_equal(ds[KYMOGRAPH].load_array(), LINES + 1)
    assert len(ds) == 3
    assert ds[KYMOGRAPH].list_earlier_artifacts() != []


def test_axes_in_another_order_are_the_same_image(tmp_path: Path, lab: Path) -> None:
    turned = np.moveaxis(CHANNELS_LAST, -1, 2)  # t z c y x, as ImageJ wants it
    path = lab / "stack.tif"
    tifffile.imwrite(path, turned, imagej=True, metadata={"axes": "TZCYX"})
    old = write_v1(tmp_path / "old.zarr")
    save_sources(old, path, STACK, source_mtime_ns=1)
    migrate_dataset(old, tmp_path / "new.zarr")
    ds = ZarrDataset(tmp_path / "new.zarr", mode="r+")
    report = refresh(ds, lab).report
    assert STACK in {item.image_id for item in report.unchanged}


def test_a_table_of_sources_that_is_none_is_reported(tmp_path: Path) -> None:
    old = write_v1(tmp_path / "old.zarr")
    pd.DataFrame({"image_id": [STACK]}).to_parquet(old / "tables" / "sources.parquet")
    report = migrate_dataset(old, tmp_path / "new.zarr")
    assert report.ok
    (item,) = [item for item in report.migrated if item.name == "sources"]
    assert "source_primary_path" in str(item.reason)
    ds = ZarrDataset(tmp_path / "new.zarr", mode="r")
    # Its provenance names a file of another machine.
    assert ds.load_sources_index()["source_primary_path"].tolist() == ["/data/example.tif"]


def test_in_place_takes_the_sources_as_they_are_in_the_end(tmp_path: Path, lab: Path) -> None:
    old = write_old(tmp_path / "old.zarr", lab)

    def stop(done: int, total: int, name: str) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate_in_place(old, progress=stop)
    tiff = lab / "Control" / "example.tif"
    os.utime(tiff, ns=(5, 5))
    save_sources(old, tiff, KYMOGRAPH)
    assert migrate_in_place(old).ok
    source = ZarrDataset(old, mode="r")[KYMOGRAPH].source
    assert source is not None
    assert source.mtime_ns == 5
