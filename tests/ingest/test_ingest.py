"""One TIFF, and what lies beside it, into a dataset."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import Axis, ZarrDataset
from kymflow_zarr.ingest.folder import source_index
from tests.helpers.sources import DATE, HEADER, PIXELS, write


class TestOneTiff:
    def test_pixels_provenance_and_the_files_own_words(
        self, ds: ZarrDataset, tmp_path: Path
    ) -> None:
        path = tmp_path / "cell 1.tif"
        tifffile.imwrite(
            path, PIXELS[None].repeat(3, 0), imagej=True, resolution=(2, 2),
            metadata={"axes": "ZYX", "unit": "um", "spacing": 1.5, "Info": "by hand"},
        )  # fmt: skip
        rec = ds.ingest_tiff(path)
        np.testing.assert_array_equal(rec.load_array(), tifffile.imread(path))
        assert rec.axes == (
            Axis("z", "space", "micrometer", 1.5),
            Axis("y", "space", "micrometer", 0.5),
            Axis("x", "space", "micrometer", 0.5),
        )
        provenance = rec.load_json("provenance")
        assert provenance["original_path"] == provenance["source_primary_path"] == str(path)
        import hashlib

        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert provenance["source_sha256"] == digest
        assert rec.source is not None
        assert rec.source.sha256 == digest
        assert "by hand" in json.dumps(rec.load_json("tiff"))
        header = rec.load_metadata_payload()["header"]
        assert header["shape"] == [3, 30, 20]
        assert header["voxels"] == [1.5, 0.5, 0.5]
        assert header["voxels_units"] == ["um", "um", "um"]

    def test_rgb_becomes_channels(self, ds: ZarrDataset, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (30, 20, 3), dtype=np.uint8)
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", compression="deflate")
        rec = ds.ingest_tiff(tmp_path / "a.tif")
        assert rec.get_axes() == ["c", "y", "x"]
        np.testing.assert_array_equal(rec.load_array(), np.moveaxis(pixels, 2, 0))

    @pytest.mark.parametrize(
        "content", [b"", b"not a tiff", b"II*\0\x08\0\0\0", b"MM\0*\xff\xff\xff\xff"]
    )
    def test_what_is_no_tiff_is_named_and_adds_nothing(
        self, ds: ZarrDataset, tmp_path: Path, content: bytes
    ) -> None:
        path = write(tmp_path / "broken.tif", content)
        with pytest.raises(ValueError, match=r"broken\.tif"):
            ds.ingest_tiff(path)
        assert len(ds) == 0

    def test_no_such_file(self, ds: ZarrDataset, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"nothing\.tif"):
            ds.ingest_tiff(tmp_path / "nothing.tif")

    def test_the_same_file_twice_is_one_image(self, ds: ZarrDataset, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tif", PIXELS)
        rec = ds.ingest_tiff(path)
        assert ds.ingest_tiff(str(path)) == rec
        assert len(ds) == 1
        write(path, PIXELS[:20])
        with pytest.raises(ValueError, match="has changed since"):
            ds.ingest_tiff(path)
        assert ds.ingest_tiff(path, image_id="again").shape == (20, 20)

    def test_of_the_other_images_nothing_is_decoded(
        self, ds: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for i in range(30):
            write(tmp_path / "lab" / f"{i}.tif", PIXELS + i)
        ds.ingest_legacy_folder(tmp_path / "lab")
        decoded: list[str] = []

        class Counts:
            def decode(self, text: str) -> object:
                decoded.append(text)
                return right.decode(text)

        right = source_index._DECODER
        monkeypatch.setattr(source_index, "_DECODER", Counts())
        ds.ingest_tiff(write(tmp_path / "new.tif", PIXELS))
        assert decoded == []
        rec = ds.ingest_tiff(tmp_path / "lab" / "7.tif", image_id="mine")
        assert ds.ingest_tiff(tmp_path / "lab" / "7.tif") != rec
        assert decoded == []
        ds.delete_image(ds.ingest_tiff(tmp_path / "lab" / "7.tif").image_id)
        assert ds.ingest_tiff(tmp_path / "lab" / "7.tif") == rec
        (text,) = decoded
        assert "7.tif" in text

    @pytest.mark.parametrize(
        "name", ['quo"te.tif', "back\\slash.tif", "größe µ 猫.tif", "a%_b.tif"]
    )
    def test_a_file_is_known_whatever_its_name(
        self, ds: ZarrDataset, tmp_path: Path, name: str
    ) -> None:
        if sys.platform == "win32" and set(name) & set('"\\'):
            pytest.skip("this system has no such names")
        path = write(tmp_path / name, PIXELS)
        rec = ds.ingest_tiff(path, image_id="mine")
        write(tmp_path / f"x{name}", PIXELS)
        assert ds.ingest_tiff(path) == rec
        assert ds.ingest_tiff(tmp_path / f"x{name}") != rec

    def test_a_file_of_several_images(self, ds: ZarrDataset, tmp_path: Path) -> None:
        path = tmp_path / "two.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as tiff:
            tiff.write(PIXELS)
            tiff.write(PIXELS[:10, :10])
        assert ds.ingest_tiff(path, series=1).shape == (10, 10)
        with pytest.raises(ValueError, match="2 images"):
            ds.ingest_tiff(path, series=2)
        report = ds.ingest_legacy_folder(tmp_path)
        assert [item.status for item in report.items] == ["ingested", "unchanged"]
        assert len(ds) == 2


class TestSidecars:
    def test_the_instrument_header_gives_time_space_dye_and_clock(
        self, ds: ZarrDataset, tmp_path: Path
    ) -> None:
        path = write(tmp_path / "a.tif", PIXELS)
        text = HEADER.format(date=DATE)
        write(tmp_path / "a.txt", text)
        rec = ds.ingest_tiff(path)
        assert rec.axes == (
            Axis("y", "time", "second", 0.036 / 30),
            Axis("x", "space", "micrometer", 0.284),
        )
        assert rec.channel_names == ["FITC"]
        header = rec.load_json("instrument_header")
        assert header["text"] == text
        assert header["sections"]["Reference Image"]["Image Size"] == "512 * 512 [pixel]"

    @pytest.mark.parametrize(
        ("date", "expected"),
        [
            (DATE, "2022-11-02T12:30:15.461"),
            ("11/02/2022 12:30:15.461 AM", "2022-11-02T00:30:15.461"),
            ("07/22/2025 01:13:14.620 PM", "2025-07-22T13:13:14.620"),
            ("07/22/2025 01:13:14 AM", "2025-07-22T01:13:14"),
            ("yesterday", None),
        ],
    )
    @pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
    def test_the_wall_clock_does_not_depend_on_this_machines_zone(
        self,
        ds: ZarrDataset,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        date: str,
        expected: str | None,
        zone: str,
    ) -> None:
        import time

        monkeypatch.setenv("TZ", zone)
        if hasattr(time, "tzset"):
            time.tzset()
        write(tmp_path / "a.txt", HEADER.format(date=date))
        rec = ds.ingest_tiff(write(tmp_path / "a.tif", PIXELS))
        header = rec.load_metadata_payload()["header"]
        if expected is None:
            assert "acquired_local_epoch_ns" not in header
        else:
            wall_clock = np.datetime64(expected, "ns").astype(int)
            assert header["acquired_local_epoch_ns"] == wall_clock

    def test_the_metadata_of_a_lab_goes_before_the_instruments(
        self, ds: ZarrDataset, tmp_path: Path
    ) -> None:
        payload = {
            "version": "1.0",
            "header": {
                "shape": [30, 20], "ndim": 2, "voxels": [0.002, 0.3], "voxels_units": ["s", "um"],
                "labels": ["time (s)", "space (um)"], "physical_size": [0.06, 6.0], "lens": "25x",
            },
            "experiment_metadata": {"species": "mouse", "depth": "", "cage": 7},
            "rois": [{
                "id": 1, "channel": 1, "z": 0, "name": "", "note": "center", "revision": 2,
                "img_mean": 5.5, "dim0_start": 1, "dim0_stop": 9, "dim1_start": 2, "dim1_stop": 8,
            }],
            "accepted": False,
        }  # fmt: skip
        write(tmp_path / "a.txt", HEADER.format(date=DATE))
        write(tmp_path / "a.json", payload)
        rec = ds.ingest_tiff(write(tmp_path / "a.tif", PIXELS))
        assert [axis.step for axis in rec.axes] == [0.002, 0.3]
        loaded = rec.load_metadata_payload()
        assert loaded["version"] == "2.0"
        assert loaded["accepted"] is False
        assert loaded["header"]["lens"] == "25x"
        assert loaded["header"]["acquired_local_epoch_ns"] == 1667392215461000000
        assert loaded["experiment_metadata"] == payload["experiment_metadata"]
        assert loaded["rois"] == [{
            "roi_id": 1, "roi_type": "rect", "version": "1.0", "name": "", "note": "center",
            "channel": 1, "z": 0, "data": {"x0": 2, "x1": 8, "y0": 1, "y1": 9},
            "meta": {"revision": 2, "img_mean": 5.5},
        }]  # fmt: skip
        assert rec.load_json("source_metadata") == payload

    def test_generic_sidecars_become_artifacts(self, ds: ZarrDataset, tmp_path: Path) -> None:
        tiff = write(tmp_path / "cell.1.tif", PIXELS)
        write(tmp_path / "cell.tif", PIXELS[:5])
        df = pd.DataFrame({"roi_id": [1, 2], "score": [0.1, None], "kind": ["a", "b"]})
        write(tmp_path / "cell.1.metadata.json", {"version": "2.0", "rois": []})
        write(tmp_path / "cell.1.notes.json", {"a": [1]})
        df.to_csv(tmp_path / "cell.1.events.csv", index=False)
        df.to_csv(tmp_path / "cell.1.zipped.csv.gz", index=False)
        df.to_parquet(tmp_path / "cell.1.table.parquet")
        np.save(tmp_path / "cell.1.mask.npy", PIXELS > 5)
        write(tmp_path / "cell.other.json", {"of": "the other"})
        rec = ds.ingest_tiff(tiff)
        assert rec.load_json("notes") == {"a": [1]}
        pd.testing.assert_frame_equal(rec.load_df_parquet("events"), df)
        pd.testing.assert_frame_equal(rec.load_df_parquet("table"), df)
        pd.testing.assert_frame_equal(rec.load_df_csv_gz("zipped"), df)
        np.testing.assert_array_equal(rec.load_array_artifact("mask"), PIXELS > 5)
        assert rec.load_metadata_payload()["version"] == "2.0"
        assert "other" not in [info.name for info in rec.list_artifacts()]
        other = ds.ingest_tiff(tmp_path / "cell.tif")
        assert other.load_json("other") == {"of": "the other"}

    def test_a_sidecar_that_cannot_be_read_is_noted_and_does_not_stop_the_image(
        self, ds: ZarrDataset, tmp_path: Path
    ) -> None:
        write(tmp_path / "a.tif", PIXELS)
        write(tmp_path / "a.json", "{broken")
        write(tmp_path / "a.x.json", "nope")
        write(tmp_path / "a.y.parquet", "nope")
        write(tmp_path / "a.z.npy", "nope")
        report = ds.ingest_legacy_folder(tmp_path)
        (item,) = report.ingested
        for name in ("a.json", "a.x.json", "a.y.parquet", "a.z.npy"):
            assert name in str(item.reason)
        assert ds[str(item.image_id)].shape == (30, 20)


class TestAFileThatAnotherProgramHasTakenIn:
    """Two open datasets of one folder stand for two programs."""

    @pytest.fixture
    def other(self, ds: ZarrDataset) -> Iterator[ZarrDataset]:
        with ZarrDataset(ds.path, mode="r+", durability="relaxed") as dataset:
            yield dataset

    @pytest.fixture
    def tiffs(self, ds: ZarrDataset, tmp_path: Path) -> list[Path]:
        """Files, of which the dataset has taken in all but the last: it asks no index any more."""
        paths = [tmp_path / "lab" / f"{i}.tif" for i in range(5)]
        paths[0].parent.mkdir()
        for i, path in enumerate(paths):
            tifffile.imwrite(path, np.full((20, 8), i, np.uint16))
        for path in paths[:-1]:
            ds.ingest_tiff(path)
        return paths

    def test_under_an_id_of_its_own_is_not_added_again(
        self, ds: ZarrDataset, other: ZarrDataset, tiffs: list[Path]
    ) -> None:
        other.ingest_tiff(tiffs[-1], image_id="mine")
        assert ds.ingest_tiff(tiffs[-1]).image_id == "mine"
        assert len(ds) == 5

    def test_and_followed_to_another_path_is_not_added_again(
        self, ds: ZarrDataset, other: ZarrDataset, tiffs: list[Path]
    ) -> None:
        image_id = ds.ingest_tiff(tiffs[0]).image_id
        moved = tiffs[0].rename(tiffs[0].with_name("moved.tif"))
        assert len(other.refresh_from_folder(moved.parent).report.moved) == 1
        count = len(other)
        assert ds.ingest_tiff(moved).image_id == image_id
        assert len(ds) == count

    def test_and_deleted_again_is_added(
        self, ds: ZarrDataset, other: ZarrDataset, tiffs: list[Path]
    ) -> None:
        other.ingest_tiff(tiffs[-1], image_id="mine")
        assert ds.ingest_tiff(tiffs[-1]).image_id == "mine"
        other.delete_image("mine")
        assert ds.ingest_tiff(tiffs[-1]).image_id != "mine"

    def test_a_copy_of_a_file_that_is_there_is_an_image_of_its_own(
        self, ds: ZarrDataset, tiffs: list[Path]
    ) -> None:
        copy = Path(shutil.copy(tiffs[0], tiffs[0].with_name("copy.tif")))
        assert ds.ingest_tiff(copy).image_id != ds.ingest_tiff(tiffs[0]).image_id
        assert len(ds) == 5
