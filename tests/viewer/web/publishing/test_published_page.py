"""The published page in a real browser, from a host that knows nothing but files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from tests.helpers.static_host import WithoutRanges, hosted
from tests.viewer.web.browser import Visits, drawn, loaded, point_at, view_of
from tests.viewer.web.site import ask, client_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGE = "/x.zarr/index.html#"
PLACES = [(0.2, 0.2), (0.52, 0.4), (0.9, 0.8)]


@pytest.fixture(scope="module")
def web(experiment: ZarrDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the experiment was published."""
    folder = tmp_path_factory.mktemp("web")
    assert experiment.publish(folder / "x.zarr").ok
    return folder


@pytest.fixture
def host(web: Path) -> Iterator[Any]:
    with hosted(web) as url:
        yield SimpleNamespace(url=url)


def cards(page: Page) -> list[str | None]:
    page.get_by_test_id("card").first.wait_for()
    return [card.get_attribute("data-image-id") for card in page.get_by_test_id("card").all()]


def test_a_published_link_restores_image_zoom_and_region(
    visits: Visits, host: Any, experiment: ZarrDataset
) -> None:
    page = visits.open(host, f"{PAGE}/image/flow-1?x=1000,1200&y=0,40&roi=1")
    loaded(page)
    assert view_of(page) == (1000, 1200, 0, 40)
    lines = experiment["flow-1"].load_array()
    for across, down in PLACES:
        read = point_at(page, across, down)
        found = re.search(r"sample (\d+), (\d+)", read["text"])
        assert found is not None
        assert read["intensity"] == str(lines[int(found[1]), int(found[2])])
    page.keyboard.press("0")
    assert view_of(page) == (0, 3000, 0, 40)
    page.wait_for_url(lambda url: "x=" not in url and "roi=1" in url)


def test_planes_of_a_stack_show_what_the_array_holds(
    visits: Visits, host: Any, experiment: ZarrDataset
) -> None:
    values = experiment["stack"].load_array()
    page = visits.open(host, f"{PAGE}/image/stack?at=t:1,c:1,z:2&map=gray")
    for across, down in PLACES:
        read = point_at(page, across, down)
        found = re.search(r"sample (\d+), (\d+)", read["text"])
        assert found is not None
        assert float(read["intensity"]) == pytest.approx(
            float(values[1, 1, 2, int(found[2]), int(found[1])]), abs=0.06
        )


def test_the_gallery_finds_filters_and_sorts_as_the_server_does(
    visits: Visits, host: Any, experiment: ZarrDataset
) -> None:
    server = client_of(experiment)
    page = visits.open(host, f"{PAGE}/")
    for query in (
        "", "q=flow", "q=hacked", "sort=image_id&descending=true", "sort=shape",
        "where=n_rows%3Aa%2Fflow:gt:60", "where=dtype:eq:uint8", "where=condition:absent",
        "where=created_utc:gt:2020-01-01", "sort=n_rois", "where=shape:contains:48",
    ):  # fmt: skip
        expected = [row["image_id"] for row in ask(server, f"/api/images?{query}")["rows"]]
        page.goto("about:blank")
        page.goto(f"{host.url}{PAGE}/?{query}")
        page.locator(f'[data-testid=gallery-count][data-total="{len(expected)}"]').wait_for()
        if expected:
            assert cards(page) == expected, query


def test_previous_and_next_go_through_the_list_that_was_shown(visits: Visits, host: Any) -> None:
    page = visits.open(host, f"{PAGE}/?sort=image_id&descending=true")
    assert cards(page)[:2] == ["stack", "flow-1"]
    page.get_by_test_id("card").first.click()
    drawn(page)
    page.keyboard.press("]")
    page.locator('[data-testid=image-page][data-image-id="flow-1"]').wait_for()
    assert "2 of 3" in page.locator(".image-head").inner_text()
    page.go_back()
    page.go_back()
    assert cards(page)[0] == "stack"


def test_nothing_to_edit_is_shown(visits: Visits, host: Any) -> None:
    page = visits.open(host, f"{PAGE}/image/flow-1")
    loaded(page)
    assert page.locator("[data-testid^=verdict-]:is(button)").count() == 0
    assert page.locator("textarea").count() == 0
    page.keyboard.press("a")
    page.keyboard.press("?")
    assert "Judging" not in page.get_by_test_id("help").inner_text()
    # Nothing but GET of files.
    assert not [url for url in visits.requests if "/api/" in url]


def test_a_table_is_searched_sorted_and_plotted(visits: Visits, host: Any) -> None:
    page = visits.open(host, f"{PAGE}/tables/a%2Fflow?q=run&sort=speed_mm_s&descending=true")
    page.locator('[data-testid=table-count][data-total="50"]').wait_for()
    assert "74" in page.get_by_test_id("table").locator("tbody tr").first.inner_text()
    page.goto(f"{host.url}{PAGE}/tables/a%2Fflow?px=speed_mm_s&by=state")
    page.locator('[data-testid=table-count][data-total="150"]').wait_for()
    page.get_by_text("150 values").wait_for()
    href = page.locator("a.download").first.get_attribute("href")
    assert href == "tables/a/flow.parquet"


def test_artifacts_are_read_and_downloaded(visits: Visits, host: Any) -> None:
    page = visits.open(host, f"{PAGE}/image/flow-1")
    loaded(page)
    page.locator("summary", has_text="Artifacts").click()
    row = page.locator('[data-testid=artifact-row][data-name="velocity"]')
    row.locator("button").first.click()
    row.locator("table").wait_for()
    with page.expect_download() as download:
        row.locator("a.download").click()
    assert np.array_equal(Path(download.value.path()).read_bytes()[:4], b"PAR1")


def test_a_host_without_ranges_is_an_error_that_says_so(visits: Visits, web: Path) -> None:
    with hosted(web, WithoutRanges) as url:
        host: Any = SimpleNamespace(url=url)
        page = visits.open(host, f"{PAGE}/image/flow-1")
        page.get_by_text("does not serve parts of files").first.wait_for()
        page.get_by_text("Range requests: nginx").first.wait_for()
        page.goto("about:blank")
        page.goto(f"{url}{PAGE}/")
        assert len(cards(page)) == 3
        visits.leave()


def test_the_first_picture_takes_six_requests(visits: Visits, host: Any) -> None:
    asked: list[str] = []
    page = visits.open(host, f"{PAGE}/")
    assert len(cards(page)) == 3
    page.goto("about:blank")
    page.on("request", lambda r: asked.append(f"{r.url} {r.headers.get('range', '')}"))
    page.goto(f"{host.url}{PAGE}/image/flow-1")
    drawn(page)
    before = r"/index\.html|/page/list-\w+\.bin|/assets/|/flow-1/[0-9a-f]{16}\.bin"
    assert len([one for one in asked if re.search(before, one)]) == 5
    # The histogram comes first in the file of the pixels, and is not needed for the picture.
    tiles = [one for one in asked if "/flow-1/p" in one and " bytes=0-" not in one]
    assert len(tiles) <= 1, tiles
