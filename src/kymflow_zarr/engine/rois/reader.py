"""Pixels and statistics of a region, read from an image that is opened lazily."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from kymflow_zarr.engine.rois.planes import (
    Choice,
    Chosen,
    ImagePlanes,
    RoiStatistics,
    bounding_box,
    statistics,
)
from kymflow_zarr.engine.rois.values import KnownRoi, MaskRoi, RectRoi
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, UnsupportedDataError

_Pixels: TypeAlias = np.ndarray[Any, Any]
# Rows, columns, and for a mask which of their pixels are inside.
_Region: TypeAlias = tuple[slice, slice, np.ndarray[Any, Any] | None]


class RoiReader:
    """What :class:`~kymflow_zarr.engine.record_rois.RecordRois` asks of the pixels.

    Parameters
    ----------
    planes : ImagePlanes
    open_array : callable
        Opens the pixels, to be read lazily.
    load_mask : callable
        Returns an array artifact by its name.
    """

    def __init__(
        self,
        planes: ImagePlanes,
        open_array: Callable[[], Any],
        load_mask: Callable[[str], np.ndarray[Any, Any]],
    ) -> None:
        self.planes = planes
        self._open_array = open_array
        self._load_mask = load_mask

    def pixels(
        self, roi: KnownRoi, *, channel: Choice, z: Choice, at: Mapping[str, int] | None
    ) -> _Pixels:
        """Return the pixels of a region."""
        region = self._place(roi)
        chosen = self.planes.choose(roi, channel=channel, z=z, at=at)
        return self._read(self._open_array(), region, chosen)

    def statistics(
        self, roi: KnownRoi, *, channel: Choice, z: Choice, at: Mapping[str, int] | None
    ) -> RoiStatistics:
        """Return the statistics of all pixels that were asked for."""
        region = self._place(roi)
        chosen = self.planes.choose(roi, channel=channel, z=z, at=at)
        blocks = (block for _, block in self._planes_of(region, chosen))
        return statistics(blocks, self.planes.place(chosen, roi))

    def statistics_by_plane(
        self, roi: KnownRoi, *, channel: Choice, z: Choice, at: Mapping[str, int] | None
    ) -> list[RoiStatistics]:
        """Return the statistics of each plane of its own."""
        region = self._place(roi)
        chosen = self.planes.choose(roi, channel=channel, z=z, at=at)
        return [
            statistics([block], self.planes.place(one, roi))
            for one, block in self._planes_of(region, chosen)
        ]

    def _planes_of(self, region: _Region, chosen: Chosen) -> Iterator[tuple[Chosen, _Pixels]]:
        array = self._open_array()
        if array.dtype.kind == "c":
            raise UnsupportedDataError(
                "complex pixels have no least and no greatest",
                hint="Take the magnitude of roi_pixels().",
            )
        for one in self.planes.one_by_one(chosen):
            yield one, self._read(array, region, one)

    def _read(self, array: Any, region: _Region, chosen: Chosen) -> _Pixels:
        rows, columns, inside = region
        block = self.planes.read(array, self.planes.index(chosen, rows, columns))
        return block if inside is None else block[..., inside]

    def _place(self, roi: object) -> _Region:
        """Return rows and columns of a region, and for a mask which of their pixels are inside."""
        if isinstance(roi, RectRoi):
            # Channel and plane may be the caller's; they are checked where they are chosen.
            replace(roi, z=0).check({**self.planes.bounds, "num_slices": 1})
            return slice(roi.y0, roi.y1), slice(roi.x0, roi.x1), None
        if not isinstance(roi, MaskRoi):
            raise ArgumentTypeError(
                f"a region is a RectRoi or a MaskRoi, not {type(roi).__qualname__}",
                hint="load_rois() returns those of the image.",
            )
        mask = self._load_mask(roi.mask_ref)
        check_mask_shape(roi.mask_ref, mask.shape, self.planes)
        inside = mask != 0
        rows, columns = bounding_box(inside)
        return rows, columns, inside[rows, columns]


def check_mask_shape(name: str, shape: tuple[int, ...], planes: ImagePlanes) -> None:
    """Check that a mask has the shape of the plane.

    Raises
    ------
    ArgumentError
        If it has another.
    """
    if shape != planes.plane_shape:
        raise ArgumentError(
            f"the mask has the shape {shape}, the plane of the image {planes.plane_shape}",
            where=f"mask {name!r}",
            hint="A mask has one value for each pixel of the plane, rows first.",
        )
