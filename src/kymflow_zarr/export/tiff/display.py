"""Display settings of the source TIFF: white at zero, color maps, ImageJ's LUTs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr import layout
from kymflow_zarr.storage.interface import Storage

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Display", "display_of", "tiff_description"]

# TIFF 6.0, PhotometricInterpretation.
_WHITE_IS_ZERO: Final = 0
_BLACK_IS_ZERO: Final = 1
_RGB: Final = 2
_PALETTE: Final = 3


@dataclass(frozen=True, slots=True)
class Display:
    """Display settings of a TIFF.

    Parameters
    ----------
    photometric : int
        TIFF 6.0, PhotometricInterpretation: 0 is white at zero, 3 is a color map.
    color_map : numpy.ndarray, optional
        16-bit red, green and blue of each value, of shape ``(3, values)``.
    imagej : mapping
        ImageJ's ``LUTs`` (8-bit, one for each channel) and ``Ranges``.
    """

    photometric: int = _BLACK_IS_ZERO
    color_map: np.ndarray[Any, Any] | None = None
    imagej: Mapping[str, Any] = field(default_factory=dict)

    @property
    def loss(self) -> str | None:
        """The settings that cannot be written, None if all can."""
        if self.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
            return None
        if self.photometric == _PALETTE:
            return None if self.color_map is not None else "without its color map"
        return f"whose colors (photometric interpretation {self.photometric}) became channels"

    def fitting(self, dtype: np.dtype[Any]) -> Display:
        """Return the settings that fit a dtype: a color map needs one color per value."""
        values = {"uint8": 1 << 8, "uint16": 1 << 16}.get(dtype.name)
        fits = self.color_map is not None and self.color_map.shape == (3, values)
        return self if fits or self.color_map is None else replace(self, color_map=None)

    def arguments(self) -> dict[str, Any]:
        """Return tifffile's arguments."""
        if self.photometric == _WHITE_IS_ZERO:
            return {"photometric": "miniswhite"}
        if self.photometric == _PALETTE and self.color_map is not None:
            return {"photometric": "palette", "colormap": self.color_map}
        return {"photometric": "minisblack"}


def display_of(storage: Storage, image_id: str, channel: tuple[int, int] | None = None) -> Display:
    """Return the display settings of the source TIFF of an image."""
    description = tiff_description(storage, image_id, channel)
    tags, imagej = description.get("tags"), description.get("imagej")
    photometric = tags.get("PhotometricInterpretation") if isinstance(tags, Mapping) else None
    if not isinstance(photometric, int):
        return Display()
    color_map = _numbers(tags.get("ColorMap"), "uint16") if isinstance(tags, Mapping) else None
    if color_map is not None and color_map.ndim == 1 and color_map.size % 3 == 0:
        color_map = color_map.reshape(3, -1)
    shown: dict[str, Any] = {}
    if isinstance(imagej, Mapping):
        luts = [_numbers(lut, "uint8") for lut in imagej.get("LUTs") or ()]
        whole = [lut for lut in luts if lut is not None and lut.shape == (3, 256)]
        if whole and len(whole) == len(luts):
            shown["LUTs"] = whole
    return Display(photometric, color_map, shown)


def _numbers(value: object, dtype: str) -> npt.NDArray[Any] | None:
    try:
        return None if value is None else np.asarray(value, dtype=dtype)
    except (ValueError, TypeError, OverflowError):
        return None  # Users may edit the artifact, so do not trust its values.


def tiff_description(
    storage: Storage, image_id: str, channel: tuple[int, int] | None
) -> Mapping[str, Any]:
    """Return the metadata of the source TIFF of an image, or of one of its channels."""
    key = f"{layout.image_prefix(image_id)}/{layout.artifact_key('json', 'tiff')}"
    try:
        description = json.loads(storage.read(key) or b"null")
    except ValueError:
        description = None
    if isinstance(description, list):
        index = 0 if channel is None else channel[1]
        description = description[index] if index < len(description) else None
    return description if isinstance(description, Mapping) else {}
