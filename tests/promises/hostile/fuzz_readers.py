"""Readers of foreign bytes, valid bytes for each, and ways to damage them."""

from __future__ import annotations

import functools
import gzip
import io
import json
import random
import shutil
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pandas as pd
import tifffile
import zarr
from numcodecs import Blosc
from zarr.codecs import BloscCodec

from kymflow_zarr import KymflowZarrError, ZarrDataset, ZarrImageRecord
from kymflow_zarr.formats.array.npy import decode_npy
from kymflow_zarr.formats.dataframe.csv_foreign import decode_csv
from kymflow_zarr.formats.dataframe.csv_gz import decode_csv_gz, encode_csv_gz
from kymflow_zarr.formats.dataframe.parquet import decode_parquet, encode_parquet
from kymflow_zarr.formats.json import decode_json, encode_json
from kymflow_zarr.ingest.sidecars.olympus import parse_olympus_header
from kymflow_zarr.ingest.sources.tiff.file import open_tiff
from kymflow_zarr.testing import default_vessels, write_experiment
from tests.helpers.export_dataset import MANIFEST, dataset
from tests.helpers.v1_dataset import KYMOGRAPH, LINES, STACK, write_v1

WHERE = "the fuzzed file"
_FEW_BYTES = 1 << 24
_NUMBERS = (
    0,
    1,
    0x7F,
    0xFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**64 - 1,
)
_WORDS = (
    b"[[[[[[[[", b'{"a":', b"1e999", b"-1", b"null", b'"NaN"', b"99999999999999999999", b"../..",
    b"\x00", b"\xff\xff\xff\xff", b"{}", b"[]", b'"__type__":', b"true", b",,,,,,", b"\n", b'"',
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """One kind of foreign bytes: whole, valid files of it, and what reads them."""

    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes], object]
    # Undoes what would otherwise stop every damaged input at a checksum.
    repair: Callable[[bytes], bytes] = bytes


def damaged(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return valid bytes with a few things changed, or bytes that were never valid."""
    if rng.random() < 0.02:
        return rng.randbytes(rng.choice([0, 1, 7, 64, 1000]))
    buffer = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3, 6])):
        _damage(buffer, others, rng)
    return bytes(buffer)


def _damage(buffer: bytearray, others: list[bytes], rng: random.Random) -> None:
    size = len(buffer)
    # Headers are at the beginning, footers at the end.
    near = rng.choice([64, 512, size])
    at = rng.randrange(max(1, min(near, size)))
    at = max(0, size - 1 - at) if rng.random() < 0.4 else at
    length = min(rng.choice([1, 2, 4, 8, 32, 500]), size)
    match rng.randrange(10):
        case 0:
            buffer[at : at + 1] = bytes([rng.randrange(256)])
        case 1:
            buffer[at : at + 1] = bytes([(buffer[at] if size else 0) ^ (1 << rng.randrange(8))])
        case 2:
            del buffer[at : at + length]
        case 3:
            del buffer[at:]
        case 4:
            buffer[at:at] = rng.randbytes(length)
        case 5:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            buffer[at : at + length] = other[start : start + length]
        case 6:
            buffer[at:at] = bytes(buffer[at : at + length]) * rng.choice([1, 2, 50])
        case 7:
            number = rng.choice(_NUMBERS)
            code = rng.choice(["<H", "<I", "<Q", ">H", ">I", ">Q"])
            mask = (1 << 8 * struct.calcsize(code)) - 1
            buffer[at : at + struct.calcsize(code)] = struct.pack(code, number & mask)
        case 8:
            buffer[at : at + rng.choice([0, 1, 4])] = rng.choice(_WORDS)
        case _:
            _other_number(buffer, at, rng)


def _other_number(buffer: bytearray, at: int, rng: random.Random) -> None:
    """Replace the next number in text by another."""
    digits = [i for i in range(at, min(len(buffer), at + 200)) if chr(buffer[i]).isdigit()]
    if digits:
        end = digits[0]
        while end < len(buffer) and chr(buffer[end]).isdigit():
            end += 1
        buffer[digits[0] : end] = str(rng.choice(_NUMBERS)).encode()


def check(name: str, data: bytes) -> bool:
    """Read bytes; True if that went well. Raises whatever is not an error of our tree."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            READERS[name].read(READERS[name].repair(data))
        except KymflowZarrError:
            return False
        return True


def inputs(name: str, seed: int, count: int) -> Iterator[bytes]:
    """Yield damaged inputs of a reader, always the same for a seed."""
    rng = random.Random(f"{name} {seed}")
    seeds = READERS[name].seeds()
    for _ in range(count):
        yield damaged(rng.choice(seeds), seeds, rng)


# Files by themselves ----------------------------------------------------------------------


@functools.cache
def _scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kymflow_zarr_fuzz_"))
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _tiffs() -> list[bytes]:
    plane = np.arange(24 * 17, dtype=np.uint16).reshape(24, 17)
    stack = np.stack([plane, plane[::-1], plane * 3, plane + 1])
    made: list[tuple[Any, dict[str, Any]]] = [
        (plane, {}),
        (plane, {"imagej": True, "metadata": {"unit": "um", "finterval": 0.1}}),
        (stack, {"imagej": True, "metadata": {"axes": "CYX", "Labels": ["a", "b", "c", "d"]}}),
        (stack, {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 0.1}}),
        (stack, {"bigtiff": True, "photometric": "minisblack"}),
        (plane, {"byteorder": ">", "rowsperstrip": 5}),
        (np.stack([plane, plane, plane], -1).astype("uint8"), {"photometric": "rgb"}),
        (np.zeros((300, 300), "uint8"), {"tile": (128, 128), "compression": "zlib"}),
        (plane, {"subifds": 1}),
    ]
    made += [
        (plane, {"compression": codec, "predictor": codec in ("zlib", "lzw", "zstd")})
        for codec in ("zlib", "lzw", "packbits", "zstd", "lzma", "png", "jpegxl", "jpeg2000")
    ]
    byte = (plane % 251).astype("uint8")
    colors = np.stack([byte, byte, byte], -1)
    made += [(byte, {"compression": codec}) for codec in ("jpeg", "lerc", "jpegxl", "png")]
    made += [(colors, {"compression": codec, "photometric": "rgb"}) for codec in ("jpeg", "webp")]
    made.append((plane.astype("float32"), {"compression": "lerc"}))
    made.append((plane.astype("float32"), {"compression": "zlib", "predictor": True}))
    found = []
    for pixels, options in made:
        file = io.BytesIO()
        try:
            with tifffile.TiffWriter(
                file,
                bigtiff=options.pop("bigtiff", False),
                imagej=options.pop("imagej", False),
                ome=options.pop("ome", None),
                byteorder=options.pop("byteorder", None),
            ) as tif:
                tif.write(pixels, **options)
                if options.get("subifds"):
                    tif.write(pixels[::2, ::2], subfiletype=1)
        except (ValueError, KeyError, RuntimeError):
            continue  # This imagecodecs cannot write it.
        found.append(file.getvalue())
    return found


def _read_tiff(data: bytes) -> object:
    path = _scratch() / "image.tif"
    path.write_bytes(data)
    with open_tiff(path) as image:
        image.description  # noqa: B018
        size = int(np.prod([int(n) for n in image.shape], dtype=object)) * image.dtype.itemsize
        return image[...] if size <= _FEW_BYTES else image[(0,) * image.ndim]


def _read_olympus(data: bytes) -> object:
    header = parse_olympus_header(data)
    if header is None:
        return None
    return (
        header.line_period_s, header.channel_names, header.is_line_scan,
        header.acquired_local_epoch_ns, [header.dimension(axis) for axis in "XYZT"],
    )  # fmt: skip


@functools.cache
def _frames() -> list[pd.DataFrame]:
    rows = 40
    plain = pd.DataFrame(
        {
            "image_id": [f"image-{i % 3}" for i in range(rows)],
            "n": np.arange(rows, dtype="int32"),
            "x": np.where(np.arange(rows) % 7, np.linspace(0, 1, rows), np.nan),
            "good": np.arange(rows) % 2 == 0,
            "kind": pd.Categorical(["rise", "drop"] * (rows // 2)),
            "when": pd.date_range("2026-01-01", periods=rows, tz="Europe/Berlin"),
        }
    )
    nested = pd.DataFrame(
        {"tags": [["a", "b"], None, []], "d": [{"a": 1}, {"a": 2}, None], "b": [b"1", b"", None]},
        index=pd.Index([3, 5, 7], name="row"),
    )
    return [plain, nested, pd.DataFrame(), plain.set_index(["image_id", "n"])]


def _parquets() -> list[bytes]:
    foreign = io.BytesIO()
    _frames()[0].to_parquet(foreign)
    snappy = io.BytesIO()
    _frames()[1].to_parquet(snappy, compression="gzip")
    return [*map(encode_parquet, _frames()), foreign.getvalue(), snappy.getvalue()]


def _csv_gzs() -> list[bytes]:
    frame = _frames()[0]
    text = frame.to_csv(index=False).encode()
    return [encode_csv_gz(frame), encode_csv_gz(frame[["x"]]), gzip.compress(text, mtime=0)]


def _plain_csvs() -> list[bytes]:
    return [
        len(head).to_bytes(4, "little") + head + text for head, text in map(_unpacked, _csv_gzs())
    ]


def _unpacked(data: bytes) -> tuple[bytes, bytes]:
    extra = int.from_bytes(data[10:12], "little") if data[3] & 4 else 0
    return data[12 : 12 + extra] if extra else b"", gzip.decompress(data)


def _packed(data: bytes) -> bytes:
    """Undo `_unpacked`: gzip whose checksum is right, whatever the text and the note are."""
    size = min(int.from_bytes(data[:4], "little"), 0xFFFF, len(data))
    head, text = data[4 : 4 + size], data[4 + size :]
    packed = bytearray(gzip.compress(text, 1, mtime=0))
    packed[3] |= 4
    return bytes(packed[:10]) + len(head).to_bytes(2, "little") + head + bytes(packed[10:])


def _jsons() -> list[bytes]:
    values: list[Any] = [
        {"a": [1, 2.5, None, float("nan")], "b": {"c": "µ", "__type__": "x"}},
        np.arange(6, dtype="float32").reshape(2, 3),
        np.array([1 + 2j, 3]),
        np.array(["ab", "c"]),
        {1: pd.Timestamp("2026-01-01", tz="Europe/Berlin"), 2: pd.Timedelta(1, "ns")},
        [b"ab", Path("a/b"), 1j, np.datetime64("2026-01-01"), pd.NaT],
    ]
    return [encode_json(value, where="seed") for value in values]


def _npys() -> list[bytes]:
    found = []
    for array in (
        np.arange(12, dtype="<u2").reshape(3, 4),
        np.asfortranarray(np.eye(3)),
        np.zeros(0),
    ):
        file = io.BytesIO()
        np.save(file, array)
        found.append(file.getvalue())
    return found


# Files of a dataset -----------------------------------------------------------------------


@functools.cache
def _dataset() -> Path:
    folder = _scratch() / "v2"
    folder.mkdir()
    with dataset(folder) as ds:
        ds.ingest_legacy_folder(_legacy())
    return folder / "d.zarr"


@functools.cache
def _v1() -> Path:
    return write_v1(_scratch() / "v1.zarr")


@functools.cache
def _legacy() -> Path:
    folder = _scratch() / "legacy"
    write_experiment(folder, vessels=[_vessel()])
    (tiff,) = list(folder.rglob("*.tif"))[:1]
    np.save(tiff.with_name(f"{tiff.stem}.mask.npy"), np.eye(4, dtype="uint8"))
    (folder / "notes.txt").write_text("kept as it is")
    return folder


def _vessel() -> Any:
    import dataclasses

    return dataclasses.replace(default_vessels()[0], n_lines=200)


@functools.cache
def _export() -> Path:
    folder = _scratch() / "export"
    with ZarrDataset(_dataset(), mode="r") as ds:
        ds.export_legacy_folder(folder)
    return folder


@functools.cache
def _blosc() -> Path:
    """A dataset of version 1 as zarr-python 2 wrote it: compressed by blosc."""
    root = write_v1(_scratch() / "blosc.zarr")
    folder = root / "images" / KYMOGRAPH / "data"
    shutil.rmtree(folder)
    array = zarr.create_array(
        folder, shape=(600, 38), chunks=(300, 38), dtype="uint16", zarr_format=2,
        compressors=Blosc(cname="lz4", shuffle=2),
    )  # fmt: skip
    array[...] = LINES
    return root


@functools.cache
def _sharded() -> Path:
    """A dataset with an array of another program: sharded, compressed by blosc."""
    folder = _scratch() / "foreign"
    folder.mkdir()
    with ZarrDataset(folder / "x.zarr", mode="w", durability="relaxed") as ds:
        ds.add_image(LINES, image_id="a")
        array = zarr.create_array(
            ds.path / "images/a/data", shape=(600, 38), shards=(600, 38), chunks=(100, 38),
            dtype="uint16", compressors=BloscCodec(cname="zstd"), overwrite=True,
        )  # fmt: skip
        array[...] = LINES
    return folder / "x.zarr"


@contextmanager
def _replaced(path: Path, data: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(before)


def _read_all(root: Path) -> None:
    """Read whatever a dataset holds; each part may be refused, and the others are read."""
    with ZarrDataset(root, mode="r") as ds:
        _tried(ds.validate)
        _tried(ds.__len__)
        for name in _tried(ds.list_table_names) or ():
            _tried(ds.load_table, name)
        for image_id in _tried(ds.list_image_ids) or ():
            rec = _tried(ds.record, image_id)
            if rec is not None:
                _read_record(rec)


def _read_record(rec: ZarrImageRecord) -> None:
    calls: list[Callable[[], object]] = [
        rec.load_array, rec.load_metadata_payload, rec.load_rois, rec.__repr__,
    ]  # fmt: skip
    for call in calls:
        _tried(call)
    _one_pixel(_tried(rec.open_array))
    for name in _tried(rec.list_array_artifacts) or ():
        _tried(rec.load_array_artifact, name)
    for info in _tried(rec.list_artifacts) or ():
        loaders: dict[str, Callable[[str], object]] = {
            "json": rec.load_json,
            "parquet": rec.load_df_parquet,
            "csv_gz": rec.load_df_csv_gz,
        }
        _tried(loaders[info.kind], info.name)


def _tried(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except KymflowZarrError:
        return None


def _one_pixel(array: Any) -> None:
    # From here on it is zarr's array; it must not take the process with it.
    with suppress(Exception):
        array[(0,) * array.ndim]


def _in(root: Callable[[], Path], key: str) -> Reader:
    def read(data: bytes) -> None:
        with _replaced(root() / key, data):
            _read_all(root())

    return Reader(lambda: [(root() / key).read_bytes()], read)


def _with_checksum(data: bytes) -> bytes:
    """Give a chunk the checksum of what it is now."""
    body = data[:-4]
    return body + int(google_crc32c.value(body)).to_bytes(4, "little")


def _chunk(root: Callable[[], Path], image_id: str, key: str, *, checked: bool) -> Reader:
    def read(data: bytes) -> Any:
        with _replaced(root() / key, data), ZarrDataset(root(), mode="r") as ds:
            return ds[image_id].load_array()

    def seeds() -> list[bytes]:
        return [(root() / key).read_bytes()]

    return Reader(seeds, read, _with_checksum if checked else bytes)


def _ingested(pattern: str) -> Reader:
    """Read a file of a legacy folder as the ingest does: its report says what is wrong."""

    def path() -> Path:
        return next(iter(sorted(_legacy().rglob(pattern))))

    def read(data: bytes) -> None:
        _dataset()  # Made of the same folder, before anything in it is damaged.
        with _replaced(path(), data), tempfile.TemporaryDirectory(dir=_scratch()) as folder:
            with ZarrDataset(Path(folder) / "x.zarr", durability="relaxed") as ds:
                report = ds.ingest_legacy_folder(_legacy())
            assert report.items

    return Reader(lambda: [path().read_bytes()], read)


def _taken_back(key: str) -> Reader:
    def read(data: bytes) -> None:
        with (
            _replaced(_export() / key, data),
            tempfile.TemporaryDirectory(dir=_scratch()) as folder,
            ZarrDataset(Path(folder) / "x.zarr", durability="relaxed") as ds,
        ):
            ds.ingest_legacy_folder(_export())

    return Reader(lambda: [(_export() / key).read_bytes()], read)


def _csv(data: bytes) -> object:
    # The ingest notes whatever a CSV makes pandas raise, and keeps the file.
    with suppress(Exception):
        return decode_csv(data)
    return None


def _olympus_seeds() -> list[bytes]:
    (path,) = [p for p in _legacy().rglob("*.txt") if p.name != "notes.txt"][:1]
    return [path.read_bytes(), path.read_bytes().decode().encode("utf-16")]


READERS: dict[str, Reader] = {
    "tiff": Reader(_tiffs, _read_tiff),
    "instrument_header": Reader(_olympus_seeds, _read_olympus),
    "csv": Reader(lambda: [f.to_csv().encode() for f in _frames()], _csv),
    "json": Reader(_jsons, lambda data: decode_json(data, where=WHERE)),
    "parquet": Reader(_parquets, lambda data: decode_parquet(data, where=WHERE)),
    "csv_gz": Reader(_csv_gzs, lambda data: decode_csv_gz(data, where=WHERE)),
    "csv_gz_text": Reader(_plain_csvs, lambda data: decode_csv_gz(data, where=WHERE), _packed),
    "npy": Reader(_npys, lambda data: decode_npy(data, where=WHERE)),
    "root_document": _in(_dataset, "zarr.json"),
    "image_document": _in(_dataset, "images/rich/zarr.json"),
    "array_document": _in(_dataset, "images/rich/data/zarr.json"),
    "array_artifact_document": _in(_dataset, "images/rich/analysis_arrays/seg%2fmask/zarr.json"),
    "chunk": _chunk(_dataset, "rich", "images/rich/data/c/0/0", checked=True),
    "table": _in(_dataset, "tables/typed.parquet"),
    "metadata_payload": _in(_dataset, "images/rich/analysis/metadata.json"),
    "kept_files": _in(_dataset, "source_files/files.json"),
    "v1_root": _in(_v1, ".zattrs"),
    "v1_image": _in(_v1, f"images/{KYMOGRAPH}/.zattrs"),
    "v1_array": _in(_v1, f"images/{KYMOGRAPH}/data/.zarray"),
    "v1_chunk": _chunk(_v1, KYMOGRAPH, f"images/{KYMOGRAPH}/data/0.0", checked=False),
    "v1_blosc_chunk": _chunk(_blosc, KYMOGRAPH, f"images/{KYMOGRAPH}/data/0.0", checked=False),
    "foreign_chunk": _chunk(_sharded, "a", "images/a/data/c/0/0", checked=False),
    "foreign_document": _in(_sharded, "images/a/data/zarr.json"),
    "v1_json_gz": _in(_v1, f"images/{STACK}/analysis/metadata.json.gz"),
    "ingest_metadata": _ingested("[0-9]*[0-9].json"),
    "ingest_header": _ingested("2*.txt"),
    "ingest_analysis_csv": _ingested("*_kymanalysis.csv"),
    "ingest_analysis_json": _ingested("*_kymanalysis.json"),
    "ingest_pooled": _ingested("radon_report_db.csv"),
    "ingest_npy": _ingested("*.npy"),
    "export_manifest": _taken_back(MANIFEST),
}


def seeds_are_read(name: str) -> bool:
    """Tell whether the valid bytes of a reader are read without an error."""
    return all(check(name, data) for data in READERS[name].seeds())


def as_text(data: bytes) -> str:
    """Return the first bytes of an input for a message."""
    return json.dumps(data[:200].decode("latin-1"))
