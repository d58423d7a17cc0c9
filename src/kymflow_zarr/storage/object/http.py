"""Read files from a static web host, with ranges. Uses the standard library alone."""

from __future__ import annotations

import http.client
import os
import random
import re
import threading
import time
from typing import Any, Final, NoReturn
from urllib.parse import quote, urljoin, urlsplit

from kymflow_zarr.errors import StorageError
from kymflow_zarr.storage.object.requests import Objects
from kymflow_zarr.storage.traffic import count_bytes, count_request

_TIMEOUT_S: Final = 60.0
_REDIRECTS: Final = 5
_RETRIES: Final = 4
_PAUSE_S: Final = 0.2
# Of a host that is busy, or of a part of it that is: another request may be answered.
_BUSY: Final = frozenset({429, 500, 502, 503, 504})
# Requests at a time.
_AT_ONCE: Final = 16
_MISSING: Final = frozenset({403, 404, 410})


class WebFolder(Objects):
    """The files below an address, for reading.

    Parameters
    ----------
    address : str
        ``https://host/path/x.zarr``.

    Attributes
    ----------
    address : str
    requests : dict of str to int
    bytes_read, bytes_written : int
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        if not parts.hostname or parts.username is not None or parts.password is not None:
            raise StorageError(
                "the address has no host, or a user in it",
                where=f"{parts.scheme}://{parts.hostname or ''}{parts.path}",
                hint="Write https://host/path.",
            )
        # Queries may be signatures: they go with each request and are shown nowhere.
        self.address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._query = f"?{parts.query}" if parts.query else ""
        self.requests: dict[str, int] = {}
        self.bytes_read = self.bytes_written = 0
        self._has_tails = True
        self._local = threading.local()
        self._at_once = threading.BoundedSemaphore(_AT_ONCE)
        self._connections: list[http.client.HTTPConnection] = []

    def close(self) -> None:
        """Close the connections; the next request makes a new one."""
        while self._connections:
            self._connections.pop().close()

    def __del__(self) -> None:
        if hasattr(self, "_connections"):
            self.close()

    def __repr__(self) -> str:
        return f"WebFolder({self.address!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return WebFolder, (self.address,)

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes of a file and its entity tag, None if there is none."""
        answer = self._ask("GET", name)
        if answer is None:
            return None
        _, headers, data = answer
        return data, _tag(headers)

    def get_range(self, name: str, start: int, size: int) -> bytes | None:
        """Return bytes of a file, fewer at its end; None if there is no file.

        Raises
        ------
        StorageError
            If the host ignores the range and sends something else.
        """
        wanted = {"Range": f"bytes={start}-{start + size - 1}"}
        answer = self._ask("GET", name, wanted)
        if answer is None:
            return None
        status, _, data = answer
        if status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return b""
        if status != http.client.PARTIAL_CONTENT:
            raise StorageError(
                "the host does not serve ranges of files, but sends the whole",
                where=f"{self.address}/{name}",
                hint="Publish the dataset on a host that answers Range requests: nginx, Apache, "
                "S3 and GitHub Pages do; `python -m http.server` does not.",
            )
        return data

    def tail(self, name: str, most: int) -> tuple[int, bytes] | None:
        """Return size and the last bytes of a file, in one request; None if there is none."""
        if not self._has_tails:
            return super().tail(name, most)
        answer = self._ask("GET", name, {"Range": f"bytes=-{most}"})
        if answer is None:
            return None
        status, headers, data = answer
        size = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", headers.get("Content-Range") or "")
        if status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and size is not None:
            return int(size[1]), b""
        if status != http.client.PARTIAL_CONTENT or size is None:
            # The store behind some hosts (Azure) counts ranges from the beginning only.
            self._has_tails = False
            return super().tail(name, most)
        if len(data) != min(most, int(size[1])):
            raise StorageError(
                "the host answers with other bytes than were asked for",
                where=f"{self.address}/{name}",
            )
        return int(size[1]), data

    def head(self, name: str) -> tuple[int, str] | None:
        """Return size and entity tag of a file, None if there is none."""
        answer = self._ask("HEAD", name)
        if answer is None:
            return None
        _, headers, _ = answer
        return int(headers.get("Content-Length") or 0), _tag(headers)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise StorageError("a web host lists and writes no files", where=self.address)

    list_below = top_names = put = put_if = delete = _refuse

    def _ask(
        self, method: str, name: str, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes] | None:
        url = f"{self.address}/{quote(name, safe='/@')}{self._query}"
        for _ in range(_REDIRECTS):
            count_request(self.requests, method.lower())
            status, answered, data = self._exchange(method, url, headers or {}, name)
            if status in _MISSING:
                return None
            if status in (301, 302, 303, 307, 308):
                url = self._redirected(url, answered.get("Location") or "", name)
                continue
            if status >= 400 and status != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise StorageError(
                    f"the host answers with HTTP status {status}", where=f"{self.address}/{name}"
                )
            self.bytes_read += len(data)
            count_bytes(read=len(data))
            return status, answered, data
        raise StorageError("the host redirects in a circle", where=f"{self.address}/{name}")

    def _redirected(self, url: str, location: str, name: str) -> str:
        target = urljoin(url, location)
        old, new = urlsplit(url), urlsplit(target)
        # An upgrade to https on the same host is what hosts do for http.
        same = (new.hostname, new.scheme) in {(old.hostname, old.scheme), (old.hostname, "https")}
        if not same:
            raise StorageError(
                f"the host redirects to another host, {new.hostname}, which is not followed",
                where=f"{self.address}/{name}",
                hint="If you trust it, open the dataset at its address there.",
            )
        return target

    def _exchange(
        self, method: str, url: str, headers: dict[str, str], name: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        for attempt in range(_RETRIES):
            if attempt:
                # At random, so that many clients of a busy host do not come back at once.
                time.sleep(random.uniform(0, _PAUSE_S * 2**attempt))
                count_request(self.requests, method.lower())
            connection = self._connection(parts.scheme, parts.netloc)
            try:
                with self._at_once:
                    connection.request(
                        method, path, headers={"Accept-Encoding": "identity", **headers}
                    )
                    answer = connection.getresponse()
                    if "Range" in headers and answer.status == http.client.OK:
                        data = b""  # The whole file, which may be large, where a part was asked.
                        connection.close()
                    else:
                        data = answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if attempt == _RETRIES - 1:
                    raise StorageError(
                        f"cannot read it, at {_RETRIES} attempts: {_reason(error)}",
                        where=f"{self.address}/{name}",
                    ) from error
                continue
            if answer.status not in _BUSY or attempt == _RETRIES - 1:
                return answer.status, answer.headers, data
        raise AssertionError("the loop ends with an answer or an error")

    def _connection(self, scheme: str, host: str) -> http.client.HTTPConnection:
        """Return this thread's connection to a host."""
        connections = self._local.__dict__.setdefault("connections", {})
        key = (scheme, host, os.getpid())
        if key not in connections:
            kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
            connections[key] = kind(host, timeout=_TIMEOUT_S)
        if connections[key] not in self._connections:
            self._connections.append(connections[key])
        connection: http.client.HTTPConnection = connections[key]
        return connection


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"the host did not answer within {_TIMEOUT_S:.0f} s"
    return type(error).__name__


def _tag(headers: http.client.HTTPMessage) -> str:
    tag = headers.get("ETag") or headers.get("Last-Modified") or headers.get("Content-Length")
    return (tag or "").strip('"')
