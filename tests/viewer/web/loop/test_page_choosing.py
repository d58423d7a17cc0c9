"""Judging from the gallery: many images at once, by mouse and by keys, and back again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kymflow_zarr import ZarrDataset
from tests.viewer.web.browser import Visits, until
from tests.viewer.web.loop.test_page_triage import (  # noqa: F401 - fixtures
    judging,
    many_images,
    slowed,
    verdicts,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from kymflow_zarr.viewer.web.serving import Viewer


def card(page: Page, number: int) -> str:
    return f'[data-testid=card][data-image-id="i{number:02d}"]'


def done(page: Page) -> None:
    """Wait until all that was decided is written."""
    page.locator('[data-testid=choice-bar][data-busy="false"]').wait_for()


def chosen(page: Page, count: int) -> None:
    page.locator(f'[data-testid=choice-bar][data-chosen="{count}"]').wait_for()


def test_cards_are_chosen_by_mouse_judged_at_once_and_undone_at_once(
    judging: Viewer,  # noqa: F811
    visits: Visits,
    many_images: ZarrDataset,  # noqa: F811
) -> None:
    page = visits.open(judging, "/")
    page.locator(card(page, 7)).wait_for()
    boxes = page.get_by_test_id("choose")
    boxes.nth(1).click()
    boxes.nth(4).click(modifiers=["Shift"])
    chosen(page, 4)
    boxes.nth(7).click()
    boxes.nth(2).click()
    chosen(page, 4)
    page.get_by_test_id("judge-rejected").click()
    page.get_by_text("4 images rejected").wait_for()
    wanted = ["rejected" if number in (1, 3, 4, 7) else None for number in range(12)]
    assert list(verdicts(many_images).values()) == wanted
    history = many_images["i03"].curation().history
    assert [(entry.who, entry.n_images) for entry in history] == [("ada", 4)]
    assert page.locator(card(page, 3)).get_by_test_id("verdict-badge").text_content() == " rejected"
    page.get_by_test_id("judge-undo").click()
    page.get_by_text("Undone: 4 images rejected").wait_for()
    assert set(verdicts(many_images).values()) == {None}


def test_all_of_a_filtered_list_are_judged_and_no_others(
    judging: Viewer,  # noqa: F811
    visits: Visits,
    many_images: ZarrDataset,  # noqa: F811
) -> None:
    page = visits.open(judging, "/?where=condition:eq:B")
    page.locator(card(page, 1)).wait_for()
    page.get_by_test_id("choose-all").click()
    chosen(page, 6)
    page.get_by_test_id("judge-accepted").click()
    page.get_by_text("6 images accepted").wait_for()
    assert list(verdicts(many_images).values()) == [None, "accepted"] * 6


def test_the_gallery_is_judged_with_keys_alone_and_with_latency(
    judging: Viewer,  # noqa: F811
    visits: Visits,
    many_images: ZarrDataset,  # noqa: F811
) -> None:
    page = visits.open(judging, "/")
    page.locator(card(page, 0)).focus()
    slowed(page, 300)
    for key in ("a", "ArrowRight", "r", "ArrowRight", "ArrowRight", "r", "ArrowRight", "a"):
        page.keyboard.press(key)
    page.keyboard.press("u")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    chosen(page, 3)
    page.keyboard.press("r")
    page.keyboard.press("z")
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    chosen(page, 0)
    page.keyboard.press("Control+a")
    chosen(page, 12)
    page.keyboard.press("Escape")
    done(page)
    wanted = ["accepted", "rejected", None, "rejected", None] + ["accepted"] * 3 + [None] * 4
    assert list(verdicts(many_images).values()) == wanted
    until(page, "() => document.querySelectorAll('[data-testid=verdict-badge]').length >= 6")


def test_each_key_in_a_list_of_the_undecided_judges_the_image_with_the_focus(
    judging: Viewer,  # noqa: F811
    visits: Visits,
    many_images: ZarrDataset,  # noqa: F811
) -> None:
    page = visits.open(judging, "/?where=verdict:absent:")
    page.locator(card(page, 0)).focus()
    for number in range(4):
        page.keyboard.press("ar"[number % 2])
        page.locator(card(page, number)).wait_for(state="detached")
        until(page, f"() => document.activeElement.dataset.imageId === 'i{number + 1:02d}'")
    assert list(verdicts(many_images).values())[:5] == ["accepted", "rejected"] * 2 + [None]


def test_a_verdict_in_the_gallery_leads_on_however_fast_the_keys_come(
    judging: Viewer,  # noqa: F811
    visits: Visits,
    many_images: ZarrDataset,  # noqa: F811
) -> None:
    page = visits.open(judging, "/?where=verdict:absent:")
    page.locator(card(page, 11)).wait_for()
    page.get_by_test_id("advance").click()
    page.locator(card(page, 0)).focus()
    slowed(page, 300)
    page.keyboard.type("arrarraarraa")
    done(page)
    until(page, "() => document.querySelectorAll('[data-testid=card]').length === 0")
    wanted = ["accepted" if key == "a" else "rejected" for key in "arrarraarraa"]
    assert list(verdicts(many_images).values()) == wanted


def test_what_another_judged_meanwhile_is_not_written_over_without_a_word(
    judging: Viewer,  # noqa: F811
    visits: Visits,
    many_images: ZarrDataset,  # noqa: F811
) -> None:
    visits.expected = ["409"]
    page = visits.open(judging, "/", without="/api/(changes|live)")
    page.locator(card(page, 2)).wait_for()
    with many_images["i02"].edit(who="bob") as edit:
        edit.set_verdict("rejected")
    page.get_by_test_id("choose-all").click()
    page.get_by_test_id("judge-accepted").click()
    assert "i02 is rejected" in (page.get_by_test_id("error").text_content() or "")
    assert list(verdicts(many_images).values()) == [None, None, "rejected"] + [None] * 9
    page.get_by_test_id("judge-anyway").click()
    page.get_by_text("12 images accepted").wait_for()
    assert set(verdicts(many_images).values()) == {"accepted"}


def test_the_choice_is_hidden_where_nothing_can_be_judged(shown: Viewer, visits: Visits) -> None:
    page = visits.open(shown, "/")
    page.get_by_test_id("card").first.wait_for()
    page.keyboard.press("Control+a")
    assert page.get_by_test_id("choice-bar").count() == page.get_by_test_id("choose").count() == 0
