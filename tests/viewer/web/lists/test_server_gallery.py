"""The list of images: searched, filtered, sorted and paged without reading the images."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from kymflow_zarr.engine.index import columns, file
from kymflow_zarr.storage.local.storage import LocalStorage
from tests.viewer.web.site import ask, client_of


@pytest.fixture
def many(tmp_path: Path) -> ZarrDataset:
    ds = ZarrDataset(tmp_path / "many.zarr", "w-", durability="relaxed")
    for i in range(12):
        rec = ds.add_image(np.zeros((4, 3 + i % 2), "uint8"), image_id=f"i{i:02d}")
        told: dict[str, object] = {"animal": f"A{i % 3}", "depth": None if i == 5 else 10 * i}
        header = {"acquired_local_epoch_ns": (1_700_000_000 + 86_400 * i) * 10**9}
        rec.save_metadata_payload({"header": header, "experiment_metadata": told})
    return ds


def ids(client: TestClient, query: str) -> list[str]:
    return [row["image_id"] for row in ask(client, f"/api/images?{query}")["rows"]]


def test_all_images_are_listed_in_order_with_what_the_dataset_says_of_them(
    client: TestClient, dataset: ZarrDataset
) -> None:
    found = ask(client, "/api/images")
    assert found["total"] == 3
    frame = dataset.images()
    assert [row["image_id"] for row in found["rows"]] == list(frame["image_id"])
    kymograph = next(row for row in found["rows"] if row["image_id"] == "kymo")
    assert set(frame.columns) | {"verdict", "thumbnail", "image_name"} == set(kymograph)
    assert kymograph["shape"] == [600, 20]
    assert kymograph["acquired"].startswith("2025-07-15T11:20:55")
    assert kymograph["verdict"] is None
    assert kymograph["n_rows:a/flow"] == 2


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=a2+i0", ["i02", "i05", "i08"]),
        ("q=A2", ["i02", "i05", "i08", "i11"]),
        ("q=nowhere", []),
        ("where=depth:ge:90", ["i09", "i10", "i11"]),
        ("where=depth:lt:20&where=animal:eq:A1", ["i01"]),
        ("where=depth:absent:", ["i05"]),
        ("where=depth:present&where=animal:eq:A2", ["i02", "i08", "i11"]),
        ("where=animal:contains:a0&limit=2", ["i00", "i03"]),
        ("where=animal:ne:A0&limit=2&offset=2", ["i04", "i05"]),
        ("where=acquired:lt:2023-11-16", ["i00", "i01"]),
        ("where=shape:contains:3&limit=3", ["i00", "i02", "i04"]),
        ("where=updated_utc:lt:2020-01-01", []),
        ("sort=depth&limit=3", ["i00", "i01", "i02"]),
        ("sort=depth&descending=true&limit=3", ["i11", "i10", "i09"]),
        ("sort=depth&offset=11", ["i05"]),
        ("sort=depth&descending=true&offset=11", ["i05"]),
        ("sort=animal&limit=5", ["i00", "i03", "i06", "i09", "i01"]),
        ("sort=animal&descending=1&limit=5", ["i02", "i05", "i08", "i11", "i01"]),
        ("sort=shape&limit=2&offset=5", ["i10", "i01"]),
    ],
)
def test_images_are_searched_filtered_and_sorted(
    many: ZarrDataset, query: str, found: list[str]
) -> None:
    assert ids(client_of(many), query) == found


@pytest.mark.parametrize(
    "query",
    [
        "where=depth", "where=depth:like:3", "where=nothing:eq:3", "where=depth:gt:deep",
        "where=acquired:gt:soon", "where=shape:lt:3", "sort=nothing", "limit=-1", "limit=5000",
        "offset=one",
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_the_reason(many: ZarrDataset, query: str) -> None:
    error = ask(client_of(many), f"/api/images?{query}", 400)["error"]
    assert error["type"] == "ArgumentError"
    assert error["what"]


def test_the_list_reads_no_image_and_goes_on_doing_so(
    many: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    many.update_manifest()
    read: list[str] = []
    original = LocalStorage.read

    def counted(self: LocalStorage, key: str) -> bytes | None:
        read.append(key)
        return original(self, key)

    client = client_of(many)
    first = ask(client, "/api/images")
    monkeypatch.setattr(LocalStorage, "read", counted)
    for query in ("q=a1", "sort=depth", "where=depth:gt:3", "offset=3&limit=2"):
        ask(client, f"/api/images?{query}")
    assert first["total"] == 12
    assert read == []


def test_a_change_is_seen(many: ZarrDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kymflow_zarr.viewer.web.lists.gallery._TRUSTED_S", -1.0)
    client = client_of(many)
    assert ask(client, "/api/dataset")["n_images"] == 12
    many.add_image([[1, 2]], image_id="new")
    many.delete_image("i03")
    with many["i04"].edit() as edit:
        edit.set_verdict("rejected")
    found = ids(client, "where=verdict:eq:rejected"), ids(client, "q=new"), ids(client, "q=i03")
    assert found == (["i04"], ["new"], [])


def test_an_image_that_is_broken_is_listed_with_the_reason(
    many: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (many.path / "images" / "i07" / "zarr.json").write_text("{", encoding="utf-8")
    (row,) = ask(client_of(many), "/api/images?q=i07")["rows"]
    assert row["error"]
    assert row["thumbnail"] is None
    answer = client_of(many).get("/api/images/i07")
    assert answer.status_code in (200, 422)
    assert "error" in answer.json()


def test_the_dataset_says_what_is_in_it(client: TestClient, dataset: ZarrDataset) -> None:
    told = ask(client, "/api/dataset")
    assert told["name"] == "x.zarr"
    assert told["dataset_id"] == dataset.dataset_id
    assert told["editable"] is False
    assert told["tables"] == [
        {"name": "a/flow", "n_rows": 3, "columns": ["image_id", "speed_mm_s", "state"]}
    ]
    kinds = {column["name"]: column["kind"] for column in told["columns"]}
    assert kinds["image_id"] == "text"
    assert kinds["shape"] == "list"
    assert kinds["depth"] == "number"
    assert kinds["acquired"] == kinds["created_utc"] == "time"


def test_the_thumbnail_of_a_row_has_an_address_that_changes_with_its_pixels(
    dataset: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kymflow_zarr.viewer.web.lists.gallery._TRUSTED_S", -1.0)
    client = client_of(dataset)
    address = f"/api/images?q={quote('photo')}"
    (before,) = ask(client, address)["rows"]
    picture = client.get(before["thumbnail"])
    assert picture.headers["content-type"] == "image/png"
    assert "immutable" in picture.headers["cache-control"]
    dataset[before["image_id"]].save_array(np.arange(72, dtype="uint8").reshape(8, 9))
    (after,) = ask(client, address)["rows"]
    assert after["thumbnail"] != before["thumbnail"]
    assert client.get(after["thumbnail"]).content != picture.content
    # What the old address shows now is not kept under it.
    assert client.get(before["thumbnail"]).headers["cache-control"] == "no-store"


def test_a_column_of_the_index_is_a_row_of_its_table(
    ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = {"n_chunks": lambda facts: len(facts.document.pixels.chunks),
            "sizes": lambda facts: {"bytes": facts.document.pixels.shape}}  # fmt: skip
    kinds: dict[str, Any] = {"n_chunks": "int64", "sizes": "json"}
    for name, kind in kinds.items():
        monkeypatch.setitem(columns.INDEX, name, columns.IndexColumn(kind, read[name]))
        monkeypatch.setitem(columns.IMAGES, name, columns.ImagesColumn(name))
    arrow = [pa.field("n_chunks", pa.int64()), pa.field("sizes", pa.string())]
    monkeypatch.setattr(file, "SCHEMA", pa.schema([*file.SCHEMA, *arrow]))
    rec = ds.add_image([[1, 2, 3]], image_id="a")
    rec.save_metadata_payload({"version": "2.0", "experiment_metadata": {"sizes": "whole"}})
    broken = ds.add_image([[1]], image_id="b")
    (ds.path / "images" / broken.image_id / "zarr.json").write_text("{")
    for _ in range(2):  # Read from the documents, then from the index file.
        frame = ds.images()
        assert frame["n_chunks"].dtype == "Int64"
        assert frame["n_chunks"].isna().tolist() == [False, True]
        assert frame["sizes"].tolist() == [{"bytes": [1, 3]}, None]
        assert frame["experiment_metadata.sizes"][0] == "whole"
        ds.update_manifest()
    # Search looks into metadata, and into no other column that is new.
    client = client_of(ds)
    assert [row["image_id"] for row in ask(client, "/api/images?q=whole")["rows"]] == ["a"]
    assert ask(client, "/api/images?q=bytes")["rows"] == []
    assert ask(client, "/api/images?where=n_chunks:eq:2")["rows"][0]["sizes"] == {"bytes": [1, 3]}


def test_a_worklist_is_all_that_the_gallery_lists_in_its_order(dataset: ZarrDataset) -> None:
    client = client_of(dataset, only=["stack", "kymo"])
    rows = ask(client, "/api/images")["rows"]
    assert [row["image_id"] for row in rows] == ["stack", "kymo"]
    facts = ask(client, "/api/images/stack")
    assert (facts["position"], facts["n_listed"], facts["next"]) == (1, 2, "kymo")
    assert ask(client, "/api/dataset")["n_images"] == 2
