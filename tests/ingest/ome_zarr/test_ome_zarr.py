"""OME-Zarr of other programs: images, plates, labels, tables, and the collections of acqstore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

from kymflow_zarr import Axis, LineRoi, RectRoi, ZarrDataset
from kymflow_zarr.errors import SourceFileError
from tests.ingest.sidecars.test_acqstore_sidecars import sidecar

PIXELS = np.arange(2 * 12 * 16, dtype="u2").reshape(2, 12, 16)
AXES = [
    {"name": "c", "type": "channel"},
    {"name": "y", "type": "space", "unit": "micrometer"},
    {"name": "x", "type": "space", "unit": "micrometer"},
]


def multiscales(levels: int, axes: list[Any], name: str = "img", **more: Any) -> dict[str, Any]:
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [1.0, 0.5 * 2**level, 0.25 * 2**level][-len(axes) :]}
            ],
        }
        for level in range(levels)
    ]
    return {"multiscales": [{"name": name, "axes": axes, "datasets": datasets, **more}]}


def image(group: Any, version: str = "0.5", pixels: Any = PIXELS, levels: int = 2) -> None:
    axes = AXES[-pixels.ndim :]
    for level in range(levels):
        step = 2**level
        reduced = pixels[..., ::step, ::step]
        group.create_array(str(level), data=reduced, chunks=(1, 4, 4)[-pixels.ndim :])
    omero = {"channels": [{"label": "green", "color": "00FF00"}, {"label": "red"}]}
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", **multiscales(levels, axes), "omero": omero}
    else:
        group.attrs.update({**multiscales(levels, axes, version=version), "omero": omero})
    group.attrs["my lab"] = {"microscope": 3}


@pytest.mark.parametrize(("version", "zarr_format"), [("0.4", 2), ("0.5", 3)])
def test_an_image_of_either_version_comes_with_all_that_it_says(
    ds: ZarrDataset, tmp_path: Path, version: str, zarr_format: Any
) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=zarr_format)
    image(root, version)
    (item,) = ds.ingest_ome_zarr(tmp_path / "a.zarr").items
    assert (item.status, item.reason) == ("ingested", None)
    rec = ds.record(str(item.image_id))
    assert np.array_equal(rec.load_array(), PIXELS)
    assert rec.axes == (
        Axis("c", "channel"), Axis("y", "space", "micrometer", 0.5),
        Axis("x", "space", "micrometer", 0.25),
    )  # fmt: skip
    assert rec.channel_names == ["green", "red"]
    assert rec.load_json("ome_zarr")["my lab"] == {"microscope": 3}
    assert rec.load_json("provenance")["ome_version"] == version
    again = ds.ingest_ome_zarr(tmp_path / "a.zarr")
    assert [item.status for item in again.items] == ["unchanged"]
    assert ds.validate().ok


def test_levels_of_another_image_are_reported(ds: ZarrDataset, tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    image(root, levels=3)
    del root["1"]
    del root["2"]
    root.create_array("2", data=PIXELS.astype("f4"))
    (item,) = ds.ingest_ome_zarr(tmp_path / "a.zarr").items
    assert item.status == "ingested"
    assert "a level of its pyramid is missing" in str(item.reason)
    assert "its level '2' is float32 (2, 12, 16), no reduced version" in str(item.reason)


def test_labels_and_tables_come_along(ds: ZarrDataset, tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    image(root)
    cells = np.zeros((12, 16), "u2")
    cells[2:4, 3:9] = 7
    labels = root.create_group("labels")
    labels.attrs["ome"] = {"version": "0.5", "labels": ["cells", "lost"]}
    image(labels.create_group("cells"), pixels=cells, levels=1)
    table = tmp_path / "a.zarr" / "tables" / "areas"
    table.mkdir(parents=True)
    pd.DataFrame({"label": [7], "area": [12.0]}).to_parquet(table / "table.parquet")
    (item,) = ds.ingest_ome_zarr(tmp_path / "a.zarr").items
    rec = ds.record(str(item.image_id))
    assert np.array_equal(rec.load_array_artifact("labels/cells"), cells)
    assert rec.load_df_parquet("tables/areas")["area"].tolist() == [12.0]
    assert "the labels 'lost' were left out" in str(item.reason)


def test_a_plate_gives_each_field_of_each_well(ds: ZarrDataset, tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "plate.zarr"), mode="w")
    wells: Any = [{"path": "A/1", "rowIndex": 0, "columnIndex": 0}, {"path": "B/2"}]
    root.attrs["ome"] = {"version": "0.5", "plate": {"wells": wells}}
    for number, well in enumerate(wells):
        group = root.create_group(str(well["path"]))
        group.attrs["ome"] = {"version": "0.5", "well": {"images": [{"path": "0"}, {"path": "1"}]}}
        for field in "01":
            image(group.create_group(field), pixels=PIXELS + 10 * number + int(field))
    report = ds.ingest_ome_zarr(tmp_path / "plate.zarr")
    listed = [ds.record(image_id) for image_id in report.image_ids]
    assert [rec.load_json("provenance")["rel_path"] for rec in listed] == [
        "A/1/0", "A/1/1", "B/2/0", "B/2/1",
    ]  # fmt: skip
    assert [int(rec.load_array()[0, 0, 0]) for rec in listed] == [0, 1, 10, 11]


@pytest.mark.parametrize("path", ["../other", "..", "0/../../x", "0/..", 3])
def test_metadata_that_lead_out_of_the_folder_are_refused(
    ds: ZarrDataset, tmp_path: Path, path: Any
) -> None:
    other = zarr.open_group(str(tmp_path / "other"), mode="w")
    other.create_array("0", data=PIXELS)
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    image(root)
    ome: Any = root.attrs["ome"]
    ome["multiscales"][0]["datasets"][0]["path"] = path
    root.attrs["ome"] = ome
    (item,) = ds.ingest_ome_zarr(tmp_path / "a.zarr").failed
    assert "no place in it" in str(item.reason)
    assert len(ds) == 0


def test_one_damaged_image_does_not_stop_the_others(ds: ZarrDataset, tmp_path: Path) -> None:
    root = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    for name in "ab":
        image(root.create_group(name))
    chunks = (tmp_path / "a.zarr" / "a" / "0" / "c").rglob("*")
    next(path for path in chunks if path.is_file()).write_bytes(b"damaged")
    report = ds.ingest_ome_zarr(tmp_path / "a.zarr")
    assert [item.status for item in report.items] == ["failed", "ingested"]


def test_what_is_no_ome_zarr_is_refused_by_name(ds: ZarrDataset, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceFileError, match="is no Zarr group"):
        ds.ingest_ome_zarr(tmp_path / "empty")
    zarr.open_group(str(tmp_path / "bare.zarr"), mode="w")
    with pytest.raises(SourceFileError, match="no group in it has multiscales"):
        ds.ingest_ome_zarr(tmp_path / "bare.zarr")
    with pytest.raises(FileNotFoundError):
        ds.ingest_ome_zarr(tmp_path / "none.zarr")


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A collection as acqstore exports it, of one image."""
    path = tmp_path / "collection.ome.zarr"
    group = zarr.open_group(str(path), mode="w").create_group("acq_images/acq_image_000")
    pixels = np.arange(200 * 16, dtype="u2").reshape(200, 16)
    group.create_array("0", data=pixels)
    axes = [
        {"name": "y", "type": "space", "unit": "s"},
        {"name": "x", "type": "space", "unit": "um"},
    ]
    group.attrs["ome"] = {"version": "0.5", **multiscales(1, axes)}
    folder = path / "acq_images" / "acq_image_000" / "acqstore"
    (folder / "analysis").mkdir(parents=True)
    (folder / "acq_image.json").write_text(json.dumps(sidecar()))
    table = "acqstore/analysis/radon_velocity__c0__r1.table.csv"
    run = {
        "analysis_name": "radon_velocity", "channel": 0, "roi_id": 1,
        "resources": {"table": table, "peaks": None},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"version": 2, "analyses": [run]}))
    text = "time_s,time_index,theta_deg,velocity\n0.016,8.0,106.25,-70.8\n"
    (path / "acq_images" / "acq_image_000" / table).write_text(text)
    (path / "acqstore").mkdir()
    listed = {
        "ome_zarr_path": "acq_images/acq_image_000",
        "source": {"filename": "K1.tif", "relative_path": "Control/K1.tif"},
    }
    (path / "acqstore" / "acq_image_collection.json").write_text(
        json.dumps({"version": 1, "acq_images": [listed]})
    )
    return path


def test_a_collection_of_acqstore_comes_with_regions_and_analyses(
    ds: ZarrDataset, collection: Path
) -> None:
    (item,) = ds.ingest_ome_zarr(collection).items
    assert (item.status, item.reason) == ("ingested", None)
    rec = ds.record(str(item.image_id))
    assert rec.axes[0] == Axis("y", "time", "second", 0.002)
    assert rec.load_rois() == [
        RectRoi(roi_id=1, name="left", x0=4, x1=12, y0=100, y1=180),
        LineRoi(roi_id=3, note="n", points=[(2, 30), (15, 10)]),
    ]
    assert rec.load_json("provenance")["rel_path"] == "Control/K1.tif"
    velocity = rec.load_df_parquet("acqstore/radon_velocity")
    assert velocity[["channel", "channel_index", "roi_id"]].values.tolist() == [[1, 0, 1]]
    np.testing.assert_allclose(velocity["image_time_s"], [0.216])


def test_a_real_collection_has_the_pixels_and_analyses_of_its_folder(
    ds: ZarrDataset, shared_data: Path
) -> None:
    report = ds.ingest_ome_zarr(shared_data / "acq_collection.ome.zarr")
    assert [item.status for item in report.items] == ["ingested"] * 2
    regions = analyses = 0
    for image_id in report.image_ids:
        rec = ds.record(image_id)
        file = shared_data / "acqstore_folder" / rec.load_json("provenance")["rel_path"]
        assert np.array_equal(rec.load_array(), tifffile.imread(file))
        raw = json.loads(Path(f"{file}.json").read_text())
        assert rec.load_metadata_payload()["experiment_metadata"] == raw["experiment_metadata"]
        regions += len(rec.load_rois())
        analyses += len(rec.load_json("acqstore/analysis"))
    assert (regions, analyses) == (5, 8)
