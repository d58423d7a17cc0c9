"""Files as they are: the page itself, and images as OME-Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse

from kymflow_zarr.api.internals import stored_image_of
from kymflow_zarr.errors import ArtifactNotFoundError
from kymflow_zarr.viewer.web.answers import error_answer
from kymflow_zarr.viewer.web.site import segments, site_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["asset", "ome_zarr", "page"]

STATIC: Final = Path(__file__).with_name("static")
_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_UNBUILT: Final = (
    "<!doctype html><title>kymflow_zarr</title><p>The page is not built. In the folder "
    "<code>frontend</code> of the source, <code>npm ci &amp;&amp; npm run build</code> builds it."
)


def page(_request: Request) -> Response:
    """Answer any address of the page: it finds out itself what it is to show."""
    index = STATIC / "index.html"
    if not index.is_file():
        return HTMLResponse(_UNBUILT, status_code=503, headers={"Cache-Control": "no-store"})
    return FileResponse(index, media_type="text/html", headers={"Cache-Control": "no-cache"})


def asset(request: Request) -> Response:
    """Answer ``/assets/...`` and the like: files of the page, and no others."""
    name = request.url.path.strip("/")
    # Look the name up in a list of our files; never build a path from a request.
    found = {
        path.relative_to(STATIC).as_posix(): path
        for path in STATIC.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    path = found.get(name)
    if path is None:
        return PlainTextResponse("not found", status_code=404)
    # The build gives each asset a name that changes with its content.
    caching = "public, max-age=31536000, immutable" if name.startswith("assets/") else "no-cache"
    kind = _TYPES.get(path.suffix, "application/octet-stream")
    return FileResponse(path, media_type=kind, headers={"Cache-Control": caching})


def ome_zarr(request: Request) -> Response:
    """Answer ``GET /zarr/{key}/images/{id}/...``: a file of an image, with ranges."""
    site = site_of(request)
    parts = segments(request)
    if len(parts) < 5 or parts[:3] != ["zarr", site.rules.zarr_key, "images"]:
        return error_answer(404, "NotFoundError", "there is nothing at this address")
    # A slash that came encoded belongs to no name of a file.
    if any("/" in part or "\\" in part or "\0" in part for part in parts[4:]):
        raise ArtifactNotFoundError("the image has no such file")
    image_id, key = parts[3], "/".join(parts[4:])
    path = stored_image_of(site.dataset.record(image_id)).stored_file(key)
    if not path.is_file():
        raise ArtifactNotFoundError(f"the file {key!r} is missing")
    kind = "application/json" if key.endswith(".json") else "application/octet-stream"
    return FileResponse(path, media_type=kind, headers={"Cache-Control": "no-cache"})
