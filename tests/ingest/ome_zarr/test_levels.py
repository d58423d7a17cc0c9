"""Levels of pyramids of other programs, compared with the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from kymflow_zarr import ZarrDataset

NOISE = np.random.default_rng(1).integers(0, 4000, (600, 520)).astype("u2")
SMOOTH = (np.add.outer(np.arange(600), np.arange(520)) * 3).astype("u2")


def mean(pixels: Any, factor: int) -> Any:
    """Return means of blocks; rows and columns at the end that fill none are left out."""
    y, x = (n // factor for n in pixels.shape)
    blocks = pixels[: y * factor, : x * factor].reshape(y, factor, x, factor)
    return blocks.mean(axis=(1, 3)).astype(pixels.dtype)


def write(path: Path, levels: list[Any], scales: list[float]) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=3)
    datasets: list[Any] = []
    for number, (level, scale) in enumerate(zip(levels, scales, strict=True)):
        group.create_array(str(number), data=level, chunks=(256, 256))
        steps = [{"type": "scale", "scale": [scale, scale]}]
        datasets.append({"path": str(number), "coordinateTransformations": steps})
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}


def reason(ds: ZarrDataset, path: Path) -> str:
    (item,) = ds.ingest_ome_zarr(path).items
    assert item.status == "ingested"
    return item.reason or ""


@pytest.mark.parametrize("pixels", [NOISE, SMOOTH, SMOOTH.astype("f4"), SMOOTH > 900])
@pytest.mark.parametrize("by", ["means", "every second", "rounded up"])
def test_levels_that_fit_are_no_note(ds: ZarrDataset, tmp_path: Path, pixels: Any, by: str) -> None:
    levels = {
        "means": [pixels, mean(pixels * 1.0, 2).round(), mean(pixels * 1.0, 4).round()],
        "every second": [pixels, pixels[::2, ::2], pixels[::4, ::4]],
        "rounded up": [pixels[:599, :519], pixels[:599:2, :519:2], pixels[:599:4, :519:4]],
    }[by]
    levels = [level.astype(pixels.dtype) for level in levels]
    write(tmp_path / "image.zarr", levels, [0.5, 1.0, 2.0])
    assert reason(ds, tmp_path / "image.zarr") == ""


def test_a_level_of_other_values_is_told(ds: ZarrDataset, tmp_path: Path) -> None:
    write(tmp_path / "a.zarr", [SMOOTH, mean(SMOOTH, 2) // 2], [0.5, 1.0])
    assert (
        reason(ds, tmp_path / "a.zarr") == "the values of its level '1' are not those of the first"
    )
    damaged = mean(SMOOTH, 2)
    damaged[:256, :256] = 0
    write(tmp_path / "b.zarr", [SMOOTH, damaged], [0.5, 1.0])
    assert "level '1' are not those of the first in 1 of 4 blocks" in reason(
        ds, tmp_path / "b.zarr"
    )
    write(tmp_path / "c.zarr", [SMOOTH, mean(SMOOTH, 2)[::-1]], [0.5, 1.0])
    assert "not those of the first" in reason(ds, tmp_path / "c.zarr")


def test_a_level_whose_scale_is_not_that_of_its_shape_is_told(
    ds: ZarrDataset, tmp_path: Path
) -> None:
    write(tmp_path / "image.zarr", [SMOOTH, mean(SMOOTH, 2)], [0.5, 0.5])
    assert "its level '1' says that its steps are 1 x 1 those of the first" in reason(
        ds, tmp_path / "image.zarr"
    )


def test_levels_of_labels_have_values_of_the_first(ds: ZarrDataset, tmp_path: Path) -> None:
    cells = np.repeat(np.repeat(np.arange(4, dtype="u4").reshape(2, 2) * 100, 300, 0), 260, 1)
    write(tmp_path / "image.zarr", [SMOOTH], [0.5])
    for name, level in {"nearest": cells[::2, ::2], "blended": mean(cells, 2) + 1}.items():
        write(tmp_path / "image.zarr" / "labels" / name, [cells, level], [0.5, 1.0])
    labels = zarr.open_group(tmp_path / "image.zarr" / "labels", mode="a")
    labels.attrs["ome"] = {"version": "0.5", "labels": ["nearest", "blended"]}
    notes = reason(ds, tmp_path / "image.zarr")
    assert notes == "labels 'blended': the values of its level '1' are not those of the first"


def test_a_level_that_cannot_be_read_is_told(ds: ZarrDataset, tmp_path: Path) -> None:
    write(tmp_path / "image.zarr", [SMOOTH, mean(SMOOTH, 2)], [0.5, 1.0])
    (tmp_path / "image.zarr" / "1" / "c" / "0" / "0").write_bytes(b"damaged")
    assert "its level '1' cannot be read: " in reason(ds, tmp_path / "image.zarr")
    (image_id,) = ds.list_image_ids()
    assert np.array_equal(ds.record(image_id).load_array(), SMOOTH)
