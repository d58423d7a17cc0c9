"""The metadata file of an image comes later, changes, goes away, or cannot be read for a while."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import SourceFileError

PIXELS = np.arange(1280, dtype=np.uint16).reshape(80, 16)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = tmp_path / "lab"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", PIXELS)
    return folder


def state(folder: Path, line_period_s: float) -> None:
    """Write a metadata file that states the calibration."""
    header = {"shape": [80, 16], "voxels": [line_period_s, 0.3], "voxels_units": ["s", "um"]}
    (folder / "a.json").write_text(json.dumps({"version": "2.0", "header": header, "rois": []}))


def refresh(ds: ZarrDataset, folder: Path, **kwargs: Any) -> Any:
    return ds.refresh_from_folder(folder, mode="reingest_if_changed", **kwargs).report


def periods(ds: ZarrDataset) -> tuple[Any, Any, Any]:
    """Return the line period by the axes, by the list of images, and by the payload."""
    (record,) = ds.iter_records()
    payload = record.load_metadata_payload()
    return (
        record.axes[0].step if record.axes[0].quantity == "time" else None,
        ds.images(["line_period_s"])["line_period_s"].iloc[0],
        payload["header"]["voxels"][0],
    )


def refuse(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let the operating system refuse to give the bytes of a file."""
    real = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)


def test_metadata_that_comes_later_or_changes_gives_the_axes(ds: ZarrDataset, lab: Path) -> None:
    ds.ingest_legacy_folder(lab)
    for period in (0.001, 0.002):
        state(lab, period)
        (item,) = refresh(ds, lab).updated
        assert "the axes were updated" in str(item.reason)
        assert periods(ds) == (period, period, period)
    (record,) = ds.iter_records()
    assert np.array_equal(record.load_array(), PIXELS)
    assert ds.verify().ok
    assert ds.validate().ok
    fresh = ZarrDataset(ds.path.with_name("fresh.zarr"), mode="w")
    fresh.ingest_legacy_folder(lab)
    assert [r.axes for r in fresh.iter_records()] == [record.axes]


def test_axes_that_a_user_has_changed_are_left_until_that_is_asked_for(
    ds: ZarrDataset, lab: Path
) -> None:
    state(lab, 0.001)
    record = ds.record(ds.ingest_legacy_folder(lab).image_ids[0])
    record.save_array(PIXELS, line_period_s=0.005)
    state(lab, 0.002)
    (item,) = refresh(ds, lab).updated
    assert "the axes were changed in the dataset and left as they are" in str(item.reason)
    assert record.axes[0].step == 0.005
    state(lab, 0.003)
    refresh(ds, lab, overwrite_edits=True)
    assert record.axes[0].step == 0.003


def test_pixels_that_a_user_has_cropped_keep_their_axes(ds: ZarrDataset, lab: Path) -> None:
    state(lab, 0.001)
    record = ds.record(ds.ingest_legacy_folder(lab).image_ids[0])
    record.save_array(PIXELS[:40])
    state(lab, 0.002)
    (item,) = refresh(ds, lab).updated
    assert "the pixels were replaced in the dataset" in str(item.reason)
    assert record.shape == (40, 16)
    assert record.axes[0].step == 0.001


def test_metadata_that_cannot_be_read_for_a_moment_take_nothing_away(
    ds: ZarrDataset, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(lab, 0.001)
    ds.ingest_legacy_folder(lab)
    tifffile.imwrite(lab / "a.tif", PIXELS + 1)
    with monkeypatch.context() as patch:
        refuse(patch, lab / "a.json")
        (item,) = refresh(ds, lab).failed
    assert "a.json" in str(item.reason)
    assert "left as it was" in str(item.reason)
    (record,) = ds.iter_records()
    assert np.array_equal(record.load_array(), PIXELS)
    assert periods(ds) == (0.001, 0.001, 0.001)
    assert len(refresh(ds, lab).updated) == 1
    assert np.array_equal(record.load_array(), PIXELS + 1)
    assert periods(ds) == (0.001, 0.001, 0.001)


def test_metadata_that_could_not_be_read_at_first_are_read_later(
    ds: ZarrDataset, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(lab, 0.001)
    with monkeypatch.context() as patch:
        refuse(patch, lab / "a.json")
        assert "a.json cannot be read" in str(ds.ingest_legacy_folder(lab).ingested[0].reason)
    refresh(ds, lab)
    assert periods(ds) == (0.001, 0.001, 0.001)


def test_the_calibration_of_a_deleted_metadata_file_stays(ds: ZarrDataset, lab: Path) -> None:
    state(lab, 0.001)
    ds.ingest_legacy_folder(lab)
    (lab / "a.json").unlink()
    tifffile.imwrite(lab / "a.tif", PIXELS + 1)
    (item,) = refresh(ds, lab).updated
    assert "a.json is gone; what was made of it stays" in str(item.reason)
    assert periods(ds) == (0.001, 0.001, 0.001)


def test_a_folder_that_cannot_be_listed_takes_nothing_away(
    ds: ZarrDataset, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state(lab, 0.001)
    (lab / "flow-analysis").mkdir()
    (lab / "flow-analysis" / "a_radon.csv").write_text("roi_id,time,velocity\n1,0.5,2\n")
    image_id = ds.ingest_legacy_folder(lab).image_ids[0]
    real, unlisted = os.scandir, set[str]()

    def scandir(path: Any) -> Any:
        if Path(str(path)).name in unlisted:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    unlisted.add("flow-analysis")
    tifffile.imwrite(lab / "a.tif", PIXELS + 1)
    report = refresh(ds, lab)
    assert [Path(item.path).name for item in report.failed] == ["flow-analysis"]
    record = ds.record(image_id)
    assert record.load_df_parquet("velocity")["velocity_mm_s"].tolist() == [2]
    assert not any(file.gone for file in record.source_files)
    tifffile.imwrite(lab / "b.tif", PIXELS + 2)
    for name in ("lab", "flow-analysis"):
        unlisted.clear()
        unlisted.add(name)
        with pytest.raises(SourceFileError, match="its sidecars cannot be found"):
            ds.ingest_tiff(lab / "b.tif")
    assert ds.ingest_tiff(lab / "b.tif", include_sidecars=False).shape == PIXELS.shape
