"""Judging images in the page: one commit, never over somebody else's, and back again."""

from __future__ import annotations

import time
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from tests.viewer.web.site import ORIGIN, SCRIPT, ask, client_of


@pytest.fixture
def editor(dataset: ZarrDataset) -> TestClient:
    client = client_of(dataset, edit=True)
    client.headers["Origin"] = ORIGIN
    return client


def post(client: TestClient, what: str, body: Any, status: int = 200) -> Any:
    response: httpx2.Response = client.post(f"/api/images/kymo/{what}", json=body)
    assert response.status_code == status, response.text
    return response.json()


def test_several_changes_are_one_edit_by_whom_the_server_says(
    editor: TestClient, dataset: ZarrDataset
) -> None:
    facts = ask(editor, "/api/images/kymo")
    rectangle = {"data": {"x0": 1, "x1": 5, "y0": 0, "y1": 50}, "name": "wall"}
    changes = [
        {"kind": "verdict", "value": "rejected"},
        {"kind": "note", "value": SCRIPT},
        {"kind": "roi", "roi": rectangle},
        {"kind": "remove_roi", "roi_id": 1},
        {
            "kind": "event_type", "artifact_kind": "parquet", "name": "velocity_events/events",
            "row": 1, "value": "stall",
        },
    ]  # fmt: skip
    found = post(editor, "edit", {"expect": facts["revision"], "changes": changes})
    record = dataset["kymo"]
    assert found["revision"] == record.revision != facts["revision"]
    curation = record.curation()
    assert (curation.verdict, curation.note) == ("rejected", SCRIPT)
    (entry,) = curation.history
    assert (entry.edit_id, entry.who) == (found["edit_id"], "tester")
    assert [roi.name for roi in record.load_rois()] == ["wall"]
    events = record.load_df_parquet("velocity_events/events")
    assert list(events["user_type"].astype(object)) == ["unreviewed", "stall"]
    # The answer tells what is there now, and so does the list.
    assert found["image"]["curation"]["note"] == SCRIPT
    assert found["image"] == ask(editor, "/api/images/kymo")
    (row,) = ask(editor, "/api/images?where=verdict:eq:rejected")["rows"]
    assert row["image_id"] == "kymo"
    assert dataset.verify().ok


def test_an_edit_is_undone(editor: TestClient, dataset: ZarrDataset) -> None:
    before = ask(editor, "/api/images/kymo")
    body = {"expect": before["revision"], "changes": [{"kind": "verdict", "value": "accepted"}]}
    edited = post(editor, "edit", body)
    undone = post(editor, "undo", {"expect": edited["revision"], "edit_id": edited["edit_id"]})
    assert undone["image"]["curation"]["verdict"] is None
    assert dataset["kymo"].curation().history[-1].undoes == edited["edit_id"]
    again = {"expect": undone["revision"], "edit_id": edited["edit_id"]}
    assert post(editor, "undo", again, 400)["error"]["what"]


def test_two_pages_never_overwrite_each_other(editor: TestClient, dataset: ZarrDataset) -> None:
    revision = ask(editor, "/api/images/kymo")["revision"]
    first = {"expect": revision, "changes": [{"kind": "note", "value": "first"}]}
    second = {"expect": revision, "changes": [{"kind": "note", "value": "second"}]}
    edited = post(editor, "edit", first)
    assert post(editor, "edit", second, 409)["error"]["type"] == "EditConflictError"
    post(editor, "undo", {"expect": revision, "edit_id": edited["edit_id"]}, 409)
    assert dataset["kymo"].curation().note == "first"


@pytest.mark.parametrize(
    "changes",
    [
        None, "note", [1], [{"kind": "delete"}], [{}],
        [{"kind": "verdict", "value": "maybe"}], [{"kind": "verdict", "value": True}],
        [{"kind": "note", "value": None}], [{"kind": "note"}],
        [{"kind": "roi", "roi": {"data": {"x0": 0, "x1": 99, "y0": 0, "y1": 5}}}],
        [{"kind": "roi", "roi": []}], [{"kind": "remove_roi", "roi_id": 9}],
        [{"kind": "remove_roi", "roi_id": True}],
        [{"kind": "event_type", "artifact_kind": "parquet", "name": "velocity_events/events",
          "row": 2, "value": "x"}],
        [{"kind": "event_type", "artifact_kind": "json", "name": "deep/note", "row": 0,
          "value": "x"}],
        [{"kind": "note", "value": "fine"}, {"kind": "verdict", "value": "maybe"}],
    ],
)  # fmt: skip
def test_what_is_no_change_changes_nothing(
    editor: TestClient, dataset: ZarrDataset, changes: Any
) -> None:
    revision = dataset["kymo"].revision
    response = editor.post("/api/images/kymo/edit", json={"expect": revision, "changes": changes})
    assert response.status_code in (400, 404)
    assert response.json()["error"]["what"]
    assert dataset["kymo"].revision == revision


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"changes": []}', b"[" * 100_000])
def test_a_request_that_is_none_is_refused(editor: TestClient, body: bytes) -> None:
    response = editor.post(
        "/api/images/kymo/edit", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 400


def test_a_table_of_events_that_were_edited_since_is_marked_until_it_is_saved_again(
    dataset: ZarrDataset,
) -> None:
    client = client_of(dataset, edit=True)
    events = dataset["kymo"].load_df_parquet("velocity_events/events").assign(image_id="kymo")
    with dataset["kymo"].edit() as edit:
        edit.set_event_type("velocity_events/events", 1, "before")
    time.sleep(0.02)
    dataset.save_table("pooled", events)
    assert ask(client, "/api/tables/pooled")["edited_since"] == 0
    with dataset["kymo"].edit() as edit:
        edit.set_note("no event")
    assert ask(client, "/api/tables/pooled")["edited_since"] == 0
    time.sleep(0.02)
    with dataset["kymo"].edit() as edit:
        edit.set_event_type("velocity_events/events", 0, "noise")
    assert ask(client, "/api/tables/pooled")["edited_since"] == 1
    assert ask(client, "/api/tables/a%2Fflow")["edited_since"] == 0
    time.sleep(0.02)
    dataset.save_table("pooled", events)
    assert ask(client, "/api/tables/pooled")["edited_since"] == 0
