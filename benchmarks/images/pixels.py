"""Writing and reading pixels: against np.save, and against zarr-python used plainly."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import zarr

from benchmarks.measure import Row, interleaved
from kymflow_zarr import ZarrDataset
from kymflow_zarr.testing import default_vessels, synthesize_kymograph


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    # As long as those of the microscope: 0.6 to 2.3 MB, two in several chunks.
    widths = (10, 19, 20, 32, 38, 38)
    images = [
        synthesize_kymograph(replace(vessel, n_lines=30_000, n_pixels=width)).pixels
        for vessel, width in zip(default_vessels(), widths, strict=True)
    ]
    yield from _kymographs(folder / "kymographs", images, repeat=3 if quick else 9)
    long = images[-1]
    lines = np.concatenate([long] * (1 + 25_000_000 // long.size))[: 25_000_000 // 38]
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

    for part in ("bare", "files"):
        (folder / part).mkdir()

    def bare(number: int) -> None:
        for i, image in enumerate(images):
            data = encoded(image)
            hashlib.sha256(data).hexdigest()
            bare_files(folder / "bare", f"{number}-{i}", data)

    stored = [encoded(image) for image in images]

    def files(number: int) -> None:
        for i, data in enumerate(stored):
            bare_files(folder / "files", f"{number}-{i}", data)

    times = interleaved(
        {
            "ours": ours,
            "plain": plain,
            "numpy": numpy,
            "bare": bare,
            "encode": lambda _: [encoded(image) for image in images],
            "digest": lambda _: [hashlib.sha256(data).hexdigest() for data in stored],
            "files": files,
        },
        repeat=repeat,
    )
    name = f"add_image, {len(images)} kymographs"
    yield Row(name, "zarr-python, plainly", times["ours"], times["plain"], 4, at_most=False)
    yield Row(name, "np.save and rename", times["ours"], times["numpy"], 4)
    # What no way of keeping these files can leave out, one after the other in one thread, and its
    # parts. Where files were deleted in the last minutes, some file systems take many times as
    # long to make one.
    yield Row(name, "encode, digest, bare files", times["ours"], times["bare"])
    parts = {"bare": "all of that", "encode": "encode", "digest": "digest", "files": "bare files"}
    for part, what in parts.items():
        yield Row(
            f"{what}, {len(images)} kymographs", "np.save and rename", times[part], times["numpy"]
        )

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
    # Pixels against pixels: documents and checksums weigh the same for any codec.
    ours_b, plain_b = (
        sum(_size(Path(str(place).format(i)) / "data" / "c") for i in ids)
        for place in (ds.path / "images" / "1-{}", folder / "plain-1-{}")
    )
    yield Row(f"stored pixels, {len(images)} kymographs", "zstd-3", ours_b, plain_b, 1.05, unit="B")


def _window(folder: Path, lines: np.ndarray[Any, Any], repeat: int) -> Iterator[Row]:
    rec = ZarrDataset(folder, mode="w").add_image(lines, line_period_s=0.00117)
    array = rec.open_array()
    middle = len(lines) // 2
    window = np.s_[middle : middle + 256]
    times = interleaved(
        {
            "window": lambda _: rec.load_array(window),
            "lazy": lambda _: array[window],
            "full": lambda _: rec.load_array(),
        },
        repeat=repeat,
    )
    name = f"256 lines of {lines.nbytes >> 20} MB"
    yield Row(name, "a full read", times["window"], times["full"], 0.05)
    yield Row(f"{name}, through open_array()", "a full read", times["lazy"], times["full"])


def _stack(folder: Path, stack: np.ndarray[Any, Any], repeat: int) -> Iterator[Row]:
    rec = ZarrDataset(folder, mode="w").add_image(stack, axes="tczyx")
    planes = int(np.prod(stack.shape[:3]))
    times = interleaved(
        {
            "plane": lambda n: rec.load_array((n % len(stack), 0, 1)),
            "full": lambda _: rec.load_array(),
        },
        repeat=repeat,
    )
    # A plane takes decoding it and opening a shard; other planes would show at once.
    yield Row(f"one plane of {planes}", "a full read", times["plane"], times["full"], 8 / planes)


def recipe(path: Path, image: np.ndarray[Any, Any]) -> None:
    """Write an image as the pages of zarr-python show it: group, array, attributes."""
    group = zarr.open_group(path, mode="w")
    codec = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    array = group.create_array(
        "data", shape=image.shape, chunks=image.shape, dtype=image.dtype, compressors=[codec]
    )
    array[...] = image
    group.attrs.update({"line_period_s": 0.00117})


def encoded(image: np.ndarray[Any, Any]) -> bytes:
    """Encode pixels as an image does, in one thread."""
    encode: Any = imagecodecs.blosc_encode
    data: bytes = encode(image, level=9, compressor="lz4", shuffle="bitshuffle", numthreads=1)
    return data


def bare_files(folder: Path, name: str, data: bytes) -> None:
    """Do what any commit of an image must: make its folders and files, rename; no more."""
    staged = f"{folder}/staged-{name}"
    for below in ("", "/data", "/data/c", "/data/c/0"):
        os.mkdir(staged + below)  # noqa: PTH102
    files = {
        "/data/zarr.json": b"x" * 1200,
        "/data/c/0/0": data,
        "/zarr.json": b"x" * 1500,
        "/checksums.sha256": b"x" * 400,
    }
    for below, content in files.items():
        with open(staged + below, "xb", buffering=0) as file:  # noqa: PTH123
            file.write(content)
    os.rename(staged, f"{folder}/{name}")  # noqa: PTH104


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def cleared(folder: Path) -> Path:
    """Return a folder that is there and empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
