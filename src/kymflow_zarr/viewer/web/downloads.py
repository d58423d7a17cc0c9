"""Files to keep: always as attachments, so that none is ever shown as a page of ours."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from kymflow_zarr.api.internals import open_dataset_of, stored_image_of
from kymflow_zarr.errors import ArgumentError, ArtifactNotFoundError
from kymflow_zarr.viewer.web.answers import error_answer
from kymflow_zarr.viewer.web.image.dataframes import load_frame
from kymflow_zarr.viewer.web.site import image_of, segments, site_of

if TYPE_CHECKING:
    import pandas as pd
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["download_artifact", "download_image", "download_table"]

_KINDS: Final = {
    "csv": "text/csv",
    "json": "application/json",
    "npy": "application/octet-stream",
    "parquet": "application/vnd.apache.parquet",
    "tif": "image/tiff",
}


def download_image(request: Request) -> Response:
    """Answer ``GET /download/image/{id}``."""
    site = site_of(request)
    record = site.dataset.record(image_of(request))
    _form(request, "tif")
    return _made(f"{record.image_id}.tif", record.export_tiff)


def download_artifact(request: Request) -> Response:
    """Answer ``GET /download/artifact/{id}``."""
    site = site_of(request)
    record = site.dataset.record(image_of(request))
    kind, name = (request.query_params.get(key, "") for key in ("kind", "name"))
    title = name.replace("/", "_")
    if kind == "array":
        _form(request, "npy")
        array = record.load_array_artifact(name)
        return _made(f"{title}.npy", lambda path: np.save(path, array, allow_pickle=False))
    if kind == "json":
        _form(request, "json")
        keys = [i.key for i in record.list_artifacts() if (i.kind, i.name) == (kind, name)]
        if not keys:
            raise ArtifactNotFoundError(f"the image has no artifact {name!r}", where=name)
        return _as_it_is(
            stored_image_of(record).stored_file("/".join(keys[0].split("/")[2:])), f"{title}.json"
        )
    form = _form(request, "csv", "parquet")
    return _frame(load_frame(site, record, kind, name), title, form)


def download_table(request: Request) -> Response:
    """Answer ``GET /download/table/{name}``."""
    site = site_of(request)
    parts = segments(request)[2:]
    if len(parts) != 1:
        return error_answer(404, "NotFoundError", "there is nothing at this address")
    form = _form(request, "csv", "parquet")
    title = parts[0].replace("/", "_")
    if form == "parquet":
        return _as_it_is(open_dataset_of(site.dataset).stored_table(parts[0]), f"{title}.parquet")
    return _frame(site.tables.rows(parts[0]).frame, title, form)


def _form(request: Request, *offered: str) -> str:
    asked = request.query_params.get("as") or offered[0]
    if asked not in offered:
        raise ArgumentError(
            f"it cannot be had as {asked!r}", where="as", hint=f"One of: {', '.join(offered)}."
        )
    return asked


def _frame(frame: pd.DataFrame, title: str, form: str) -> Response:
    if form == "parquet":
        return _made(f"{title}.parquet", lambda path: frame.to_parquet(path, index=False))
    return _made(f"{title}.csv", lambda path: _write_csv(frame, path))


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        frame.to_csv(file, index=False, lineterminator="\n")


def _as_it_is(path: Path, name: str) -> Response:
    if not path.is_file():
        raise ArtifactNotFoundError("the file is missing", where=name)
    return FileResponse(path, media_type=_KINDS[path.suffix[1:]], filename=name, headers=_FRESH)


def _made(name: str, write: Callable[[Path], object]) -> Response:
    folder = tempfile.TemporaryDirectory(prefix="kymflow_zarr-", ignore_cleanup_errors=True)
    try:
        path = Path(folder.name) / f"download{Path(name).suffix}"
        write(path)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        path,
        media_type=_KINDS[path.suffix[1:]],
        filename=name,
        headers=_FRESH,
        background=BackgroundTask(folder.cleanup),
    )


_FRESH: Final = {"Cache-Control": "no-store"}
