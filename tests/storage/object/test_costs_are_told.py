"""Requests are counted, repeated when a host is busy, and named when they fail."""

from __future__ import annotations

import http.server
import logging
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from obstore.store import MemoryStore

from kymflow_zarr import ZarrDataset
from kymflow_zarr.cli.app import app
from kymflow_zarr.errors import StorageError
from kymflow_zarr.storage.object import http as web
from kymflow_zarr.storage.object.bucket import Bucket
from kymflow_zarr.storage.object.http import WebFolder
from tests.helpers.static_host import WithRanges, hosted
from tests.storage.object.conftest import SECRET

PIXELS = np.arange(4000 * 64, dtype="uint16").reshape(4000, 64)


@pytest.fixture
def published(tmp_path: Path) -> Iterator[str]:
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        ds.add_image(PIXELS, image_id="a", line_period_s=0.001).save_json("note", {"q": 1})
        ds.save_table("t", pd.DataFrame({"image_id": ["a"], "v": [1]}))
        ds.update_manifest()
    with hosted(tmp_path) as url:
        yield f"{url}/x.zarr"


def test_each_call_on_a_web_host_costs_its_number_of_requests(published: str) -> None:
    ds = ZarrDataset(published, mode="r")
    host: Any = ds._open.storage.bucket  # type: ignore[attr-defined]

    def requests(call: Callable[[], object]) -> int:
        before = sum(host.requests.values())
        call()
        return int(sum(host.requests.values()) - before)

    record = ds["a"]
    assert requests(lambda: ds.record("a")) <= 2
    assert requests(lambda: record.load_array(slice(100, 350))) <= 3
    assert requests(lambda: record.load_json("note")) <= 2
    assert requests(lambda: ds.load_table("t")) <= 3
    assert requests(ds.list_image_ids) <= 1
    traffic = ds._open.traffic()
    assert traffic is not None
    assert traffic.requests == host.requests
    assert traffic.bytes_read == host.bytes_read > 0
    info = ds.info()
    assert info["requests"] == host.requests
    assert (info["bytes_read"], info["bytes_written"]) == (host.bytes_read, 0)


def test_a_folder_makes_no_requests(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        assert ds._open.traffic() is None
        assert "requests" not in ds.info()


def test_verbose_says_how_many_requests_a_command_made(published: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["ls", published, "--verbose"])
    assert result.exit_code == 0
    assert "get" in result.stderr
    assert "bytes read" in result.stderr
    assert "requests:" not in result.stdout
    quiet = CliRunner().invoke(app, ["ls", published])
    assert "requests:" not in quiet.output


class _Busy(WithRanges):
    left = 2

    def do_GET(self) -> None:  # noqa: N802 - the name is that of the library
        if type(self).left > 0:
            type(self).left -= 1
            self.send_error(503)
            return
        super().do_GET()


def test_a_busy_host_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    (tmp_path / "x").write_bytes(b"data")
    kind = type("Busy", (_Busy,), {"left": 2})
    with hosted(tmp_path, kind) as url:
        host = WebFolder(url)
        assert host.get("x") is not None
        assert host.requests == {"get": 3}
        host.close()
    assert len(pauses) == 2
    with hosted(tmp_path, type("Down", (_Busy,), {"left": 99})) as url:
        host = WebFolder(url)
        with pytest.raises(StorageError, match=r"HTTP status 503 \(at .*/x\)"):
            host.get("x")
        host.close()


class _Silent(http.server.BaseHTTPRequestHandler):
    end = threading.Event()

    def do_GET(self) -> None:
        self.end.wait(30)

    do_PUT = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


def _silent(folder: Path) -> Any:
    return hosted(folder, lambda *args, directory, **more: _Silent(*args, **more))


def test_a_time_out_names_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_TIMEOUT_S", 0.05)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    _Silent.end.clear()
    with _silent(tmp_path) as url:
        host = WebFolder(url)
        with pytest.raises(StorageError, match=r"did not answer within.*\(at .*/images/a/zarr"):
            host.get("images/a/zarr.json")
        host.close()
        options = {
            "endpoint": url, "access_key_id": "key", "secret_access_key": SECRET,
            "client_options": {"allow_http": True, "timeout": "0.2s"},
            "retry_config": {"max_retries": 0},
        }  # fmt: skip
        bucket = Bucket("s3://bucket/x.zarr", options)
        with pytest.raises(StorageError, match=r"cannot get it.*heads/images/a\.json") as caught:
            bucket.get("heads/images/a.json")
        assert SECRET not in str(caught.value)
        _Silent.end.set()


def test_at_most_so_many_requests_are_made_at_once() -> None:
    bucket = Bucket("test://limit", store=MemoryStore())
    bucket._at_once = threading.BoundedSemaphore(2)
    at_once, most = 0, 0
    guard = threading.Lock()
    entered = threading.Semaphore(0)
    go_on = threading.Event()

    def one() -> None:
        nonlocal at_once, most
        with bucket.request("get", "x"):
            with guard:
                at_once += 1
                most = max(most, at_once)
            entered.release()
            go_on.wait(30)
            with guard:
                at_once -= 1

    threads = [threading.Thread(target=one, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert entered.acquire(timeout=30)
    assert entered.acquire(timeout=30)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert most == 2
    assert bucket.requests == {"get": 6}


def test_credentials_are_in_no_log_page_report_or_published_file(
    s3_options: dict[str, Any],
    new_address: Callable[[], str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with ZarrDataset(new_address(), storage_options=s3_options) as ds:
        ds.add_image(PIXELS[:50], image_id="a")
        ds.save_table("t", pd.DataFrame({"image_id": ["a"], "v": [1]}))
        report = ds.publish(tmp_path / "web")
        assert report.ok
        target = new_address()
        ds.publish(target, storage_options=s3_options)
        shown = [str(report), repr(report), repr(report.to_dict()), repr(ds._open.traffic())]
        shown += [ds._repr_html_(), pickle.dumps(report).decode("latin-1")]
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    bucket = Bucket(target, s3_options)
    objects = b"".join((bucket.get(item.name) or (b"", ""))[0] for item in bucket.list_below(""))
    out = capfd.readouterr()
    text = "".join([*shown, caplog.text, out.out, out.err])
    assert SECRET not in text
    assert SECRET.encode() not in files + objects
