"""The small picture that `show` draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from tests.cli.run import run

DARK, BRIGHT = " ", "█"


def drawn(ds: ZarrDataset, image_id: str = "a") -> tuple[list[str], str]:
    """Return the lines of the picture, and what is said below it."""
    result = run("show", ds.path, image_id, "--picture")
    assert result.exit_code == 0
    _, *lines = result.stdout.splitlines()
    below = next(n for n, line in enumerate(lines) if "downwards" in line or "no picture" in line)
    return lines[:below], lines[below]


def test_of_a_kymograph_time_runs_to_the_right(ds: ZarrDataset) -> None:
    pixels = np.zeros((3000, 40), np.uint16)
    pixels[1500:] = 4000
    ds.add_image(pixels, image_id="a", line_period_s=0.001, pixel_size_um=0.3)
    lines, told = drawn(ds)
    assert {line.strip() for line in lines} == {BRIGHT * 50}
    assert {len(line.rstrip()) for line in lines} == {100}
    assert told.startswith("3 s from left to right, 40 pixels downwards")


def test_an_ordinary_image_stands_upright_in_its_proportions(ds: ZarrDataset) -> None:
    pixels = np.zeros((256, 512), np.float32)
    pixels[:128] = np.nan  # not known, and dark
    pixels[128:] = 1.0
    ds.add_image(pixels, image_id="a", pixel_size_um=0.3)
    lines, _ = drawn(ds)
    assert len(lines) == 16
    assert {line.rstrip() for line in lines[:8]} == {""}
    assert {line.rstrip() for line in lines[8:]} == {BRIGHT * 64}


def test_of_a_stack_it_is_the_plane_in_the_middle(ds: ZarrDataset) -> None:
    pixels = np.zeros((2, 5, 8, 8), np.uint8)
    pixels[0, 2, :, 4:] = 9
    ds.add_image(pixels, image_id="a", axes=["c", "z", "y", "x"])
    lines, told = drawn(ds)
    assert {line.rstrip() for line in lines} == {DARK * 4 + BRIGHT * 4}
    assert told.startswith("c=0, z=2")


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (33, 101)])
def test_every_shape_can_be_drawn(ds: ZarrDataset, shape: tuple[int, int]) -> None:
    ds.add_image(np.ones(shape, np.uint8), image_id="a")
    lines, _ = drawn(ds)
    assert 1 <= len(lines) <= 16


def test_damaged_pixels_hide_nothing_else(ds: ZarrDataset) -> None:
    rec = ds.add_image(np.arange(400, dtype=np.uint16).reshape(20, 20), image_id="a")
    rec.save_json("fit", {"a": 1})
    image = Path(ds.path) / "images" / "a"
    chunks = [path for path in image.rglob("*") if path.is_file() and "c" in path.parts]
    assert chunks
    for path in chunks:
        path.write_bytes(b"\xff" * path.stat().st_size)
    result = run("show", ds.path, "a", "--picture")
    assert result.exit_code == 0
    assert "no picture: " in result.stdout
    assert "fit" in result.stdout


def test_there_is_no_picture_in_a_pipe(ds: ZarrDataset) -> None:
    ds.add_image(np.ones((8, 8), np.uint8), image_id="a")
    assert "downwards" not in run("show", ds.path, "a").stdout
