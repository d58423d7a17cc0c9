"""What others do, what is damaged, small screens: the page shows it in its place and goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import RectRoi, ZarrDataset
from tests.viewer.web.browser import Visits, drawn, loaded, picture, settle, view_of
from tests.viewer.web.loop.test_page_triage import wait_for_image

if TYPE_CHECKING:
    from playwright.sync_api import Route

    from kymflow_zarr.viewer.web.serving import Viewer


@pytest.fixture
def few(tmp_path: Path, visits: Visits) -> Iterator[tuple[ZarrDataset, Viewer]]:
    """Four images that are judged in the page."""
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for number in range(4):
            ds.add_image(np.full((40, 60), number, np.uint8), image_id=f"i{number}")
        with ds.view(edit=True, who="ada") as server:
            yield ds, server
            visits.leave()


@pytest.mark.parametrize("way", ["live", "changes"])
def test_what_another_does_appears_in_an_open_page_by_the_stream_and_without_it(
    few: tuple[ZarrDataset, Viewer], visits: Visits, way: str
) -> None:
    ds, server = few
    other = "/api/changes" if way == "live" else "/api/live"
    page = visits.open(server, "/image/i0", without=other)
    drawn(page)
    with ds["i0"].edit(who="bob") as edit:
        edit.set_verdict("rejected")
        edit.set_note("moved at the end")
    page.locator('[data-testid=verdict][data-verdict="rejected"]').wait_for()
    assert "bob" in (page.get_by_test_id("history-row").first.text_content() or "")
    gallery = visits.open(server, "/", without=other)
    gallery.locator('[data-testid=card][data-index="3"]').wait_for()
    note = gallery.locator('[data-image-id="i0"] [data-testid=card-note]')
    assert note.text_content() == " moved at the end"
    if way == "changes":
        gallery.wait_for_timeout(3500)  # It has asked once what the list is.
    with ds["i3"].edit(who="bob") as edit:
        edit.set_verdict("accepted")
    gallery.locator('[data-image-id="i3"] [data-testid=verdict-badge]').wait_for()
    gallery.get_by_test_id("gallery-search").fill("moved")
    gallery.locator('[data-testid=gallery-count][data-total="1"]').wait_for()


def test_a_key_after_another_decided_otherwise_is_sent_and_the_conflict_shown(
    few: tuple[ZarrDataset, Viewer], visits: Visits
) -> None:
    ds, server = few
    visits.expected = ["409"]
    # It is told nothing, as its network is down for a moment.
    page = visits.open(server, "/image/i0", without="/api/(changes|live)")
    drawn(page)
    page.keyboard.press("r")
    page.locator('[data-testid=verdict][data-verdict="rejected"]').wait_for()
    with ds["i0"].edit(who="bob") as edit:
        edit.set_verdict("accepted")
    page.keyboard.press("r")  # It is what the page shows, and not what is there.
    told = page.get_by_test_id("conflict")
    told.wait_for()
    assert "bob" in (told.text_content() or "")
    page.get_by_test_id("conflict-apply").click()
    page.locator('[data-testid=verdict][data-verdict="rejected"]').wait_for()
    told.wait_for(state="hidden")
    assert ds["i0"].curation().verdict == "rejected"


def test_a_conflict_of_two_notes_keeps_both_typed_texts(
    few: tuple[ZarrDataset, Viewer], visits: Visits
) -> None:
    ds, server = few
    visits.expected = ["409"]
    # The second is not told of the first, as its network was down for a moment.
    pages = [visits.open(server, "/image/i0", without="/api/(changes|live)") for _ in range(2)]
    for page, text in zip(pages, ("capillary, slow", "moved at 3 s"), strict=True):
        drawn(page)
        page.get_by_test_id("note-input").fill(text)
    first, second = pages
    first.get_by_test_id("note-save").click()
    first.get_by_test_id("history-row").wait_for()
    second.get_by_test_id("note-save").click()
    second.get_by_test_id("conflict").wait_for()
    assert ds["i0"].curation().note == "capillary, slow"
    assert second.get_by_test_id("note-input").input_value() == "moved at 3 s"
    assert second.get_by_text("Saved: capillary, slow").is_visible()
    # Nothing of it is lost if one decides later.
    second.get_by_test_id("conflict-drop").click()
    second.reload()
    drawn(second)
    assert second.get_by_test_id("note-input").input_value() == "moved at 3 s"
    with ds["i0"].edit(who="bob") as edit:
        edit.set_note("capillary, fast")
    second.get_by_test_id("note-save").click()
    second.get_by_test_id("conflict-both").click()
    second.get_by_test_id("conflict").wait_for(state="detached")
    assert ds["i0"].curation().note == "capillary, fast\nmoved at 3 s"
    note = second.get_by_test_id("note-input").input_value()
    assert note == "capillary, fast\nmoved at 3 s"


def test_damaged_images_and_artifacts_are_named_and_are_no_dead_end(
    few: tuple[ZarrDataset, Viewer], visits: Visits, tmp_path: Path
) -> None:
    ds, server = few
    folder = tmp_path / "x.zarr" / "images"
    (folder / "i1" / "zarr.json").write_text('{"broken":')
    ds["i2"].save_json("remark", {})
    ds["i2"].save_df_parquet("velocity", pd.DataFrame({"time_s": [0.0]}))
    (folder / "i2" / "analysis" / "velocity.parquet").write_bytes(b"PAR1")
    page = visits.open(server, "/image/i0")
    drawn(page)
    page.keyboard.press("]")
    wait_for_image(page, "i1")
    assert "zarr.json" in (page.get_by_test_id("error").first.text_content() or "")
    assert page.get_by_test_id("position").text_content() == "2 of 4"
    page.get_by_test_id("image-next").click()
    wait_for_image(page, "i2")
    drawn(page)
    assert "velocity cannot be shown" in (page.get_by_test_id("error").first.text_content() or "")
    page.keyboard.press("[")
    page.keyboard.press("[")
    wait_for_image(page, "i0")


def test_a_rectangle_can_be_drawn_with_keys_alone(
    few: tuple[ZarrDataset, Viewer], visits: Visits
) -> None:
    ds, server = few
    page = visits.open(server, "/image/i0")
    drawn(page)
    page.keyboard.press("d")
    page.keyboard.press("Enter")
    page.keyboard.type("vessel")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    first = int(page.get_by_test_id("roi-x0").input_value())
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.get_by_test_id("roi-row").first.wait_for()
    (roi,) = ds["i0"].load_rois()
    assert isinstance(roi, RectRoi)
    # The middle of what is seen, which depends on the window, and one sample less after the key.
    left, right, _, _ = view_of(page)
    middle = [(3 * left + right) / 4, (left + 3 * right) / 4]
    assert [first, roi.x1] == [math.floor(middle[0] + 1e-6), math.ceil(middle[1] - 1e-6)]
    assert (roi.name, roi.x0) == ("vessel", first + 1)


@pytest.mark.parametrize("path", ["/", "/image/flow-1", "/tables"])
def test_every_button_is_on_the_screen_of_a_phone(shown: Viewer, visits: Visits, path: str) -> None:
    page = visits.open(shown, path)
    page.set_viewport_size({"width": 390, "height": 800})
    if path == "/image/flow-1":
        loaded(page)
    else:
        page.locator("[data-testid=card], [data-testid=table-row]").first.wait_for()
    settle(page)
    beyond = page.evaluate(
        """() => [...document.querySelectorAll('button, a, select, input')]
          .filter((e) => e.offsetParent && !e.closest('.table-scroll, .skip'))
          .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
          .map((e) => e.dataset.testid || e.textContent)"""
    )
    assert beyond == []


def test_an_empty_dataset_says_that_it_is_empty(visits: Visits, tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr", "w-") as ds, ds.view() as server:
        page = visits.open(server, "/")
        page.get_by_text("holds no images yet").wait_for()
        visits.leave()


def test_loading_is_shown(few: tuple[ZarrDataset, Viewer], visits: Visits) -> None:
    _, server = few
    page = visits.open(server, "/image/i0")
    drawn(page)

    def late(route: Route) -> None:
        page.wait_for_timeout(900)
        route.continue_()

    page.route("**/api/images/i1*", late)
    page.get_by_test_id("image-next").click(no_wait_after=True)
    page.get_by_test_id("busy").get_by_text("Loading").wait_for(state="attached")
    wait_for_image(page, "i1")


def test_channels_are_drawn_over_each_other_and_an_rgb_picture_in_its_colors(
    visits: Visits, tmp_path: Path
) -> None:
    photo = np.zeros((3, 60, 60), np.uint8)
    photo[:, :, :30] = np.array([200, 10, 60], np.uint8)[:, None, None]
    cells = np.zeros((2, 60, 60), np.uint16)
    cells[0, :30] = 60_000
    cells[1, :, :30] = 90
    with ZarrDataset(tmp_path / "x.zarr", "w-") as ds, ds.view() as server:
        ds.add_image(photo, image_id="photo", axes="cyx")
        ds.add_image(cells, image_id="cells", axes="cyx", channel_names=["vessel", "cells"])
        page = visits.open(server, "/image/photo")
        shown = picture(page)
        middle = shown.shape[1] // 2
        assert abs(shown[150, middle - 40].astype(int) - [200, 10, 60]).max() <= 1
        assert shown[150, middle + 40].max() == 0
        page.get_by_test_id("color-map").select_option("gray")
        page.locator('[data-testid=image-canvas][data-map="gray"]').wait_for()
        assert len(set(picture(page)[150, middle - 40])) == 1
        page = visits.open(server, "/image/cells")
        page.get_by_test_id("layers").wait_for()
        page.wait_for_load_state("networkidle")
        shown = picture(page)
        middle, height = shown.shape[1] // 2, shown.shape[0]
        assert shown[80, middle + 40].tolist() == [0, 255, 0]
        assert shown[height - 110, middle - 40].tolist() == [255, 0, 255]
        assert shown[80, middle - 40].tolist() == [255, 255, 255]
        visits.leave()
