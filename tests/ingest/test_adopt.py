"""Results of what other programs have left: run markers, and velocities of regions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import ReadingRecord, RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.legacy_v1.migrate import migrate_dataset

# What kymflow makes of {"threshold": 0.25, "window": 7}.
HASH = "66e960e90186db1f52ec34e2ce575d0d702d1394bc224c135cfa447d3b949452"


@pytest.fixture
def rec(ds: ZarrDataset) -> ZarrImageRecord:
    record = ds.add_image(np.ones((20, 8), "uint16"), image_id="a")
    record.save_rois([RectRoi(roi_id=i, x0=0, x1=4, y0=0, y1=9, revision=i - 1) for i in (1, 2)])
    return record


def marker(rows: int, params_hash: str = HASH) -> dict[str, Any]:
    return {
        "marker_version": "1", "indexer_name": "velocity_events", "params_hash": params_hash,
        "analysis_version": "kymflow.velocity_events@0.1", "n_rows": rows,
        "ran_utc_epoch_ns": 1796039285467192018, "status": "ok",
    }  # fmt: skip


def test_velocities_of_regions_know_the_revision_they_were_made_of(
    ds: ZarrDataset, rec: ZarrImageRecord
) -> None:
    rec.save_df_parquet("velocity", pd.DataFrame({"roi_id": [1, 2], "velocity": [1.0, 2.0]}))
    entry = {"algorithm": "mpRadon", "window_size": 16, "roi_revision_at_analysis": 0,
             "analyzed_at": "2026-02-19T05:38:02.115242+00:00"}  # fmt: skip
    rec.save_json(
        "velocity_analysis", {"regions": [{"roi_id": i, "channel": 1, **entry} for i in (1, 2)]}
    )
    assert ds.adopt_results() == 2
    assert ds.adopt_results() == 0
    one = rec.result("velocity", roi=1)
    assert (one.program, one.computed_utc) == ("kymflow mpRadon", "2026-02-19T05:38:02.115242Z")
    assert one.params == {"algorithm": "mpRadon", "window_size": 16}
    assert one.load()["velocity"].tolist() == [1.0]
    assert ds.stale()[["roi_id", "reason"]].to_numpy().tolist() == [
        [2, "region 2 changed: revision 0 -> 1"]
    ]
    with rec.edit(who="maria") as edit:
        edit.save_roi({"roi_id": 1, "data": {"x0": 1, "x1": 4, "y0": 0, "y1": 9}})
    assert rec.result("velocity", roi=1).reasons[0].startswith("region 1 was moved on ")


@pytest.mark.parametrize(("rows", "status"), [(3, "ok"), (0, "empty")])
def test_run_markers_distinguish_computed_and_empty_from_never_computed(
    ds: ZarrDataset, rec: ZarrImageRecord, rows: int, status: str
) -> None:
    ds.add_image(np.ones((20, 8), "uint16"), image_id="never")
    rec.save_json("velocity_events/params", {"window": 7, "threshold": 0.25})
    rec.save_json("velocity_events/summary", marker(rows))
    rec.save_df_parquet("velocity_events/events", pd.DataFrame({"t_start_s": [0.1]}))
    assert ds.adopt_results() == 1
    result = rec.result("velocity_events")
    assert (result.status, result.computed_utc) == (status, "2026-11-30T11:48:05.467192Z")
    assert result.version == "kymflow.velocity_events@0.1"
    assert not result.out_of_date
    rec.save_json("velocity_events/params", {"window": 9, "threshold": 0.25})
    assert rec.result("velocity_events").reasons == ('input "velocity_events/params" was replaced',)


def test_a_marker_of_other_parameters_is_out_of_date(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    rec.save_json("velocity_events/params", {"window": 8})
    rec.save_json("velocity_events/summary", marker(3))
    rec.save_json("radon_run", {"n_rows": -1, "ran_utc_epoch_ns": 1})  # No valid marker.
    assert ds.adopt_results() == 1
    assert len(ds.stale("velocity_events")) == 1


@pytest.mark.parametrize(
    ("marked", "rows", "reason"),
    [
        (2, {"params_hash": [HASH] * 2}, None),
        (0, {"params_hash": [HASH]}, "has 1 rows of the image, but its run marker says 0"),
        (3, {"params_hash": [HASH], "image_id": ["b"]}, "no rows of the image, but its run marker"),
        (2, {"params_hash": [HASH, "0" * 64]}, "has rows of another run than the one of"),
    ],
)
def test_a_marker_that_disagrees_with_the_pooled_table_is_out_of_date(
    ds: ZarrDataset, rec: ZarrImageRecord, marked: int, rows: dict[str, Any], reason: str | None
) -> None:
    rec.save_json("velocity_events/params", {"window": 7, "threshold": 0.25})
    rec.save_json("velocity_events/summary", marker(marked))
    rec.save_df_parquet("velocity_events/events", pd.DataFrame({"t_start_s": [0.1]}))
    table = {"image_id": ["a"] * len(rows["params_hash"])} | rows
    table["analysis_version"] = ["kymflow.velocity_events@0.1"] * len(rows["params_hash"])
    ds.save_table("kym_velocity_events", pd.DataFrame(table))
    assert ds.adopt_results() == 1
    told = [*ds.stale("velocity_events")["reason"]]
    assert len(told) == (reason is not None)
    assert reason is None or reason in told[0]
    assert rec.result("velocity_events").reasons == tuple(told)
    rec.accept_result("velocity_events")
    assert len(ds.stale("velocity_events")) == 0


def test_real_run_markers_are_as_fresh_as_kymflow_found_them(
    shared_data: Path, tmp_path: Path
) -> None:
    answers = json.loads((shared_data / "v1_with_runs.expected_staleness.json").read_text())
    migrate_dataset(shared_data / "v1_with_runs.zarr", tmp_path / "new.zarr")
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        ds.adopt_results()
        results = {(i, n) for i, n in ds.results()[["image_id", "name"]].to_numpy().tolist()}
        # Its program has parameters of each image; `stale()` compares those of images, too.
        stale = {
            (image_id, name)
            for image_id, name, reason in ds.stale()[["image_id", "name", "reason"]]
            .to_numpy()
            .tolist()
            if not reason.startswith("parameters differ")
        }
    for answer in answers:
        key = answer["image_id"], answer["table_name"].removeprefix("kym_")
        assert (key in results) == answer["has_run_marker"], answer
        if answer["has_run_marker"]:
            assert (key in stale) == answer["is_stale"], answer


# At ingest ---------------------------------------------------------------------------------


def of_region(algorithm: str, revision: int = 0, window: int = 16) -> dict[str, Any]:
    return {
        "algorithm": algorithm, "window_size": window, "roi_revision_at_analysis": revision,
        "analyzed_at": "2026-02-19T05:38:02.115242+00:00",
    }  # fmt: skip


EVENT = {"event_type": "baseline_drop", "i_start": 1, "t_start": 0.1, "user_type": "unreviewed"}


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A kymograph with two regions, the second of revision 3, analyzed by mpRadon."""
    folder = tmp_path / "lab"
    (folder / "flow-analysis").mkdir(parents=True)
    tifffile.imwrite(folder / "v.tif", np.ones((40, 8), "uint16"))
    rois = [RectRoi(roi_id=i, x0=0, x1=4, y0=0, y1=9, revision=3 * (i - 1)) for i in (1, 2)]
    payload = {"version": "2.0", "header": {}, "experiment_metadata": {}}
    write_json(folder / "v.json", {**payload, "rois": [roi.to_dict() for roi in rois]})
    analyze(folder, [1.0, 2.0], {"1:1": of_region("mpRadon"), "2:1": of_region("mpRadon")})
    write_json(
        folder / "flow-analysis" / "v_events.json",
        {"version": "2.0", "velocity_events": {"1:1": [EVENT], "2:1": []}},
    )
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def analyze(folder: Path, values: list[float], regions: dict[str, Any]) -> None:
    rows = [f"{1 + i % 2},1,{i * 0.01},{v}\n" for i, v in enumerate(values)]
    (folder / "flow-analysis" / "v_radon.csv").write_text(
        "roi_id,channel,time,velocity\n" + "".join(rows)
    )
    write_json(
        folder / "flow-analysis" / "v_radon.json",
        {"version": "3.0", "analysis_metadata": regions},
    )


def reasons(ds: ZarrDataset) -> dict[str, str]:
    return {
        f"{name}@{roi_id}": reason
        for name, roi_id, reason in ds.stale()[["name", "roi_id", "reason"]].to_numpy()
    }


def test_what_lies_in_a_folder_becomes_results_at_ingest(ds: ZarrDataset, lab: Path) -> None:
    report = ds.ingest_legacy_folder(lab)
    assert report.results == 4
    assert "; 4 results of other programs" in str(report)
    (rec,) = ds.iter_records()
    one = rec.result("velocity", roi=1)
    assert (one.program, one.params) == (
        "kymflow mpRadon",
        {"algorithm": "mpRadon", "window_size": 16},
    )
    assert one.computed_utc == "2026-02-19T05:38:02.115242Z"
    events = [rec.result("velocity_events", roi=i) for i in (1, 2)]
    assert [result.status for result in events] == ["ok", "empty"]
    assert events[0].load()["event_type"].tolist() == ["baseline_drop"]
    assert [found.kind for found in events[0].inputs] == ["region", "result"]
    assert reasons(ds) == {
        "velocity@2": "region 2 changed: revision 0 -> 3",
        "velocity_events@2": 'made from "velocity@roi=2,channel=1", which is out of date',
    }
    assert ds.adopt_results() == 0
    assert ds.validate().ok


def test_a_region_that_is_moved_after_ingest_makes_velocity_and_events_out_of_date(
    ds: ZarrDataset, lab: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    (rec,) = ds.iter_records()
    with rec.edit(who="maria") as edit:
        edit.save_roi({"roi_id": 1, "data": {"x0": 1, "x1": 4, "y0": 0, "y1": 9}})
    assert "region 1 was moved on" in reasons(ds)["velocity@1"]
    assert "region 1 was moved on" in reasons(ds)["velocity_events@1"]


def test_a_new_analysis_in_the_folder_replaces_its_results_and_no_others(
    ds: ZarrDataset, lab: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    (rec,) = ds.iter_records()
    rec.save_result("mine", 1)
    events = rec.result("velocity_events", roi=1)
    analyze(lab, [3.0, 4.0, 5.0], {"2:1": of_region("mpRadon", 3, 32)})
    ds.refresh_from_folder(lab, mode="reingest_if_changed")
    found = {result.result_id.label: result for result in rec.results()}
    assert [*found] == [
        "velocity@roi=2,channel=1", "velocity_events@roi=1,channel=1",
        "velocity_events@roi=2,channel=1", "mine",
    ]  # fmt: skip
    assert found["velocity@roi=2,channel=1"].params == {"algorithm": "mpRadon", "window_size": 32}
    assert not found["velocity@roi=2,channel=1"].reasons
    assert not found["velocity@roi=2,channel=1"].edited
    assert found["velocity_events@roi=1,channel=1"].computed_utc == events.computed_utc
    assert 'no result "velocity@roi=1,channel=1"' in reasons(ds)["velocity_events@1"]


def test_pixels_that_are_new_in_the_folder_make_the_ingested_velocity_out_of_date(
    ds: ZarrDataset, lab: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    (rec,) = ds.iter_records()
    tifffile.imwrite(lab / "v.tif", np.full((40, 8), 7, "uint16"))
    ds.refresh_from_folder(lab, mode="reingest_if_changed")
    assert reasons(ds)["velocity@1"] == "made from earlier pixels"
    assert "analysis/lineage.json" not in " ".join(rec.list_earlier_artifacts())


def test_computing_an_ingested_name_takes_the_place_of_its_results(
    ds: ZarrDataset, lab: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    (rec,) = ds.iter_records()
    ds.compute("velocity", lambda _: pd.DataFrame({"velocity": [9.0]}), version="1")
    assert rec.result("velocity").load()["velocity"].tolist() == [9.0]
    assert {result.name for result in rec.results()} == {"velocity", "velocity_events"}


def mean_velocity(rec: ReadingRecord) -> float:
    return float(rec.result("velocity", roi=1).load()["velocity"].mean())


def test_what_reads_the_velocity_of_one_region_depends_on_that_region_alone(
    ds: ZarrDataset, rec: ZarrImageRecord
) -> None:
    rec.save_df_parquet("velocity", pd.DataFrame({"roi_id": [1, 1, 2], "velocity": [1.0, 2, 9]}))
    regions = [{"roi_id": i, "channel": 1, **of_region("mpRadon", i - 1)} for i in (1, 2)]
    rec.save_json("velocity_analysis", {"regions": regions})
    assert ds.adopt_results() == 2
    ds.compute("mean", mean_velocity)
    ds.compute("all", lambda image: float(image.load_df_parquet("velocity")["velocity"].max()))
    assert rec.result("mean").load() == 1.5
    assert "velocity@roi=2" not in rec.explain("mean")
    for roi_id, expected in ((2, {"velocity@2", "all"}), (1, {"velocity@1", "mean", "all"})):
        with rec.edit(who="maria") as edit:
            edit.save_roi({"roi_id": roi_id, "data": {"x0": 1, "x1": 4, "y0": 0, "y1": 9}})
        assert {name.removesuffix("@<NA>") for name in reasons(ds)} >= expected
        assert ("mean" in {*ds.stale()["name"]}) == (roi_id == 1)
        assert rec.result("mean").out_of_date == (roi_id == 1)


def test_computing_or_deleting_the_velocity_of_one_region_leaves_that_of_the_others(
    ds: ZarrDataset, lab: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    (rec,) = ds.iter_records()
    new = pd.DataFrame({"velocity_mm_s": [7.0]})
    rec.save_result("velocity", new, roi=1, channel=1)
    assert rec.result("velocity", roi=1).load()["velocity_mm_s"].tolist() == [7.0]
    assert rec.result("velocity", roi=2).load()["velocity_mm_s"].tolist() == [2.0]
    rec.delete_result("velocity", roi=1)
    assert rec.result("velocity", roi=2).load()["velocity_mm_s"].tolist() == [2.0]
    rec.delete_result("velocity", roi=2)
    assert rec.results("velocity") == []
    assert [info.name for info in rec.list_artifacts() if info.name.startswith("velocity@")] == []


def test_adopted_velocities_are_compared_with_computed_ones_region_by_region(
    ds: ZarrDataset, lab: Path
) -> None:
    ds.ingest_legacy_folder(lab)

    def again(image: ReadingRecord, roi: Any, channel: int) -> pd.DataFrame:
        return pd.DataFrame(
            {"time_s": [(roi.roi_id - 1) * 0.01], "velocity_mm_s": [10.0 * channel]}
        )

    ds.compute("velocity", again, roi="all", channel="all", variant="ours")
    both = ds.compare_results("velocity", "ours", on=["time_s"])
    assert both[["roi_id", "velocity_mm_s_ours", "velocity_mm_s_usual"]].to_numpy().tolist() == [
        [1, 10.0, 1.0], [2, 10.0, 2.0],
    ]  # fmt: skip


def test_an_image_without_analysis_has_no_lineage(ds: ZarrDataset, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", np.ones((4, 4), "uint8"))
    assert ds.ingest_legacy_folder(tmp_path).results == 0
    (rec,) = ds.iter_records()
    assert [info.name for info in rec.list_artifacts() if info.name == "lineage"] == []


def test_a_sidecar_that_is_called_like_the_lineage_is_left_as_it_is(
    ds: ZarrDataset, lab: Path
) -> None:
    write_json(lab / "v.lineage.json", {"family": "mouse 7"})
    assert ds.ingest_legacy_folder(lab).results == 0
    (rec,) = ds.iter_records()
    assert rec.load_json("lineage") == {"family": "mouse 7"}


def test_the_folder_of_a_lab_is_written_back_without_a_file_more(
    ds: ZarrDataset, lab: Path, tmp_path: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    report = ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    assert report.differences == ()
    assert sorted(report.files) == sorted(
        path.relative_to(lab).as_posix() for path in lab.rglob("*.*")
    )
    (rec,) = ds.iter_records()
    rec.accept_result("velocity", roi=2)
    ds.export_legacy_folder(tmp_path / "again", layout="kymflow")
    with ZarrDataset(tmp_path / "back.zarr") as back:
        back.ingest_legacy_folder(tmp_path / "again")
        (there,) = back.iter_records()
        assert [r.to_dict() for r in there.results()] == [
            {**r.to_dict(), "image_id": there.image_id,
             "artifact": r.artifact and r.artifact.replace(rec.image_id, there.image_id)}
            for r in rec.results()
        ]  # fmt: skip
        assert there.result("velocity", roi=2).status == "accepted by hand"


# After a repair ----------------------------------------------------------------------------


def damage_lineage(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    path = Path(ds.path) / "images" / rec.image_id / "analysis" / "lineage.json"
    path.write_bytes(path.read_bytes()[:-40])


def test_a_repair_restores_what_ingest_knew_of_the_results_of_other_programs(
    ds: ZarrDataset, lab: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    (rec,) = ds.iter_records()
    before = rec.results()
    damage_lineage(ds, rec)
    report = ds.repair()
    assert [action.kind for action in report.actions] == ["restore"]
    assert rec.results() == before
    assert ds.verify().errors == ()


def test_a_repair_that_puts_lineage_away_finds_the_results_of_other_programs_again(
    ds: ZarrDataset, lab: Path
) -> None:
    ds.ingest_legacy_folder(lab)
    (rec,) = ds.iter_records()
    before = rec.results()
    ds.compute("mine", lambda _: 1)
    damage_lineage(ds, rec)
    actions = ds.repair().actions
    assert [action.kind for action in actions if action.image_id] == ["quarantine", "rebuild"]
    assert "4 results of other programs are known" in str(actions[1])
    assert rec.results() == before
    assert ds.verify().errors == ()
    # Of what was computed here only the value is left: it is computed again.
    assert rec.load_json("mine") == 1
    assert len(ds.compute("mine", lambda _: 1).computed) == 1
