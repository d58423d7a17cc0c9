"""`ds.gather()`: one artifact of all images as one data frame."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as pads
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr import ZarrDataset
from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.errors import (
    ArgumentError,
    ArtifactNotFoundError,
    CorruptDataError,
    RecordNotFoundError,
    SchemaValidationError,
)
from kymflow_zarr.formats.rows.gather import gather_arrow, gather_dataframe, part_of_dataframe
from tests.helpers.process_pool import process_pool

PIXELS = np.zeros((4, 4), "uint16")
NAME = "velocity_events/events"


def events(*t: float) -> pd.DataFrame:
    return pd.DataFrame({"t": t, "kind": pd.Categorical(["up"] * len(t), ["up", "down"])})


@pytest.fixture
def three(ds: ZarrDataset) -> ZarrDataset:
    """Images a, b, c; a and c have events."""
    for name in "abc":
        ds.add_image(PIXELS, image_id=name)
    ds["a"].save_df_parquet(NAME, events(1.0, 2.0))
    ds["c"].save_df_parquet(NAME, events(3.0))
    return ds


def test_rows_come_in_the_order_of_images_with_their_ids(three: ZarrDataset) -> None:
    frame = three.gather(NAME)
    assert frame.columns.tolist() == ["image_id", "t", "kind"]
    assert frame["image_id"].tolist() == ["a", "a", "c"]
    assert frame["t"].tolist() == [1.0, 2.0, 3.0]
    assert frame["kind"].dtype == pd.CategoricalDtype(["up", "down"])
    assert three.gather(NAME, ids=["c", "a"])["image_id"].tolist() == ["c", "a", "a"]


def test_arrow_is_plain(three: ZarrDataset) -> None:
    table = three.gather(NAME, as_="arrow")
    assert table.column_names == ["image_id", "t", "kind"]
    assert table["image_id"].to_pylist() == ["a", "a", "c"]
    assert table.schema.metadata is None


def test_a_dataset_takes_only_what_it_is_asked_for(three: ZarrDataset) -> None:
    dataset = three.gather(NAME, as_="dataset")
    assert dataset.schema.names == ["image_id", "t", "kind"]
    assert dataset.count_rows() == 3
    assert dataset.to_table().to_pylist() == three.gather(NAME, as_="arrow").to_pylist()
    one = dataset.to_table(columns=["t"], filter=pads.field("image_id") == "c")
    assert one.to_pydict() == {"t": [3.0]}
    # The other image need not be looked at for it.
    assert len(list(dataset.get_fragments(filter=pads.field("image_id") == "c"))) == 1


def test_other_programs_ask_a_dataset(three: ZarrDataset) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(":memory:") as connection:
        relation = connection.from_arrow(three.gather(NAME, as_="dataset"))
        found = relation.filter("t > 1.5").aggregate("image_id, sum(t) as t", "image_id")
        assert sorted(found.fetchall()) == [("a", 2.0), ("c", 3.0)]


def test_polars_scans_a_dataset(three: ZarrDataset) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.scan_pyarrow_dataset(three.gather(NAME, as_="dataset"))
    assert frame.filter(polars.col("t") > 1.5).collect()["image_id"].to_list() == ["a", "c"]


def test_a_dataset_of_artifacts_of_all_kinds(three: ZarrDataset) -> None:
    three["b"].save_df_csv_gz(NAME, pd.DataFrame({"t": [2], "n": [7]}))
    three["a"].save_df_parquet(NAME, events(1.0).set_index(pd.Index([5], name="row")))
    three["c"].save_df_parquet(NAME, events(3.0).assign(image_id="c"))
    found = three.gather(NAME, as_="dataset").to_table().to_pylist()
    assert [row["image_id"] for row in found] == ["a", "b", "c"]
    assert [row["t"] for row in found] == [1.0, 2.0, 3.0]
    assert [row["n"] for row in found] == [None, 7, None]
    assert [row["row"] for row in found] == [5, None, None]
    assert [row["kind"] for row in found] == ["up", None, "up"]


def test_errors_of_a_dataset_are_those_of_a_frame(three: ZarrDataset) -> None:
    (three.path / "images" / "a" / "analysis" / f"{NAME}.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(CorruptDataError, match="images/a"):
        three.gather(NAME, as_="dataset")
    dataset = three.gather(NAME, as_="dataset", on_error="report")
    assert list(json.loads((dataset.schema.metadata or {})[b"errors"])) == ["a"]
    assert dataset.count_rows() == 1
    with pytest.raises(ArtifactNotFoundError):
        three.gather("other", as_="dataset")
    three["b"].save_df_parquet(NAME, pd.DataFrame({"t": ["text"]}))
    with pytest.raises(ArgumentError, match="no type in common"):
        three.gather(NAME, ids=["b", "c"], as_="dataset")


def test_columns_are_united_as_in_tables(three: ZarrDataset) -> None:
    three["b"].save_df_parquet(NAME, pd.DataFrame({"n": [7], "t": [None]}))
    frame = three.gather(NAME)
    assert frame["image_id"].tolist() == ["a", "a", "b", "c"]
    assert frame["n"].tolist()[2] == 7
    assert frame["n"].isna().tolist() == [True, True, False, True]
    assert frame["t"].tolist()[0::3] == [1.0, 3.0]


def test_columns_that_do_not_go_together_name_column_and_image(three: ZarrDataset) -> None:
    three["b"].save_df_parquet(NAME, pd.DataFrame({"t": ["soon"]}))
    with pytest.raises(ArgumentError, match=r"'t'.*image 'b'"):
        three.gather(NAME)


def test_kinds(three: ZarrDataset) -> None:
    three["b"].save_df_csv_gz(NAME, events(4.0))
    three["a"].save_json(NAME, [{"t": 9.0}])
    assert three.gather(NAME)["t"].tolist() == [1.0, 2.0, 4.0, 3.0]
    assert three.gather(NAME, "csv_gz")["image_id"].tolist() == ["b"]
    assert three.gather(NAME, "json").to_dict("list") == {"image_id": ["a"], "t": [9.0]}
    three["a"].save_json("note", {"good": True})
    with pytest.raises(ArgumentError, match="list of objects"):
        three.gather("note")
    with pytest.raises(ArgumentError, match="kind"):
        three.gather(NAME, "xlsx")  # type: ignore[call-overload]


def test_images_without_it(three: ZarrDataset) -> None:
    with pytest.raises(ArtifactNotFoundError, match="'b'"):
        three.gather(NAME, missing="raise")
    with pytest.raises(ArtifactNotFoundError, match=NAME):
        three.gather("velocity_events/event")
    with pytest.raises(RecordNotFoundError, match="'d'"):
        three.gather(NAME, ids=["a", "d"])


def test_images_asked_for_that_all_have_none(three: ZarrDataset) -> None:
    for ids in ([], ["b"]):
        with pytest.raises(ArtifactNotFoundError, match=f"none of the {len(ids)} images") as info:
            three.gather(NAME, ids=ids)
        assert "Did you mean" not in str(info.value)


def test_a_damaged_file_is_named_or_reported(three: ZarrDataset) -> None:
    (three.path / "images" / "a" / "analysis" / f"{NAME}.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorruptDataError, match=f"images/a/analysis/{NAME}"):
        three.gather(NAME)
    frame = three.gather(NAME, on_error="report")
    assert frame["image_id"].tolist() == ["c"]
    assert list(frame.attrs["errors"]) == ["a"]
    metadata = three.gather(NAME, as_="arrow", on_error="report").schema.metadata
    assert list(json.loads(metadata[b"errors"])) == ["a"]


def test_row_labels_become_columns(three: ZarrDataset) -> None:
    three["b"].save_df_parquet("x", pd.DataFrame({"v": [1]}, index=pd.Index([5], name="line")))
    assert three.gather("x").to_dict("list") == {"image_id": ["b"], "line": [5], "v": [1]}
    three["b"].save_df_parquet("x", pd.DataFrame({"v": [1, 2]}).iloc[1:])
    assert three.gather("x").to_dict("list") == {"image_id": ["b"], "v": [2]}


def test_row_labels_that_are_called_like_a_column(three: ZarrDataset) -> None:
    frame = pd.DataFrame({"v": [1.0, np.nan], "w": ["x", "y"]})
    both = frame.set_index("v", drop=False)
    for kept in (both, both.set_index("w", append=True), frame.set_index(["v", "w"], drop=False)):
        three["b"].save_df_parquet("x", kept)
        found = three.gather("x").drop(columns="image_id")
        assert found.sort_index(axis=1).equals(frame.sort_index(axis=1))
    three["b"].save_df_parquet("x", pd.DataFrame({"v": [1]}, index=pd.Index([5], name="v")))
    with pytest.raises(ArgumentError, match=r"row labels.*images/b/analysis/x"):
        three.gather("x")
    assert three.gather("x", on_error="report").attrs["errors"].keys() == {"b"}


def test_a_column_of_image_ids_must_be_right(three: ZarrDataset) -> None:
    three["b"].save_df_parquet("x", pd.DataFrame({"v": [1], "image_id": ["b"]}))
    assert three.gather("x").to_dict("list") == {"image_id": ["b"], "v": [1]}
    three["b"].save_df_parquet("x", pd.DataFrame({"v": [1], "image_id": ["a"]}))
    with pytest.raises(ArgumentError, match="names other images: 'a'"):
        three.gather("x")


def test_a_table_in_one_call(three: ZarrDataset) -> None:
    assert three.save_table_from("all_events", NAME) == "tables/all_events.parquet"
    pd.testing.assert_frame_equal(three.load_table("all_events"), three.gather(NAME))
    with ZarrDataset(three.path, mode="r") as frozen, pytest.raises(PermissionError):
        frozen.save_table_from("more", NAME)


def test_progress_and_processes(three: ZarrDataset) -> None:
    seen: list[tuple[int, int, str]] = []
    with process_pool(1) as pool:
        frame = three.gather(NAME, executor=pool, progress=lambda *step: seen.append(step))
    assert frame.equals(three.gather(NAME))
    assert seen == [(1, 2, "a"), (2, 2, "c")]


columns: st.SearchStrategy[pd.Series] = st.sampled_from(
    [
        pd.Series([1.5, float("nan")], name="f"),
        pd.Series([1, 2], name="n"),
        pd.Series([None, 3], dtype="Int64", name="n"),
        pd.Series(["x", "y"], name="s"),
        pd.Series([None, None], dtype=object, name="s"),
        pd.Series([pd.Timestamp("2026-01-01"), pd.NaT], name="d"),
        pd.Series([[1], None], name="o"),
    ]
)


@given(st.lists(st.lists(columns, max_size=3, unique_by=lambda c: c.name), min_size=1, max_size=6))
def test_every_value_stays_where_it_was(drawn: list[list[pd.Series]]) -> None:
    frames = {
        f"i{i}": pd.DataFrame({c.name: c for c in listed}, index=range(2 if listed else 0))
        for i, listed in enumerate(drawn)
    }
    parts = {i: part_of_dataframe(df, i, where=i) for i, df in frames.items()}
    whole = gather_dataframe(parts)
    assert whole["image_id"].tolist() == [i for i, df in frames.items() for _ in range(len(df))]
    for image_id, df in frames.items():
        rows = whole[whole["image_id"] == image_id].reset_index(drop=True)
        for name in whole.columns[1:]:
            values = rows[name].tolist()
            given_values = df[name].tolist() if name in df else [None] * len(df)
            assert [_plain(v) for v in values] == [_plain(v) for v in given_values]
    assert gather_arrow(parts)["image_id"].to_pylist() == whole["image_id"].tolist()


def _plain(value: object) -> object:
    if isinstance(value, list | np.ndarray):
        return list(value)
    return None if pd.isna(value) else value  # type: ignore[call-overload]


def test_a_single_id_is_one_image_and_not_its_letters(three: ZarrDataset) -> None:
    three.add_image(PIXELS, image_id="ac").save_df_parquet(NAME, events(4.0))
    assert three.gather(NAME, ids="ac")["t"].tolist() == [4.0]


def damage(ds: ZarrDataset, image_id: str) -> None:
    document = ds.path / "images" / image_id / "zarr.json"
    document.write_bytes(document.read_bytes()[:-20])


@pytest.fixture
def whole(ds: ZarrDataset) -> ZarrDataset:
    for number, name in enumerate("abc"):
        ds.add_image(PIXELS, image_id=name).save_df_parquet("v", pd.DataFrame({"x": [number]}))
    return ds


@pytest.mark.parametrize("missing", ["skip", "raise"])
def test_an_image_whose_document_is_damaged_is_not_left_out_in_silence(
    whole: ZarrDataset, missing: Any
) -> None:
    damage(whole, "a")
    with pytest.raises(SchemaValidationError, match=r"images/a/zarr\.json"):
        whole.gather("v", missing=missing)
    with pytest.raises(SchemaValidationError, match=r"images/a/zarr\.json"):
        whole.sql("select count(*) from v")
    with pytest.raises(SchemaValidationError, match=r"images/a/zarr\.json"):
        whole.save_table_from("t", "v")
    rest = whole.gather("v", missing=missing, on_error="report")
    assert rest["image_id"].tolist() == ["b", "c"]
    assert list(rest.attrs["errors"]) == ["a"]


def test_a_damaged_image_without_the_artifact_is_of_no_matter(whole: ZarrDataset) -> None:
    whole.add_image(PIXELS, image_id="d")
    damage(whole, "d")
    assert whole.gather("v")["image_id"].tolist() == ["a", "b", "c"]


def test_an_image_that_is_deleted_meanwhile_is_left_out(
    whole: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Index.columns

    def slow(self: Index, names: Any) -> Any:
        table = listed(self, names)
        with ZarrDataset(whole.path, mode="r+") as other:
            if "b" in other:
                other.delete_image("b")
        return table

    monkeypatch.setattr(Index, "columns", slow)
    assert whole.gather("v")["image_id"].tolist() == ["a", "c"]
    assert whole.gather("v", as_="arrow")["image_id"].to_pylist() == ["a", "c"]
    with pytest.raises(RecordNotFoundError, match="'b'"):
        whole.gather("v", ids=["a", "b"])
