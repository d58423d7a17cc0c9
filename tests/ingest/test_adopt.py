"""Results of what other programs have left: run markers, and velocities of regions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import RectRoi, ZarrDataset, ZarrImageRecord
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
    assert one.load()["velocity"].tolist() == [1.0, 2.0]
    assert ds.stale()[["roi_id", "reason"]].to_numpy().tolist() == [
        [2, "region 2 changed: revision 0 -> 1"]
    ]
    with rec.edit(who="maria") as edit:
        edit.save_roi({"roi_id": 1, "data": {"x0": 1, "x1": 4, "y0": 0, "y1": 9}})
    assert rec.result("velocity", roi=1).reasons[0].startswith("region 1 was moved on ")


@pytest.mark.parametrize(("rows", "status"), [(3, "ok"), (0, "empty")])
def test_run_markers_tell_computed_and_empty_from_never_computed(
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
        # A table that differs from its marker is no matter of the image.
        of_table = answer["reason"] in ("STALE_MARKER_TABLE_MISMATCH", "STALE_UNKNOWN")
        if answer["has_run_marker"] and not of_table:
            assert (key in stale) == answer["is_stale"], answer
