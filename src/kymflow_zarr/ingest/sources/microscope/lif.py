"""LIF of Leica LAS X, read by liffile (BSD-3-Clause)."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from kymflow_zarr.ingest.sources.microscope.decoded import (
    DecodedImage,
    Stated,
    as_json,
    check_series,
    epoch_ns,
    library,
    reading,
)

# Coordinates are in meters and seconds.
_UNITS = {
    "X": ("micrometer", 1e6),
    "Y": ("micrometer", 1e6),
    "Z": ("micrometer", 1e6),
    "T": ("second", 1.0),
    "\u03bb": ("nanometer", 1e9),
    "\u039b": ("nanometer", 1e9),
}


def open_lif(path: Path, series: int) -> DecodedImage:
    """Open one image of a LIF file.

    Raises
    ------
    MissingDependencyError
        If liffile is not installed.
    SourceFileError
        If the file cannot be read.
    """
    liffile = library("liffile", extra="vendor")
    with reading(path), ExitStack() as stack:
        file = stack.enter_context(liffile.LifFile(path))
        images = list(file.images)
        check_series(series, len(images), path)
        image = images[series]
        stated = _stated(image)
        opened = stack.pop_all()
    return DecodedImage(
        path, stated, series=series, count=len(images), decode=image.asarray, close=opened.close
    )


def _stated(image: Any) -> Stated:
    steps = {}
    for dim, values in image.coords.items():
        if dim in _UNITS and len(values) > 1:
            unit, factor = _UNITS[dim]
            step = float(values[-1] - values[0]) / (len(values) - 1) * factor
            # Without the noise of the division.
            steps[dim] = (unit, float(f"{step:.15g}"))
    names = image.coords.get("C")
    stamps = image.timestamps
    return Stated(
        dims=image.dims,
        shape=image.shape,
        dtype=np.dtype(image.dtype),
        steps=steps,
        channel_names=None if names is None else [str(name) for name in names],
        times_s=_times(image, stamps),
        acquired_local_epoch_ns=epoch_ns(stamps[0]) if stamps is not None and len(stamps) else None,
        name=image.name,
        description={"lif": as_json(image.attrs)},
    )


def _times(image: Any, stamps: Any) -> list[float] | None:
    """Return the time of the first frame at each index of T, in seconds since the first."""
    sizes = dict(zip(image.dims, image.shape, strict=True))
    frames = math.prod(n for dim, n in sizes.items() if dim not in "YXSC")
    if stamps is None or "T" not in sizes or len(stamps) != frames:
        return None
    shape = [n for dim, n in sizes.items() if dim not in "YXSC"]
    at = [dim for dim in sizes if dim not in "YXSC"].index("T")
    first = np.moveaxis(np.asarray(stamps).reshape(shape), at, 0).reshape(sizes["T"], -1)[:, 0]
    return ((first - first[0]) / np.timedelta64(1, "s")).tolist()  # type: ignore[no-any-return]
