"""`ds.images()`: what is known of each image, in one data frame."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import ArgumentError

PIXELS = np.zeros((20, 8), "uint16")


def test_a_row_shows_what_the_record_shows(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    rec.save_metadata_payload(
        {"header": {"acquired_local_epoch_ns": 1_700_000_000_000_000_001}, "rois": [{}, {}]}
    )
    rec.save_df_parquet("velocity/events", pd.DataFrame({"t": [1.0]}))
    rec.save_array_artifact("mask/1", PIXELS)
    (row,) = ds.images().to_dict("records")
    assert row["image_id"] == rec.image_id
    assert row["shape"] == rec.shape
    assert row["dtype"] == "uint16"
    assert row["axes"] == ("y", "x")
    assert (row["line_period_s"], row["pixel_size_um"]) == (0.00117, 0.284)
    assert (row["y_step"], row["y_unit"]) == (0.00117, "second")
    assert (row["x_step"], row["x_unit"]) == (0.284, "micrometer")
    assert row["acquired_local_epoch_ns"] == 1_700_000_000_000_000_001
    assert row["acquired"] == pd.Timestamp(1_700_000_000_000_000_001)
    assert (row["created_utc"], row["updated_utc"]) == (rec.created_utc, rec.updated_utc)
    assert row["n_rois"] == 2
    assert row["artifacts"] == ("mask/1", "metadata", "velocity/events")
    assert row["n_artifacts"] == 3
    assert row["error"] is None or math.isnan(row["error"])


def test_what_is_not_known_is_missing(ds: ZarrDataset) -> None:
    ds.add_image(PIXELS)
    row = ds.images().iloc[0]
    unknown = ["line_period_s", "x_step", "acquired", "acquired_local_epoch_ns", "source_path"]
    assert row[unknown].isna().all()
    assert row["channel_names"] is None


def test_stacks_have_their_own_axes(ds: ZarrDataset) -> None:
    ds.add_image(np.zeros((2, 3, 8, 8)), axes="czyx", channel_names=["red", "green"])
    images = ds.images()
    assert images.loc[0, "axes"] == ("c", "z", "y", "x")
    assert images.loc[0, "channel_names"] == ("red", "green")
    assert {"z_step", "z_unit"} <= set(images)
    assert "c_step" not in images


def test_the_source_is_the_file_it_was_ingested_from(
    ds: ZarrDataset, tmp_path: pytest.TempPathFactory
) -> None:
    folder = ds.path.parent / "control" / "20250715"
    folder.mkdir(parents=True)
    tifffile.imwrite(folder / "a.tif", PIXELS)
    ds.ingest_legacy_folder(folder.parent)
    row = ds.images().iloc[0]
    assert row["source_path"] == str(folder / "a.tif")
    assert row["rel_path"] == "20250715/a.tif"
    assert (row["parent_folder"], row["grandparent_folder"]) == ("20250715", "control")


def test_experiment_metadata_are_columns(ds: ZarrDataset) -> None:
    told: list[dict[str, object]] = [
        {"condition": "control", "age": 3, "n_rois": 7},
        {"condition": "drug", "day": dt.date(2026, 1, 2), "y_step": 1.5},
        {"tags": ["a", "b"]},
    ]
    for i, each in enumerate(told):
        rec = ds.add_image(PIXELS, image_id=str(i))
        rec.save_metadata_payload({"experiment_metadata": each})
    images = ds.images()
    assert images["condition"].tolist()[:2] == ["control", "drug"]
    assert images["age"].tolist()[0] == 3
    assert images["day"].tolist()[1] == dt.date(2026, 1, 2)
    assert images["tags"].tolist()[2] == ["a", "b"]
    assert images["n_rois"].tolist() == [0, 0, 0]
    assert images["experiment_metadata.n_rois"].tolist()[0] == 7
    assert images["experiment_metadata.y_step"].tolist()[1] == 1.5
    assert images["y_step"].isna().all()


def test_rows_of_tables_are_counted(ds: ZarrDataset) -> None:
    for name in "abc":
        ds.add_image(PIXELS, image_id=name)
    ds.save_table("events", pd.DataFrame({"image_id": ["a", "c", "a", None, "gone"]}))
    ds.save_table("kinds", pd.DataFrame({"kind": [1, 2]}))
    images = ds.images()
    assert images["n_rows:events"].tolist() == [2, 0, 1]
    assert "n_rows:kinds" not in images


def test_columns_choose_and_order(ds: ZarrDataset, rec: ZarrImageRecord) -> None:
    rec.save_metadata_payload({"experiment_metadata": {"condition": "control"}})
    ds.save_table("events", pd.DataFrame({"image_id": [rec.image_id]}))
    wanted = ["n_rows:events", "condition", "x_step", "shape"]
    assert ds.images(wanted).columns.tolist() == wanted
    assert ds.images("shape").columns.tolist() == ["shape"]
    for unknown in ("shapes", "n_rows:event", "q_step"):
        with pytest.raises(ArgumentError, match=unknown):
            ds.images([unknown])


def test_an_empty_dataset_has_the_columns(ds: ZarrDataset, kymograph: np.ndarray) -> None:
    before = ds.images()
    ds.add_image(kymograph)
    assert len(before) == 0
    assert before.columns.tolist() == ds.images().columns.tolist()


def test_a_broken_image_is_a_row_with_its_error(ds: ZarrDataset) -> None:
    ds.add_image(PIXELS, image_id="bad")
    ds.add_image(PIXELS, image_id="good")
    (ds.path / "images" / "bad" / "zarr.json").write_text("{")
    bad, good = ds.images().to_dict("records")
    assert "JSON" in bad["error"]
    assert pd.isna(bad["dtype"])
    assert good["shape"] == (20, 8)
    assert pd.isna(good["error"])


def test_rows_can_be_grouped_by_what_they_have(ds: ZarrDataset) -> None:
    for i in range(3):
        ds.add_image(PIXELS if i else np.zeros((5, 5)), image_id=str(i))
    assert ds.images().groupby("shape").size().to_dict() == {(5, 5): 1, (20, 8): 2}


def test_integers_of_the_metadata_keep_their_digits(ds: ZarrDataset) -> None:
    big = 2**53 + 1
    for name, payload in {
        "a": {"serial": big, "mixed": big, "huge": 2**70, "count": 1},
        "b": {"serial": big - 2, "mixed": 0.5, "huge": 1, "count": 2},
        "c": {"count": 3},
    }.items():
        rec = ds.add_image(PIXELS, image_id=name)
        rec.save_metadata_payload({"experiment_metadata": payload})
    images = ds.images(["serial", "mixed", "huge", "count"])
    assert images["serial"].dropna().tolist() == [big, big - 2]
    assert images["mixed"].dropna().tolist() == [big, 0.5]
    assert images["huge"].dropna().tolist() == [2**70, 1]
    assert [str(images[name].dtype) for name in ("serial", "count")] == ["Int64", "int64"]


def test_a_damaged_table_hides_no_images(ds: ZarrDataset) -> None:
    ds.add_image(PIXELS, image_id="a")
    for name in ("good", "bad"):
        ds.save_table(name, pd.DataFrame({"image_id": ["a", "a"], "v": [1, 2]}))
    (ds.path / "tables" / "bad.parquet").write_bytes(b"PAR1 not PAR1")
    for images in (ds.images(), ds.images(["image_id", "n_rows:good", "n_rows:bad"])):
        assert images["n_rows:good"].tolist() == [2]
        assert images["n_rows:bad"].isna().tolist() == [True]
        assert list(images.attrs["errors"]) == ["tables/bad.parquet"]
    assert "errors" not in ds.images(["image_id", "n_rows:good"]).attrs
    assert ds.sql("select count(*) n from images")["n"].tolist() == [1]
