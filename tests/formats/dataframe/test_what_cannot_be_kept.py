"""What a data frame may hold and a file cannot: an error that names it, and nothing written."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import UnsupportedDataError
from kymflow_zarr.formats.dataframe.csv_gz import encode_csv_gz
from kymflow_zarr.formats.dataframe.parquet import decode_parquet, encode_parquet

BAD_NAME = "caf\udce9.tif"


def of_arrow(array: Any) -> pd.DataFrame:
    return pd.DataFrame({"s": pd.Series(pd.arrays.ArrowExtensionArray(array))})


RUN_ENDS: Any = pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array([5, 6]))
REFUSED = {
    "working days with holidays": (
        pd.DataFrame(
            {"n": [1, 2, 3]},
            index=pd.bdate_range("2025-01-01", periods=3, freq="C", holidays=["2025-01-02"]),
        ),
        "frequency",
    ),
    "an offset of two units": (
        pd.DataFrame(
            {"n": [1, 2]},
            index=pd.date_range("2025-01-01", periods=2, freq=pd.DateOffset(months=1, days=3)),
        ),
        "frequency",
    ),
    "string_view": (of_arrow(pa.array(["x", None], pa.string_view())), "column 's'"),
    "binary_view": (of_arrow(pa.array([b"x"], pa.binary_view())), "column 's'"),
    "list of views": (of_arrow(pa.array([["x"]], pa.list_(pa.string_view()))), "column 's'"),
    "list_view": (of_arrow(pa.array([[1]], pa.list_view(pa.int64()))), "column 's'"),
    "run ends": (of_arrow(RUN_ENDS), "column 's'"),
    "months": (of_arrow(pa.array([(1, 2, 3)], pa.month_day_nano_interval())), "column 's'"),
    "a column named by a bad file name": (
        pd.DataFrame([[1.0]], columns=pd.Index([BAD_NAME], dtype=object)),
        r"caf\\udce9",
    ),
    "a cell": (pd.DataFrame({"a": pd.Series([BAD_NAME], dtype=object)}), "column 'a'"),
    "a category": (
        pd.DataFrame({"a": pd.Categorical(pd.Index([BAD_NAME], dtype=object))}),
        "column 'a'",
    ),
    "the name of the index": (pd.DataFrame({"a": [1]}, index=pd.Index([5], name=BAD_NAME)), "name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_come_back_is_refused_by_name(name: str) -> None:
    df, named = REFUSED[name]
    with pytest.raises(UnsupportedDataError, match=named) as caught:
        encode_parquet(df)
    assert caught.value.hint
    if "offset" not in name and "days" not in name:
        with pytest.raises(UnsupportedDataError, match=named):
            encode_csv_gz(df)


def test_attributes_that_are_not_text_are_refused() -> None:
    df = pd.DataFrame({"a": [1]})
    df.attrs["file"] = BAD_NAME
    with pytest.raises(UnsupportedDataError, match="attrs"):
        encode_parquet(df)


@pytest.mark.parametrize("freq", ["h", "3D", "MS", "W-TUE", "QS-FEB", "B", "bh", "SME"])
def test_frequencies_that_have_a_name_come_back(freq: str) -> None:
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
    df: Any = pd.DataFrame(
        {"n": range(3)}, index=pd.date_range("2025-01-06", periods=3, freq=freq, tz=zone)
    )
    back: Any = decode_parquet(encode_parquet(df), where="t")
    pd.testing.assert_frame_equal(back, df)
    assert back.index.freq == df.index.freq


def by_frame(image_id: str, first: int) -> pd.DataFrame:
    rows = pd.DataFrame({"frame": range(first, first + 3), "image_id": image_id, "v": [1.0, 2, 3]})
    return rows.set_index("frame")


def test_numbers_of_frames_stay_with_their_rows(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        for name in ("a", "b", "c"):
            ds.add_image(np.zeros((4, 4), "uint8"), image_id=name)
        ds.save_table("flow", by_frame("a", 100))
        ds.replace_rows_for_image_id("flow", "b", by_frame("b", 500))
        assert ds.load_table("flow").index.tolist() == [100, 101, 102, 500, 501, 502]
        ds.replace_rows_for_image_ids("flow", {"a": by_frame("a", 7), "c": by_frame("c", 9)})
        assert ds.load_table("flow").index.tolist() == [500, 501, 502, 7, 8, 9, 9, 10, 11]
        ds.delete_image("b")
        table = ds.load_table("flow")
        assert table.index.name == "frame"
        assert table.index.tolist() == [7, 8, 9, 9, 10, 11]
        assert table["image_id"].tolist() == ["a"] * 3 + ["c"] * 3
        # The first rows of a table are no other case.
        ds.replace_rows_for_image_id("new", "a", by_frame("a", 100))
        ds.replace_rows_for_image_id("new", "c", by_frame("c", 200))
        assert ds.load_table("new").index.tolist() == [100, 101, 102, 200, 201, 202]


def test_numbers_of_frames_stay_in_a_table_of_several_row_groups(tmp_path: Path) -> None:
    many = pd.DataFrame({"image_id": np.repeat(["a", "b"], 50_000), "v": 1.0})
    many.index = pd.RangeIndex(1000, 101_000, name="frame")
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        ds.save_table("flow", many)
        ds.replace_rows_for_image_id("flow", "b", by_frame("b", 7))
        labels = ds.load_table("flow").index
        assert labels[[0, -1]].tolist() == [1000, 9]
        assert len(labels) == 50_003
