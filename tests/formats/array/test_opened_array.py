"""A lazy array answers as zarr-python does, and decodes a chunk once while one pages through it."""

from __future__ import annotations

import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import CorruptDataError
from tests.formats.array.test_selection import CHUNKS, PIXELS, selections
from tests.promises.costs.test_costs import decoded

LINES = np.random.default_rng(0).integers(0, 4096, (30_000, 38), dtype="uint16")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> list[zarr.Array[Any]]:
    ds = ZarrDataset(tmp_path_factory.mktemp("lazy") / "lazy.zarr", durability="relaxed")
    arrays = [ds.add_image(PIXELS, chunks=chunks).open_array() for chunks in CHUNKS]
    age_chunks(ds.path)
    return arrays


@pytest.fixture
def lines(ds: ZarrDataset) -> Any:  # The annotations of zarr-python allow scalars everywhere.
    rec = ds.add_image(LINES)
    age_chunks(ds.path)
    return rec.open_array()


def age_chunks(path: Path, seconds: int = 10) -> list[Path]:
    """Make the files of pixels older: a file of this moment could change unseen."""
    then = time.time() - seconds
    files = [file for file in path.rglob("c/**/*") if file.is_file()]
    for file in files:
        os.utime(file, (then, then))
    return files


def as_zarr(array: zarr.Array[Any], selection: Any) -> Any:
    try:
        return zarr.Array.__getitem__(array, selection)
    except Exception as error:  # noqa: BLE001 - what zarr raises is what is to be raised
        return type(error)


@pytest.mark.parametrize("number", range(len(CHUNKS)))
@given(selection=selections(PIXELS.shape), extra=st.sampled_from([None, 99, (99, 0), "x", True]))
def test_a_lazy_array_gives_what_zarr_gives(
    opened: list[zarr.Array[Any]], number: int, selection: Any, extra: Any
) -> None:
    array = opened[number]
    for asked in (selection, extra):
        try:
            found: Any = array[asked]
        except Exception as error:  # noqa: BLE001 - compared with zarr's below
            found = type(error)
        expected = as_zarr(array, asked)
        assert type(found) is type(expected)
        np.testing.assert_array_equal(found, expected)
        if isinstance(expected, np.ndarray):
            assert (found.dtype, found.flags.writeable) == (expected.dtype, True)


def test_a_lazy_array_is_still_one_of_zarr(lines: Any) -> None:
    assert (lines.shape, lines.dtype, lines.read_only) == (LINES.shape, LINES.dtype, True)
    assert lines.metadata.zarr_format == 3
    np.testing.assert_array_equal(lines.oindex[[5, 2], [1, 3]], LINES[np.ix_([5, 2], [1, 3])])
    np.testing.assert_array_equal(lines[[5, 2], [1, 3]], LINES[[5, 2], [1, 3]])
    np.testing.assert_array_equal(lines.with_config({"order": "F"})[7:9], LINES[7:9])
    np.testing.assert_array_equal(np.asarray(lines), LINES)
    assert lines[3, 4] == LINES[3, 4]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lines))[7:9], LINES[7:9])
    with pytest.raises(ValueError, match="read-only"):
        lines.resize((1, 1))
    assert isinstance(lines, zarr.Array)


def test_paging_through_a_chunk_decodes_it_once(lines: Any) -> None:
    chunk = lines.chunks[0]
    with decoded() as sizes:
        for start in range(0, chunk - 256, 256):
            np.testing.assert_array_equal(lines[start : start + 256], LINES[start : start + 256])
    assert len(sizes) == 1


def test_what_is_read_can_be_changed_without_changing_the_next_answer(
    lines: Any,
) -> None:
    for _ in range(3):
        window = lines[10:20]
        np.testing.assert_array_equal(window, LINES[10:20])
        window[:] = 0


def test_a_chunk_that_is_damaged_after_it_was_read_is_noticed(lines: Any, ds: ZarrDataset) -> None:
    assert lines[:5].tolist() == LINES[:5].tolist()
    (file,) = age_chunks(ds.path)
    data = bytearray(file.read_bytes())
    data[200] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptDataError, match="checksum"):
        lines[:5]
    file.unlink()
    with pytest.raises(CorruptDataError, match=r"missing.*call open_array\(\) again"):
        lines[:5]


def test_an_image_that_is_deleted_and_added_again_is_read_again(
    lines: Any, ds: ZarrDataset
) -> None:
    (image_id,) = ds.list_image_ids()
    assert lines[0, 0:1].tolist() == LINES[0, 0:1].tolist()
    ds.delete_image(image_id)
    ds.add_image(LINES + 1, image_id=image_id)
    assert lines[0, 0:1].tolist() == (LINES[0, 0:1] + 1).tolist()


def test_chunks_of_a_file_that_has_just_been_written_are_not_cached(ds: ZarrDataset) -> None:
    lines: Any = ds.add_image(LINES).open_array()
    with decoded() as sizes:
        for _ in range(3):
            lines[:5]
    assert len(sizes) == 3


def test_several_threads_read_one_lazy_array(lines: Any) -> None:
    starts = np.random.default_rng(1).integers(0, len(LINES) - 100, 200).tolist()
    with ThreadPoolExecutor(8) as threads:
        windows = list(threads.map(lambda start: lines[start : start + 100], starts))
    for start, window in zip(starts, windows, strict=True):
        np.testing.assert_array_equal(window, LINES[start : start + 100])


def test_a_lazy_array_keeps_few_chunks(ds: ZarrDataset) -> None:
    pixels = np.zeros((600_000, 38), "uint8")
    rec = ds.add_image(pixels)
    age_chunks(ds.path)
    lines: Any = rec.open_array()
    chunk, count = lines.chunks[0], 8 << 20
    with decoded() as sizes:
        for start in range(0, len(pixels), chunk):
            lines[start : start + 5]
        before = len(sizes)
        assert before * chunk * 38 > count  # More than it may keep.
        lines[-5:]
        assert len(sizes) == before
        lines[:5]
    assert len(sizes) == before + 1
