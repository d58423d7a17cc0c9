"""The small picture of an image that lists show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kymflow_zarr.engine.images import thumbnails
from kymflow_zarr.views.picture import Preview, gray_levels, preview, reduced

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage


def thumbnail(image: StoredImage, size: int = thumbnails.SIZE) -> bytes:
    """Return a small picture of an image as PNG.

    A picture of the usual size is read from the index, or drawn and stored there.
    """
    image = image.snapshot()
    return thumbnails.thumbnail(
        image.storage, image.document(), size, lambda side: thumbnail_png(image, side)
    )


def thumbnail_png(record: StoredImage, size: int) -> bytes:
    """Draw a small picture of an image, its longer side `size` pixels long, as PNG."""
    import imagecodecs

    seen = preview(record)
    height, width = _shown_size(seen, size)
    down, across = (
        max(1, n // wanted) for n, wanted in zip(seen.pixels.shape, (height, width), strict=True)
    )
    levels = _stretched(gray_levels(reduced(seen.pixels, down, across)), height, width)
    return bytes(imagecodecs.png_encode(np.ascontiguousarray(levels)))


def _shown_size(seen: Preview, size: int) -> tuple[int, int]:
    """Return height and width in pixels of the picture."""
    if seen.plane.is_kymograph:
        # Time and space have no common scale: a strip, which shows streaks best.
        return max(1, size // 2), size
    tall, wide = map(float, seen.pixels.shape)
    if seen.plane.is_true_to_scale:
        tall, wide = tall * seen.plane.vertical.step, wide * seen.plane.horizontal.step
    scale = size / max(tall, wide)
    return max(1, math.floor(tall * scale)), max(1, math.floor(wide * scale))


def _stretched(levels: npt.NDArray[np.uint8], height: int, width: int) -> npt.NDArray[np.uint8]:
    rows, columns = (
        np.arange(wanted) * n // wanted
        for n, wanted in zip(levels.shape, (height, width), strict=True)
    )
    stretched: npt.NDArray[Any] = levels[rows][:, columns]
    return stretched
