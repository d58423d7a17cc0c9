"""CZI of Zeiss ZEN, read by czifile (BSD-3-Clause, Python 3.12)."""

from __future__ import annotations

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

_MICROMETERS = 1e6


def open_czi(path: Path, series: int) -> DecodedImage:
    """Open one scene of a CZI file.

    Raises
    ------
    MissingDependencyError
        If czifile is not installed.
    SourceFileError
        If the file cannot be read.
    """
    czifile = library("czifile", extra="vendor", python=(3, 12))
    with reading(path), ExitStack() as stack:
        # czifile leaves out dimensions of length 1, so a line scan has its lines along T.
        file = stack.enter_context(czifile.CziFile(path))
        scenes = list(file.scenes.items())
        check_series(series, len(scenes), path)
        number, image = scenes[series]
        stated = _stated(file, image, name=f"scene {number}" if len(scenes) > 1 else None)
        opened = stack.pop_all()
    return DecodedImage(
        path, stated, series=series, count=len(scenes), decode=image.asarray, close=opened.close
    )


def _stated(file: Any, image: Any, *, name: str | None) -> Stated:
    sizes = dict(zip(image.dims, image.shape, strict=True))
    steps = {
        dim: ("micrometer", scale * _MICROMETERS)
        for dim, scale in image.coord_scales.items()
        if dim in "XYZ"
    }
    if "T" in image.coord_scales:
        steps["T"] = ("second", image.coord_scales["T"])
    acquired = image.datetime
    return Stated(
        dims=image.dims,
        shape=image.shape,
        dtype=np.dtype(image.dtype),
        steps=steps,
        channel_names=list(image.channels),
        times_s=_times(file.timestamps, sizes.get("T", 1)),
        acquired_local_epoch_ns=epoch_ns(acquired),
        name=name,
        description={"czi": as_json(image.attrs), "xml": file.metadata()},
        notes=[] if acquired is None else ["its acquisition time is that of UTC, as ZEN writes it"],
    )


def _times(stamps: Any, count: int) -> list[float] | None:
    """Return seconds since the first time stamp; some files have days since 1899 (OLE dates)."""
    if stamps is None or len(stamps) != count or count < 2:
        return None
    values = np.asarray(stamps, float)
    days = values[0] > 10_000 and values[-1] - values[0] < 100
    return ((values - values[0]) * (86400.0 if days else 1.0)).tolist()  # type: ignore[no-any-return]
