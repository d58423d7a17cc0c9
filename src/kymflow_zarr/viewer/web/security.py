"""Access control of the server, and headers that restrict what a browser does with responses."""

from __future__ import annotations

import hmac
import html
import ipaddress
import logging
import secrets
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, Response

from kymflow_zarr.viewer.web.answers import error_answer, failed
from kymflow_zarr.viewer.web.site import own_path

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard", "Rules", "is_loopback"]

_log = logging.getLogger("kymflow_zarr")

_PAGE: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors "
)
POLICY: Final = f"{_PAGE}'none'"
# Never render data as a page, whatever type a browser guesses.
_POLICY_OF_DATA: Final = "default-src 'none'; frame-ancestors 'none'; sandbox"
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_DATA: Final = ("/api/", "/download/", "/zarr/")
_COOKIE: Final = "kymflow_zarr_token"
_MAX_BODY: Final = 2**20


def is_loopback(host: str) -> bool:
    """Return True if a host is on the loopback interface, which other machines cannot reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Rules:
    """The access rules for requests.

    Parameters
    ----------
    host : str
        Host on which the server listens.
    port : int
    token : str, optional
        The token that requests must carry; None on the loopback interface.
    zarr_key : str
        The secret segment in URLs of OME-Zarr files, which other sites' pages may read.
    framed_by : tuple of str
        Origins whose pages may show ours in a frame, such as ``http://localhost:8888``.
    hosts : tuple of str
        Each ``Host`` under which a program that has mounted the page is reached; `host` and
        `port` then mean nothing.
    """

    host: str
    port: int
    token: str | None = None
    zarr_key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    framed_by: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @property
    def cookie(self) -> str:
        """Name of the cookie, with the port since all ports of a host share cookies."""
        return f"{_COOKIE}_{self.port}"

    def is_ours(self, host: str) -> bool:
        """Return True if the ``Host`` of a request is ours: others come from DNS rebinding."""
        if self.hosts:
            return host.lower() in self.hosts
        name, port = _parts(host)
        if port != self.port:
            return False
        if is_loopback(name):
            # These names reach a server on the loopback interface, or on all interfaces.
            return is_loopback(self.host) or _is_any(self.host)
        if _is_any(self.host):
            # Any name can be made to resolve to this machine; addresses and our own name cannot.
            return _is_address(name) or name in _own_names()
        return name == self.host.lower()

    def ome_zarr_path(self, image_id: str) -> str:
        """Return the path of an image as OME-Zarr."""
        return f"/zarr/{self.zarr_key}/images/{quote(image_id, safe='')}"

    def knows(self, token: str | None) -> bool:
        """Return True if a token is the right one."""
        if self.token is None:
            return True
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())


def _parts(host: str) -> tuple[str, int]:
    """Return name and port of a ``Host``; the port is -1 if it is invalid."""
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, ":", "80")
    if not name:
        name, port = host, "80"
    if not port.isascii() or not port.isdigit() or len(port) > 5:
        return "", -1
    return name.removeprefix("[").removesuffix("]").lower(), int(port)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_any(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_unspecified


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, f"{name}.local"}


class Guard:
    """Middleware that refuses requests and adds security headers to responses.

    Parameters
    ----------
    app : ASGI application
    rules : Rules
    """

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        path = own_path(scope)
        public = path.startswith(f"/zarr/{self._rules.zarr_key}/")

        begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                framed_by = () if path.startswith(_DATA) else self._rules.framed_by
                _add_headers(
                    headers, is_data=path.startswith(_DATA), public=public, framed_by=framed_by
                )
            await send(message)

        refused = self._refused(scope, public=public)
        if refused is None and scope["method"] == "POST":
            receive, refused = await _limited(receive)
        try:
            await (refused or self._app)(scope, receive, send_guarded)
        except Exception as error:
            # An unexpected error. A response that has started can only be aborted.
            _log.exception("cannot answer %s", path)
            if begun:
                raise
            await failed(error)(scope, receive, send_guarded)

    def _refused(self, scope: Scope, *, public: bool) -> Response | None:
        headers = Headers(scope=scope)
        if not self._rules.is_ours(headers.get("host", "")):
            return error_answer(403, "Refused", "the Host of the request is not this server")
        if public:
            return _preflight(scope)
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return error_answer(405, "Refused", "only GET, HEAD and POST are answered")
        return (
            self._refused_token(scope, headers)
            or self._refused_origin(scope, headers)
            or self._refused_post(scope, headers)
        )

    def _refused_token(self, scope: Scope, headers: Headers) -> Response | None:
        if self._rules.token is None:
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = next((value for key, value in query if key == "token"), None)
        if token is not None and self._rules.knows(token):
            # Redirect to the URL without the token, so that the token does not end up in the
            # history or in shared links.
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            path = quote(scope["path"])
            return self._admitted("/" + path.lstrip("/") + (f"?{rest}" if rest else ""))
        if self._rules.knows(_cookies(headers).get(self._rules.cookie)):
            return None
        return error_answer(
            403, "Refused", "the token is missing", hint="Open the address that was printed."
        )

    def _admitted(self, address: str) -> Response:
        # Not an HTTP redirect: after a cross-site one, browsers withhold SameSite=Strict cookies.
        shown = html.escape(address, quote=True)
        response = HTMLResponse(
            f'<!doctype html><meta http-equiv="refresh" content="0;url={shown}">',
            headers={"Cache-Control": "no-store"},
        )
        assert self._rules.token is not None
        response.set_cookie(
            self._rules.cookie, self._rules.token, httponly=True, samesite="strict", path="/"
        )
        return response

    def _refused_origin(self, scope: Scope, headers: Headers) -> Response | None:
        origin = headers.get("origin")
        if origin is None:
            needed = scope["method"] == "POST"
            if needed:
                return error_answer(403, "Refused", "the request has no Origin")
        elif origin != f"{scope.get('scheme', 'http')}://{headers.get('host', '')}":
            return error_answer(403, "Refused", "pages of other origins are not answered")
        # Requests for images and scripts carry no Origin; current browsers send this header.
        site = headers.get("sec-fetch-site", "none")
        if site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            return error_answer(403, "Refused", "pages of other origins are not answered")
        return None

    def _refused_post(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["method"] != "POST":
            return None
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return error_answer(403, "Refused", "a request that changes something is JSON")
        return None


def _cookies(headers: Headers) -> dict[str, str]:
    pairs = (part.partition("=") for part in headers.get("cookie", "").split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _preflight(scope: Scope) -> Response | None:
    if scope["method"] == "OPTIONS":
        return Response(status_code=204)
    if scope["method"] not in ("GET", "HEAD"):
        return error_answer(405, "Refused", "only GET and HEAD are answered here")
    return None


def _add_headers(
    headers: MutableHeaders, *, is_data: bool, public: bool, framed_by: Sequence[str]
) -> None:
    for name, value in _HEADERS.items():
        headers[name] = value
    headers["Content-Security-Policy"] = _POLICY_OF_DATA if is_data else POLICY
    if framed_by:
        # It knows all frames or none.
        del headers["X-Frame-Options"]
        headers["Content-Security-Policy"] = _PAGE + " ".join(framed_by)
    headers["Cross-Origin-Resource-Policy"] = "cross-origin" if public else "same-origin"
    if public:
        headers["Access-Control-Allow-Origin"] = "*"
        headers["Access-Control-Allow-Methods"] = "GET, HEAD"
        headers["Access-Control-Allow-Headers"] = "Range, If-None-Match, If-Range"
        headers["Access-Control-Expose-Headers"] = (
            "Accept-Ranges, Content-Length, Content-Range, ETag"
        )
        # A public site sends a request to a server on this machine.
        headers["Access-Control-Allow-Private-Network"] = "true"


async def _limited(receive: Receive) -> tuple[Receive, Response | None]:
    """Read the body of a request, up to the maximum length of an edit."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return receive, None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MAX_BODY:
            return receive, error_answer(413, "Refused", "the request is too long")
        if not message.get("more_body"):
            break
    body: Iterable[Any] = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]
    messages = iter(body)

    async def again() -> Message:
        queued: Message | None = next(messages, None)
        return await receive() if queued is None else queued

    return again, None
