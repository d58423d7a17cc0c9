"""The metadata of many images as a sheet, as the page asks for it."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from tests.viewer.web.site import ORIGIN, ask, client_of

FIELDS: dict[str, Any] = {
    "condition": {"choices": ["Control", "Drug"]},
    "depth": {"type": "number", "unit": "um"},
}


@pytest.fixture
def editing(dataset: ZarrDataset) -> TestClient:
    dataset.save_metadata_fields(FIELDS)
    return client_of(dataset, edit=True, who="ada")


def save(client: TestClient, status: int = 200, **body: Any) -> Any:
    headers = {"Origin": ORIGIN}
    response = client.post("/api/metadata/save", json=body, headers=headers)
    assert response.status_code == status, response.text
    return response.json()


def values(client: TestClient) -> dict[str, dict[str, Any]]:
    rows = ask(client, "/api/metadata")["rows"]
    return {row["image_id"]: row["values"] for row in rows}


def test_the_sheet_has_the_fields_of_the_lab_and_all_others(editing: TestClient) -> None:
    sheet = ask(editing, "/api/metadata?q=kymo")
    assert sheet["total"] == 1
    fields = {field.pop("name"): field for field in sheet["fields"]}
    assert list(fields)[:2] == ["condition", "depth"]
    assert fields["condition"]["choices"] == ["Control", "Drug"]
    assert fields["depth"]["unit"] == "um"
    assert fields["animal"] == {}
    (row,) = sheet["rows"]
    assert (row["image_id"], row["damaged"]) == ("kymo", False)
    assert (row["values"]["animal"], row["values"]["depth"]) == ("A7", 40)


def test_wrong_cells_are_refused_and_the_rest_is_one_commit_with_one_undo(
    editing: TestClient, dataset: ZarrDataset
) -> None:
    saved = save(
        editing,
        cells={
            "kymo": {"condition": "Drug", "depth": "deep"},
            "stack": {"condition": "drug", "depth": "12.5"},
        },
        seen={"kymo": {"condition": None, "depth": 40}},
    )
    refused = [(cell["image_id"], cell["column"]) for cell in saved["refused"]]
    assert refused == [("kymo", "depth"), ("stack", "condition")]
    assert "choices" in saved["refused"][1]["reason"]
    assert sorted(saved["ids"]) == ["kymo", "stack"]
    assert saved["n_values"] == 2
    now = values(editing)
    assert (now["kymo"]["condition"], now["kymo"]["depth"]) == ("Drug", 40)
    assert (now["stack"].get("condition"), now["stack"]["depth"]) == (None, 12.5)
    assert set(dataset.history()["edit_id"]) == {saved["edit_id"]}
    assert set(dataset.history()["who"]) == {"ada"}
    undo = {"edit_id": saved["edit_id"], "ids": saved["ids"]}
    headers = {"Origin": ORIGIN}
    assert editing.post("/api/judge/undo", json=undo, headers=headers).status_code == 200
    now = values(editing)
    assert (now["kymo"].get("condition"), now["stack"]["depth"]) == (None, None)


def test_a_cell_that_another_changed_since_it_was_shown_is_refused(
    editing: TestClient, dataset: ZarrDataset
) -> None:
    with dataset["kymo"].edit(who="bob") as edit:
        edit.set_metadata("depth", 55)
    cells = {"kymo": {"depth": "60", "animal": "A8"}}
    saved = save(editing, cells=cells, seen={"kymo": {"depth": 40, "animal": "A7"}})
    (refused,) = saved["refused"]
    assert (refused["column"], refused["value"]) == ("depth", "60")
    assert "55" in refused["reason"]
    assert (values(editing)["kymo"]["depth"], values(editing)["kymo"]["animal"]) == (55, "A8")
    saved = save(editing, cells=cells, seen={"kymo": {"depth": 55, "animal": "A8"}})
    assert (saved["refused"], values(editing)["kymo"]["depth"]) == ([], 60)


def test_a_number_typed_into_a_column_of_texts_is_text(editing: TestClient) -> None:
    """As the whole column is what tells the type of a field that the lab has not agreed on."""
    save(editing, cells={"stack": {"animal": "7"}}, seen={"kymo": {"animal": "A7"}})
    assert values(editing)["stack"]["animal"] == "7"
    save(editing, cells={"stack": {"cage": "7"}}, seen={"stack": {"cage": None}})
    assert values(editing)["stack"]["cage"] == 7


def test_pasted_rows_name_their_images(editing: TestClient) -> None:
    saved = save(editing, text="image\tcondition\nstack\tDrug\nnobody\tDrug\nkymo\tdrugs\n")
    refused = [(cell["row"], cell["image_id"]) for cell in saved["refused"]]
    assert refused == [(3, None), (4, "kymo")]
    assert values(editing)["stack"]["condition"] == "Drug"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": 5},
        {"text": ""},
        {"cells": {}, "seen": {}},
        {"cells": {"kymo": {"depth": "1"}}},
        {"cells": {"kymo": "x"}, "seen": {}},
        {"cells": {"kymo": {"depth": [1]}}, "seen": {}},
        {"cells": {f"i{n}": {"depth": "1"} for n in range(5001)}, "seen": {}},
        {"cells": {"kymo": {"image_id": "x"}}, "seen": {}},
    ],
)
def test_what_is_no_sheet_is_refused(editing: TestClient, body: dict[str, Any]) -> None:
    before = values(editing)
    save(editing, 400, **body)
    assert values(editing) == before


def test_a_page_for_looking_writes_no_sheet(client: TestClient) -> None:
    save(client, 403, cells={"kymo": {"depth": "1"}}, seen={})
