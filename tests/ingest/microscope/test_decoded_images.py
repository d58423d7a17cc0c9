"""What all readers of microscope files share, on made-up libraries in place of the real ones."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest

from kymflow_zarr import Axis, LineRoi, ZarrDataset
from kymflow_zarr.errors import ArgumentError, MissingDependencyError, SourceFileError
from kymflow_zarr.ingest.sources.microscope.decoded import DecodedImage, Stated

LINES = np.arange(6 * 5, dtype="u2").reshape(6, 5)


def decoded(pixels: Any, **stated: Any) -> DecodedImage:
    given = Stated(shape=pixels.shape, dtype=pixels.dtype, **stated)
    return DecodedImage(
        Path("a.czi"), given, series=0, count=1, decode=lambda: pixels, close=lambda: None
    )


def test_a_line_scan_with_one_row_has_all_its_lines() -> None:
    pixels = LINES.reshape(6, 1, 5)
    image = decoded(pixels, dims="TYX", steps={"T": ("second", 0.002), "X": ("micrometer", 0.3)})
    assert image.shape == (6, 5)
    assert image.axes == (
        Axis("t", "time", "second", 0.002), Axis("x", "space", "micrometer", 0.3),
    )  # fmt: skip
    assert image[2:4].tolist() == LINES[2:4].tolist()


def test_samples_of_rgb_become_channels_in_their_order() -> None:
    pixels = np.arange(2 * 3 * 4 * 3, dtype="u1").reshape(2, 3, 4, 3)
    image = decoded(pixels, dims="CYXS", channel_names=["a", "b"])
    assert image.shape == (6, 3, 4)
    assert image.channel_names == ("a R", "a G", "a B", "b R", "b G", "b B")
    assert np.array_equal(image[4], pixels[1, :, :, 1])


def test_rgb_without_a_channel_axis_gets_one() -> None:
    pixels = np.arange(2 * 3 * 4 * 3, dtype="u1").reshape(2, 3, 4, 3)
    image = decoded(pixels, dims="TYXS")
    assert [axis.name for axis in image.axes] == ["t", "c", "y", "x"]
    assert np.array_equal(image[1, 2], pixels[1, :, :, 2])


def test_irregular_times_are_stored_and_reported() -> None:
    times = [0.0, 1.0, 2.0, 5.0, 6.0, 7.0]
    image = decoded(LINES.reshape(6, 1, 5), dims="TYX", times_s=times)
    assert image.axes[0] == Axis("t", "time", "second", 1.0)
    assert image.description["frame_times_s"] == times
    assert "its times are not regular (1 to 3 s apart" in image.notes[0]


def test_regular_times_go_before_what_the_settings_say() -> None:
    image = decoded(
        LINES, dims="TX", times_s=[0, 0.25, 0.5, 0.75, 1, 1.25], steps={"T": ("second", 9.0)}
    )
    assert image.axes[0].step == 0.25
    assert image.notes == ()


def test_pixels_that_are_not_what_the_file_says_are_refused() -> None:
    given = Stated(dims="YX", shape=(3, 3), dtype=np.dtype("u2"))
    image = DecodedImage(
        Path("a.czi"), given, series=0, count=1, decode=lambda: LINES, close=lambda: None
    )
    with pytest.raises(SourceFileError, match=r"shape \(6, 5\), its metadata say \(3, 3\)"):
        _ = image[...]


class File:
    """A file of a made-up library."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return


@pytest.fixture
def czi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    def scene(number: int) -> SimpleNamespace:
        return SimpleNamespace(
            dims=("T", "X"), shape=(6, 5), dtype="u2", channels={"GFP": {}}, datetime=None,
            coord_scales={"X": 2.5e-7}, attrs={"objective": {"Name": "20x"}},
            asarray=lambda: LINES + number,
        )  # fmt: skip

    scenes = {0: scene(0), 3: scene(3)}
    stamps = np.array([10.0, 10.5, 11.0, 11.5, 12.0, 12.5])
    library: Any = ModuleType("czifile")
    library.CziFile = lambda _: File(
        scenes=scenes, timestamps=stamps, metadata=lambda: "<ImageDocument/>"
    )
    monkeypatch.setitem(sys.modules, "czifile", library)
    file = tmp_path / "lab" / "scan.czi"
    file.parent.mkdir()
    file.write_bytes(b"ZISRAWFILE")
    return file


def test_the_scenes_of_a_czi_line_scan_are_kymographs_with_names(
    ds: ZarrDataset, czi: Path
) -> None:
    report = ds.ingest_legacy_folder(czi.parent, pattern="*.czi")
    assert len(report.ingested) == 2
    first, second = (ds.record(image_id) for image_id in report.image_ids)
    assert first.axes == (
        Axis("y", "time", "second", 0.5), Axis("x", "space", "micrometer", 0.25),
    )  # fmt: skip
    assert np.array_equal(second.load_array(), LINES + 3)
    assert sorted(ds.images()["source_image"]) == ["scene 0", "scene 3"]
    assert first.load_json("tiff")["czi"]["objective"] == {"Name": "20x"}
    assert first.load_json("tiff")["frame_times_s"] == [0, 0.5, 1, 1.5, 2, 2.5]


def test_a_file_with_keep_original_comes_back_byte_for_byte(
    ds: ZarrDataset, czi: Path, tmp_path: Path
) -> None:
    ds.ingest_legacy_folder(czi.parent, pattern="*", keep_original=True)
    report = ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    assert report.failed == ()
    assert (tmp_path / "out" / "scan.czi").read_bytes() == b"ZISRAWFILE"
    assert ds.verify().ok


def test_a_file_without_keep_original_is_written_as_tiff_beside_its_name(
    ds: ZarrDataset, czi: Path, tmp_path: Path
) -> None:
    rec = ds.ingest_tiff(czi)
    assert rec.source is not None
    assert (rec.source.path, rec.source.kept_as) == (str(czi), None)
    report = ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scan.czi.tif"]
    assert "instead of scan.czi" in report.differences[0].reason


def test_an_image_that_is_not_there_is_refused(ds: ZarrDataset, czi: Path) -> None:
    with pytest.raises(ArgumentError, match="holds 2 images, numbered from 0; there is no 2"):
        ds.ingest_tiff(czi, series=2)


def test_the_reference_image_of_an_oir_has_the_line_that_was_scanned(
    ds: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = np.ones((8, 9), "u2")
    reference = SimpleNamespace(
        sizes={"Y": 8, "X": 9}, dtype="u2", line_roi=(1.0, 6.0, 7.5, 2.0), attrs={},
        coord_units={"Y": "micrometer"}, coord_scales={"Y": 0.5}, asarray=lambda: picture,
    )  # fmt: skip
    library: Any = ModuleType("oirfile")
    library.OirFile = lambda _: File(
        sizes={"T": 6, "X": 5}, dtype="u2", reference=reference, timestamps=None, coords={},
        coord_units={"T": "second"}, coord_scales={"T": 0.002}, attrs={}, xml_metadata={},
        datetime="2025-03-04T05:06:07.250+01:00", asarray=lambda: LINES,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "oirfile", library)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "a.oir").write_bytes(b"OLYMPUSRAWFORMAT")
    report = ds.ingest_legacy_folder(tmp_path / "lab", pattern="*.oir")
    scan, shown = (ds.record(image_id) for image_id in report.image_ids)
    assert scan.axes[0] == Axis("y", "time", "second", 0.002)
    assert np.array_equal(shown.load_array(), picture)
    assert shown.load_rois() == [LineRoi(roi_id=1, name="scanned line", points=[(1, 6), (7.5, 2)])]
    header = scan.load_metadata_payload()["header"]
    assert header["acquired_local_epoch_ns"] == 1741064767250000000


@pytest.mark.parametrize("name", ["czifile", "liffile", "oiffile", "oirfile", "nd2"])
def test_a_library_that_is_missing_is_named_with_its_extra(
    ds: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    suffix = {"czifile": ".czi", "liffile": ".lif", "oiffile": ".oib", "oirfile": ".oir"}
    file = tmp_path / f"a{suffix.get(name, '.nd2')}"
    file.write_bytes(b"any")
    with pytest.raises(MissingDependencyError, match=rf"need the package {name}.*kymflow-zarr\["):
        ds.ingest_tiff(file)
    (item,) = ds.ingest_legacy_folder(tmp_path, pattern=f"*{file.suffix}").failed
    assert name in str(item.reason)


@pytest.mark.parametrize("suffix", [".lif", ".oib", ".nd2"])
@pytest.mark.parametrize("content", [b"", b"any text", bytes(range(256)) * 40])
def test_a_damaged_file_is_a_line_of_the_report(
    ds: ZarrDataset, tmp_path: Path, suffix: str, content: bytes
) -> None:
    for name in ("liffile", "oiffile", "nd2"):
        pytest.importorskip(name)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / f"a{suffix}").write_bytes(content)
    report = ds.ingest_legacy_folder(tmp_path / "lab", pattern=f"*{suffix}")
    assert [item.status for item in report.items] == ["failed"]
