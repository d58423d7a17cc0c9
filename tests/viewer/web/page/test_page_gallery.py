"""The gallery in a real browser: ten thousand images, found, sorted, filtered and gone through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kymflow_zarr import ZarrDataset
from tests.viewer.web.browser import MANY, Visits, drawn, until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from kymflow_zarr.viewer.web.serving import Viewer


@pytest.fixture(scope="module")
def ten_thousand(many: Path) -> Iterator[Viewer]:
    with ZarrDataset(many, "r") as ds, ds.view() as server:
        yield server


def wait_for_total(page: Page, total: int) -> None:
    page.locator(f'[data-testid=gallery-count][data-total="{total}"]').wait_for()


def card(page: Page, index: int) -> Locator:
    found = page.locator(f'[data-testid=card][data-index="{index}"]')
    found.wait_for()
    return found


def id_at(page: Page, index: int) -> str | None:
    return card(page, index).get_attribute("data-image-id")


def wait_for_card(page: Page, index: int, image_id: str) -> None:
    page.locator(f'[data-testid=card][data-index="{index}"][data-image-id="{image_id}"]').wait_for()


def test_ten_thousand_images_are_there_and_only_those_in_view_are_fetched(
    visits: Visits, ten_thousand: Viewer
) -> None:
    page = visits.open(ten_thousand)
    wait_for_total(page, MANY)
    assert id_at(page, 0) == "vessel-00000"
    until(
        page,
        "() => [...document.querySelectorAll('[data-testid=card]')].slice(0, 4)"
        ".every((c) => c.querySelector('img')?.naturalWidth > 8)",
    )
    assert page.get_by_test_id("card").count() < 120
    assert sum("/thumbnail" in url for url in visits.requests) < 120
    assert "64 \u00d7 8" in (card(page, 0).text_content() or "")


def test_no_letter_is_lost_while_the_list_follows(visits: Visits, ten_thousand: Viewer) -> None:
    page = visits.open(ten_thousand)
    wait_for_total(page, MANY)
    field = page.get_by_test_id("gallery-search")
    # About as long as the field waits for another letter, so that its answers come between them.
    for delay in range(26, 46, 2):
        field.fill("")
        page.keyboard.type("vessel-01234 treated", delay=delay)
        assert field.input_value() == "vessel-01234 treated"


def test_the_search_narrows_with_each_letter(visits: Visits, ten_thousand: Viewer) -> None:
    page = visits.open(ten_thousand)
    wait_for_total(page, MANY)
    page.keyboard.press("/")  # It has the focus at once.
    for typed, total in [("vessel-0123", 10), ("4", 1)]:
        page.keyboard.type(typed, delay=5)
        wait_for_total(page, total)
    wait_for_card(page, 0, "vessel-01234")
    assert page.get_by_test_id("card").count() == 1
    for _ in "4":
        page.keyboard.press("Backspace")
    wait_for_total(page, 10)
    page.keyboard.type(" treated")
    wait_for_total(page, sum(i % 3 != 0 for i in range(1230, 1240)))
    page.keyboard.type(" and nothing is like this")
    wait_for_total(page, 0)
    page.get_by_role("button", name="Show all").click()
    wait_for_total(page, MANY)


def test_columns_sort_both_ways_and_conditions_filter(visits: Visits, ten_thousand: Viewer) -> None:
    page = visits.open(ten_thousand)
    wait_for_total(page, MANY)
    page.get_by_test_id("gallery-sort").select_option("depth")
    wait_for_card(page, 0, "vessel-00000")
    page.get_by_test_id("gallery-descending").click()
    wait_for_card(page, 0, f"vessel-{MANY - 1:05d}")
    page.get_by_test_id("filter-add").click()
    page.get_by_test_id("filter-column").select_option("condition")
    page.get_by_test_id("filter-op").select_option("eq")
    page.get_by_test_id("filter-value").fill("control")
    page.get_by_test_id("filter-apply").click()
    wait_for_total(page, len(range(0, MANY, 3)))
    page.get_by_test_id("filter-add").click()
    page.get_by_test_id("filter-column").select_option("depth")
    page.get_by_test_id("filter-op").select_option("lt")
    page.get_by_test_id("filter-value").fill("10010")
    page.get_by_test_id("filter-apply").click()
    wait_for_total(page, 4)
    assert [id_at(page, i) for i in range(4)] == [f"vessel-0000{i}" for i in (9, 6, 3, 0)]
    # All of it is in the address: whoever gets it sees the same.
    page.reload()
    wait_for_total(page, 4)
    wait_for_card(page, 0, "vessel-00009")
    page.get_by_test_id("filter-chip").filter(has_text="depth").get_by_role("button").click()
    wait_for_total(page, len(range(0, MANY, 3)))


def test_scrolling_brings_other_rows_to_the_last(visits: Visits, ten_thousand: Viewer) -> None:
    page = visits.open(ten_thousand)
    wait_for_total(page, MANY)
    card(page, 0)
    cards = page.get_by_test_id("cards")
    cards.hover()
    page.mouse.wheel(0, 3000)
    page.locator('[data-testid=card][data-index="0"]').wait_for(state="detached")
    cards.evaluate("(e) => (e.scrollTop = e.scrollHeight)")
    wait_for_card(page, MANY - 1, f"vessel-{MANY - 1:05d}")
    assert page.get_by_test_id("card").count() < 120
    # Where one is, is in the address too.
    page.wait_for_url(re.compile(r"row=\d{4}"))
    page.reload()
    wait_for_card(page, MANY - 1, f"vessel-{MANY - 1:05d}")


def test_all_of_it_goes_by_keyboard(visits: Visits, ten_thousand: Viewer) -> None:
    page = visits.open(ten_thousand)
    wait_for_total(page, MANY)
    card(page, 3)
    reached: list[str | None] = []
    for _ in range(30):
        page.keyboard.press("Tab")
        active = page.evaluate("document.activeElement.dataset.testid")
        reached.append(active)
        if active == "card":
            break
    assert {"gallery-search", "filter-add", "gallery-sort", "theme-toggle", "card"} <= {*reached}
    page.keyboard.press("ArrowRight")
    until(page, "() => document.activeElement.dataset.index === '1'")
    page.keyboard.press("ArrowRight")
    until(page, "() => document.activeElement.dataset.index === '2'")
    page.keyboard.press("Enter")
    drawn(page)
    assert page.url.endswith("/image/vessel-00002")
    page.keyboard.press("g")
    wait_for_total(page, MANY)


def test_the_way_back_leads_to_where_one_was(visits: Visits, ten_thousand: Viewer) -> None:
    page = visits.open(ten_thousand, "/?q=vessel-0123")
    wait_for_total(page, 10)
    card(page, 4).click()
    drawn(page)
    page.go_back()
    wait_for_total(page, 10)
    assert page.get_by_test_id("gallery-search").input_value() == "vessel-0123"
    card(page, 4)


def test_as_a_list_it_has_the_same_images(visits: Visits, ten_thousand: Viewer) -> None:
    page = visits.open(ten_thousand)
    wait_for_total(page, MANY)
    grid = card(page, 1).bounding_box()
    page.get_by_test_id("as-list").click()
    page.locator(".cards.as-list").wait_for()
    assert id_at(page, 1) == "vessel-00001"
    row = card(page, 1).bounding_box()
    assert grid is not None
    assert row is not None
    assert row["width"] > 2 * grid["width"]
    assert row["height"] < grid["height"]
