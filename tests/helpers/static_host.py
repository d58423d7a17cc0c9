"""Web hosts of files, as plain as they come: with ranges, without, and one that sends elsewhere."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class WithoutRanges(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


class WithRanges(WithoutRanges):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        asked = re.fullmatch(r"bytes=(\d*)-(\d+)", self.headers.get("Range", ""))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        start = 0 if asked is None else int(asked[1] or max(0, len(data) - int(asked[2])))
        part = data if asked is None else data[start : int(asked[2]) + 1 if asked[1] else None]
        self.send_response(200 if asked is None else 206)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Content-Type", self.guess_type(path))
        if asked is not None:
            end = start + len(part) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{len(data)}")
        self.end_headers()
        self.wfile.write(part)


class Elsewhere(WithoutRanges):
    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", f"http://localhost:{self.server.server_port}/other")  # type: ignore[attr-defined]
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815


@contextmanager
def hosted(folder: Path, kind: Any = WithRanges) -> Iterator[str]:
    """Serve a folder; yield the address, without a slash at its end."""
    handler = functools.partial(kind, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()
