"""What a TIFF file says: its axes in OME order and its own description."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.ingest.folder.scan import sha256_of_file
from kymflow_zarr.ingest.sources.tiff.calibration import plan_axes
from kymflow_zarr.ingest.sources.tiff.file import TiffImage, open_tiff
from kymflow_zarr.types import Axis

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


def pixels(*shape: int, dtype: str = "uint16") -> npt.NDArray[Any]:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


def written(path: Path, data: npt.NDArray[Any], **options: Any) -> TiffImage:
    tifffile.imwrite(path, data, **options)
    return open_tiff(path)


def axis(image: TiffImage, name: str) -> Axis:
    return next(a for a in image.axes if a.name == name)


def names(image: TiffImage) -> str:
    return "".join(a.name for a in image.axes)


# --- axes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((7, 5), "yx"),
        ((4, 7, 5), "zyx"),
        ((6, 4, 7, 5), "czyx"),
        ((2, 6, 4, 7, 5), "tczyx"),
    ],
)
def test_without_a_word_about_axes_the_defaults_of_the_store_hold(
    tmp_path: Path, shape: tuple[int, ...], expected: str
) -> None:
    data = pixels(*shape)
    with written(tmp_path / "a.tif", data, photometric="minisblack", metadata=None) as plain:
        described = plain.axes
        # Without metadata the pages are one stack, whatever shape they were saved from.
        assert len(described) == min(len(shape), 3)
    with written(tmp_path / "b.tif", data, photometric="minisblack") as image:
        assert names(image) == expected
        np.testing.assert_array_equal(image[...], data)


@pytest.mark.parametrize("axes", ["TZCYX", "TCYX", "ZCYX", "TYX", "CYX", "YX"])
def test_imagej_channels_move_before_z(tmp_path: Path, axes: str) -> None:
    lengths = {"T": 2, "Z": 3, "C": 4, "Y": 6, "X": 5}
    data = pixels(*(lengths[a] for a in axes))
    with written(tmp_path / "a.tif", data, imagej=True, metadata={"axes": axes}) as image:
        target = "".join(a for a in "TCZYX" if a in axes)
        assert names(image) == target.lower()
        assert image.source_axes == axes
        np.testing.assert_array_equal(image[...], np.einsum(f"{axes}->{target}", data), strict=True)


@pytest.mark.parametrize("axes", ["TZCYX", "CZTYX", "ZTCYX", "TCZYX", "CYX"])
def test_ome_dimension_orders_all_become_tczyx(tmp_path: Path, axes: str) -> None:
    lengths = {"T": 2, "Z": 3, "C": 4, "Y": 6, "X": 5}
    data = pixels(*(lengths[a] for a in axes))
    path = tmp_path / "a.ome.tif"
    with written(path, data, photometric="minisblack", metadata={"axes": axes}) as image:
        target = "".join(a for a in "TCZYX" if a in axes)
        assert names(image) == target.lower()
        np.testing.assert_array_equal(image[...], np.einsum(f"{axes}->{target}", data), strict=True)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_rgb_samples_become_channels_before_the_plane(tmp_path: Path, planar: str) -> None:
    data = pixels(6, 5, 3, dtype="uint8")
    stored = data if planar == "contig" else np.moveaxis(data, -1, 0)
    with written(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar) as image:
        assert names(image) == "cyx"
        assert image.axes[0].quantity == "channel"
        np.testing.assert_array_equal(image[...], np.moveaxis(data, -1, 0), strict=True)


def test_channels_of_rgb_samples_become_one_axis_channels_outside(tmp_path: Path) -> None:
    data = pixels(2, 6, 5, 3, dtype="uint8")
    path = tmp_path / "a.tif"
    with written(path, data, photometric="rgb", metadata={"axes": "CYXS"}) as image:
        assert names(image) == "cyx"
        expected = np.moveaxis(data, -1, 1).reshape(6, 6, 5)
        np.testing.assert_array_equal(image[...], expected, strict=True)
        for key in (4, slice(1, 5), slice(5, 0, -2), slice(3, 6, 2), slice(2, 2), -1):
            np.testing.assert_array_equal(image[key], expected[key], strict=True)
            np.testing.assert_array_equal(image[key, 2:4, 1], expected[key, 2:4, 1], strict=True)


def test_line_scans_keep_time_before_space(tmp_path: Path) -> None:
    data = pixels(30, 8)
    with written(tmp_path / "a.tif", data, metadata={"axes": "TX"}) as image:
        assert image.axes == (Axis("t", "time"), Axis("x", "space"))
        np.testing.assert_array_equal(image[...], data, strict=True)
    data = pixels(30, 2, 8)
    with written(
        tmp_path / "b.tif", data, photometric="minisblack", metadata={"axes": "TCX"}
    ) as image:
        assert names(image) == "ctx"
        np.testing.assert_array_equal(image[...], data.transpose(1, 0, 2), strict=True)


@pytest.mark.parametrize(
    ("source", "shape", "expected"),
    [
        ("QYX", (2, 3, 4), {"z": 0, "y": 1, "x": 2}),
        ("PZYX", (2, 3, 4, 5), {"c": 0, "z": 1, "y": 2, "x": 3}),
        ("QTYX", (2, 3, 4, 5), {"t": 1, "z": 0, "y": 2, "x": 3}),
        ("RIAYX", (2, 3, 4, 5, 6), {"t": 0, "c": 1, "z": 2, "y": 3, "x": 4}),
        ("QCZYX", (2, 3, 4, 5, 6), {"t": 0, "c": 1, "z": 2, "y": 3, "x": 4}),
        ("QQYXS", (2, 3, 4, 5, 3), {"t": 0, "c": 4, "z": 1, "y": 2, "x": 3}),
        ("TTYX", (2, 3, 4, 5), {"t": 0, "z": 1, "y": 2, "x": 3}),
        ("QTCZYX", (1, 2, 3, 4, 5, 6), {"t": 1, "c": 2, "z": 3, "y": 4, "x": 5}),
    ],
)
def test_letters_without_a_counterpart_take_the_free_names(
    source: str, shape: tuple[int, ...], expected: dict[str, int]
) -> None:
    plan = plan_axes(source, shape, where="a.tif")
    assert dict(zip(plan.names, plan.dims, strict=True)) == {k: (v,) for k, v in expected.items()}
    assert list(plan.names) == [name for name in "tczyx" if name in plan.names]


def test_six_long_dimensions_are_refused_and_named(tmp_path: Path) -> None:
    path = tmp_path / "six.tif"
    tifffile.imwrite(path, pixels(2, 2, 2, 2, 4, 3), photometric="minisblack")
    with pytest.raises(SourceFileError, match=r"6 dimensions .*six\.tif"):
        open_tiff(path)
    tifffile.imwrite(path, pixels(2, 1, 2, 2, 4, 3), photometric="minisblack")
    with open_tiff(path) as image:
        assert image.shape == (2, 2, 2, 4, 3)


def test_one_dimension_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "line.tif"
    tifffile.imwrite(path, pixels(9))
    with pytest.raises(SourceFileError, match="1 dimensions"):
        open_tiff(path)


def test_every_real_file_reads_as_tifffile_reads_it(shared_data: Path) -> None:
    paths = [path for path in sorted(shared_data.rglob("*.tif")) if "vendor" not in path.parts]
    assert paths
    for path in paths:
        with open_tiff(path) as image:
            np.testing.assert_array_equal(np.asarray(image), tifffile.imread(path), strict=True)
            json.dumps(image.description)


# --- description ------------------------------------------------------------------------


def test_the_description_is_json_and_keeps_texts_verbatim(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    text = "line one\nline two \u00b5m\ttab"
    with tifffile.TiffWriter(path, byteorder=">") as writer:
        writer.write(
            pixels(6, 5),
            description=text.encode(),
            metadata=None,
            software="Scope 3",
            datetime="2022:11:02 12:30:15",
            extratags=[
                (65000, 7, 4, b"\x00\xff\x01\x02", True),
                (65001, 12, 2, (np.nan, np.inf), True),
                (65002, 5, 2, (1, 3, 2, 7), True),
            ],
        )
    with open_tiff(path) as image:
        described = json.loads(json.dumps(image.description))
    assert described["image_description"] == text
    assert described["byteorder"] == "big"
    assert described["format"] == "tiff"
    assert described["compression"] == "none"
    assert described["source_shape"] == [6, 5]
    tags = described["tags"]
    assert tags["Software"] == "Scope 3"
    assert tags["DateTime"] == "2022:11:02 12:30:15"
    assert base64.b64decode(tags["65000"]["base64"]) == b"\x00\xff\x01\x02"
    assert np.isnan(tags["65001"][0])
    assert tags["65002"] == [[1, 3], [2, 7]]
    assert not {"StripOffsets", "StripByteCounts"} & set(tags)


def test_tags_of_later_pages_that_differ_are_stored(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for number in range(3):
            writer.write(
                pixels(6, 5),
                description="same" if number < 2 else "other",
                metadata=None,
                contiguous=False,
                compression="zlib",
            )
    with open_tiff(path) as image:
        assert image.shape == (3, 6, 5)
        assert image.description["page_tags"] == {"2": {"ImageDescription": "other"}}


def test_imagej_blobs_survive(tmp_path: Path) -> None:
    lut = np.zeros((3, 256), "uint8")
    lut[1] = np.arange(256)
    with written(
        tmp_path / "a.tif",
        pixels(2, 6, 5, dtype="uint8"),
        imagej=True,
        metadata={
            "axes": "CYX",
            "LUTs": [lut, lut],
            "Info": "Objective=25x\nOwner=me",
            "Overlays": [b"overlay bytes"],
            "Ranges": (0.0, 255.0, 0.0, 128.0),
        },
    ) as image:
        described = json.loads(json.dumps(image.description))["imagej"]
    assert described["LUTs"][1] == lut.tolist()
    assert described["Info"] == "Objective=25x\nOwner=me"
    assert base64.b64decode(described["Overlays"]["base64"]) == b"overlay bytes"
    assert described["Ranges"] == [0.0, 255.0, 0.0, 128.0]


def test_a_pyramid_gives_its_full_resolution_and_names_the_levels(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    data = pixels(128, 96)
    with tifffile.TiffWriter(path) as writer:
        writer.write(data, subifds=2, tile=(32, 32), compression="zlib")
        writer.write(data[::2, ::2], subfiletype=1, tile=(32, 32), compression="zlib")
        writer.write(data[::4, ::4], subfiletype=1, tile=(32, 32), compression="zlib")
    with open_tiff(path) as image:
        np.testing.assert_array_equal(image[...], data, strict=True)
        assert image.series_count == 1
        assert image.description["levels"] == [
            {"axes": "YX", "shape": [128, 96]},
            {"axes": "YX", "shape": [64, 48]},
            {"axes": "YX", "shape": [32, 24]},
        ]


def test_a_slide_scanner_pyramid_of_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    data = pixels(128, 96, 3, dtype="uint8")
    tiled: dict[str, Any] = {"photometric": "rgb", "tile": (32, 32), "metadata": None}
    with tifffile.TiffWriter(path) as writer:
        writer.write(data, description="Aperio Image Library v1\n96x128 |AppMag = 20", **tiled)
        writer.write(data[::8, ::8], photometric="rgb", metadata=None)
        writer.write(data[::4, ::4], **tiled)
    with open_tiff(path) as image:
        assert image.source_axes == "YXS"
        np.testing.assert_array_equal(image[...], np.moveaxis(data, -1, 0), strict=True)
        levels = image.description["levels"]
        assert isinstance(levels, list)
        assert [level["shape"] for level in levels] == [[128, 96, 3], [32, 24, 3]]
        assert image.series_count == 2


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 5000)
    assert sha256_of_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_reader_takes_neither_pandas_nor_zarr_along() -> None:
    code = (
        "import sys, kymflow_zarr.ingest.sources.tiff.file;"
        "sys.exit(str({'pandas', 'zarr', 'pyarrow'} & set(sys.modules)) != 'set()')"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(deadline=None)
@given(st.lists(st.sampled_from("TZCYXSQIAPR"), min_size=3, max_size=5))
def test_names_of_all_axes_are_distinct_and_cover_every_pixel(letters: list[str]) -> None:
    shape = tuple(range(2, 2 + len(letters)))
    plan = plan_axes("".join(letters), shape, where="a.tif")
    assert len(set(plan.names)) == len(letters) - ("C" in letters and "S" in letters)
    assert sorted(d for dims in plan.dims for d in dims) == list(range(len(letters)))
    assert np.prod(plan.shape) == np.prod(shape)
