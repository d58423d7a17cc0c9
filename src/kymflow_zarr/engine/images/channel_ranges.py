"""Note the range of intensities of each channel while the pixels pass by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kymflow_zarr.schema.image import ChannelWindow
from kymflow_zarr.types import ArrayLike


class ChannelRanges:
    """An array that remembers the least and greatest finite value read of each channel.

    Parameters
    ----------
    array : ArrayLike
    axis : int
        The channel axis.
    """

    def __init__(self, array: ArrayLike, axis: int) -> None:
        self._array = array
        self._axis = axis
        self.shape = tuple(array.shape)
        self.dtype = array.dtype
        self._low = np.full(self.shape[axis], np.inf)
        self._high = np.full(self.shape[axis], -np.inf)

    def __getitem__(self, region: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        block = np.asarray(self._array[region])
        if block.size and block.dtype.kind in "buif":
            by_channel = np.moveaxis(block, self._axis, 0)
            for channel, values in zip(
                range(*region[self._axis].indices(self.shape[self._axis])), by_channel, strict=True
            ):
                finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
                if finite.size:
                    self._low[channel] = min(self._low[channel], float(finite.min()))
                    self._high[channel] = max(self._high[channel], float(finite.max()))
        return block

    def windows(self, names: Sequence[str]) -> list[ChannelWindow]:
        """Return the range of each named channel; 0 to 1 where nothing finite was read."""
        seen = self._low <= self._high
        low, high = np.where(seen, self._low, 0.0), np.where(seen, self._high, 1.0)
        return [
            ChannelWindow(name, float(a), float(b))
            for name, a, b in zip(names, low, high, strict=True)
        ]
