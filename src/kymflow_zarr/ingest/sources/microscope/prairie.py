"""Line scans of Prairie View: several cycles of one line, and the picture it was drawn in."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.ingest.sources.microscope.decoded import DecodedImage, Stated, check_series
from kymflow_zarr.ingest.sources.tiff.file import TiffImage, open_tiff
from kymflow_zarr.ingest.sources.tiff.prairie import LineScan, line_scan_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from kymflow_zarr.ingest.sources.interface import ImageFile

__all__ = ["open_line_scan"]


def open_line_scan(path: Path, series: int) -> ImageFile | None:
    """Open a line scan of Prairie View; None for other files.

    Image 0 is the scan. If it has several cycles of one line, they are its axis ``t``, which has
    their times. Image 1 is the picture that the line was drawn in, with the line as its region.

    Raises
    ------
    SourceFileError
        If a file is missing, cannot be read, or has another shape than the first.
    ArgumentError
        If there is no such image.
    """
    scan = line_scan_of(path)
    if scan is None:
        return None
    pictures = _pictures(path, scan)
    count = 2 if pictures else 1
    check_series(series, count, path)
    first = open_tiff(path)
    if series == 1:
        first.close()
        return _picture(path, scan, pictures, first)
    if len(scan.cycles) > 1:
        first.close()
        return _joined(path, scan, first, count)
    first.series_count = count
    return first


def _pictures(path: Path, scan: LineScan) -> dict[str, Path]:
    """Return the pictures that the line was drawn in, by channel; empty if one is missing."""
    # An export into the original folders writes image 1 as a file of its own.
    if path.with_name(f"{path.stem}_series1.tif").is_file():
        return {}
    sources = scan.cycles[0].sources if scan.cycles else {}
    files = {channel: path.parent / name for channel, name in sources.items()}
    whole = all(file.parent == path.parent and file.is_file() for file in files.values())
    return files if whole else {}


def _joined(path: Path, scan: LineScan, first: TiffImage, count: int) -> DecodedImage:
    channels = list(scan.cycles[0].files)
    files = [path.parent / name for each in scan.cycles for name in each.files.values()]
    missing = [file.name for file in files if file.parent != path.parent or not file.is_file()]
    if missing:
        raise SourceFileError(
            f"of its {len(scan.cycles)} cycles, {', '.join(missing)} is missing",
            where=str(path),
            hint="Put the files of all cycles into one folder.",
        )
    if any(list(each.files) != channels for each in scan.cycles):
        raise SourceFileError(
            f"its cycles have unlike channels, the first {', '.join(channels)}",
            where=str(path),
            hint="Ingest the files of each cycle from a folder without the .xml.",
        )
    lines = first.shape[-2:]
    times = [each.time_s - scan.cycles[0].time_s for each in scan.cycles]
    known = all(math.isfinite(time) for time in times)
    sizes = {"T": len(scan.cycles), "C": len(channels), "Y": lines[0], "X": lines[1]}
    if len(channels) == 1:
        del sizes["C"]
    steps = {"Y": ("second", scan.period_s)}
    if scan.pixel_um:
        steps["X"] = ("micrometer", scan.pixel_um)
    stated = Stated(
        dims=list(sizes),
        shape=list(sizes.values()),
        dtype=first.dtype,
        steps=steps,
        channel_names=channels,
        times_s=times if known else None,
        acquired_local_epoch_ns=first.acquired_local_epoch_ns,
        name=None if count == 1 else "line scan",
        description={"line_scan": scan.described()},
    )
    return _decoded(path, stated, files, series=0, count=count)


def _picture(
    path: Path, scan: LineScan, pictures: dict[str, Path], first: TiffImage
) -> DecodedImage:
    with open_tiff(next(iter(pictures.values()))) as picture:
        shape, dtype = picture.shape, picture.dtype
    dims = ["Y", "X"] if len(pictures) == 1 else ["C", "Y", "X"]
    step = ("micrometer", scan.pixel_um)
    region = {
        "roi_id": 1,
        "roi_type": "line" if len(scan.path) == 2 else "polyline",
        "name": "scanned line",
        "data": {"points": scan.path},
    }
    stated = Stated(
        dims=dims,
        shape=[len(pictures), *shape][-len(dims) :],
        dtype=dtype,
        steps={} if step[1] is None else {"Y": (step[0], step[1]), "X": (step[0], step[1])},
        channel_names=list(pictures),
        acquired_local_epoch_ns=first.acquired_local_epoch_ns,
        name="source picture",
        regions=[region] if len(scan.path) > 1 else [],
        description={"line_scan": scan.described()},
    )
    return _decoded(path, stated, list(pictures.values()), series=1, count=2)


def _decoded(
    path: Path, stated: Stated, files: Sequence[Path], *, series: int, count: int
) -> DecodedImage:
    def decode() -> npt.NDArray[Any]:
        return np.stack(list(_planes(files, stated))).reshape(stated.shape)

    nothing: Callable[[], None] = lambda: None  # noqa: E731
    others = [file for file in files if file != path]
    return DecodedImage(
        path, stated, series=series, count=count, decode=decode, close=nothing, others=others
    )


def _planes(files: Sequence[Path], stated: Stated) -> Iterator[npt.NDArray[Any]]:
    for file in files:
        # The OME-XML of a file describes the set that it is of.
        with open_tiff(file, is_ome=False) as plane:
            if plane.shape != tuple(stated.shape[-2:]) or plane.dtype != stated.dtype:
                raise SourceFileError(
                    f"is {plane.dtype} {plane.shape}, not {stated.dtype} "
                    f"{tuple(stated.shape[-2:])} as the first",
                    where=str(file),
                )
            yield plane[...]
