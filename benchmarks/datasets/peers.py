"""A whole experiment beside other ways to keep one: TIFFs with sidecars, zarr-python, anndata."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
import zarr

from benchmarks.measure import Row, Skipped, interleaved
from kymflow_zarr import ZarrDataset

Image = tuple[str, np.ndarray[Any, Any], dict[str, Any], pd.DataFrame]
Way = Callable[[Path], object]
TIFF, ZARR = "TIFF, JSON and CSV files", "zarr-python, JSON, CSV"


def run(folder: Path, *, quick: bool) -> Iterator[Row | Skipped]:
    """Yield the comparisons; everything is written below `folder`."""
    images = list(_images(40 if quick else 300))
    repeat = 2 if quick else 5
    yield from _experiment(folder, images, repeat=repeat)
    yield from _observations(folder, 5_000 if quick else 50_000, repeat=repeat)


def _experiment(folder: Path, images: list[Image], *, repeat: int) -> Iterator[Row]:
    def written(way: Callable[[Path, list[Image]], None], name: str) -> Callable[[int], None]:
        return lambda n: way(folder / f"{name}-{n}", images)

    times = interleaved(
        {
            "ours": written(_write_ours, "ours"),
            "tiff": written(_write_tiffs, "tiff"),
            "zarr": written(_write_zarr, "zarr"),
        },
        repeat=repeat,
    )
    count = f"{len(images)} images"
    size = f"{count}, each with JSON and a table"
    yield from _rows(f"write {size}", times)
    tasks: dict[str, tuple[Way, Way, Way]] = {
        f"read {size}": (_read_ours, _read_tiffs, _read_zarr),
        f"a table of {count}: id, shape, metadata": (_list_ours, _list_tiffs, _list_zarr),
        f"the tables of {count} as one": (_gather_ours, _gather_csv, _gather_csv),
    }
    for name, (ours, tiffs, plain) in tasks.items():
        # What was written last is old enough for an index by now, or is not: alike for all.
        ways = {
            "ours": lambda _, ours=ours: ours(folder / "ours-1"),
            "tiff": lambda _, tiffs=tiffs: tiffs(folder / "tiff-1"),
            "zarr": lambda _, plain=plain: plain(folder / "zarr-1"),
        }
        yield from _rows(name, interleaved(ways, repeat=repeat))


def _rows(name: str, times: dict[str, float]) -> Iterator[Row]:
    for peer, said in (("tiff", TIFF), ("zarr", ZARR)):
        yield Row(name, said, times["ours"], times[peer], at_most=False)


def _images(count: int) -> Iterator[Image]:
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = rng.poisson(40, (2000, 38)).astype(np.uint16)
        metadata = {"condition": ("control", "drug")[i % 2], "depth_um": 10.0 * i, "day": i // 7}
        times = np.arange(100) * 0.02
        velocity = pd.DataFrame({"time_s": times, "velocity_mm_s": rng.random(len(times))})
        yield f"image-{i:04}", pixels, metadata, velocity


def _write_ours(path: Path, images: list[Image]) -> None:
    with ZarrDataset(path, "w", durability="relaxed") as ds:
        for name, pixels, metadata, velocity in images:
            rec = ds.add_image(pixels, image_id=name, line_period_s=0.001, pixel_size_um=0.3)
            rec.save_metadata_payload({"experiment_metadata": metadata})
            rec.save_df_parquet("velocity", velocity)


def _read_ours(path: Path) -> None:
    with ZarrDataset(path, "r") as ds:
        for rec in ds.iter_records():
            rec.load_array()
            rec.load_metadata_payload()
            rec.load_df_parquet("velocity")


def _list_ours(path: Path) -> pd.DataFrame:
    with ZarrDataset(path) as ds:
        return ds.images(["image_id", "shape", "condition", "depth_um", "day"])


def _gather_ours(path: Path) -> pd.DataFrame:
    with ZarrDataset(path, "r") as ds:
        return ds.gather("velocity")


def _write_tiffs(path: Path, images: list[Image]) -> None:
    path.mkdir()
    for name, pixels, metadata, velocity in images:
        tifffile.imwrite(path / f"{name}.tif", pixels, metadata={"axes": "YX"})
        _write_sidecars(path / name, metadata, velocity)


def _read_tiffs(path: Path) -> None:
    for file in sorted(path.glob("*.tif")):
        tifffile.imread(file)
        _read_sidecars(file.with_suffix(""))


def _list_tiffs(path: Path) -> pd.DataFrame:
    rows = []
    for file in sorted(path.glob("*.tif")):
        with tifffile.TiffFile(file) as tiff:
            shape = tiff.series[0].shape
        metadata = json.loads(file.with_suffix(".json").read_text("utf-8"))
        rows.append({"image_id": file.stem, "shape": shape, **metadata})
    return pd.DataFrame(rows)


def _gather_csv(path: Path) -> pd.DataFrame:
    frames = {file.stem: pd.read_csv(file) for file in sorted(path.glob("*.csv"))}
    return pd.concat(frames, names=["image_id"]).reset_index(level=0)


def _write_zarr(path: Path, images: list[Image]) -> None:
    path.mkdir()
    codec = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    for name, pixels, metadata, velocity in images:
        group = zarr.open_group(path / name, mode="w")
        array = group.create_array(
            "data", shape=pixels.shape, chunks=pixels.shape, dtype=pixels.dtype, compressors=codec
        )
        array[...] = pixels
        group.attrs.update({"line_period_s": 0.001, "pixel_size_um": 0.3})
        _write_sidecars(path / name, metadata, velocity)


def _read_zarr(path: Path) -> None:
    for file in sorted(path.glob("*.json")):
        group = zarr.open_group(file.with_suffix(""), mode="r")
        _ = group["data"][...]
        _read_sidecars(file.with_suffix(""))


def _list_zarr(path: Path) -> pd.DataFrame:
    rows = []
    for file in sorted(path.glob("*.json")):
        shape = zarr.open_group(file.with_suffix(""), mode="r")["data"].shape
        metadata = json.loads(file.read_text("utf-8"))
        rows.append({"image_id": file.stem, "shape": shape, **metadata})
    return pd.DataFrame(rows)


def _write_sidecars(stem: Path, metadata: dict[str, Any], velocity: pd.DataFrame) -> None:
    stem.with_suffix(".json").write_text(json.dumps(metadata), encoding="utf-8")
    velocity.to_csv(stem.with_suffix(".csv"), index=False)


def _read_sidecars(stem: Path) -> None:
    json.loads(stem.with_suffix(".json").read_text("utf-8"))
    pd.read_csv(stem.with_suffix(".csv"))


def _observations(folder: Path, count: int, *, repeat: int) -> Iterator[Row | Skipped]:
    """Compare an array of features, a row for each region, with a table of what each row is."""
    name = f"{count:,} regions x 50 features, with a table"
    if importlib.util.find_spec("anndata") is None:
        yield Skipped(name, "anndata is not installed (pip install anndata)")
        return
    import anndata

    rng = np.random.default_rng(0)
    features = rng.random((count, 50), dtype=np.float32)
    regions = pd.DataFrame(
        {
            "image_id": np.repeat([f"image-{i:04}" for i in range(count // 50)], 50),
            "condition": rng.choice(["control", "drug"], count),
            "area_um2": rng.random(count),
        },
        index=[str(i) for i in range(count)],
    )
    theirs = anndata.AnnData(features, obs=regions)
    ds = ZarrDataset(folder / "ours.zarr", durability="relaxed")
    rec = ds.add_image(np.zeros((8, 8), np.uint16))

    def write(_: int) -> None:
        rec.save_array_artifact("features", features)
        ds.save_table("regions", regions)

    def read(_: int) -> None:
        assert len(rec.load_array_artifact("features")) == len(ds.load_table("regions"))

    for suffix, said, save, load in (
        ("h5ad", "anndata, HDF5", theirs.write_h5ad, anndata.read_h5ad),
        ("zarr", "anndata, Zarr", theirs.write_zarr, anndata.read_zarr),
    ):
        path = folder / f"anndata.{suffix}"
        for word, ours, peer in (("write", write, save), ("read", read, load)):
            ways = {"ours": ours, "peer": lambda _, peer=peer, path=path: peer(path)}
            with warnings.catch_warnings():  # Of what will be in its next version.
                warnings.simplefilter("ignore")
                times = interleaved(ways, repeat=repeat)
            yield Row(f"{word} {name}", said, times["ours"], times["peer"], at_most=False)
