"""A line scan in the picture of its line, as a scene of OME-Zarr 0.6."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from ngff_zarr import NgffScene
from ngff_zarr.validate import validate

from kymflow_zarr import Axis, LineRoi, PolylineRoi, RectRoi, ZarrDataset
from kymflow_zarr.errors import ArgumentError, TargetExistsError, UnsupportedDataError
from tests.cli.run import run

LINE = [Axis("y", "time", "second", 0.002), Axis("x", "space", "micrometer", 0.5)]
PLANE = [Axis(name, "space", "micrometer", 0.25) for name in "yx"]
SCAN = np.arange(40 * 9, dtype="u2").reshape(40, 9)
CHANNELS = np.arange(2 * 12 * 16, dtype="u1").reshape(2, 12, 16)


def lab(ds: ZarrDataset, *points: tuple[float, float]) -> None:
    """Add a line scan, and a picture of two channels with the line."""
    ds.add_image(SCAN, axes=LINE, image_id="scan")
    rec = ds.add_image(CHANNELS, axes=[Axis("c", "channel"), *PLANE], image_id="picture")
    roi = LineRoi if len(points) == 2 else PolylineRoi
    rec.save_rois([roi(roi_id=1, points=points), RectRoi(roi_id=2, x0=0, x1=4, y0=0, y1=4)])


def attributes(group: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((group / "zarr.json").read_text())["attributes"]
    return found


def test_a_scene_says_where_in_the_picture_a_straight_line_was_scanned(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab(ds, (2.0, 1.0), (10.0, 7.0))
    ds.export_scene(tmp_path / "scene.zarr", "scan", "picture")
    shown, scanned = attributes(tmp_path / "scene.zarr")["ome"]["scene"][
        "coordinateTransformations"
    ]
    # The last of nine pixels is 4 um along the line; 1, y and x of the first and last pixel.
    ends = np.array(scanned["affine"]) @ [[0, 0], [0, 4.0], [1, 1]]
    np.testing.assert_allclose(ends.T, [[0.25, 0.5], [1.75, 2.5]])
    assert np.array(shown["affine"]).tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]
    assert (shown["input"]["path"], scanned["input"]["path"]) == ("picture", "scan")
    assert shown["output"] == scanned["output"] == {"name": "plane"}


def test_pixels_of_a_bent_line_lie_evenly_along_it(ds: ZarrDataset, tmp_path: Path) -> None:
    lab(ds, (0.0, 0.0), (8.0, 0.0), (8.0, 8.0))
    ds.export_scene(tmp_path / "scene.zarr", "scan", "picture")
    field: Any = zarr.open(tmp_path / "scene.zarr/coordinateTransformations/line/0", mode="r")
    values = field[...]
    assert values.shape == (2, 2, 9)
    np.testing.assert_allclose(values[:, 0], values[:, 1])
    np.testing.assert_allclose(values[:, 0].T[[0, 4, 6, 8]], [[0, 0], [0, 2], [1, 2], [2, 2]])


@pytest.mark.parametrize(
    "points", [((2.0, 1.0), (10.0, 7.0)), ((0.0, 0.0), (8.0, 0.0), (8.0, 8.0))]
)
def test_what_is_written_conforms_to_0_6_and_the_dataset_to_0_5(
    ds: ZarrDataset, tmp_path: Path, points: Any
) -> None:
    lab(ds, *points)
    root = tmp_path / "scene.zarr"
    ds.export_scene(root, "scan", "picture")
    validate(attributes(root), version="0.6", model="scene")
    for group in root.rglob("zarr.json"):
        if "multiscales" in attributes_of(group):
            validate(json.loads(group.read_text())["attributes"], version="0.6", model="image")
    for image_id in ds.list_image_ids():
        document = attributes(Path(ds.path) / "images" / image_id)
        validate(document, version="0.5", model="image")
    scene = NgffScene.from_ome_zarr(str(root), validate=True)
    assert sorted(scene.images) == ["picture", "scan"]
    np.testing.assert_array_equal(scene.images["scan"].images[0].data, SCAN)


def test_the_command_writes_a_scene(ds: ZarrDataset, tmp_path: Path) -> None:
    lab(ds, (2.0, 1.0), (10.0, 7.0))
    command = ["archive", ds.path, tmp_path / "scene.zarr", "--as", "scene"]
    assert run(*command).exit_code == 2
    assert run(*command, "--ids", "scan", "--ids", "picture").exit_code == 0
    assert "scene" in attributes(tmp_path / "scene.zarr")["ome"]


def attributes_of(document: Path) -> dict[str, Any]:
    ome: dict[str, Any] = attributes(document.parent).get("ome", {}) if document.is_file() else {}
    return ome


def test_the_images_of_a_scene_go_back_in_with_their_calibration(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab(ds, (2.0, 1.0), (10.0, 7.0))
    ds.export_scene(tmp_path / "scene.zarr", "scan", "picture")
    with ZarrDataset(tmp_path / "back.zarr") as back:
        images = [back.record(i) for i in back.ingest_ome_zarr(tmp_path / "scene.zarr").image_ids]
        steps = {rec.shape: [axis.step for axis in rec.axes] for rec in images}
    assert steps == {SCAN.shape: [0.002, 0.5], CHANNELS.shape: [None, 0.25, 0.25]}


def test_a_scene_that_cannot_be_is_refused_and_leaves_nothing(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    lab(ds, (2.0, 1.0), (10.0, 7.0))
    target = tmp_path / "out" / "scene.zarr"
    target.parent.mkdir()
    with pytest.raises(ArgumentError, match="no other image of its file"):
        ds.export_scene(target, "scan")
    with pytest.raises(UnsupportedDataError, match="no line scan"):
        ds.export_scene(target, "picture", "picture")
    ds.record("picture").save_rois([])
    with pytest.raises(ArgumentError, match="0 regions that are lines"):
        ds.export_scene(target, "scan", "picture")
    assert list(target.parent.iterdir()) == []
    lab_file = tmp_path / "mine"
    lab_file.write_text("mine")
    ds.record("picture").save_rois([LineRoi(roi_id=1, points=((0, 0), (3, 3)))])
    with pytest.raises(TargetExistsError):
        ds.export_scene(lab_file, "scan", "picture")
    assert lab_file.read_text() == "mine"
