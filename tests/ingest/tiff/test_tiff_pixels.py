"""Pixels of TIFF files: equal to what was written, and read on demand."""

from __future__ import annotations

import itertools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, SourceFileError
from kymflow_zarr.ingest.sources.tiff import pixels as stored_module
from kymflow_zarr.ingest.sources.tiff.file import open_tiff
from kymflow_zarr.ingest.sources.tiff.pixels import StoredPixels

WHOLE = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
DTYPES = ["bool", *WHOLE, "float16", "float32", "float64", "complex64", "complex128"]


def noise(shape: tuple[int, ...], dtype: str, seed: int = 0) -> npt.NDArray[Any]:
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.startswith(("int", "uint")):
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    values = rng.normal(size=shape)
    return (values + 1j * rng.normal(size=shape) if dtype[0] == "c" else values).astype(dtype)


def assert_same(actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    np.testing.assert_array_equal(actual, expected, strict=True)
    assert actual.dtype.isnative
    assert actual.flags.c_contiguous
    assert actual.flags.writeable


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the pages that were decoded, in order."""
    pages: list[int] = []
    original = tifffile.TiffPage.asarray

    def asarray(page: Any, *args: Any, **options: Any) -> Any:
        pages.append(page.index)
        return original(page, *args, **options)

    # Frames, tifffile's light pages, decode through the same method.
    monkeypatch.setattr(tifffile.TiffPage, "asarray", asarray)
    return pages


# --- equality ---------------------------------------------------------------------------


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_comes_back_native_and_equal(
    tmp_path: Path, dtype: str, byteorder: Literal["<", ">"]
) -> None:
    data = noise((3, 11, 7), dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, byteorder=byteorder, photometric="minisblack")
    with open_tiff(path) as image:
        assert image.dtype == np.dtype(dtype)
        assert_same(image[...], data)
        assert_same(np.asarray(image), data)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "packbits", "lzma", "png"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_lossless_compression(
    tmp_path: Path, compression: str, tile: tuple[int, int] | None
) -> None:
    data = noise((2, 37, 21), "uint16")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, compression=compression, tile=tile, photometric="minisblack")
    with open_tiff(path) as image:
        assert_same(image[...], data)
        assert_same(image[1, 5:30:3, ::-2], data[1, 5:30:3, ::-2].copy())


def test_jpeg_reads_as_tifffile_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = noise((40, 32, 3), "uint8")
    tifffile.imwrite(path, data, compression="jpeg", photometric="rgb")
    with open_tiff(path) as image:
        assert_same(image[...], np.moveaxis(tifffile.imread(path), -1, 0).copy())


@pytest.mark.parametrize(
    "options", [{"predictor": True, "compression": "zlib"}, {"tile": (16, 32)}]
)
def test_predictor_and_plain_tiles(tmp_path: Path, options: dict[str, Any]) -> None:
    data = noise((50, 41), "uint16")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, bigtiff=True, **options)
    with open_tiff(path) as image:
        assert_same(image[...], data)


def test_pages_that_do_not_touch(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = noise((4, 9, 6), "uint16")
    with tifffile.TiffWriter(path) as writer:
        for plane in data:
            writer.write(plane, contiguous=False, metadata=None)
    with open_tiff(path) as image:
        assert image.pixels_bounded
        assert_same(image[...], data)
        assert_same(image[2, 3:5], data[2, 3:5])


def test_tiles_left_empty_on_purpose_are_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tile = noise((16, 16), "uint8")
    tifffile.imwrite(
        path, iter([tile, None]), shape=(16, 32), dtype="uint8", tile=(16, 16), compression="zlib"
    )
    with open_tiff(path) as image:
        assert_same(image[...], np.hstack([tile, np.zeros_like(tile)]))


KEYS: list[Any] = [
    ...,
    (),
    0,
    -1,
    np.int64(1),
    (slice(None), 2),
    (..., 3),
    (1, ..., slice(2, None)),
    (slice(None, None, -1), slice(4, 1, -1), slice(None, None, 2)),
    (slice(1, 1), ...),
    (slice(5, 100), slice(-3, None)),
    (1, 2, 3),
    (slice(None), slice(None), slice(None)),
]


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_regions_are_those_of_numpy(tmp_path: Path, key: Any, compression: str | None) -> None:
    data = noise((3, 6, 5), "int16")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, data, compression=compression, photometric="minisblack")
    with open_tiff(path) as image:
        region = image[key]
        assert isinstance(region, np.ndarray)
        assert_same(region, np.array(data[key], order="C"))


@pytest.mark.parametrize("key", [3, -4, (0, 6), (0, 0, 0, 0), (..., ...)], ids=repr)
def test_wrong_indices_raise_what_numpy_raises(tmp_path: Path, key: Any) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((3, 6, 5), "uint8"), photometric="minisblack")
    with open_tiff(path) as image, pytest.raises(IndexError):
        image[key]


@pytest.mark.parametrize("key", [[0, 1], True, None, "y", 1.0, np.array([0, 1])], ids=repr)
def test_only_basic_indexing(tmp_path: Path, key: Any) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((3, 6, 5), "uint8"), photometric="minisblack")
    with open_tiff(path) as image, pytest.raises(ArgumentTypeError):
        image[key]


def test_a_region_belongs_to_the_caller(tmp_path: Path) -> None:
    data = noise((2, 6, 5), "uint8")
    for compression in (None, "zlib"):
        path = tmp_path / f"{compression}.tif"
        tifffile.imwrite(path, data, compression=compression, photometric="minisblack")
        with open_tiff(path) as image:
            image[0][...] = 0
            region = image[...]
        assert_same(region, data)
        assert_same(tifffile.imread(path), data)


def test_numpy_protocol(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = noise((6, 5), "uint8")
    tifffile.imwrite(path, data)
    with open_tiff(path) as image:
        assert_same(np.asarray(image, dtype="float32"), data.astype("float32"))
        assert (image.ndim, image.shape) == (2, (6, 5))
        assert repr(image) == "<TiffImage 'a.tif' yx (6, 5) uint8>"
        with pytest.raises(ValueError, match="without a copy"):
            np.asarray(image, copy=False)


@st.composite
def tiff_files(draw: st.DrawFn) -> tuple[npt.NDArray[Any], str, dict[str, Any]]:
    """Draw data, its axes, and the options to write it with."""
    kind = draw(st.sampled_from(["plain", "imagej", "ome"]))
    dtypes = {
        "plain": DTYPES,
        "imagej": ["uint8", "uint16", "float32"],
        "ome": ["bool", "uint8", "int16", "uint16", "int32", "float32", "float64", "complex64"],
    }
    leading = draw(st.lists(st.sampled_from("TZC"), unique=True, max_size=3))
    if kind == "imagej":
        leading = [a for a in "TZC" if a in leading]
    axes = "".join(leading) + "YX"
    options: dict[str, Any] = {
        "metadata": {"axes": axes},
        "photometric": "minisblack",
        "byteorder": draw(st.sampled_from("<>")),
        "compression": draw(st.sampled_from([None, "zlib", "lzw", "zstd", "packbits"])),
    }
    if kind != "plain":
        options[kind] = True
    if kind != "imagej":
        options["bigtiff"] = draw(st.booleans())
    # tifffile takes the last axis of an ImageJ image for samples if its length is one.
    narrowest = 2 if kind == "imagej" else 1
    shape = tuple(
        draw(st.integers(2, 4) if a in "TZC" else st.integers(narrowest, 19)) for a in axes
    )
    data = noise(shape, draw(st.sampled_from(dtypes[kind])), draw(st.integers(0, 99)))
    return data, axes, options


@settings(deadline=None, max_examples=60)
@given(tiff_files(), st.data())
def test_what_was_written_is_read(
    file: tuple[npt.NDArray[Any], str, dict[str, Any]], draws: st.DataObject
) -> None:
    data, axes, options = file
    target = "".join(a for a in "TCZYX" if a in axes)
    expected = data.transpose([axes.index(a) for a in target])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        tifffile.imwrite(path, data, **options)
        with open_tiff(path) as image:
            assert "".join(a.name for a in image.axes) == target.lower()
            assert_same(image[...], np.ascontiguousarray(expected))
            key = draws.draw(
                st.tuples(*(st.one_of(st.slices(n), st.integers(-n, n - 1)) for n in image.shape))
            )
            assert_same(image[key], np.array(expected[key], order="C"))


# --- laziness ---------------------------------------------------------------------------


def test_one_plane_of_a_compressed_stack_decodes_one_page(
    tmp_path: Path, decoded: list[int]
) -> None:
    path = tmp_path / "a.tif"
    data = noise((2, 3, 4, 8, 6), "uint16")
    tifffile.imwrite(path, data, imagej=True, compression="zlib", metadata={"axes": "TZCYX"})
    with open_tiff(path) as image:
        assert image.pixels_bounded
        assert decoded == []
        # t, c, z in the image; pages are t, z, c.
        assert_same(image[1, 2, 0], data[1, 0, 2])
        assert decoded == [1 * 12 + 0 * 4 + 2]
        image[1, 2, 0, 3:5, 1]
        assert len(decoded) == 1
        image[0, 3]
        assert decoded[1:] == [3, 7, 11]


def test_uncompressed_pixels_are_not_decoded_at_all(tmp_path: Path, decoded: list[int]) -> None:
    path = tmp_path / "a.tif"
    data = noise((5, 8, 6), "uint16")
    tifffile.imwrite(path, data, byteorder=">", photometric="minisblack")
    with open_tiff(path) as image:
        assert image.pixels_bounded
        assert_same(image[3], data[3])
        assert_same(image[:, 2:4, 5], data[:, 2:4, 5].copy())
    assert decoded == []


def test_a_single_compressed_page_says_that_it_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((300, 200), "uint16"), compression="zlib")
    with open_tiff(path) as image:
        assert not image.pixels_bounded


def test_threads_may_share_an_image(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = noise((12, 64, 48), "uint16")
    tifffile.imwrite(path, data, compression="zlib", photometric="minisblack")
    with open_tiff(path) as image, ThreadPoolExecutor(4) as pool:
        planes = list(pool.map(lambda z: image[z], list(range(12)) * 4))
    for z, plane in zip(itertools.cycle(range(12)), planes, strict=False):
        assert_same(plane, data[z])


def test_a_closed_image_says_so_and_frees_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise((6, 5), "uint8"))
    image = open_tiff(path)
    image.close()
    image.close()
    with pytest.raises(ArgumentError, match="closed"):
        image[0]
    with pytest.raises(ArgumentError, match="closed"):
        _ = image.description
    path.unlink()


# Pixels that lie in the file as they are, read in pieces -------------------------------


def forward_slices(length: int) -> st.SearchStrategy[slice]:
    return st.slices(length).filter(
        lambda part: part.indices(length)[2] > 0 and len(range(*part.indices(length))) > 0
    )


@pytest.mark.parametrize("limits", [(1, 1), (16, 200), (200, 50), (64 << 10, 16 << 20)])
@given(data=st.data())
@settings(max_examples=60)
def test_any_region_is_read_whatever_the_size_of_the_pieces(
    limits: tuple[int, int], data: st.DataObject
) -> None:
    shape = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    dtype = data.draw(st.sampled_from(["u1", ">u2", "<f4", ">c8"]))
    pixels = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    slices = [data.draw(forward_slices(n)) for n in shape]
    ranges = [range(*part.indices(n)) for n, part in zip(shape, slices, strict=True)]
    order = data.draw(st.permutations(range(len(shape))))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_module, "_RUN_BYTES", limits[0])
        patch.setattr(stored_module, "_HULL_BYTES", limits[1])
        path = Path(folder) / "a.tif"
        path.write_bytes(b"before" + pixels.tobytes() + b"after")
        file = SimpleNamespace(
            filehandle=SimpleNamespace(path=str(path)), byteorder=">" if dtype[0] == ">" else "<"
        )
        page: Any = SimpleNamespace(parent=file, dtype=pixels.dtype.newbyteorder("="))
        stored = StoredPixels(page, shape, len(b"before"))
        lengths = [len(r) for r in ranges]
        out = np.zeros([lengths[i] for i in order], pixels.dtype.newbyteorder("="))
        stored.read_into(ranges, out.transpose(np.argsort(order)))
    np.testing.assert_array_equal(out, pixels[tuple(slices)].transpose(order))


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((300, 40), "uint16"))
    with open_tiff(tmp_path / "a.tif") as image:
        with (tmp_path / "a.tif").open("r+b") as file:
            file.truncate(5_000)
        with pytest.raises(SourceFileError, match="cut short while it was read"):
            image[...]
        (tmp_path / "a.tif").unlink()
        with pytest.raises(SourceFileError, match="cannot be read"):
            image[...]
