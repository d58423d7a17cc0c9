"""Writing and reading pixels: against np.save, and against zarr-python used plainly."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchmarks.measure import Row, interleaved
from kymflow_zarr import ZarrDataset
from kymflow_zarr.testing import default_vessels, synthesize_kymograph


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    images = [synthesize_kymograph(vessel).pixels for vessel in default_vessels()]
    yield from _kymographs(folder / "kymographs", images, repeat=3 if quick else 9)
    lines = np.concatenate([images[0]] * (1 + 25_000_000 // images[0].size))[: 25_000_000 // 38]
    yield from _window(folder / "window", lines, repeat=5 if quick else 15)
    shape = (4, 2, 8, 512, 512) if quick else (8, 2, 16, 512, 512)
    stack = np.random.default_rng(0).poisson(40, shape).astype("uint16")
    yield from _stack(folder / "stack", stack, repeat=3 if quick else 7)


def _kymographs(folder: Path, images: list[np.ndarray[Any, Any]], repeat: int) -> Iterator[Row]:
    ds = ZarrDataset(folder / "ours.zarr", mode="w", durability="relaxed")

    def ours(number: int) -> None:
        for i, image in enumerate(images):
            ds.add_image(image, image_id=f"{number}-{i}", line_period_s=0.00117)

    def plain(number: int) -> None:
        for i, image in enumerate(images):
            recipe(folder / f"plain-{number}-{i}", image)

    def numpy(number: int) -> None:
        for i, image in enumerate(images):
            np.save(folder / "tmp.npy", image)
            (folder / "tmp.npy").replace(folder / f"{number}-{i}.npy")

    times = interleaved({"ours": ours, "plain": plain, "numpy": numpy}, repeat=repeat)
    name = f"add_image, {len(images)} kymographs"
    yield Row(name, "zarr-python, plainly", times["ours"], times["plain"], 4, at_most=False)
    yield Row(name, "np.save and rename", times["ours"], times["numpy"], 4, at_most=True)

    ids = range(len(images))
    times = interleaved(
        {
            "ours": lambda n: [ds[f"{n}-{i}"].load_array() for i in ids],
            "plain": lambda n: [
                zarr.open_group(folder / f"plain-{n}-{i}", mode="r")["data"][...] for i in ids
            ],
        },
        repeat=repeat,
    )
    name = f"load_array, {len(images)} kymographs"
    yield Row(name, "zarr-python, plainly", times["ours"], times["plain"], 2, at_most=False)
    sizes = [_size(path) for path in (ds.path / "images" / "1-0", folder / "plain-1-0")]
    yield Row("size of a kymograph (bytes as s)", "zstd-3", *map(float, sizes), 1.05, at_most=True)


def _window(folder: Path, lines: np.ndarray[Any, Any], repeat: int) -> Iterator[Row]:
    rec = ZarrDataset(folder, mode="w").add_image(lines, line_period_s=0.00117)
    array = rec.open_array()
    middle = len(lines) // 2
    times = interleaved(
        {"window": lambda _: array[middle : middle + 256], "full": lambda _: rec.load_array()},
        repeat=repeat,
    )
    name = f"256 lines of {lines.nbytes >> 20} MB"
    yield Row(name, "a full read", times["window"], times["full"], 0.05, at_most=True)


def _stack(folder: Path, stack: np.ndarray[Any, Any], repeat: int) -> Iterator[Row]:
    rec = ZarrDataset(folder, mode="w").add_image(stack, axes="tczyx")
    array = rec.open_array()
    planes = int(np.prod(stack.shape[:3]))
    times = interleaved(
        {"plane": lambda n: array[n % len(stack), 0, 1], "full": lambda _: rec.load_array()},
        repeat=repeat,
    )
    # A plane takes decoding it and opening a shard; other planes would show at once.
    yield Row(
        f"one plane of {planes}", "a full read", times["plane"], times["full"], 8 / planes,
        at_most=True,
    )  # fmt: skip


def recipe(path: Path, image: np.ndarray[Any, Any]) -> None:
    """Write an image as the pages of zarr-python show it: group, array, attributes."""
    group = zarr.open_group(path, mode="w")
    codec = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    array = group.create_array(
        "data", shape=image.shape, chunks=image.shape, dtype=image.dtype, compressors=[codec]
    )
    array[...] = image
    group.attrs.update({"line_period_s": 0.00117})


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def cleared(folder: Path) -> Path:
    """Return a folder that is there and empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
