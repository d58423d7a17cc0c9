"""Images that are given as an xarray.DataArray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kymflow_zarr import Axis, ZarrDataset
from kymflow_zarr.errors import ArgumentError

xr = pytest.importorskip("xarray")


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / "x.zarr") as dataset:
        yield dataset


def test_dimensions_and_channels_are_taken(ds: ZarrDataset) -> None:
    image = xr.DataArray(
        np.zeros((3, 4, 5)), dims=("c", "y", "x"), coords={"c": ["dapi", "gfp", "rfp"]}
    )
    rec = ds.add_image(image)
    assert rec.get_axes() == ["c", "y", "x"]
    assert rec.channel_names == ["dapi", "gfp", "rfp"]


def test_coordinates_become_steps_and_units(ds: ZarrDataset) -> None:
    image = xr.DataArray(
        np.zeros((4, 5), "uint16"),
        dims=("t", "x"),
        coords={
            "t": np.arange(4).astype("m8[ms]") * 20,
            "x": ("x", 7 + np.arange(5) * 0.3, {"units": "um"}),
        },
    )
    rows, columns = ds.add_image(image).axes
    assert rows == Axis("t", "time", "second", 0.02)
    assert (columns.quantity, columns.unit) == ("space", "micrometer")
    assert columns.step == pytest.approx(0.3)


KINDS: dict[str, dict[str, Any]] = {
    "a kymograph": {"axes": "yx", "line_period_s": 1e-3 / 3, "pixel_size_um": 0.1},
    "a stack of one plane": {
        "axes": [Axis("z", "space", "um", 0.7), Axis("y", "space"), Axis("x", "space", "um", 0.1)]
    },
    "channels": {"axes": "cyx", "channel_names": ["a"], "pixel_size_um": 0.1},
    "unusual axes": {"axes": [Axis("p", "time", "s", 2.0), Axis("y", "other"), Axis("x", "other")]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_package_gives_as_xarray_goes_round(ds: ZarrDataset, kind: str) -> None:
    shape = (1, 5, 6) if kind != "a kymograph" else (5, 6)
    pixels = np.arange(30, dtype="uint16").reshape(shape)
    given = ds.add_image(pixels, **KINDS[kind])
    back = ds.add_image(given.to_xarray())
    assert back.axes == given.axes
    assert back.channel_names == given.channel_names
    np.testing.assert_array_equal(back.load_array(), pixels)
    turned = ds.add_image(given.to_xarray().transpose(..., *given.to_xarray().dims[::-1]))
    assert turned.axes == given.axes[::-1]


def test_a_cut_and_thinned_image_has_the_step_it_has_then(ds: ZarrDataset) -> None:
    whole = ds.add_image(np.zeros((8, 8), "uint8"), pixel_size_um=0.5).to_xarray()
    assert ds.add_image(whole[2:, ::2]).axes == (
        Axis("y", "space", "micrometer", 0.5),
        Axis("x", "space", "micrometer", 1.0),
    )


@pytest.mark.parametrize(
    ("coordinate", "said"),
    [([0.0, 1.0, 5.0], "even step"), ([3.0, 2.0, 1.0], "even step"), (["a", "b", "c"], "labels")],
)
def test_coordinates_that_an_axis_cannot_hold_are_refused(
    ds: ZarrDataset, coordinate: list[Any], said: str
) -> None:
    image = xr.DataArray(np.zeros((3, 4)), dims=("y", "x"), coords={"y": coordinate})
    with pytest.raises(ArgumentError, match=said) as caught:
        ds.add_image(image)
    assert "axes=" in str(caught.value)
    assert ds.list_image_ids() == []
    assert ds.add_image(image, axes="yx").get_axes() == ["y", "x"]


def test_dimensions_without_names_are_the_usual_ones(ds: ZarrDataset) -> None:
    assert ds.add_image(xr.DataArray(np.zeros((3, 4, 5)))).get_axes() == ["z", "y", "x"]
    assert ds.add_image(xr.DataArray(np.zeros((3, 4)), dims=("time", "x"))).axes[0].quantity == (
        "time"
    )


def test_new_pixels_bring_their_labels_too(ds: ZarrDataset) -> None:
    xr = pytest.importorskip("xarray")
    rec = ds.add_image(np.zeros((4, 4), "uint8"), image_id="a")
    rec.save_array(xr.DataArray(np.ones((2, 3, 4)), dims=("t", "y", "x")))
    assert rec.get_axes() == ["t", "y", "x"]
