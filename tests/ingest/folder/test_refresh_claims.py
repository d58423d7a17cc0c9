"""Files that claim one artifact, and edits that are to be overwritten, when a folder changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import ZarrDataset, ZarrImageRecord
from kymflow_zarr.testing import SyntheticVessel, write_experiment
from tests.runtime.test_executors import Here

PIXELS = np.arange(600, dtype=np.uint16).reshape(30, 20)
ONE, TWO, THREE = (pd.DataFrame({"a": [n, n]}) for n in (1, 2, 3))
RADON = "roi_id,channel,time,velocity\n1,1,0.0,1.5\n1,1,0.1,2.5\n"


@pytest.fixture
def tiff(tmp_path: Path) -> Path:
    path = tmp_path / "lab" / "a.tif"
    (path.parent / "flow-analysis").mkdir(parents=True)
    tifffile.imwrite(path, PIXELS)
    return path


def refresh(ds: ZarrDataset, folder: Path, **kwargs: Any) -> Any:
    return ds.refresh_from_folder(folder, mode="reingest_if_changed", **kwargs)


def only(ds: ZarrDataset) -> ZarrImageRecord:
    (rec,) = ds.iter_records()
    return rec


def kept_names(rec: ZarrImageRecord) -> set[str]:
    return {Path(file.path).name for file in rec.source_files if file.kept_as is not None}


def test_where_the_winner_goes_away_the_other_one_comes_in(ds: ZarrDataset, tiff: Path) -> None:
    winner, other = tiff.with_name("a.table.parquet"), tiff.with_name("a.table.csv")
    ONE.to_parquet(winner)
    TWO.to_csv(other, index=False)
    (item,) = ds.ingest_legacy_folder(tiff.parent).ingested
    assert "a.table.csv" in str(item.reason)
    rec = only(ds)
    pd.testing.assert_frame_equal(rec.load_df_parquet("table"), ONE)
    winner.unlink()
    (item,) = refresh(ds, tiff.parent).report.updated
    assert "a.table.parquet is gone; another file is taken instead" in str(item.reason)
    pd.testing.assert_frame_equal(rec.load_df_parquet("table"), TWO)
    assert refresh(ds, tiff.parent) == []
    # It is fed by the other file now.
    THREE.to_csv(other, index=False)
    (item,) = refresh(ds, tiff.parent).report.updated
    assert "edited" not in str(item.reason)
    pd.testing.assert_frame_equal(rec.load_df_parquet("table"), THREE)
    assert kept_names(rec) == {winner.name, other.name}
    assert ds.validate().ok


def test_where_the_winner_cannot_be_read_any_more_the_other_one_comes_in(
    ds: ZarrDataset, tiff: Path
) -> None:
    winner = tiff.with_name("a.table.parquet")
    ONE.to_parquet(winner)
    TWO.to_csv(tiff.with_name("a.table.csv"), index=False)
    ds.ingest_legacy_folder(tiff.parent)
    winner.write_bytes(b"PAR1 no more")
    (item,) = refresh(ds, tiff.parent).report.updated
    assert "a.table.parquet" in str(item.reason)
    pd.testing.assert_frame_equal(only(ds).load_df_parquet("table"), TWO)
    assert refresh(ds, tiff.parent) == []


def test_a_winner_that_comes_later_takes_the_name(ds: ZarrDataset, tiff: Path) -> None:
    TWO.to_csv(tiff.with_name("a.table.csv"), index=False)
    ds.ingest_legacy_folder(tiff.parent)
    ONE.to_parquet(tiff.with_name("a.table.parquet"))
    assert len(refresh(ds, tiff.parent)) == 1
    pd.testing.assert_frame_equal(only(ds).load_df_parquet("table"), ONE)
    assert refresh(ds, tiff.parent) == []


def test_an_edit_stays_where_the_winner_goes_away(ds: ZarrDataset, tiff: Path) -> None:
    winner = tiff.with_name("a.table.parquet")
    ONE.to_parquet(winner)
    TWO.to_csv(tiff.with_name("a.table.csv"), index=False)
    ds.ingest_legacy_folder(tiff.parent)
    only(ds).save_df_parquet("table", THREE)
    winner.unlink()
    (item,) = refresh(ds, tiff.parent).report.updated
    assert "table was edited in the dataset" in str(item.reason)
    pd.testing.assert_frame_equal(only(ds).load_df_parquet("table"), THREE)
    assert refresh(ds, tiff.parent) == []


def test_a_file_named_as_an_artifact_goes_before_the_analysis(ds: ZarrDataset, tiff: Path) -> None:
    named = tiff.with_name("a.velocity.parquet")
    ONE.to_parquet(named)
    (tiff.parent / "flow-analysis" / "a_radon.csv").write_text(RADON)
    (item,) = ds.ingest_legacy_folder(tiff.parent).ingested
    assert "a_radon.csv was kept as it is" in str(item.reason)
    assert named.name in str(item.reason)
    rec = only(ds)
    pd.testing.assert_frame_equal(rec.load_df_parquet("velocity"), ONE)
    assert kept_names(rec) == {named.name, "a_radon.csv"}
    named.unlink()
    assert refresh(ds, tiff.parent) == [rec.image_id]
    assert rec.load_df_parquet("velocity")["velocity_mm_s"].tolist() == [1.5, 2.5]
    assert refresh(ds, tiff.parent) == []


def test_names_of_the_metadata_are_taken(ds: ZarrDataset, tiff: Path) -> None:
    taken = tiff.with_name("a.provenance.json")
    taken.write_text('{"mine": true}')
    tiff.with_suffix(".json").write_text('{"version": "1.0"}')
    tiff.with_name("a.source_metadata.json").write_text('{"mine": true}')
    (item,) = ds.ingest_legacy_folder(tiff.parent).ingested
    assert "a.provenance.json was kept as it is" in str(item.reason)
    assert "a.source_metadata.json was kept as it is" in str(item.reason)
    rec = only(ds)
    assert rec.load_json("source_metadata") == {"version": "1.0"}
    # A change of it is no reason to put it in the place of what ingest says.
    taken.write_text('{"mine": "changed"}')
    (item,) = refresh(ds, tiff.parent).report.updated
    assert "a.provenance.json was kept as it is" in str(item.reason)
    assert "edited" not in str(item.reason)
    assert rec.load_json("provenance")["rel_path"] == "a.tif"
    tifffile.imwrite(tiff, PIXELS + 1)
    (item,) = refresh(ds, tiff.parent).report.updated
    assert "edited" not in str(item.reason)
    assert refresh(ds, tiff.parent) == []


@pytest.mark.parametrize("name", ["a.b c<d>.json", "a.con.json", "a.x..json"])
def test_what_could_never_be_an_artifact_does_not_stop_an_update(
    ds: ZarrDataset, tiff: Path, name: str
) -> None:
    if any(letter in name for letter in "<>") and not tiff.parent.joinpath(name).parent.exists():
        pytest.skip("this file system has no such names")
    ds.ingest_legacy_folder(tiff.parent)
    tiff.with_name(name).write_text("[1]")
    tiff.with_name("a.note.json").write_text("[2]")
    report = refresh(ds, tiff.parent).report
    assert report.failed == ()
    assert only(ds).load_json("note") == [2]
    assert name in kept_names(only(ds))
    assert refresh(ds, tiff.parent) == []


def test_edits_are_overwritten_in_pooled_tables_too_where_that_is_asked_for(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab = tmp_path / "pooled"
    write_experiment(lab, vessels=[SyntheticVessel(name="a", n_lines=400)])
    ds.refresh_from_folder(lab)
    csv = lab / "radon_report_db.csv"
    whole = ds.load_table("radon_report_db")
    ds.save_table("radon_report_db", whole.assign(treatment="mine"))
    lines = csv.read_text().splitlines()
    csv.write_text("\n".join([*lines, lines[-1]]) + "\n")
    (item,) = [i for i in refresh(ds, lab).report.skipped if i.path == str(csv)]
    assert "edited" in str(item.reason)
    assert set(ds.load_table("radon_report_db")["treatment"]) == {"mine"}
    result = refresh(ds, lab, overwrite_edits=True)
    assert str(csv) in {item.path for item in result.report.pooled}
    now = ds.load_table("radon_report_db")
    assert len(now) == len(whole) + 1
    assert "mine" not in set(now["treatment"])
    assert set(now["image_id"]) == set(ds.list_image_ids())


def test_what_is_in_the_dataset_as_the_file_says_is_no_conflict(
    ds: ZarrDataset, tiff: Path
) -> None:
    ds.ingest_legacy_folder(tiff.parent)
    rec = only(ds)
    rec.save_json("note", [1, 2])
    note = tiff.with_name("a.note.json")
    note.write_text(json.dumps([1, 2]))
    (item,) = refresh(ds, tiff.parent).report.updated
    assert "left as it is" not in str(item.reason)
    note.write_text("[3]")
    refresh(ds, tiff.parent)
    assert rec.load_json("note") == [3]


def test_an_array_in_the_dataset_is_held_against_the_file(ds: ZarrDataset, tiff: Path) -> None:
    ds.ingest_legacy_folder(tiff.parent)
    rec = only(ds)
    rec.save_array_artifact("same", PIXELS)
    rec.save_array_artifact("other", PIXELS)
    np.save(tiff.with_name("a.same.npy"), PIXELS)
    np.save(tiff.with_name("a.other.npy"), PIXELS + 1)
    (item,) = refresh(ds, tiff.parent).report.updated
    assert "other is there already and left as it is" in str(item.reason)
    assert "same is there" not in str(item.reason)
    np.testing.assert_array_equal(rec.load_array_artifact("other"), PIXELS)


@pytest.mark.parametrize("rows", [300, 30_000])
def test_an_array_of_any_size_is_read_again_by_the_thread_that_asks(
    ds: ZarrDataset, tiff: Path, rows: int
) -> None:
    array = tiff.with_name("a.mask.npy")
    lines = np.arange(rows * 20, dtype="uint32").reshape(rows, 20)
    np.save(array, lines)
    ds.ingest_legacy_folder(tiff.parent, executor=Here())
    np.save(array, lines + 1)
    rec = only(ds)
    rec.save_array_artifact("mask", lines + 1)
    (item,) = ds.refresh_from_folder(
        tiff.parent, mode="reingest_if_changed", executor=Here()
    ).report.updated
    assert "left as it is" not in str(item.reason)
    np.testing.assert_array_equal(rec.load_array_artifact("mask"), lines + 1)
    # So it is with an exported folder that comes back.
    ds.export_legacy_folder(tiff.parent.parent / "out", executor=Here())
    with ZarrDataset(tiff.parent.parent / "back.zarr", mode="w") as back:
        back.ingest_legacy_folder(tiff.parent.parent / "out", executor=Here())
        np.testing.assert_array_equal(only(back).load_array_artifact("mask"), lines + 1)


def test_a_file_that_comes_back_feeds_what_it_fed(ds: ZarrDataset, tiff: Path) -> None:
    first = tiff.with_name("a.first.json")
    first.write_text("[1]")
    tiff.with_name("a.second.json").write_text("[2]")
    ds.ingest_legacy_folder(tiff.parent)
    before = {file.rel_path: file.feeds for file in only(ds).source_files}
    first.unlink()
    refresh(ds, tiff.parent)
    first.write_text("[1]")
    refresh(ds, tiff.parent)
    assert {file.rel_path: file.feeds for file in only(ds).source_files} == before
    assert refresh(ds, tiff.parent) == []


def test_a_scan_of_a_folder_below_updates_only_what_has_changed(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab = tmp_path / "pooled"
    (tiff,) = write_experiment(lab, vessels=[SyntheticVessel(name="a", n_lines=400)])
    ds.refresh_from_folder(lab)
    rec = only(ds)
    rec.save_df_parquet("velocity", ONE)
    tiff.with_name(f"{tiff.stem}.note.json").write_text("[1]")
    (item,) = refresh(ds, tiff.parent).report.updated
    assert "edited" not in str(item.reason)
    assert rec.load_json("note") == [1]
    pd.testing.assert_frame_equal(rec.load_df_parquet("velocity"), ONE)
    assert refresh(ds, tiff.parent) == []
