"""Endpoints for the pixels of an image: thumbnail, windows, histogram."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from starlette.responses import Response

from kymflow_zarr.api.internals import snapshot_of
from kymflow_zarr.errors import ArgumentError, EditConflictError
from kymflow_zarr.viewer.web.answers import answer
from kymflow_zarr.viewer.web.image.pixels import Pixels, at_of, open_pixels
from kymflow_zarr.viewer.web.lists.gallery import picture_version
from kymflow_zarr.viewer.web.site import Site, image_of, site_of
from kymflow_zarr.views.picture import contrast, histogram_edges

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["histogram", "intensities", "thumbnail", "window"]

# The response of this URL never changes, since the URL contains the pixels' version.
_FOR_EVER: Final = "private, max-age=31536000, immutable"
_NEVER: Final = "no-store"
_PAIR: Final = re.compile(r"([0-9]{1,12})([:,])([0-9]{1,12})", re.ASCII)
# Maximum number of values in a response.
_MAX_NUMBERS: Final = 2**22
_BINS: Final = 256
# Number of values of a histogram, and number of runs of rows to read them from.
_SAMPLE: Final = 2**21
_RUNS: Final = 16


def thumbnail(request: Request) -> Response:
    """Answer ``GET /api/images/{id}/thumbnail``."""
    site = site_of(request)
    record = snapshot_of(site.dataset.record(image_of(request)))
    current = request.query_params.get("v") == picture_version(record)
    with site.pixels:
        png = record.thumbnail()
    if site.blind is not None:
        png = site.blind.picture(png)
    caching = _FOR_EVER if current else _NEVER
    return Response(png, media_type="image/png", headers={"Cache-Control": caching})


def window(request: Request) -> Response:
    """Answer ``GET /api/images/{id}/window``."""
    site = site_of(request)
    pixels = open_pixels(site, image_of(request))
    query = request.query_params
    version = query.get("v")
    if version is not None and version != pixels.version:
        raise EditConflictError(
            "the pixels have changed meanwhile", where="v", hint="Reload the image."
        )
    height, width = pixels.size
    at = at_of(query.get("at", ""))
    rows = _span(query.get("rows"), height, "rows")
    columns = _span(query.get("columns"), width, "columns")
    step = _steps(query.get("step"))
    n_rows, n_columns = (
        -(-(span.stop - span.start) // n) for span, n in zip((rows, columns), step, strict=True)
    )
    if n_rows * n_columns > _MAX_NUMBERS:
        raise ArgumentError(
            f"{n_rows} x {n_columns} numbers are more than one answer holds",
            where="step",
            hint="Ask for tiles, or for a larger step.",
        )
    key = (image_of(request), pixels.version, repr(at), repr((rows, columns)), step)

    def made() -> npt.NDArray[Any]:
        with site.pixels:
            return pixels.window(at, rows, columns, step)

    values = site.cache.get(("window", *key), made, lambda array: array.nbytes)
    dtype = values.dtype
    return Response(
        values.tobytes(),
        media_type="application/octet-stream",
        headers={
            "X-Shape": ",".join(map(str, values.shape)),
            "X-Dtype": f"{dtype.kind}{dtype.itemsize}",
            "Cache-Control": _NEVER if version is None else _FOR_EVER,
        },
    )


def histogram(request: Request) -> Response:
    """Answer ``GET /api/images/{id}/histogram``."""
    site = site_of(request)
    pixels = open_pixels(site, image_of(request))
    return answer(intensities(site, pixels, at_of(request.query_params.get("at", ""))))


def intensities(site: Site, pixels: Pixels, at: dict[str, int]) -> dict[str, Any]:
    """Return the histogram of a plane, and a display range."""

    def made() -> dict[str, Any]:
        with site.pixels:
            return _histogram(pixels, at)

    key = ("histogram", pixels.version, pixels.plane.axes, tuple(sorted(at.items())))
    return site.cache.get(key, made, lambda _: 2**14)


def _histogram(pixels: Pixels, at: dict[str, int]) -> dict[str, Any]:
    parts = []
    height, width = pixels.size
    samples = _samples(height, width, pixels)
    for rows, columns in samples:
        part = pixels.window(at, rows, columns, (1, 1))
        parts.append(part.reshape(-1))
    values = np.concatenate(parts).astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return {
            "edges": [0.0, 1.0], "counts": [0], "low": 0.0, "high": 1.0, "min": 0.0, "max": 1.0,
            "sampled": False,
        }  # fmt: skip
    low, high = contrast(values)
    least, most = float(values.min()), float(values.max())
    edges = histogram_edges(least, most, whole=pixels.dtype.kind in "biu", bins=_BINS)
    counts, _ = np.histogram(values, edges)
    return {
        "edges": edges,
        "counts": counts,
        "low": low,
        "high": high,
        "min": least,
        "max": most,
        "sampled": sum(part.size for part in parts) < height * width,
    }


def _samples(height: int, width: int, pixels: Pixels) -> list[tuple[slice, slice]]:
    """Return the parts to sample: all, or runs of rows or tiles spread over the plane."""
    tall, wide = (pixels.chunks[i] for i in (pixels.plane.rows, pixels.plane.columns))
    if height * width <= _SAMPLE or wide >= width:
        columns = slice(0, min(width, _SAMPLE))
        return [(rows, columns) for rows in _runs(height, width)]
    # A run of rows would decode all tiles along it.
    across = -(-width // wide)
    tiles = -(-height // tall) * across
    tall, wide = min(tall, _SAMPLE), min(wide, _SAMPLE)
    count = max(1, min(tiles, _SAMPLE // (tall * wide)))
    samples = []
    for tile in np.unique(np.linspace(0, tiles - 1, count).astype(int)).tolist():
        top, left = tile // across * pixels.chunks[pixels.plane.rows], tile % across * wide
        samples.append((slice(top, min(height, top + tall)), slice(left, min(width, left + wide))))
    return samples


def _runs(height: int, width: int) -> list[slice]:
    """Return the rows to sample: all, or runs spread over the plane."""
    if height * width <= _SAMPLE:
        return [slice(0, height)]
    taken = max(1, _SAMPLE // max(1, min(width, _SAMPLE)) // _RUNS)
    starts = np.unique(np.linspace(0, max(0, height - taken), _RUNS).astype(int))
    return [slice(int(start), min(height, int(start) + taken)) for start in starts]


def _span(text: str | None, size: int, name: str) -> slice:
    if text is None:
        return slice(0, size)
    first, last = _pair(text, ":", name)
    if not first < last <= size:
        raise ArgumentError(f"{name} are {text}, and there are {size}", where=name)
    return slice(first, last)


def _steps(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 1
    down, across = _pair(text, ",", "step")
    if min(down, across) < 1:
        raise ArgumentError(f"the step {text!r} is less than 1", where="step")
    return down, across


def _pair(text: str, between: str, name: str) -> tuple[int, int]:
    match = _PAIR.fullmatch(text)
    if match is None or match[2] != between:
        raise ArgumentError(f"{text!r} is not two numbers with {between!r} between", where=name)
    return int(match[1]), int(match[3])
