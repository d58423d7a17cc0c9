"""Judging images in a real browser: each edit is in the dataset, none is written over another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from kymflow_zarr import RectRoi, ZarrDataset
from tests.viewer.web.browser import (
    HOSTILE,
    LINE_S,
    Visits,
    drawn,
    loaded,
    point_at,
    until,
    view_of,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from kymflow_zarr.viewer.web.serving import Viewer

FLOW = "/image/flow-1"


def wait_for_verdict(page: Page, verdict: str) -> None:
    page.locator(f'[data-testid=verdict][data-verdict="{verdict}"]').wait_for()


def wait_for_history(page: Page, count: int) -> None:
    until(page, "(n) => document.querySelectorAll('[data-testid=history-row]').length === n", count)


def test_a_verdict_is_given_by_key_and_taken_back(
    visits: Visits, editing: Viewer, mine: ZarrDataset
) -> None:
    page = visits.open(editing, FLOW)
    drawn(page)
    page.keyboard.press("a")
    wait_for_verdict(page, "accepted")
    curation = mine["flow-1"].curation()
    assert curation.verdict == "accepted"
    assert [edit.who for edit in curation.history] == ["ada"]
    page.get_by_test_id("verdict-reject").click()
    wait_for_verdict(page, "rejected")
    assert mine["flow-1"].curation().verdict == "rejected"
    page.get_by_test_id("undo").click()
    wait_for_verdict(page, "accepted")
    assert mine["flow-1"].curation().verdict == "accepted"
    assert len(mine["flow-1"].curation().history) == 3
    # The gallery knows at once.
    page.keyboard.press("g")
    card = page.locator('[data-testid=card][data-image-id="flow-1"]')
    card.get_by_text("accepted").or_(card.get_by_label("accepted")).or_(
        card.get_by_title("accepted")
    ).first.wait_for()


def test_a_note_is_saved_as_it_was_typed_and_undone(
    visits: Visits, editing: Viewer, mine: ZarrDataset
) -> None:
    page = visits.open(editing, FLOW)
    drawn(page)
    text = f"verrückt: look again {HOSTILE}\nzweite Zeile"
    page.get_by_test_id("note-input").fill(text)
    page.get_by_test_id("note-save").click()
    wait_for_history(page, 1)
    assert mine["flow-1"].curation().note == text
    page.reload()
    drawn(page)
    assert page.get_by_test_id("note-input").input_value() == text
    page.get_by_test_id("undo").click()
    wait_for_history(page, 2)
    assert mine["flow-1"].curation().note == ""
    assert page.get_by_test_id("note-input").input_value() == ""


def test_the_type_of_an_event_is_set(visits: Visits, editing: Viewer, mine: ZarrDataset) -> None:
    before = mine["flow-1"].load_df_parquet("velocity_events/events")
    page = visits.open(editing, FLOW)
    loaded(page)
    page.keyboard.press("n")
    page.keyboard.press("n")
    page.get_by_test_id("event-type-input").fill("true <b>stall</b>")
    page.get_by_test_id("event-type-save").click()
    wait_for_history(page, 1)
    after = mine["flow-1"].load_df_parquet("velocity_events/events")
    assert [*after.user_type] == ["unreviewed", "true <b>stall</b>", HOSTILE]
    assert after.drop(columns="user_type").equals(before.drop(columns="user_type"))
    page.get_by_test_id("event-row").get_by_text("true <b>stall</b>").wait_for()
    page.get_by_test_id("undo").click()
    wait_for_history(page, 2)
    assert mine["flow-1"].load_df_parquet("velocity_events/events").equals(before)


def test_a_rectangle_is_drawn_corrected_and_deleted(
    visits: Visits, editing: Viewer, mine: ZarrDataset
) -> None:
    page = visits.open(editing, FLOW)
    box = drawn(page).bounding_box()

    def place(across: float, down: float) -> tuple[float, float]:
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    page.keyboard.press("d")
    page.mouse.move(*place(0.4, 0.3))
    page.mouse.down()
    page.mouse.move(*place(0.7, 0.6), steps=4)
    page.mouse.up()
    page.get_by_test_id("roi-form").wait_for()
    page.get_by_test_id("roi-name").fill("lumen")
    shown = {
        n: int(page.get_by_test_id(f"roi-{n}").input_value()) for n in ("x0", "x1", "y0", "y1")
    }
    page.get_by_test_id("roi-save").click()
    wait_for_history(page, 1)
    roi = regions(mine)[2]
    assert {"x0": roi.x0, "x1": roi.x1, "y0": roi.y0, "y1": roi.y1} == shown
    assert roi.name == "lumen"
    # Time runs to the right: from 0.4 to 0.7 of the width are the lines.
    assert 800 < roi.y0 < 1250 < 1800 < roi.y1 < 2250
    assert 5 < roi.x0 < 16 < 20 < roi.x1 < 32

    row = page.locator('[data-testid=roi-row][data-roi="2"]')
    row.get_by_test_id("roi-edit").click()
    page.get_by_test_id("roi-y1").fill("2999")
    page.get_by_test_id("roi-save").click()
    wait_for_history(page, 2)
    assert regions(mine)[2].y1 == 2999
    row.get_by_test_id("roi-delete").click()
    row.wait_for(state="detached")
    assert [*regions(mine)] == [1]
    page.get_by_test_id("undo").click()
    row.wait_for()
    assert regions(mine)[2].y1 == 2999


def regions(dataset: ZarrDataset) -> dict[int, RectRoi]:
    return {roi.roi_id: roi for roi in dataset["flow-1"].load_rois() if isinstance(roi, RectRoi)}


def test_of_two_pages_the_second_gets_a_conflict_and_overwrites_nothing(
    visits: Visits, editing: Viewer, mine: ZarrDataset
) -> None:
    visits.expected.append("409")  # Chromium notes each refused request.
    first = visits.open(editing, FLOW)
    # The second is not told of the change, as its network is down for a moment.
    second = visits.open(editing, FLOW, without="/api/(changes|live)")
    drawn(first)
    drawn(second)
    first.get_by_test_id("note-input").fill("from the first")
    first.get_by_test_id("note-save").click()
    wait_for_history(first, 1)
    second.get_by_test_id("note-input").fill("from the second")
    second.get_by_test_id("note-save").click()
    conflict = second.get_by_test_id("conflict")
    conflict.wait_for()
    assert "from the first" in (conflict.text_content() or "")
    assert mine["flow-1"].curation().note == "from the first"
    assert len(mine["flow-1"].curation().history) == 1
    # What was typed is still there, and is written once that is asked for.
    assert second.get_by_test_id("note-input").input_value() == "from the second"
    second.get_by_test_id("conflict-apply").click()
    wait_for_history(second, 2)
    assert mine["flow-1"].curation().note == "from the second"


def test_a_program_that_edits_meanwhile_is_noticed_too(
    visits: Visits, editing: Viewer, mine: ZarrDataset
) -> None:
    visits.expected.append("409")
    page = visits.open(editing, FLOW, without="/api/(changes|live)")
    drawn(page)
    with mine["flow-1"].edit(who="a program") as edit:
        edit.set_verdict("rejected")
    page.keyboard.press("a")
    page.get_by_test_id("conflict").wait_for()
    assert mine["flow-1"].curation().verdict == "rejected"
    page.get_by_test_id("conflict-drop").click()
    wait_for_verdict(page, "rejected")


def test_a_page_for_looking_has_nothing_to_edit_with_and_is_refused(
    visits: Visits, shown: Viewer, experiment: ZarrDataset
) -> None:
    visits.expected.append("403")
    page = visits.open(shown, FLOW)
    loaded(page)
    assert "read only" in (page.get_by_test_id("mode").text_content() or "")
    page.keyboard.press("n")
    page.get_by_test_id("event-facts").wait_for()
    for name in ("verdict", "note-input", "event-type-input", "roi-draw", "roi-edit", "undo"):
        assert page.get_by_test_id(name).count() == 0
    revision = experiment["flow-1"].revision
    for key in "aru":
        page.keyboard.press(key)
    answer: Any = page.evaluate(
        """async (expect) => {
          const body = { expect, changes: [{ kind: 'verdict', value: 'accepted' }] };
          const headers = { 'Content-Type': 'application/json' };
          const address = '/api/images/flow-1/edit';
          const answer = await fetch(
            address, { method: 'POST', headers, body: JSON.stringify(body) });
          return { status: answer.status, body: await answer.json() };
        }""",
        revision,
    )
    assert answer["status"] == 403
    assert "--edit" in answer["body"]["error"]["hint"]
    assert experiment["flow-1"].revision == revision
    assert experiment["flow-1"].curation().history == ()


def test_events_are_added_moved_named_and_removed_by_mouse_and_keys(
    editing: Viewer, visits: Visits, mine: ZarrDataset
) -> None:
    page = visits.open(editing, "/image/flow-1")
    loaded(page)

    def events(count: int) -> pd.DataFrame:
        rows = "document.querySelectorAll('[data-testid=history-row]')"
        until(page, f"() => {rows}.length === {count}")
        return mine["flow-1"].load_df_parquet("velocity_events/events")

    box = drawn(page).bounding_box()
    width = box["width"]
    page.mouse.move(box["x"] + 0.6 * width, box["y"] + 4)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.65 * width, box["y"] + 4, steps=4)
    page.mouse.up()
    added = events(1).iloc[3]
    start, end = float(added["t_start_s"]), float(added["t_end_s"])
    assert 1.5 < start < end < 2.1
    assert added["roi_id"] == 1
    page.get_by_test_id("event-row").nth(3).wait_for()
    page.get_by_test_id("own-type").first.wait_for()  # The new one is chosen.
    page.keyboard.press("1")
    assert events(2).iloc[3]["user_type"] == HOSTILE
    page.mouse.move(box["x"] + 0.625 * width, box["y"] + 4)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.725 * width, box["y"] + 4, steps=4)
    page.mouse.up()
    moved = events(3).iloc[3]
    assert moved["t_start_s"] == pytest.approx(start + 0.3, abs=0.06)
    assert moved["t_end_s"] - moved["t_start_s"] == pytest.approx(end - start, abs=0.01)
    assert moved["event_id"] == added["event_id"]
    shown = "() => document.querySelector('[data-testid=event-end]').value"
    until(page, f"{shown} === '{moved['t_end_s']:g}'")
    page.get_by_test_id("event-end").fill("2.9")
    page.get_by_test_id("event-times-save").click()
    assert events(4).iloc[3]["t_end_s"] == 2.9
    page.get_by_test_id("event-facts").click()
    page.keyboard.press("x")
    assert len(events(5)) == 3
    page.get_by_test_id("undo").click()
    assert events(6).iloc[3]["t_end_s"] == 2.9


def test_i_adds_an_event_where_the_mouse_is_and_is_a_letter_in_a_field(
    editing: Viewer, visits: Visits, mine: ZarrDataset
) -> None:
    page = visits.open(editing, "/image/flow-1")
    loaded(page)
    page.get_by_test_id("note-input").fill("i")
    page.get_by_test_id("note-input").press("i")
    page.get_by_test_id("note-input").evaluate("(field) => field.blur()")
    point_at(page, 0.6, 0.5)
    x0, x1, _, _ = view_of(page)
    page.keyboard.press("i")
    page.get_by_test_id("event-row").nth(3).wait_for()
    frame = mine["flow-1"].load_df_parquet("velocity_events/events")
    assert len(frame) == 4
    added = frame.iloc[3]
    # A fiftieth of what is seen to both sides of the mouse, which is right of the axis.
    middle = (added["t_start_s"] + added["t_end_s"]) / 2 / LINE_S
    assert added["t_end_s"] - added["t_start_s"] == pytest.approx(
        (x1 - x0) * LINE_S / 25, abs=0.002
    )
    assert x0 + 0.5 * (x1 - x0) < middle < x0 + 0.65 * (x1 - x0)
    assert mine["flow-1"].curation().note == ""
