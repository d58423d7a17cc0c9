"""Folders that acqstore and CloudScope analyzed: everything they wrote goes in, and comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import LineRoi, RectRoi, ZarrDataset, ZarrImageRecord
from tests.helpers.kymflow_tree import contents_of

STATS = {"n": 2, "mean": -50.0, "min": -51.0, "max": -49.0, "std": 1.4, "se": 1.0, "cv": 0.02}


def sidecar(**changed: Any) -> dict[str, Any]:
    texts = (
        "species region cell_type direction sex genotype age condition condition2 treatment "
        "treatment2 date note"
    )
    return {
        "version": 2,
        "accepted": False,
        "rois": [
            {
                "roi_id": 1, "roi_type": "rectroi", "version": "1.0", "name": "left", "note": "",
                "data": {"row_start": 100, "row_stop": 180, "col_start": 4, "col_stop": 12},
            },
            {
                "roi_id": 3, "roi_type": "linesegmentroi", "version": "1.0", "name": "",
                "note": "n",
                "data": {"row0": 30, "col0": 2, "row1": 10, "col1": 15},
            },
        ],
        "experiment_metadata": {**dict.fromkeys(texts.split(), ""), "depth": 75.5,
                                "branch_order": None, "condition": "ctrl", "note": "µ"},
        "image_header_metadata": {
            "shape": "(200, 16)", "dims": "('Y', 'X')", "sizes": "{'Y': 200, 'X': 16}",
            "dtype": "uint16", "num_channels": 1, "num_scenes": 1, "date": "20251030",
            "time": "12:13:14", "physical_unit_y": 0.002, "physical_unit_x": 0.5,
            "physical_label_y": "s", "physical_label_x": "um",
        },
        "image_contrast": {"0": {"color_lut": "Gray", "value_min": 1, "value_max": 9}},
        "analysis": [
            {
                "analysis_name": "radon_velocity", "channel": 0, "roi_id": 1,
                "detection_params": {"window_width": 16},
                "summary": {"num_windows": 2, "velocity_mean": float("nan"), "analysis_version": 1},
            },
            {
                "analysis_name": "event", "channel": 0, "roi_id": 1,
                "detection_params": {"pre_post_win_sec": 0.5},
                "summary": {
                    "version": 2, "parent_analysis_name": "radon_velocity",
                    "events": [{"id": 1, "x0": 0.06, "x1": 0.04, "event_type": "user",
                                "duration": 0.02, "event_stats": STATS}],
                },
            },
        ],
    } | changed  # fmt: skip


VELOCITY = (
    "channel,roi_id,time_s,time_index,theta_deg,velocity\n"
    "0,1,0.016,8.0,106.25,-70.8\n0,1,0.024,12.0,0.0,\n"
)
DIAMETER = (
    "channel,roi_id,time_s,center_row,left_edge_px,diameter_um,qc_score\n1,1,0.01,5,2.5,3.25,1.0\n"
)


def spelled(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lab = tmp_path / "lab"
    lab.mkdir()
    tifffile.imwrite(lab / "K1.tif", np.arange(3200, dtype="u2").reshape(200, 16))
    (lab / "K1.tif.json").write_text(spelled(sidecar()))
    (lab / "K1.tif.radon_velocity.csv").write_text(VELOCITY)
    (lab / "K1.tif.diameter.csv").write_text(DIAMETER)
    return lab


@pytest.fixture
def rec(ds: ZarrDataset, folder: Path) -> ZarrImageRecord:
    (item,) = ds.ingest_legacy_folder(folder).items
    assert (item.status, item.reason) == ("ingested", None)
    return ds.record(str(item.image_id))


def test_calibration_metadata_and_judgement_come_out(rec: ZarrImageRecord) -> None:
    y, x = rec.axes
    assert (y.quantity, y.unit, y.step) == ("time", "second", 0.002)
    assert (x.quantity, x.unit, x.step) == ("space", "micrometer", 0.5)
    payload = rec.load_metadata_payload()
    assert payload["experiment_metadata"] == sidecar()["experiment_metadata"]
    assert payload["accepted"] is False
    assert payload["image_contrast"] == sidecar()["image_contrast"]
    when = pd.Timestamp(payload["header"]["acquired_local_epoch_ns"])
    assert str(when) == "2025-10-30 12:13:14"


def test_regions_are_rectangles_and_directed_lines(rec: ZarrImageRecord) -> None:
    assert rec.load_rois() == [
        RectRoi(roi_id=1, name="left", x0=4, x1=12, y0=100, y1=180),
        LineRoi(roi_id=3, note="n", points=[(2, 30), (15, 10)]),
    ]


def test_a_region_of_a_kind_to_come_hides_neither_metadata_nor_analyses(
    ds: ZarrDataset, folder: Path
) -> None:
    spline = {"roi_id": 9, "roi_type": "splineroi", "data": {"knots": [1]}, "name": "s"}
    (folder / "K1.tif.json").write_text(spelled(sidecar(rois=[spline, *sidecar()["rois"]])))
    (image_id,) = ds.ingest_legacy_folder(folder).image_ids
    rec = ds.record(image_id)
    first, *others = rec.load_rois()
    assert (first.roi_type, first.name, len(others)) == ("unknown", "s", 2)
    assert rec.load_metadata_payload()["rois"][0] == spline
    assert len(rec.load_json("acqstore/analysis")) == 2


def test_a_rectangle_without_all_its_sides_is_named(ds: ZarrDataset, folder: Path) -> None:
    region = {"roi_id": 1, "roi_type": "rectroi", "data": {"row_start": 3}}
    (folder / "K1.tif.json").write_text(spelled(sidecar(rois=[region])))
    (image_id,) = ds.ingest_legacy_folder(folder).image_ids
    (roi,) = ds.record(image_id).load_rois()
    assert roi.roi_type == "unknown"


def test_each_analysis_keeps_its_parameters_and_program(rec: ZarrImageRecord) -> None:
    velocity, event = rec.load_json("acqstore/analysis")
    assert (velocity["program"], velocity["channel"], velocity["channel_index"]) == (
        "acqstore", 1, 0,
    )  # fmt: skip
    assert velocity["detection_params"] == {"window_width": 16}
    assert np.isnan(velocity["summary"]["velocity_mean"])
    assert event["detection_params"] == {"pre_post_win_sec": 0.5}


def test_tables_keep_their_numbers_and_say_where_in_the_image_they_are(
    rec: ZarrImageRecord,
) -> None:
    velocity = rec.load_df_parquet("acqstore/radon_velocity")
    assert velocity["velocity"].tolist()[0] == -70.8
    assert velocity["velocity"].isna().tolist() == [False, True]
    # The region begins at row 100: 0.2 s after the image.
    np.testing.assert_allclose(velocity["image_time_s"], [0.216, 0.224])
    assert velocity["time_s"].tolist() == [0.016, 0.024]
    assert velocity["channel"].tolist() == [1, 1]
    assert velocity.attrs["program"] == "acqstore"
    assert velocity.attrs["units"]["velocity"].startswith("um/s")
    diameter = rec.load_df_parquet("acqstore/diameter")
    assert diameter["channel"].tolist() == [2]
    assert diameter["image_center_row"].tolist() == [105]
    assert diameter["image_left_edge_px"].tolist() == [6.5]


def test_events_have_their_ends_in_order_on_the_time_of_the_image(rec: ZarrImageRecord) -> None:
    (event,) = rec.load_df_parquet("acqstore/event").to_dict("records")
    assert (event["x0"], event["x1"]) == (0.06, 0.04)
    np.testing.assert_allclose([event["t_start_s"], event["t_end_s"]], [0.24, 0.26])
    assert event["event_stats_mean"] == -50.0


def test_an_event_analysis_that_found_nothing_is_a_table_without_rows(
    ds: ZarrDataset, folder: Path
) -> None:
    runs = sidecar()["analysis"]
    runs[1]["summary"]["events"] = []
    (folder / "K1.tif.json").write_text(spelled(sidecar(analysis=runs)))
    (image_id,) = ds.ingest_legacy_folder(folder).image_ids
    assert len(ds.record(image_id).load_df_parquet("acqstore/event")) == 0


@pytest.mark.parametrize(
    ("label", "value", "axis"),
    [
        ("Pixels", 1.0, (None, None)),
        ("X", 1.0, (None, None)),
        ("X", 1.5e-7, ("meter", 1.5e-7)),
        ("seconds", 0.001, (None, None)),
    ],
)
def test_a_label_without_a_unit_is_not_taken_for_micrometers(
    ds: ZarrDataset, folder: Path, label: str, value: float, axis: tuple[str | None, float | None]
) -> None:
    header = sidecar()["image_header_metadata"]
    header |= {"physical_label_x": label, "physical_unit_x": value}
    (folder / "K1.tif.json").write_text(spelled(sidecar(image_header_metadata=header)))
    (item,) = ds.ingest_legacy_folder(folder).items
    x = ds.record(str(item.image_id)).axes[1]
    assert (x.unit, x.step) == axis
    assert ("taken as meters" in str(item.reason)) == (value == 1.5e-7)


def test_another_version_is_stored_and_named_as_that_of_the_program(
    ds: ZarrDataset, folder: Path
) -> None:
    (folder / "K1.tif.json").write_text(spelled(sidecar(version=3)))
    (item,) = ds.ingest_legacy_folder(folder).items
    assert "K1.tif.json was not understood: it looks like a sidecar of acqstore" in str(item.reason)


@pytest.mark.parametrize("layout", ["kymflow", "acqstore"])
def test_an_unedited_folder_comes_back_byte_for_byte(
    ds: ZarrDataset, folder: Path, tmp_path: Path, layout: Any
) -> None:
    ds.ingest_legacy_folder(folder)
    report = ds.export_legacy_folder(tmp_path / "out", layout=layout)
    assert (report.failed, report.differences) == ((), ())
    before, after = contents_of(folder), contents_of(tmp_path / "out")
    assert before == after


def test_what_was_edited_goes_back_into_the_sidecar(
    ds: ZarrDataset, rec: ZarrImageRecord, tmp_path: Path
) -> None:
    payload = rec.load_metadata_payload()
    payload["experiment_metadata"]["note"] = "new"
    payload["accepted"] = True
    rec.save_metadata_payload(payload)
    rec.save_rois([*rec.load_rois(), RectRoi(roi_id=4, x0=1, x1=2, y0=3, y1=4)])
    report = ds.export_legacy_folder(tmp_path / "out", layout="acqstore")
    assert [(d.path, d.reason) for d in report.differences] == [
        ("K1.tif.json", "edited in the dataset")
    ]
    text = (tmp_path / "out" / "K1.tif.json").read_text()
    wanted = sidecar(accepted=True)
    wanted["experiment_metadata"]["note"] = "new"
    wanted["rois"].append(
        {"roi_id": 4, "roi_type": "rectroi", "version": "1.0", "name": "", "note": "",
         "data": {"row_start": 3, "row_stop": 4, "col_start": 1, "col_stop": 2}}
    )  # fmt: skip
    assert text == spelled(wanted)


def test_a_region_that_moved_loses_what_was_measured_in_it_and_the_report_says_so(
    ds: ZarrDataset, rec: ZarrImageRecord, tmp_path: Path
) -> None:
    _, line = rec.load_rois()
    rec.save_rois([RectRoi(roi_id=1, name="left", x0=5, x1=12, y0=100, y1=180), line])
    report = ds.export_legacy_folder(tmp_path / "out", layout="acqstore")
    (difference,) = report.differences
    assert "radon_velocity of the changed region 1" in difference.reason
    written = json.loads((tmp_path / "out" / "K1.tif.json").read_text())
    assert written["analysis"] == []
    assert written["rois"][0]["data"]["col_start"] == 5


def test_an_image_made_here_gets_a_sidecar_that_their_program_reads(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    rec = ds.add_image(np.ones((2, 30, 8), "u2"), axes="cyx", image_id="new")
    rec.save_rois([RectRoi(roi_id=2, x0=1, x1=4, y0=0, y1=30)])
    ds.export_legacy_folder(tmp_path / "out", layout="acqstore")
    written = json.loads((tmp_path / "out" / "new.tif.json").read_text())
    assert written["version"] == 2
    assert written["image_header_metadata"]["dims"] == "('C', 'Y', 'X')"
    assert written["image_header_metadata"]["num_channels"] == 2
    assert [roi["roi_type"] for roi in written["rois"]] == ["rectroi"]
    assert not list((tmp_path / "out").glob("new.tif.*.csv"))
    again = ZarrDataset(tmp_path / "again.zarr")
    (image_id,) = again.ingest_legacy_folder(tmp_path / "out").image_ids
    assert again.record(image_id).load_rois() == rec.load_rois()


def test_files_of_known_programs_that_were_not_understood_are_named_as_such(
    ds: ZarrDataset, folder: Path
) -> None:
    (folder / "pool.csv").write_text("pool_row_id,path,velocity_mean\na|channel=0|roi_id=1,/x,1\n")
    (folder / "list.csv").write_text("_rel_path,_group\nK1.tif,ctrl\n")
    (folder / "K9.tif.json").write_text(spelled(sidecar()))
    (folder / "other.csv").write_text("a,b\n1,2\n")
    reasons = {Path(i.path).name: str(i.reason) for i in ds.ingest_legacy_folder(folder).unmatched}
    assert reasons["pool.csv"].startswith("it looks like a table of acqstore over a folder")
    assert reasons["list.csv"].startswith("it looks like a list of files of acqstore")
    assert reasons["K9.tif.json"].startswith("it looks like a sidecar of acqstore")
    assert "looks like" not in reasons["other.csv"]


def test_every_value_of_a_real_folder_comes_out(
    ds: ZarrDataset, shared_data: Path, tmp_path: Path
) -> None:
    real = shared_data / "acqstore_folder"
    assert len(ds.ingest_legacy_folder(real).ingested) == 4
    regions = analyses = tables = calibrated = told = contrasts = 0
    for rec in ds.iter_records():
        assert rec.source is not None
        image = real / rec.source.rel_path
        raw = json.loads(Path(f"{image}.json").read_text())
        payload = rec.load_metadata_payload()
        calibrated += sum(axis.step is not None for axis in rec.axes)
        assert [axis.step for axis in rec.axes][-2:] == [
            raw["image_header_metadata"][f"physical_unit_{name}"] for name in "yx"
        ]
        assert payload["experiment_metadata"] == raw["experiment_metadata"]
        told += sum(value not in ("", None) for value in raw["experiment_metadata"].values())
        assert payload["accepted"] == raw["accepted"]
        contrasts += len(payload["image_contrast"])
        regions += len([roi for roi in rec.load_rois() if roi.roi_type != "unknown"])
        analyses += len(rec.load_json("acqstore/analysis"))
        for csv in image.parent.glob(f"{image.name}.*.csv"):
            frame = rec.load_df_parquet(f"acqstore/{csv.name.split('.')[-2]}")
            written = pd.read_csv(csv)
            tables += 1
            for column in set(written.columns) - {"channel"}:
                ours = pd.to_numeric(frame[column]).to_numpy("float64", na_value=np.nan)
                np.testing.assert_array_equal(ours, written[column].to_numpy("float64"))
    assert (calibrated, regions, told, analyses, tables, contrasts) == (8, 8, 25, 12, 6, 3)
    report = ds.export_legacy_folder(tmp_path / "out", layout="acqstore")
    assert (report.failed, report.differences) == ((), ())
    assert contents_of(tmp_path / "out") == contents_of(real)
