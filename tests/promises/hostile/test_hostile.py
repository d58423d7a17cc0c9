"""Files made to do harm: each is refused by name, before memory is spent on it."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
import zarr

import kymflow_zarr
from kymflow_zarr import Limits, ZarrDataset, ZarrImageRecord, get_limits, set_limits
from kymflow_zarr.engine.source_files import read_source_file
from kymflow_zarr.errors import (
    ArgumentError,
    CorruptDataError,
    KymflowZarrError,
    LimitExceededError,
    SourceFileError,
)
from kymflow_zarr.formats.array.npy import decode_npy
from kymflow_zarr.formats.dataframe.csv_gz import decode_csv_gz
from kymflow_zarr.formats.dataframe.parquet import decode_parquet
from kymflow_zarr.ingest.sources.tiff.file import open_tiff
from kymflow_zarr.layout import SOURCE_FILES
from kymflow_zarr.storage.local.storage import LocalStorage
from tests.helpers.v1_dataset import PLAIN, write_v1

HUGE = 10**15


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    with set_limits():
        set_limits(**dataclasses.asdict(Limits()))
        yield


def edit(path: Path, **values: object) -> None:
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps(document | values))


class TestLimits:
    def test_they_hold_in_every_thread_and_end_with_the_block(self) -> None:
        with set_limits(array_bytes=1000) as limits, ThreadPoolExecutor(1) as pool:
            assert limits.array_bytes == 1000
            assert pool.submit(get_limits).result() == limits
        assert get_limits() == Limits()

    def test_others_stay_as_they_are(self) -> None:
        set_limits(json_depth=7)
        set_limits(json_bytes=8)
        assert (get_limits().json_depth, get_limits().json_bytes) == (7, 8)

    @pytest.mark.parametrize("changes", [{"bytes": 3}, {"json_depth": 0}, {"json_depth": 1.5}])
    def test_a_wrong_one_changes_nothing(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ArgumentError):
            set_limits(**changes)
        assert get_limits() == Limits()

    def test_the_environment_sets_them_for_a_process(self) -> None:
        code = "import kymflow_zarr; print(kymflow_zarr.get_limits())"
        environment = {"KYMFLOW_ZARR_LIMITS": "array_bytes=2GiB, json_depth=90", "PATH": ""}
        environment["PYTHONPATH"] = str(Path(kymflow_zarr.__file__).parents[1])
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert run.stdout.strip() == str(Limits(array_bytes=2 << 30, json_depth=90))

    def test_the_error_names_limit_value_and_way_out(self, ds: ZarrDataset) -> None:
        rec = ds.add_image(np.zeros((20, 20), "uint16"))
        with (
            set_limits(array_bytes=799),
            pytest.raises(LimitExceededError, match=r"800 bytes.*array_bytes = 799.*set_limits"),
        ):
            rec.load_array()
        assert rec.load_array().shape == (20, 20)


class TestJson:
    def test_depth(self, rec: ZarrImageRecord, ds: ZarrDataset) -> None:
        key = rec.save_json("x", 1)
        (ds.path / key).write_bytes(b'{"a":[' * 3000 + b"]}" * 3000)
        with pytest.raises(LimitExceededError, match="json_depth = 500"):
            rec.load_json("x")

    def test_depth_hidden_by_brackets_in_text(self, rec: ZarrImageRecord, ds: ZarrDataset) -> None:
        key = rec.save_json("x", 1)
        (ds.path / key).write_bytes(b'["]",' * 100_000 + b"]" * 100_000)
        with pytest.raises(KymflowZarrError):
            rec.load_json("x")

    def test_brackets_in_text_are_no_depth(self, rec: ZarrImageRecord) -> None:
        value = ["[" * 5000, '\\"[[', "{" * 5000]
        rec.save_json("x", value)
        assert rec.load_json("x") == value

    def test_documents_of_the_dataset(self, rec: ZarrImageRecord, ds: ZarrDataset) -> None:
        (ds.path / "images" / rec.image_id / "zarr.json").write_bytes(b"[" * 5000 + b"]" * 5000)
        with pytest.raises(LimitExceededError, match="json_depth"):
            ds.record(rec.image_id).load_array()

    def test_size(self, rec: ZarrImageRecord) -> None:
        rec.save_json("x", "a" * 2000)
        with set_limits(json_bytes=1000), pytest.raises(LimitExceededError, match="json_bytes"):
            rec.load_json("x")


class TestGzip:
    BOMB = gzip.compress(bytes(1 << 20), mtime=0)

    def test_a_csv(self) -> None:
        with set_limits(gzip_bytes=1000), pytest.raises(LimitExceededError, match="gzip_bytes"):
            decode_csv_gz(self.BOMB, where="x")

    def test_many_members(self) -> None:
        with set_limits(gzip_bytes=3 << 20), pytest.raises(LimitExceededError):
            decode_csv_gz(self.BOMB * 4, where="x")

    def test_a_stored_source_file(self, tmp_path: Path) -> None:
        (tmp_path / SOURCE_FILES).mkdir()
        (tmp_path / SOURCE_FILES / "a.gz").write_bytes(self.BOMB)
        storage = LocalStorage(tmp_path, writable=False)
        assert read_source_file(storage, f"{SOURCE_FILES}/a.gz") == bytes(1 << 20)
        with set_limits(gzip_bytes=1000), pytest.raises(LimitExceededError):
            read_source_file(storage, f"{SOURCE_FILES}/a.gz")


class TestParquet:
    @staticmethod
    def written(table: pa.Table, **options: Any) -> bytes:
        sink = io.BytesIO()
        pq.write_table(table, sink, **options)
        return sink.getvalue()

    @staticmethod
    def one_long_text_a_million_times() -> Any:
        dictionary: Any = pa.DictionaryArray
        return dictionary.from_arrays(np.zeros(10**6, "int32"), pa.array(["x" * 10**6]))

    def test_one_long_text_for_a_million_rows(self) -> None:
        text = self.one_long_text_a_million_times()
        data = self.written(pa.table({"a": text}))
        assert len(data) < 10**6
        with pytest.raises(LimitExceededError, match="table_bytes"):
            decode_parquet(data, where="x")

    def test_an_unknown_codec(self) -> None:
        # pyarrow ends the process when it is asked for the name of such a codec.
        data = self.written(pa.table({"a": [1]}), compression="snappy")
        footer = data[-8 - int.from_bytes(data[-8:-4], "little") :]
        # Of the column's metadata: the path ("a"), then the codec, an enumeration.
        at = footer.index(b"\x19\x18\x01a\x15") + 5
        assert footer[at] == 2
        broken = data[: len(data) - len(footer)] + footer[:at] + b"\x24" + footer[at + 1 :]
        with pytest.raises(CorruptDataError, match="codec 18"):
            decode_parquet(broken, where="x")

    def test_lists_of_such_texts(self) -> None:
        lists = pa.ListArray.from_arrays([0, 10**6], self.one_long_text_a_million_times())
        with pytest.raises(LimitExceededError, match="table_bytes"):
            decode_parquet(self.written(pa.table({"a": lists})), where="x")

    def test_a_long_dictionary_of_short_texts_is_welcome(self) -> None:
        frame = pd.DataFrame({"a": [f"{i % 5000:040}" for i in range(20_000)]})
        data = self.written(pa.Table.from_pandas(frame))
        with set_limits(table_bytes=4 << 20):
            pd.testing.assert_frame_equal(decode_parquet(data, where="x"), frame)

    def test_equal_numbers(self) -> None:
        data = self.written(pa.table({"a": pa.array(np.zeros(10**6, "int64"))}))
        with set_limits(table_bytes=10**6), pytest.raises(LimitExceededError):
            decode_parquet(data, where="x")

    def test_texts_that_begin_like_the_one_before(self) -> None:
        table = pa.table({"a": [f"{'x' * 10_000}{i}" for i in range(1000)]})
        data = self.written(
            table, use_dictionary=False, column_encoding={"a": "DELTA_BYTE_ARRAY"},
            compression="NONE",
        )  # fmt: skip
        assert len(data) < 100_000
        with set_limits(table_bytes=1 << 20), pytest.raises(LimitExceededError):
            decode_parquet(data, where="x")


class TestNpy:
    @staticmethod
    def header(shape: tuple[int, ...], descr: str = "<u2") -> bytes:
        file = io.BytesIO()
        said = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, said)
        return file.getvalue()

    def test_a_huge_shape(self) -> None:
        with pytest.raises(LimitExceededError, match="array_bytes"):
            decode_npy(self.header((HUGE, HUGE)), where="x")

    def test_fewer_bytes_than_declared(self) -> None:
        with pytest.raises(CorruptDataError, match="declares 20000 bytes, and there are 7"):
            decode_npy(self.header((100, 100)) + bytes(7), where="x")

    def test_objects_are_not_unpickled(self) -> None:
        file = io.BytesIO()
        np.save(file, np.array([_Bomb()], dtype=object), allow_pickle=True)
        with pytest.raises(CorruptDataError, match="object"):
            decode_npy(file.getvalue(), where="x")
        assert not _Bomb.gone_off

    @pytest.mark.parametrize(
        "array",
        [np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3)), np.zeros((0, 3)), np.array(5.0)],
    )
    def test_what_numpy_writes_comes_back(self, array: np.ndarray[Any, Any]) -> None:
        file = io.BytesIO()
        np.save(file, array)
        found = decode_npy(file.getvalue(), where="x")
        np.testing.assert_array_equal(found, array, strict=True)
        assert found.flags.writeable


class _Bomb:
    gone_off = False

    def __reduce__(self) -> tuple[Any, ...]:
        return _go_off, ()


def _go_off() -> None:
    _Bomb.gone_off = True


class TestZarr:
    @staticmethod
    def huge(ds: ZarrDataset, shape: list[int]) -> ZarrImageRecord:
        """An image of ours whose documents agree on a shape that it has not."""
        rec = ds.add_image(np.zeros((4, 5), "uint16"), image_id="huge")
        folder = ds.path / "images" / "huge"
        document = json.loads((folder / "zarr.json").read_bytes())
        document["attributes"]["kymflow_zarr"]["pixels"]["shape"] = shape
        (folder / "zarr.json").write_text(json.dumps(document))
        edit(folder / "data" / "zarr.json", shape=shape)
        return rec

    @pytest.mark.parametrize("shape", [[HUGE, 5], [10**9, 10**9], [2**31, 2**31]])
    def test_a_huge_shape(self, ds: ZarrDataset, shape: list[int]) -> None:
        rec = self.huge(ds, shape)
        with pytest.raises(LimitExceededError, match="array_bytes"):
            rec.load_array()

    def test_a_shape_within_the_limit_and_no_chunks(self, ds: ZarrDataset) -> None:
        rec = self.huge(ds, [1 << 12, 5])
        with pytest.raises(CorruptDataError):
            rec.load_array()

    def test_more_chunks_than_anybody_has(self, ds: ZarrDataset) -> None:
        rec = self.huge(ds, [10**7, 50])
        with pytest.raises(LimitExceededError, match="array_chunks"):
            rec.load_array()

    def test_a_foreign_array_of_fill_values(self, ds: ZarrDataset) -> None:
        rec = ds.add_image(np.zeros((4, 5), "uint16"))
        _foreign(ds, rec, shape=(10**7, 10**7), chunks=(10**6, 10**6))
        with pytest.raises(LimitExceededError, match="array_bytes"):
            rec.load_array()

    def test_a_foreign_chunk_larger_than_memory(self, ds: ZarrDataset) -> None:
        rec = ds.add_image(np.zeros((4, 5), "uint16"))
        _foreign(ds, rec, shape=(4, 5), chunks=(10**7, 10**7))
        for read in (rec.load_array, rec.open_array):
            with pytest.raises(LimitExceededError, match="a chunk"):
                read()

    def test_version_1(self, tmp_path: Path) -> None:
        root = write_v1(tmp_path / "v1.zarr")
        edit(root / "images" / PLAIN / "data" / ".zarray", shape=[HUGE, HUGE])
        with ZarrDataset(root, mode="r") as ds, pytest.raises(LimitExceededError):
            ds.record(PLAIN).load_array()

    def test_a_codec_that_runs_code(self, tmp_path: Path) -> None:
        root = write_v1(tmp_path / "v1.zarr")
        data = root / "images" / PLAIN / "data"
        edit(data / ".zarray", filters=[{"id": "pickle"}], compressor=None, dtype="|O")
        (data / "0.0").write_bytes(pickle.dumps(_Bomb()))
        with ZarrDataset(root, mode="r") as ds:
            for read in (ds.record(PLAIN).load_array, ds.record(PLAIN).open_array):
                with pytest.raises(CorruptDataError, match="'pickle'"):
                    read()
        assert not _Bomb.gone_off

    @pytest.mark.parametrize("value", [0, 2**31 - 1, 2**32 - 1])
    @pytest.mark.parametrize("at", [8, 12])
    def test_a_chunk_that_lies_of_its_own_size(
        self, rec: ZarrImageRecord, ds: ZarrDataset, at: int, value: int
    ) -> None:
        # The decoder would read beyond the end, and take the process with it.
        chunk = ds.path / "images" / rec.image_id / "data" / "c" / "0" / "0"
        data = bytearray(chunk.read_bytes()[:-4])
        data[at : at + 4] = value.to_bytes(4, "little")
        chunk.write_bytes(data + int(google_crc32c.value(bytes(data))).to_bytes(4, "little"))
        with pytest.raises(CorruptDataError, match="damaged"):
            rec.load_array()


def _foreign(
    ds: ZarrDataset, rec: ZarrImageRecord, *, shape: tuple[int, ...], chunks: tuple[int, ...]
) -> None:
    folder = ds.path / "images" / rec.image_id / "data"
    zarr.create_array(folder, shape=shape, chunks=chunks, dtype="uint16", overwrite=True)


class TestTiff:
    @staticmethod
    def written(path: Path, pixels: np.ndarray[Any, Any], **options: Any) -> Path:
        tifffile.imwrite(path, pixels, **options)
        return path

    @staticmethod
    def retag(path: Path, **values: int) -> Path:
        with tifffile.TiffFile(path, mode="r+") as tif:
            for name, value in values.items():
                tif.pages[0].tags[name].overwrite(value, dtype=4)  # type: ignore[union-attr]
        return path

    def test_a_compressed_page_larger_than_memory(self, tmp_path: Path) -> None:
        path = self.written(tmp_path / "a.tif", np.zeros((9, 9), "uint16"), compression="zlib")
        self.retag(path, ImageWidth=2**20, ImageLength=2**20, RowsPerStrip=2**20)
        with pytest.raises(LimitExceededError, match="image_bytes"):
            open_tiff(path)

    def test_tiles_with_nothing_in_them(self, tmp_path: Path) -> None:
        path = self.written(
            tmp_path / "a.tif", np.zeros((64, 64), "uint8"), compression="zlib", tile=(64, 64)
        )
        self.retag(path, TileWidth=2**20, TileLength=2**20)
        with pytest.raises(LimitExceededError, match="strip or tile"):
            open_tiff(path)

    def test_a_decoder_that_crashes(self, tmp_path: Path) -> None:
        pixels = np.zeros((16, 16), "uint8")
        path = self.written(tmp_path / "a.tif", pixels, compression="zlib")
        self.retag(path, Compression=34934)
        with pytest.raises(SourceFileError, match="JPEG XR"):
            open_tiff(path)

    def test_pages_without_end(self, tmp_path: Path) -> None:
        path = self.written(
            tmp_path / "a.tif", np.zeros((30, 4, 4), "uint8"), photometric="minisblack",
            metadata=None,
        )  # fmt: skip
        with set_limits(tiff_pages=29), pytest.raises(LimitExceededError, match="tiff_pages"):
            open_tiff(path)
        with open_tiff(path) as image:
            assert image.shape == (30, 4, 4)

    OME = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels DimensionOrder="XYZCT" Type="uint8" SizeX="4" SizeY="4" SizeZ="1" SizeC="1" '
        'SizeT="{planes}" ID="Pixels:0"><Channel ID="Channel:0" SamplesPerPixel="1"/>'
        '<TiffData IFD="0" PlaneCount="{count}">{uuid}</TiffData></Pixels></Image></OME>'
    )

    def ome(self, path: Path, *, planes: int = 1, count: int = 1, uuid: str = "") -> Path:
        text = self.OME.format(planes=planes, count=count, uuid=uuid)
        return self.written(path, np.zeros((4, 4), "uint8"), description=text, metadata=None)

    def test_planes_that_only_the_metadata_have(self, tmp_path: Path) -> None:
        with open_tiff(self.ome(tmp_path / "a.ome.tif")) as image:
            assert image.shape == (4, 4)
        with pytest.raises(LimitExceededError, match="tiff_pages"):
            open_tiff(self.ome(tmp_path / "b.ome.tif", planes=10**12))
        with pytest.raises(LimitExceededError, match="PlaneCount"):
            open_tiff(self.ome(tmp_path / "c.ome.tif", count=10**12))

    @pytest.mark.parametrize("name", ["/secret.tif", "../secret.tif", "..&#47;secret.tif", "C:a"])
    def test_pixels_of_another_folder(self, tmp_path: Path, name: str) -> None:
        self.written(tmp_path / "secret.tif", np.ones((4, 4), "uint8"))
        (tmp_path / "lab").mkdir()
        if name == "/secret.tif":
            name = f"{tmp_path}/secret.tif"
        uuid = f'<UUID FileName="{name}">urn:uuid:1</UUID>'
        path = self.ome(tmp_path / "lab" / "a.ome.tif", uuid=uuid)
        with pytest.raises(SourceFileError, match="not in the folder"):
            open_tiff(path)

    def test_entities_in_xml(self, tmp_path: Path) -> None:
        text = '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + self.OME.format(planes=1, count=1, uuid="")
        path = self.written(
            tmp_path / "a.ome.tif", np.zeros((4, 4), "uint8"), description=text, metadata=None
        )
        with pytest.raises(SourceFileError, match="DTD"):
            open_tiff(path)

    def test_a_folder_goes_on_without_such_a_file(self, ds: ZarrDataset, tmp_path: Path) -> None:
        lab = tmp_path / "lab"
        lab.mkdir()
        self.ome(lab / "bad.ome.tif", planes=10**12)
        self.written(lab / "good.tif", np.zeros((4, 4), "uint8"))
        report = ds.ingest_legacy_folder(lab)
        assert len(ds) == 1
        assert any("tiff_pages" in (item.reason or "") for item in report.items)


class TestNames:
    @pytest.mark.parametrize(
        "key",
        ["zarr.json", "../secret.gz", f"{SOURCE_FILES}/../../secret.gz", "/etc/passwd", "",
         f"{SOURCE_FILES}/..", f"{SOURCE_FILES}/a/b.gz", f"{SOURCE_FILES}\\b.gz",
         f"images/../{SOURCE_FILES}/a.gz", f"images/a/../{SOURCE_FILES}/a.gz"],
    )  # fmt: skip
    def test_an_original_is_among_the_source_files(self, tmp_path: Path, key: str) -> None:
        (tmp_path / "secret.gz").write_bytes(gzip.compress(b"secret"))
        (tmp_path / "ds" / SOURCE_FILES).mkdir(parents=True)
        with pytest.raises(CorruptDataError, match="none of the kept"):
            read_source_file(LocalStorage(tmp_path / "ds", writable=False), key)

    @pytest.mark.parametrize("path", ["../other/data", "/etc", "..", "", "a/b", "a\\b", "C:x"])
    def test_pixels_are_a_child_of_their_group(
        self, rec: ZarrImageRecord, ds: ZarrDataset, path: str
    ) -> None:
        place = ds.path / "images" / rec.image_id / "zarr.json"
        document = json.loads(place.read_bytes())
        document["attributes"]["kymflow_zarr"]["pixels"]["path"] = path
        place.write_text(json.dumps(document))
        for read in (rec.load_array, rec.open_array):
            with pytest.raises(KymflowZarrError, match="not the name of a child"):
                read()
