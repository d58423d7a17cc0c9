"""The server thread, and the handle that stops it."""

from __future__ import annotations

import html
import ipaddress
import json
import os
import re
import secrets
import socket
import threading
import webbrowser
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, urlencode, urlsplit

from kymflow_zarr.errors import ArgumentError, StorageError, extra_module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.viewer.web.lists.live import Live
    from kymflow_zarr.viewer.web.security import Rules


_BEGIN_S: Final = 30.0
_END_S: Final = 5.0
_FRAME_HEIGHT: Final = 720


def view(
    dataset: ZarrDataset,
    *,
    host: str,
    port: int,
    edit: bool,
    who: str | None,
    token: str | None,
    open_browser: bool,
    blind: Sequence[str] | bool = False,
    inline: str | bool = False,
    worklist: str | Sequence[str] | None = None,
) -> Viewer:
    """Serve a page; see :meth:`kymflow_zarr.ZarrDataset.view`."""
    uvicorn = _require_uvicorn()
    from kymflow_zarr.api.internals import is_metadata_column, log_view
    from kymflow_zarr.viewer.web.app import make_app
    from kymflow_zarr.viewer.web.connection import Connection
    from kymflow_zarr.viewer.web.security import Rules, is_loopback

    if edit:
        dataset.require_writable()
    if not 0 <= port < 65536:
        raise ArgumentError(f"{port!r} is no port", where="port", hint="0 takes a free one.")
    if token is not None and not _is_plain(token):
        raise ArgumentError("a token is letters, digits, - and _, 8 of them or more", where="token")
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    framed_by = notebook_origins(inline)
    only = dataset.load_worklist(worklist) if isinstance(worklist, str) else worklist
    hidden = None
    if not isinstance(blind, bool):
        hidden = list(blind)
    elif blind:
        hidden = [name for name in map(str, dataset.images()) if is_metadata_column(name)]
    listening = _listen(host, port)
    rules = Rules(host, listening.getsockname()[1], token, framed_by=framed_by)
    try:
        app = make_app(dataset, rules, edit=edit, who=who, blind=hidden, only=only)
        if edit:
            log_view(dataset, who, hidden)
    except BaseException:
        listening.close()
        raise
    config = uvicorn.Config(
        app,
        http=Connection,
        log_level="critical",
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(_END_S),
    )
    server = Viewer(uvicorn.Server(config), listening, rules, app.state.site.live)
    if open_browser:
        webbrowser.open(server.url)
    return server


def asgi_app(
    dataset: ZarrDataset,
    hosts: Sequence[str],
    *,
    edit: bool,
    who: str | None,
    token: str | None,
    blind: Sequence[str] | None,
) -> Any:
    """Return the page as an application; see :meth:`kymflow_zarr.ZarrDataset.asgi_app`."""
    _require_uvicorn()
    from kymflow_zarr.viewer.web.app import make_app
    from kymflow_zarr.viewer.web.security import Rules

    if isinstance(hosts, str) or not hosts:
        raise ArgumentError("hosts are a list of at least one host", where="hosts")
    if edit:
        dataset.require_writable()
    rules = Rules("", 0, token, hosts=tuple(host.lower() for host in hosts))
    return make_app(dataset, rules, edit=edit, who=who, blind=blind)


def notebook_origins(inline: str | bool) -> tuple[str, ...]:
    """Return the origins of the notebook that may show the page in a frame.

    Parameters
    ----------
    inline : str or bool
        The address of the notebook; True takes that of the Jupyter server which started this
        process.

    Raises
    ------
    ArgumentError
        If it is no such address, or which notebook this is cannot be found.
    """
    if inline is False:
        return ()
    address = _jupyter_address() if inline is True else inline
    if address is None:
        raise ArgumentError(
            "no Jupyter server has started this process",
            where="inline",
            hint='Give the address of the notebook: inline="http://localhost:8888".',
        )
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[\w.-]+(:\d+)?", parts.netloc):
        raise ArgumentError(f"{address!r} is no address of a notebook", where="inline")
    names = {parts.hostname}
    if names <= {"localhost", "127.0.0.1"}:
        names = {"localhost", "127.0.0.1"}  # The browser may have opened it by either.
    port = f":{parts.port}" if parts.port else ""
    return tuple(f"{parts.scheme}://{name}{port}" for name in sorted(map(str, names)))


def _jupyter_address() -> str | None:
    """Return the address of the Jupyter server that is the parent of this process."""
    server = os.environ.get("JPY_PARENT_PID", "")
    try:
        folder = import_module("jupyter_core.paths").jupyter_runtime_dir()
        path = os.path.join(folder, f"jpserver-{int(server)}.json")  # noqa: PTH118 - it is a str
        with open(path, "rb") as file:  # noqa: PTH123
            return str(json.load(file)["url"])
    except (ImportError, OSError, ValueError, KeyError):
        return None


def _require_uvicorn() -> Any:
    extra_module("starlette", extra="view", needs="the page needs the package starlette")
    return extra_module("uvicorn", extra="view", needs="the page needs the package uvicorn")


def _is_plain(token: str) -> bool:
    return len(token) >= 8 and token.isascii() and token.replace("-", "").replace("_", "").isalnum()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise StorageError(f"there is no host {host!r} to listen on: {error}") from error
    try:
        if os.name == "posix":  # On Windows SO_REUSEADDR would steal the port of another program.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise StorageError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}",
            hint="Port 0 takes one that is free.",
        ) from error
    return listening


class Viewer:
    """A running server of the page; leaving a ``with`` block stops it.

    Parameters
    ----------
    server : uvicorn.Server
    listening : socket
    rules : Rules
    live : Live
        What ends the streams to open pages.
    """

    def __init__(self, server: Any, listening: socket.socket, rules: Rules, live: Live) -> None:
        self._server = server
        self._live = live
        self._rules = rules
        self._listening = listening
        # Outside of the main thread uvicorn installs no signal handlers.
        self._thread = threading.Thread(target=self._run, name="kymflow_zarr view", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listening])
        finally:
            self._listening.close()

    def __repr__(self) -> str:
        return f"<Viewer {self._origin} {'serving' if self._thread.is_alive() else 'ended'}>"

    @property
    def _origin(self) -> str:
        host = self._rules.host
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            pass
        else:
            if address.is_unspecified:
                host = socket.gethostname()
            elif address.version == 6:
                host = f"[{host}]"
        return f"http://{host}:{self._rules.port}"

    def _address(self, path: str) -> str:
        token = self._rules.token
        return f"{self._origin}{path}" + ("" if token is None else f"?token={token}")

    def _repr_html_(self) -> str:
        """Return the page in a frame, if the notebook may show it there; else a link to it."""
        address = html.escape(self.url, quote=True)
        if not self._rules.framed_by:
            return f'<a href="{address}" target="_blank" rel="noopener">{address}</a>'
        return (
            f'<iframe src="{address}" title="kymflow_zarr" width="100%" height="{_FRAME_HEIGHT}" '
            'style="border:1px solid #ccc"></iframe>'
        )

    @property
    def url(self) -> str:
        """URL of the page, with the token if one is needed."""
        return self._address("/")

    def address_of(self, image_id: str) -> str:
        """Return the URL of the page of an image."""
        return self._address(f"/image/{quote(image_id, safe='')}")

    def address_of_images(self, column: str, value: str) -> str:
        """Return the URL of the gallery of the images with a value in a column."""
        address = self._address("/")
        query = urlencode({"where": f"{column}:eq:{value}"})
        return f"{address}{'&' if '?' in address else '?'}{query}"

    def ome_zarr_url(self, image_id: str) -> str:
        """Return the URL at which other viewers open an image as OME-Zarr.

        Any program that knows the URL can read the image without a token while the server runs.
        The server of a blind page answers nothing there.
        """
        return f"{self._origin}{self._rules.ome_zarr_path(image_id)}"

    def wait(self) -> None:
        """Block until the server has stopped."""
        while self._thread.is_alive():
            # Wait with a timeout, so that Ctrl-C works on every system.
            self._thread.join(0.5)

    def close(self) -> None:
        """Stop the server after it has completed the current responses."""
        self._server.should_exit = True
        self._live.end()
        self._thread.join(_BEGIN_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
