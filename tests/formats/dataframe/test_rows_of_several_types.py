"""One artifact of many images, whose columns have other types in some of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError


def dataset(path: Path, **tables: pd.DataFrame) -> ZarrDataset:
    ds = ZarrDataset(path / "x.zarr")
    for image_id, table in tables.items():
        ds.add_image(np.zeros((2, 2), "uint8"), image_id=image_id).save_df_parquet("t", table)
    return ds


def test_a_folder_stored_as_a_number_is_gathered_as_text(tmp_path: Path) -> None:
    numbers = pd.DataFrame({"roi_id": [1, 2], "parent_folder": [20250722, 20250723]})
    words = pd.DataFrame({"roi_id": [1], "parent_folder": ["data"]})
    with dataset(tmp_path, a=numbers, b=words, c=numbers) as ds:
        expected = ["20250722", "20250723", "data", "20250722", "20250723"]
        assert ds.gather("t")["parent_folder"].tolist() == expected
        assert ds.gather("t", as_="arrow")["parent_folder"].to_pylist() == expected
        assert ds.gather("t", as_="dataset").to_table()["parent_folder"].to_pylist() == expected
        found = ds.sql("select count(*) n from t where parent_folder = '20250722'")
        assert found["n"].tolist() == [2]
        ds.save_table_from("pooled", "t")
        assert ds.load_table("pooled")["parent_folder"].tolist() == expected


def test_numbers_and_words_of_an_unknown_column_are_an_error(tmp_path: Path) -> None:
    with dataset(tmp_path, a=pd.DataFrame({"x": [1]}), b=pd.DataFrame({"x": ["y"]})) as ds:
        for form in ("pandas", "arrow", "dataset"):
            with pytest.raises(ArgumentError, match=r"'x'|Field x"):
                ds.gather("t", as_=form)


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_column_without_a_value_has_no_say_in_the_type(tmp_path: Path, order: str) -> None:
    tables = {
        "a": pd.DataFrame({"v": [1.0, 2.0], "comment": ["moved", None]}),
        "b": pd.DataFrame({"v": [1.0, 2.0], "comment": [np.nan, np.nan]}),
    }
    with dataset(tmp_path, **{image_id: tables[image_id] for image_id in order}) as ds:
        gathered = ds.gather("t")
        lazy = ds.gather("t", as_="dataset").to_table()
        assert gathered["comment"].dropna().tolist() == ["moved"]
        assert lazy.to_pylist() == ds.gather("t", as_="arrow").to_pylist()
        assert lazy.column_names == list(gathered.columns)
