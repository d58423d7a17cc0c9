"""The small picture of an image, and the file that remembers it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from kymflow_zarr import ZarrDataset


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def of_another_size(png: bytes) -> bytes:
    """Return a PNG without an error that says it has a million rows."""
    return png[:8] + chunk(b"IHDR", struct.pack(">2I", 1, 10**6) + png[24:29]) + png[33:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda png: png[:900] + bytes([png[900] ^ 4]) + png[901:],
        lambda png: png[: len(png) // 2],
        lambda png: png[:-12],
        lambda png: png[:200] + bytes(len(png) - 200),
        lambda png: png + b"more",
        lambda png: png[:8] + png[33:],
        lambda _: b"",
        of_another_size,
    ],
    ids=["flipped bit", "half", "no end", "zeros", "longer", "no header", "empty", "another size"],
)
def test_a_broken_picture_is_drawn_again(tmp_path: Path, damage: object) -> None:
    pixels = np.random.default_rng(0).integers(0, 9999, (300, 200)).astype(np.uint16)
    with ZarrDataset(tmp_path / "x.zarr", "w-") as ds:
        whole = ds.add_image(pixels, image_id="a").thumbnail()
    file = tmp_path / "x.zarr" / "index" / "thumbnails" / "a.png"
    assert file.read_bytes() == whole
    file.write_bytes(damage(whole))  # type: ignore[operator]
    with ZarrDataset(tmp_path / "x.zarr", "r+") as ds:
        assert ds["a"].thumbnail() == whole
    assert file.read_bytes() == whole
    assert imagecodecs.png_decode(io.BytesIO(whole).getvalue()).shape == (256, 170)
