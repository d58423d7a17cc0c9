"""Label images lie over their image in every OME-Zarr viewer, and are array artifacts too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr

from kymflow_zarr import EllipseRoi, MaskRoi, RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import ArtifactNotFoundError, InvalidNameError, UnsupportedDataError
from kymflow_zarr.formats.array.reduce import reduced


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / "x.zarr", mode="w-", durability="relaxed") as dataset:
        yield dataset


@pytest.fixture
def rec(ds: ZarrDataset) -> ZarrImageRecord:
    return ds.add_image(
        np.zeros((2, 30, 20), "uint16"), image_id="a", axes="cyx", pixel_size_um=0.5
    )


CELLS: npt.NDArray[Any] = np.arange(600, dtype="int32").reshape(30, 20) // 50


def group_of(ds: ZarrDataset) -> Path:
    return Path(ds.location) / "images" / "a"


def ome_of(path: Path) -> Any:
    return json.loads((path / "zarr.json").read_text())["attributes"]["ome"]


def test_labels_are_stored_as_ome_zarr_has_them(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    assert rec.save_labels("cells", CELLS) == "images/a/labels/cells"
    np.testing.assert_array_equal(rec.load_labels("cells"), CELLS, strict=True)
    assert rec.list_labels() == ["cells"]
    labels = group_of(ds) / "labels"
    assert ome_of(labels) == {"version": "0.5", "labels": ["cells"]}
    ome = ome_of(labels / "cells")
    assert ome["image-label"] == {"source": {"image": "../../"}}
    [scale] = ome["multiscales"]
    assert [axis["name"] for axis in scale["axes"]] == ["y", "x"]
    assert scale["datasets"][0]["coordinateTransformations"][0]["scale"] == [0.5, 0.5]
    array = zarr.open_group(labels / "cells", mode="r")[scale["datasets"][0]["path"]]
    assert isinstance(array, zarr.Array)
    np.testing.assert_array_equal(array[...], CELLS)
    assert ds.verify().ok
    assert ds.validate().problems == ()


def test_labels_are_array_artifacts_and_stored_once(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    rec.save_array_artifact("labels/cells", CELLS + 1)  # As an earlier version stored them.
    rec.save_labels("cells", CELLS)
    assert rec.list_array_artifacts() == ["labels/cells"]
    np.testing.assert_array_equal(rec.load_array_artifact("labels/cells"), CELLS)
    assert list((group_of(ds) / "analysis_arrays").iterdir()) == [
        group_of(ds) / "analysis_arrays" / "zarr.json"
    ]
    rec.save_array_artifact("labels/cells", CELLS / 2)  # No labels any more.
    assert rec.list_labels() == []
    np.testing.assert_array_equal(rec.load_array_artifact("labels/cells"), CELLS / 2)
    assert ds.verify().ok
    assert ds.validate().problems == ()


def test_labels_are_replaced_and_deleted(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    for name in ("a/b", "Zellen µ", "zarr.json", "a/b"):
        rec.save_labels(name, CELLS)
    rec.save_labels("a/b", CELLS[::-1])
    assert rec.list_labels() == ["Zellen µ", "a/b", "zarr.json"]
    np.testing.assert_array_equal(rec.load_labels("a/b"), CELLS[::-1])
    assert ds.validate().problems == ()
    rec.delete_labels("a/b")
    with pytest.raises(ArtifactNotFoundError):
        rec.load_labels("a/b")
    for name in rec.list_labels():
        rec.delete_labels(name)
    assert not (group_of(ds) / "labels" / "zarr.json").exists()
    assert ds.verify().ok
    assert ds.validate().problems == ()


def test_what_is_no_label_image_is_refused_and_changes_nothing(
    ds: ZarrDataset, rec: ZarrImageRecord
) -> None:
    before = rec.revision
    wrong: list[Any] = [CELLS / 2, CELLS[:-1], np.zeros((2, 30, 20), int), np.zeros(600, int)]
    for labels in wrong:
        with pytest.raises(UnsupportedDataError):
            rec.save_labels("cells", labels)
    for name in ("", "../a", "con"):
        with pytest.raises(InvalidNameError):
            rec.save_labels(name, CELLS)
    photo = ds.add_image(np.zeros((30, 20, 3), "uint8"), axes="yxc")
    photo.save_labels("cells", CELLS)  # Without the channels OME-Zarr can express it.
    odd = ds.add_image(np.zeros((30, 20), "uint8"), axes="xy")
    with pytest.raises(UnsupportedDataError):
        odd.save_labels("cells", CELLS)
    assert rec.revision == before


def test_labels_of_bool_of_a_kymograph_and_of_a_stack(ds: ZarrDataset) -> None:
    kymograph = ds.add_image(np.zeros((30, 20), "uint8"), line_period_s=0.001, pixel_size_um=0.3)
    kymograph.save_labels("flow", CELLS > 3)
    np.testing.assert_array_equal(
        kymograph.load_labels("flow"), (CELLS > 3).astype("uint8"), strict=True
    )
    stack = ds.add_image(np.zeros((2, 3, 4, 30, 20), "uint8"), axes="tczyx")
    cells = np.broadcast_to(CELLS, (2, 4, 30, 20))
    for name, labels in (("all", cells), ("stack", cells[0]), ("plane", CELLS)):
        stack.save_labels(name, labels)
        np.testing.assert_array_equal(stack.load_labels(name), labels)
    assert ds.validate().problems == ()


def test_regions_are_drawn_as_labels_on_demand(rec: ZarrImageRecord) -> None:
    mask = np.zeros((30, 20), bool)
    mask[25:, :4] = True
    rec.save_rois(
        [
            RectRoi(roi_id=3, x0=2, x1=6, y0=1, y1=4),
            EllipseRoi(roi_id=7, x=12, y=12, radius_x=3, radius_y=2),
        ]
    )
    rec.save_mask("edge", mask, roi_id=9)
    assert isinstance(rec.load_rois()[-1], MaskRoi)
    assert rec.save_roi_labels() == "images/a/labels/regions"
    drawn = rec.load_labels("regions")
    assert (drawn[1:4, 2:6] == 3).all()
    assert drawn[12, 12] == drawn[12, 15] == 7
    np.testing.assert_array_equal(drawn == 9, mask)
    assert np.count_nonzero(drawn) == 12 + np.count_nonzero(drawn == 7) + mask.sum()


LARGE = (2_101, 2_003)


def test_labels_of_a_large_image_have_its_levels_by_the_most_frequent_value(
    ds: ZarrDataset,
) -> None:
    rec = ds.add_image(np.zeros(LARGE, "uint8"), image_id="a")
    labels = np.random.default_rng(0).integers(0, 4, LARGE).astype("uint8")
    rec.save_labels("cells", labels)
    folder = group_of(ds) / "labels" / "cells"
    level: Any = zarr.open_group(folder, mode="r")["pyramid/1"]
    np.testing.assert_array_equal(level[...], reduced(labels, (2, 2), "mode"))
    assert len(ome_of(folder)["multiscales"][0]["datasets"]) == len(rec.levels) == 2
    assert ds.verify().ok
    # Damaged levels are made again of the labels.
    chunk = folder / "pyramid/1/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    assert not ds.verify().ok
    assert [(a.kind, a.where) for a in ds.repair().actions] == [
        ("rebuild", "images/a/labels/cells/pyramid")
    ]
    level = zarr.open_group(folder, mode="r")["pyramid/1"]
    np.testing.assert_array_equal(level[...], reduced(labels, (2, 2), "mode"))
    assert ds.verify().ok
    assert ds.validate().problems == ()


def test_labels_of_pixels_of_another_shape_do_not_stand_in_the_way(ds: ZarrDataset) -> None:
    rec = ds.add_image(np.zeros(LARGE, "uint8"), image_id="a")
    labels = np.ones(LARGE, "uint8")
    rec.save_labels("cells", labels)
    rec.save_array(np.zeros((2_300, 2_000), "uint8"))
    chunk = group_of(ds) / "labels/cells/pyramid/1/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    assert {action.kind for action in ds.repair().actions} == {"rebuild"}
    assert ds.verify().ok
    np.testing.assert_array_equal(rec.load_labels("cells"), labels)
    assert ds.validate().problems == ()


def test_damaged_labels_are_quarantined_alone(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    rec.save_labels("cells", CELLS)
    rec.save_labels("nuclei", CELLS)
    labels = group_of(ds) / "labels"
    chunk = labels / "cells/data/c/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-3])
    assert {damage.part for damage in ds.verify().damages} == {"labels 'cells'"}
    [done] = ds.repair().actions
    assert (done.kind, done.where) == ("quarantine", "images/a/labels/cells")
    assert rec.list_labels() == ome_of(labels)["labels"] == ["nuclei"]
    assert not ds.verify().errors
    (labels / "zarr.json").unlink()
    assert {action.kind for action in ds.repair().actions} == {"rebuild"}
    assert ome_of(labels)["labels"] == ["nuclei"]
    assert [p for p in ds.validate().problems if p.code != "quarantine"] == []


def test_labels_travel_with_their_image(
    ds: ZarrDataset, rec: ZarrImageRecord, tmp_path: Path
) -> None:
    rec.save_labels("cells", CELLS)
    ds.subset(["a"], tmp_path / "part.zarr")
    ds.pack(tmp_path / "packed.ozx")
    ds.export_legacy_folder(tmp_path / "out")
    for path in (tmp_path / "part.zarr", tmp_path / "packed.ozx"):
        with ZarrDataset(path, mode="r") as other:
            np.testing.assert_array_equal(other["a"].load_labels("cells"), CELLS)
            assert other.verify().ok
    with ZarrDataset(tmp_path / "again.zarr", mode="w-") as again:
        again.ingest_legacy_folder(tmp_path / "out")
        assert again["a"].list_labels() == ["cells"]
        np.testing.assert_array_equal(again["a"].load_labels("cells"), CELLS)


def test_labels_that_another_program_wrote_into_an_image_stay(
    ds: ZarrDataset, rec: ZarrImageRecord
) -> None:
    group = zarr.open_group(group_of(ds), mode="r+").create_group("labels")
    group.attrs["ome"] = {"version": "0.5", "labels": ["theirs"]}
    group.create_group("theirs").create_array("0", data=CELLS)
    assert rec.list_labels() == rec.list_array_artifacts() == []
    assert not ds.verify().errors
    rec.save_labels("cells", CELLS)
    assert ome_of(group_of(ds) / "labels")["labels"] == ["cells", "theirs"]
    assert rec.list_labels() == ["cells"]
    assert ds.repair().actions == ()
    assert {(p.code, p.severity) for p in ds.validate().problems} == {("foreign-file", "warning")}
    rec.delete_labels("cells")
    assert ome_of(group_of(ds) / "labels")["labels"] == ["theirs"]


def test_labels_of_another_ome_zarr_come_as_labels(
    ds: ZarrDataset, rec: ZarrImageRecord, tmp_path: Path
) -> None:
    rec.save_labels("cells", CELLS)
    with ZarrDataset(tmp_path / "new.zarr", mode="w-") as new:
        [item] = new.ingest_ome_zarr(group_of(ds)).ingested
        assert item.image_id is not None
        assert new[item.image_id].list_labels() == ["cells"]
        np.testing.assert_array_equal(new[item.image_id].load_labels("cells"), CELLS, strict=True)
        assert new.validate().problems == ()


def test_other_programs_lay_labels_over_the_image(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    yaozarrs: Any = pytest.importorskip("yaozarrs", reason="not installed")
    io: Any = pytest.importorskip("ome_zarr.io", reason="not installed")
    reader: Any = pytest.importorskip("ome_zarr.reader", reason="not installed")
    rec.save_labels("cells", CELLS)
    yaozarrs.validate_zarr_store(str(group_of(ds)))
    yaozarrs.validate_zarr_store(str(group_of(ds) / "labels" / "cells"))
    found = [node for node in reader.Reader(io.parse_url(group_of(ds)))() if node.zarr.basename()]
    names = {node.zarr.basename(): node for node in found}
    np.testing.assert_array_equal(np.asarray(names["cells"].data[0]), CELLS)
