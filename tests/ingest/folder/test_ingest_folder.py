"""Folders of TIFFs into a dataset."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from kymflow_zarr import Axis, ZarrDataset
from kymflow_zarr.ingest.folder.scan import sha256_of_file
from kymflow_zarr.ingest.sources.channels import ChannelStack
from kymflow_zarr.testing import SyntheticVessel, write_experiment
from tests.conftest import files_of
from tests.helpers.sources import DATE, HEADER, PIXELS, write


class TestFolder:
    def test_an_experiment_goes_in_with_calibration_and_payload(
        self, ds: ZarrDataset, tmp_path: Path
    ) -> None:
        tiffs = write_experiment(tmp_path / "lab", vessels=[
            SyntheticVessel(name="a", condition="Control", n_lines=400),
            SyntheticVessel(name="b", condition="28d AngII", n_lines=400),
        ])  # fmt: skip
        report = ds.ingest_legacy_folder(tmp_path / "lab")
        assert len(report.ingested) == len(tiffs) == 2
        assert report.image_ids == [item.image_id for item in report.ingested]
        for image_id, tiff in zip(report.image_ids, sorted(tiffs), strict=True):
            rec = ds[image_id]
            np.testing.assert_array_equal(rec.load_array(), tifffile.imread(tiff))
            assert [(a.quantity, a.unit) for a in rec.axes] == [
                ("time", "second"), ("space", "micrometer"),
            ]  # fmt: skip
            provenance = rec.load_json("provenance")
            assert provenance["rel_path"] == tiff.relative_to(tmp_path / "lab").as_posix()
            assert provenance["grandparent_folder"] == tiff.parent.parent.name
        assert ds.validate().ok

    def test_one_unreadable_file_does_not_stop_the_others(
        self, ds: ZarrDataset, tmp_path: Path
    ) -> None:
        for name in "abc":
            write(tmp_path / "lab" / f"{name}.tif", PIXELS)
        write(tmp_path / "lab" / "b.tif", b"II*\0junk")
        report = ds.ingest_legacy_folder(tmp_path / "lab")
        assert len(ds) == 2
        (failed,) = report.failed
        assert failed.path.endswith("b.tif")
        assert failed.reason
        assert failed.path in str(report)
        assert report.to_dict()["counts"]["failed"] == 1
        json.dumps(report.to_dict())
        # Once it is mended, a second run picks up exactly what was missing.
        write(tmp_path / "lab" / "b.tif", PIXELS)
        again = ds.ingest_legacy_folder(tmp_path / "lab")
        assert [item.status for item in again.items] == ["unchanged", "ingested", "unchanged"]
        assert len(ds) == 3

    def test_a_second_run_writes_nothing(self, ds: ZarrDataset, tmp_path: Path) -> None:
        write(tmp_path / "lab" / "a.tif", PIXELS)
        ds.ingest_legacy_folder(tmp_path / "lab")
        before = files_of(ds.path)
        assert len(ds.ingest_legacy_folder(tmp_path / "lab").unchanged) == 1
        assert files_of(ds.path) == before

    def test_a_changed_file_is_reported_and_left_as_it_is(
        self, ds: ZarrDataset, tmp_path: Path
    ) -> None:
        path = write(tmp_path / "lab" / "a.tif", PIXELS)
        ds.ingest_legacy_folder(tmp_path / "lab")
        write(path, PIXELS[:9])
        (item,) = ds.ingest_legacy_folder(tmp_path / "lab").skipped
        assert "changed" in str(item.reason)
        assert [rec.shape for rec in ds.iter_records()] == [(30, 20)]

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("*.tif", ["A.TIF", "b.tif", "c.tiff", "sub/d.Tiff"]),
            ("*.TIFF", ["c.tiff", "sub/d.Tiff"]),
            ("B*", ["b.tif"]),
        ],
    )
    def test_the_pattern_matches_whatever_the_case(
        self, ds: ZarrDataset, tmp_path: Path, pattern: str, found: list[str]
    ) -> None:
        lab = tmp_path / "lab"
        for name in ("A.TIF", "b.tif", "c.tiff", "sub/d.Tiff", "._b.tif", ".trash/e.tif"):
            write(lab / name, PIXELS)
        write(lab / "notes.txt", "x")
        report = ds.ingest_legacy_folder(lab, pattern=pattern)
        paths = [Path(item.path).relative_to(lab).as_posix() for item in report.ingested]
        assert sorted(paths) == found
        (left,) = report.unmatched
        assert left.path.endswith("notes.txt")

    def test_without_sidecars_only_the_tiff_counts(self, ds: ZarrDataset, tmp_path: Path) -> None:
        write(tmp_path / "lab" / "a.tif", PIXELS)
        write(tmp_path / "lab" / "a.txt", HEADER.format(date=DATE))
        write(tmp_path / "lab" / "a.x.json", {})
        ds.ingest_legacy_folder(tmp_path / "lab", include_sidecars=False)
        (rec,) = ds.iter_records()
        assert [axis.step for axis in rec.axes] == [None, None]
        assert "x" not in [info.name for info in rec.list_artifacts()]

    def test_a_dataset_inside_the_folder_is_not_ingested(
        self, ds: ZarrDataset, tmp_path: Path
    ) -> None:
        other = ZarrDataset(tmp_path / "lab" / "old.zarr")
        write(other.path / "images" / "stray.tif", PIXELS)
        write(tmp_path / "lab" / "a.tif", PIXELS)
        assert len(ds.ingest_legacy_folder(tmp_path / "lab").items) == 1

    def test_progress_and_cancel(self, ds: ZarrDataset, tmp_path: Path) -> None:
        for name in "abc":
            write(tmp_path / "lab" / f"{name}.tif", PIXELS)
        seen = []

        def progress(done: int, total: int, label: str) -> None:
            seen.append((done, total, label))
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ds.ingest_legacy_folder(tmp_path / "lab", progress=progress)
        assert seen == [(0, 3, "a.tif"), (1, 3, "b.tif"), (2, 3, "c.tif")]
        assert len(ds) == 2
        assert len(ds.ingest_legacy_folder(tmp_path / "lab").ingested) == 1

    def test_no_such_folder(self, ds: ZarrDataset, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no such folder"):
            ds.ingest_legacy_folder(tmp_path / "nothing")

    def test_real_folders(self, ds: ZarrDataset, shared_data: Path, tmp_path: Path) -> None:
        for name, count in (("kymflow_folder", 3), ("kymflow_folder_2026_04", 1)):
            folder = tmp_path / name
            shutil.copytree(shared_data / name, folder)
            report = ds.ingest_legacy_folder(folder)
            assert len(report.ingested) == count
            # Both folders hold the same recording, Capillary1.
            assert all(
                (item.reason or "a copy of").startswith("a copy of") for item in report.ingested
            )
            assert not report.failed
        assert ds.validate().ok
        first = ds[report.image_ids[0]]
        assert first.axes == (
            Axis("y", "time", "second", 0.0011699666666666665),
            Axis("x", "space", "micrometer", 0.284),
        )
        payload = first.load_metadata_payload()
        assert payload["header"]["acquired_local_epoch_ns"] == 1667392215461000000
        assert [roi["note"] for roi in payload["rois"]] == [
            "Full Image", "Center Region", "Left Region",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("compression", "apart"), [(None, []), ("zlib", [f"{number}.tif" for number in range(12)])]
)
def test_files_of_equal_size_are_digested_once_each(
    ds: ZarrDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compression: str | None,
    apart: list[str],
) -> None:
    (tmp_path / "lab").mkdir()
    for number in range(12):
        path = tmp_path / "lab" / f"{number}.tif"
        tifffile.imwrite(path, PIXELS + number, compression=compression)
    digested: list[str] = []

    def counted(path: Path) -> str:
        digested.append(path.name)
        return sha256_of_file(path)

    monkeypatch.setattr("kymflow_zarr.ingest.folder.scan.sha256_of_file", counted)
    assert len(ds.ingest_legacy_folder(tmp_path / "lab").ingested) == 12
    # Where pixels lie in the file as they are, its digest comes from the same reading.
    assert sorted(digested) == sorted(apart)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("length", [0, 1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_and_digests_are_those_of_the_files(
    ds: ZarrDataset, tmp_path: Path, byteorder: Any, length: int, channels: int
) -> None:
    rng = np.random.default_rng(length)
    pixels = rng.normal(size=(channels, 2, 90, 31)).astype("float32")
    files = {}
    for channel in range(channels):
        # Descriptions of several lengths, so that pixels begin at odd places, too.
        path = write(tmp_path / "lab" / f"a_C{channel + 1:03}T001.tif", b"")
        tifffile.imwrite(
            path, pixels[channel], byteorder=byteorder, description="x" * (50 + length),
            metadata={"axes": "TYX"},
        )  # fmt: skip
        files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (image_id,) = ds.ingest_legacy_folder(tmp_path / "lab", verify=True).image_ids
    rec = ds[image_id]
    expected = pixels[0] if channels == 1 else pixels.swapaxes(0, 1)
    np.testing.assert_array_equal(rec.load_array(), expected, strict=True)
    assert {file.rel_path: file.sha256 for file in rec.source_files} == files


def test_a_file_that_is_longer_than_it_was_is_left_for_next_time(
    ds: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "lab" / "a.tif", PIXELS)
    whole = path.read_bytes()

    def grows(self: ChannelStack, files: Any, series: int) -> None:
        original(self, files, series)
        path.write_bytes(whole + b"more")

    original = ChannelStack.__init__
    monkeypatch.setattr(ChannelStack, "__init__", grows)
    (item,) = ds.ingest_legacy_folder(tmp_path / "lab").items
    assert (item.status, len(ds)) == ("skipped", 0)
    monkeypatch.undo()
    (item,) = ds.ingest_legacy_folder(tmp_path / "lab").items
    assert item.status == "ingested"
    assert ds[ds.list_image_ids()[0]].source_files[0].size_bytes == len(whole) + 4
