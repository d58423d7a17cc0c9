"""Two images, or two curves of one, side by side with axes that move together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from tests.viewer.web.browser import Visits, settle

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from kymflow_zarr.viewer.web.serving import Viewer


@pytest.fixture
def pair(tmp_path: Path, visits: Visits) -> Iterator[Viewer]:
    """Two kymographs of 4 s, of lines of 1 ms and of 2 ms, with two variants of a velocity."""
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for name, lines in (("fast", 4000), ("slow", 2000)):
            pixels = np.arange(lines * 30, dtype=np.uint32).reshape(lines, 30)
            rec = ds.add_image(pixels, image_id=name, line_period_s=4 / lines, pixel_size_um=0.5)
            for variant in ("radon", "xcorr"):
                frame = pd.DataFrame({"time_s": np.arange(0, 4, 0.1), "velocity_mm_s": 1.0})
                rec.save_df_parquet(f"velocity/{variant}", frame)
        with ds.view(edit=True, who="ada") as server:
            yield server
            visits.leave()


def seen(page: Page, side: str) -> list[float]:
    """Return the times in s at the left and right edge of a side."""
    page.locator(
        f"[data-testid=half-{side}] [data-testid=image-canvas][data-drawn=true]"
    ).wait_for()
    settle(page)
    half = page.get_by_test_id(f"half-{side}")
    view = half.get_by_test_id("image-canvas").get_attribute("data-view") or ""
    x0, x1, _, _ = view.split(",")
    step = {"fast": 0.001, "slow": 0.002}[half.get_attribute("data-image-id") or ""]
    return [float(x0) * step, float(x1) * step]


def becomes(page: Page, condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        page.wait_for_timeout(20)


def span(page: Page, side: str) -> float:
    first, last = seen(page, side)
    return last - first


def together(page: Page) -> bool:
    return seen(page, "a") == pytest.approx(seen(page, "b"), abs=0.01)


def test_two_images_of_the_gallery_are_zoomed_and_moved_together(
    pair: Viewer, visits: Visits
) -> None:
    page = visits.open(pair, "/")
    page.get_by_test_id("choose").nth(0).click()
    page.get_by_test_id("choose").nth(1).click()
    page.get_by_test_id("compare").click()
    assert seen(page, "a") == seen(page, "b") == [0, 4]
    page.get_by_test_id("half-a").get_by_test_id("image-canvas").hover()
    page.mouse.wheel(0, -600)
    becomes(page, lambda: span(page, "a") < 3 and together(page))
    before = span(page, "a")
    page.get_by_test_id("half-b").get_by_test_id("image-canvas").hover()
    page.mouse.wheel(0, -300)
    becomes(page, lambda: span(page, "b") < before and together(page))
    page.get_by_test_id("compare-linked").uncheck()
    left = seen(page, "a")
    page.get_by_test_id("half-b").get_by_test_id("image-canvas").hover()
    page.mouse.wheel(0, 2000)
    becomes(page, lambda: span(page, "b") > left[1] - left[0] + 0.1)
    assert seen(page, "a") == left


def test_two_curves_of_one_image_stand_side_by_side(pair: Viewer, visits: Visits) -> None:
    page = visits.open(pair, "/image/fast")
    page.get_by_test_id("compare").click()
    select = page.get_by_test_id("half-b").get_by_test_id("series-select")
    select.select_option("parquet:velocity/xcorr:velocity_mm_s")
    page.wait_for_url("**curve_b=**")
    page.reload()
    chosen = [
        page.get_by_test_id(f"half-{side}").get_by_test_id("series-select").input_value()
        for side in "ab"
    ]
    assert chosen == [f"parquet:velocity/{name}:velocity_mm_s" for name in ("radon", "xcorr")]
    page.get_by_test_id("half-b").get_by_test_id("compare-right").click()
    page.locator('[data-testid=half-b][data-image-id="slow"]').wait_for()
    becomes(page, lambda: together(page))
