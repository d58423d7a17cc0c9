"""`rec.to_xarray()`: named, calibrated coordinates, and pixels that are read when asked for."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import zarr

from kymflow_zarr import Axis, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import MissingDependencyError

xr = pytest.importorskip("xarray")


def test_a_kymograph_has_coordinates_in_its_units(rec: ZarrImageRecord) -> None:
    found = rec.to_xarray()
    assert found.dims == ("y", "x")
    assert found.name == found.attrs["image_id"] == rec.image_id
    assert found.attrs["quantities"] == ["time", "space"]
    assert found["y"].attrs == {"long_name": "time", "units": "second"}
    assert found["x"].attrs == {"long_name": "space", "units": "micrometer"}
    np.testing.assert_allclose(found["y"], np.arange(500) * 0.00117)
    np.testing.assert_allclose(found["x"], np.arange(38) * 0.284)
    assert found.dtype == rec.dtype
    np.testing.assert_array_equal(found, rec.load_array())


def test_it_is_cut_by_seconds_and_micrometers(rec: ZarrImageRecord) -> None:
    part = rec.to_xarray().sel(y=slice(0.1, 0.2), x=slice(2, 5))
    lines = slice(int(np.ceil(0.1 / 0.00117)), int(0.2 / 0.00117) + 1)
    pixels = slice(int(np.ceil(2 / 0.284)), int(5 / 0.284) + 1)
    np.testing.assert_array_equal(part, rec.load_array()[lines, pixels])


def test_channels_have_their_names(ds: ZarrDataset) -> None:
    pixels = np.arange(2 * 3 * 4 * 5, dtype="uint16").reshape(2, 3, 4, 5)
    axes: list[str | Axis] = [Axis("c", "channel"), Axis("z", "space", "um", 2.0), "y", "x"]
    rec = ds.add_image(pixels, axes=axes, channel_names=["nuclei", "actin"])
    found = rec.to_xarray()
    np.testing.assert_array_equal(found.sel(c="actin", z=4.0), pixels[1, 2])
    # Nobody said how far it is from pixel to pixel.
    assert set(found.coords) == {"c", "z"}


def test_pixels_are_read_when_they_are_asked_for(
    ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    dask = pytest.importorskip("dask")
    pixels = np.arange(400 * 400, dtype="uint32").reshape(400, 400)
    rec = ds.add_image(pixels, chunks=(100, 100))
    read: list[tuple[int, ...]] = []
    get = zarr.Array.__getitem__

    def counted(array: zarr.Array[Any], selection: Any) -> Any:
        found = get(array, selection)
        read.append(np.shape(found))
        return found

    monkeypatch.setattr(zarr.Array, "__getitem__", counted)
    with dask.config.set({"array.chunk-size": "40 kB"}):
        found = rec.to_xarray()
        assert read == []
        np.testing.assert_array_equal(found[250:, :150].compute(), pixels[250:, :150])
    assert sum(int(np.prod(shape)) for shape in read) <= 200 * 200


def test_without_dask_the_pixels_are_read(
    rec: ZarrImageRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dask.array", None)
    found = rec.to_xarray()
    assert isinstance(found.data, np.ndarray)
    np.testing.assert_array_equal(found, rec.load_array())


def test_without_xarray_the_error_names_the_extra(
    rec: ZarrImageRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(MissingDependencyError, match=r"kymflow-zarr\[xarray\]"):
        rec.to_xarray()
