"""The stream that tells open pages of changes: at once, bounded, and over with the server."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.viewer.web.lists import live
from tests.viewer.web.site import client_of

Opened = Callable[..., http.client.HTTPResponse]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Open a stream; all are closed at the end."""
    with contextlib.ExitStack() as stack:

        def open_stream(url: str, image: str = "") -> http.client.HTTPResponse:
            host = url.removeprefix("http://").rstrip("/")
            client = http.client.HTTPConnection(host, timeout=60)
            stack.callback(client.close)
            # So that closing the answer closes the connection.
            headers = {"Connection": "close"}
            client.request("GET", f"/api/live{f'?image={image}' * bool(image)}", headers=headers)
            return client.getresponse()

        yield open_stream


def told(answer: http.client.HTTPResponse) -> dict[str, Any] | None:
    """Return what the stream tells next; None at its end."""
    while line := answer.readline():
        if line.startswith(b"data: "):
            state: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
            return state
    return None


def test_an_open_page_is_told_of_what_another_program_does(
    dataset: ZarrDataset, opened: Opened
) -> None:
    with dataset.view() as viewer:
        answer, of_list = opened(viewer.url, "kymo"), opened(viewer.url)
        assert answer.getheader("content-type") == "text/event-stream; charset=utf-8"
        before, list_before = told(answer), told(of_list)
        assert before is not None
        assert before["revision"] == dataset["kymo"].revision
        assert list_before == {"list": before["list"], "revision": None}
        with ZarrDataset(dataset.path, "a") as other, other["kymo"].edit(who="bob") as edit:
            edit.set_verdict("rejected")
        after, list_after = told(answer), told(of_list)
        assert after is not None
        assert list_after is not None
        assert after["revision"] == dataset["kymo"].revision != before["revision"]
        assert list_after["list"] == after["list"] != before["list"]


def test_a_page_of_an_image_is_told_that_it_was_deleted(
    dataset: ZarrDataset, opened: Opened
) -> None:
    with dataset.view() as viewer:
        answer = opened(viewer.url, "stack")
        assert told(answer) is not None
        dataset.delete_image("stack")
        gone = told(answer)
        assert gone is not None
        assert gone["revision"] is None


def test_streams_end_with_the_server(dataset: ZarrDataset, opened: Opened) -> None:
    viewer = dataset.view()
    answers = [opened(viewer.url) for _ in range(3)]
    for answer in answers:
        assert told(answer) is not None
    viewer.close()
    assert [told(answer) for answer in answers] == [None] * 3
    viewer.wait()


def test_a_stream_ends_by_itself_so_that_a_program_around_the_page_can_stop(
    dataset: ZarrDataset, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_LIFE_S", 0.2)
    monkeypatch.setattr(live, "_BEAT_S", 0.1)
    with dataset.view() as viewer:
        answer = opened(viewer.url)
        while told(answer) is not None:
            pass


def test_many_open_pages_share_one_look_and_are_bounded(
    dataset: ZarrDataset, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.Live, "max_streams", 6)
    threads = threading.active_count()
    with dataset.view() as viewer:
        answers = [opened(viewer.url) for _ in range(6)]
        for answer in answers:
            assert told(answer) is not None
        # The server, and one that looks.
        assert threading.active_count() - threads <= 3
        refused = opened(viewer.url)
        assert refused.status == 503
        assert json.loads(refused.read())["error"]["type"] == "Busy"
        answers[0].close()
        # The server notices it when it next writes, or reads the end of the connection.
        end_s = time.monotonic() + 60
        while (again := opened(viewer.url)).status == 503:
            assert time.monotonic() < end_s
            again.read()
        assert told(again) is not None


def test_a_stream_needs_the_token_and_the_origin_as_all_else(dataset: ZarrDataset) -> None:
    with_token = client_of(dataset, token="secret-token")
    assert with_token.get("/api/live").status_code == 403
    plain = client_of(dataset)
    assert plain.get("/api/live", headers={"Origin": "http://evil.example"}).status_code == 403
    assert plain.get("/api/live", headers={"Host": "evil.example"}).status_code == 403
    head = plain.head("/api/live")
    assert (head.status_code, head.content) == (200, b"")


def test_a_damaged_image_ends_no_stream(dataset: ZarrDataset, opened: Opened) -> None:
    with dataset.view() as viewer:
        answer = opened(viewer.url, "stack")
        before = told(answer)
        assert before is not None
        (dataset.path / "images" / "stack" / "zarr.json").write_text("{")
        with dataset["kymo"].edit(who="bob") as edit:
            edit.set_note("seen")
        after = told(answer)
        assert after is not None
        assert after["list"] != before["list"]
