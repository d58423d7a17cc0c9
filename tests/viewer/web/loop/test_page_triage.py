"""Going through images by keys: every decision is where it belongs, and no text is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from tests.helpers.operations import LONG
from tests.viewer.web.browser import Visits, drawn, make_many, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from kymflow_zarr.viewer.web.serving import Viewer

N = 12
# The server is asked for before the pages, so that it ends after them.


@pytest.fixture
def many_images(tmp_path: Path) -> Iterator[ZarrDataset]:
    """Twelve images, of two conditions in turns, deeper and deeper backwards."""
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for number in range(N):
            record = ds.add_image(np.full((40, 60), number, np.uint8), image_id=f"i{number:02d}")
            condition = ["A", "B"][number % 2]
            record.save_metadata_payload(
                {"experiment_metadata": {"condition": condition, "depth": 100 - number}}
            )
        ds.save_table("t", pd.DataFrame({"n": range(10), "kind": ["a", "b"] * 5}))
        yield ds


@pytest.fixture
def judging(many_images: ZarrDataset, visits: Visits) -> Iterator[Viewer]:
    with many_images.view(edit=True, who="ada") as server:
        yield server
        visits.leave()


def slowed(page: Page, latency_ms: int) -> None:
    """Let each answer come later."""
    page.context.new_cdp_session(page).send(
        "Network.emulateNetworkConditions",
        {
            "offline": False, "latency": latency_ms, "downloadThroughput": -1,
            "uploadThroughput": -1,
        },
    )  # fmt: skip


def wait_for_image(page: Page, image_id: str) -> None:
    page.locator(f'[data-testid=image-page][data-image-id="{image_id}"]').wait_for()


def verdicts(ds: ZarrDataset) -> dict[str, str | None]:
    return {record.image_id: record.curation().verdict for record in ds.iter_records()}


@pytest.mark.parametrize(("pause_ms", "latency_ms"), [(50, 0), (50, 300), (250, 300)])
def test_no_decision_is_lost_however_fast_the_keys_come(
    judging: Viewer, visits: Visits, many_images: ZarrDataset, pause_ms: int, latency_ms: int
) -> None:
    page = visits.open(judging, "/image/i00")
    drawn(page)
    slowed(page, latency_ms)
    wanted = {f"i{number:02d}": "rejected" if number % 3 else "accepted" for number in range(N)}
    for verdict in wanted.values():
        page.keyboard.press(verdict[0])
        page.wait_for_timeout(pause_ms)
        page.keyboard.press("]")
        page.wait_for_timeout(pause_ms)
    wait_for_image(page, f"i{N - 1:02d}")
    page.locator('[data-testid=verdict][data-verdict="rejected"]').wait_for()
    page.wait_for_timeout(3 * latency_ms + 200)
    assert verdicts(many_images) == wanted


def test_the_last_of_several_verdicts_holds(
    judging: Viewer, visits: Visits, many_images: ZarrDataset
) -> None:
    page = visits.open(judging, "/image/i00")
    drawn(page)
    slowed(page, 200)
    page.keyboard.type("araru")
    page.keyboard.press("a")
    until(page, "() => document.querySelectorAll('[data-testid=history-row]').length === 6")
    assert many_images["i00"].curation().verdict == "accepted"


def test_previous_and_next_go_through_the_list_of_the_gallery(
    judging: Viewer, visits: Visits
) -> None:
    page = visits.open(judging, "/?where=condition:eq:A&sort=depth")
    page.locator('[data-testid=card][data-index="0"][data-image-id="i10"]').click()
    wait_for_image(page, "i10")
    assert page.get_by_test_id("position").text_content() == "1 of 6"
    page.keyboard.press("]")
    wait_for_image(page, "i08")
    page.reload()
    drawn(page)
    assert page.get_by_test_id("position").text_content() == "2 of 6"
    page.keyboard.press("]")
    wait_for_image(page, "i06")
    page.keyboard.press("[")
    wait_for_image(page, "i08")


def test_undecided_images_follow_one_another_while_they_are_judged(
    judging: Viewer, visits: Visits, many_images: ZarrDataset
) -> None:
    page = visits.open(judging, "/?where=verdict:absent:")
    page.locator('[data-testid=card][data-image-id="i00"]').click()
    wait_for_image(page, "i00")
    for number in range(3):
        page.keyboard.press("a")
        page.locator('[data-testid=verdict][data-verdict="accepted"]').wait_for()
        page.keyboard.press("]")
        wait_for_image(page, f"i{number + 1:02d}")
    assert list(verdicts(many_images).values())[:4] == ["accepted"] * 3 + [None]


def test_what_is_typed_after_a_rectangle_is_drawn_is_its_name(
    judging: Viewer, visits: Visits, many_images: ZarrDataset
) -> None:
    page = visits.open(judging, "/image/i00")
    box = drawn(page).bounding_box()
    theme = page.evaluate("() => document.documentElement.dataset.theme")
    page.keyboard.press("d")
    page.mouse.move(box["x"] + 200, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 160, steps=5)
    page.mouse.up()
    page.keyboard.type("artery")
    assert page.get_by_test_id("roi-name").input_value() == "artery"
    page.keyboard.press("Enter")
    page.get_by_test_id("roi-row").first.wait_for()
    (roi,) = many_images["i00"].load_rois()
    assert roi.name == "artery"
    assert many_images["i00"].curation().verdict is None
    assert page.evaluate("() => document.documentElement.dataset.theme") == theme


def test_a_letter_beside_the_form_of_a_region_judges_nothing(
    judging: Viewer, visits: Visits, many_images: ZarrDataset
) -> None:
    page = visits.open(judging, "/image/i00")
    box = drawn(page).bounding_box()
    page.keyboard.press("d")
    page.mouse.move(box["x"] + 200, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 160, steps=5)
    page.mouse.up()
    page.get_by_test_id("roi-form").wait_for()
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.type("ar]u[")
    page.wait_for_timeout(300)
    wait_for_image(page, "i00")
    assert many_images["i00"].curation().history == ()


def test_a_note_that_is_not_saved_survives_leaving_the_image_and_reloading(
    judging: Viewer, visits: Visits, many_images: ZarrDataset
) -> None:
    page = visits.open(judging, "/image/i00")
    drawn(page)
    note = page.get_by_test_id("note-input")
    note.fill("look again")
    page.get_by_test_id("image-next").click()
    wait_for_image(page, "i01")
    drawn(page)
    assert note.input_value() == ""
    page.get_by_test_id("image-previous").click()
    wait_for_image(page, "i00")
    drawn(page)
    assert note.input_value() == "look again"
    page.reload()
    drawn(page)
    assert note.input_value() == "look again"
    page.get_by_test_id("note-save").click()
    until(page, "() => document.querySelectorAll('[data-testid=history-row]').length === 1")
    assert many_images["i00"].curation().note == "look again"
    page.reload()
    drawn(page)
    assert page.get_by_test_id("note-save").is_disabled()


def test_a_decision_that_could_not_be_written_is_shown_on_the_next_image(
    judging: Viewer, visits: Visits, many_images: ZarrDataset
) -> None:
    visits.expected = ["409"]
    page = visits.open(judging, "/image/i00", without="/api/(changes|live)")
    drawn(page)
    slowed(page, 300)
    with many_images["i00"].edit(who="bob") as edit:
        edit.set_verdict("accepted")
    page.keyboard.press("r")
    page.keyboard.press("]")
    told = page.get_by_test_id("unwritten")
    told.wait_for()
    assert "i00" in (told.text_content() or "")
    assert many_images["i00"].curation().verdict == "accepted"


def test_the_csv_of_a_filtered_table_has_its_rows(
    judging: Viewer, visits: Visits, tmp_path: Path
) -> None:
    page = visits.open(judging, "/tables/t?where=kind:eq:b&sort=n&descending=true")
    page.locator('[data-testid=table-count][data-total="5"]').wait_for()
    with page.expect_download() as coming:
        page.get_by_test_id("table-csv").click()
    coming.value.save_as(tmp_path / "t.csv")
    assert pd.read_csv(tmp_path / "t.csv")["n"].tolist() == [9, 7, 5, 3, 1]


def test_a_verdict_leads_on_to_the_next_undecided_image(
    judging: Viewer, visits: Visits, many_images: ZarrDataset
) -> None:
    with many_images["i01"].edit() as edit:
        edit.set_verdict("accepted")
    page = visits.open(judging, "/?where=verdict:absent:")
    page.locator('[data-testid=card][data-image-id="i00"]').click()
    wait_for_image(page, "i00")
    drawn(page)
    page.get_by_test_id("advance").click()
    page.keyboard.type("arar")
    wait_for_image(page, "i05")
    drawn(page)
    wanted = ["accepted", "accepted", "rejected", "accepted", "rejected", None]
    assert list(verdicts(many_images).values())[:6] == wanted


@pytest.mark.parametrize("count", [500 if LONG else 40])
def test_a_whole_list_is_judged_with_keys_alone_at_four_decisions_a_second(
    visits: Visits, tmp_path: Path, count: int
) -> None:
    make_many(tmp_path / "x.zarr", count)
    with ZarrDataset(tmp_path / "x.zarr") as ds, ds.view(edit=True, who="ada") as server:
        page = visits.open(server, "/?where=verdict:absent:&sort=depth&descending=true")
        first = page.locator('[data-testid=card][data-index="0"]')
        first.focus()
        page.keyboard.press("Enter")
        wait_for_image(page, f"vessel-{count - 1:05d}")
        drawn(page)
        page.get_by_test_id("advance").press("Enter")
        slowed(page, 300)
        keys = ["r" if number % 3 else "a" for number in range(count)]
        for key in keys:
            page.keyboard.press(key)
            page.wait_for_timeout(250)
        words = {"a": "accepted", "r": "rejected"}
        wanted = {f"vessel-{count - 1 - n:05d}": words[key] for n, key in enumerate(keys)}
        last = ds["vessel-00000"]
        end = time.monotonic() + 120
        while last.curation().verdict is None and time.monotonic() < end:
            page.wait_for_timeout(50)
        visits.leave()
        assert verdicts(ds) == wanted
