"""Why the codec and the chunks are what they are: candidates, in memory and in turns.

``python -m benchmarks codecs`` prints a row for each. ``docs/design/0003-chunks.md`` has a table of
them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from benchmarks.measure import Row, interleaved
from kymflow_zarr import ZarrDataset
from kymflow_zarr.testing import default_vessels, synthesize_kymograph

Pixels = np.ndarray[Any, Any]
Codec = tuple[Callable[[Pixels], bytes], Callable[[bytes], object]]

BASELINE = "zstd-3"


def run(folder: Path, *, quick: bool) -> Iterator[Row]:
    """Yield the comparisons; everything is written below `folder`."""
    repeat = 3 if quick else 9
    lines = [synthesize_kymograph(vessel).pixels for vessel in default_vessels()]
    shape = (2, 8, 512, 512) if quick else (2, 32, 512, 512)
    stack = np.random.default_rng(0).poisson(40, shape).astype("uint16")
    yield from compare("kymographs", lines, repeat)
    yield from compare("planes of a stack", list(stack.reshape(-1, 512, 512)), repeat)
    long = np.concatenate([lines[0]] * (1 + 25_000_000 // lines[0].size))
    long = long[: (4_000_000 if quick else 25_000_000) // long.shape[1]]
    yield from _inner_chunks(folder, long, repeat)


def codecs() -> dict[str, Codec]:
    """Return the candidates, all with bitshuffle in blosc, that a core Zarr v3 codec names."""
    found: dict[str, Codec] = {}
    for name, level in [("zstd", 3), ("zstd", 1), ("zstd", 5), ("lz4", 5), ("lz4", 9)]:
        encode: Any = partial(
            imagecodecs.blosc_encode, level=level, compressor=name, shuffle="bitshuffle",
            numthreads=1,
        )  # fmt: skip
        found[f"{name}-{level}"] = encode, partial(imagecodecs.blosc_decode, numthreads=1)
    return found


def compare(what: str, images: list[Pixels], repeat: int) -> Iterator[Row]:
    """Yield size, time to encode and time to decode of each codec, against the baseline."""
    # Blosc shuffles bits of a multiple of eight items only.
    unit = 8
    padded = [np.pad(image, ((0, -len(image) % unit), (0, 0))) for image in images]
    candidates = codecs()
    stored = {name: list(map(encode, padded)) for name, (encode, _) in candidates.items()}

    def encode_all(name: str, _: int) -> None:
        for image in padded:
            candidates[name][0](image)

    def decode_all(name: str, _: int) -> None:
        for data in stored[name]:
            candidates[name][1](data)

    encoding = interleaved({name: partial(encode_all, name) for name in candidates}, repeat=repeat)
    decoding = interleaved({name: partial(decode_all, name) for name in candidates}, repeat=repeat)
    sizes = {name: sum(map(len, parts)) for name, parts in stored.items()}
    raw = sum(image.nbytes for image in images)
    for name in list(candidates)[1:]:  # Those after the baseline.
        # What is the default is held to the goal.
        goal = 1.05 if name == "lz4-9" and what == "kymographs" else None
        yield Row(
            f"{name}, {what}, size (raw {raw / 1e6:.1f} MB)",
            BASELINE, sizes[name], sizes[BASELINE], goal, unit="B",
        )  # fmt: skip
        yield Row(
            f"{name}, {what}, encode", BASELINE, encoding[name], encoding[BASELINE], at_most=False
        )
        yield Row(
            f"{name}, {what}, decode", BASELINE, decoding[name], decoding[BASELINE], at_most=False
        )


def _inner_chunks(folder: Path, lines: Pixels, repeat: int) -> Iterator[Row]:
    """Yield what a window and a full read cost with chunks of several sizes."""
    ds = ZarrDataset(folder / "chunks.zarr", mode="w-")
    window = np.s_[len(lines) // 2 : len(lines) // 2 + 256]
    records = {}
    for size_kb in (64, 128, 256, 512, 1024, 4096):
        rows = (size_kb << 10) // lines[0].nbytes
        rows += -rows % (8 // math.gcd(8, lines.shape[1]))
        records[size_kb] = ds.add_image(lines, chunks=(rows, lines.shape[1]))
    ways: dict[str, Callable[[int], object]] = {}
    for size_kb, rec in records.items():
        ways[f"window {size_kb}"] = lambda _, rec=rec: rec.load_array(window)
        ways[f"full {size_kb}"] = lambda _, rec=rec: rec.load_array()
    times = interleaved(ways, repeat=repeat)
    size = f"{lines.nbytes >> 20} MB"
    for kind, size_kb in itertools.product(("window", "full"), records):
        name = f"{size} in chunks of {size_kb} kB: {'256 lines' if kind == 'window' else 'all'}"
        yield Row(name, "all, chunks of 512 kB", times[f"{kind} {size_kb}"], times["full 512"])
