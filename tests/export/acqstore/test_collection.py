"""Collections of acqstore: written of a dataset, and read back."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kymflow_zarr import PolygonRoi, ZarrDataset
from kymflow_zarr.errors import TargetExistsError
from kymflow_zarr.export.acqstore.pools import PooledImage, peak_rows, velocity_rows
from tests.cli.run import run
from tests.ingest.sidecars.test_acqstore_sidecars import folder as folder
from tests.ingest.sidecars.test_acqstore_sidecars import sidecar, spelled


@pytest.fixture
def lab(folder: Path, tmp_path: Path) -> ZarrDataset:
    ds = ZarrDataset(tmp_path / "lab.zarr", "w")
    assert len(ds.ingest_legacy_folder(folder).ingested) == 1
    return ds


def document(root: Path, key: str) -> Any:
    return json.loads((root / key).read_text(encoding="utf-8"))


def test_images_with_sidecars_go_out_and_come_in_again_equal(
    lab: ZarrDataset, tmp_path: Path
) -> None:
    target = tmp_path / "all.ome.zarr"
    report = lab.export_acq_collection(target)
    assert report.differences == ()
    told = document(target, "acqstore/acq_image_collection.json")
    assert (told["format"], told["version"], told["name"]) == (
        "acqstore-acq-image-collection", 1, "all",
    )  # fmt: skip
    [entry] = told["acq_images"]
    assert entry["source"]["filename"] == "K1.tif"
    assert spelled(document(target, entry["sidecar_path"])) == spelled(sidecar())
    with ZarrDataset(tmp_path / "again.zarr", "w") as again:
        assert len(again.ingest_ome_zarr(target).ingested) == 1
        [before], [after] = lab.iter_records(), again.iter_records()
        assert np.array_equal(before.load_array(), after.load_array())
        assert before.axes == after.axes
        assert before.load_rois() == after.load_rois()
        assert spelled(before.load_json("acqstore/analysis")) == spelled(
            after.load_json("acqstore/analysis")
        )
        one, other = before.load_metadata_payload(), after.load_metadata_payload()
        assert one["experiment_metadata"] == other["experiment_metadata"]
        velocity, again_velocity = (
            rec.load_df_parquet("acqstore/radon_velocity") for rec in (before, after)
        )
        assert velocity["velocity"].equals(again_velocity["velocity"])
        assert velocity["image_time_s"].equals(again_velocity["image_time_s"])


def test_what_was_edited_goes_out_and_what_acqstore_cannot_say_is_named(
    lab: ZarrDataset, tmp_path: Path
) -> None:
    [rec] = lab.iter_records()
    payload = rec.load_metadata_payload()
    payload["experiment_metadata"]["note"] = "looked at"
    rec.save_metadata_payload(payload)
    rec.save_rois([*rec.load_rois(), PolygonRoi(roi_id=9, points=[(0, 0), (1, 0), (1, 1)])])
    [difference] = lab.export_acq_collection(tmp_path / "all.ome.zarr").differences
    assert "region 9 of the kind polygon" in difference.reason
    written = document(tmp_path / "all.ome.zarr", difference.path)
    assert written["experiment_metadata"]["note"] == "looked at"


def test_an_image_made_here_goes_out_with_its_steps(tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr", "w")
    pixels = np.arange(600, dtype="uint16").reshape(300, 2)
    ds.add_image(pixels, image_id="k", line_period_s=0.002, pixel_size_um=0.5)
    target = tmp_path / "all.ome.zarr"
    ds.export_acq_collection(target)
    with ZarrDataset(tmp_path / "again.zarr", "w") as again:
        again.ingest_ome_zarr(target)
        [rec] = again.iter_records()
        assert np.array_equal(rec.load_array(), pixels)
    scale = document(target, "acq_images/acq_image_000/zarr.json")["attributes"]["ome"]
    [level] = scale["multiscales"][0]["datasets"]
    assert level["coordinateTransformations"][0]["scale"] == [0.002, 0.5]


def test_a_collection_never_takes_the_place_of_something(lab: ZarrDataset, tmp_path: Path) -> None:
    target = tmp_path / "all.ome.zarr"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(TargetExistsError):
        lab.export_acq_collection(target)
    assert [path.name for path in target.iterdir()] == ["mine.txt"]


def test_the_command_writes_a_collection(lab: ZarrDataset, tmp_path: Path) -> None:
    target = tmp_path / "all.ome.zarr"
    done = run("archive", lab.path, target, "--as", "acq-collection")
    assert done.exit_code == 0
    assert (target / "acqstore/acq_image_collection.json").exists()
    assert run("archive", lab.path, target, "--as", "acq-collection").exit_code == 2


def test_pools_have_a_row_for_each_channel_and_region() -> None:
    analysis = [
        {"analysis_name": "radon_velocity", "channel": 1, "roi_id": 2,
         "summary": {"velocity_mean": -2.5, "num_windows": 3}},
        {"analysis_name": "event", "channel": 1, "roi_id": 2,
         "summary": {"events": [{"event_type": "rise", "duration": 0.5},
                                {"event_type": "user", "duration": 1.5}]}},
    ]  # fmt: skip
    image = PooledImage(
        "k.tif", "/lab/drug/day/k.tif", 2,
        {"accepted": True, "analysis": analysis, "rois": [{"roi_id": 1}, {"roi_id": 2}],
         "experiment_metadata": {"condition": "Drug"},
         "image_header_metadata": {"physical_unit_y": 0.001, "physical_unit_x": 0.5}},
    )  # fmt: skip
    rows = velocity_rows([image])
    assert [(row["channel"], row["roi_id"]) for row in rows] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert rows[3]["pool_row_id"] == "/lab/drug/day/k.tif|channel=1|roi_id=2"
    assert (rows[3]["parent"], rows[3]["grandparent"]) == ("day", "drug")
    assert (rows[3]["velocity_mean"], rows[3]["velocity_num_windows"]) == (-2.5, 3)
    assert (rows[3]["event_num_events"], rows[3]["event_mean_duration"]) == (2, 1.0)
    assert (rows[3]["event_rise_events"], rows[3]["event_fall_events"]) == (1, 0)
    assert "velocity_mean" not in rows[0]


def test_peaks_are_rows_with_widths_at_each_level() -> None:
    crossing = {"fraction": 0.5, "value": 2.0, "left_index": 1.5, "right_index": 3.5,
                "width": 2.0, "width_sec": 0.25, "status": "ok"}  # fmt: skip
    [row] = peak_rows(
        {"peak_events": [
            {"peak_id": 4, "status": "ok", "warnings": ["a", "b"], "onset": {"index": 1},
             "peak": {"index": 2, "amplitude": 1.5}, "level_crossings": [crossing],
             "features": {"auc": {"value": 3.0, "status": "ok", "reason": ""}}},
        ]}
    )  # fmt: skip
    assert (row["peak_id"], row["onset_index"], row["peak_amplitude"]) == (4, 1, 1.5)
    assert (row["width_50_points"], row["width_50_sec"], row["auc"]) == (2.0, 0.25, 3.0)
    assert (row["peak_warning_count"], row["peak_warnings_text"]) == (2, "a; b")


def test_a_real_collection_comes_back_with_the_same_bytes(
    shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "acq_collection.ome.zarr"
    ds = ZarrDataset(tmp_path / "x.zarr", "w")
    ds.ingest_ome_zarr(source)
    target = tmp_path / "acqstore_folder.ome.zarr"
    ds.export_acq_collection(target)
    keys = {str(p.relative_to(source)) for p in source.rglob("*") if p.is_file()}
    assert keys == {str(p.relative_to(target)) for p in target.rglob("*") if p.is_file()}
    # Chunks are compared by their pixels, since codecs may pack them differently.
    other = {
        key for key in keys
        if "/0/c/" not in key and (source / key).read_bytes() != (target / key).read_bytes()
    }  # fmt: skip
    assert other == {"acqstore/acq_image_collection.json"}
    [key] = other
    before, after = document(source, key), document(target, key)
    assert before.pop("created_utc") != after.pop("created_utc")
    assert before == after
    with (target / "acqstore/analysis_tables/velocity.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 8
