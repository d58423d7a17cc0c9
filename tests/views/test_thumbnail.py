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


def drawn(tmp_path: Path, pixels: np.ndarray, **facts: object) -> np.ndarray:
    with ZarrDataset(tmp_path / "x.zarr", "w-") as ds:
        png = ds.add_image(pixels, image_id="a", **facts).thumbnail()  # type: ignore[arg-type]
    return np.asarray(imagecodecs.png_decode(png)).astype(int)


def test_a_picture_of_a_large_image_shows_all_of_it(tmp_path: Path) -> None:
    pixels = np.zeros((3000, 4000), np.uint16)
    pixels[:300, :400] = 1000  # A tenth, in a corner.
    pixels[-300:, -400:] = 500
    shown = drawn(tmp_path, pixels)
    assert shown.shape == (192, 256)
    assert (shown[:19, :25] == 255).all()
    assert (abs(shown[-18:, -24:] - 128) <= 1).all()
    assert (shown[30:150, 40:200] == 0).all()


def test_a_picture_of_a_long_recording_shows_its_end(tmp_path: Path) -> None:
    pixels = np.full((90_000, 64), 10, np.uint8)
    pixels[45_000:] = 200
    shown = drawn(tmp_path, pixels, line_period_s=0.001)
    assert shown.shape == (128, 256)
    assert (shown[:, :128] == 0).all()
    assert (shown[:, 128:] == 255).all()


def test_a_color_picture_has_its_colors(tmp_path: Path) -> None:
    pixels = np.zeros((3, 40, 40), np.uint8)
    pixels[:, :, :20] = np.array([200, 10, 60], np.uint8)[:, None, None]
    shown = drawn(tmp_path, pixels, axes="cyx")
    assert shown.shape == (256, 256, 3)
    assert shown[5, 5].tolist() == [200, 10, 60]
    assert shown[5, 250].tolist() == [0, 0, 0]


def test_channels_are_tints_with_a_contrast_each(tmp_path: Path) -> None:
    pixels = np.zeros((2, 40, 40), np.uint16)
    pixels[0, :20] = 60_000
    pixels[1, :, :20] = 90
    shown = drawn(tmp_path, pixels, axes="cyx", channel_names=["vessel", "cells"])
    assert shown[5, 250].tolist() == [0, 255, 0]
    assert shown[250, 5].tolist() == [255, 0, 255]
    assert shown[5, 5].tolist() == [255, 255, 255]
    assert shown[250, 250].tolist() == [0, 0, 0]


def test_a_stack_with_a_value_that_is_no_number_is_drawn(tmp_path: Path) -> None:
    pixels = np.arange(100.0).reshape(10, 10)
    pixels[0, 0] = np.nan
    shown = drawn(tmp_path, pixels)
    assert shown[5, 5] == 0
    assert shown[-1, -1] == 255
