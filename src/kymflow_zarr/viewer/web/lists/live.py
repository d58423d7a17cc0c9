"""Changes by anybody, sent to open pages as they happen (server-sent events)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from kymflow_zarr.api.internals import open_dataset_of
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.viewer.web.answers import answer, error_answer
from kymflow_zarr.viewer.web.site import id_of, site_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.viewer.web.lists.gallery import Gallery

__all__ = ["Live", "changes", "live"]

# A stream holds a connection, of which the server has 128 (`connection.MAX_CONNECTIONS`).
MAX_STREAMS: Final = 48
# A browser opens the stream again when it has ended. A program that has mounted the page stops
# only after its streams, and does not tell them.
_LIFE_S: Final = 60.0
# A comment finds out whether a silent client is still there.
_BEAT_S: Final = 15.0
_LOOK_S: Final = 0.3
_LONGEST_S: Final = 30.0
# Looking takes at most this part of the time: a list of 100,000 images, or one in a bucket, is
# looked at less often.
_SHARE: Final = 0.1


@dataclass(eq=False)
class _Listener:
    """One open stream."""

    image_id: str | None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    state: dict[str, str | None] = field(default_factory=dict)


class Live:
    """The open streams, and the one task that looks at the dataset while there are any.

    Parameters
    ----------
    dataset : ZarrDataset
    gallery : Gallery
        Its list is read again when the dataset has changed.
    """

    max_streams = MAX_STREAMS

    def __init__(self, dataset: ZarrDataset, gallery: Gallery) -> None:
        self._dataset, self._gallery = dataset, gallery
        self._listeners: set[_Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._ended = False
        self._token = ""

    @property
    def is_full(self) -> bool:
        """Whether no further stream is opened."""
        return self._ended or len(self._listeners) >= self.max_streams

    def look_now(self) -> None:
        """Look at the dataset without delay, as this server has just changed it."""
        self._wake.set()

    def end(self) -> None:
        """End all streams; may be called from any thread."""
        self._ended = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop, and all streams, have ended.
                self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._ended = True
        self._wake.set()
        for listener in self._listeners:
            listener.news.set()

    async def stream(self, image_id: str | None) -> AsyncIterator[bytes]:
        """Yield the state, and again whenever it has changed, as ``text/event-stream``.

        Parameters
        ----------
        image_id : str, optional
            The image whose revision is told.
        """
        self._loop = asyncio.get_running_loop()
        listener = _Listener(image_id)
        self._listeners.add(listener)
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._watch())
        self._wake.set()
        over_s = self._loop.time() + _LIFE_S
        try:
            yield b"retry: 1000\n\n"
            while not self._ended and self._loop.time() < over_s:
                try:
                    async with asyncio.timeout(_BEAT_S):
                        await listener.news.wait()
                except TimeoutError:
                    yield b":\n\n"
                    continue
                listener.news.clear()
                if not self._ended:
                    yield b"data: " + msgspec.json.encode(listener.state) + b"\n\n"
        finally:
            self._listeners.discard(listener)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while self._listeners and not self._ended:
            self._wake.clear()
            began_s = loop.time()
            seen: list[tuple[_Listener, dict[str, str | None]]] = []
            with contextlib.suppress(KymflowZarrError, OSError):  # The next request tells it.
                seen = await run_in_threadpool(self._look, tuple(self._listeners))
            for listener, state in seen:
                if state != listener.state:
                    listener.state = state
                    listener.news.set()
            wait_s = min(max(_LOOK_S, (loop.time() - began_s) / _SHARE), _LONGEST_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    def _look(
        self, listeners: tuple[_Listener, ...]
    ) -> list[tuple[_Listener, dict[str, str | None]]]:
        token = open_dataset_of(self._dataset).change_token()
        if token != self._token:
            self._token = token
            self._gallery.forget()
        version = _version(token)
        images = {listener.image_id for listener in listeners}
        revisions = {image_id: self._revision(image_id) for image_id in images}
        return [(each, {"list": version, "revision": revisions[each.image_id]})
                for each in listeners]  # fmt: skip

    def _revision(self, image_id: str | None) -> str | None:
        if image_id is None:
            return None
        try:
            return self._dataset.record(image_id).revision
        except KymflowZarrError:
            return None  # It is damaged or gone: the page that shows it asks and is told.


def _version(token: str) -> str:
    """Return a text that changes with the token, which names images and times."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def changes(request: Request) -> Response:
    """Answer ``GET /api/changes``: what an open page compares to see the edits of others."""
    site = site_of(request)
    image_id = request.query_params.get("image")
    revision = None if image_id is None else site.dataset.record(id_of(site, image_id)).revision
    return answer({"list": _version(site.gallery.version()), "revision": revision})


async def live(request: Request) -> Response:
    """Answer ``GET /api/live``: the same as ``/api/changes``, sent whenever it changes."""
    site = site_of(request)
    shown: Any = request.query_params.get("image")
    image_id = None if shown is None else await run_in_threadpool(id_of, site, shown)
    if site.live.is_full:
        # A browser does not try again after such an answer; the page asks `/api/changes` then.
        return error_answer(503, "Busy", "there are too many open pages to tell each at once")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    if request.method == "HEAD":
        return Response(headers=headers, media_type="text/event-stream")
    return StreamingResponse(
        site.live.stream(image_id), headers=headers, media_type="text/event-stream"
    )
