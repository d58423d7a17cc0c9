"""Scanning a folder again: only what is new is done, and nobody's work is lost."""

from __future__ import annotations

import errno
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
from kymflow_zarr.testing import SyntheticVessel, write_experiment
from tests.conftest import files_of
from tests.helpers.opened_files import OpenedFiles

PIXELS = np.arange(600, dtype=np.uint16).reshape(30, 20)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder with two analyzed kymographs and pooled tables."""
    folder = tmp_path / "lab"
    write_experiment(folder, vessels=[
        SyntheticVessel(name="a", condition="Control", n_lines=400),
        SyntheticVessel(name="b", condition="28d AngII", n_lines=400, seed=1),
    ])  # fmt: skip
    return folder


@pytest.fixture
def opened() -> OpenedFiles:
    return OpenedFiles()


def write(path: Path, pixels: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels)
    return path


def refresh(ds: ZarrDataset, folder: Path, **kwargs: Any) -> Any:
    return ds.refresh_from_folder(folder, mode="reingest_if_changed", **kwargs)


def tiffs(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.tif"))


def test_the_first_scan_adds_and_the_second_does_nothing(ds: ZarrDataset, lab: Path) -> None:
    first = ds.refresh_from_folder(lab)
    assert sorted(first) == ds.list_image_ids()
    assert len(first) == 2
    before = files_of(ds.path)
    modes: list[Any] = ["skip", "reingest_if_changed"]
    for mode in modes:
        again = ds.refresh_from_folder(lab, mode=mode)
        assert again == []
        assert len(again.report.unchanged) == 2
    assert ds.ingest_legacy_folder(lab).image_ids == []
    assert ds.ingest_tiff(tiffs(lab)[0]).image_id in first
    assert files_of(ds.path) == before


def test_a_second_scan_of_many_images_opens_none(
    ds: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "lab"
    write(lab / "0.tif", PIXELS)
    for i in range(1, 1000):
        os.link(lab / "0.tif", lab / f"{i}.tif")
    small = ZarrDataset(ds.path, durability="relaxed")
    assert len(small.refresh_from_folder(lab)) == 1000
    opened: list[Any] = []
    real_open = Path.open

    def watched(path: Path, *args: Any, **kwargs: Any) -> Any:
        opened.append(path)
        return real_open(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", watched)
    monkeypatch.setattr(tifffile.TiffFile, "__init__", lambda *_, **__: opened.append("tiff"))
    assert small.refresh_from_folder(lab, mode="reingest_if_changed") == []
    assert [path for path in opened if str(path).endswith(".tif") or path == "tiff"] == []


def test_a_second_scan_of_an_analyzed_folder_opens_no_file_of_it(
    ds: ZarrDataset, lab: Path, opened: OpenedFiles
) -> None:
    (lab / "kym_event_db.csv").write_text("rel_path,v\nControl/gone.tif,1\n,2\n")
    (lab / "notes.docx").write_bytes(b"notes")
    assert len(ds.refresh_from_folder(lab)) == 2
    before = files_of(ds.path)
    modes: list[Any] = ["skip", "reingest_if_changed"]
    for mode in modes:
        with opened.below(lab) as paths:
            report = ds.refresh_from_folder(lab, mode=mode).report
        assert paths == []
        reasons = {Path(item.path).name: item.reason for item in report.pooled}
        assert reasons["kym_event_db.csv"] == "unchanged; 2 rows name no image of the dataset"
    assert files_of(ds.path) == before


def test_images_of_one_content_keep_their_names_and_notes_when_their_folder_is_renamed(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab = tmp_path / "lab"
    names = [f"{day}/{name}" for day in ("mon", "tue") for name in ("dark", "blank", "flat")]
    for name in names:
        write(lab / f"{name}.tif", np.zeros((30, 20), np.uint16))
        (lab / f"{name}.json").write_text(json.dumps({"experiment_metadata": {"note": name}}))
    ds.ingest_legacy_folder(lab)
    (lab / "mon").rename(lab / "2026-11-30")
    (lab / "tue").rename(lab / "2026-11-29")
    report = refresh(ds, lab).report
    assert len(report.moved) == 6
    assert report.updated == ()
    for record in ds.iter_records():
        assert record.source is not None
        folder, name = Path(record.source.path).with_suffix("").parts[-2:]
        day = {"2026-11-30": "mon", "2026-11-29": "tue"}[folder]
        payload = record.load_metadata_payload()
        assert payload["experiment_metadata"] == {"note": f"{day}/{name}"}


def test_a_moved_folder_is_the_same_images(ds: ZarrDataset, lab: Path) -> None:
    ids = ds.refresh_from_folder(lab)
    ds[ids[0]].save_json("mine", {"kept": True})
    (lab / "Control").rename(lab / "Control 2026")
    result = refresh(ds, lab)
    assert result == []
    (moved,) = result.report.moved
    assert "Control 2026" in moved.path
    rec = ds[str(moved.image_id)]
    assert rec.source is not None
    assert rec.source.path == moved.path
    assert sorted(ds) == sorted(ids)
    assert refresh(ds, lab).report.moved == ()
    assert len(refresh(ds, lab).report.unchanged) == 2


def test_a_copy_beside_its_original_is_an_image_of_its_own(ds: ZarrDataset, lab: Path) -> None:
    ds.refresh_from_folder(lab)
    original = tiffs(lab)[0]
    shutil.copy(original, original.with_name("copy.tif"))
    (item,) = refresh(ds, lab).report.ingested
    assert str(item.reason).startswith(f"a copy of {original}")
    assert len(ds) == 3


def test_a_changed_tiff_updates_its_image_in_place(ds: ZarrDataset, lab: Path) -> None:
    ids = ds.refresh_from_folder(lab)
    path = tiffs(lab)[0]
    image_id = next(i.image_id for i in refresh(ds, lab).report.items if i.path == str(path))
    rec = ds[str(image_id)]
    rec.save_json("mine", [1])
    new = tifffile.imread(path) + 1
    tifffile.imwrite(path, new)

    skipped = ds.refresh_from_folder(lab)
    assert skipped == []
    assert path.name in str(skipped.report.skipped[0].reason)
    assert rec.list_earlier_artifacts() == []

    assert refresh(ds, lab) == [image_id]
    np.testing.assert_array_equal(rec.load_array(), new)
    assert sorted(ds) == sorted(ids)
    assert rec.load_json("mine") == [1]
    earlier = [key.rsplit("/", 1)[1] for key in rec.list_earlier_artifacts()]
    assert "mine.json" in earlier
    assert "velocity.parquet" in earlier
    assert "metadata.json" not in earlier
    rec.save_json("mine", [2])
    assert not any(key.endswith("mine.json") for key in rec.list_earlier_artifacts())
    assert refresh(ds, lab) == []
    assert ds.validate().ok


def test_a_changed_sidecar_updates_only_what_it_feeds(ds: ZarrDataset, lab: Path) -> None:
    ds.refresh_from_folder(lab)
    path = tiffs(lab)[0].with_suffix(".json")
    payload = json.loads(path.read_text())
    payload["experiment_metadata"]["species"] = "rat"
    path.write_text(json.dumps(payload))
    (image_id,) = refresh(ds, lab)
    rec = ds[image_id]
    assert rec.load_metadata_payload()["experiment_metadata"]["species"] == "rat"
    assert rec.load_json("source_metadata")["experiment_metadata"]["species"] == "rat"
    assert rec.open_array().shape == rec.shape
    assert rec.list_earlier_artifacts() == []


def test_a_sidecar_that_comes_later_gets_in(ds: ZarrDataset, lab: Path) -> None:
    ds.refresh_from_folder(lab)
    tiff = tiffs(lab)[0]
    tiff.with_name(f"{tiff.stem}.note.json").write_text('{"good": true}')
    assert ds.refresh_from_folder(lab) == []
    (image_id,) = refresh(ds, lab)
    assert ds[image_id].load_json("note") == {"good": True}
    tiff.with_name(f"{tiff.stem}.note.json").unlink()
    result = refresh(ds, lab)
    assert "stays" in str(result.report.updated[0].reason)
    assert ds[image_id].load_json("note") == {"good": True}
    assert refresh(ds, lab) == []


def test_what_a_user_has_edited_is_never_overwritten_unasked(ds: ZarrDataset, lab: Path) -> None:
    ds.refresh_from_folder(lab)
    path = tiffs(lab)[0].with_suffix(".json")
    tiff = str(path.with_suffix(".tif"))
    image_id = next(i.image_id for i in refresh(ds, lab).report.items if i.path == tiff)
    rec = ds[str(image_id)]
    mine = rec.load_metadata_payload() | {"accepted": "by me"}
    rec.save_metadata_payload(mine)
    payload = json.loads(path.read_text())
    payload["experiment_metadata"]["species"] = "rat"
    path.write_text(json.dumps(payload))
    (updated,) = refresh(ds, lab).report.updated
    assert "metadata was edited in the dataset" in str(updated.reason)
    assert rec.load_metadata_payload() == mine
    # What nobody touched follows the file, and the conflict is told once.
    assert rec.load_json("source_metadata")["experiment_metadata"]["species"] == "rat"
    assert refresh(ds, lab) == []
    path.write_text(json.dumps(payload | {"more": 1}))
    assert refresh(ds, lab, overwrite_edits=True) == [image_id]
    assert rec.load_metadata_payload()["more"] == 1
    assert "accepted" not in rec.load_metadata_payload()


def test_a_deleted_file_is_reported_and_its_image_stays(ds: ZarrDataset, lab: Path) -> None:
    ds.refresh_from_folder(lab)
    gone = tiffs(lab)[0]
    pixels = tifffile.imread(gone)
    gone.unlink()
    (item,) = refresh(ds, lab).report.missing
    assert item.path == str(gone)
    np.testing.assert_array_equal(ds[str(item.image_id)].load_array(), pixels)


def test_a_touched_file_is_unchanged(ds: ZarrDataset, lab: Path) -> None:
    ds.refresh_from_folder(lab)
    for path in tiffs(lab):
        os.utime(path, (1, 1))
    assert refresh(ds, lab) == []
    before = files_of(ds.path)
    assert len(refresh(ds, lab).report.unchanged) == 2
    assert files_of(ds.path) == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(ds: ZarrDataset, lab: Path) -> None:
    before = files_of(ds.path)
    plan = ZarrDataset(ds.path, mode="r").refresh_from_folder(lab, dry_run=True)
    assert len(plan.report.ingested) == 2
    assert files_of(ds.path) == before
    ds.refresh_from_folder(lab)
    tifffile.imwrite(tiffs(lab)[0], PIXELS)
    before = files_of(ds.path)
    assert len(refresh(ds, lab, dry_run=True).report.updated) == 1
    assert len(ds.refresh_from_folder(lab, dry_run=True).report.skipped) == 1
    assert files_of(ds.path) == before


def test_interrupted_work_ends_in_the_same_dataset(ds: ZarrDataset, lab: Path) -> None:
    def stop(done: int, total: int, label: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ds.refresh_from_folder(lab, progress=stop)
    assert len(ds) == 1
    assert len(ds.refresh_from_folder(lab)) == 1
    whole = ZarrDataset(ds.path.with_name("whole.zarr"), durability="relaxed")
    whole.refresh_from_folder(lab)

    def contents(dataset: ZarrDataset) -> Any:
        return {
            rec.source.path if rec.source else "": (
                rec.load_array().tobytes(),
                rec.axes,
                {i.name: (i.kind, i.size_bytes) for i in rec.list_artifacts()},
            )
            for rec in dataset.iter_records()
        }

    assert contents(ds) == contents(whole)
    assert ds.list_table_names() == whole.list_table_names()


def test_a_file_that_is_being_written_is_left_for_next_time(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    path = write(tmp_path / "lab" / "a.tif", PIXELS)

    def microscope(done: int, total: int, label: str) -> None:
        if done == 0:
            with path.open("ab") as file:
                file.write(b"more")

    result = ds.refresh_from_folder(tmp_path / "lab", progress=microscope)
    assert result == []
    assert "next time" in str(result.report.skipped[0].reason)
    assert len(ds) == 0
    assert len(ds.refresh_from_folder(tmp_path / "lab")) == 1


def test_the_sources_index_has_exactly_the_columns_programs_rely_on(
    ds: ZarrDataset, lab: Path
) -> None:
    assert ds.load_sources_index().empty
    ids = ds.refresh_from_folder(lab)
    index = ds.load_sources_index()
    assert index.columns.tolist() == [
        "source_primary_path", "image_id", "source_mtime_ns", "source_size_bytes",
        "ingested_epoch_ns",
    ]  # fmt: skip
    assert sorted(index["image_id"]) == sorted(ids)
    row = index[index["source_primary_path"] == str(tiffs(lab)[0])].iloc[0]
    assert row["source_size_bytes"] == tiffs(lab)[0].stat().st_size
    assert row["source_mtime_ns"] == tiffs(lab)[0].stat().st_mtime_ns
    now_ns = pd.Timestamp.now().value
    assert abs(int(row["ingested_epoch_ns"]) - now_ns) < 3600e9 * 24


@pytest.mark.parametrize("name", ["0.tif", "1.tif", "2.tif"])
def test_a_file_that_may_not_be_read_stops_no_other(
    ds: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for i in range(3):
        write(tmp_path / "lab" / f"{i}.tif", PIXELS + i)
    real_open = Path.open

    def locked(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_open(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", locked)
    report = ds.refresh_from_folder(tmp_path / "lab").report
    assert [Path(item.path).name for item in report.failed] == [name]
    assert len(report.ingested) == 2
    monkeypatch.undo()
    assert len(ds.refresh_from_folder(tmp_path / "lab")) == 1


def test_an_unknown_mode_is_named(ds: ZarrDataset, lab: Path) -> None:
    with pytest.raises(ValueError, match="'reingest'"):
        ds.refresh_from_folder(lab, mode="reingest")  # type: ignore[arg-type]
