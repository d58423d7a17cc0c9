"""What a dataset, another page or a crafted address may try: all of it fails in a browser."""

from __future__ import annotations

import http.client
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest

from kymflow_zarr import ZarrDataset
from tests.viewer.web.browser import HOSTILE, PHOTO, Visits, drawn, origin

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from kymflow_zarr.viewer.web.serving import Viewer


def is_shown_as_text(page: Page) -> None:
    """Each of the texts stands as it is, and has made no element."""
    page.get_by_text(HOSTILE).locator("visible=true").first.wait_for()
    assert page.locator("img[src='x'], body script").count() == 0


def test_markup_in_a_dataset_stays_text_wherever_it_stands(
    visits: Visits, editing: Viewer, mine: ZarrDataset
) -> None:
    with mine["flow-1"].edit(who=HOSTILE) as edit:
        edit.set_note(HOSTILE)
    page = visits.open(editing, "/image/flow-1")
    drawn(page)
    for name in ("metadata", "provenance", "artifacts", "tables"):
        section = page.get_by_test_id(f"section-{name}")
        if section.get_attribute("open") is None:
            section.locator("summary").first.click()
    page.get_by_test_id("metadata").get_by_text(HOSTILE).first.wait_for()
    page.locator("[data-testid=roi-row]").get_by_text(HOSTILE).wait_for()
    page.locator("[data-testid=history-row]").get_by_text(HOSTILE).first.wait_for()
    page.locator("[data-testid=event-row]").get_by_text(HOSTILE).first.wait_for()
    page.locator("[data-testid=artifact-row]", has_text="onerror").locator("button").first.click()
    page.get_by_test_id("artifact-view").get_by_text(HOSTILE).first.wait_for()
    is_shown_as_text(page)
    with page.expect_navigation():
        page.goto(f"{editing.url}image/{quote(PHOTO, safe='')}")
    page.get_by_role("heading", name=PHOTO).wait_for()
    drawn(page)
    assert page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize("path", ["/tables/a%2Fflow?px=speed_mm_s&by=state", "/?as=list", "/"])
def test_markup_in_a_table_or_a_condition_stays_text(
    visits: Visits, shown: Viewer, path: str
) -> None:
    page = visits.open(shown, path)
    is_shown_as_text(page)


@pytest.mark.parametrize(
    "path",
    [
        f"/?q={quote(HOSTILE)}&sort={quote(HOSTILE)}&where={quote(HOSTILE + ':eq:' + HOSTILE)}",
        f"/image/{quote(HOSTILE, safe='')}",
        f"/tables/{quote(HOSTILE, safe='')}",
        f"/image/flow-1?map={quote(HOSTILE)}&x={quote(HOSTILE)}&series={quote(HOSTILE)}&event=1e9",
    ],
)
def test_markup_in_an_address_is_never_run(visits: Visits, shown: Viewer, path: str) -> None:
    visits.expected += ["400", "404"]
    page = visits.open(shown, path)
    # It says what is wrong, or shows what it can.
    said = page.get_by_test_id("error").or_(page.get_by_test_id("image-canvas"))
    said.or_(page.get_by_test_id("card")).first.wait_for()
    page.wait_for_load_state("networkidle")
    assert page.locator("img[src='x'], body script").count() == 0


# Addresses ---------------------------------------------------------------------------------


UP = [
    "../../../../../../etc/passwd", "..%2f..%2f..%2f..%2fetc%2fpasswd", "/etc/passwd",
    "%2e%2e/%2e%2e/zarr.json", "....//....//etc/passwd", "..%5c..%5cetc%5cpasswd", "%00",
    "%252e%252e%252fetc",
]  # fmt: skip
ROOTS = [
    "/", "/assets/", "/api/images/", "/api/images/flow-1/", "/api/tables/", "/download/image/",
    "/download/table/", "/zarr/x/images/", "/image/",
]  # fmt: skip
QUERIES = [
    "/api/images/flow-1/artifact?kind=json&name=",
    "/download/artifact/flow-1?as=json&kind=json&name=",
]


@pytest.mark.parametrize("start", [*ROOTS, *QUERIES])
def test_no_address_leads_out_of_the_dataset(
    shown: Viewer, experiment: ZarrDataset, start: str
) -> None:
    address = urlsplit(shown.url)
    page = get(address.netloc, "/")[1]
    dataset_document = (experiment.path / "zarr.json").read_bytes()
    starts = [start]
    if start.startswith("/zarr/"):
        starts.append(urlsplit(shown.ome_zarr_url("flow-1")).path + "/")
    for begin in starts:
        for up in UP:
            status, body = get(address.netloc, begin + up)
            # The page itself is the answer to each address of a page; it asks and is refused.
            assert body == page or status in {400, 403, 404, 405}, begin + up
            assert b"root:" not in body
            assert dataset_document not in body


def get(host: str, target: str) -> tuple[int, bytes]:
    """Ask for exactly this target; a browser would tidy it first."""
    connection = http.client.HTTPConnection(host, timeout=20)
    try:
        connection.putrequest("GET", target, skip_accept_encoding=True)
        connection.endheaders()
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


# Pages of others ------------------------------------------------------------------------------


@contextmanager
def another_site(html: str) -> Iterator[str]:
    """Serve a page from another port of this machine, as any program on it might."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode() if self.path == "/" else b"")

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_origin_reads_nothing_and_changes_nothing(
    visits: Visits, editing: Viewer, mine: ZarrDataset, name: str
) -> None:
    visits.expected += ["403", "CORS", "ERR_", "Refused", "X-Frame", "violates", "MIME", "Mixed"]
    page = visits.open(editing, "/")
    ours = editing.url.rstrip("/").replace("127.0.0.1", name)
    visits._origins.add(ours)
    revision = mine["flow-1"].revision
    with another_site("<title>others</title><body></body>") as other:
        visits._origins.add(origin(other))
        page.goto(other)
        change = {"expect": revision, "changes": [{"kind": "verdict", "value": "rejected"}]}
        found: dict[str, str] = page.evaluate(
            """async ([ours, body]) => {
              const edit = ours + '/api/images/flow-1/edit';
              const ways = {
                read: () => fetch(ours + '/api/dataset'),
                write: () => fetch(edit, {
                  method: 'POST', headers: { 'Content-Type': 'application/json' }, body }),
                plain: () => fetch(edit, {
                  method: 'POST', headers: { 'Content-Type': 'text/plain' }, body }),
              };
              const found = {};
              for (const [name, way] of Object.entries(ways)) {
                found[name] = await way().then((a) => `status ${a.status}`, () => 'refused');
              }
              // What needs no leave to be sent: is it answered?
              await fetch(edit, { method: 'POST', mode: 'no-cors', body }).catch(() => 0);
              const loads = (tag, of) => new Promise((done) => {
                const e = document.createElement(tag);
                e.onload = () => done('loaded');
                e.onerror = () => done('refused');
                e.src = of;
                document.body.append(e);
              });
              found.image = await loads('img', ours + '/api/images/flow-1/thumbnail');
              found.script = await loads('script', ours + '/api/dataset');
              return found;
            }""",
            [ours, json.dumps(change)],
        )
        assert {*found.values()} == {"refused"}, found
        # A frame of our page shows nothing of it.
        page.set_content(f'<iframe src="{ours}/"></iframe>')
        page.wait_for_load_state("networkidle")
        assert page.frames[-1].get_by_test_id("gallery-search").count() == 0
        # A form that a click sends off.
        page.set_content(
            f'<form method=post enctype=text/plain action="{ours}/api/images/flow-1/edit">'
            f"<input name='{json.dumps(change)[:-1]}, &quot;a&quot;:&quot;' value='&quot;}}'>"
            "<button>win</button></form>"
        )
        with page.expect_navigation() as answer:
            page.get_by_role("button").click()
        assert answer.value is not None
        assert answer.value.status == 403
    assert mine["flow-1"].revision == revision
    assert mine["flow-1"].curation().history == ()


def test_a_link_from_elsewhere_opens_the_page(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, "/about")
    with another_site(f'<a href="{shown.url}image/flow-1">see</a>') as other:
        visits._origins.add(origin(other))
        page.goto(other)
        page.get_by_role("link").click()
        drawn(page)


def test_every_page_is_visited_and_all_it_asks_for_is_here(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, "/")
    for path in ("image/flow-1", "image/stack", "tables", "tables/a%2Fflow?px=speed_mm_s", "about"):
        page.goto(shown.url + path)
        page.wait_for_load_state("networkidle")
    assert len(visits.requests) > 20
    # Visits.close() compares them with our own address.


def test_the_command_serves_what_the_browser_shows(visits: Visits, mine: ZarrDataset) -> None:
    command = [sys.executable, "-m", "kymflow_zarr", "view", str(mine.path)]
    with subprocess.Popen(
        [*command, "--read-only", "--no-browser", "--json"], stdout=subprocess.PIPE, text=True
    ) as run:
        try:
            assert run.stdout is not None
            text = ""
            while not text.rstrip().endswith("}"):
                line = run.stdout.readline()
                assert line, "the command ended"
                text += line
            url = json.loads(text)["url"]
            page = visits.open(Told(url), "/image/flow-1")  # type: ignore[arg-type]
            drawn(page)
            assert page.get_by_test_id("verdict").count() == 0
            visits.leave()  # The page listens to the server for as long as it is open.
        finally:
            run.terminate()


class Told:
    """A server that another process runs."""

    def __init__(self, url: str) -> None:
        self.url = url
