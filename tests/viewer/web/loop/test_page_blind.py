"""A blind page in the browser: what its user sees, and all that reached the browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from tests.viewer.web.browser import Visits, drawn

if TYPE_CHECKING:
    from kymflow_zarr.viewer.web.serving import Viewer

SECRET = "Zyxol"


@pytest.fixture
def dataset_of_two(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / f"{SECRET}.zarr", "w-", durability="relaxed") as ds:
        for number in range(6):
            name = [SECRET, "saline"][number % 2]
            rec = ds.add_image(
                np.full((60, 40), number, np.uint8), image_id=f"{name} {number}", line_period_s=0.01
            )
            rec.save_metadata_payload({"experiment_metadata": {"condition": name, "date": name}})
            rec.save_df_parquet("velocity", pd.DataFrame({"time_s": [0, 0.5], "v_mm_s": [1.0, 2]}))
        yield ds


@pytest.fixture
def blind(dataset_of_two: ZarrDataset, visits: Visits) -> Iterator[Viewer]:
    with dataset_of_two.view(edit=True, who="ada", blind=["condition", "date"]) as server:
        yield server
        visits.leave()


def test_nothing_that_reaches_the_browser_reveals_the_condition(
    blind: Viewer, visits: Visits, dataset_of_two: ZarrDataset
) -> None:
    page = visits.open(blind, "/about")
    answers: list[Any] = []
    page.context.on("response", lambda response: answers.append(response))
    page.get_by_role("link", name="Gallery").click()
    page.get_by_test_id("card").nth(5).wait_for()
    assert page.get_by_test_id("blind").text_content() == "blind"
    assert page.get_by_text("Tables", exact=True).count() == 0
    codes = [str(card.get_attribute("data-image-id")) for card in page.get_by_test_id("card").all()]
    assert codes == sorted(codes)
    seen = [page.content(), page.title()]
    page.get_by_test_id("advance").click()
    page.get_by_test_id("card").first.focus()
    page.keyboard.press("Enter")
    for code in codes:
        page.locator(f'[data-testid=image-page][data-image-id="{code}"]').wait_for()
        drawn(page)
        page.locator(".chart-head .legend").first.wait_for()
        seen += [page.content(), page.title(), page.url]
        page.keyboard.press("a" if code != codes[-1] else "r")
    page.locator('[data-testid=verdict][data-verdict="rejected"]').wait_for()
    for response in answers:
        seen += [response.url, repr(response.headers)]
        # A browser keeps no body of a stream; `test_server_blind.py` reads what it holds.
        if "event-stream" not in response.headers.get("content-type", ""):
            seen.append(response.body().decode("latin-1"))
    assert len(answers) > 20
    assert [text for text in seen if SECRET in text or "saline" in text] == []
    given = [rec.curation() for rec in dataset_of_two.iter_records()]
    assert sorted(str(one.verdict) for one in given) == ["accepted"] * 5 + ["rejected"]
    assert {one.history[-1].blind for one in given} == {("condition", "date")}
