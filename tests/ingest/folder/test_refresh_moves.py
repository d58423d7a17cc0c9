"""Folders that move with all that is in them, and files that belong to no image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from kymflow_zarr import IngestReport, ZarrDataset
from tests.conftest import files_of
from tests.helpers.sources import PIXELS, write

RADON = "roi_id,channel,time,velocity\n1,1,0.0,1.5\n1,1,0.1,2.5\n"
POOLED = "rel_path,speed\nday/a.tif,1.5\nday/other.tif,2.5\n"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """An image, a pooled table, and two files that belong to no image."""
    folder = tmp_path / "lab"
    write(folder / "day" / "a.tif", PIXELS)
    write(folder / "day" / "a.quality.json", {"n": 1})
    write(folder / "day" / "flow-analysis" / "a_radon.csv", RADON)
    write(folder / "day" / "flow-analysis" / "gone_radon.csv", RADON.replace("1.5", "9.5"))
    write(folder / "notes.docx", b"notes")
    write(folder / "event_db.csv", POOLED)
    return folder


def refresh(ds: ZarrDataset, folder: Path, **kwargs: Any) -> IngestReport:
    result = ds.refresh_from_folder(folder, mode="reingest_if_changed", **kwargs)
    before = files_of(ds.path)
    again = ds.refresh_from_folder(folder, mode="reingest_if_changed")
    assert again == []
    assert not again.report.moved
    assert files_of(ds.path) == before
    return result.report


def back(ds: ZarrDataset, folder: Path, tmp_path: Path) -> None:
    """Hold a folder against what the dataset makes of it."""
    report = ds.export_legacy_folder(tmp_path / "back", layout="kymflow")
    assert (report.differences, report.failed) == ((), ())
    assert files_of(tmp_path / "back") == files_of(folder)


def reasons(report: IngestReport, status: str) -> dict[str, str]:
    items = [item for item in report.items if item.status == status]
    return {Path(item.path).name: str(item.reason) for item in items}


def test_a_renamed_folder_takes_its_tables_and_its_other_files_along(
    ds: ZarrDataset, lab: Path, tmp_path: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    table = ds.load_table("event_db")
    table.loc[0, "speed"] = 7.0  # An edit moves along.
    ds.save_table("event_db", table)
    lab = lab.rename(tmp_path / "renamed")
    plan = ds.refresh_from_folder(lab, dry_run=True).report
    report = refresh(ds, lab)
    for said in (plan, report):
        assert len(said.moved) == 1
        assert "it was" in reasons(said, "pooled")["event_db.csv"]
        assert "it was" in reasons(said, "unmatched")["notes.docx"]
        assert said.missing == ()
    rows = ds.load_table("event_db")
    assert rows["speed"].tolist() == [7.0, 2.5]
    assert set(rows["pooled_path"]) == {str(lab / "event_db.csv")}
    ds.refresh_from_folder(lab, mode="reingest_if_changed", overwrite_edits=True)
    ds.save_table("event_db", table.assign(speed=[1.5, 2.5], pooled_path=rows["pooled_path"]))
    back(ds, lab, tmp_path)


def test_a_table_that_moves_within_the_folder_is_called_by_its_new_place(
    ds: ZarrDataset, lab: Path, tmp_path: Path
) -> None:
    write(lab / "day" / "own_db.csv", "rel_path,n\na.tif,1\n")
    ds.ingest_legacy_folder(lab)
    assert ds.list_table_names() == ["day/own_db", "event_db"]
    (lab / "day").rename(lab / "Tuesday")
    assert len(refresh(ds, lab).moved) == 1
    assert ds.list_table_names() == ["Tuesday/own_db", "event_db"]
    assert ds.load_table("Tuesday/own_db")["image_id"].tolist() == ds.list_image_ids()
    back(ds, lab, tmp_path)


def test_files_renamed_with_their_tiff_are_known_by_their_content(
    ds: ZarrDataset, lab: Path, tmp_path: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    for path in [p for p in lab.rglob("a*") if p.is_file()]:
        path.rename(path.with_name(f"b{path.name[1:]}"))
    assert [item.status for item in refresh(ds, lab).items if item.image_id] == ["moved"]
    back(ds, lab, tmp_path)


def test_a_file_that_was_edited_while_its_folder_moved_is_read(
    ds: ZarrDataset, lab: Path, tmp_path: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    (rec,) = ds.iter_records()
    (lab / "day").rename(lab / "week")
    write(lab / "week" / "a.quality.json", {"n": 2})  # As long as it was.
    skipped = ds.refresh_from_folder(lab).report
    assert "a.quality.json" in str(skipped.moved[0].reason)
    assert rec.load_json("quality") == {"n": 1}
    assert "a.quality.json" in str(refresh(ds, lab).updated[0].reason)
    assert rec.load_json("quality") == {"n": 2}

    (lab / "week").rename(lab / "month")
    write(lab / "month" / "a.quality.json", {"n": 3})
    (item,) = refresh(ds, lab).updated
    assert "it was" in str(item.reason)
    assert rec.load_json("quality") == {"n": 3}
    back(ds, lab, tmp_path)


def test_a_channel_that_was_replaced_while_its_folder_moved_is_read(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab = tmp_path / "lab"
    for channel in (1, 2):
        write(lab / "x" / f"a_C00{channel}T001.tif", PIXELS + channel)
    ds.ingest_legacy_folder(lab)
    (lab / "x").rename(lab / "y")
    write(lab / "y" / "a_C002T001.tif", PIXELS + 7)
    assert len(refresh(ds, lab).updated) == 1
    (rec,) = ds.iter_records()
    np.testing.assert_array_equal(rec.load_array(), [PIXELS + 1, PIXELS + 7])


def test_renamed_channel_files_stay_one_image(ds: ZarrDataset, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    for channel in (1, 2):
        write(lab / f"a_C00{channel}T001.tif", PIXELS + channel)
    ds.ingest_legacy_folder(lab)
    for channel in (1, 2):
        (lab / f"a_C00{channel}T001.tif").rename(lab / f"b_C00{channel}T001.tif")
    assert len(refresh(ds, lab).moved) == 1
    (rec,) = ds.iter_records()
    assert [file.rel_path for file in rec.source_files] == ["b_C001T001.tif", "b_C002T001.tif"]


def test_what_belongs_to_no_image_and_is_deleted_is_reported_and_stays(
    ds: ZarrDataset, lab: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    (lab / "event_db.csv").unlink()
    (lab / "notes.docx").unlink()
    plan = ds.refresh_from_folder(lab, dry_run=True).report
    for report in (plan, refresh(ds, lab)):
        assert set(reasons(report, "missing")) == {"event_db.csv", "notes.docx"}
    assert len(ds.load_table("event_db")) == 2
    assert str(lab / "notes.docx") in ds._open.source_files.documents()


def test_an_analysis_whose_tiff_comes_later_is_stored_once(
    ds: ZarrDataset, lab: Path, tmp_path: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    write(lab / "day" / "gone.tif", PIXELS + 1)
    assert reasons(refresh(ds, lab), "ingested").keys() == {"gone.tif"}
    assert [Path(path).name for path in ds._open.source_files.documents()] == [
        "event_db.csv",
        "notes.docx",
    ]
    back(ds, lab, tmp_path)


@pytest.mark.parametrize("moves", [True, False])
def test_all_images_of_a_file_are_looked_at_again(
    ds: ZarrDataset, tmp_path: Path, moves: bool
) -> None:
    def save(path: Path, add: int) -> None:
        with tifffile.TiffWriter(path) as tif:
            tif.write(PIXELS)
            tif.write(PIXELS[:9] + add)

    lab = tmp_path / "lab"
    lab.mkdir()
    save(lab / "a.tif", 1)
    write(lab / "a.quality.json", {"n": 1})
    ids = ds.ingest_legacy_folder(lab).image_ids
    assert len(ids) == 2
    if moves:
        (lab / "a.tif").rename(lab / "b.tif")
        (lab / "a.quality.json").rename(lab / "b.quality.json")
        report = refresh(ds, lab)
        assert {item.image_id for item in report.moved} == set(ids)
        assert report.missing == ()
    else:
        save(lab / "a.tif", 2)
        write(lab / "a.quality.json", {"n": 2})
        assert {item.image_id for item in refresh(ds, lab).updated} == set(ids)
        for rec in ds.iter_records():
            assert rec.load_json("quality") == {"n": 2}
        (second,) = [rec for rec in ds.iter_records() if rec.shape == (9, 20)]
        np.testing.assert_array_equal(second.load_array(), PIXELS[:9] + 2)


@pytest.mark.parametrize("rows", [None, 0])
def test_a_table_that_a_user_has_deleted_does_not_come_back_unasked(
    ds: ZarrDataset, lab: Path, rows: int | None
) -> None:
    ds.ingest_legacy_folder(lab)
    if rows is None:
        ds.delete_table("event_db")
    else:
        ds.save_table("event_db", ds.load_table("event_db").iloc[:rows])
    left = ds.list_table_names()
    refresh(ds, lab)
    write(lab / "event_db.csv", POOLED + "day/a.tif,3.5\n")
    assert "edited" in reasons(refresh(ds, lab), "skipped")["event_db.csv"]
    assert ds.list_table_names() == left
    ds.refresh_from_folder(lab, mode="reingest_if_changed", overwrite_edits=True)
    assert len(ds.load_table("event_db")) == 3


# What cannot be read ---------------------------------------------------------------------


def test_files_beside_a_damaged_tiff_are_stored_and_reported(
    ds: ZarrDataset, lab: Path, tmp_path: Path
) -> None:
    good = (lab / "day" / "a.tif").read_bytes()
    write(lab / "day" / "a.tif", b"")
    report = ds.ingest_legacy_folder(lab)
    assert reasons(report, "failed").keys() == {"a.tif"}
    for name in ("a.quality.json", "a_radon.csv"):
        assert "could not be read; it is kept" in reasons(report, "unmatched")[name]
    refresh(ds, lab)
    write(lab / "day" / "a.tif", good)
    assert len(refresh(ds, lab).ingested) == 1
    (rec,) = ds.iter_records()
    assert rec.load_json("quality") == {"n": 1}
    back(ds, lab, tmp_path)


def test_what_two_acquisitions_share_is_left_over_only_if_both_are_damaged(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab = tmp_path / "lab"
    write(lab / "a_C001T001.tif", b"")
    write(lab / "a_C001T002.tif", PIXELS)
    write(lab / "a.quality.json", {"n": 1})
    report = ds.ingest_legacy_folder(lab)
    assert (len(report.failed), len(report.ingested), report.unmatched) == (1, 1, ())


@pytest.mark.parametrize("content", [b"", b"rel_path;n\nday/a.tif;1;2\n", b"a\n\xff\n"])
def test_a_pooled_table_that_cannot_be_read_stays_until_it_can(
    ds: ZarrDataset, lab: Path, tmp_path: Path, content: bytes
) -> None:
    write(lab / "bad_db.csv", content)
    report = ds.ingest_legacy_folder(lab)
    assert "it is kept as it is" in reasons(report, "failed")["bad_db.csv"]
    refresh(ds, lab)
    back(ds, lab, tmp_path)
    lab = lab.rename(tmp_path / "renamed")
    assert refresh(ds, lab).missing == ()
    write(lab / "bad_db.csv", POOLED)
    assert reasons(ds.refresh_from_folder(lab).report, "pooled").keys() == {
        "bad_db.csv",
        "event_db.csv",
    }
    assert ds.load_table("bad_db")["image_id"].tolist()[0] == ds.list_image_ids()[0]


def test_metadata_that_cannot_be_written_do_not_stop_their_image(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab = tmp_path / "lab"
    write(lab / "a.tif", PIXELS)
    write(lab / "a.json", b'{"experiment_metadata": {"note": "\\ud800"}}')
    report = ds.ingest_legacy_folder(lab)
    assert "a.json" in reasons(report, "ingested")["a.tif"]
    assert json.loads(json.dumps(report.to_dict()["counts"]))["failed"] == 0
    back(ds, lab, tmp_path)


def test_a_link_to_a_folder_is_called_one(ds: ZarrDataset, lab: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    try:
        (lab / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let everybody make links")
    assert "not followed" in reasons(ds.ingest_legacy_folder(lab), "failed")["link"]
