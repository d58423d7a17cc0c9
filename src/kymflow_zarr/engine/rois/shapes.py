"""The pixels that a region covers."""

from __future__ import annotations

import itertools
import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from kymflow_zarr.engine.rois.values import (
    EllipseRoi,
    LineRoi,
    PointsRoi,
    PolygonRoi,
    PolylineRoi,
)

ShapeRoi: TypeAlias = LineRoi | PolylineRoi | PolygonRoi | EllipseRoi | PointsRoi
# Rows and columns of the box around a region, and the index of its pixels in that box.
Covered: TypeAlias = tuple[slice, slice, tuple[npt.NDArray[Any], ...]]


def covered_pixels(roi: ShapeRoi, plane_shape: tuple[int, int]) -> Covered:
    """Return the box around a region and the index of its pixels in the box.

    Areas cover the pixels whose center is inside, row by row. Lines cover one pixel for each
    step of at most one pixel, from start to end; points the pixel that they lie in, in order.

    Parameters
    ----------
    roi : LineRoi, PolylineRoi, PolygonRoi, EllipseRoi or PointsRoi
    plane_shape : (int, int)
        Rows and columns; what is outside is left out.
    """
    if isinstance(roi, PolygonRoi | EllipseRoi):
        corners = np.array(roi.outline)
        low = np.maximum(np.ceil(corners.min(axis=0) - 1), 0).astype(int)
        high = np.minimum(np.floor(corners.max(axis=0)) + 2, plane_shape[::-1]).astype(int)
        columns, rows = (slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
        if isinstance(roi, PolygonRoi):
            return rows, columns, (_in_polygon(roi, rows, columns),)
        return rows, columns, (_in_ellipse(roi, rows, columns),)
    path = np.array(roi.points)
    if not isinstance(roi, PointsRoi):
        path = _steps(path)
    y, x = (
        np.clip(np.floor(path[:, i] + 0.5).astype(int), 0, n - 1)
        for i, n in ((1, plane_shape[0]), (0, plane_shape[1]))
    )
    rows, columns = slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
    return rows, columns, (y - rows.start, x - columns.start)


def _steps(path: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return positions along a path, at most a pixel apart; those of bends once."""
    parts = [path[:1]]
    for start, end in itertools.pairwise(path):
        count = max(1, math.ceil(np.abs(end - start).max()))
        parts.append(start + (end - start) * (np.arange(1, count + 1) / count)[:, np.newaxis])
    return np.concatenate(parts)


def _in_polygon(roi: PolygonRoi, rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
    inside = np.zeros((rows.stop - rows.start, columns.stop - columns.start), bool)
    starts = np.array(roi.points)
    ends = np.roll(starts, -1, axis=0)
    (x0, y0), (x1, y1) = starts.T, ends.T
    for row in range(*rows.indices(rows.stop)):
        crossing = (y0 <= row) != (y1 <= row)
        at = (row - y0[crossing]) / (y1[crossing] - y0[crossing])
        crossings = np.sort(x0[crossing] + at * (x1[crossing] - x0[crossing]))
        # A center exactly on an edge belongs to the area on its right.
        for left, right in np.ceil(crossings).astype(int).reshape(-1, 2) - columns.start:
            inside[row - rows.start, max(left, 0) : max(right, 0)] = True
    return inside


def _in_ellipse(roi: EllipseRoi, rows: slice, columns: slice) -> npt.NDArray[np.bool_]:
    y, x = np.ogrid[rows, columns]
    angle = math.radians(roi.angle_deg)
    dx, dy = x - roi.x, y - roi.y
    along = (dx * math.cos(angle) + dy * math.sin(angle)) / roi.radius_x
    across = (dy * math.cos(angle) - dx * math.sin(angle)) / roi.radius_y
    inside: npt.NDArray[np.bool_] = along**2 + across**2 <= 1
    return inside
