"""A chunk that another program wrote does not fill the memory, whatever its codec."""

from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr

from kymflow_zarr import ZarrDataset, set_limits
from kymflow_zarr.errors import CorruptDataError, LimitExceededError
from kymflow_zarr.storage.unpacking import COMPRESSORS, check_unpacked
from kymflow_zarr.storage.zarr_arrays import open_zarr_array

BOMB_BYTES = 64 << 20
CODECS = {
    "blosc": numcodecs.Blosc(cname="zstd", clevel=9),
    "bz2": numcodecs.BZ2(9),
    "gzip": numcodecs.GZip(9),
    "lz4": numcodecs.LZ4(),
    "lzma": numcodecs.LZMA(),
    "zlib": numcodecs.Zlib(9),
    "zstd": numcodecs.Zstd(9),
}
V3 = sorted(["blosc", "gzip", "zstd", *(f"numcodecs.{name}" for name in CODECS)])
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def foreign(path: Path, codec: str, *, zarr_format: int) -> tuple[ZarrDataset, Path]:
    """Return a dataset whose image another program compressed, and its one chunk."""
    ds = ZarrDataset(path, "w", durability="relaxed")
    ds.add_image(np.arange(100, dtype="uint16").reshape(10, 10), image_id="a")
    data = path / "images" / "a" / "data"
    plain = np.arange(100, dtype="<u2").tobytes()
    name = codec.removeprefix("numcodecs.")
    packed = CODECS[name].encode(plain)
    if zarr_format == 3:
        document: dict[str, Any] = json.loads((data / "zarr.json").read_text())
        configuration = CODECS[name].get_config()
        configuration.pop("id")
        if codec == "blosc":
            configuration = {"cname": "zstd", "clevel": 9, "shuffle": "noshuffle", "blocksize": 0,
                             "typesize": 2}  # fmt: skip
        if codec == "zstd":
            configuration = {"level": 9, "checksum": False}
        document["chunk_grid"]["configuration"]["chunk_shape"] = [10, 10]
        document["codecs"] = [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": codec, "configuration": configuration},
        ]
        (data / "zarr.json").write_text(json.dumps(document))
        chunk = data / "c" / "0" / "0"
    else:
        (data / "zarr.json").unlink()
        document = {
            "zarr_format": 2, "shape": [10, 10], "chunks": [10, 10], "dtype": "<u2", "order": "C",
            "compressor": CODECS[name].get_config(), "filters": None, "fill_value": 0,
        }  # fmt: skip
        (data / ".zarray").write_text(json.dumps(document))
        chunk = data / "0.0"
    chunk.write_bytes(packed)
    return ds, chunk


@pytest.mark.parametrize("codec", V3)
def test_what_another_program_compressed_is_read(tmp_path: Path, codec: str) -> None:
    ds, _ = foreign(tmp_path / "x.zarr", codec, zarr_format=3)
    assert np.array_equal(ds["a"].load_array(), np.arange(100).reshape(10, 10))
    lazy: zarr.Array[Any] = ds["a"].open_array()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(pickle.loads(pickle.dumps(lazy))[:], np.arange(100).reshape(10, 10))


@pytest.mark.parametrize("codec", V3)
@pytest.mark.parametrize("read", ["load_array", "open_array"])
def test_a_chunk_that_unpacks_to_far_more_than_it_declares_is_refused(
    tmp_path: Path, codec: str, read: str
) -> None:
    ds, chunk = foreign(tmp_path / "x.zarr", codec, zarr_format=3)
    chunk.write_bytes(CODECS[codec.removeprefix("numcodecs.")].encode(bytes(BOMB_BYTES)))
    with pytest.raises(LimitExceededError, match="unpacks to at least"):
        np.asarray(getattr(ds["a"], read)()[:])


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_zarr_v2_chunk_is_measured_too(tmp_path: Path, codec: str) -> None:
    ds, chunk = foreign(tmp_path / "x.zarr", codec, zarr_format=2)
    chunk.write_bytes(CODECS[codec].encode(bytes(BOMB_BYTES)))
    array = open_zarr_array(ds._open.storage, "images/a/data", complete=False)
    with pytest.raises(LimitExceededError, match="unpacks to at least"):
        array[:]


def test_codecs_one_upon_the_other_are_refused(tmp_path: Path) -> None:
    ds, chunk = foreign(tmp_path / "x.zarr", "gzip", zarr_format=3)
    path = chunk.parents[2] / "zarr.json"
    document = json.loads(path.read_text())
    document["codecs"].append({"name": "zstd", "configuration": {"level": 3, "checksum": False}})
    path.write_text(json.dumps(document))
    with pytest.raises(CorruptDataError, match="more than once"):
        ds["a"].load_array()


def test_lzma_without_a_header_is_refused(tmp_path: Path) -> None:
    ds, chunk = foreign(tmp_path / "x.zarr", "numcodecs.lzma", zarr_format=3)
    path = chunk.parents[2] / "zarr.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 3'))
    with pytest.raises(CorruptDataError, match="without a header"):
        ds["a"].load_array()


@pytest.mark.parametrize("codec", sorted(COMPRESSORS - {"blosc", "lz4"}))
def test_several_streams_one_after_another_are_counted_together(codec: str) -> None:
    data = CODECS[codec].encode(bytes(1 << 20)) * 8
    check_unpacked(codec, data, 8 << 20, where="a")
    if codec != "zlib":  # Which has one stream alone.
        with pytest.raises(LimitExceededError):
            check_unpacked(codec, data, 1 << 20, where="a")


def test_the_limit_of_the_user_counts_where_it_is_lower() -> None:
    data = CODECS["gzip"].encode(bytes(4 << 20))
    with set_limits(array_bytes=1 << 20), pytest.raises(LimitExceededError):
        check_unpacked("gzip", data, 8 << 20, where="a")
