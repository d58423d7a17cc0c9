"""Parts of an image: what NumPy would give of the whole, without reading the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
import zarr.codecs
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr import ZarrDataset, set_limits
from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    CorruptDataError,
    LimitExceededError,
)

PIXELS = np.random.default_rng(0).integers(0, 4096, (3, 2, 21, 34), dtype="uint16")
CHUNKS = [None, (1, 1, 8, 16), (2, 1, 5, 5)]


def selections(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    def part(n: int) -> st.SearchStrategy[int | slice]:
        ends = st.none() | st.integers(-n - 2, n + 2)
        steps = st.none() | st.integers(-n - 2, n + 2).filter(bool)
        return st.integers(-n, n - 1) | st.builds(slice, ends, ends, steps)

    @st.composite
    def several(draw: st.DrawFn) -> Any:
        taken = draw(st.integers(0, len(shape)))
        first = draw(st.integers(0, taken))
        parts = [draw(part(n)) for n in shape[:first]]
        behind = [draw(part(n)) for n in shape[len(shape) - (taken - first) :]]
        dots: bool = behind != [] or draw(st.booleans())
        return (*parts, ..., *behind) if dots else tuple(parts)

    return several()


@pytest.fixture(scope="module")
def module_ds(tmp_path_factory: pytest.TempPathFactory) -> ZarrDataset:
    ds = ZarrDataset(tmp_path_factory.mktemp("parts") / "parts.zarr", durability="relaxed")
    for i, chunks in enumerate(CHUNKS):
        ds.add_image(PIXELS, chunks=chunks, image_id=f"{i}")
    return ds


@pytest.mark.parametrize("image_id", [str(i) for i in range(len(CHUNKS))])
@given(selection=selections(PIXELS.shape))
def test_a_part_is_what_numpy_gives_of_the_whole(
    module_ds: ZarrDataset, image_id: str, selection: Any
) -> None:
    part = module_ds[image_id].load_array(selection)
    assert isinstance(part, np.ndarray)
    assert part.dtype == PIXELS.dtype
    np.testing.assert_array_equal(part, np.asarray(PIXELS[selection]), strict=True)


@pytest.mark.parametrize("selection", [2, -2, np.int64(1), slice(1, 2), ..., (), (0, 1, 2, 3)])
def test_what_is_no_tuple_and_what_is_one_number_of_each(
    module_ds: ZarrDataset, selection: Any
) -> None:
    part = module_ds["0"].load_array(selection)
    assert part.shape == np.shape(PIXELS[selection])
    assert np.array_equal(part, PIXELS[selection])


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        ((0, 2), ArgumentError, "no position 2 along dimension 1, which has 2"),
        ((0,) * 5, ArgumentError, "5 indices are more than the 4 dimensions"),
        ((..., 0, ...), ArgumentError, "once"),
        (None, ArgumentTypeError, "None"),
        (True, ArgumentTypeError, "True"),
        ([0, 1], ArgumentTypeError, r"\[0, 1\]"),
        (np.array([0, 1]), ArgumentTypeError, "array"),
        (1.0, ArgumentTypeError, "1.0"),
        ("0", ArgumentTypeError, "'0'"),
        (slice("a", None), ArgumentTypeError, "slice"),
        (slice(None, None, 0), ArgumentTypeError, "zero"),
    ],
)
def test_missing_objects_are_errors_that_name_them(
    module_ds: ZarrDataset, selection: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        module_ds["0"].load_array(selection)


def test_damage_elsewhere_does_not_matter_to_a_part(ds: ZarrDataset) -> None:
    lines = np.arange(64 * 40, dtype="uint16").reshape(64, 40)
    rec = ds.add_image(lines, chunks=(16, 40))
    file = ds.path / "images" / rec.image_id / "data" / "c" / "0" / "0"
    data = bytearray(file.read_bytes())
    data[20] ^= 1  # In the first of four chunks.
    file.write_bytes(data)
    assert np.array_equal(rec.load_array(np.s_[16:]), lines[16:])
    for selection in (..., np.s_[15:17], 0):
        with pytest.raises(CorruptDataError, match="checksum"):
            rec.load_array(selection)
    file.write_bytes(data[:-9])
    with pytest.raises(CorruptDataError, match="index of the shard"):
        rec.load_array(np.s_[16:])
    file.unlink()
    with pytest.raises(CorruptDataError, match="missing"):
        rec.load_array(np.s_[16:])
    assert rec.load_array(np.s_[5:5]).shape == (0, 40)


def test_parts_of_an_array_of_another_program(ds: ZarrDataset) -> None:
    rec = ds.add_image(PIXELS)
    place = ds.path / "images" / rec.image_id / "data"
    zarr.create_array(
        place, data=PIXELS, chunks=(1, 1, 10, 10), compressors=[zarr.codecs.GzipCodec()],
        overwrite=True,
    )  # fmt: skip
    for selection in (np.s_[1], np.s_[..., ::-3], np.s_[2, ::-1, 4:9, 7], np.s_[:, 0:0]):
        part = rec.load_array(selection)
        np.testing.assert_array_equal(part, PIXELS[selection], strict=True)


def test_a_part_is_bounded_by_its_own_size(module_ds: ZarrDataset) -> None:
    rec = module_ds["1"]
    with set_limits(array_bytes=PIXELS[0].nbytes):
        assert np.array_equal(rec.load_array(1), PIXELS[1])
        with pytest.raises(LimitExceededError, match="array_bytes"):
            rec.load_array(np.s_[:2])


def test_parts_of_version_1(written_v1: Path) -> None:
    with ZarrDataset(written_v1, mode="r") as ds:
        for rec in ds.iter_records():
            whole = rec.load_array()
            part = rec.load_array((0, ...))
            np.testing.assert_array_equal(part, whole[0])
