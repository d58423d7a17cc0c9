"""Regions that are lines, areas and points: values, pixels, checks and pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

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
from kymflow_zarr.engine.rois.values import KnownRoi, roi_from_dict
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError

PIXELS = np.arange(12 * 20, dtype=np.uint16).reshape(12, 20)
LINE = LineRoi(roi_id=1, name="wall", points=[(2, 9), (6, 1)])
SHAPES: list[KnownRoi] = [
    LINE,
    PolylineRoi(roi_id=2, points=[(0, 0), (3, 0), (3, 2)]),
    PolygonRoi(roi_id=3, points=[(1.5, 1.5), (4.5, 1.5), (4.5, 3.5), (1.5, 3.5)]),
    EllipseRoi(roi_id=4, x=10, y=5, radius_x=3, radius_y=2),
    PointsRoi(roi_id=5, points=[(19, 11), (0.4, 0.6)]),
]


@pytest.fixture
def rec(tmp_path: Path) -> ZarrImageRecord:
    return ZarrDataset(tmp_path / "x.zarr").add_image(PIXELS)


def test_regions_of_every_kind_come_back_equal(rec: ZarrImageRecord) -> None:
    rec.save_rois(SHAPES)
    assert rec.load_rois() == SHAPES
    assert [roi_from_dict(roi.to_dict()) for roi in SHAPES] == SHAPES
    listed = rec.load_metadata_payload()["rois"]
    assert [roi["roi_type"] for roi in listed] == [
        "line", "polyline", "polygon", "ellipse", "points",
    ]  # fmt: skip
    assert listed[0]["data"] == {"points": [[2.0, 9.0], [6.0, 1.0]]}


def test_a_line_gives_its_profile_from_start_to_end(rec: ZarrImageRecord) -> None:
    profile = rec.roi_pixels(LINE)
    assert profile.shape == (9,)
    assert (profile[0], profile[-1]) == (PIXELS[9, 2], PIXELS[1, 6])
    assert rec.roi_pixels(SHAPES[1]).tolist() == [0, 1, 2, 3, 23, 43]


def test_an_area_gives_the_pixels_whose_center_is_inside(rec: ZarrImageRecord) -> None:
    rectangle = RectRoi(roi_id=9, x0=2, x1=5, y0=2, y1=4)
    assert rec.roi_pixels(SHAPES[2]).tolist() == rec.roi_pixels(rectangle).ravel().tolist()
    y, x = np.mgrid[:12, :20]
    inside = ((x - 10) / 3) ** 2 + ((y - 5) / 2) ** 2 <= 1
    assert rec.roi_pixels(SHAPES[3]).tolist() == PIXELS[inside].tolist()
    assert rec.roi_statistics(SHAPES[3]).n == inside.sum()


def test_a_polygon_that_crosses_itself_leaves_out_what_is_surrounded_twice(
    rec: ZarrImageRecord,
) -> None:
    twice = PolygonRoi(roi_id=1, points=[(-0.5, -0.5), (3.5, -0.5), (3.5, 3.5), (-0.5, 3.5)] * 2)
    assert rec.roi_pixels(twice).size == 0
    hourglass = PolygonRoi(roi_id=1, points=[(0, 0), (8, 0), (0, 8), (8, 8)])
    chosen = set(rec.roi_pixels(hourglass).tolist())
    assert PIXELS[1, 4] in chosen
    assert PIXELS[4, 1] not in chosen


def test_points_give_the_pixels_that_they_lie_in(rec: ZarrImageRecord) -> None:
    assert rec.roi_pixels(SHAPES[4]).tolist() == [PIXELS[11, 19], PIXELS[1, 0]]


def test_an_ellipse_turned_by_a_right_angle_has_its_diameters_exchanged(
    rec: ZarrImageRecord,
) -> None:
    turned = EllipseRoi(roi_id=1, x=10, y=5, radius_x=2, radius_y=3, angle_deg=90)
    assert rec.roi_pixels(turned).tolist() == rec.roi_pixels(SHAPES[3]).tolist()


def test_areas_at_the_edge_are_cut_there(rec: ZarrImageRecord) -> None:
    edge = EllipseRoi(roi_id=1, x=0, y=0, radius_x=1, radius_y=1)
    rec.save_rois([edge])
    assert rec.roi_pixels(edge).tolist() == [0, 1, 20]


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: LineRoi(roi_id=1, points=[(0, 0)]), ArgumentError, "a line has 2 points, not 1"),
        (lambda: PolygonRoi(roi_id=1, points=[(0, 0)] * 2), ArgumentError, "at least 3 points"),
        (lambda: PointsRoi(roi_id=1, points=[(0, float("nan"))]), ArgumentError, "not finite"),
        (
            lambda: PointsRoi(roi_id=1, points=cast("Any", [1, 2])),
            ArgumentTypeError,
            "pairs of x and y",
        ),
        (
            lambda: EllipseRoi(roi_id=1, x=0, y=0, radius_x=0, radius_y=1),
            ArgumentError,
            "radius_x is 0.0",
        ),
    ],
)
def test_a_region_without_a_meaning_is_refused(make: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        make()


def test_a_line_that_leaves_the_image_is_refused_and_nothing_is_written(
    rec: ZarrImageRecord,
) -> None:
    rec.save_rois([LINE])
    with pytest.raises(ArgumentError, match=r"points is 20.0, outside of the image, .*20 columns"):
        rec.save_rois([LineRoi(roi_id=1, points=[(0, 0), (20, 3)])])
    assert rec.load_rois() == [LINE]


def test_a_kind_that_is_not_known_hides_no_other_region(rec: ZarrImageRecord) -> None:
    spline = {"roi_type": "spline", "roi_id": 7, "data": {"knots": [1, 2]}, "color": "red"}
    rec.save_rois(SHAPES)
    payload = rec.load_metadata_payload()
    payload["rois"].insert(0, spline)
    rec.save_metadata_payload(payload)
    first, *others = rec.load_rois()
    assert (first.roi_type, first.roi_id, others) == ("unknown", 7, SHAPES)
    rec.save_rois([first, *others])
    assert rec.load_metadata_payload()["rois"][0] == spline
    assert "spline" in rec._repr_html_()


def test_validate_names_a_line_that_lies_outside(tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr")
    rec = ds.add_image(PIXELS)
    rec.save_rois(SHAPES)
    assert ds.validate().problems == ()
    payload = rec.load_metadata_payload()
    payload["rois"][0]["data"]["points"][1] = [6, 99]
    rec.save_metadata_payload(payload)
    (found,) = ds.validate().problems
    assert found.code == "roi-outside"
    assert "points is 99.0" in found.message


def test_the_notebook_and_plots_draw_every_kind(rec: ZarrImageRecord) -> None:
    rec.save_rois(SHAPES)
    html = rec._repr_html_()
    assert html.count("<polyline") == 2
    assert html.count("<polygon") == 2
    assert html.count("<circle") == 2
    assert "line from row 9, column 2 to row 1, column 6" in html
    ax = rec.plot(scale_bar=False)
    assert [line.get_label() for line in ax.lines] == [f"ROI {i}" for i in range(1, 6)]
    assert np.array(ax.lines[0].get_data()).tolist() == [[2.5, 6.5], [9.5, 1.5]]
