"""Rows that were gathered are not read again while their files are unchanged, and never stale."""

from __future__ import annotations

import os
import time

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import CorruptDataError
from tests.engine.index.test_index import age
from tests.promises.costs.test_costs import reads

PIXELS = np.zeros((4, 4), "uint16")


@pytest.fixture
def five(ds: ZarrDataset) -> ZarrDataset:
    """Images 0 to 4 with a velocity each, all of it ten seconds old."""
    for number in range(5):
        ds.add_image(PIXELS, image_id=str(number)).save_df_parquet("v", rows(number))
    rest(ds)
    return ds


def rows(number: float) -> pd.DataFrame:
    return pd.DataFrame({"v": [number, number + 0.5], "label": ["a", None]})


def rest(ds: ZarrDataset) -> None:
    """Make what was written just now ten seconds old."""
    then = time.time() - 10
    for path in ds.path.rglob("analysis/*"):
        if path.stat().st_mtime > then + 5:
            os.utime(path, (then, then))
    age(ds)
    ds.update_manifest()


def test_a_second_question_opens_no_data_frame(five: ZarrDataset) -> None:
    first = five.gather("v")
    for ask in (lambda: five.gather("v"), lambda: five.gather("v", as_="arrow")):
        with reads(five) as counts:
            again = ask()
        assert counts["opened"] == 0
        assert len(again) == 10
    pd.testing.assert_frame_equal(five.gather("v"), first)


def test_only_what_changed_is_read_again(five: ZarrDataset) -> None:
    five.gather("v")
    five["2"].save_df_parquet("v", rows(20))
    rest(five)
    with reads(five) as counts:
        frame = five.gather("v")
    assert counts["opened"] == 1
    assert frame["v"].tolist() == [0, 0.5, 1, 1.5, 20, 20.5, 3, 3.5, 4, 4.5]


def test_sql_sees_what_another_program_wrote_in_place(five: ZarrDataset) -> None:
    pytest.importorskip("duckdb")
    query = "SELECT sum(v) AS total FROM v"
    assert five.sql(query)["total"].item() == 22.5
    rows(100).to_parquet(five.path / "images" / "1" / "analysis" / "v.parquet")
    assert five.sql(query)["total"].item() == 22.5 - 2.5 + 200.5


def test_a_file_that_is_damaged_after_it_was_gathered_is_an_error(five: ZarrDataset) -> None:
    five.gather("v")
    (five.path / "images" / "1" / "analysis" / "v.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorruptDataError):
        five.gather("v")
    frame = five.gather("v", on_error="report")
    assert list(frame.attrs["errors"]) == ["1"]


def test_a_better_kind_that_comes_later_is_taken(ds: ZarrDataset) -> None:
    rec = ds.add_image(PIXELS, image_id="a")
    rec.save_df_csv_gz("v", rows(1))
    rest(ds)
    assert ds.gather("v")["v"].tolist() == [1, 1.5]
    rec.save_df_parquet("v", rows(2))  # A moment ago: not to be cached.
    assert ds.gather("v")["v"].tolist() == [2, 2.5]
    assert ds.gather("v", "csv_gz")["v"].tolist() == [1, 1.5]


def test_what_is_done_to_the_answer_does_not_reach_the_next(five: ZarrDataset) -> None:
    frame = five.gather("v")
    frame.loc[:, "v"] = -1.0
    frame.loc[:, "label"] = "changed"
    assert five.gather("v")["v"].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5]
    assert five.gather("v")["label"].dropna().tolist() == ["a"] * 5


def test_a_deleted_image_is_gathered_no_more(five: ZarrDataset) -> None:
    five.gather("v")
    five.delete_image("3")
    assert five.gather("v")["image_id"].unique().tolist() == ["0", "1", "2", "4"]
