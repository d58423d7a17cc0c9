"""Convert payloads to objects of the package `kymflow`, if it is installed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.errors import ArgumentError, MissingDependencyError
from kymflow_zarr.types import ImageBounds


def load_metadata_objects(record: StoredImage) -> tuple[Any, Any, Any]:
    """Return header, experiment metadata and regions of a record as `kymflow` objects.

    Parameters
    ----------
    record : StoredImage

    Returns
    -------
    header : kymflow AcqImgHeader
    experiment : kymflow ExperimentMetadata
    rois : kymflow RoiSet
        Bound to the record's image, so that regions can be added and checked against it.

    Raises
    ------
    MissingDependencyError
        If `kymflow` with these classes cannot be imported.
    MetadataNotFoundError
        If the record has no payload.
    """
    payload = record.load_metadata_payload()
    metadata = _module("kymflow.core.image_loaders.metadata")
    regions = _module("kymflow.core.image_loaders.roi")
    header = metadata.AcqImgHeader.from_dict(_mapping(payload, "header"))
    experiment = metadata.ExperimentMetadata.from_dict(_mapping(payload, "experiment_metadata"))
    rois = regions.RoiSet.from_list(list(payload.get("rois") or []), RecordImage(record))
    return header, experiment, rois


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingDependencyError(
            f"the kymflow classes cannot be imported: {error}",
            hint="load_metadata_payload() returns the same as plain dicts; for the objects "
            "install kymflow from its source: pip install --no-binary kymflow "
            "'kymflow-zarr[kymflow]'.",
        ) from error


def _mapping(payload: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = payload.get(key) or {}
    return dict(value) if isinstance(value, Mapping) else {}


class RecordImage:
    """Presents a record through the image interface that `kymflow` regions expect.

    Parameters
    ----------
    record : StoredImage
    """

    def __init__(self, record: StoredImage) -> None:
        self._record = record

    def get_image_bounds(self) -> ImageBounds:
        """Return width, height and number of slices."""
        return self._record.get_image_bounds()

    def channels_available(self) -> list[int]:
        """Return the numbers of the channels, counted from 1."""
        return list(range(1, self._channels() + 1))

    def _channels(self) -> int:
        for size, axis in zip(self._record.shape, self._record.axes, strict=True):
            if axis.quantity == "channel":
                return size
        return 1

    def get_img_slice(self, slice_num: int = 0, channel: int = 1) -> np.ndarray[Any, Any]:
        """Return one plane, shape (height, width).

        Parameters
        ----------
        slice_num : int
            Plane along ``z``, from 0.
        channel : int
            Channel, from 1.

        Raises
        ------
        ArgumentError
            If there is no such channel.
        """
        if channel not in self.channels_available():
            raise ArgumentError(
                f"there is no channel {channel}; there are {self.channels_available()}"
            )
        record = self._record
        axes = record.axes
        # The plane consists of the last two axes other than the channel axis.
        plane = [i for i, axis in enumerate(axes) if axis.quantity != "channel"][-2:]
        index: list[int | slice] = [
            channel - 1 if axis.quantity == "channel" else slice_num if axis.name == "z" else 0
            for axis in axes
        ]
        for position in plane if len(plane) == 2 else (len(axes) - 2, len(axes) - 1):
            index[position] = slice(None)
        return record.load_array(tuple(index))

    def mark_metadata_dirty(self) -> None:
        """Do nothing: changes are saved with :meth:`ZarrImageRecord.save_metadata_objects`."""
