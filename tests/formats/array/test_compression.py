"""Pixels take the room that their codec can bring them to."""

from __future__ import annotations

from pathlib import Path

import numcodecs
import numpy as np
import pytest

from kymflow_zarr import ZarrDataset

DTYPES = ["uint8", "uint16", "int16", "float16", "float32", "uint32", "float64", "complex128"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [19, 38, 512])
def test_pixels_are_shuffled_by_the_size_of_their_items(
    ds: ZarrDataset, dtype: str, width: int
) -> None:
    rng = np.random.default_rng(0)
    lines = (rng.poisson(20, (4000, width)) + 100 * (np.arange(width) % 7 == 0)).astype(dtype)
    rec = ds.add_image(lines)
    stored = sum(path.stat().st_size for path in _chunks(ds, rec.image_id))
    # The chunk is padded to a multiple of eight elements, as bitshuffle needs.
    codec = numcodecs.Blosc(cname="lz4", clevel=9, shuffle=numcodecs.Blosc.BITSHUFFLE)
    peer = len(codec.encode(np.pad(lines, ((0, -len(lines) % 8), (0, 0)))))
    assert stored <= 1.1 * peer + 1000
    assert stored < lines.nbytes


@pytest.mark.parametrize("rows", [8, 5000, 30_000, 90_000])
def test_pixels_that_cannot_be_made_smaller_come_back(ds: ZarrDataset, rows: int) -> None:
    # In one chunk; in several, of which the last is not full; in so many that threads share them.
    noise = np.random.default_rng(rows).integers(0, 1 << 16, (rows, 101), dtype="uint16")
    half = np.where(np.arange(rows)[:, None] % 9000 < 4500, noise, 7).astype("uint16")
    for lines in (noise, half):
        rec = ds.add_image(lines)
        np.testing.assert_array_equal(rec.load_array(), lines, strict=True)
        np.testing.assert_array_equal(rec.open_array()[:], lines)
        stored = sum(path.stat().st_size for path in _chunks(ds, rec.image_id))
        assert stored < 1.05 * lines.nbytes + 3000
    assert ds.verify().ok


def test_pixels_of_any_level_are_read_directly(
    ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = np.arange(400, dtype="uint16").reshape(40, 10)
    rec = ds.add_image(lines)
    document = ds.path / "images" / rec.image_id / "data" / "zarr.json"
    text = document.read_text()
    monkeypatch.setattr("kymflow_zarr.engine.images.pixels.open_zarr_array", None)
    for level in range(10):
        # Blosc does not need to know it to decode; earlier releases wrote 5.
        document.write_text(text.replace('"clevel": 9', f'"clevel": {level}'))
        assert np.array_equal(rec.load_array(), lines)


def _chunks(ds: ZarrDataset, image_id: str) -> list[Path]:
    below = (ds.path / "images" / image_id / "data" / "c").rglob("*")
    return [path for path in below if path.is_file()]
