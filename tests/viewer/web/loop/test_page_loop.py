"""The loop of a lab from start to end: choose, judge blind, correct, un-blind, compare, hand on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from tests.helpers.operations import LONG
from tests.viewer.web.browser import Visits, drawn, point_at, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from kymflow_zarr.viewer.web.serving import Viewer

N = 100 if LONG else 12
EVENTS = "velocity_events/events"
BAD = 5  # Images of which each pixel is a multiple of this are out of focus, say.


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ZarrDataset]:
    """Kymographs of four animals, two to a condition; one condition has twice the images."""
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for number in range(1, 3 * N + 1):
            animal = ["s1", "d1", "d2", "s2", "d1", "d2"][number % 6]
            condition = {"s": "saline", "d": "drug"}[animal[0]]
            rec = ds.add_image(
                np.full((200, 40), number, np.uint16), image_id=f"{condition} {number}",
                line_period_s=0.01, pixel_size_um=0.5,
            )  # fmt: skip
            rec.save_metadata_payload(
                {"experiment_metadata": {"condition": condition, "animal": animal}}
            )
            events = {"roi_id": 1, "event_type": "stall", "t_start_s": [0.2, 1.2]}
            ends = {"t_end_s": [0.3, 1.2 + number / 1000], "user_type": "unreviewed"}
            rec.save_df_parquet(EVENTS, pd.DataFrame(events | ends))
        yield ds


@pytest.fixture
def blind(lab: ZarrDataset, visits: Visits) -> Iterator[Viewer]:
    lab.save_worklist("june", lab.worklist(N, balance="condition", seed=7))
    with lab.view(edit=True, who="ada", blind=["condition", "animal"], worklist="june") as server:
        yield server
        visits.leave()


def number_of(page: Page) -> int:
    """Read a pixel of the image that is shown."""
    point_at(page, 0.5, 0.5)
    intensity = page.get_by_test_id("readout-intensity")
    intensity.wait_for()
    return int(str(intensity.text_content()).split()[0])


def test_a_lab_goes_from_a_blind_choice_to_a_workbook(
    blind: Viewer, visits: Visits, lab: ZarrDataset, tmp_path: Path
) -> None:
    chosen = lab.load_worklist("june")
    conditions = (
        lab.images(["image_id", "condition"]).set_index("image_id").loc[chosen, "condition"]
    )
    assert conditions.value_counts().to_dict() == {"drug": N // 2, "saline": N // 2}

    page = visits.open(blind)
    page.get_by_test_id("card").first.click()
    verdicts: dict[int, str] = {}
    for at in range(1, N + 1):
        page.get_by_text(f"{at} of {N}", exact=True).wait_for()
        drawn(page)
        number = number_of(page)
        verdicts[number] = "rejected" if number % BAD == 0 else "accepted"
        page.keyboard.press(verdicts[number][0])
        page.locator(f'[data-testid=verdict][data-verdict="{verdicts[number]}"]').wait_for()
        if at < N:
            page.keyboard.press("]")

    # In the last one a stall is no stall, and another was missed.
    last = lab[next(image_id for image_id in chosen if image_id.endswith(f" {number}"))]
    page.get_by_test_id("event-row").first.click()
    page.get_by_test_id("event-facts").wait_for()
    page.keyboard.press("x")
    until(page, "() => document.querySelectorAll('[data-testid=event-row]').length === 1")
    point_at(page, 0.8, 0.5)
    page.keyboard.press("i")
    page.get_by_test_id("event-row").nth(1).wait_for()
    until(page, "() => document.querySelectorAll('[data-testid=history-row]').length === 3")

    table = lab.unblind("ada")
    names = [str(image_id).split() for image_id in table["image_id"]]
    assert table["condition"].tolist() == [condition for condition, _ in names]
    judged = dict(zip([int(number) for _, number in names], table["verdict"], strict=True))
    assert judged == verdicts
    assert {edit.blind for edit in last.curation().history} == {("condition", "animal")}

    good = table.loc[table["verdict"] == "accepted", "image_id"].tolist()
    events = lab.gather(EVENTS, ids=good)
    events["duration_s"] = events["t_end_s"] - events["t_start_s"]
    corrected = events[events["image_id"] == last.image_id]
    if last.image_id in good:
        assert len(corrected) == 2
        assert 0.2 not in corrected["t_start_s"].tolist()
    compared = lab.summary(events, "duration_s", by="condition", unit="animal")
    facts = lab.images(["image_id", "condition", "animal"])
    by_animal = (
        events.groupby("image_id")["duration_s"].mean().reset_index().merge(facts, on="image_id")
        .groupby(["condition", "animal"])["duration_s"].mean()
    )  # fmt: skip
    means = by_animal.groupby("condition").mean()
    assert compared["condition"].tolist() == ["drug", "saline"]
    assert compared["n_units"].tolist() == [2, 2]
    assert compared["n_images"].sum() == len(good)
    assert compared["mean"].to_numpy() == pytest.approx(means.to_numpy(), rel=1e-12)

    figure = lab.plot(events, "duration_s", by="condition", unit="animal").get_figure(root=True)
    assert figure is not None
    figure.savefig(tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_text(encoding="utf-8").count("saline") >= 1
    lab.export_values(tmp_path / "figure.xlsx", events, "duration_s", by="condition", unit="animal")
    sheets = pd.read_excel(tmp_path / "figure.xlsx", sheet_name=None)
    assert sheets["values"]["duration_s"].to_numpy() == pytest.approx(by_animal.to_numpy())
    assert lab.load_table("blinding")["event"].tolist() == ["blinded", "unblinded"]
