"""What acqstore has computed becomes results, with what its sidecar says of each run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset, ZarrImageRecord

RUN_AT = {"analysis_date": "261130", "analysis_time": "11:37:01.711", "analysis_version": 1}


def run(name: str, roi_id: int, params: dict[str, Any], **summary: Any) -> dict[str, Any]:
    return {
        "analysis_name": name, "channel": 0, "roi_id": roi_id, "detection_params": params,
        "summary": {**RUN_AT, **summary},
    }  # fmt: skip


def region(roi_id: int, first_row: int) -> dict[str, Any]:
    return {
        "roi_id": roi_id, "roi_type": "rectroi", "version": "1.0", "name": "", "note": "",
        "data": {"row_start": first_row, "row_stop": 40, "col_start": 0, "col_stop": 8},
    }  # fmt: skip


RUNS = [
    run("radon_velocity", 1, {"window_width": 16}),
    run("radon_velocity", 2, {"window_width": 16}),
    run("heart_rate", 1, {"bpm_min": 240.0}, lomb={"bpm": 412.5}, welch={"bpm": None}),
    run("heart_rate", 2, {"bpm_min": 240.0}, lomb={"bpm": None}, welch={"bpm": None}),
    run("event", 1, {"pre_post_win_sec": 1.0},
        events=[{"id": 1, "x0": 0.01, "x1": 0.02, "event_type": "rise", "duration": 0.01}]),
    run("event", 2, {"pre_post_win_sec": 1.0}, events=[]),
]  # fmt: skip


def write_sidecar(folder: Path, runs: list[dict[str, Any]]) -> None:
    sidecar = {
        "version": 2, "accepted": True, "rois": [region(1, 0), region(2, 20)], "analysis": runs,
        "experiment_metadata": {"condition": "drug"}, "image_header_metadata": {},
    }  # fmt: skip
    (folder / "k.tif.json").write_text(json.dumps(sidecar, indent=2, sort_keys=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lab = tmp_path / "lab"
    lab.mkdir()
    tifffile.imwrite(lab / "k.tif", np.ones((40, 8), "uint16"))
    (lab / "k.tif.radon_velocity.csv").write_text(
        "channel,roi_id,time_s,time_index,theta_deg,velocity\n"
        "0,1,0.016,8.0,106.25,-70.8\n0,1,0.024,12.0,100.0,-50.0\n0,2,0.016,8.0,90.5,-3.5\n"
    )
    write_sidecar(lab, RUNS)
    return lab


@pytest.fixture
def rec(ds: ZarrDataset, folder: Path) -> ZarrImageRecord:
    assert ds.ingest_legacy_folder(folder).results == 6
    return next(ds.iter_records())


def told(record: ZarrImageRecord) -> list[dict[str, Any]]:
    return [
        {**result.to_dict(), "image_id": "", "artifact": result.artifact.split("/", 2)[2]}
        for result in record.results()
        if result.artifact is not None
    ]


def test_a_velocity_of_acqstore_says_program_version_parameters_date_region_channel_and_unit(
    rec: ZarrImageRecord,
) -> None:
    velocity = rec.result("acqstore/radon_velocity", roi=2)
    assert (velocity.program, velocity.version, velocity.channel) == ("acqstore", "1", 1)
    assert velocity.params == {"window_width": 16}
    assert velocity.computed_utc == "2026-11-30T11:37:01.711000Z"
    rows = velocity.load()
    assert rows["velocity"].tolist() == [-3.5]
    assert rows.attrs["units"]["velocity"].startswith("um/s")
    assert [str(found) for found in velocity.inputs] == ["pixels", "region 2"]


def test_what_stands_in_the_sidecar_of_acqstore_only_is_a_result_too(rec: ZarrImageRecord) -> None:
    rate = rec.result("acqstore/heart_rate", roi=1)
    (value,) = rate.load()
    assert value["summary"]["lomb"] == {"bpm": 412.5}
    events = [rec.result("acqstore/event", roi=roi_id) for roi_id in (1, 2)]
    assert [result.status for result in events] == ["ok", "empty"]
    assert [len(result.load()) for result in events] == [1, 0]
    assert rec.result("acqstore/heart_rate", roi=2).status == "empty"


def test_moving_a_region_makes_what_acqstore_measured_in_it_out_of_date_and_nothing_else(
    ds: ZarrDataset, rec: ZarrImageRecord
) -> None:
    with rec.edit(who="maria") as edit:
        edit.save_roi({"roi_id": 2, "data": {"x0": 1, "x1": 8, "y0": 20, "y1": 40}})
    stale = ds.stale()
    assert {*stale["roi_id"]} == {2}
    assert sorted(stale["name"]) == [
        "acqstore/event", "acqstore/heart_rate", "acqstore/radon_velocity",
    ]  # fmt: skip
    assert stale["reason"].str.contains("region 2 was moved on").all()


def test_a_run_that_acqstore_has_deleted_is_no_result_any_more(
    ds: ZarrDataset, rec: ZarrImageRecord, folder: Path
) -> None:
    rec.save_result("mine", 1)
    write_sidecar(folder, [RUNS[1], RUNS[5]])
    ds.refresh_from_folder(folder, mode="reingest_if_changed")
    assert {result.result_id.label for result in rec.results()} == {
        "mine", "acqstore/radon_velocity@roi=2,channel=1", "acqstore/event@roi=2,channel=1",
    }  # fmt: skip


def test_parameters_that_have_no_hash_are_not_known_and_the_image_goes_in(
    ds: ZarrDataset, folder: Path
) -> None:
    write_sidecar(folder, [run("radon_velocity", 1, {"window_width": float("nan")})])
    assert ds.ingest_legacy_folder(folder).failed == ()
    (rec,) = ds.iter_records()
    assert rec.result("acqstore/radon_velocity").params is None


@pytest.mark.parametrize("layout", ["dataset", "kymflow", "acqstore"])
def test_results_of_acqstore_go_through_every_export_of_a_folder(
    ds: ZarrDataset, rec: ZarrImageRecord, tmp_path: Path, layout: Any
) -> None:
    ds.export_legacy_folder(tmp_path / "out", layout=layout)
    with ZarrDataset(tmp_path / "back.zarr", durability="relaxed") as back:
        back.ingest_legacy_folder(tmp_path / "out")
        (there,) = back.iter_records()
        assert told(there) == told(rec)


def test_results_of_acqstore_go_through_its_collection(
    ds: ZarrDataset, rec: ZarrImageRecord, tmp_path: Path
) -> None:
    ds.export_acq_collection(tmp_path / "out.ome.zarr")
    with ZarrDataset(tmp_path / "back.zarr", durability="relaxed") as back:
        report = back.ingest_ome_zarr(tmp_path / "out.ome.zarr")
        (there,) = back.iter_records()
        assert report.results == 6
        for before, after in zip(rec.results(), there.results(), strict=True):
            assert before.result_id == after.result_id
            assert before.made_by == after.made_by
            assert len(before.load()) == len(after.load())
