"""What was edited in a dataset comes out in the files that it came from, and goes in again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from pandas.testing import assert_frame_equal

from kymflow_zarr import ZarrDataset, ZarrImageRecord
from kymflow_zarr.engine.dataset import OpenDataset
from tests.helpers.kymflow_tree import (
    STEM,
    contents_of,
    differing,
    edited_and_back,
    image_of,
    ingested,
)

FLOW = "28d AngII/20250722/flow-analysis/20250722_A89_0002"
EVENTS = "velocity_events/events"


def test_payload(tmp_path: Path) -> None:
    def edit(_: ZarrDataset, rec: ZarrImageRecord) -> None:
        payload = rec.load_metadata_payload()
        payload["experiment_metadata"] |= {"note": "Größe", "own": [1, {"a": None}]}
        payload["rois"].pop()
        rec.save_metadata_payload(payload)

    report, rec, _, again = edited_and_back(tmp_path, edit)
    assert differing(report) == {f"{STEM}.json": "edited in the dataset"}
    back = image_of(again, f"{STEM}.tif")
    assert back.load_metadata_payload() == rec.load_metadata_payload()
    written = json.loads((tmp_path / "out" / f"{STEM}.json").read_text(encoding="utf-8"))
    assert written["version"] == "1.0"  # As programs read it that write such files.


def test_payload_of_an_image_without_metadata_file(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "a.tif", np.zeros((4, 5), "uint8"))
    ds = ingested(tmp_path / "in", tmp_path / "d.zarr")
    rec = image_of(ds, "a.tif")
    payload = rec.load_metadata_payload()
    payload["experiment_metadata"]["note"] = "new"
    rec.save_metadata_payload(payload)
    report = ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    assert list(differing(report)) == ["a.json"]
    back = image_of(ingested(tmp_path / "out", tmp_path / "again.zarr"), "a.tif")
    assert back.load_metadata_payload() == payload


def test_velocity(tmp_path: Path) -> None:
    def edit(_: ZarrDataset, rec: ZarrImageRecord) -> None:
        frame = rec.load_df_parquet("velocity")
        frame.loc[3, "velocity_mm_s"] = 0.1 + 0.2
        frame["quality"] = np.where(frame["roi_id"] == 1, "good", "bad")
        rec.save_df_parquet("velocity", frame.iloc[:-1])

    report, rec, _, again = edited_and_back(tmp_path, edit)
    path = f"{FLOW}_kymanalysis.csv"
    assert differing(report) == {path: "edited in the dataset"}
    back = image_of(again, f"{STEM}.tif")
    assert_frame_equal(
        back.load_df_parquet("velocity"), rec.load_df_parquet("velocity"), check_exact=True
    )
    header = (tmp_path / "out" / path).read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith("roi_id,channel,time,velocity,parentFolder,file,algorithm,delx,delt,")
    assert header.endswith(",quality")


def legacy(folder: Path) -> Path:
    """Write an image that programs of all ages have analyzed."""
    folder = folder / "day"
    (folder / "flow-analysis").mkdir(parents=True)
    (folder / "day-analysis").mkdir()
    tifffile.imwrite(folder / "a.tif", np.zeros((40, 5), "uint16"))
    rows = "0.5,1.5\r\n0.75,\r\n"
    for name, head in [("kymanalysis", "roi_id,channel"), ("radon", "roi_id,channel")]:
        text = f"{head},time,velocity\r\n" + "".join(f"1,2,{r}" for r in rows.splitlines(True))
        (folder / "flow-analysis" / f"a_{name}.csv").write_bytes(text.encode())
    (folder / "day-analysis" / "a.csv").write_bytes(b",time,velocity\n0,0.5,1.5\n1,0.75,\n")
    event: dict[str, Any] = {"event_type": "nan_gap", "t_start": 0.5, "t_end": None, "i_start": 3}
    other = {"event_type": "User Added", "t_start": 0.7, "duration_sec": 1.5, "own": "x"}
    region = {"roi_id": 1, "algorithm": "mpRadon", "window_size": 16}
    documents = {
        "kymanalysis": {
            "version": "2.0",
            "accepted": True,
            "analysis_metadata": {"1": region, "2": region | {"roi_id": 2}},
            "velocity_events": {"1": [event, other], "2": [], "3": [event]},
        },
        "radon": {"version": "3.0", "accepted": True, "analysis_metadata": {"1:1": region}},
        "events": {"version": "2.0", "velocity_events": {"1:1": [event], "1:2": [other]}},
    }
    for name, document in documents.items():
        path = folder / "flow-analysis" / f"a_{name}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("velocity", "flow-analysis/a_radon.csv"),
        ("velocity_kymanalysis", "flow-analysis/a_kymanalysis.csv"),
        ("velocity_v0", "day-analysis/a.csv"),
    ],
)
def test_velocity_of_every_age(tmp_path: Path, name: str, path: str) -> None:
    ds = ingested(legacy(tmp_path), tmp_path / "d.zarr")
    rec = image_of(ds, "a.tif")
    frame = rec.load_df_parquet(name)
    frame["velocity_mm_s"] = [2.5, 1e-300]
    rec.save_df_parquet(name, frame)
    report = ds.export_legacy_folder(tmp_path / "out" / "day", layout="kymflow")
    assert differing(report) == {path: "edited in the dataset"}
    before = (tmp_path / "day" / path).read_bytes()
    after = (tmp_path / "out" / "day" / path).read_bytes()
    assert after == before.replace(b"1.5", b"2.5").replace(b"0.75,", b"0.75,1e-300")
    back = image_of(ingested(tmp_path / "out" / "day", tmp_path / "again.zarr"), "a.tif")
    assert_frame_equal(back.load_df_parquet(name), frame, check_exact=True)


@pytest.mark.parametrize("age", ["", "_kymanalysis"])
def test_events_and_analysis_of_every_age(tmp_path: Path, age: str) -> None:
    ds = ingested(legacy(tmp_path), tmp_path / "d.zarr")
    rec = image_of(ds, "a.tif")
    events_name, analysis_name = f"velocity_events{age}/events", f"velocity_analysis{age}"
    events = rec.load_df_parquet(events_name)
    events.loc[0, "note"] = "seen"
    events.loc[0, "t_peak_s"] = 0.25
    rec.save_df_parquet(events_name, events)
    report = ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    path = "flow-analysis/a_kymanalysis.json" if age else "flow-analysis/a_events.json"
    assert differing(report) == {path: "edited in the dataset"}
    back = image_of(ingested(tmp_path / "out", tmp_path / "again.zarr"), "a.tif")
    assert_frame_equal(back.load_df_parquet(events_name), events, check_exact=True)
    assert back.load_json(analysis_name) == rec.load_json(analysis_name)
    # Only what was edited is another.
    before = json.loads((tmp_path / "day" / path).read_bytes())
    after = json.loads((tmp_path / "out" / path).read_bytes())
    first = next(iter(before["velocity_events"].values()))[0]
    assert after != before
    first |= {"note": "seen", "t_peak": 0.25}
    found = next(iter(after["velocity_events"].values()))[0]
    assert {k: v for k, v in found.items() if v is not None or k in first} == first
    assert list(after) == list(before)

    analysis = rec.load_json(analysis_name)
    analysis["accepted"] = False
    analysis["regions"][0]["window_size"] = 32
    analysis["reviewed_by"] = "me"
    rec.save_json(analysis_name, analysis)
    ds.export_legacy_folder(tmp_path / "out 2", layout="kymflow")
    back = image_of(ingested(tmp_path / "out 2", tmp_path / "again 2.zarr"), "a.tif")
    assert back.load_json(analysis_name) == analysis
    assert_frame_equal(back.load_df_parquet(events_name), events, check_exact=True)


def test_what_has_no_such_form_goes_beside_the_file(tmp_path: Path) -> None:
    ds = ingested(legacy(tmp_path), tmp_path / "d.zarr")
    rec = image_of(ds, "a.tif")
    rec.save_df_parquet(EVENTS, pd.DataFrame({"when": [1.5]}))
    report = ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    (path,) = differing(report)
    assert path == "a.velocity_events%2fevents.parquet"
    assert pd.read_parquet(tmp_path / "out" / path)["when"].tolist() == [1.5]
    original = contents_of(tmp_path / "day")
    assert {k: v for k, v in contents_of(tmp_path / "out").items() if k != path} == original


def test_sidecars_of_every_kind(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(folder / "a.b.tif", np.zeros((4, 5), "uint8"))
    frame = pd.DataFrame({"n": [1, 2], "x": [0.5, np.nan]})
    (folder / "a.b.note.json").write_text('{"a": 1}', encoding="utf-8")
    frame.to_csv(folder / "a.b.table.csv", index=False)
    frame.to_csv(folder / "a.b.packed.csv.gz", index=False)
    frame.to_parquet(folder / "a.b.exact.parquet")
    np.save(folder / "a.b.mask.npy", np.eye(3))
    ds = ingested(folder, tmp_path / "d.zarr")
    assert ds.export_legacy_folder(tmp_path / "same", layout="kymflow").differences == ()
    assert contents_of(tmp_path / "same") == contents_of(folder)

    rec = image_of(ds, "a.b.tif")
    frame["n"] += 5
    rec.save_json("note", {"a": [float("nan"), 2]})
    rec.save_df_parquet("table", frame)
    rec.save_df_csv_gz("packed", frame)
    rec.save_df_parquet("exact", frame)
    rec.save_array_artifact("mask", np.eye(4))
    report = ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    assert set(differing(report)) == {p for p in contents_of(folder) if not p.endswith(".tif")}
    assert set(contents_of(tmp_path / "out")) == set(contents_of(folder))
    back = image_of(ingested(tmp_path / "out", tmp_path / "again.zarr"), "a.b.tif")
    assert str(back.load_json("note")) == str({"a": [float("nan"), 2]})
    assert_frame_equal(back.load_df_parquet("table"), frame)
    assert_frame_equal(back.load_df_csv_gz("packed"), frame)
    assert_frame_equal(back.load_df_parquet("exact"), frame)
    np.testing.assert_array_equal(back.load_array_artifact("mask"), np.eye(4))


def test_deleted(tmp_path: Path) -> None:
    def edit(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
        rec.delete_analysis("quality")
        rec.delete_analysis(EVENTS)
        ds.delete_table("radon_report_db")
        events = ds.load_table("kym_event_db")
        ds.save_table("kym_event_db", events[events["image_id"] != "none"].iloc[:0])

    report, rec, _, again = edited_and_back(tmp_path, edit)
    reasons = differing(report)
    assert set(reasons) == {
        f"{STEM}.quality.json", f"{FLOW}_kymanalysis.json",
        "kym_event_db.csv", "radon_report_db.csv",
    }  # fmt: skip
    gone = {path for path, reason in reasons.items() if reason.startswith("not written")}
    assert gone == set(reasons) - {f"{FLOW}_kymanalysis.json"}
    assert not gone & set(contents_of(tmp_path / "out"))
    back = image_of(again, f"{STEM}.tif")
    names = {info.name for info in back.list_artifacts()}
    assert names == {info.name for info in rec.list_artifacts()}
    assert EVENTS not in names
    assert again.list_table_names() == []


def test_pixels(tmp_path: Path) -> None:
    report, rec, _, again = edited_and_back(
        tmp_path, lambda _, rec: rec.save_array(rec.load_array()[::-1].copy())
    )
    path = f"{STEM}.tif"
    assert list(differing(report)) == [path]
    assert differing(report)[path].startswith("the pixels were replaced in the dataset")
    back = image_of(again, path)
    np.testing.assert_array_equal(back.load_array(), rec.load_array())
    assert back.axes == rec.axes


def test_pixels_of_another_shape(tmp_path: Path) -> None:
    report, rec, _, again = edited_and_back(
        tmp_path, lambda _, rec: rec.save_array(np.arange(24, dtype="float32").reshape(2, 3, 4))
    )
    assert "another shape or dtype" in differing(report)[f"{STEM}.tif"]
    back = image_of(again, f"{STEM}.tif")
    np.testing.assert_array_equal(back.load_array(), rec.load_array())


def test_pooled_rows(tmp_path: Path) -> None:
    def edit(ds: ZarrDataset, _: ZarrImageRecord) -> None:
        table = ds.load_table("radon_report_db")
        table.loc[0, "accepted"] = not table.loc[0, "accepted"]
        table["checked"] = True
        own = pd.DataFrame({"image_id": ["mine"], "condition": ["own"]})
        ds.save_table("radon_report_db", pd.concat([table, own], ignore_index=True))
        ds.save_table("own/summary", pd.DataFrame({"when": pd.to_datetime(["2026-01-01"])}))

    report, _, ds, again = edited_and_back(tmp_path, edit)
    assert set(differing(report)) == {
        "radon_report_db.csv", "tables/radon_report_db.csv", "tables/own/summary.csv",
        "tables/radon_report_db.parquet", "tables/own/summary.parquet",
    }  # fmt: skip
    now, back = ds.load_table("radon_report_db").iloc[:-1], again.load_table("radon_report_db")
    for name in set(now.columns) - {"image_id", "pooled_path"}:
        assert now[name].astype(str).tolist() == back[name].astype(str).tolist(), name
    added = pd.read_parquet(tmp_path / "out" / "tables" / "radon_report_db.parquet")
    assert added["condition"].tolist() == ["own"]


def test_what_a_user_made(tmp_path: Path) -> None:
    def edit(_: ZarrDataset, rec: ZarrImageRecord) -> None:
        rec.save_json("review", {"good": True})
        rec.save_json("deep/er", [1])
        rec.save_json("typed", {"a": np.arange(3)})
        rec.save_json("tiff", {"mine": 1})
        rec.save_df_parquet("Peaks", pd.DataFrame({"n": [1]}))
        rec.save_df_csv_gz("peaks", pd.DataFrame({"n": [2]}))
        rec.save_array_artifact("mask", np.eye(3, dtype=bool))

    report, _, ds, again = edited_and_back(tmp_path, edit)
    reasons = {path.removeprefix(STEM): reason for path, reason in differing(report).items()}
    new = "made in the dataset; there was no such file"
    assert reasons == {
        ".review.json": new,
        ".deep%2fer.json": new,
        ".typed.json": f"{new}; ingest of the folder does not give it back equal",
        ".tiff.json": "edited in the dataset; ingest of the folder keeps the file and makes no "
        "artifact of it",
        ".Peaks.parquet": new,
        ".peaks.csv.gz": new,
        ".mask.npy": new,
    }
    back = image_of(again, f"{STEM}.tif")
    assert back.load_json("review") == {"good": True}
    assert back.load_json("deep/er") == [1]
    assert back.load_json("tiff") != {"mine": 1}
    assert back.load_df_parquet("Peaks")["n"].tolist() == [1]
    assert back.load_df_csv_gz("peaks")["n"].tolist() == [2]
    np.testing.assert_array_equal(back.load_array_artifact("mask"), np.eye(3))
    # An edited export is as calm the second time as another.
    assert ds.export_legacy_folder(tmp_path / "out", layout="kymflow").written == ()


def test_an_earlier_export_is_not_overwritten(tmp_path: Path) -> None:
    _, rec, ds, _ = edited_and_back(
        tmp_path, lambda _, rec: rec.save_json("quality", {"good": False})
    )
    before = contents_of(tmp_path / "out")
    rec.save_json("quality", {"good": "another"})
    with pytest.raises(FileExistsError, match=r"quality\.json"):
        ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    assert contents_of(tmp_path / "out") == before


def test_a_table_that_is_as_ingest_wrote_it_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "lab"
    lab.mkdir()
    tifffile.imwrite(lab / "a.tif", np.ones((5, 4), np.uint16))
    (lab / "kym_event_db.csv").write_text("rel_path,strength\na.tif,0.50\n")
    ds = ZarrDataset(tmp_path / "x.zarr")
    ds.ingest_legacy_folder(lab)
    with monkeypatch.context() as patched:
        patched.setattr(OpenDataset, "load_table", not_to_be_called)
        ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    given = (lab / "kym_event_db.csv").read_bytes()
    assert (tmp_path / "out" / "kym_event_db.csv").read_bytes() == given
    ds.save_table("kym_event_db", ds.load_table("kym_event_db").assign(strength=0.75))
    ds.export_legacy_folder(tmp_path / "edited", layout="kymflow")
    assert "0.75" in (tmp_path / "edited" / "kym_event_db.csv").read_text()


def not_to_be_called(*_: object) -> None:
    raise AssertionError
