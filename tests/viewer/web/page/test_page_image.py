"""One image in a real browser: what is drawn and read is what the arrays hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import RectRoi, ZarrDataset, ZarrImageRecord
from tests.viewer.web.browser import (
    LINE_S,
    PIXEL_UM,
    Visits,
    drawn,
    loaded,
    picture,
    point_at,
    settle,
    until,
    view_of,
)

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from kymflow_zarr.viewer.web.serving import Viewer

FLOW = "/image/flow-1"
BARE = "events=off&rois=off&map=gray"
# Shares of the canvas's width and height, all of them on the image.
PLACES = [(0.15, 0.2), (0.31, 0.7), (0.52, 0.35), (0.66, 0.6), (0.83, 0.25), (0.94, 0.8)]


def sample_of(read: dict[str, str]) -> tuple[int, int]:
    """Return the sample that is read: along time, across the vessel."""
    found = re.search(r"sample (\d+), (\d+)", read["text"])
    assert found is not None, read
    return int(found[1]), int(found[2])


def wait_for_event(page: Page, row: str) -> None:
    page.locator(f'[data-testid=overlay-canvas][data-selected-event="{row}"]').wait_for()


def test_a_kymograph_is_opened_with_time_to_the_right(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown)
    page.locator('[data-testid=card][data-image-id="flow-1"]').click()
    assert view_of(page) == (0, 3000, 0, 40)
    left, right = point_at(page, 0.2, 0.4), point_at(page, 0.9, 0.4)
    assert float(left["x"].split()[0]) < 1
    assert float(right["x"].split()[0]) > 2
    assert left["x"].endswith(" s")
    assert left["y"] == right["y"]
    assert left["y"].endswith(" µm")


def test_hovering_shows_time_position_intensity_and_velocity_of_the_sample(
    visits: Visits, shown: Viewer, experiment: ZarrDataset
) -> None:
    lines = experiment["flow-1"].load_array()
    velocity = experiment["flow-1"].load_df_parquet("velocity")
    page = visits.open(shown, f"{FLOW}?x=1000,1200&y=0,40")
    loaded(page)
    seen = set()
    for across, down in PLACES:
        read = point_at(page, across, down)
        line, sample = sample_of(read)
        assert 1000 <= line < 1200
        assert float(read["x"].split()[0]) == pytest.approx(line * LINE_S, abs=LINE_S)
        assert float(read["y"].split()[0]) == pytest.approx(sample * PIXEL_UM, abs=PIXEL_UM)
        assert read["intensity"] == str(lines[line, sample])
        near = (velocity.time_s - line * LINE_S).abs() <= 0.01
        number, unit = read["value-0"].split(" ", 1)
        assert unit == "mm/s"
        low, high = velocity.velocity_mm_s[near].agg(["min", "max"])
        assert low - 1e-3 <= float(number) <= high + 1e-3
        seen.add((line, sample))
    assert len(seen) == len(PLACES)


@pytest.mark.parametrize("view", ["", "x=1000,1400&y=5,35&"])
def test_the_picture_shows_the_pixels(
    visits: Visits, shown: Viewer, experiment: ZarrDataset, view: str
) -> None:
    lines = experiment["flow-1"].load_array().astype(float)
    page = visits.open(shown, f"{FLOW}?{view}{BARE}&contrast=0,5000")
    drawn(page)
    grays, values = [], []
    places = [(a, b) for a in np.linspace(0.12, 0.95, 9) for b in (0.15, 0.3, 0.5, 0.7)]
    samples = [sample_of(point_at(page, a, b)) for a, b in places]
    page.mouse.move(1, 1)
    settle(page)
    seen = picture(page)
    height, width, _ = seen.shape
    for (across, down), (line, sample) in zip(places, samples, strict=True):
        color = seen[int(down * height), int(across * width)].astype(int)
        assert np.ptp(color) <= 1  # gray
        grays.append(color[0])
        values.append(lines[line, sample])
    expected = np.array(values) / 5000 * 255
    assert np.ptp(expected) > 60
    assert np.corrcoef(grays, expected)[0, 1] > 0.995
    assert np.abs(grays - expected).max() < 12


def test_the_wheel_zooms_where_the_mouse_is_and_a_drag_moves(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, FLOW)
    before = sample_of(point_at(page, 0.7, 0.5))[0]
    whole = view_of(page)
    page.mouse.wheel(0, -300)
    until(page, "() => !document.querySelector('[data-view]').dataset.view.startsWith('0,3')")
    zoomed = view_of(page)
    assert zoomed[1] - zoomed[0] < 0.7 * (whole[1] - whole[0])
    assert zoomed[2:] == whole[2:]  # Along time alone.
    assert abs(sample_of(point_at(page, 0.7, 0.5))[0] - before) <= 2
    box = drawn(page).bounding_box()
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    settle(page)
    moved = view_of(page)
    assert moved[0] > zoomed[0]
    assert moved[1] - moved[0] == pytest.approx(zoomed[1] - zoomed[0], abs=2)
    # What was taken along is under the mouse.
    assert abs(sample_of(point_at(page, 0.5, 0.5))[0] - before) <= 4
    drawn(page).dblclick()
    page.locator('[data-view="0,3000,0,40"][data-drawn="true"]').wait_for()


def test_keys_zoom_and_show_all_of_it(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, FLOW)
    drawn(page)
    page.keyboard.press("+")
    page.locator('[data-view^="500,2500,"]').wait_for()
    page.keyboard.press("-")
    page.locator('[data-view="0,3000,0,40"]').wait_for()
    page.keyboard.press("+")
    page.keyboard.press("0")
    page.locator('[data-view="0,3000,0,40"][data-drawn="true"]').wait_for()


def test_events_are_stepped_through_with_the_keyboard(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, f"{FLOW}?x=0,600&y=0,40")
    loaded(page)
    assert page.get_by_test_id("event-row").count() == 3
    page.keyboard.press("n")
    wait_for_event(page, "0")
    page.keyboard.press("n")
    wait_for_event(page, "1")
    # It is moved to: the second is from 1.1 s to 1.4 s.
    page.locator('[data-view="950,1550,0,40"][data-drawn="true"]').wait_for()
    assert "rise" in (page.locator('[aria-selected="true"]').text_content() or "")
    page.keyboard.press("n")
    wait_for_event(page, "2")
    page.keyboard.press("n")
    page.keyboard.press("p")
    wait_for_event(page, "1")
    page.keyboard.press("Escape")
    wait_for_event(page, "")


def test_events_are_seen_as_bars(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, f"{FLOW}?{BARE}")
    loaded(page)
    page.mouse.move(1, 1)
    settle(page)
    without = picture(page)
    page.keyboard.press("e")
    settle(page)
    assert page.get_by_test_id("toggle-events").get_attribute("aria-pressed") == "true"
    changed = np.argwhere((picture(page) != without).any(axis=2))
    share = changed[:, 1] / without.shape[1]
    # Between 0.2 s and 2.5 s of 3 s, and not beside.
    assert share.min() > 0.08
    assert share.max() < 0.9
    assert len(changed) > 100


def test_the_address_shows_the_same_to_others(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, FLOW)
    loaded(page)
    page.get_by_test_id("color-map").select_option(index=2)
    page.get_by_label("Brightest", exact=True).fill("3000")
    page.get_by_label("Brightest", exact=True).press("Enter")
    drawn(page).focus()
    page.keyboard.press("n")
    wait_for_event(page, "0")
    point_at(page, 0.6, 0.5)
    page.mouse.wheel(0, -240)
    page.wait_for_url(re.compile(r"(?=.*event=0)(?=.*map=)(?=.*contrast=)(?=.*x=)"))
    settle(page)
    state = ("data-view", "data-contrast", "data-map", "data-at")
    canvas = drawn(page)
    until(
        page,
        "() => new URLSearchParams(location.search).get('x') ==="
        " document.querySelector('[data-view]').dataset.view.split(',').slice(0, 2).join(',')",
    )
    told = [canvas.get_attribute(name) for name in state]
    page.reload()
    canvas = drawn(page)
    wait_for_event(page, "0")
    assert [canvas.get_attribute(name) for name in state] == told
    address = page.url.removeprefix(shown.url.rstrip("/"))
    other = visits.open(shown, address)
    wait_for_event(other, "0")
    assert [drawn(other).get_attribute(name) for name in state] == told


def test_contrast_changes_what_is_seen(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, f"{FLOW}?{BARE}&contrast=0,5000")
    drawn(page)
    page.mouse.move(1, 1)
    dark = picture(page)[60:-60, 100:-60].mean()
    page.get_by_label("Brightest", exact=True).fill("2500")
    page.get_by_label("Brightest", exact=True).press("Enter")
    page.locator('[data-contrast="0,2500"][data-drawn="true"]').wait_for()
    assert picture(page)[60:-60, 100:-60].mean() > 1.3 * dark


def test_dark_and_light_follow_the_system_until_chosen(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, FLOW, color_scheme="light")
    drawn(page)

    def brightness() -> float:
        settle(page)
        text: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return float(np.mean([float(part) for part in re.findall(r"[\d.]+", text)[:3]]))

    assert brightness() > 200
    page.emulate_media(color_scheme="dark")
    page.locator("html[data-theme=dark]").wait_for()
    assert brightness() < 80
    assert picture(page)[-8:, :30].mean() < 80  # The canvas beside the image too.
    page.get_by_test_id("theme-toggle").click()
    page.locator("html[data-theme=light]").wait_for()
    assert brightness() > 200
    page.reload()
    drawn(page)
    assert brightness() > 200  # It was chosen.


def test_the_sliders_of_a_stack_show_its_planes(
    visits: Visits, shown: Viewer, experiment: ZarrDataset
) -> None:
    pixels = experiment["stack"].load_array()
    page = visits.open(shown, "/image/stack")
    drawn(page)

    def choose(axis: str, value: int) -> None:
        slider = page.get_by_test_id(f"slider-{axis}")
        if slider.evaluate("(e) => e.tagName") == "SELECT":
            slider.select_option(str(value))
        else:
            slider.fill(str(value))

    for t, c, z in [(0, 0, 0), (1, 0, 2), (1, 1, 1), (0, 1, 2)]:
        for axis, value in (("t", t), ("c", c), ("z", z)):
            choose(axis, value)
        until(
            page,
            "(at) => at.every((one) => document.querySelector('[data-at]')"
            ".dataset.at.split(',').includes(one))",
            [f"t:{t}", f"c:{c}", f"z:{z}"],
        )
        read = point_at(page, 0.52, 0.5)
        x, y = sample_of(read)
        assert float(read["intensity"]) == pytest.approx(pixels[t, c, z, y, x], rel=1e-4)
    page.wait_for_url(re.compile(r"at=.*c:1"))
    page.reload()
    assert "c:1" in (drawn(page).get_attribute("data-at") or "")


def test_help_names_the_keys_and_goes_away(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, FLOW)
    drawn(page)
    page.keyboard.press("?")
    page.get_by_test_id("help").wait_for()
    assert "next and previous event" in (page.get_by_test_id("help").text_content() or "")
    page.keyboard.press("Escape")
    page.get_by_test_id("help").wait_for(state="hidden")


def speed(rec: ZarrImageRecord, window: int) -> pd.DataFrame:
    roi = rec.load_rois()[0]
    assert isinstance(roi, RectRoi)
    lines = rec.load_array(np.s_[roi.y0 : roi.y1])[::window]
    return pd.DataFrame({"time_s": np.arange(len(lines)) * 0.01, "velocity_mm_s": lines.mean(1)})


def test_a_curve_says_what_it_was_made_by_and_why_it_is_out_of_date(
    mine: ZarrDataset, visits: Visits, editing: Viewer
) -> None:
    mine.compute("speed", speed, params={"window": 16}, version="1.2", ids="flow-1")
    page = visits.open(editing, f"{FLOW}?series=parquet:speed:velocity_mm_s")
    made_by = page.get_by_test_id("made-by")
    made_by.get_by_text("speed 1.2 (window 16)").first.wait_for()
    assert page.get_by_test_id("stale-curve").count() == 0
    made_by.locator("summary").click()
    made_by.get_by_test_id("result-input").get_by_text("region 1").wait_for()
    inputs = made_by.get_by_test_id("result-input").all_text_contents()
    assert [text for text in inputs if text.startswith("pixels [100:2500]")]
    with mine["flow-1"].edit(who="maria") as edit:
        edit.save_roi({"roi_id": 1, "data": {"x0": 4, "x1": 30, "y0": 200, "y1": 2500}})
    page.reload()
    why = page.get_by_test_id("stale-curve")
    why.wait_for()
    assert "region 1 was moved on" in why.inner_text()
    assert "by maria" in why.inner_text()
