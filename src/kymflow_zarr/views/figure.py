"""Draw a picture with axes in real units, a scale bar and regions as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from kymflow_zarr.engine.rois.values import MaskRoi, PointsRoi, RectRoi
from kymflow_zarr.views.markup import text
from kymflow_zarr.views.picture import Preview, data_uri, gray_levels, reduced

if TYPE_CHECKING:
    from kymflow_zarr.engine.rois.values import KnownRoi
    from kymflow_zarr.views.plane import Drawn

__all__ = ["bar_length", "figure", "nice_step", "thumbnail", "ticks"]

ROI_COLORS: Final = ("#ffb000", "#4cc9f0", "#f72585", "#70e000", "#b388ff", "#ff7f51")
_BOX: Final = (640, 360)
_KYMOGRAPH_HEIGHT: Final = 160
_THUMB: Final = (168, 112)
_MARGINS: Final = (64, 10, 12, 42)  # left, top, right, bottom
_MAX_ROIS: Final = 50
# Masks of more pixels are not read.
_MAX_MASK: Final = 2**24
_INK: Final = 'fill="currentColor" font-size="11"'

Reader = Callable[[str], npt.NDArray[Any]]


def nice_step(extent: float, count: int) -> float:
    """Return a step of 1, 2 or 5 times a power of ten that fits about `count` times."""
    raw = extent / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= raw * 0.999)


def ticks(start: float, stop: float, count: int) -> list[float]:
    """Return round numbers from `start` to `stop`."""
    step = nice_step(stop - start, count)
    first = math.ceil(start / step - 1e-9)
    return [i * step for i in range(first, math.floor(stop / step + 1e-9) + 1)]


def bar_length(extent: float) -> float:
    """Return the length of a scale bar, about a fifth of the visible extent."""
    return nice_step(extent, 5)


def thumbnail(seen: Preview, alt: str) -> str:
    """Return a small picture."""
    height, width = seen.pixels.shape
    down, across = _factors(seen, *_THUMB)
    image = gray_levels(reduced(seen.pixels, down, across))
    shown_w, shown_h = _shown_size(seen, *_THUMB, _THUMB[1] // 2)
    title = f"{width} x {height} pixels"
    if not seen.is_whole:
        title += f" of {seen.plane.horizontal.size} x {seen.plane.vertical.size}"
    return (
        f'<img src="{data_uri(image)}" alt="{text(alt)}" width="{shown_w:.0f}" '
        f'height="{shown_h:.0f}" style="display:block" title="{title}"/>'
    )


def _factors(seen: Preview, width: int, height: int) -> tuple[int, int]:
    """Return the numbers of samples per pixel of the picture, vertical and horizontal."""
    down, across = (
        max(1, math.ceil(n / most))
        for n, most in zip(seen.pixels.shape, (height, width), strict=True)
    )
    # If both axes are space, use one factor so that circles stay circles.
    both = max(down, across)
    down, across = (down, across) if seen.plane.is_kymograph else (both, both)
    return min(down, seen.pixels.shape[0]), min(across, seen.pixels.shape[1])


def _shown_size(seen: Preview, width: int, height: int, line: int) -> tuple[float, float]:
    if seen.plane.is_kymograph:
        return width, line
    tall, wide = map(float, seen.pixels.shape)
    if seen.plane.is_true_to_scale:
        tall, wide = tall * seen.plane.vertical.step, wide * seen.plane.horizontal.step
    scale = min(width / wide, height / tall)
    return max(1.0, wide * scale), max(1.0, tall * scale)


def figure(seen: Preview, rois: Sequence[KnownRoi], read_mask: Reader, alt: str) -> str:
    """Return the picture with its axes, the regions of this plane, and a scale bar."""
    left, top, right, bottom = _MARGINS
    width, height = _shown_size(seen, *_BOX, _KYMOGRAPH_HEIGHT)
    image = gray_levels(reduced(seen.pixels, *_factors(seen, *_BOX)))
    n_down, n_across = seen.pixels.shape
    first_down, first_across = seen.start
    inner = [_image(image, width, height)]
    for number, roi in enumerate(rois[:_MAX_ROIS]):
        if seen.plane.shows(roi, seen.index):
            color = ROI_COLORS[number % len(ROI_COLORS)]
            inner.append(_region(seen, roi, color, read_mask, width, height))
    place = f'x="{left}" y="{top}" width="{width:.1f}" height="{height:.1f}"'
    parts = [
        # A nested SVG clips regions that extend beyond the picture.
        f"<svg {place}>",
        *inner,
        "</svg>",
        f'<rect {place} fill="none" stroke="currentColor" stroke-opacity=".5"/>',
        *_axis_below(seen.plane.horizontal, first_across, n_across, width, height),
        *_axis_left(seen.plane.vertical, first_down, n_down, height),
        *_scale_bar(seen.plane.horizontal, n_across, width, height),
    ]
    all_wide, all_tall = left + width + right, top + height + bottom
    return (
        f'<svg role="img" aria-label="{text(alt)}" width="{all_wide:.0f}" height="{all_tall:.0f}" '
        f'viewBox="0 0 {all_wide:.1f} {all_tall:.1f}" '
        f'style="max-width:100%;height:auto;display:block">{"".join(parts)}</svg>'
    )


def _image(levels: npt.NDArray[np.uint8], width: float, height: float) -> str:
    return (
        f'<image href="{data_uri(levels)}" x="0" y="0" width="{width:.1f}" '
        f'height="{height:.1f}" preserveAspectRatio="none"/>'
    )


def _region(
    seen: Preview,
    roi: KnownRoi,
    color: str,
    read_mask: Reader,
    width: float,
    height: float,
) -> str:
    down, across = seen.start
    n_down, n_across = seen.pixels.shape
    name = f"<title>ROI {roi.roi_id} {text(roi.name)}</title>"
    if isinstance(roi, MaskRoi):
        if seen.plane.vertical.size * seen.plane.horizontal.size > _MAX_MASK:
            return ""
        inside = seen.plane.arrange(np.asarray(read_mask(roi.mask_ref)) != 0)
        part = inside[down : down + n_down, across : across + n_across]
        part = part[:: max(1, -(-n_down // _BOX[1])), :: max(1, -(-n_across // _BOX[0]))]
        levels = np.zeros((*part.shape, 4), np.uint8)
        levels[part] = [*bytes.fromhex(color[1:]), 110]
        return f"<g>{name}{_image(levels, width, height)}</g>"
    kx, ky = width / n_across, height / n_down
    stroke = f'fill="none" stroke="{color}" stroke-width="2"'
    if not isinstance(roi, RectRoi):
        points = [(y, x) if seen.plane.turned else (x, y) for x, y in roi.outline]
        # Points count from the center of the first pixel, the picture from its edge.
        places = [((x + 0.5 - across) * kx, (y + 0.5 - down) * ky) for x, y in points]
        if isinstance(roi, PointsRoi):
            dots = (f'<circle cx="{x:.2f}" cy="{y:.2f}" r="3" {stroke}/>' for x, y in places)
            return f"<g>{name}{''.join(dots)}</g>"
        tag = "polygon" if roi.is_closed else "polyline"
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in places)
        return f'<{tag} points="{path}" {stroke}>{name}</{tag}>'
    x0, x1, y0, y1 = roi.x0, roi.x1, roi.y0, roi.y1
    if seen.plane.turned:
        x0, x1, y0, y1 = y0, y1, x0, x1
    return (
        f'<rect x="{(x0 - across) * kx:.2f}" y="{(y0 - down) * ky:.2f}" '
        f'width="{(x1 - x0) * kx:.2f}" height="{(y1 - y0) * ky:.2f}" '
        f"{stroke}>{name}</rect>"
    )


def _axis_below(axis: Drawn, first: int, n: int, width: float, height: float) -> Iterator[str]:
    left, top, *_ = _MARGINS
    foot = top + height
    for value in ticks(float(axis.at(first)), float(axis.at(first + n)), 6):
        x = left + (axis.position(value) - first) / n * width
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{foot:.1f}" y2="{foot + 4:.1f}" '
            'stroke="currentColor"/>'
        )
        yield f'<text x="{x:.1f}" y="{foot + 16:.1f}" text-anchor="middle" {_INK}>{value:g}</text>'
    yield (
        f'<text x="{left + width / 2:.1f}" y="{foot + 33:.1f}" text-anchor="middle" {_INK}>'
        f"{text(axis.label)}</text>"
    )


def _axis_left(axis: Drawn, first: int, n: int, height: float) -> Iterator[str]:
    left, top, *_ = _MARGINS
    for value in ticks(float(axis.at(first)), float(axis.at(first + n)), 4):
        y = top + (axis.position(value) - first) / n * height
        yield (
            f'<line x1="{left - 4}" x2="{left}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor"/>'
        )
        yield f'<text x="{left - 7}" y="{y + 4:.1f}" text-anchor="end" {_INK}>{value:g}</text>'
    middle = top + height / 2
    yield (
        f'<text x="14" y="{middle:.1f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {middle:.1f})" {_INK}>{text(axis.label)}</text>'
    )


def _scale_bar(axis: Drawn, n: int, width: float, height: float) -> Iterator[str]:
    # Lines at irregular times have no common scale.
    if not axis.calibrated or axis.edges is not None:
        return
    left, top, *_ = _MARGINS
    length = bar_length(n * axis.step)
    end, y = left + width - 12, top + height - 10
    begin = end - length / (n * axis.step) * width
    # Draw white on black, to be visible on any picture.
    for color, thick in (("#000", 5), ("#fff", 3)):
        yield (
            f'<line x1="{begin:.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{color}" '
            f'stroke-width="{thick}"/>'
        )
    yield (
        f'<text x="{(begin + end) / 2:.1f}" y="{y - 6:.1f}" text-anchor="middle" fill="#fff" '
        'stroke="#000" stroke-width="2.5" paint-order="stroke" font-size="11">'
        f"{length:g} {text(axis.unit)}</text>"
    )
