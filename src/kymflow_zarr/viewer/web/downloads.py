"""Downloads, sent as attachments so that the browser never renders them in our origin.

A download takes at most a few times :data:`MAX_BYTES` of memory: pixels are written plane by plane,
arrays part by part, and larger files that cannot be split are refused.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import quote

import numpy as np
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from kymflow_zarr.api.internals import kind_of, open_dataset_of, stored_image_of, write_excel
from kymflow_zarr.errors import ArgumentError, LimitExceededError
from kymflow_zarr.viewer.web.answers import error_answer, stored_file
from kymflow_zarr.viewer.web.image.artifacts import find_artifact, forms_of, load_frame
from kymflow_zarr.viewer.web.lists.rows import Asked
from kymflow_zarr.viewer.web.site import image_of, segments, site_of
from kymflow_zarr.views.plane import plane_of

if TYPE_CHECKING:
    import pandas as pd
    from starlette.requests import Request
    from starlette.responses import Response

    from kymflow_zarr import ZarrImageRecord

__all__ = [
    "created_file",
    "download_artifact",
    "download_image",
    "download_table",
    "in_turn",
    "require_small_planes",
    "stem_of",
    "wanted_form",
]

MAX_BYTES: Final = 2**28
# Repetitive text such as numbers rarely compresses better than this.
_GZIP_RATIO: Final = 20
_MEDIA_TYPES: Final = {
    "csv": "text/csv",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "npy": "application/octet-stream",
    "parquet": "application/vnd.apache.parquet",
    "tif": "image/tiff",
}


async def download_image(request: Request) -> Response:
    """Answer ``GET /download/image/{id}``."""
    return await in_turn(request, _image)


async def download_artifact(request: Request) -> Response:
    """Answer ``GET /download/artifact/{id}``."""
    return await in_turn(request, _artifact)


async def download_table(request: Request) -> Response:
    """Answer ``GET /download/table/{name}``: all rows, or those that match a query."""
    return await in_turn(request, _table)


async def in_turn(request: Request, answer: Callable[[Request], Response]) -> Response:
    """Answer a download in a thread, few at a time."""
    # Waiting requests do not occupy a thread.
    async with site_of(request).downloads:
        return await run_in_threadpool(answer, request)


def _image(request: Request) -> Response:
    record = site_of(request).dataset.record(image_of(request))
    wanted_form(request, "tif")
    require_small_planes(record)
    return created_file(f"{stem_of(request, record.image_id)}.tif", record.export_tiff)


def require_small_planes(record: ZarrImageRecord) -> None:
    """Raise LimitExceededError if a plane of an image takes more memory than a download may."""
    plane = plane_of(stored_image_of(record))
    n_plane = plane.shape[plane.rows] * plane.shape[plane.columns]
    n_bytes = max(n_plane, math.prod(record.chunks)) * record.dtype.itemsize
    _require_small(n_bytes, record.image_id)


def stem_of(request: Request, image_id: str) -> str:
    """Return what people call an image as the beginning of a file name."""
    name = site_of(request).gallery.name_of(image_id)
    stem, _, suffix = name.rpartition(".")
    named_so = suffix.casefold() in ("tif", "tiff") and stem
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", stem if named_so else name)


def _artifact(request: Request) -> Response:
    site = site_of(request)
    record = site.dataset.record(image_of(request))
    kind, name = (request.query_params.get(key, "") for key in ("kind", "name"))
    title = f"{stem_of(request, record.image_id)} {name}".replace("/", "_")
    if kind == "array":
        wanted_form(request, "npy")
        array = record.open_array_artifact(name)
        _require_small(math.prod(array.chunks) * array.dtype.itemsize, name)
        return created_file(f"{title}.npy", lambda path: _write_npy(array, path))
    info = find_artifact(record, kind, name)
    form = wanted_form(request, *forms_of(info))
    image, key = stored_image_of(record), "/".join(info.key.split("/")[2:])
    if not kind_of(info).is_dataframe:
        media_type = kind_of(info).media_type
        return _as_it_is(request, image.open_file(key), f"{title}.{form}", media_type)
    if info.kind == "parquet":
        _require_small(_unpacked_bytes(image.open_file(key)), name)
    else:
        _require_small(info.size_bytes * _GZIP_RATIO, name)
    return _frame(load_frame(site, record, info), title, form)


def _table(request: Request) -> Response:
    site = site_of(request)
    parts = segments(request)[2:]
    if len(parts) != 1:
        return error_answer(404, "NotFoundError", "there is nothing at this address")
    (name,) = parts
    form = wanted_form(request, "csv", "parquet", "xlsx")
    title = name.replace("/", "_")
    asked = Asked.of(request.query_params)
    stored = open_dataset_of(site.dataset).open_table(name)
    if form == "parquet" and not (asked.q or asked.where or asked.sort):
        return _as_it_is(request, stored, f"{title}.parquet", _MEDIA_TYPES["parquet"])
    _require_small(_unpacked_bytes(stored), name)
    rows = site.tables.rows(name)
    frame = rows.frame_of(rows.find(asked))
    if form == "xlsx":
        return created_file(f"{title}.xlsx", lambda path: write_excel(path, {name: frame}))
    return _frame(frame, title, form)


def _unpacked_bytes(opened: AbstractContextManager[BinaryIO]) -> int:
    """Return the uncompressed size of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with opened as file:
        try:
            footer = pq.read_metadata(file)
        except (OSError, pa.ArrowException):
            return 0  # Reading the file raises a precise error.
    return sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))


def _require_small(n_bytes: int, where: str) -> None:
    if n_bytes > MAX_BYTES:
        raise LimitExceededError(
            f"this takes {n_bytes / 1e6:.0f} MB in memory at a time, more than the "
            f"{MAX_BYTES / 1e6:.0f} MB that the page's server may take for a download",
            where=where,
            hint="kymflow-zarr export writes it to a folder.",
        )


def _write_npy(array: Any, path: Path) -> None:
    """Write an array part by part, one row of chunks at a time."""
    with path.open("wb") as file:
        if not array.ndim:
            np.save(file, array[...], allow_pickle=False)
            return
        header = {
            "descr": np.lib.format.dtype_to_descr(array.dtype),
            "fortran_order": False,
            "shape": tuple(array.shape),
        }
        np.lib.format.write_array_header_2_0(file, header)
        row_bytes = max(1, math.prod(array.shape[1:]) * array.dtype.itemsize)
        rows = min(array.chunks[0], max(1, MAX_BYTES // row_bytes))
        for first in range(0, array.shape[0], rows):
            file.write(np.ascontiguousarray(array[first : first + rows]).tobytes())


def wanted_form(request: Request, *offered: str) -> str:
    """Return the form that a request asks for, by default the first.

    Raises
    ------
    ArgumentError
        If it is none of these.
    """
    asked = request.query_params.get("as") or offered[0]
    if asked not in offered:
        raise ArgumentError(
            f"it cannot be had as {asked!r}", where="as", hint=f"One of: {', '.join(offered)}."
        )
    return asked


def _frame(frame: pd.DataFrame, title: str, form: str) -> Response:
    if form == "parquet":
        return created_file(f"{title}.parquet", lambda path: frame.to_parquet(path, index=False))
    return created_file(f"{title}.csv", lambda path: _write_csv(frame, path))


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        frame.to_csv(file, index=False, lineterminator="\n")


def _as_it_is(
    request: Request, opened: AbstractContextManager[BinaryIO], name: str, media_type: str
) -> Response:
    disposition = f"attachment; filename*=utf-8''{quote(name, safe='')}"
    headers = {**_FRESH, "Content-Disposition": disposition}
    return stored_file(request, opened, media_type, headers)


def created_file(name: str, write: Callable[[Path], object]) -> Response:
    """Return a file that is written for this answer, and deleted after it."""
    folder = tempfile.TemporaryDirectory(prefix="kymflow_zarr-", ignore_cleanup_errors=True)
    try:
        path = Path(folder.name) / f"download{Path(name).suffix}"
        write(path)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        path,
        media_type=_MEDIA_TYPES[path.suffix[1:]],
        filename=name,
        headers=_FRESH,
        background=BackgroundTask(folder.cleanup),
    )


_FRESH: Final = {"Cache-Control": "no-store"}
