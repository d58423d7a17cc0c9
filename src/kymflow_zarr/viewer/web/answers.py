"""Responses: JSON, static files, and errors as JSON with a status."""

from __future__ import annotations

import datetime as dt
import html
import io
import math
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import quote

import msgspec
import numpy as np
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)

from kymflow_zarr import errors
from kymflow_zarr.api.internals import stored_image_of
from kymflow_zarr.errors import ArtifactNotFoundError, CorruptDataError
from kymflow_zarr.viewer.web.site import own_path, segments, site_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


_EXACT: Final = 2**53
_PIECE_BYTES: Final = 2**18
_RANGE: Final = re.compile(r"bytes=(?=[0-9-]*[0-9])([0-9]{0,18})-([0-9]{0,18})")
_STATUS: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (errors.ReadOnlyError, 403),
    (errors.EditConflictError, 409),
    (errors.NotFoundError, 404),
    (errors.ArgumentError, 400),
    (errors.SchemaValidationError, 422),
    (errors.LimitExceededError, 422),
    (errors.MissingDependencyError, 501),
)


def answer(value: Any, *, status: int = 200) -> Response:
    """Return a value as JSON; see :func:`plain`."""
    return Response(
        msgspec.json.encode(plain(value)),
        status_code=status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def error_answer(status: int, kind: str, what: str, **more: str | None) -> Response:
    """Return an error as JSON."""
    error = {"type": kind, "what": what, "where": more.get("where"), "hint": more.get("hint")}
    return answer({"error": error}, status=status)


def failed(error: Exception, *, brief: bool = False) -> Response:
    """Return the response for an exception; a brief one does not say what and where."""
    if brief:
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        what = "A blind page does not say what is wrong, as that could tell what is hidden."
        return error_answer(status, type(error).__name__, what)
    if isinstance(error, errors.KymflowZarrError):
        status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
        return error_answer(
            status, type(error).__name__, error.what, where=error.where, hint=error.hint
        )
    return error_answer(500, type(error).__name__, "the server could not answer this")


def plain(value: Any) -> Any:
    """Return a value as JSON types; non-finite numbers become None."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode(errors="replace").decode() if _is_broken(value) else value
    if isinstance(value, int):
        # JavaScript would round it: its numbers have 53-bit precision.
        return value if -_EXACT <= value <= _EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {plain(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return _plain_array(value)
    return _plain_other(value)


def _is_broken(text: str) -> bool:
    """Return True if a text holds a lone surrogate, which UTF-8 cannot encode."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _plain_array(value: np.ndarray[Any, Any]) -> Any:
    if value.dtype.kind == "f":
        # Check all values at once: a call for each of 100,000 numbers is slow.
        finite = np.isfinite(value)
        listed = value.astype(np.float64).tolist()
        return listed if finite.all() else plain(listed)
    return plain(value.tolist())


def _plain_other(value: Any) -> Any:
    if isinstance(value, np.generic):
        return plain(value.item()) if value.dtype.kind not in "mM" else _plain_time(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        # pandas' "not a time" is a datetime as well.
        return None if value != value else value.isoformat()
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, PurePath):
        return plain(str(value))
    if isinstance(value, complex):
        return str(value)
    if hasattr(value, "to_dict"):
        return plain(value.to_dict())
    try:
        if bool(value != value):  # pandas has a NaT
            return None
    except TypeError:
        return None  # pandas' NA
    return plain(str(value))


def _plain_time(value: Any) -> str | None:
    return None if np.isnat(value) else str(value)


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


def page(request: Request) -> Response:
    """Answer any route of the page, which is resolved in the browser."""
    index = STATIC / "index.html"
    if not index.is_file():
        return HTMLResponse(_UNBUILT, status_code=503, headers={"Cache-Control": "no-store"})
    fresh = {"Cache-Control": "no-cache"}
    root = request.scope.get("root_path", "").rstrip("/")
    if not root:
        return FileResponse(index, media_type="text/html", headers=fresh)
    at = html.escape(quote(root), quote=True)
    text = index.read_text(encoding="utf-8")
    text = text.replace('href="/', f'href="{at}/').replace('src="/', f'src="{at}/')
    meta = f'<meta name="kymflow-zarr-base" content="{at}" />'
    return HTMLResponse(text.replace("</title>", f"</title>{meta}", 1), headers=fresh)


def asset(request: Request) -> Response:
    """Answer ``/assets/...`` and similar: the page's own files only."""
    name = own_path(request.scope).strip("/")
    # Look the name up in a list of our files; never build a path from a request.
    assets = {
        path.relative_to(STATIC).as_posix(): path
        for path in STATIC.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    path = assets.get(name)
    if path is None:
        return PlainTextResponse("not found", status_code=404)
    # The names of built assets contain a hash of their content.
    caching = "public, max-age=31536000, immutable" if name.startswith("assets/") else "no-cache"
    kind = _TYPES.get(path.suffix, "application/octet-stream")
    return FileResponse(path, media_type=kind, headers={"Cache-Control": caching})


def ome_zarr(request: Request) -> Response:
    """Answer ``GET /zarr/{key}/images/{id}/...``: a file of an image, with ranges."""
    site = site_of(request)
    parts = segments(request)
    if len(parts) < 5 or parts[:3] != ["zarr", site.rules.zarr_key, "images"]:
        return error_answer(404, "NotFoundError", "there is nothing at this address")
    # No file name contains an encoded slash.
    if any("/" in part or "\\" in part or "\0" in part for part in parts[4:]):
        raise ArtifactNotFoundError("the image has no such file")
    image_id, key = parts[3], "/".join(parts[4:])
    image = stored_image_of(site.dataset.record(image_id))
    kind = "application/json" if key.endswith(".json") else "application/octet-stream"
    headers = {"Cache-Control": "no-cache", "ETag": f'"{image.file_sum(key).sha256}"'}
    return stored_file(request, image.open_file(key), kind, headers)


def stored_file(
    request: Request,
    opened: AbstractContextManager[BinaryIO],
    kind: str,
    headers: dict[str, str],
) -> Response:
    """Return a response that streams a file of the dataset, or the range that is requested.

    HTTP allows to ignore a range: several in one request are answered with the whole file.

    Parameters
    ----------
    request : Request
    opened : context manager
        Opens the file; it is left when the response was sent.
    kind : str
        Media type.
    headers : dict of str to str
        Of the response; ``If-Range`` is compared with its ``ETag``.
    """
    stack = ExitStack()
    file = stack.enter_context(opened)
    size = stop = file.seek(0, io.SEEK_END)
    start, status = 0, 200
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    if asked is not None and request.headers.get("if-range") in (None, headers.get("ETag")):
        first, last = asked.groups()
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
        if start >= stop:
            stack.close()
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        status = 206
        headers = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}
    headers = {**headers, "Accept-Ranges": "bytes", "Content-Length": str(stop - start)}
    if request.method == "HEAD":
        stack.close()
        return Response(status_code=status, media_type=kind, headers=headers)
    return StreamingResponse(
        _pieces(stack, file, start, stop), status_code=status, media_type=kind, headers=headers
    )


def _pieces(stack: ExitStack, file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    with stack:
        file.seek(start)
        while start < stop:
            data = file.read(min(_PIECE_BYTES, stop - start))
            if not data:
                raise CorruptDataError("the file became shorter while it was read")
            start += len(data)
            yield data
