"""The state that all requests share: the dataset and a cache."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import unquote

import msgspec
from starlette.concurrency import run_in_threadpool

from kymflow_zarr.errors import ArgumentError, KymflowZarrError, ReadOnlyError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.viewer.web.blinding import Blinding
    from kymflow_zarr.viewer.web.lists.gallery import Gallery
    from kymflow_zarr.viewer.web.lists.live import Live
    from kymflow_zarr.viewer.web.lists.tables import Tables
    from kymflow_zarr.viewer.web.security import Rules

__all__ = [
    "Cache",
    "Site",
    "id_of",
    "image_of",
    "number_of",
    "own_path",
    "posted",
    "segments",
    "site_of",
]

T = TypeVar("T")
_MAX_BYTES: Final = 2**27


class Cache:
    """An LRU cache with a limit in bytes.

    Parameters
    ----------
    max_bytes : int
    """

    def __init__(self, max_bytes: int = _MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """Return the value of a key; compute it if it is not cached.

        Parameters
        ----------
        key : hashable
            Contains everything that the value depends on.
        make : callable
        size : callable
            Returns the size of a value in bytes.
        """
        with self._guard:
            cached = self._values.get(key)
            if cached is not None:
                self._values.move_to_end(key)
                value: T = cached[0]
                return value
        value = make()
        n_bytes = size(value)
        with self._guard:
            if n_bytes <= self.max_bytes and key not in self._values:
                self._values[key] = (value, n_bytes)
                self.n_bytes += n_bytes
                while self.n_bytes > self.max_bytes:
                    _, (_, gone) = self._values.popitem(last=False)
                    self.n_bytes -= gone
        return value


_PIXEL_THREADS = 4
# Limit of responses computed at a time; sending them takes almost no memory.
_DOWNLOADS = 2


@dataclass(frozen=True)
class Site:
    """The dataset being served, with its caches.

    Parameters
    ----------
    dataset : ZarrDataset
    opened : OpenDataset
        Its engine object.
    rules : Rules
        Which requests are answered.
    gallery : Gallery
    live : Live
        The open pages, which are told of changes.
    tables : Tables
    cache : Cache
        Data that was read or computed for earlier requests.
    editable : bool
    who : str, optional
        Name of the person who edits, for the history.
    blind : Blinding, optional
        What is hidden, and under which codes images are asked for.
    types : list of str
        The types of events that people use here, in the order in which they were found.
    """

    dataset: ZarrDataset
    opened: OpenDataset
    rules: Rules
    gallery: Gallery
    live: Live
    tables: Tables
    cache: Cache
    editable: bool
    who: str | None
    blind: Blinding | None = None
    # Requests run in parallel: limit those that read pixels, which need memory.
    pixels: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(_PIXEL_THREADS)
    )
    types: list[str] = field(default_factory=list)
    downloads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_DOWNLOADS))

    def own_types(self, values: Iterable[Any]) -> list[str]:
        """Return the types that people have given to events, with those just found.

        Each keeps its place, as number keys stand for them.
        """
        if not self.types:
            for name in self.dataset.list_table_names():
                # A table without that column, or a damaged one, tells none.
                with contextlib.suppress(KymflowZarrError):
                    column = self.tables.rows(name).column("user_type")
                    self.types.extend(sorted(_types_in(column.objects)))
        self.types.extend(sorted(_types_in(values) - set(self.types)))
        return list(dict.fromkeys(self.types))


def _types_in(values: Iterable[Any]) -> set[str]:
    types = {value for value in values if isinstance(value, str)}
    return types - {"", "unreviewed"}


def site_of(request: Request) -> Site:
    """Return the site of a request."""
    site: Site = request.app.state.site
    return site


def own_path(scope: Mapping[str, Any], path: str | None = None) -> str:
    """Return the path of a request below the place where another program has mounted the page."""
    path = scope["path"] if path is None else path
    root: str = scope.get("root_path", "").rstrip("/")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def segments(request: Request) -> list[str]:
    """Return the segments of the raw path, split before ``%2f`` is decoded."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    path = own_path(request.scope, raw.partition(b"?")[0].decode("latin-1"))
    return [unquote(part, errors="replace") for part in path.removeprefix("/").split("/")]


def image_of(request: Request) -> str:
    """Return the image id in a path below ``/api/images/`` or similar.

    Raises
    ------
    RecordNotFoundError
        If the page is blind, and there is no image of that code.
    """
    return id_of(site_of(request), segments(request)[2])


def id_of(site: Site, shown_id: str) -> str:
    """Return the id of the image that a page calls so."""
    return shown_id if site.blind is None else site.blind.id_of(shown_id)


async def posted(request: Request, do: Callable[[Request, dict[str, Any]], Response]) -> Response:
    """Answer a request that changes the dataset, in another thread.

    Parameters
    ----------
    request : Request
        With a JSON object as its body.
    do : callable
        ``do(request, body)`` makes the change and returns the response.

    Raises
    ------
    ReadOnlyError
        If the page was opened for looking only.
    ArgumentError
        If the body is no JSON object.
    """
    body = await request.body()
    if not site_of(request).editable:
        raise ReadOnlyError(
            "the page was opened for looking only", hint="kymflow-zarr view --edit opens it so."
        )
    try:
        asked = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ArgumentError(f"the request is no JSON: {error}") from None
    if not isinstance(asked, dict):
        raise ArgumentError("the request is no JSON object")
    changed = await run_in_threadpool(do, request, asked)
    site_of(request).live.look_now()
    return changed


def number_of(request: Request, name: str, default: int, *, most: int | None = None) -> int:
    """Return a non-negative integer of the query.

    Raises
    ------
    ArgumentError
        If it is not one, or exceeds the limit.
    """
    text: Any = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ArgumentError(f"{name} is {text!r}, not a whole number", where=name)
    number = int(text)
    if most is not None and number > most:
        raise ArgumentError(f"{name} is {number}, more than {most}", where=name)
    return number
