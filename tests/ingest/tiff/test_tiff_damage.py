"""TIFF files that are damaged, cut short or something else: refused, never read as zeros."""

from __future__ import annotations

import contextlib
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.ingest.sources.tiff.file import open_tiff


def noise(shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a TIFF at all, only named like one\n" * 20,
        b"II*\x00",
        b"II*\x00\x08\x00\x00\x00" + b"\xff" * 40,
        b"II*\x00\x08\x00\x00\x00" + bytes(40),
        b"MM\x00*\x00\x00\x00\x08" + bytes(range(200)),
        b"II+\x00\x08\x00\x00\x00" + b"\x7f" * 64,
        b"II*\x00\xf0\xff\xff\x7f" + bytes(100),
    ],
    ids=["empty", "text", "4 bytes", "tags of 0xff", "no tags", "garbage", "bigtiff", "far ifd"],
)
def test_what_is_no_tiff_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.tif"
    path.write_bytes(content)
    with pytest.raises(SourceFileError) as caught:
        open_tiff(path)
    assert caught.value.where == str(path)
    assert caught.value.hint


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.tif"):
        open_tiff(tmp_path / "nowhere.tif")
    with pytest.raises(SourceFileError):
        open_tiff(tmp_path)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("kind", ["plain", "imagej", "ome", "pages", "tiles"])
def test_a_file_cut_short_is_never_read_as_zeros_or_as_a_shorter_stack(
    tmp_path: Path, kind: str, compression: str | None
) -> None:
    data = noise((5, 40, 32), "uint16")
    path = tmp_path / "a.tif"
    options: dict[str, Any] = {"photometric": "minisblack", "compression": compression}
    if kind in {"imagej", "ome"}:
        options |= {kind: True, "metadata": {"axes": "ZYX"}}
    if kind == "tiles":
        options["tile"] = (16, 16)
    if kind == "pages":
        with tifffile.TiffWriter(path) as writer:
            for plane in data:
                writer.write(plane, compression=compression, contiguous=False, metadata=None)
    else:
        tifffile.imwrite(path, data, **options)
    whole = path.read_bytes()
    # tifffile may pad the end of a file; a cut there takes nothing away.
    for size in [8, 100, *range(400, len(whole) - 600, 701)]:
        path.write_bytes(whole[:size])
        with pytest.raises(SourceFileError):
            open_tiff(path)


@pytest.mark.parametrize("size", [0.2, 0.5, 0.99])
def test_an_imagej_stack_with_one_directory_that_is_cut_short(tmp_path: Path, size: float) -> None:
    path = tmp_path / "a.tif"
    data = noise((5, 40, 32), "uint16")
    tifffile.imwrite(path, data, imagej=True, truncate=True, metadata={"axes": "TYX"})
    with open_tiff(path) as image:
        np.testing.assert_array_equal(image[...], data)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * size)])
    with pytest.raises(SourceFileError, match="cut short"):
        open_tiff(path)


OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{own}">
<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16"
 SizeX="12" SizeY="16" SizeC="1" SizeZ="1" SizeT="2">
<Channel ID="Channel:0:0" SamplesPerPixel="1"/>
<TiffData IFD="0" FirstT="0" PlaneCount="1"><UUID FileName="t0.ome.tif">urn:uuid:0</UUID></TiffData>
<TiffData IFD="0" FirstT="1" PlaneCount="1"><UUID FileName="t1.ome.tif">urn:uuid:1</UUID></TiffData>
</Pixels></Image></OME>"""


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_an_ome_set_of_files_is_whole_or_refused(tmp_path: Path, compression: str | None) -> None:
    data = noise((2, 16, 12), "uint16")
    for index, plane in enumerate(data):
        tifffile.imwrite(
            tmp_path / f"t{index}.ome.tif",
            plane,
            description=OME.format(own=index),
            metadata=None,
            compression=compression,
        )
    with open_tiff(tmp_path / "t0.ome.tif") as image:
        np.testing.assert_array_equal(image[...], data)
        np.testing.assert_array_equal(image[1, 3:9], data[1, 3:9])
        assert image.description["files"] == ["t0.ome.tif", "t1.ome.tif"]
    (tmp_path / "t1.ome.tif").unlink()
    with pytest.raises(SourceFileError, match="page 1 is not there"):
        open_tiff(tmp_path / "t0.ome.tif")


def test_a_huge_shape_without_data_is_refused_without_allocating(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    entries = [
        (256, 4, 1, 4_000_000_000),
        (257, 4, 1, 4_000_000_000),
        (258, 3, 1, 16),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 4, 1, 4_000_000_000),
        (279, 4, 1, 4_000_000_000),
    ]
    ifd = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    path.write_bytes(b"II*\x00" + struct.pack("<I", 8) + ifd + bytes(4))
    with pytest.raises(SourceFileError, match="cut short"):
        open_tiff(path)


def test_pages_that_link_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(2):
            writer.write(noise((8, 6), "uint8"), contiguous=False, metadata=None)
    with tifffile.TiffFile(path) as tif:
        first, second = (page.offset for page in tif.pages)
    content = bytearray(path.read_bytes())
    (tag_count,) = struct.unpack_from("<H", content, second)
    struct.pack_into("<I", content, second + 2 + 12 * tag_count, first)
    path.write_bytes(content)
    with pytest.raises(SourceFileError, match="turns back after page 1"):
        open_tiff(path)


def test_damaged_compressed_pixels_are_named_when_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, noise((3, 40, 32), "uint16"), compression="zlib", photometric="minisblack"
    )
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[1]
        offset, count = page.dataoffsets[0], page.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bytes(count)
    path.write_bytes(content)
    with open_tiff(path) as image:
        image[0]
        image[2]
        with pytest.raises(SourceFileError, match="page 1 cannot be decoded"):
            image[1]


def test_an_image_without_pixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with pytest.warns(UserWarning, match="zero"):
        tifffile.imwrite(path, np.zeros((0, 5), "uint8"))
    with pytest.raises(SourceFileError):
        open_tiff(path)


def test_an_ome_file_whose_planes_are_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    data = noise((3, 16, 12), "uint8")
    tifffile.imwrite(
        path, data, ome=True, photometric="minisblack", compression="zlib", metadata={"axes": "TYX"}
    )
    content = path.read_bytes()
    path.write_bytes(content.replace(b'SizeT="3"', b'SizeT="9"'))
    with pytest.raises(SourceFileError, match="9 pages"):
        open_tiff(path)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_flipped_bytes_end_in_an_image_or_in_our_error(draws: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        tifffile.imwrite(
            path, noise((2, 6, 5), "uint8"), compression="lzw", photometric="minisblack"
        )
        content = bytearray(path.read_bytes())
        for _ in range(draws.draw(st.integers(1, 4))):
            at = draws.draw(st.integers(0, len(content) - 1))
            content[at] = draws.draw(st.integers(0, 255))
        path.write_bytes(content)
        with contextlib.suppress(SourceFileError), open_tiff(path) as image:
            if np.prod(image.shape, dtype=float) < 1e6:
                assert image[...].shape == image.shape
                assert image.description
