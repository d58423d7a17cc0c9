"""Connections that a client can neither hold open nor fill the memory with.

Anybody who reaches the port can connect, whether or not they know the token. So the number of
connections is limited, and each must make progress: a request has to arrive in time, and an
answer has to be read at a pace.
"""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

__all__ = ["Connection"]

MAX_CONNECTIONS: Final = 128
# Answers that were sent and not read yet, of all connections.
MAX_UNREAD_BYTES: Final = 2**28
REQUEST_S: Final = 20.0
# An answer of which less than this is read in that time is given up.
READ_S: Final = 30.0
_MIN_READ_BYTES: Final = 2**14
_CHECK_S: Final = 2.0


class Connection(H11Protocol):
    """A connection of the page's server; uvicorn makes them."""

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
        """Take the place of the connection that has waited longest where there are too many."""
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
        """Begin to wait for the next request."""
        self.waiting_since_s = self.loop.time()
        super().on_response_complete()

    def shutdown(self) -> None:
        """End the connection with the server, after the answer that is being sent."""
        if not self.is_waiting:
            super().shutdown()
        elif self.unread_bytes:
            self.transport.close()
        else:
            self.drop()

    def pause_writing(self) -> None:
        """Stop the answer until the client has read of it; drop the slowest if all are too much."""
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
        """Whether the server waits for the client to send a request, or the rest of one."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request.
        return cycle is None or cycle.response_complete or cycle.more_body

    @property
    def unread_bytes(self) -> int:
        """How much of the answer the client has not taken yet."""
        return self.transport.get_write_buffer_size()

    @property
    def stalled_since_s(self) -> float:
        """When the client was last seen to read; infinity if it has read everything so far."""
        return float("inf") if self._unread is None else self._unread[0]

    def drop(self) -> None:
        """End the connection at once, and forget what was to be sent."""
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
