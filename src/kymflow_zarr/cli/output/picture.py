"""Draw images with characters, two pixels per cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

if TYPE_CHECKING:
    import numpy.typing as npt
    from rich.console import Console

    from kymflow_zarr import ZarrImageRecord

__all__ = ["picture", "print_glance"]

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


_MAX_COLUMNS = 100
_MAX_HEIGHT = 32  # pixels, two per line
_MAX_PIXELS = 2**25


def print_glance(console: Console, record: ZarrImageRecord) -> None:
    """Draw one plane of an image, or print why that is not possible."""
    from kymflow_zarr import KymflowZarrError

    try:
        plane, caption = _plane(record)
    except (KymflowZarrError, OSError, ValueError, RuntimeError) as error:
        # The rest of the image's facts should still be shown.
        reason = " ".join(str(error).split())
        console.print(f"no picture: {reason}", style="red", soft_wrap=True)
        return
    if plane is not None:
        columns = min(console.width, _MAX_COLUMNS)
        small = _shrunk(plane, columns, stretch=record.axes[-2].quantity == "time")
        console.print(picture(small, columns=columns, color=console.color_system is not None))
    console.print(caption, style="dim", soft_wrap=True)


def _plane(record: ZarrImageRecord) -> tuple[npt.NDArray[Any] | None, str]:
    """Return a plane, its axes (horizontal, vertical), and a caption."""
    shape, axes = record.shape, record.axes
    if [axis.name for axis in axes[-2:]] != ["y", "x"] or record.dtype.kind not in "biuf":
        return None, "no picture: these pixels are no gray plane of y and x"
    if not 0 < shape[-2] * shape[-1] <= _MAX_PIXELS:
        return None, f"no picture: planes of more than {_MAX_PIXELS} pixels take too long"
    place = [size // 2 if axis.name == "z" else 0 for axis, size in zip(axes, shape, strict=True)]
    where: tuple[int | slice, ...] = (*place[:-2], slice(None), slice(None))
    plane = record.load_array(where)
    caption = [f"{axis.name}={at}" for axis, at in zip(axes[:-2], place[:-2], strict=True)]
    if axes[-2].quantity == "time":
        seconds = axes[-2].step if axes[-2].unit == "second" else None
        length = f"{shape[-2]} lines" if seconds is None else f"{shape[-2] * seconds:.4g} s"
        caption.append(f"{length} from left to right, {shape[-1]} pixels downwards")
        return plane, ", ".join(caption)
    caption.append(f"x from left to right, {shape[-1]} pixels; y downwards, {shape[-2]}")
    return plane.T, ", ".join(caption)


def _shrunk(plane: npt.NDArray[Any], columns: int, *, stretch: bool) -> npt.NDArray[np.float64]:
    """Average neighbors until the plane fits; time and space may shrink by different factors."""
    across, down = (-(-plane.shape[0] // columns), -(-plane.shape[1] // _MAX_HEIGHT))
    if not stretch:
        across = down = max(across, down)
    across, down = min(across, plane.shape[0]), min(down, plane.shape[1])
    n_across, n_down = plane.shape[0] // across, plane.shape[1] // down
    whole: npt.NDArray[np.float64] = np.nan_to_num(
        plane[: n_across * across, : n_down * down].astype(np.float64), posinf=0.0, neginf=0.0
    )
    blocks = whole.reshape(n_across, across, n_down, down)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float64)
