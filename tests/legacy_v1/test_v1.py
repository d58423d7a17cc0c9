"""Datasets of format version 1: read as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from kymflow_zarr import Axis, ZarrDataset
from kymflow_zarr.errors import (
    ArtifactNotFoundError,
    CorruptDataError,
    DatasetExistsError,
    FormatVersionError,
    ReadOnlyError,
    SchemaValidationError,
)
from tests.conftest import files_of
from tests.helpers.v1_dataset import (
    CHANNELS_LAST,
    CREATED,
    FRAME,
    KYMOGRAPH,
    LATER,
    LINES,
    MASK,
    PAYLOAD,
    PLAIN,
    POOLED,
    SOURCES,
    STACK,
    UPDATED,
    add_image,
    edit_json,
    run,
)


def test_images_come_in_every_order(old: Path) -> None:
    with ZarrDataset(old, mode="r") as ds:
        assert ds.list_image_ids() == sorted([KYMOGRAPH, STACK, PLAIN])
        assert len(ds) == 3
        assert KYMOGRAPH in ds
        assert "nobody" not in ds
        assert repr(ds).endswith("mode='r': 3 images, tables Kym_events, sources>")

        def ids(order_by: Any, missing: Any = "last") -> list[str]:
            return [rec.image_id for rec in ds.iter_records(order_by, missing)]

        assert ids("image_id") == ds.list_image_ids()
        assert ids("created_utc")[-1] == STACK
        assert ids("acquired_local_epoch_ns") == [KYMOGRAPH, STACK, PLAIN]
        assert ids("acquired_local_epoch_ns", "first") == [PLAIN, KYMOGRAPH, STACK]


def test_pixels_axes_and_times_are_those_that_were_saved(old: Path) -> None:
    with ZarrDataset(old, mode="r") as ds:
        line, stack, plain = (ds[image_id] for image_id in (KYMOGRAPH, STACK, PLAIN))
        assert np.array_equal(line.load_array(), LINES)
        assert np.array_equal(stack.load_array(), CHANNELS_LAST, equal_nan=True)
        assert (line.created_utc, line.updated_utc) == (CREATED, UPDATED)
        assert stack.get_axes() == ["t", "z", "y", "x", "c"]
        assert (stack.shape, stack.dtype.name, stack.ndim) == ((2, 3, 2, 8, 4), "float32", 5)
        assert repr(stack).startswith(f"<ZarrImageRecord {STACK!r}: float32 (2, 3, 2, 8, 4), axes")
        assert stack.source is None
        lazy = line.open_array()
        assert isinstance(lazy, zarr.Array)
        assert np.array_equal(np.asarray(lazy[100:103]), LINES[100:103])
        # Chunks that were left out hold zeros, and big-endian pixels come in native order.
        assert plain.load_array().dtype == np.dtype("int16")
        assert not plain.load_array().any()


def test_a_kymograph_has_the_calibration_of_its_payload(old: Path) -> None:
    with ZarrDataset(old, mode="r") as ds:
        assert ds[KYMOGRAPH].axes == (
            Axis("y", "time", "second", 0.00117),
            Axis("x", "space", "micrometer", 0.284),
        )
        assert ds[STACK].axes[0] == Axis("t", "time")


def test_artifacts_of_every_kind_load_under_their_own_names(old: Path) -> None:
    with ZarrDataset(old, mode="r") as ds:
        line, stack = ds[KYMOGRAPH], ds[STACK]
        assert {(info.name, info.kind) for info in line.list_artifacts()} == {
            ("metadata", "json"),
            ("provenance", "json"),
            ("nested/ROI_table (µm)", "json"),
            ("velocity_events/events", "parquet"),
            ("ROI_table", "csv_gz"),
        }
        assert line.load_metadata_payload() == PAYLOAD
        nested = line.load_json("nested/ROI_table (µm)")
        assert nested["n"] == [1, 2]
        assert np.isnan(nested["snr"])
        pd.testing.assert_frame_equal(line.load_df_parquet("velocity_events/events"), FRAME)
        pd.testing.assert_frame_equal(line.load_df_csv_gz("ROI_table"), FRAME)
        assert stack.load_json("legacy_payload") == {"legacy": True, "v": [1, 2, 3]}
        assert stack.load_metadata_payload()["header"] == LATER["header"]
        assert line.list_array_artifacts() == ["Projection", "roi_mask_1"]
        assert np.array_equal(line.load_array_artifact("roi_mask_1"), MASK)
        assert np.array_equal(line.load_array_artifact("Projection"), LINES.mean(axis=0))
        with pytest.raises(ArtifactNotFoundError, match="load_df_csv_gz"):
            line.load_json("ROI_table")
        with pytest.raises(ArtifactNotFoundError):
            line.load_array_artifact("roi_mask_2")


def test_tables_and_manifest_are_there(old: Path) -> None:
    with ZarrDataset(old, mode="r") as ds:
        assert ds.list_table_names() == ["Kym_events", "sources"]
        pd.testing.assert_frame_equal(ds.load_table("sources"), SOURCES)
        pd.testing.assert_frame_equal(ds.load_table("Kym_events"), POOLED)
        images = {image["image_id"]: image for image in ds.load_manifest()["images"]}
        assert images[STACK]["shape"] == [2, 3, 2, 8, 4]
        assert images[STACK]["created_utc"] == UPDATED
        assert images[KYMOGRAPH]["acquired_local_epoch_ns"] == 1667392215461000000
        assert len(images[KYMOGRAPH]["analysis_keys"]) == 5


def test_reading_exporting_and_validating_change_no_file(old: Path, tmp_path: Path) -> None:
    before = files_of(old)
    with ZarrDataset(old, mode="r") as ds:
        for rec in ds.iter_records():
            rec.load_array()
        ds.validate()
        report = ds.export_legacy_folder(tmp_path / "out")
    assert files_of(old) == before
    assert not (old / ".kymflow_zarr").exists()
    folder = tmp_path / "out" / "images" / KYMOGRAPH
    assert {f"images/{KYMOGRAPH}/image.tif", "tables/sources.csv"} <= set(report.files)
    assert json.loads((folder / "metadata.json").read_text()) == PAYLOAD


def test_an_export_is_brought_up_to_date_when_the_old_program_changes_pixels(
    old: Path, tmp_path: Path
) -> None:
    with ZarrDataset(old, mode="r") as ds:
        ds.export_legacy_folder(tmp_path / "out")
        zarr.open_array(old / "images" / KYMOGRAPH / "data", mode="r+")[...] = LINES + 1
        ds.export_legacy_folder(tmp_path / "out")
        import tifffile

        found = tifffile.imread(tmp_path / "out" / "images" / KYMOGRAPH / "image.tif")
        assert np.array_equal(found, LINES + 1)


def test_the_id_stays_while_the_old_program_goes_on(old: Path, tmp_path: Path) -> None:
    first = ZarrDataset(old, mode="r").dataset_id
    edit_json(old / ".zattrs", updated_utc="2026-05-05T00:00:00Z")
    add_image(old, "another", LINES, ["y", "x"])
    moved = old.rename(tmp_path / "moved.zarr")
    assert ZarrDataset(moved, mode="r").dataset_id == first
    edit_json(moved / ".zattrs", created_utc="2025-05-05T00:00:00Z")
    assert ZarrDataset(moved, mode="r").dataset_id != first


@pytest.mark.parametrize("mode", ["r+", "a"])
def test_it_cannot_be_opened_for_writing(old: Path, mode: Any) -> None:
    before = files_of(old)
    with pytest.raises(FormatVersionError, match=r"version 1.*kymflow-zarr migrate .*--in-place"):
        ZarrDataset(old, mode=mode)
    assert files_of(old) == before


WRITES: list[Callable[[ZarrDataset], object]] = [
    lambda ds: ds.add_image([[1, 2]]),
    lambda ds: ds.save_table("sources", POOLED),
    lambda ds: ds.delete_image(KYMOGRAPH),
    lambda ds: ds.update_manifest(),
    lambda ds: ds[KYMOGRAPH].save_json("note", {}),
    lambda ds: ds[KYMOGRAPH].save_array(LINES),
    lambda ds: ds[KYMOGRAPH].delete_analysis(),
    lambda ds: ds[KYMOGRAPH].save_array_artifact("mask", MASK),
]


@pytest.mark.parametrize("write", WRITES)
def test_every_write_is_refused_and_says_how_to_migrate(
    old: Path, write: Callable[[ZarrDataset], object]
) -> None:
    before = files_of(old)
    with (
        ZarrDataset(old, mode="r") as ds,
        pytest.raises(ReadOnlyError, match="kymflow-zarr migrate"),
    ):
        write(ds)
    assert files_of(old) == before


def test_mode_w_replaces_it_and_w_minus_refuses(old: Path) -> None:
    before = files_of(old)
    with pytest.raises(DatasetExistsError, match="version 1"):
        ZarrDataset(old, mode="w-")
    assert files_of(old) == before
    assert len(ZarrDataset(old, mode="w")) == 0
    assert not (old / ".zattrs").exists()


def test_an_unknown_schema_version_is_named(old: Path) -> None:
    edit_json(old / ".zattrs", schema_version=7)
    with pytest.raises(FormatVersionError, match="schema_version 7"):
        ZarrDataset(old, mode="r")


@pytest.mark.parametrize("text", ["{}", '{"format": "other"}', "not kymflow_zarr_v1 JSON"])
def test_another_zarr_folder_is_no_dataset(tmp_path: Path, text: str) -> None:
    (tmp_path / ".zattrs").write_text(text)
    with pytest.raises(SchemaValidationError):
        ZarrDataset(tmp_path, mode="r")


def test_a_broken_image_does_not_hide_the_others(old: Path) -> None:
    (old / "images" / STACK / "data" / ".zarray").write_text("{}")
    with ZarrDataset(old, mode="r") as ds:
        assert np.array_equal(ds[KYMOGRAPH].load_array(), LINES)
        with pytest.raises(SchemaValidationError, match="zarray"):
            ds[STACK].load_array()
        assert sum("error" in image for image in ds.load_manifest()["images"]) == 1


def test_damaged_chunks_and_gzip_files_are_named(old: Path) -> None:
    for chunk in (old / "images" / KYMOGRAPH / "data").glob("[0-9]*"):
        chunk.write_bytes(b"garbage")
    (old / "images" / STACK / "analysis" / "legacy_payload.json.gz").write_bytes(b"garbage")
    with ZarrDataset(old, mode="r") as ds:
        with pytest.raises(CorruptDataError, match=KYMOGRAPH):
            ds[KYMOGRAPH].load_array()
        with pytest.raises(CorruptDataError, match=r"legacy_payload\.json\.gz"):
            ds[STACK].load_json("legacy_payload")


def test_where_both_forms_of_a_json_artifact_are_there_the_plain_one_counts(old: Path) -> None:
    folder = old / "images" / STACK / "analysis"
    (folder / "legacy_payload.json").write_text('{"plain": true}')
    with ZarrDataset(old, mode="r") as ds:
        assert ds[STACK].load_json("legacy_payload") == {"plain": True}
        assert len(ds[STACK].list_artifacts()) == 2


def test_missing_times_are_those_of_the_files(old: Path) -> None:
    (old / "images" / PLAIN / ".zattrs").unlink()
    with ZarrDataset(old, mode="r") as ds:
        assert ds[PLAIN].get_axes() == ["y", "x"]
        assert ds[PLAIN].created_utc.endswith("Z")
        assert not [p for p in ds.validate().problems if p.code == "timestamp"]


def test_validation_says_to_migrate_and_what_is_damaged(old: Path) -> None:
    with ZarrDataset(old, mode="r") as ds:
        report = ds.validate()
        assert report.ok
        assert report.images_checked == 3
        assert [p.code for p in report.problems if not p.code.startswith("metadata")] == [
            "format-version-1"
        ]
        (old / "images" / KYMOGRAPH / "analysis" / "provenance.json").write_text("{")
        (old / "images" / PLAIN / "notes.txt").write_text("a note")
        (old / "images" / STACK / "data" / ".zarray").unlink()
        found = {(p.code, p.where.partition("/")[2][:4]) for p in ds.validate().problems}
        assert {("json", "8a83"), ("foreign-file", PLAIN[:4]), ("image-document", "029e")} <= found
        assert [p.code for p in ds.validate_image(KYMOGRAPH)] == ["json"]


def test_the_commands_read_it(old: Path, tmp_path: Path) -> None:
    assert KYMOGRAPH in run("ls", old)[1]
    code, text = run("show", old, KYMOGRAPH[:4])
    assert code == 0
    assert "ROI_table" in text
    assert "y 1.17 ms" in text
    assert run("export", old, tmp_path / "out")[0] == 0
    code, text = run("validate", old)
    assert code == 0
    assert "format-version-1" in text


def test_the_real_dataset_reads(shared_data: Path) -> None:
    old = shared_data / "v1_dataset.zarr"
    with ZarrDataset(old, mode="r") as ds:
        assert len(ds) == 4
        assert not ds.validate().errors
        axes = {tuple(rec.get_axes()) for rec in ds.iter_records()}
        assert ("t", "z", "y", "x", "c") in axes
        assert [str(rec.load_array().dtype) for rec in ds.iter_records()] == [
            "float32",
            "uint16",
            "int16",
            "uint16",
        ]
        assert list(ds.load_table("sources").columns) == list(SOURCES.columns)
