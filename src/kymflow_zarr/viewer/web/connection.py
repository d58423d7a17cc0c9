"""Limits on the connections of the server: how many, how slow, and how much is not read yet."""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

MAX_CONNECTIONS: Final = 128
# Limit of response bytes that clients have not read yet, over all connections.
MAX_UNREAD_BYTES: Final = 2**28
REQUEST_S: Final = 20.0
# Drop a response if the client reads less than this many bytes in that time.
READ_S: Final = 30.0
_MIN_READ_BYTES: Final = 2**14
_CHECK_S: Final = 2.0


class Connection(H11Protocol):
    """A connection of the server, created by uvicorn."""

    max_connections = MAX_CONNECTIONS
    max_unread_bytes = MAX_UNREAD_BYTES
    request_s = REQUEST_S
    read_s = READ_S

    waiting_since_s = 0.0
    """When the server began to wait for a request."""
    _unread: tuple[float, int] | None = None
    """When the unread bytes of the answer were last looked at, and how many there were."""
    _check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Register the connection; if there are too many, drop the one that has waited longest."""
        super().connection_made(transport)
        self.waiting_since_s = self.loop.time()
        self._check = self.loop.call_later(_CHECK_S, self._require_progress)
        if len(self.connections) > self.max_connections:
            waiting = [c for c in self._others() if c.is_waiting and c is not self]
            first = min(waiting, key=lambda c: c.waiting_since_s, default=self)
            first.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Start waiting for the next request."""
        self.waiting_since_s = self.loop.time()
        super().on_response_complete()

    def shutdown(self) -> None:
        """Close the connection on shutdown, after the current response."""
        if not self.is_waiting:
            super().shutdown()
        elif self.unread_bytes:
            self.transport.close()
        else:
            self.drop()

    def pause_writing(self) -> None:
        """Pause the response until the client reads; over the total limit, drop the slowest one."""
        super().pause_writing()
        self._unread = self.loop.time(), self.unread_bytes
        slow = [c for c in self._others() if c.unread_bytes]
        slow.sort(key=lambda c: c.stalled_since_s)
        total = sum(c.unread_bytes for c in slow)
        for connection in slow:
            if total <= self.max_unread_bytes:
                break
            total -= connection.unread_bytes
            connection.drop()

    @property
    def is_waiting(self) -> bool:
        """Whether the server waits for a request, or for the rest of one."""
        cycle: RequestResponseCycle | None = self.cycle  # It is None before the first request.
        return cycle is None or cycle.response_complete or cycle.more_body

    @property
    def unread_bytes(self) -> int:
        """Number of response bytes that the client has not read yet."""
        return self.transport.get_write_buffer_size()

    @property
    def stalled_since_s(self) -> float:
        """Time at which the client last read; infinity if it has read everything."""
        return float("inf") if self._unread is None else self._unread[0]

    def drop(self) -> None:
        """Close the connection immediately, and discard unsent bytes."""
        self.connections.discard(self)
        self.transport.abort()

    def _others(self) -> list[Connection]:
        return [c for c in self.connections if isinstance(c, Connection)]

    def _require_progress(self) -> None:
        now_s = self.loop.time()
        unread = self.unread_bytes
        if not unread:
            self._unread = None
            if self.is_waiting and now_s - self.waiting_since_s > self.request_s:
                self.drop()
                return
        elif self._unread is None:
            self._unread = now_s, unread
        elif now_s - self._unread[0] > self.read_s:
            if self._unread[1] - unread < _MIN_READ_BYTES:
                self.drop()
                return
            self._unread = now_s, unread
        self._check = self.loop.call_later(_CHECK_S, self._require_progress)
