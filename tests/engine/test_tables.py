"""Dataset-level tables, as a user of the dataset meets them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset


def table(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_a_table_comes_back_equal(ds: ZarrDataset) -> None:
    df = table(
        image_id=["a", "b"],
        n=np.array([1, 2**63], "uint64"),
        when=pd.DatetimeIndex(["2025-01-01", pd.NaT], tz="Europe/Berlin"),
        kind=pd.Categorical(["x", "y"], categories=["y", "x", "z"], ordered=True),
    )
    assert ds.save_table("events", df) == "tables/events.parquet"
    pd.testing.assert_frame_equal(ds.load_table("events"), df)
    # Others read the same; only that categories are ordered is beyond plain Parquet.
    others = pd.read_parquet(ds.path / "tables" / "events.parquet")
    pd.testing.assert_frame_equal(others.drop(columns="kind"), df.drop(columns="kind"))
    assert others["kind"].tolist() == ["x", "y"]


def test_listing_and_deleting(ds: ZarrDataset) -> None:
    for name in ("b", "a/nested", "A"):
        ds.save_table(name, table(x=[1]))
    assert ds.list_table_names() == ["A", "a/nested", "b"]
    ds.delete_table("a/nested")
    assert ds.list_table_names() == ["A", "b"]
    assert not (ds.path / "tables" / "a").exists()
    for call in (ds.load_table, ds.delete_table):
        with pytest.raises(FileNotFoundError, match="'a/nested'"):
            call("a/nested")


def test_what_cannot_be_held_names_the_column_and_leaves_the_old_table(ds: ZarrDataset) -> None:
    ds.save_table("t", table(x=[1]))
    with pytest.raises(ValueError, match="'bad'"):
        ds.save_table("t", table(good=[1], bad=[1j]))
    assert ds.load_table("t")["x"].tolist() == [1]


def test_replacing_rows_of_one_image(ds: ZarrDataset) -> None:
    ds.save_table("t", table(image_id=["a", "b", "a"], n=[1, 2, 3]))
    ds.replace_rows_for_image_id("t", "a", table(image_id=["a"], n=[9]))
    pd.testing.assert_frame_equal(ds.load_table("t"), table(image_id=["b", "a"], n=[2, 9]))
    ds.replace_rows_for_image_id("t", "b", pd.DataFrame())
    assert ds.load_table("t")["image_id"].tolist() == ["a"]


def test_a_table_that_is_not_there_is_created(ds: ZarrDataset) -> None:
    df = table(image_id=["a"], n=[1])
    ds.replace_rows_for_image_id("t", "a", df)
    pd.testing.assert_frame_equal(ds.load_table("t"), df)


def test_new_columns_leave_integers_integers(ds: ZarrDataset) -> None:
    ds.save_table("t", table(image_id=["a"], n=[2**53 + 1], old=[True]))
    ds.replace_rows_for_image_id("t", "b", table(image_id=["b"], m=[5]))
    loaded = ds.load_table("t")
    assert loaded.columns.tolist() == ["image_id", "n", "old", "m"]
    assert loaded["n"].tolist()[0] == 2**53 + 1
    assert str(loaded["n"].dtype) == str(loaded["m"].dtype) == "Int64"
    assert str(loaded["old"].dtype) == "boolean"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (table(image_id=["a", "b"], n=[1, 2]), "'b'"),
        (table(image_id=["a", None], n=[1, 2]), "None|null|nan"),
        (table(n=[1]), "'image_id'"),
        (table(image_id=["a"], n=["text"]), "'n'"),
    ],
)
def test_wrong_rows_change_nothing(ds: ZarrDataset, rows: pd.DataFrame, says: str) -> None:
    before = table(image_id=["a", "b"], n=[1, 2])
    ds.save_table("t", before)
    with pytest.raises(ValueError, match=says):
        ds.replace_rows_for_image_id("t", "a", rows)
    pd.testing.assert_frame_equal(ds.load_table("t"), before)


def test_many_images_and_another_column_in_one_rewrite(ds: ZarrDataset) -> None:
    ds.save_table("t", table(img=["a", "b", "c"], n=[1, 2, 3]))
    ds.replace_rows_for_image_ids(
        "t", {"a": table(img=["a"], n=[7]), "c": pd.DataFrame()}, image_id_col="img"
    )
    pd.testing.assert_frame_equal(ds.load_table("t"), table(img=["b", "a"], n=[2, 7]))


def test_threads_that_replace_rows_at_once_lose_none(ds: ZarrDataset) -> None:
    ids = [f"image {i}" for i in range(24)]

    def replace(image_id: str) -> None:
        rows = table(image_id=[image_id] * 3, n=[1, 2, 3])
        ZarrDataset(ds.path, durability="relaxed").replace_rows_for_image_id("t", image_id, rows)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(replace, ids))
    assert sorted(ds.load_table("t")["image_id"]) == sorted(ids * 3)
