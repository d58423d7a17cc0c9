"""What clients can make the server hold: connections, unread answers, downloads."""

from __future__ import annotations

import contextlib
import http.client
import io
import math
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from kymflow_zarr.viewer.web import connection, downloads
from kymflow_zarr.viewer.web.connection import Connection
from tests.viewer.web.site import PIXELS, ask


@pytest.fixture
def port(dataset: ZarrDataset, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server of little patience."""
    monkeypatch.setattr(connection, "_CHECK_S", 0.1)
    monkeypatch.setattr(Connection, "max_connections", 8)
    monkeypatch.setattr(Connection, "request_s", 1.0)
    monkeypatch.setattr(Connection, "read_s", 1.0)
    monkeypatch.setattr(Connection, "max_unread_bytes", 2**24)
    with dataset.view() as viewer:
        yield int(viewer.url.rstrip("/").rpartition(":")[2])


@pytest.fixture
def connected(port: int) -> Iterator[Connect]:
    """Connect to the server; all is closed at the end."""
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))

        yield connect


Connect = Callable[[], socket.socket]


def is_answered(port: int) -> bool:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("GET", "/api/images/kymo")
    answer = client.getresponse()
    body = answer.read()
    client.close()
    return answer.status == 200 and b"kymo" in body


def is_closed(client: socket.socket) -> bool:
    """Return True when the server has ended a connection."""
    try:
        while client.recv(2**16):
            pass
    except ConnectionError:
        return True
    return True


BEGUN = (
    b"",
    b"GET /api/data",
    b"GET /api/dataset HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: ",
    (
        b"POST /api/images/kymo/edit HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: http://127.0.0.1:%d\r\n"
        b"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
    ),
)


@pytest.mark.parametrize("begun", BEGUN, ids=["nothing", "line", "headers", "body"])
def test_a_request_that_does_not_end_is_given_up(
    port: int, connected: Connect, begun: bytes
) -> None:
    client = connected()
    client.sendall(begun % (port, port) if b"%d" in begun else begun)
    assert is_closed(client)
    assert is_answered(port)


def test_a_request_that_trickles_is_given_up(port: int, connected: Connect) -> None:
    client = connected()

    def trickle() -> None:
        for _ in range(200):
            client.sendall(b"G")
            time.sleep(0.05)

    with pytest.raises(OSError):  # noqa: PT011 - each system has its own
        trickle()
    assert is_answered(port)


@pytest.mark.parametrize("begun", BEGUN, ids=["nothing", "line", "headers", "body"])
def test_many_unfinished_requests_do_not_keep_others_out(
    port: int, connected: Connect, begun: bytes
) -> None:
    clients = []
    for _ in range(60):
        client = connected()
        client.sendall(begun % (port, port) if b"%d" in begun else begun)
        clients.append(client)
        if len(clients) % 20 == 0:
            assert is_answered(port)
    for client in clients:
        client.close()
    assert is_answered(port)


def test_answers_that_no_client_reads_are_given_up(
    dataset: ZarrDataset, port: int, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = []
    drop = Connection.drop

    def recorded(connection: Connection) -> None:
        dropped.append(connection)
        drop(connection)

    monkeypatch.setattr(Connection, "drop", recorded)
    dataset.add_image(np.zeros((1500, 1500)), image_id="large")
    for _ in range(6):
        connected().sendall(
            b"GET /api/images/large/window HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % port
        )
    end_s = time.monotonic() + 60
    while len(dropped) < 6 and time.monotonic() < end_s:
        assert is_answered(port)
    assert len(dropped) >= 6


def test_a_slow_reader_that_goes_on_gets_all(
    dataset: ZarrDataset, port: int, connected: Connect
) -> None:
    dataset.add_image(np.zeros((700, 1000)), image_id="large")
    client = connected()
    client.sendall(
        b"GET /api/images/large/window HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
        b"Connection: close\r\n\r\n" % port
    )
    received = 0
    while part := client.recv(2**18):
        received += len(part)
        time.sleep(0.1)
    assert received > 700 * 1000 * 8


def test_the_server_ends_while_others_hold_connections(dataset: ZarrDataset) -> None:
    viewer = dataset.view()
    port = int(viewer.url.rstrip("/").rpartition(":")[2])
    with contextlib.ExitStack() as stack:
        for begun in (*BEGUN, b"\0\0\0\r\n\r\n"):
            client = socket.create_connection(("127.0.0.1", port), timeout=30)
            stack.enter_context(client)
            client.sendall(begun % (port, port) if b"%d" in begun else begun)
        assert is_answered(port)
        viewer.close()
    viewer.wait()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=30).close()


def test_an_image_with_planes_that_are_too_large_is_not_read_for_a_download(
    dataset: ZarrDataset, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MAX_BYTES", PIXELS.nbytes - 1)
    told = ask(client, "/download/image/kymo", 422)["error"]
    assert told["type"] == "LimitExceededError"
    assert "export" in told["hint"]
    # Plane by plane it is small.
    assert client.get("/download/image/stack").status_code == 200


@pytest.mark.parametrize("shape", [(0, 3), (7, 3), (100, 2, 5)])
@pytest.mark.parametrize("dtype", ["bool", "u1", "<f8", "c16"])
def test_an_array_is_downloaded_part_by_part(
    dataset: ZarrDataset,
    client: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    dtype: str,
) -> None:
    array = np.random.default_rng(1).normal(size=shape).astype(dtype)
    dataset["kymo"].save_array_artifact("part", array)
    chunk = math.prod(dataset["kymo"].open_array_artifact("part").chunks)
    monkeypatch.setattr(downloads, "MAX_BYTES", chunk * array.itemsize)
    got = client.get("/download/artifact/kymo?kind=array&name=part")
    assert got.status_code == 200, got.text
    loaded = np.load(io.BytesIO(got.content))
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype


def test_a_data_frame_that_is_too_large_is_offered_in_another_way(
    dataset: ZarrDataset, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MAX_BYTES", 100)
    ask(client, "/download/table/a%2Fflow", 422)
    ask(client, "/download/artifact/kymo?kind=parquet&name=velocity", 422)
    assert client.get("/download/table/a%2Fflow?as=parquet").status_code == 200


def test_the_csv_of_a_table_has_the_rows_that_are_shown(client: TestClient) -> None:
    def rows_of(address: str) -> pd.DataFrame:
        return pd.read_csv(io.StringIO(client.get(address).text))

    assert len(rows_of("/download/table/a%2Fflow")) == 3
    found = rows_of("/download/table/a%2Fflow?where=state:eq:rest&sort=speed_mm_s")
    assert found["speed_mm_s"].tolist() == [0.5, 1.5]
    assert rows_of("/download/table/a%2Fflow?q=run")["state"].tolist() == ["run"]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of another process")
def test_many_downloads_at_once_take_the_memory_of_a_few(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr", "w", durability="relaxed") as ds:
        ds.add_image(np.zeros((8, 4000, 4000), np.uint16), image_id="stack", axes="zyx")
        ds.add_image(np.zeros((30000, 10000), np.uint16), image_id="plane")
    path = str(tmp_path / "x.zarr")
    words = [sys.executable, "-m", "kymflow_zarr", "view", path, "--no-browser"]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        stack.callback(server.terminate)
        assert server.stdout is not None
        port = int(server.stdout.readline().strip().rstrip("/").rpartition(":")[2])
        asked = []
        for image_id in ["stack", "plane"] * 4:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            stack.callback(client.close)
            client.request("GET", f"/download/image/{image_id}")
            asked.append((image_id, client))
        for image_id, client in asked:
            answer = client.getresponse()
            assert answer.status == (200 if image_id == "stack" else 422)
            while answer.read(2**20):
                pass
        status = Path(f"/proc/{server.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert peak is not None
        assert int(peak[1]) < 900 * 1024
