"""`ds.export_values()`: numbers for spreadsheets and statistics programs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError, LimitExceededError, TargetExistsError
from kymflow_zarr.export.sheets.excel import write_workbook

openpyxl = pytest.importorskip("openpyxl")
pytest.importorskip("xlsxwriter")

VALUES = {"a": 0.1, "b": 1 / 3, "c": 2.5}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for image_id in VALUES:
            ds.add_image(np.zeros((4, 4), np.uint8), image_id=image_id).save_metadata_payload(
                {"experiment_metadata": {"condition": "=drug" if image_id == "c" else "control"}}
            )
        ds.save_table("t", pd.DataFrame({"image_id": list(VALUES), "v": list(VALUES.values())}))
        yield ds


def cells_of(path: Path, sheet: str) -> list[list[Any]]:
    return [list(row) for row in openpyxl.load_workbook(path)[sheet].iter_rows(values_only=True)]


def test_a_csv_file_is_tidy_or_has_a_column_for_each_group(
    lab: ZarrDataset, tmp_path: Path
) -> None:
    lab.export_values(tmp_path / "t.csv", "t", "v", by="condition")
    tidy = pd.read_csv(tmp_path / "t.csv")
    assert tidy.columns.tolist() == ["condition", "image_id", "v", "n_images", "n_rows"]
    assert dict(zip(tidy["image_id"], tidy["v"], strict=True)) == VALUES
    lab.export_values(tmp_path / "c.csv", "t", "v", by="condition", layout="columns")
    assert (tmp_path / "c.csv").read_text() == f"=drug,control\n2.5,0.1\n,{1 / 3!r}\n"


def test_a_workbook_has_summary_values_and_columns(lab: ZarrDataset, tmp_path: Path) -> None:
    lab.export_values(tmp_path / "t.xlsx", "t", "v", by="condition", order=["control", "=drug"])
    summary = cells_of(tmp_path / "t.xlsx", "summary")
    assert summary[0][:5] == ["condition", "n_rows", "n_images", "n_units", "mean"]
    assert summary[2][4] == pytest.approx((0.1 + 1 / 3) / 2, rel=1e-15)
    assert cells_of(tmp_path / "t.xlsx", "columns") == [
        ["control", "=drug"], [0.1, 2.5], [1 / 3, None],
    ]  # fmt: skip
    assert [row[2] for row in cells_of(tmp_path / "t.xlsx", "values")[1:]] == [2.5, 0.1, 1 / 3]


def test_a_file_that_is_there_stays_and_a_wrong_call_leaves_none(
    lab: ZarrDataset, tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    with pytest.raises(TargetExistsError):
        lab.export_values(tmp_path / "mine.csv", "t", "v")
    assert (tmp_path / "mine.csv").read_text() == "mine"
    wrong: Any = "long"
    for name, options in (("a.txt", {}), ("a.csv", {"by": "fase"}), ("a.csv", {"layout": wrong})):
        with pytest.raises(ArgumentError):
            lab.export_values(tmp_path / name, "t", "v", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", "x.zarr"]


def test_cells_of_excel_are_what_they_are_in_the_table(tmp_path: Path) -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    frame = pd.DataFrame(
        {
            "text": ["=1+1", "http://a.b", "007"],
            "whole": [2**62, 7, -3],
            "flag": [True, False, True],
            "number": [1e-300, np.nan, np.inf],
            "when": [dt.datetime(2026, 5, 1, 12, 30), None, dt.datetime(1890, 1, 1)],
            "zoned": [dt.datetime(2026, 5, 1, 12, 30, tzinfo=zone)] * 3,
            "list": [(1, 2), None, "x"],
        },
        dtype=object,
    )
    write_workbook(tmp_path / "x.xlsx", {"a/b: a name that is longer than a sheet may have": frame})
    book = openpyxl.load_workbook(tmp_path / "x.xlsx")
    assert book.sheetnames == ["a_b_ a name that is longer than"]
    rows = [list(row) for row in book[book.sheetnames[0]].iter_rows(values_only=True)]
    assert rows[0] == list(frame.columns)
    assert rows[1] == [
        "=1+1", str(2**62), True, 1e-300, dt.datetime(2026, 5, 1, 12, 30),
        "2026-05-01T12:30:00+02:00", "(1, 2)",
    ]  # fmt: skip
    assert rows[2][:5] == ["http://a.b", 7, False, None, None]
    assert rows[3][:5] == ["007", -3, True, "inf", "1890-01-01T00:00:00"]
    assert book[book.sheetnames[0]]["A2"].data_type == "s"


def test_what_a_sheet_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LimitExceededError, match="more than a sheet holds"):
        write_workbook(tmp_path / "x.xlsx", {"t": pd.DataFrame(index=range(2**20))})
    with pytest.raises(LimitExceededError, match="letters"):
        write_workbook(tmp_path / "y.xlsx", {"t": pd.DataFrame({"a": ["x" * 40_000]})})
