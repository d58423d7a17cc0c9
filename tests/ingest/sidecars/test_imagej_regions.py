"""Files of regions of ImageJ beside images."""

from __future__ import annotations

import filecmp
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from kymflow_zarr import LineRoi, PolygonRoi, RectRoi, ZarrDataset

pytest.importorskip("roifile", reason="roifile is not installed")

BOX = RectRoi(roi_id=1, x0=2, x1=9, y0=10, y1=60, name="vessel")
PATH = LineRoi(roi_id=2, points=[(0, 9), (15, 2)], name="track")
CELL = PolygonRoi(roi_id=3, points=[(1, 1), (9, 1), (9, 7)], name="cell")


def write_rois(path: Path, *rois: Any) -> None:
    with ZarrDataset(f"memory://rois-{path.stem}", "w") as ds:
        rec = ds.add_image(np.ones((200, 16), "u1"))
        rec.export_rois(path, rois=rois)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    lab = tmp_path / "lab"
    lab.mkdir()
    for first, name in enumerate(("a", "b")):
        tifffile.imwrite(lab / f"{name}.tif", np.arange(3200, dtype="u2").reshape(200, 16) + first)
    write_rois(lab / "a_RoiSet.zip", BOX, PATH)
    write_rois(lab / "b.zip", CELL)
    return lab


def test_regions_beside_an_image_are_regions_of_it(ds: ZarrDataset, lab: Path) -> None:
    report = ds.ingest_legacy_folder(lab)
    assert [(item.status, item.reason) for item in report.items] == [("ingested", None)] * 2
    a, b = (ds.record(image_id) for image_id in report.image_ids)
    assert [(roi.roi_id, roi.roi_type, roi.name) for roi in a.load_rois()] == [
        (1, "rect", "vessel"), (2, "line", "track"),
    ]  # fmt: skip
    [cell] = b.load_rois()
    assert isinstance(cell, PolygonRoi)
    assert cell.points == CELL.points
    assert ds.validate().ok


def test_the_folder_comes_back_with_its_files_of_regions_after_edits_too(
    ds: ZarrDataset, lab: Path, tmp_path: Path
) -> None:
    report = ds.ingest_legacy_folder(lab)
    export = ds.export_legacy_folder(tmp_path / "back", layout="kymflow")
    assert export.differences == ()
    assert filecmp.cmp(lab / "a_RoiSet.zip", tmp_path / "back/a_RoiSet.zip", shallow=False)
    rec = ds.record(report.image_ids[0])
    rec.save_rois([BOX])
    ds.export_legacy_folder(tmp_path / "edited", layout="kymflow")
    assert filecmp.cmp(lab / "a_RoiSet.zip", tmp_path / "edited/a_RoiSet.zip", shallow=False)
    with ZarrDataset(tmp_path / "again.zarr", "w") as again:
        taken = again.ingest_legacy_folder(tmp_path / "edited")
        regions = again.record(taken.image_ids[0]).load_rois()
        assert [roi.name for roi in regions] == ["vessel"]


def test_regions_of_the_metadata_go_first_and_the_report_says_so(
    ds: ZarrDataset, lab: Path
) -> None:
    payload = {"version": "2.0", "header": {}, "experiment_metadata": {}}
    (lab / "b.json").write_text(json.dumps(payload | {"rois": [BOX.to_dict()]}))
    report = ds.ingest_legacy_folder(lab)
    assert "b.zip was kept as it is: the metadata have regions" in str(report.items[1].reason)
    [roi] = ds.record(report.image_ids[1]).load_rois()
    assert roi.name == "vessel"


def test_an_archive_without_regions_is_stored_and_named(ds: ZarrDataset, lab: Path) -> None:
    (lab / "b.zip").write_bytes(b"PK\5\6" + bytes(18))
    report = ds.ingest_legacy_folder(lab)
    assert str(report.items[1].reason) == "b.zip holds no regions; it was kept as it is"
    assert ds.record(report.image_ids[1]).load_rois() == []


def test_regions_that_changed_are_taken_in_by_a_refresh(ds: ZarrDataset, lab: Path) -> None:
    ds.ingest_legacy_folder(lab)
    (lab / "b.zip").unlink()
    write_rois(lab / "b.zip", CELL, BOX)
    ds.refresh_from_folder(lab, mode="reingest_if_changed")
    rec = ds.find("b.tif")
    assert [roi.name for roi in rec.load_rois()] == ["cell", "vessel"]
