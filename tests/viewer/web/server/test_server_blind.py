"""A blind page: nothing that it is sent tells what is hidden, and what it writes says so."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from starlette.testclient import TestClient

from kymflow_zarr import RectRoi, ZarrDataset
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.testing import state_of
from kymflow_zarr.viewer.web.lists import live
from tests.viewer.web.site import ORIGIN, ask, client_of

# Each is written into everything that can hold a text.
SECRETS = ("Zyxol", "2025-11-30", "mouse-Quagga")
CODE = re.compile(r"[0-9a-f]{12}")


@pytest.fixture
def secret(tmp_path: Path) -> Iterator[ZarrDataset]:
    """Four images in which all texts tell their condition."""
    text = " ".join(SECRETS)
    with ZarrDataset(tmp_path / f"{SECRETS[0]}.zarr", "w-", durability="relaxed") as ds:
        for number in range(4):
            rec = ds.add_image(
                np.full((40, 20), number, np.uint16), image_id=f"{SECRETS[0]} {number}",
                line_period_s=0.01, pixel_size_um=0.5,
            )  # fmt: skip
            rec.save_metadata_payload(
                {
                    "header": {"Date": text},
                    "experiment_metadata": {"condition": SECRETS[0], "date": text, "note": text},
                    "rois": [],
                }
            )
            rec.save_json("provenance", {"original_path": f"/{text}/x.tif"})
            rec.save_json(f"{SECRETS[0]}/remark", {"text": text})
            rec.save_rois([RectRoi(roi_id=1, x0=0, x1=9, y0=0, y1=9, name=text, note=text)])
            rec.save_df_parquet(
                "velocity", pd.DataFrame({"time_s": [0.0, 0.1], "velocity_mm_s": [1.0, 2.0]})
            )
            events = {"t_start_s": [0.1], "t_end_s": [0.2], "event_type": ["stall"],
                      "file": [text], "condition": [7.25]}  # fmt: skip
            rec.save_df_parquet("events", pd.DataFrame(events))
            with rec.edit(who="bob") as edit:
                edit.set_verdict("rejected")
                edit.set_note(text)
        ds.save_table(SECRETS[0], pd.DataFrame({"image_id": ds.list_image_ids(), "c": text}))
        yield ds


@pytest.fixture
def blind(secret: ZarrDataset) -> TestClient:
    return client_of(secret, edit=True, who="ada", blind=["condition", "date"])


def codes_of(client: TestClient) -> list[str]:
    return [row["image_id"] for row in ask(client, "/api/images")["rows"]]


def tells(response: Any) -> list[str]:
    """Return the secrets in the headers and the body of an answer, in whichever spelling."""
    sent = repr(response.headers) + response.content.decode("latin-1")
    return [each for each in (*SECRETS, "bob", "7.25", "rejected") if each in sent]


def test_no_answer_of_a_blind_page_reveals_what_is_hidden(
    blind: TestClient, secret: ZarrDataset
) -> None:
    codes = codes_of(blind)
    assert codes == sorted(codes)
    assert all(map(CODE.fullmatch, codes))
    one = codes[0]
    asked = [
        "/", f"/image/{one}", "/tables", "/about", "/api/dataset", "/api/images", "/api/ids",
        "/api/images?sort=shape", "/api/images?q=Zyxol", "/api/images?where=condition:eq:Zyxol",
        "/api/images?sort=rel_path", "/api/changes", f"/api/changes?image={one}",
        f"/api/images/{SECRETS[0]}%200", "/api/images/nowhere", f"/api/tables/{SECRETS[0]}",
        f"/download/table/{SECRETS[0]}", "/api/ids?limit=x",
    ]  # fmt: skip
    for code in codes:
        asked += [
            f"/api/images/{code}{what}"
            for what in (
                "", "?q=x", "/thumbnail", "/window?step=9,9", "/window?rows=5:2", "/histogram",
                "/series?kind=parquet&name=velocity", "/events?kind=parquet&name=events",
                "/series?kind=parquet&name=none", "/artifact?kind=json&name=provenance",
                "/artifact?kind=parquet&name=events",
            )
        ]  # fmt: skip
        asked += [f"/download/image/{code}", f"/download/artifact/{code}?kind=json&name=metadata"]
    site: Any = blind.app
    key = site.state.site.rules.zarr_key
    asked += [f"/zarr/{key}/images/{name}/zarr.json" for name in (one, f"{SECRETS[0]}%200")]
    answered = 0
    for address in asked:
        response = blind.get(address)
        answered += response.status_code == 200
        assert tells(response) == [], address
    assert answered > 30
    body = {"expect": ask(blind, f"/api/images/{one}")["revision"]}
    for changes in ([{"kind": "note", "value": "sharp"}], [{"kind": "nothing"}], [{"kind": "roi"}]):
        response = blind.post(
            f"/api/images/{one}/edit", json={**body, "changes": changes}, headers={"Origin": ORIGIN}
        )
        assert tells(response) == []


def test_no_address_of_the_server_tells_what_is_hidden(
    secret: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ask each route that a page has, blind or not, with codes, ids and names of all kinds."""
    monkeypatch.setattr(live, "_LIFE_S", 0.5)
    whole: Any = client_of(secret).app
    all_routes = {route.path: route.methods for route in whole.router.routes}
    answered = set()
    with client_of(secret, edit=True, who="ada", blind=["condition", "date"]) as client:
        site: Any = client.app
        code = codes_of(client)[0]
        image_id, key = site.state.site.blind.id_of(code), site.state.site.rules.zarr_key
        quoted_id = image_id.replace(" ", "%20")
        table, files = SECRETS[0], f"{key}/images/{quoted_id}"
        fills = {
            "image_id": [code, quoted_id],
            "rest:path": [code, quoted_id, table, f"{table}%2fx", f"{files}/zarr.json"],
            "name": ["icon.svg", table],
        }
        queries = [
            "", f"?image={code}", f"?image={quoted_id}", "?kind=parquet&name=events",
            "?kind=parquet&name=velocity", "?kind=json&name=provenance", "?as=csv", "?as=xlsx",
            "?as=png", "?value=c&by=condition",
            "?where=condition:eq:Zyxol", "?q=Zyxol&sort=condition",
        ]  # fmt: skip
        bodies: list[Any] = [
            {}, {"ids": [code], "verdict": "accepted"}, {"ids": [image_id], "verdict": "accepted"},
            {"expect": "x", "changes": [{"kind": "note", "value": "x"}]}, {"edit_id": "x"},
            {"rows": [[code, SECRETS[0][:3]]], "columns": ["image_id", "condition"]},
        ]  # fmt: skip
        for route in sorted(all_routes):
            paths = [route]
            for field in re.findall(r"{(.*?)}", route):
                # A route with a field of another name is added to `fills`.
                paths = [p.replace(f"{{{field}}}", v) for p in paths for v in fills[field]]
            takes_query = route.startswith(("/api/", "/download/")) and route != "/api/live"
            for path in paths:
                is_code = code in path or path == route
                asked = queries if takes_query and is_code else queries[:2]
                sent = [client.get(path + query) for query in asked]
                posted = bodies if "POST" in all_routes[route] else bodies[:1]
                sent += [
                    client.post(path, json=body, headers={"Origin": ORIGIN}) for body in posted
                ]
                for response in sent:
                    if response.status_code == 200:
                        answered.add(route)
                    assert tells(response) == [], response.request.url
    assert "/api/live" in answered
    # What is closed to a blind page, as it names what is hidden.
    closed = {route for route in all_routes if route.startswith(("/download/", "/zarr/"))}
    closed |= {"/api/values/{rest:path}", "/api/tables/{rest:path}"}
    closed |= {"/api/metadata", "/api/metadata/save"}
    closed |= {"/api/images/{image_id}/artifact"}
    assert not closed & answered


def test_a_blind_page_shows_pixels_curves_and_events(blind: TestClient) -> None:
    one = codes_of(blind)[0]
    facts = ask(blind, f"/api/images/{one}")
    assert facts["name"] == facts["image_id"] == one
    assert facts["shape"] == [40, 20]
    assert facts["rois"][0]["data"] == {"x0": 0, "x1": 9, "y0": 0, "y1": 9}
    (events,) = ask(blind, f"/api/images/{one}/events?kind=parquet&name=events")["rows"]
    assert events == {"t_start_s": 0.1, "t_end_s": 0.2, "event_type": "stall", "row": 0}
    series = ask(blind, f"/api/images/{one}/series?kind=parquet&name=velocity")
    assert series["groups"][0]["values"] == [1.0, 2.0]
    picture = blind.get(f"/api/images/{one}/thumbnail").content
    with Image.open(io.BytesIO(picture)) as opened:
        opened.load()
        assert getattr(opened, "text", {}) == {}
    assert ask(blind, "/api/dataset")["blind"] == ["condition", "date"]


def test_judgements_made_blind_are_of_the_right_images_and_say_so(
    blind: TestClient, secret: ZarrDataset
) -> None:
    site: Any = blind.app
    codes = {code: site.state.site.blind.id_of(code) for code in codes_of(blind)}
    wanted = {}
    for number, (code, image_id) in enumerate(codes.items()):
        wanted[image_id] = verdict = ["accepted", "rejected"][number % 2]
        body = {"ids": [code], "verdict": verdict, "seen": {code: None}}
        blind.post("/api/judge", json=body, headers={"Origin": ORIGIN})
    assert {rec.image_id: rec.curation().verdict for rec in secret.iter_records()} == wanted
    for rec in secret.iter_records():
        # A rater who comes to the verdict of the one before has an entry as well.
        last = rec.curation().history[-1]
        assert (last.who, last.blind) == ("ada", ("condition", "date"))
    assert {row["image_id"]: row["verdict"] for row in ask(blind, "/api/ids")["rows"]} == {
        code: wanted[image_id] for code, image_id in codes.items()
    }


def test_a_note_of_another_is_neither_shown_nor_lost(
    blind: TestClient, secret: ZarrDataset
) -> None:
    code = codes_of(blind)[0]
    site: Any = blind.app
    rec = secret[site.state.site.blind.id_of(code)]
    others = rec.curation().note
    for text in ("sharp", "sharp, but short", ""):
        revision = ask(blind, f"/api/images/{code}")["revision"]
        body = {"expect": revision, "changes": [{"kind": "note", "value": text}]}
        answer = blind.post(
            f"/api/images/{code}/edit", json=body, headers={"Origin": ORIGIN}
        ).json()
        shown = answer["image"]["curation"]
        assert shown["note"] == text
        assert shown["history"][-1]["changes"][0]["after"] == text
        assert rec.curation().note == (f"{others}\n{text}" if text else others)


def test_a_region_that_is_moved_blind_keeps_the_name_that_was_hidden(
    blind: TestClient, secret: ZarrDataset
) -> None:
    code = codes_of(blind)[0]
    facts = ask(blind, f"/api/images/{code}")
    (roi,) = facts["rois"]
    roi["data"] = {"x0": 1, "x1": 9, "y0": 0, "y1": 9}
    body = {"expect": facts["revision"], "changes": [{"kind": "roi", "roi": roi}]}
    assert (
        blind.post(f"/api/images/{code}/edit", json=body, headers={"Origin": ORIGIN}).status_code
        == 200
    )
    site: Any = blind.app
    (saved,) = secret[site.state.site.blind.id_of(code)].load_rois()
    assert (saved.name, saved.x0) == (" ".join(SECRETS), 1)  # type: ignore[union-attr]


def test_edits_of_others_are_not_undone_blind(blind: TestClient, secret: ZarrDataset) -> None:
    before = state_of(secret)
    code = codes_of(blind)[0]
    revision = ask(blind, f"/api/images/{code}")["revision"]
    for edit_id in (None, secret[f"{SECRETS[0]} 0"].curation().history[0].edit_id):
        body = {"expect": revision, "edit_id": edit_id}
        answer = blind.post(f"/api/images/{code}/undo", json=body, headers={"Origin": ORIGIN})
        assert answer.status_code == 400
    assert state_of(secret) == before


def test_a_damaged_image_is_listed_and_says_no_more(secret: ZarrDataset) -> None:
    folder = sorted((secret.path / "images").iterdir())[1]
    (folder / "analysis" / "curation.json").write_text(f'{{"{SECRETS[0]}":')
    (folder / "zarr.json").write_text(f'{{"{SECRETS[0]}":')
    client = client_of(secret, blind=["condition"])
    rows = ask(client, "/api/images")["rows"]
    (damaged,) = [row for row in rows if row["error"]]
    response = client.get(f"/api/images/{damaged['image_id']}")
    assert tells(response) == []
    assert response.json()["error"]


def test_codes_are_others_at_each_start(secret: ZarrDataset) -> None:
    first, second = (codes_of(client_of(secret, blind=["condition"])) for _ in range(2))
    assert not set(first) & set(second)


def test_blinding_and_unblinding_are_logged(secret: ZarrDataset) -> None:
    with pytest.raises(ArgumentError, match="'conditoin'"):
        secret.view(blind=["conditoin"])
    with pytest.raises(ArgumentError, match="nothing is hidden from 'ada'"):
        secret.unblind("ada")
    with secret.view(blind=["condition"]):
        pass  # It writes nothing, and so says nothing either.
    with secret.view(edit=True, who="ada", blind=["condition", "date"]):
        secret.judge([f"{SECRETS[0]} 1"], "accepted", who="ada")
    told = secret.unblind("ada")
    assert told.to_dict("records") == [
        {
            "image_id": f"{SECRETS[0]} 1", "condition": SECRETS[0], "date": " ".join(SECRETS),
            "verdict": "accepted",
        }
    ]  # fmt: skip
    with secret.view(edit=True, who="bob", blind=True), secret.view(edit=True, who="bob"):
        pass
    log = secret.load_table("blinding")
    assert log[["who", "event"]].to_numpy().tolist() == [
        ["ada", "blinded"], ["ada", "unblinded"], ["bob", "blinded"], ["bob", "unblinded"],
    ]  # fmt: skip
    assert log["hidden"].iloc[1] == "condition, date"
