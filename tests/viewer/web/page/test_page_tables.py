"""Tables in a real browser: gone through, sorted, plotted and taken away."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from kymflow_zarr import ZarrDataset
from tests.viewer.web.browser import HOSTILE, Visits, drawn, settle

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from kymflow_zarr.viewer.web.serving import Viewer

FLOW = "/tables/a%2Fflow"


def wait_for_total(page: Page, total: int) -> None:
    page.locator(f'[data-testid=table-count][data-total="{total}"]').wait_for()


def column(page: Page, position: int) -> list[str]:
    return page.locator(f"[data-testid=table-row] td:nth-child({position + 1})").all_text_contents()


def wait_for_first(page: Page, position: int, text: str) -> None:
    cell = page.locator(f"[data-testid=table-row] td:nth-child({position + 1})").first
    cell.get_by_text(text, exact=True).wait_for()


def test_a_table_is_paged_sorted_filtered_and_searched(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, "/tables")
    wait_for_total(page, 150)
    assert column(page, 0)[:3] == ["flow-1", "flow-1", "stack"]
    page.get_by_test_id("pager-next").click()
    wait_for_first(page, 1, "50")
    assert len(column(page, 1)) == 50
    header = page.locator('[data-testid=table-sort][data-column="speed_mm_s"]')
    header.click()
    wait_for_first(page, 1, "0")
    header.click()
    wait_for_first(page, 1, "74.5")
    page.get_by_test_id("filter-add").click()
    page.get_by_test_id("filter-column").select_option("speed_mm_s")
    page.get_by_test_id("filter-op").select_option("lt")
    page.get_by_test_id("filter-value").fill("10")
    page.get_by_test_id("filter-apply").click()
    wait_for_total(page, 20)
    wait_for_first(page, 1, "9.5")
    page.get_by_test_id("table-search").fill("rest")
    wait_for_total(page, 7)
    page.reload()
    wait_for_total(page, 7)
    assert column(page, 2) == ["rest"] * 7
    page.get_by_role("link", name="flow-1").first.click()
    drawn(page)


def test_columns_are_plotted_by_condition(visits: Visits, shown: Viewer) -> None:
    page = visits.open(shown, f"{FLOW}?px=speed_mm_s")
    chart = page.get_by_test_id("plot-chart")
    page.locator('[data-testid=plot-chart][data-kind=histogram][data-groups="1"]').wait_for()
    assert "150 values" in (page.get_by_test_id("plot-total").text_content() or "")
    settle(page)
    one = len(colors(chart.screenshot()))
    page.get_by_test_id("plot-by").select_option("state")
    page.locator('[data-testid=plot-chart][data-groups="3"]').wait_for()
    page.locator(".plot .legend").get_by_text(HOSTILE).wait_for()
    settle(page)
    assert len(colors(chart.screenshot())) > one
    # What is known of the images serves too.
    page.get_by_test_id("plot-by").select_option("condition")
    page.reload()
    page.locator("[data-testid=plot-chart][data-kind=histogram]").wait_for()
    assert "by=condition" in page.url


def colors(png: bytes) -> set[tuple[int, ...]]:
    """Return the vivid colors of a picture, roughly: those of what is plotted."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3) // 24
    vivid = pixels[np.ptp(pixels, axis=1) > 1]
    found, counts = np.unique(vivid, axis=0, return_counts=True)
    return {tuple(map(int, color)) for color in found[counts > 40]}


def test_a_table_is_taken_away_as_csv_and_parquet(
    visits: Visits, shown: Viewer, experiment: ZarrDataset, tmp_path: Path
) -> None:
    page = visits.open(shown, FLOW)
    wait_for_total(page, 150)
    table = experiment.load_table("a/flow")
    for name, read in (("CSV", pd.read_csv), ("Parquet", pd.read_parquet)):
        with page.expect_download() as coming:
            page.get_by_role("link", name=name).click()
        target = tmp_path / coming.value.suggested_filename
        coming.value.save_as(target)
        pd.testing.assert_frame_equal(read(target), table, check_dtype=False)


def test_an_artifact_is_read_and_taken_away(
    visits: Visits, shown: Viewer, experiment: ZarrDataset, tmp_path: Path
) -> None:
    page = visits.open(shown, "/image/flow-1")
    drawn(page)
    page.get_by_test_id("section-artifacts").locator("summary").first.click()
    row = page.locator('[data-testid=artifact-row][data-name="velocity"]')
    row.locator("button").first.click()
    row.get_by_test_id("artifact-view").get_by_text("velocity_mm_s").wait_for()
    with page.expect_download() as coming:
        row.get_by_role("link", name="CSV").click()
    coming.value.save_as(tmp_path / "velocity.csv")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "velocity.csv"), experiment["flow-1"].load_df_parquet("velocity")
    )


def test_a_click_on_a_point_of_a_plot_by_condition_opens_its_image(
    visits: Visits, shown: Viewer, tmp_path: Path
) -> None:
    page = visits.open(shown, f"{FLOW}?px=speed_mm_s&by=condition")
    page.get_by_test_id("plot-kind").select_option("swarm")
    page.locator("[data-testid=group-plot][data-kind=swarm]").wait_for()
    points = page.get_by_test_id("point")
    assert sorted(points.evaluate_all("all => all.map(one => one.getAttribute('href'))")) == [
        "/image/flow-1", "/image/stack",
    ]  # fmt: skip
    page.get_by_test_id("plot-kind").select_option("box")
    page.locator("[data-testid=group-plot][data-kind=box]").wait_for()
    with page.expect_download() as download:
        page.get_by_test_id("values-columns").click()
    download.value.save_as(tmp_path / "columns.csv")
    assert download.value.suggested_filename == "speed_mm_s of a_flow.csv"
    assert len(pd.read_csv(tmp_path / "columns.csv").columns) == 2
    page.locator('[data-testid=point][href="/image/stack"]').click()
    drawn(page)
    assert page.url.endswith("/image/stack")
    with page.expect_download() as figure:
        page.get_by_test_id("figure-png").click()
    figure.value.save_as(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"
