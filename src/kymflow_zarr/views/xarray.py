"""An image as an xarray.DataArray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kymflow_zarr.engine.images.times import kept_times_s
from kymflow_zarr.errors import extra_module

if TYPE_CHECKING:
    import xarray as xr

    from kymflow_zarr.engine.image import StoredImage

__all__ = ["to_xarray"]


def to_xarray(record: StoredImage) -> xr.DataArray:
    """Return an image with named, calibrated coordinates; lazy where dask is installed."""
    extra_module("xarray", extra="xarray", needs="to_xarray() needs the package xarray")
    import xarray as xr

    pixels = _pixels(record)
    axes, names = record.axes, record.channel_names
    coordinates: dict[str, Any] = {}
    for axis, size in zip(axes, pixels.shape, strict=True):
        times_s = kept_times_s(record, axis.name) if axis.quantity == "time" else None
        if times_s is not None:
            attributes = {"long_name": axis.quantity, "units": "second"}
            coordinates[axis.name] = (axis.name, times_s, attributes)
        elif axis.quantity == "channel":
            if names is not None:
                coordinates[axis.name] = (axis.name, np.asarray(names, dtype=str), {})
        elif axis.step is not None:
            attributes = {"long_name": axis.quantity}
            if axis.unit is not None:
                attributes["units"] = axis.unit
            coordinates[axis.name] = (axis.name, np.arange(size) * axis.step, attributes)
    return xr.DataArray(
        pixels,
        dims=[axis.name for axis in axes],
        coords=coordinates,
        name=record.image_id,
        attrs={
            "image_id": record.image_id,
            "axes": [axis.name for axis in axes],
            "quantities": [axis.quantity for axis in axes],
            # A single coordinate does not determine the step.
            "steps": [np.nan if axis.step is None else axis.step for axis in axes],
        },
    )


def _pixels(record: StoredImage) -> Any:
    try:
        import dask.array as da
    except ImportError:
        return record.load_array()
    array = record.open_array()
    from_array: Any = da.from_array
    # Blocks of whole chunks, of dask's configured size. A random name avoids hashing them, and an
    # empty `meta` array avoids reading pixels to infer it.
    kind = np.empty((0,) * array.ndim, array.dtype)
    return from_array(array, chunks="auto", name=False, meta=kind)
