"""Artifacts of an image, to be read in the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kymflow_zarr.errors import ArgumentError, LimitExceededError
from kymflow_zarr.viewer.web.answers import answer
from kymflow_zarr.viewer.web.image.dataframes import load_frame
from kymflow_zarr.viewer.web.lists.rows import Rows
from kymflow_zarr.viewer.web.site import image_of, number_of, site_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["artifact"]

_MAX_ROWS: Final = 5000
_MAX_JSON: Final = 2**23


def artifact(request: Request) -> Response:
    """Answer ``GET /api/images/{id}/artifact``."""
    site = site_of(request)
    record = site.dataset.record(image_of(request))
    kind, name = (request.query_params.get(key, "") for key in ("kind", "name"))
    if kind == "array":
        array = record.open_array_artifact(name)
        return answer({"shape": array.shape, "dtype": str(array.dtype)})
    if kind == "json":
        sizes = {i.name: i.size_bytes for i in record.list_artifacts() if i.kind == "json"}
        if sizes.get(name, 0) > _MAX_JSON:
            raise LimitExceededError(
                f"the artifact is {sizes[name] / 1e6:.0f} MB, too long to be read in a page",
                where=name,
                hint="Download it.",
            )
        return answer({"json": record.load_json(name)})
    if kind not in ("parquet", "csv_gz"):
        raise ArgumentError(f"there are no artifacts of kind {kind!r}", where="kind")
    rows = Rows(load_frame(site, record, kind, name))
    offset = number_of(request, "offset", 0)
    limit = number_of(request, "limit", 100, most=_MAX_ROWS)
    positions = range(min(offset, len(rows)), min(offset + limit, len(rows)))
    names = list(rows.columns)
    return answer({"columns": names, "total": len(rows), "rows": rows.rows(positions, names)})
