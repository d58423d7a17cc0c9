"""A kymograph drawn with characters, two pixels to a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["picture"]

_HALF = "▀"
_SHADES = " ·░▒▓█"


def picture(pixels: npt.NDArray[Any], *, columns: int, color: bool) -> Text:
    """Draw a kymograph, time to the right and space downwards.

    Parameters
    ----------
    pixels : ndarray, shape (n_lines, n_pixels)
        Any gray image; it is stretched to its 1st and 99th percentile.
    columns : int
        Width in characters; neighboring lines are averaged to fit.
    color : bool
        Gray half blocks, two pixels to a character; else shades of one character.

    Returns
    -------
    Text
        Lines of `columns` characters at most, and half as many of them as pixels.
    """
    image = np.asarray(pixels, dtype=np.float64)
    per_column = max(1, -(-image.shape[0] // columns))
    n_columns = image.shape[0] // per_column
    image = image[: n_columns * per_column].reshape(n_columns, per_column, -1).mean(axis=1).T
    low, high = np.percentile(image, [1, 99])
    gray = np.clip((image - low) / max(high - low, 1e-12), 0.0, 1.0)
    if len(gray) % 2:
        gray = np.concatenate([gray, gray[-1:]])
    text = Text(no_wrap=True)
    for top, bottom in zip(gray[::2], gray[1::2], strict=True):
        if len(text):
            text.append("\n")
        if color:
            for upper, lower in zip(_level(top), _level(bottom), strict=True):
                text.append(_HALF, f"rgb({upper},{upper},{upper}) on rgb({lower},{lower},{lower})")
        else:
            shades = np.rint((top + bottom) / 2 * (len(_SHADES) - 1)).astype(int)
            text.append("".join(_SHADES[shade] for shade in shades))
    return text


def _level(gray: npt.NDArray[np.float64]) -> list[int]:
    return [int(value) for value in np.rint(gray * 255)]
