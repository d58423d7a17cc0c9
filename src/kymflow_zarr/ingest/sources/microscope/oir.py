"""OIR of Olympus FluoView FV3000 and later, read by oirfile (BSD-3-Clause, Python 3.12).

It was built on the interface of the library; no file was small enough to try it on.
"""

from __future__ import annotations

import datetime as dt
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


def open_oir(path: Path, series: int) -> DecodedImage:
    """Open the image of an OIR file, or, as its second image, the reference image of a line scan.

    Raises
    ------
    MissingDependencyError
        If oirfile is not installed.
    SourceFileError
        If the file cannot be read.
    """
    oirfile = library("oirfile", extra="vendor", python=(3, 12))
    with reading(path), ExitStack() as stack:
        file = stack.enter_context(oirfile.OirFile(path))
        images = [file] if file.reference is None else [file, file.reference]
        check_series(series, len(images), path)
        image = images[series]
        stated = _stated(file) if series == 0 else _reference(file, image)
        opened = stack.pop_all()
    return DecodedImage(
        path, stated, series=series, count=len(images), decode=image.asarray, close=opened.close
    )


def _stated(file: Any) -> Stated:
    sizes = dict(file.sizes)
    count = sizes.get("T", 1)
    stamps = file.timestamps
    times = None
    if stamps is not None and count > 1 and len(stamps) % count == 0:
        # One stamp a frame: the first of each time.
        times = np.asarray(stamps).reshape(count, -1)[:, 0].tolist()
    return Stated(
        dims=list(sizes),
        shape=list(sizes.values()),
        dtype=np.dtype(file.dtype),
        steps=_steps(file),
        channel_names=[str(name) for name in file.coords.get("C", ())],
        times_s=times,
        acquired_local_epoch_ns=_acquired(file.datetime),
        name="image" if file.reference is not None else None,
        description={"oir": as_json(file.attrs), "xml": _xml(file)},
    )


def _reference(file: Any, image: Any) -> Stated:
    line = image.line_roi
    regions = []
    if line is not None:
        x0, y0, x1, y1 = map(float, line)
        points = [[x0, y0], [x1, y1]]
        regions = [
            {"roi_id": 1, "roi_type": "line", "name": "scanned line", "data": {"points": points}}
        ]
    return Stated(
        dims=list(image.sizes),
        shape=list(image.sizes.values()),
        dtype=np.dtype(image.dtype),
        steps=_steps(image),
        acquired_local_epoch_ns=_acquired(file.datetime),
        name="reference",
        regions=regions,
        description={"oir": as_json(image.attrs)},
    )


def _steps(image: Any) -> dict[str, tuple[str, float]]:
    return {dim: (image.coord_units[dim], step) for dim, step in image.coord_scales.items()}


def _xml(file: Any) -> dict[str, list[str]]:
    return {str(kind): list(texts) for kind, texts in file.xml_metadata.items()}


def _acquired(text: str | None) -> int | None:
    """Return the wall clock of an ISO time; its offset from UTC is left out."""
    try:
        return epoch_ns(dt.datetime.fromisoformat(text or ""))
    except ValueError:
        return None
