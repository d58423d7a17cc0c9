"""A large table is read by column and by row group, and answers as a small one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.viewer.web.lists import tables
from tests.viewer.web.site import ask, client_of

QUERIES = (
    "?limit=7",
    "?offset=195&limit=7",
    "?sort=x&limit=9",
    "?sort=word&descending=true&limit=9",
    "?sort=when&limit=3",
    "?q=beta&limit=5",
    "?q=beta+true&limit=5",
    "?q=nothing",
    "?where=count:ge:150&limit=4&sort=x",
    "?where=word:eq:alpha&where=x:lt:0&limit=4",
    "?where=mixed:contains:a&limit=4",
    "?where=x:absent:",
    "/plot?x=x&y=count&by=word",
    "/plot?x=count&by=word",
)


@pytest.fixture
def many_kinds(tmp_path: Path) -> Path:
    """A table of several row groups with columns of each kind."""
    rng = np.random.default_rng(3)
    n = 200
    frame = pd.DataFrame(
        {
            "image_id": ["i"] * n,
            "x": np.where(np.arange(n) % 9 == 0, np.nan, rng.normal(size=n)),
            "count": np.arange(n, dtype=np.int32),
            "word": np.array(["alpha", "beta", "gamma"], object)[rng.integers(0, 3, n)],
            "plain": pd.Series(["Beta", None] * (n // 2), dtype="str"),
            "yes": np.arange(n) % 2 == 0,
            "when": pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 9, n), "D"),
            "mixed": [["a"], ["b", "a"], None, ["c"]] * (n // 4),
            "kind": pd.Categorical(["p", "q"] * (n // 2)),
            "large": pd.array([2**60 + 1, None] * (n // 2), dtype="Int64"),
        },
        index=pd.Index([f"r{i}" for i in range(n)], name="row name"),
    )
    path = tmp_path / "x.zarr"
    with ZarrDataset(path, "w-", durability="relaxed") as ds:
        ds.add_image(np.zeros((4, 4), np.uint8), image_id="i")
        ds.save_table("ours", frame)
        foreign = pa.Table.from_pandas(
            frame[["image_id", "x", "count", "word", "large"]], preserve_index=False
        )
        pq.write_table(foreign, path / "tables" / "theirs.parquet", row_group_size=64)
        file = path / "tables" / "ours.parquet"
        pq.write_table(pq.read_table(file), file, row_group_size=64)
    return path


@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_a_large_table_answers_as_a_small_one_does(
    many_kinds: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ZarrDataset(many_kinds, "r") as ds:
        for query in QUERIES:
            if name == "theirs" and ("mixed" in query or "when" in query or "true" in query):
                continue
            answers: list[Any] = []
            for most in (2**21, 0):
                monkeypatch.setattr(tables, "_MAX_CELLS", most)
                answers.append(ask(client_of(ds), f"/api/tables/{name}{query}"))
            assert answers[0] == answers[1], query


def test_a_csv_of_a_large_table_has_the_rows_that_are_shown(
    many_kinds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ZarrDataset(many_kinds, "r") as ds:
        texts = []
        for most in (2**21, 0):
            monkeypatch.setattr(tables, "_MAX_CELLS", most)
            answer = client_of(ds).get("/download/table/ours?as=csv&where=count:lt:9&sort=x")
            texts.append(answer.text)
        assert texts[0] == texts[1]
        assert texts[0].count("\n") == 10


def test_one_page_of_a_large_table_reads_one_row_group_of_it(
    many_kinds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_MAX_CELLS", 0)
    read: list[list[int]] = []
    original = pq.ParquetFile.read_row_groups

    def counted(self: Any, groups: list[int], **more: Any) -> Any:
        read.append(groups)
        return original(self, groups, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", counted)
    with ZarrDataset(many_kinds, "r") as ds:
        ask(client_of(ds), "/api/tables/theirs?offset=70&limit=10")
    assert read == [[1]]


def test_a_large_damaged_table_is_named(many_kinds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_MAX_CELLS", 0)
    file = many_kinds / "tables" / "theirs.parquet"
    data = bytearray(file.read_bytes())
    data[10:1500] = bytes(1490)
    file.write_bytes(data)
    with ZarrDataset(many_kinds, "r") as ds:
        error = ask(client_of(ds), "/api/tables/theirs", 422)["error"]
    assert error["where"] == "tables/theirs.parquet"
