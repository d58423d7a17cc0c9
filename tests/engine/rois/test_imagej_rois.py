"""Regions from and to the files of ImageJ."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import roifile
from roifile import ROI_TYPE, ImagejRoi

from kymflow_zarr import (
    EllipseRoi,
    LineRoi,
    PointsRoi,
    PolygonRoi,
    PolylineRoi,
    RectRoi,
    ZarrDataset,
    ZarrImageRecord,
)
from kymflow_zarr.engine.rois.values import Roi
from kymflow_zarr.errors import ArgumentError, SourceFileError, UnsupportedDataError


@pytest.fixture
def rec(tmp_path: Path) -> ZarrImageRecord:
    return ZarrDataset(tmp_path / "x.zarr").add_image(np.ones((2, 3, 60, 80), "u2"))


def regions_in(path: Path) -> list[ImagejRoi]:
    read = roifile.roiread(path)
    assert isinstance(read, list)
    return read


def rectangle(left: int, top: int, right: int, bottom: int, name: str = "") -> ImagejRoi:
    roi = ImagejRoi()
    roi.roitype, roi.name = ROI_TYPE.RECT, name
    roi.left, roi.top, roi.right, roi.bottom = left, top, right, bottom
    return roi


def test_a_rectangle_of_imagej_covers_the_same_pixels(rec: ZarrImageRecord, tmp_path: Path) -> None:
    roi = rectangle(3, 5, 13, 9, "vessel")
    roi.c_position, roi.z_position = 2, 3
    roi.tofile(tmp_path / "vessel.roi")
    (found,) = rec.ingest_rois(tmp_path / "vessel.roi")
    assert found == RectRoi(roi_id=1, name="vessel", x0=3, x1=13, y0=5, y1=9, channel=2, z=2)
    assert rec.load_rois() == [found]


def test_a_polygon_drawn_around_pixels_covers_them(rec: ZarrImageRecord, tmp_path: Path) -> None:
    roi = ImagejRoi.frompoints(np.array([[2, 2], [5, 2], [5, 4], [2, 4]]), name="p")
    roi.roitype = ROI_TYPE.POLYGON
    roifile.roiwrite(tmp_path / "set.zip", [roi, rectangle(2, 2, 5, 4, "r")])
    polygon, box = rec.ingest_rois(tmp_path / "set.zip")
    assert isinstance(polygon, PolygonRoi)
    assert isinstance(box, RectRoi)
    assert rec.roi_statistics(polygon).n == rec.roi_statistics(box).n == 6


def test_every_kind_goes_to_imagej_and_back(rec: ZarrImageRecord, tmp_path: Path) -> None:
    rois: list[Roi] = [
        RectRoi(roi_id=1, name="r", x0=1, x1=5, y0=2, y1=9, channel=2, z=1),
        LineRoi(roi_id=2, name="l", points=[(5.25, 9), (3, 1.5)]),
        PolylineRoi(roi_id=3, name="pl", points=[(1, 1), (2.5, 4), (7, 7)]),
        PolygonRoi(roi_id=4, name="pg", points=[(1, 1), (12.5, 4), (7, 17)]),
        EllipseRoi(roi_id=5, name="e", x=20.5, y=30, radius_x=4, radius_y=2.5),
        EllipseRoi(roi_id=6, name="t", x=20, y=30, radius_x=8, radius_y=4, angle_deg=30),
        PointsRoi(roi_id=7, name="pt", points=[(1, 2), (3.5, 4)]),
    ]
    rec.save_rois(rois)
    rec.export_rois(tmp_path / "out.zip")
    read = regions_in(tmp_path / "out.zip")
    assert [roi.name for roi in read] == ["r", "l", "pl", "pg", "e", "t", "pt"]
    rec.save_rois([])
    back = rec.ingest_rois(tmp_path / "out.zip")
    for old, new in zip(rois, back, strict=True):
        assert type(old) is type(new)
        before, after = old.to_dict(), new.to_dict()
        assert {k: v for k, v in after.items() if k != "data"} == {
            k: v for k, v in before.items() if k != "data"
        }
        for key, value in before["data"].items():
            np.testing.assert_allclose(after["data"][key], value, rtol=1e-5)


def test_a_composite_survives_and_goes_back_as_it_was(rec: ZarrImageRecord, tmp_path: Path) -> None:
    roi = rectangle(0, 0, 9, 9, "ring")
    roi.multi_coordinates = np.array([0, 0, 0, 1, 9, 0, 1, 9, 9, 4], "f4")
    roi.shape_roi_size = 10
    roi.tofile(tmp_path / "ring.roi")
    (found,) = rec.ingest_rois(tmp_path / "ring.roi")
    assert (found.roi_type, found.name) == ("unknown", "ring")
    assert [(other.roi_type, other.roi_id) for other in rec.load_rois()] == [("unknown", 1)]
    rec.export_rois(tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.read("ring.roi") == (tmp_path / "ring.roi").read_bytes()


def test_a_mask_becomes_a_composite_of_its_pixels(rec: ZarrImageRecord, tmp_path: Path) -> None:
    mask = np.zeros((60, 80), bool)
    mask[3, 4:9] = mask[4, 6] = mask[10, 0] = True
    rec.save_mask("cell", mask)
    rec.export_rois(tmp_path / "out.zip")
    (read,) = regions_in(tmp_path / "out.zip")
    runs = read.coordinates(multi=True)
    assert sum(int(np.ptp(run[:, 0]) * np.ptp(run[:, 1])) for run in runs) == mask.sum()
    assert (read.left, read.top, read.right, read.bottom) == (0, 3, 9, 11)


def test_regions_join_those_that_are_there(rec: ZarrImageRecord, tmp_path: Path) -> None:
    rec.save_rois([RectRoi(roi_id=4, x0=0, x1=1, y0=0, y1=1)])
    rectangle(3, 5, 13, 9).tofile(tmp_path / "a.roi")
    rec.ingest_rois(tmp_path / "a.roi")
    assert [roi.roi_id for roi in rec.load_rois()] == [4, 5]


def test_files_that_are_no_regions_change_nothing(rec: ZarrImageRecord, tmp_path: Path) -> None:
    (tmp_path / "bad.roi").write_bytes(b"Iout" + bytes(8))
    (tmp_path / "empty.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    rectangle(3, 5, 900, 9).tofile(tmp_path / "wide.roi")
    for name in ("bad.roi", "empty.zip"):
        with pytest.raises(SourceFileError, match="regions"):
            rec.ingest_rois(tmp_path / name)
    with pytest.raises(ArgumentError, match="x1 is 900"):
        rec.ingest_rois(tmp_path / "wide.roi")
    with pytest.raises(FileNotFoundError):
        rec.ingest_rois(tmp_path / "none.roi")
    assert rec.load_rois() == []


def test_a_region_unknown_to_imagej_too_is_refused_by_its_name(
    rec: ZarrImageRecord, tmp_path: Path
) -> None:
    spline = {"roi_type": "spline", "roi_id": 7, "data": {}}
    rec.save_metadata_payload({"version": "2.0", "rois": [spline]})
    with pytest.raises(UnsupportedDataError, match="region 7 has no counterpart"):
        rec.export_rois(tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()
    rec.export_rois(tmp_path / "out.zip", rois=[])
    with pytest.raises(FileExistsError):
        rec.export_rois(tmp_path / "out.zip", rois=[])
