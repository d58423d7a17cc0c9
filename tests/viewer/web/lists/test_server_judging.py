"""Many images judged by one request."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from kymflow_zarr.testing import state_of
from tests.viewer.web.site import ORIGIN, ask, client_of

PHOTO = "É # %2e photo"


@pytest.fixture
def editor(dataset: ZarrDataset) -> TestClient:
    return client_of(dataset, edit=True)


def post(client: TestClient, address: str, body: Any, status: int = 200) -> Any:
    response = client.post(address, json=body, headers={"Origin": ORIGIN})
    assert response.status_code == status, response.text
    return response.json()


def test_one_request_judges_the_images_of_a_list(editor: TestClient, dataset: ZarrDataset) -> None:
    listed = ask(editor, "/api/ids")["rows"]
    assert {row["image_id"]: row["verdict"] for row in listed} == {
        "kymo": None, "stack": None, PHOTO: None,
    }  # fmt: skip
    assert ask(editor, "/api/ids?offset=1&limit=1")["rows"] == listed[1:2]
    ids = [row["image_id"] for row in listed]
    done = post(editor, "/api/judge", {"ids": ids, "verdict": "rejected", "seen": {}})
    assert {ds.curation().verdict for ds in dataset.iter_records()} == {"rejected"}
    assert dataset["kymo"].curation().history[0].who == "tester"
    assert len(ask(editor, "/api/ids?where=verdict:eq:rejected")["rows"]) == 3
    post(editor, "/api/judge/undo", {"edit_id": done["edit_id"], "ids": ids})
    assert {ds.curation().verdict for ds in dataset.iter_records()} == {None}


def test_a_request_that_saw_another_verdict_is_refused(
    editor: TestClient, dataset: ZarrDataset
) -> None:
    with dataset["stack"].edit(who="bob") as edit:
        edit.set_verdict("accepted")
    before = state_of(dataset)
    body = {"ids": ["kymo", "stack"], "verdict": "rejected"}
    error = post(editor, "/api/judge", {**body, "seen": {"kymo": None, "stack": None}}, 409)
    assert "stack is accepted" in error["error"]["what"]
    assert state_of(dataset) == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ([], 400),
        ({}, 400),
        ({"ids": [], "verdict": None}, 400),
        ({"ids": "kymo", "verdict": None}, 400),
        ({"ids": [1], "verdict": None}, 400),
        ({"ids": ["kymo"]}, 400),
        ({"ids": ["kymo"], "verdict": "fine"}, 400),
        ({"ids": ["kymo"], "verdict": ["accepted"]}, 400),
        ({"ids": ["kymo"], "verdict": None, "seen": []}, 400),
        ({"ids": ["kymo", "nowhere"], "verdict": "accepted"}, 404),
        ({"ids": ["x"] * 5001, "verdict": None}, 400),
    ],
)
def test_a_wrong_request_changes_nothing(
    editor: TestClient, dataset: ZarrDataset, body: Any, status: int
) -> None:
    before = state_of(dataset)
    post(editor, "/api/judge", body, status)
    assert state_of(dataset) == before


def test_a_page_for_looking_only_judges_nothing(client: TestClient, dataset: ZarrDataset) -> None:
    before = state_of(dataset)
    post(client, "/api/judge", {"ids": ["kymo"], "verdict": "accepted"}, 403)
    post(client, "/api/judge/undo", {"edit_id": "x", "ids": ["kymo"]}, 403)
    assert state_of(dataset) == before
