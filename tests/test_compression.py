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
    codec = numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE)
    peer = len(codec.encode(np.pad(lines, ((0, -len(lines) % 8), (0, 0)))))
    assert stored <= 1.1 * peer + 1000
    assert stored < lines.nbytes


def _chunks(ds: ZarrDataset, image_id: str) -> list[Path]:
    below = (ds.path / "images" / image_id / "data" / "c").rglob("*")
    return [path for path in below if path.is_file()]
