"""A TIFF that was ingested comes back byte by byte, or the report says why not."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import ExportReport, ZarrDataset
from kymflow_zarr.errors import SchemaValidationError
from kymflow_zarr.export.tiff import source
from kymflow_zarr.export.tiff import source as source_module
from kymflow_zarr.schema.tiff_skeleton import TiffSkeleton, decode_skeleton, encode_skeleton
from tests.helpers.kymflow_tree import contents_of, differing, ingested

OME_DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
DTYPES = [*OME_DTYPES, "uint64", "int64", "float16", "complex64"]


def some_pixels(shape: tuple[int, ...], dtype: str, seed: int = 0) -> npt.NDArray[Any]:
    # Any bits: what NaN carries must come back, too.
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(seed).integers(0, 256, count, dtype="uint8")
    return raw.view(dtype).reshape(shape)


def there_and_back(folder: Path) -> ExportReport:
    """Ingest `folder`/in, delete it, and export it to `folder`/out; both are compared."""
    ds = ingested(folder / "in", folder / "d.zarr")
    before = contents_of(folder / "in")
    for path in before:
        (folder / "in" / path).unlink()
    report = ds.export_legacy_folder(folder / "out", layout="kymflow")
    after = contents_of(folder / "out")
    assert not report.failed
    assert set(after) == set(before) == set(report.files)
    changed = {path for path in before if before[path] != after[path]}
    assert changed == set(differing(report))
    assert ds.validate().ok
    return report


# Any TIFF --------------------------------------------------------------------------------


@st.composite
def tiffs(draw: st.DrawFn) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Pixels, and how tifffile is to write them, uncompressed."""
    kind = draw(st.sampled_from(["plain", "imagej", "ome", "rgb"]))
    seed = draw(st.integers(0, 9))
    arguments: dict[str, Any] = {"photometric": "minisblack"}
    if draw(st.booleans()):
        arguments["rowsperstrip"] = draw(st.integers(1, 9))
    if draw(st.booleans()):
        arguments["description"] = draw(st.text("ab µ", max_size=5)).encode("utf-8")
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    plane = (draw(st.integers(2, 9)), draw(st.integers(2, 9)))
    if kind == "imagej":
        arguments.pop("description", None)
        axes = "TZCYX"[3 - len(shape) :]
        dtype = draw(st.sampled_from(["uint8", "uint16", "float32"]))
        arguments |= {"imagej": True, "metadata": {"axes": axes}}
        return some_pixels((*shape, *plane), dtype, seed), arguments
    arguments["byteorder"] = draw(st.sampled_from("<>"))
    arguments["bigtiff"] = draw(st.booleans())
    if kind == "ome":
        arguments.pop("description", None)
        axes = "TCZYX"[3 - len(shape) :]
        arguments |= {"ome": True, "metadata": {"axes": axes}}
        return some_pixels((*shape, *plane), draw(st.sampled_from(OME_DTYPES)), seed), arguments
    if kind == "rgb":
        planar = draw(st.sampled_from(["contig", "separate"]))
        pixels = (*plane, 3) if planar == "contig" else (3, *plane)
        arguments |= {"photometric": "rgb", "planarconfig": planar, "metadata": None}
        return some_pixels((*shape[:1], *pixels), "uint8", seed), arguments
    if draw(st.booleans()):
        arguments["metadata"] = None
    return some_pixels((*shape, *plane), draw(st.sampled_from(DTYPES)), seed), arguments


@given(tiff=tiffs(), block=st.sampled_from([1, 40, 64 << 20]), whole=st.sampled_from([0, 1 << 20]))
@settings(max_examples=60)
def test_an_uncompressed_tiff_comes_back_byte_by_byte(
    tiff: tuple[npt.NDArray[Any], dict[str, Any]], block: int, whole: int
) -> None:
    pixels, arguments = tiff
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # Large images are read in blocks; here small ones are.
        patch.setattr(source_module, "BLOCK_BYTES", block)
        patch.setattr(source, "WHOLE_IMAGE_BYTES", whole)
        path = Path(folder) / "in" / "a.tif"
        path.parent.mkdir()
        tifffile.imwrite(path, pixels, **arguments)
        with tifffile.TiffFile(path) as tif:
            several = len(tif.series) > 1
        ds = ZarrDataset(Path(folder) / "d.zarr", mode="w", durability="relaxed")
        ds.ingest_legacy_folder(path.parent)
        report = ds.export_legacy_folder(Path(folder) / "out", layout="kymflow")
        same = (Path(folder) / "out" / "a.tif").read_bytes() == path.read_bytes()
        assert several or (same and not report.differences)
        assert same or "a.tif" in differing(report)


@given(
    dtype=st.sampled_from(["uint8", ">u2", "float32"]),
    shape=st.sampled_from([(5, 4), (3, 5, 4)]),
    channels=st.integers(2, 3),
    whole=st.sampled_from([0, 1 << 20]),
)
@settings(max_examples=15)
def test_channel_files_come_back_byte_by_byte(
    dtype: str, shape: tuple[int, ...], channels: int, whole: int
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "WHOLE_IMAGE_BYTES", whole)
        folder = Path(name)
        (folder / "in").mkdir()
        for channel in range(channels):
            tifffile.imwrite(
                folder / "in" / f"a_C00{channel + 1}T001.tif",
                some_pixels(shape, dtype, channel),
                byteorder=">" if dtype == ">u2" else "<",
                software=f"channel {channel}",
                photometric="minisblack",
            )
        (folder / "in" / "a.json").write_bytes(b'{"version": "1.0"}')
        assert there_and_back(folder).differences == ()


# What cannot come back as it was ---------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"compression": "zlib"}, "the TIFF was compressed (adobe_deflate)"),
        ({"compression": "zlib", "predictor": True}, "the TIFF was compressed (adobe_deflate)"),
        ({"tile": (16, 16)}, "the TIFF's pixels did not lie in it one after the other"),
    ],
)
def test_another_tiff_comes_back_equal_in_pixels_and_calibration(
    tmp_path: Path, arguments: dict[str, Any], reason: str
) -> None:
    (tmp_path / "in").mkdir()
    pixels = some_pixels((30, 20), "uint16")
    tifffile.imwrite(tmp_path / "in" / "a.tif", pixels, imagej="tile" not in arguments, **arguments)
    payload = {"header": {"shape": [30, 20], "voxels": [0.002, 0.25], "voxels_units": ["s", "um"]}}
    (tmp_path / "in" / "a.json").write_text(json.dumps(payload), encoding="utf-8")
    report = there_and_back(tmp_path)
    assert differing(report)["a.tif"].startswith(reason)
    assert list(differing(report)) == ["a.tif"]
    (tmp_path / "out" / "a.json").unlink()
    back = ZarrDataset(tmp_path / "back.zarr", mode="w").ingest_tiff(tmp_path / "out" / "a.tif")
    np.testing.assert_array_equal(back.load_array(), pixels)
    y, x = back.axes
    assert (y.quantity, y.unit, x.unit) == ("time", "second", "micrometer")
    assert y.step == pytest.approx(0.002)
    assert x.step == pytest.approx(0.25)


def test_images_of_one_file_each_have_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    images = [some_pixels((4, 5), "uint8"), some_pixels((6, 7), "uint16")]
    with tifffile.TiffWriter(tmp_path / "in" / "a.tif") as tif:
        for image in images:
            tif.write(image, photometric="minisblack")
    ds = ingested(tmp_path / "in", tmp_path / "d.zarr")
    report = ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    tifs = [path for path in report.files if path.endswith(".tif")]
    assert tifs == ["a.tif", "a_series1.tif"]
    assert "the TIFF held 2 images" in differing(report)["a.tif"]
    assert set(tifs) <= set(differing(report))
    for path, image in zip(tifs, images, strict=True):
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / path), image)


def test_what_lies_around_the_pixels_may_be_anything(tmp_path: Path) -> None:
    """Bytes that no tag speaks of, behind and between."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        tif.write(some_pixels((30, 20), "uint16"), align=4096)
    with path.open("ab") as file:
        file.write(b"and a trailer of the instrument")
    assert there_and_back(tmp_path).differences == ()


def test_pages_in_any_order_with_gaps_between_them(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with tifffile.TiffWriter(tmp_path / "in" / "a.tif", byteorder=">") as tif:
        for number in range(4):
            tif.write(
                some_pixels((9, 7), "uint16", number),
                contiguous=False, metadata=None, align=512, rowsperstrip=4,
            )  # fmt: skip
    assert there_and_back(tmp_path).differences == ()


def test_a_lost_plane_is_reported_and_the_pixels_come(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = some_pixels((30, 20), "uint16")
    tifffile.imwrite(tmp_path / "in" / "a.tif", pixels)
    ds = ingested(tmp_path / "in", tmp_path / "d.zarr")
    (frame,) = ds.path.rglob("*frames*")
    frame.write_bytes(frame.read_bytes()[:-20])
    report = ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    assert "what the TIFF held beside its pixels is lost" in differing(report)["a.tif"]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / "a.tif"), pixels)
    frame.unlink()
    assert [problem.code for problem in ds.validate().errors] == ["source-file"]


# The frame itself ------------------------------------------------------------------------


def skeleton_of_four() -> TiffSkeleton:
    return TiffSkeleton(
        size_bytes=30, dtype="<u2", shape=[2, 3], dims=[[0], [1]],
        ranges=[(20, 6), (8, 6)], rest=bytes(18),
    )  # fmt: skip


def test_a_frame_comes_back_equal() -> None:
    for channel in (None, (0, 1)):
        given_ = skeleton_of_four()
        given_.channel = channel
        assert decode_skeleton(encode_skeleton(given_), where="x") == given_


@pytest.mark.parametrize(
    "change",
    [
        {"frame_version": 2},
        {"dtype": "<u3"},
        {"dtype": "O"},
        {"shape": []},
        {"shape": [2, 0]},
        {"shape": [2, 4]},
        {"shape": [2, 3, 2]},
        {"dims": [[0], [0]]},
        {"dims": [[0]]},
        {"dims": [[0], [7]]},
        {"dims": [[0], [1], []]},
        {"ranges": [[20, 12]]},
        {"ranges": [[20, 6], [22, 6]]},
        {"ranges": [[-6, 6], [8, 6]]},
        {"ranges": [[20, 18], [8, -6]]},
        {"ranges": [[20, 6]]},
        {"size_bytes": 10**18},
        {"channel": [5, 0]},
        {"channel": [0, -1]},
        {"channel": "c"},
    ],
)
def test_numbers_that_do_not_fit_are_refused(change: dict[str, Any]) -> None:
    head, _, rest = encode_skeleton(skeleton_of_four()).partition(b"\n")
    document = json.loads(head) | change
    with pytest.raises(SchemaValidationError):
        decode_skeleton(json.dumps(document).encode() + b"\n" + rest, where="x")


@given(data=st.binary(max_size=80), cut=st.integers(0, 300))
def test_anything_else_is_refused(data: bytes, cut: int) -> None:
    whole = encode_skeleton(skeleton_of_four())
    for damaged in (data, whole[:cut] + data):
        if damaged != whole:
            try:
                found = decode_skeleton(damaged, where="x")
            except SchemaValidationError:
                continue
            assert len(found.rest) == 18
