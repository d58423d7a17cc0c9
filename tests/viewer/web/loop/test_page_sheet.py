"""Metadata of many images in the page: typed, pasted, refused by cell, undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from tests.viewer.web.browser import Visits, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from kymflow_zarr.viewer.web.serving import Viewer

N = 200
PASTE = """([element, text]) => {
    const data = new DataTransfer();
    data.setData("text/plain", text);
    const init = { clipboardData: data, bubbles: true, cancelable: true };
    element.dispatchEvent(new ClipboardEvent("paste", init));
}"""


@pytest.fixture
def two_hundred(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        ds.save_metadata_fields(
            {"condition": {"choices": ["Control", "Drug"]}, "depth": {"type": "number"}}
        )
        for number in range(N):
            ds.add_image(np.zeros((4, 4), np.uint8), image_id=f"i{number:03}")
        yield ds


@pytest.fixture
def editing(two_hundred: ZarrDataset, visits: Visits) -> Iterator[Viewer]:
    with two_hundred.view(edit=True, who="ada") as server:
        yield server
        visits.leave()


def paste(page: Page, at: str, text: str) -> None:
    cell = page.locator(f'input[data-cell="{at}"]')
    cell.wait_for()
    page.evaluate(PASTE, [cell.element_handle(), text])


def write(page: Page) -> str:
    page.get_by_test_id("sheet-write").click()
    return told(page)


def told(page: Page) -> str:
    until(page, "() => document.querySelector('[data-testid=sheet]').dataset.busy === 'false'")
    return page.get_by_test_id("sheet-told").text_content() or ""


def metadata(ds: ZarrDataset) -> list[list[object]]:
    images = ds.images()
    if "condition" not in images:
        return []
    images = images.sort_values("image_id").astype(object)
    there = images[["condition", "depth"]]
    return [row for row in there.where(there.notna(), None).to_numpy().tolist() if any(row)]


def test_two_hundred_pasted_rows_are_one_commit_but_for_the_wrong_cells(
    editing: Viewer, visits: Visits, two_hundred: ZarrDataset
) -> None:
    page = visits.open(editing, "/")
    page.get_by_test_id("to-sheet").click()
    rows = [["Drug" if n % 2 else "Control", str(n)] for n in range(N)]
    rows[3][0], rows[150][1] = "drugs", "deep"
    paste(page, "0,0", "\r\n".join("\t".join(row) for row in rows) + "\r\n")
    assert told(page) == "400 cells pasted"
    assert metadata(two_hundred) == []  # Nothing is written before it is asked for.
    assert write(page) == "398 values of 200 images written, 2 refused"
    refused = page.get_by_test_id("sheet-refused").locator("li").all_text_contents()
    assert [text.partition(":")[0] for text in refused] == ["i003, condition", "i150, depth"]
    wrong = page.locator("input[aria-invalid=true]")
    typed = [wrong.nth(at).input_value() for at in range(wrong.count())]
    assert typed == ["drugs", "deep"]
    there = metadata(two_hundred)
    assert len(there) == N
    assert there[3] == [None, 3]
    assert there[150] == ["Control", None]
    assert len(set(two_hundred.history()["edit_id"])) == 1
    # The wrong ones are typed again, and are the second commit.
    wrong.first.fill("Drug")
    page.get_by_label("i150, depth").fill("150")
    assert write(page) == "2 values of 2 images written"
    assert metadata(two_hundred)[3] == ["Drug", 3]
    page.get_by_test_id("sheet-undo").click()
    assert told(page).startswith("Undone: 2 values")
    page.get_by_test_id("sheet-undo").click()
    assert told(page).startswith("Undone: 398 values")
    assert page.get_by_label("i007, condition").input_value() == ""
    assert metadata(two_hundred) == []


def test_what_was_typed_outlives_a_reload_and_is_not_written_over_what_another_wrote(
    editing: Viewer, visits: Visits, two_hundred: ZarrDataset
) -> None:
    page = visits.open(editing, "/sheet?q=i00&where=image_id:lt:i005")
    paste(page, "3,0", "Drug\t1\nDrug\t2\nDrug\t3")
    assert told(page) == "4 cells pasted; 2 lie outside of this sheet and were left out"
    with two_hundred["i003"].edit(who="bob") as edit:
        edit.set_metadata("condition", "Control")
    page.reload()
    page.get_by_label("i004, depth").wait_for()
    assert page.get_by_label("i004, depth").input_value() == "2"
    page.get_by_text("now: Control").wait_for()
    assert write(page) == "3 values of 2 images written, 1 refused"
    assert two_hundred["i003"].load_metadata_payload()["experiment_metadata"] == {
        "condition": "Control", "depth": 1,
    }  # fmt: skip
    # Now both are seen: what is written again is meant.
    assert page.get_by_label("i003, condition").input_value() == "Drug"
    assert write(page) == "1 value of 1 image written"
    assert two_hundred["i003"].load_metadata_payload()["experiment_metadata"]["condition"] == "Drug"


def test_rows_with_names_of_their_own_are_pasted_as_they_are(
    editing: Viewer, visits: Visits, two_hundred: ZarrDataset
) -> None:
    page = visits.open(editing, "/sheet")
    page.get_by_text("Paste rows that name their images").click()
    text = "file\tdepth\tanimal\ni007\t12\tA1\nnobody\t5\tA2\n"
    page.get_by_label("Rows with a header").fill(text)
    page.get_by_test_id("sheet-paste-write").click()
    page.get_by_text("row 3, file").wait_for()
    assert told(page) == "2 values of 1 image written, 1 refused from the pasted rows"
    page.get_by_label("i007, animal").wait_for()
    assert page.get_by_label("i007, animal").input_value() == "A1"
    payload = two_hundred["i007"].load_metadata_payload()
    assert payload["experiment_metadata"] == {"depth": 12, "animal": "A1"}
