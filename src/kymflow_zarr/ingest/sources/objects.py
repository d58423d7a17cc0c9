"""Ingest the image of another program's object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError
from kymflow_zarr.ingest.sidecars.metadata import true_axes
from kymflow_zarr.schema.axes import default_axis_names, normalize_axes
from kymflow_zarr.schema.payload import payload_of


def ingest_object(
    dataset: OpenDataset, source: object, *, image_id: str | None = None
) -> StoredImage:
    """Add an object's image; see :meth:`kymflow_zarr.OpenDataset.ingest_image`."""
    dataset.require_writable()
    pixels, names = _pixels(source)
    header = _offered(source, "getHeader", "header")
    experiment = _offered(source, "getExperimentMetadata", "experiment_metadata")
    rois = _offered(source, "rois")
    payload = None
    if any(value is not None for value in (header, experiment, rois)):
        payload = payload_of(header, experiment, rois)
    axes = true_axes(normalize_axes(names, pixels.ndim), pixels.shape, header=None, payload=payload)
    with dataset.new_record(image_id) as draft:
        draft.set_pixels(pixels, axes=axes)
        if payload is not None:
            draft.save("json", "metadata", payload)
        draft.commit()
    return dataset.record(draft.image_id)


def _pixels(source: object) -> tuple[Any, tuple[str, ...]]:
    """Return the pixels of all channels and the names of their axes."""
    read = _channel_reader(source)
    available = _offered(source, "channels_available")
    numbers = [1] if available is None else sorted(int(channel) for channel in available)
    if not numbers:
        raise ArgumentError(f"{_name(source)} says that it has no channels")
    arrays = [_checked(read(number), number) for number in numbers]
    names = default_axis_names(arrays[0].ndim)
    if len(arrays) == 1:
        return arrays[0], names
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1 or len({array.dtype for array in arrays}) > 1 or "c" in names:
        raise ArgumentError(
            f"the channels of {_name(source)} do not stack: shapes {sorted(shapes)}",
            hint="They need one shape of 2 or 3 dimensions and one dtype; or add each on its own.",
        )
    # OME-Zarr orders t, c, z, y, x: the channel precedes z.
    return np.stack(arrays, axis=0), ("c", *names)


def _checked(array: Any, channel: int) -> Any:
    if array is None:
        raise ArgumentError(f"the source has no pixels for channel {channel}")
    return np.asarray(array)


def _channel_reader(source: object) -> Callable[[int], Any]:
    for name in ("getChannelData", "get_channel"):
        method = getattr(source, name, None)
        if callable(method):
            reader: Callable[[int], Any] = method
            return reader
    raise ArgumentTypeError(
        f"{_name(source)} offers neither getChannelData(channel) nor get_channel(channel)",
        hint="Pass pixels to add_image(), a file to ingest_tiff().",
    )


def _offered(source: object, *names: str) -> Any:
    """Return the value of the first method or property that exists, None if none does."""
    for name in names:
        value = getattr(source, name, None)
        if value is not None:
            # Call it only if it is a method: a header object may be callable itself.
            return value() if callable(value) and not hasattr(value, "to_dict") else value
    return None


def _name(source: object) -> str:
    return f"an object of type {type(source).__qualname__}"
