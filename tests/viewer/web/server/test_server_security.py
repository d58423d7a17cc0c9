"""Who is answered, and what an answer may do in a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from kymflow_zarr.viewer.web.security import Rules
from tests.viewer.web.site import ORIGIN, SCRIPT, ask, client_of

JSON = {"Origin": ORIGIN, "Content-Type": "application/json"}
PAGES = ["/", "/image/kymo", "/tables", "/tables/a%2fflow", "/about"]


# Host and Origin -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:8001", "192.168.1.5:8000",
        "127.0.0.1.evil.example:8000", "", "[::1]:80", "0.0.0.0:8000", "127.0.0.1:8000:8000",
    ],
)  # fmt: skip
@pytest.mark.parametrize("address", ["/", "/api/dataset", "/download/image/kymo"])
def test_a_request_under_another_name_is_refused(
    client: TestClient, host: str, address: str
) -> None:
    assert client.get(address, headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000"])
def test_this_machine_is_known_by_its_names(client: TestClient, host: str) -> None:
    assert client.get("/api/dataset", headers={"Host": host}).status_code == 200


def test_the_ome_zarr_of_a_rebound_name_is_refused_too(
    client: TestClient, dataset: ZarrDataset
) -> None:
    rules = Rules("127.0.0.1", 8000, zarr_key="key")
    client = client_of(dataset, zarr_key="key")
    address = rules.ome_zarr_path("kymo") + "/zarr.json"
    assert client.get(address).status_code == 200
    assert client.get(address, headers={"Host": "evil.example:8000"}).status_code == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:8001", "https://127.0.0.1:8000"]
)
def test_pages_of_other_origins_get_nothing(dataset: ZarrDataset, origin: str) -> None:
    client = client_of(dataset, edit=True)
    for address in ("/api/dataset", "/api/images/kymo", "/download/table/a%2fflow"):
        response = client.get(address, headers={"Origin": origin})
        assert response.status_code == 403
        assert "access-control-allow-origin" not in response.headers
    before = dataset["kymo"].revision
    body = {"expect": before, "changes": [{"kind": "note", "value": "x"}]}
    headers = {"Origin": origin}
    assert client.post("/api/images/kymo/edit", json=body, headers=headers).status_code == 403
    assert dataset["kymo"].revision == before


@pytest.mark.parametrize("mode", ["cors", "no-cors"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pictures_and_scripts_in_pages_of_others_get_nothing(
    client: TestClient, site: str, mode: str
) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
    assert client.get("/api/images/kymo/thumbnail", headers=headers).status_code == 403


def test_a_link_in_a_page_of_others_opens_the_page(client: TestClient) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/image/kymo", headers=headers).status_code != 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Origin": ORIGIN, "Content-Type": "text/plain"},
        {"Origin": ORIGIN, "Content-Type": "application/x-www-form-urlencoded"},
        {"Origin": ORIGIN},
        {**JSON, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_what_changes_something_has_to_be_json_of_our_own_page(
    dataset: ZarrDataset, headers: dict[str, str]
) -> None:
    client = client_of(dataset, edit=True)
    before = dataset["kymo"].revision
    body = f'{{"expect": "{before}", "changes": [{{"kind": "note", "value": "x"}}]}}'
    response = client.post("/api/images/kymo/edit", content=body, headers=headers)
    assert response.status_code == 403
    assert dataset["kymo"].revision == before


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_not_answered(client: TestClient, method: str) -> None:
    assert client.request(method, "/api/images/kymo").status_code in (403, 405)


def test_a_request_that_never_ends_is_cut(dataset: ZarrDataset) -> None:
    client = client_of(dataset, edit=True)
    response = client.post("/api/images/kymo/edit", content=b" " * (2**20 + 1), headers=JSON)
    assert response.status_code == 413


# The token -------------------------------------------------------------------------------


def test_where_a_token_is_needed_no_answer_comes_without_it(dataset: ZarrDataset) -> None:
    client = client_of(dataset, token="a-secret-token", zarr_key="key")
    for address in [*PAGES, "/api/dataset", "/assets/x.js", "/download/image/kymo"]:
        for query in ("", "?token=", "?token=another-token", "?token=a-secret-toke%C3%A9"):
            response = client.get(address + query)
            assert response.status_code == 403
            assert "x.zarr" not in response.text
    client.cookies.set("kymflow_zarr_token_8000", "another-token")
    assert client.get("/api/dataset").status_code == 403
    # Other viewers know a secret of their own.
    assert client.get("/zarr/key/images/kymo/zarr.json").status_code == 200
    assert client.get("/zarr/yek/images/kymo/zarr.json").status_code == 403


def test_the_address_with_the_token_opens_the_page_and_loses_it(dataset: ZarrDataset) -> None:
    client = client_of(dataset, token="a-secret-token")
    response = client.get("/image/kymo?x=%22%3E%3Cscript%3E&token=a-secret-token")
    assert response.status_code == 200
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "a-secret-token" not in response.text
    assert "<script" not in response.text
    assert 'url=/image/kymo?x=%22%3E%3Cscript%3E"' in response.text
    assert client.get("/api/dataset").status_code == 200


def test_the_token_leads_to_no_other_host(dataset: ZarrDataset) -> None:
    client = client_of(dataset, token="a-secret-token")
    response = client.get(f"{ORIGIN}//evil.example/?token=a-secret-token")
    assert 'url=/evil.example/"' in response.text


@pytest.mark.parametrize(
    ("host", "asked", "known"),
    [
        ("0.0.0.0", "10.1.2.3:8000", True),
        ("0.0.0.0", "localhost:8000", True),
        ("0.0.0.0", "evil.example:8000", False),
        ("lab-pc", "lab-pc:8000", True),
        ("lab-pc", "LAB-PC:8000", True),
        ("lab-pc", "other:8000", False),
        ("lab-pc", "localhost:8000", False),
        ("10.1.2.3", "10.1.2.3:8000", True),
        ("10.1.2.3", "10.1.2.4:8000", False),
    ],
)
def test_other_hosts_are_known_by_what_they_were_given(host: str, asked: str, known: bool) -> None:
    assert Rules(host, 8000, "a-secret-token").is_ours(asked) is known


# What an answer may do -------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [*PAGES, "/api/dataset", "/api/images/nothing", "/download/image/kymo", "/nothing", "/a/b/c"],
)
def test_every_answer_keeps_the_browser_in(client: TestClient, address: str) -> None:
    headers = client.get(address).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "address",
    [
        "/download/image/kymo", "/download/table/a%2fflow", "/download/table/a%2fflow?as=parquet",
        "/download/artifact/kymo?kind=json&name=deep/note",
        "/download/artifact/kymo?kind=parquet&name=velocity&as=csv",
        "/download/artifact/stack?kind=array&name=mask",
    ],
)  # fmt: skip
def test_what_is_downloaded_is_never_shown(client: TestClient, address: str) -> None:
    response = client.get(address)
    assert response.status_code == 200
    assert response.headers["content-disposition"].startswith("attachment; filename")
    assert "html" not in response.headers["content-type"]
    assert "sandbox" in response.headers["content-security-policy"]


def test_a_script_in_a_text_stays_a_text(client: TestClient, dataset: ZarrDataset) -> None:
    with dataset["kymo"].edit() as edit:
        edit.set_note(SCRIPT)
    answer = client.get("/api/images/kymo")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["curation"]["note"] == SCRIPT
    assert answer.json()["metadata"]["experiment_metadata"]["remark"] == SCRIPT


def test_an_unexpected_error_reveals_nothing_internal(
    client: TestClient, dataset: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("/a/secret/path")

    monkeypatch.setattr(ZarrDataset, "record", broken)
    response = client.get("/api/images/kymo")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"


# Nothing outside the dataset -------------------------------------------------------------

OUT = ["..", "%2e%2e", "%2e%2e%2f", "..%2f..%2f", "%252e%252e%252f", "..%5c..", "%00", "/etc", "."]


@pytest.fixture
def secret(dataset: ZarrDataset) -> Path:
    path = dataset.path.parent / "secret.json"
    path.write_text('{"secret": "outside"}', encoding="utf-8")
    return path


@pytest.mark.parametrize("out", OUT)
def test_no_id_name_or_path_leads_out_of_the_dataset(
    dataset: ZarrDataset, secret: Path, out: str
) -> None:
    client = client_of(dataset, zarr_key="key")
    for address in (
        f"/api/images/{out}secret",
        f"/api/images/{out}/thumbnail",
        f"/api/images/{out}%2fsecret.json/window",
        f"/api/images/kymo/artifact?kind=json&name={out}/secret",
        f"/api/images/kymo/artifact?kind=json&name={out}%2f{out}%2f{out}%2fsecret",
        f"/api/images/kymo/artifact?kind=array&name={out}/data",
        f"/api/tables/{out}%2fsecret",
        f"/download/table/{out}secret?as=parquet",
        f"/download/artifact/kymo?kind=json&name={out}/{out}/{out}/secret",
        f"/download/image/{out}",
        f"/zarr/key/images/kymo/{out}/{out}/{out}/secret.json",
        f"/zarr/key/images/{out}/{out}/secret.json",
        f"/zarr/key/images/kymo/{out}secret.json",
        f"/zarr/key/{out}/secret.json",
        f"/assets/{out}/{out}/_app.py",
        f"/assets/{out}%2f{out}%2f_app.py",
    ):
        response = client.get(address)
        assert response.status_code in (400, 404), address
        assert "outside" not in response.text


def test_ome_zarr_is_what_the_list_of_checksums_names(dataset: ZarrDataset) -> None:
    client = client_of(dataset, zarr_key="key")
    folder = dataset.path / "images" / "kymo"
    (folder / "unlisted.json").write_text("{}", encoding="utf-8")
    for name in (
        "unlisted.json",
        "checksums.sha256",
        "data",
        "",
        "data/c/0/0/",
        "//data/zarr.json",
    ):
        assert client.get(f"/zarr/key/images/kymo/{name}").status_code == 404, name
    listed = re.findall(r"^\w{64}  (.+)$", (folder / "checksums.sha256").read_text(), re.MULTILINE)
    assert "data/c/0/0" in listed
    response = client.get("/zarr/key/images/kymo/data/c/0/0")
    assert response.content == (folder / "data/c/0/0").read_bytes()


def test_links_are_not_followed(dataset: ZarrDataset, secret: Path) -> None:
    client = client_of(dataset, zarr_key="key")
    for place, address in (
        ("images/kymo/data/c/0/0", "/zarr/key/images/kymo/data/c/0/0"),
        ("images/kymo/analysis/deep/note.json", "/download/artifact/kymo?kind=json&name=deep/note"),
        ("tables/a/flow.parquet", "/download/table/a%2fflow?as=parquet"),
    ):
        (dataset.path / place).unlink()
        (dataset.path / place).symlink_to(secret)
        response = client.get(address)
        assert response.status_code >= 400
        assert "outside" not in response.text


def test_without_edit_nothing_can_be_changed(dataset: ZarrDataset) -> None:
    client = client_of(dataset)
    before = dataset["kymo"].revision
    body = {"expect": before, "changes": [{"kind": "note", "value": "x"}]}
    response = client.post("/api/images/kymo/edit", json=body, headers={"Origin": ORIGIN})
    assert response.status_code == 403
    assert response.json()["error"]["type"] == "ReadOnlyError"
    assert dataset["kymo"].revision == before
    assert ask(client, "/api/dataset")["who"] is None
