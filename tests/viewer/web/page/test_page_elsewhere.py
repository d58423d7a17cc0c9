"""The page in other programs: framed by a notebook, mounted by a server, and by no others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.viewer.web.serving import _listen
from tests.viewer.web.browser import Visits, drawn

if TYPE_CHECKING:
    pass


class Notebook:
    """A program of another origin with a page that shows what a cell shows."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/"
        self.cell = ""


@contextmanager
def notebook() -> Iterator[Notebook]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            head = '<!doctype html><title>n</title><link rel="icon" href="data:,">'
            self.wfile.write(f"{head}{book.cell}".encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        book = Notebook(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield book
        finally:
            server.shutdown()


def test_a_notebook_shows_the_page_in_a_frame_and_images_are_judged_there(
    mine: ZarrDataset, visits: Visits
) -> None:
    with notebook() as book, mine.view(edit=True, who="ada", inline=book.url) as viewer:
        book.cell = viewer._repr_html_()
        visits._origins.add(viewer.url.rstrip("/"))
        page = visits.open(book, "/")  # type: ignore[arg-type]
        frame = page.frame_locator("iframe")
        frame.get_by_test_id("card").first.click()
        frame.locator('[data-testid=image-canvas][data-drawn="true"]').wait_for()
        frame.get_by_test_id("verdict-accept").click()
        frame.locator('[data-testid=verdict][data-verdict="accepted"]').wait_for()
        visits.leave()
    assert [rec.curation().verdict for rec in mine.iter_records()].count("accepted") == 1


def test_no_other_page_frames_it(mine: ZarrDataset, visits: Visits) -> None:
    visits.expected = ["frame-ancestors", "Framing"]
    with notebook() as book, notebook() as other, mine.view(inline=other.url) as viewer:
        book.cell = viewer._repr_html_()
        visits._origins.add(viewer.url.rstrip("/"))
        page = visits.open(book, "/")  # type: ignore[arg-type]
        page.wait_for_load_state("networkidle")
        assert page.frame_locator("iframe").get_by_test_id("card").count() == 0
        visits.leave()
    assert any("frame-ancestors" in said for said in visits.complaints)


def test_the_address_of_a_notebook_is_found_or_asked_for(
    mine: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    with pytest.raises(ArgumentError, match="no Jupyter server"):
        mine.view(inline=True)
    for wrong in ("localhost:8888", "http://a b", "http://x;y", "file:///x", "http://*"):
        with pytest.raises(ArgumentError, match="no address"):
            mine.view(inline=wrong)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("JPY_PARENT_PID", "4711")
    (tmp_path / "jpserver-4711.json").write_text(json.dumps({"url": "http://localhost:8889/"}))
    with mine.view(inline=True) as viewer:
        assert "<iframe" in viewer._repr_html_()
        rules = viewer._rules
        assert rules.framed_by == ("http://127.0.0.1:8889", "http://localhost:8889")
    with mine.view() as viewer:
        assert "<iframe" not in viewer._repr_html_()


@contextmanager
def mounted(ds: ZarrDataset, visits: Visits) -> Iterator[Any]:
    """Serve a program that has the page below a path."""
    listening = _listen("127.0.0.1", 0)
    host = f"127.0.0.1:{listening.getsockname()[1]}"
    app = Starlette(
        routes=[
            Route("/", lambda _: PlainTextResponse("the program")),
            Mount("/lab/images", app=ds.asgi_app([host], edit=True, who="ada")),
        ]
    )
    config = uvicorn.Config(app, log_level="critical", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield type("Served", (), {"url": f"http://{host}/"})
    finally:
        visits.leave()
        server.should_exit = True
        thread.join(30)
        listening.close()


def test_another_program_mounts_the_page_below_a_path(mine: ZarrDataset, visits: Visits) -> None:
    with mounted(mine, visits) as server:
        page = visits.open(server, "/lab/images/")
        page.locator("[data-testid=card] img").first.wait_for()
        page.locator('[data-testid=card][data-image-id="flow-1"]').click()
        drawn(page)
        assert "/lab/images/image/flow-1" in page.url
        page.locator(".chart-head .legend").first.wait_for()
        page.get_by_test_id("verdict-accept").click()
        page.locator('[data-testid=verdict][data-verdict="accepted"]').wait_for()
        page.reload()
        drawn(page)
        page.get_by_role("link", name="Tables").click()
        page.get_by_test_id("table-row").first.wait_for()
        assert page.url.startswith(f"{server.url}lab/images/tables")
        with page.expect_download() as coming:
            page.get_by_test_id("table-csv").click()
        assert coming.value.suggested_filename == "a_flow.csv"
        page.go_back()
        drawn(page)
    assert mine["flow-1"].curation().verdict == "accepted"


def test_a_mounted_page_answers_its_own_hosts_only(mine: ZarrDataset) -> None:
    with pytest.raises(ArgumentError, match="hosts"):
        mine.asgi_app([])
    with pytest.raises(ArgumentError, match="hosts"):
        mine.asgi_app("localhost")
    app = Starlette(routes=[Mount("/x", app=mine.asgi_app(["lab.example"]))])
    ours = TestClient(app, base_url="https://lab.example")
    assert ours.get("/x/api/dataset").status_code == 200
    assert ours.get("/x/../api/dataset").status_code == 404
    assert "sandbox" in ours.get("/x/api/dataset").headers["Content-Security-Policy"]
    assert 'src="/x/assets/' in ours.get("/x/image/flow-1").text
    other = TestClient(app, base_url="https://evil.example")
    assert other.get("/x/api/dataset").status_code == 403
    foreign = {"Origin": "https://evil.example"}
    assert ours.get("/x/api/dataset", headers=foreign).status_code == 403
    assert ours.get("/x/api/dataset", headers={"Origin": "https://lab.example"}).status_code == 200
