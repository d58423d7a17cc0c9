"""OIB and OIF of Olympus FluoView, read by oiffile (BSD-3-Clause)."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from kymflow_zarr.ingest.sources.interface import FileSet
from kymflow_zarr.ingest.sources.microscope.decoded import (
    DecodedImage,
    Stated,
    as_json,
    check_series,
    epoch_ns,
    library,
    reading,
)

_UNITS = {"um": ("micrometer", 1.0), "nm": ("micrometer", 1e-3), "ms": ("second", 1e-3)}
_PIXELS = (".tif", ".tiff")


def open_oif(path: Path, series: int) -> DecodedImage:
    """Open the image of an OIB file, or of an OIF file and its folder.

    Raises
    ------
    MissingDependencyError
        If oiffile is not installed.
    SourceFileError
        If the file cannot be read.
    """
    oiffile = library("oiffile", extra="vendor")
    with reading(path), ExitStack() as stack:
        file = stack.enter_context(oiffile.OifFile(path))
        check_series(series, 1, path)
        stated = _stated(file)
        opened = stack.pop_all()
    folder = Path(f"{path}.files")
    others = sorted(p for p in folder.glob("*") if p.suffix.casefold() in _PIXELS)
    return DecodedImage(
        path, stated, series=0, count=1, decode=file.asarray, close=opened.close, others=others
    )


def find_sets(images: Sequence[Path], others: Sequence[Path]) -> list[FileSet]:
    """Return each OIF file with the files of its folder ``<name>.oif.files``."""
    sets = []
    for image in images:
        inside = [path for path in others if path.parent == Path(f"{image}.files")]
        members = tuple(path for path in inside if path.suffix.casefold() in _PIXELS)
        if members:
            rest = tuple(path for path in inside if path not in members)
            sets.append(FileSet(image, members, rest))
    return sets


def _stated(file: Any) -> Stated:
    settings = file.mainfile
    sizes = dict(zip(file.axes, file.shape, strict=True))
    acquisition = settings.get("Acquisition Parameters Common", {})
    count = sizes.get("C", 1)
    channels = [settings.get(f"Channel {i + 1} Parameters", {}) for i in range(count)]
    return Stated(
        dims=list(file.axes),
        shape=file.shape,
        dtype=np.dtype(file.dtype),
        steps=_steps(settings, sizes),
        channel_names=[str(channel.get("CH Name", "")) for channel in channels],
        acquired_local_epoch_ns=_acquired(acquisition),
        description={"oif": as_json(settings)},
    )


def _steps(
    settings: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int]
) -> dict[str, tuple[str, float]]:
    """Return unit and step of each axis: its extent over its pixels.

    The extent of rows, columns and lines reaches to the end of the last; that of planes and
    frames to the beginning of the last.
    """
    steps = {}
    for number in range(10):
        axis = settings.get(f"Axis {number} Parameters Common", {})
        dim, unit = str(axis.get("AxisCode", "")), str(axis.get("UnitName", ""))
        size = sizes.get(dim, 1)
        if unit not in _UNITS or dim not in sizes or size < 2:
            continue
        name, factor = _UNITS[unit]
        lines = dim == "T" and "Y" not in sizes
        parts = size if dim in "XY" or lines else size - 1
        extent = float(axis.get("EndPosition", 0)) - float(axis.get("StartPosition", 0))
        steps[dim] = (name, extent / parts * factor)
    return steps


def _acquired(acquisition: Mapping[str, Any]) -> int | None:
    # "Capture" is misspelled in the files.
    text = re.sub(r"^'|'$", "", str(acquisition.get("ImageCaputreDate", "")))
    try:
        moment = dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        return None
    milliseconds = int(acquisition.get("ImageCaputreDate+MilliSec", 0) or 0)
    return epoch_ns(moment + dt.timedelta(milliseconds=milliseconds))
