"""A folder as a lab has it, TIFFs with analysis beside them, against doing only the least."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import tifffile

from benchmarks.datasets.opening import COMPILED, run_python
from benchmarks.images.ingest import pack_file
from benchmarks.measure import Row, Skipped, interleaved
from kymflow_zarr import ZarrDataset
from kymflow_zarr.runtime.parallel import THREADS
from kymflow_zarr.testing import write_experiment

REAL = Path(__file__).parents[3] / "shared" / "data"
# What was written in the last two seconds could change unseen, and is neither indexed nor cached.
_RESTS_S = 2.1
FOLDERS = ("kymflow_folder", "kymflow_folder_2026_04")
LEAST = "read, digest, pack, sync"
RELEASE_0_1 = "f23e77f"
INGEST = """
import time
from kymflow_zarr import ZarrDataset
import pandas, pyarrow.csv, pyarrow.parquet, tifffile, zarr  # Not what is measured.
begun = time.perf_counter()
with ZarrDataset({target!r}, mode="w") as ds:
    ds.ingest_legacy_folder({lab!r}, progress=lambda *_: None)
print(time.perf_counter() - begun)
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: copies of the lab's folder, images, windows, files, repetitions."""

    copies: int
    few_copies: int
    many_copies: int
    gathered: int
    windows: int
    listed: int
    large: int
    scanned: int
    repeat: int


WHOLE = Sizes(4, 25, 250, 1_500, 200, 300, 100_000, 10_000, 5)
QUICK = Sizes(2, 1, 3, 150, 50, 300, 300, 1_000, 3)


def run(folder: Path, *, quick: bool) -> Iterator[Row | Skipped]:
    """Yield the comparisons; everything is written below `folder`."""
    sizes = QUICK if quick else WHOLE
    lab = folder / "lab"
    what = _write_lab(lab, sizes.copies)
    yield from _ingest(folder, lab, what, sizes.repeat)
    if not quick:
        yield from _earlier(folder, lab, what)
    yield from _growth(folder, (1, sizes.few_copies, sizes.many_copies))
    yield from _second_scan(folder, lab, what, sizes.repeat)
    many = folder / "many"
    yield from _second_scan(folder, many, _write_many(many, sizes.scanned), sizes.repeat)
    yield from _export(folder, lab, what, sizes.repeat)
    yield from _questions(folder, sizes.gathered, sizes.repeat)
    yield from _windows(folder, lab, sizes.windows)
    yield from _first_list(folder, sizes.listed, sizes.repeat)
    yield from _one_more(folder, 30, sizes.large)


# The folder ------------------------------------------------------------------------------------


def _write_lab(lab: Path, count: int) -> str:
    """Write `count` copies of the real folders with other pixels, or of a synthetic one."""
    lab.mkdir()
    real = [REAL / name for name in FOLDERS if (REAL / name).is_dir()]
    for number in range(count):
        for source in real:
            shutil.copytree(source, lab / f"{source.name} {number}")
        if not real:
            write_experiment(lab / f"experiment {number}")
    rng = np.random.default_rng(0)
    for path in sorted(lab.rglob("*.tif")):
        path.chmod(0o644)
        _change_pixels(path, int(rng.integers(1, 5_000)))
    files = [path for path in lab.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    kind = "real" if real else "synthetic"
    return f"{kind} folder, {len(files)} files, {size / 1e6:.0f} MB"


def _write_many(folder: Path, count: int) -> str:
    """Write tiny TIFFs, each with two sidecars, and a pooled table for each 33 of them."""
    for day in range(count // 100):
        (folder / f"day {day}").mkdir(parents=True)
        rows = ["rel_path,strength"]
        for number in range(33):
            path = folder / f"day {day}" / f"{number}.tif"
            tifffile.imwrite(path, np.full((8, 8), day * 33 + number, "uint16"))
            path.with_suffix(".json").write_text('{"version": "2.0"}')
            path.with_suffix(".txt").write_text("[General]\n")
            rows.append(f"{path.name},0.5")
        (folder / f"day {day}" / "event_db.csv").write_text("\n".join(rows))
    return f"tiny files, {count // 100 * 100} files"


def _change_pixels(path: Path, lines: int) -> None:
    """Move the lines of an uncompressed TIFF, so that no two files of a benchmark are equal."""
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        offsets, counts = page.dataoffsets, page.databytecounts
        row = page.imagewidth * page.dtype.itemsize if page.dtype is not None else 0
    data = bytearray(path.read_bytes())
    pixels = b"".join(data[o : o + n] for o, n in zip(offsets, counts, strict=True))
    cut = lines * row % max(len(pixels), 1)
    moved = pixels[cut:] + pixels[:cut]
    for offset, size in zip(offsets, counts, strict=True):
        data[offset : offset + size], moved = moved[:size], moved[size:]
    path.write_bytes(data)


# Ingest ----------------------------------------------------------------------------------------


def _ingest(folder: Path, lab: Path, what: str, repeat: int) -> Iterator[Row]:
    def ours(number: int) -> None:
        with ZarrDataset(folder / f"in {number}.zarr", mode="w") as ds:
            ds.ingest_legacy_folder(lab, progress=lambda *_: None)

    times = interleaved(
        {"ours": ours, "least": lambda number: _least(lab, folder / f"least {number}")},
        repeat=repeat,
    )
    yield Row(f"ingest, {what}, full", LEAST, *times.values(), 1.5)


def _least(lab: Path, target: Path) -> None:
    """Do with each file of a folder what no ingest can leave out."""
    target.mkdir()
    files = [path for path in lab.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda item: _take(*item, target), enumerate(files)))
    for path in target.iterdir():
        descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
        os.fsync(descriptor)
        os.close(descriptor)


def _take(number: int, path: Path, target: Path) -> None:
    if path.suffix.lower() in (".tif", ".tiff"):
        pack_file(path, target / f"{number}.packed")
        return
    data = path.read_bytes()
    hashlib.sha256(data).digest()
    (target / f"{number}.gz").write_bytes(imagecodecs.gzip_encode(data, level=1))
    if path.suffix == ".csv":
        table = pa.csv.read_csv(pa.BufferReader(data))
        pq.write_table(table, target / f"{number}.parquet")


def _earlier(folder: Path, lab: Path, what: str) -> Iterator[Row | Skipped]:
    """Compare with release 0.1, which is taken from the history of the checkout."""
    name = f"ingest, {what}, full, once in a process"
    archive = subprocess.run(
        ["git", "-C", str(Path(__file__).parents[2]), "archive", RELEASE_0_1, "src"],
        capture_output=True, check=False,
    )  # fmt: skip
    if archive.returncode != 0:
        yield Skipped(name, f"commit {RELEASE_0_1} of release 0.1 is not in this checkout")
        return
    if importlib.util.find_spec("filelock") is None:
        yield Skipped(name, "filelock, which release 0.1 needs, is not installed")
        return
    earlier = folder / "release 0.1"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(earlier, filter="data")
    sources = {"ours": Path(__file__).parents[2] / "src", "release 0.1": earlier / "src"}

    times: dict[str, list[float]] = {way: [] for way in (*sources, LEAST)}
    for number in range(4):
        begun = time.perf_counter()
        _least(lab, folder / f"least beside release 0.1 {number}")
        times[LEAST].append(time.perf_counter() - begun)
        for release, source in sources.items():
            target = folder / f"by {release} {number}.zarr"
            done = subprocess.run(
                [sys.executable, "-c", INGEST.format(target=str(target), lab=str(lab))],
                env={**os.environ, "PYTHONPATH": str(source)},
                capture_output=True, check=True,
            )  # fmt: skip
            times[release].append(float(done.stdout))
    ours, theirs, least = (statistics.median(each[1:]) for each in times.values())
    yield Row(name, "release 0.1", ours, theirs, 8, at_most=False)
    yield Row(LEAST, "release 0.1", least, theirs, at_most=False)


def _growth(folder: Path, numbers: tuple[int, int, int]) -> Iterator[Row]:
    """Compare what an image costs in folders of a few, of many and of very many."""
    images: dict[int, int] = {}
    for copies in sorted(set(numbers)):
        lab = folder / f"lab of {copies}"
        _write_lab(lab, copies)
        images[copies] = len(list(lab.rglob("*.tif")))

    def ingest(copies: int, number: int) -> None:
        with ZarrDataset(folder / f"grown {copies} {number}.zarr", mode="w") as ds:
            ds.ingest_legacy_folder(folder / f"lab of {copies}", progress=lambda *_: None)

    times = interleaved({str(n): lambda i, n=n: ingest(n, i) for n in images}, repeat=3)
    costs = [(count, times[str(copies)] / count) for copies, count in images.items()]
    (few, first), (many, last) = costs[-2:]
    yield Row(
        f"an image of a folder of {many}", f"of a folder of {few}", last, first, 1.2,
        points=tuple(costs),
    )  # fmt: skip


def _second_scan(folder: Path, lab: Path, what: str, repeat: int) -> Iterator[Row | Skipped]:
    name = f"second scan, nothing new, {what}"
    if shutil.which("git") is None:
        yield Skipped(name, "git is not installed")
        return
    git = ["git", "-C", str(lab), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], check=True, stdout=subprocess.DEVNULL)
    with ZarrDataset(folder / f"{lab.name} scanned.zarr", mode="w") as ds:
        ds.ingest_legacy_folder(lab, progress=lambda *_: None)
        # git and we trust a time only when the clock has gone on since.
        time.sleep(2.1)
        ds.refresh_from_folder(lab)
        times = interleaved(
            {
                "ours": lambda _: ds.refresh_from_folder(lab),
                "git": lambda _: subprocess.run(
                    [*git, "status", "--porcelain"], check=True, stdout=subprocess.DEVNULL
                ),
            },
            repeat=repeat,
        )
    yield Row(name, "git status", times["ours"], times["git"], 3)
    shutil.rmtree(lab / ".git")


def _export(folder: Path, lab: Path, what: str, repeat: int) -> Iterator[Row]:
    with ZarrDataset(folder / f"{lab.name} scanned.zarr", mode="r") as ds:
        times = interleaved(
            {
                "ours": lambda number: ds.export_legacy_folder(
                    folder / f"out {number}", layout="kymflow"
                ),
                "copy": lambda number: shutil.copytree(lab, folder / f"copy {number}"),
            },
            repeat=repeat,
        )
    yield Row(f"export in the lab's layout, {what}", "copying", *times.values(), 3)


# Questions -------------------------------------------------------------------------------------


def _questions(folder: Path, images: int, repeat: int) -> Iterator[Row | Skipped]:
    path = folder / "asked.zarr"
    rng = np.random.default_rng(0)
    with ZarrDataset(path, mode="w", durability="relaxed") as ds:
        pixels = np.zeros((8, 8), "uint16")
        for number in range(images):
            rec = ds.add_image(pixels, image_id=f"{number:05}")
            frame = pd.DataFrame(
                {"time_s": np.arange(1800) / 50, "velocity_mm_s": rng.normal(size=1800)}
            )
            rec.save_df_parquet("velocity", frame)
        time.sleep(_RESTS_S)
        ds.update_manifest()
        name = f"an artifact of {images} images, {1800 * images:,} rows"
        files = sorted(map(str, path.glob("images/*/analysis/velocity.parquet")))
        query = "SELECT avg(velocity_mm_s) AS v FROM {} WHERE time_s > 3"

        def arrow(_: int) -> pa.Table:
            with ThreadPoolExecutor(THREADS) as threads:
                tables = list(threads.map(lambda f: pq.ParquetFile(f).read(), files))
            return pa.concat_tables(tables)

        def first(ask: Callable[[ZarrDataset], object]) -> None:
            with ZarrDataset(path, mode="r") as opened:
                ask(opened)

        times = interleaved(
            {
                "first": lambda _: first(lambda ds: ds.gather("velocity", as_="arrow")),
                "again": lambda _: ds.gather("velocity", as_="arrow"),
                "arrow": arrow,
            },
            repeat=repeat,
        )
        against = "pyarrow on the bare files"
        yield Row(f"ds.gather, {name}", against, times["first"], times["arrow"], 1.25)
        yield Row(f"ds.gather again, {name}", against, times["again"], times["arrow"], 1.25)
        try:
            import duckdb
        except ImportError:
            yield Skipped(f"ds.sql, {name}", "duckdb is not installed")
            return
        bare = query.format(f"read_parquet({files!r})")
        times = interleaved(
            {
                "first": lambda _: first(lambda ds: ds.sql(query.format("velocity"))),
                "again": lambda _: ds.sql(query.format("velocity")),
                "bare": lambda _: duckdb.connect().execute(bare).fetchall(),
            },
            repeat=repeat,
        )
        against = "DuckDB on the bare files"
        yield Row(f"ds.sql, {name}", against, times["first"], times["bare"], 1.25)
        yield Row(f"ds.sql again, {name}", against, times["again"], times["bare"], 1.25)


# Pixels ----------------------------------------------------------------------------------------


def _windows(folder: Path, lab: Path, repeat: int) -> Iterator[Row]:
    lines = np.concatenate([tifffile.imread(min(lab.rglob("*.tif")))] * 20)
    with ZarrDataset(folder / "windows.zarr", mode="w", durability="relaxed") as ds:
        rec = ds.add_image(lines)
        opened = rec.open_array()
        time.sleep(_RESTS_S)
        rng = np.random.default_rng(0)
        chunk = _chunk(lines)
        begins = rng.integers(0, len(lines) - 256, size=repeat + 1)
        times = interleaved(
            {
                "handle": lambda i: opened[begins[i] : begins[i] + 256],
                "load": lambda i: rec.load_array(np.s_[begins[i] : begins[i] + 256]),
                "decode": lambda _: imagecodecs.blosc_decode(chunk, numthreads=1),
                "next": lambda i: opened[100 + i : 356 + i],
            },
            repeat=repeat,
        )
        name = f"256 lines of a kymograph of {lines.nbytes >> 20} MB"
        yield Row(
            f"{name}, open_array()", "decoding its chunks", times["handle"], times["decode"], 2
        )
        yield Row(f"{name}, load_array()", "decoding its chunks", times["load"], times["decode"])
        yield Row(f"{name}, the next ones", "a moment nobody feels", times["next"], 0.15e-3, 1)
        times = interleaved(
            {
                "ours": lambda i: ds.add_image(lines, image_id=f"added {i}"),
                "save": lambda i: _saved(folder / f"{i}.npy", lines),
            },
            repeat=5,
        )
        yield Row("add_image of real kymographs", "np.save and rename", *times.values(), 3.5)


def _chunk(lines: np.ndarray) -> bytes:
    """Pack a chunk of 512 KiB, in which 256 lines of a kymograph lie as a rule."""
    rows = max(8, (512 * 1024) // (lines.shape[1] * lines.itemsize) // 8 * 8)
    chunk = np.ascontiguousarray(lines[:rows])
    return imagecodecs.blosc_encode(chunk, compressor="lz4", level=5, shuffle="bitshuffle")


def _saved(path: Path, array: np.ndarray) -> None:
    np.save(path.with_suffix(".part.npy"), array)
    path.with_suffix(".part.npy").rename(path)


# Small calls -----------------------------------------------------------------------------------


def _first_list(folder: Path, count: int, repeat: int) -> Iterator[Row]:
    path = folder / "listed.zarr"
    with ZarrDataset(path, mode="w", durability="relaxed") as ds:
        for number in range(count):
            ds.add_image(np.full((8, 8), number, "uint16"))
        time.sleep(_RESTS_S)
        ds.update_manifest()
    code = (
        "from kymflow_zarr import ZarrDataset\n"
        f"list(ZarrDataset({str(path)!r}, mode='r').iter_records(order_by='created_utc'))"
    )
    environment = {**COMPILED, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    programs = {"ours": code, "numpy": "import numpy"}
    times = interleaved(
        {k: lambda _, code=code: run_python(code, environment) for k, code in programs.items()},
        repeat=repeat * 2,
    )
    yield Row(f"first ordered list of {count} images", "import numpy", *times.values(), 1.3)


def _one_more(folder: Path, few: int, many: int) -> Iterator[Row]:
    """Compare `ingest_tiff` of a new file in a small and in a large dataset."""
    datasets = {}
    for count in (few, many):
        ds = datasets[count] = ZarrDataset(
            folder / f"one more {count}.zarr", mode="w", durability="relaxed"
        )
        for number in range(count):
            ds.add_image(np.full((8, 8), number % 60_000, "uint16"))
        ds.update_manifest()
    tiffs = folder / "one more"
    tiffs.mkdir()

    def add(count: int, number: int) -> None:
        path = tiffs / f"{count} {number}.tif"
        tifffile.imwrite(path, np.full((50, 38), number * 1_000 + count % 997, "uint16"))
        datasets[count].ingest_tiff(path)

    times = interleaved({str(n): lambda i, n=n: add(n, i) for n in (few, many)}, repeat=15, warm=2)
    costs = {n: times[str(n)] for n in (few, many)}
    yield Row(
        f"ingest_tiff of a new file at {many:,} images", f"at {few}", costs[many], costs[few], 1.2
    )
    for ds in datasets.values():
        ds.close()
