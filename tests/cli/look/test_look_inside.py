"""`tables`, `head`, `cat` and `sql`: what is in a dataset, for eyes and for programs."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr import ZarrDataset
from kymflow_zarr.cli.app import app
from kymflow_zarr.cli.output.cells import flat, records
from tests.cli.run import json_of, one_error_line, run


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Two images with artifacts of every kind, and two tables."""
    path = tmp_path / "lab.zarr"
    with ZarrDataset(path, mode="w-", durability="relaxed") as ds:
        rec = ds.add_image(np.zeros((4, 5), np.uint8), image_id="vessel-1")
        ds.add_image(np.zeros((4, 5), np.uint8), image_id="vessel-2")
        rec.save_json("fit", {"speed": float("nan"), "ok": True})
        rec.save_json("peaks", [{"t_s": 1, "kind": "a"}, {"t_s": 2.5, "note": [1, 2]}])
        rec.save_df_parquet("velocity", pd.DataFrame({"t_s": np.arange(90) / 10, "v": None}))
        rec.save_df_csv_gz("radon", pd.DataFrame({"theta": [1, 2]}, index=["first", "second"]))
        rec.save_df_parquet("radon", pd.DataFrame({"theta": [7]}))
        rec.save_array_artifact("masks/vessel", np.array([[0, 1, 1], [0, 0, 1]], np.uint8))
        rec.save_array_artifact("stack", np.full((2, 2, 2), np.nan, np.float32))
        ds.save_table("flow", pd.DataFrame({"image_id": ["vessel-1"] * 30, "n": range(30)}))
        ds.save_table("empty", pd.DataFrame({"x": pd.Series([], dtype="float64")}))
    return path


def csv_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_tables_are_listed_with_what_is_in_them(lab: Path) -> None:
    assert json_of(run("tables", lab, "--json")) == [
        {"name": "empty", "rows": 0, "columns": ["x"]},
        {"name": "flow", "rows": 30, "columns": ["image_id", "n"]},
    ]
    lines = run("tables", lab).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["name", "rows"],
        ["empty", "0"],
        ["flow", "30"],
    ]


def test_a_broken_table_is_named_and_the_others_are_listed(lab: Path) -> None:
    next(lab.rglob("flow*.parquet")).write_bytes(b"no table")
    result = run("tables", lab)
    assert result.exit_code == 1
    assert "flow is broken: " in result.stdout
    assert json_of(run("tables", lab, "--json"))[0]["rows"] == 0


def test_tables_of_an_empty_dataset(tmp_path: Path) -> None:
    ZarrDataset(tmp_path / "new.zarr", mode="w-").close()
    assert "no tables yet" in run("tables", tmp_path / "new.zarr").stdout
    assert json_of(run("tables", tmp_path / "new.zarr", "--json")) == []


def test_head_prints_the_first_rows(lab: Path) -> None:
    assert len(csv_of(run("head", lab, "flow").stdout)) == 10
    assert [row["n"] for row in csv_of(run("head", lab, "flow", "-n", 3).stdout)] == ["0", "1", "2"]
    assert json_of(run("head", lab, "flow", "-n", 1, "--json")) == [
        {"image_id": "vessel-1", "n": 0}
    ]
    assert run("head", lab, "flow", "-n", 2, "--table").stdout.splitlines() == [
        "image_id  n",
        "vessel-1  0",
        "vessel-1  1",
    ]
    assert run("head", lab, "empty").stdout == "x\n"
    assert json_of(run("head", lab, "empty", "--json")) == []


def test_head_of_a_table_that_is_not_there(lab: Path) -> None:
    result = run("head", lab, "flo")
    assert result.exit_code == 2
    assert "Did you mean 'flow'?" in one_error_line(result)


def test_cat_prints_json_that_is_json(lab: Path) -> None:
    assert json_of(run("cat", lab, "vessel-1", "fit")) == {"speed": None, "ok": True}
    assert json_of(run("cat", lab, "vessel-1", "fit", "--json")) == {"speed": None, "ok": True}
    peaks = csv_of(run("cat", lab, "vessel-1", "peaks", "--csv").stdout)
    assert [row["t_s"] for row in peaks] == ["1", "2.5"]
    assert json.loads(peaks[1]["note"]) == [1, 2]
    result = run("cat", lab, "vessel-1", "fit", "--csv")
    assert result.exit_code == 2
    assert "only a list of objects has rows" in one_error_line(result)


def test_cat_of_a_data_frame_is_all_of_it_in_a_pipe(lab: Path) -> None:
    rows = csv_of(run("cat", lab, "vessel-1", "velocity").stdout)
    assert len(rows) == 90
    assert float(rows[-1]["t_s"]) == 8.9
    assert json_of(run("cat", lab, "vessel-1", "velocity", "--json"))[1] == {"t_s": 0.1, "v": None}
    table = run("cat", lab, "vessel-1", "velocity", "--table").stdout
    assert len(table.splitlines()) == 91


def test_cat_on_a_terminal_shows_the_first_rows(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    runner = CliRunner()
    with runner.isolation() as (output, *_):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        app(["cat", str(lab), "vessel-1", "velocity"], standalone_mode=False)
        said = output.getvalue().decode()
    assert "... 50 more rows" in said
    assert len(said.splitlines()) == 42


def test_cat_says_which_of_two_artifacts_it_needs_to_know(lab: Path) -> None:
    result = run("cat", lab, "vessel-1", "radon")
    assert result.exit_code == 2
    assert "--kind says which one" in one_error_line(result)
    assert run("cat", lab, "vessel-1", "radon", "--kind", "parquet").stdout == "theta\n7\n"
    # Row labels that say something are a column.
    old = csv_of(run("cat", lab, "vessel-1", "radon", "--kind", "csv_gz").stdout)
    assert list(old[0].values()) == ["first", "1"]


def test_cat_sums_up_an_array_and_prints_one_that_fits(lab: Path) -> None:
    facts = json_of(run("cat", lab, "vessel-1", "masks/vessel", "--json"))
    assert facts == {
        "name": "masks/vessel", "shape": [2, 3], "dtype": "uint8",
        "min": 0, "max": 1, "mean": 0.5, "not_zero": 3,
    }  # fmt: skip
    assert "2 x 3" in run("cat", lab, "vessel-1", "masks/vessel").stdout
    assert run("cat", lab, "vessel-1", "masks/vessel", "--csv").stdout == "0,1,2\n0,1,1\n0,0,1\n"
    assert json_of(run("cat", lab, "vessel-1", "stack", "--json"))["not_finite"] == 8
    assert "3 axes" in one_error_line(run("cat", lab, "vessel-1", "stack", "--csv"))


@pytest.mark.parametrize(
    ("image_id", "artifact", "said"),
    [
        ("vessel", "fit", "2 images are called 'vessel'"),
        ("nobody", "fit", "no image is called 'nobody'"),
        ("vessel-2", "fit", "no artifact 'fit'"),
        ("vessel-1", "fitt", "Did you mean 'fit'?"),
    ],
)
def test_cat_of_what_is_not_there(lab: Path, image_id: str, artifact: str, said: str) -> None:
    result = run("cat", lab, image_id, artifact)
    assert result.exit_code == 2
    assert said in one_error_line(result)


@pytest.mark.parametrize("command", [["head", "flow"], ["cat", "vessel-1", "velocity"]])
def test_two_forms_at_once_are_refused(lab: Path, command: list[str]) -> None:
    result = run(command[0], lab, *command[1:], "--csv", "--json")
    assert result.exit_code == 2
    assert "Give one of" in result.stderr


# SQL ---------------------------------------------------------------------------------------


def test_sql_answers_a_question(lab: Path) -> None:
    pytest.importorskip("duckdb")
    query = "select image_id, sum(n) as total, null::int as none from flow group by image_id"
    expected = [{"image_id": "vessel-1", "total": 435, "none": None}]
    assert json_of(run("sql", lab, query, "--json")) == expected
    assert run("sql", lab, "select max(n) as n from flow").stdout == "n\n29\n"
    # A missing integer does not turn the others into floats; columns of one name are two.
    assert run("sql", lab, "select 1 as a, unnest([1, null]) as a").stdout == "a,a.1\n1,1\n1,\n"
    asked = CliRunner().invoke(
        app, ["sql", str(lab), "-"], input="select count(*) as n from images"
    )
    assert asked.stdout == "n\n2\n"


@pytest.mark.parametrize(
    ("query", "said"),
    [("drop table flow", "only reads"), ("select * from nothing", "nothing"), ("sel", "syntax")],
)
def test_a_query_that_cannot_be_answered_is_one_line(lab: Path, query: str, said: str) -> None:
    pytest.importorskip("duckdb")
    result = run("sql", lab, query)
    assert result.exit_code == 2
    assert said in one_error_line(result)


def test_sql_without_duckdb_names_the_extra(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    result = run("sql", lab, "select 1")
    assert result.exit_code == 2
    assert "pip install 'kymflow-zarr[sql]'" in one_error_line(result)


LABELS = st.lists(st.one_of(st.text(max_size=2), st.integers(0, 3)), max_size=5)


@given(LABELS, st.lists(st.text(max_size=2), max_size=4))
def test_no_column_and_no_label_is_lost(labels: list[Any], index: list[str]) -> None:
    frame = pd.DataFrame(
        [[row * 10 + column for column in range(len(labels))] for row in range(len(index))],
        columns=labels,
        index=pd.Index(index, dtype=object),
    )
    found = flat(frame)
    assert found.columns.is_unique
    assert len(found) == len(index)
    assert found.shape[1] >= len(labels)
    for row, told in enumerate(records(found)):
        values = [row * 10 + column for column in range(len(labels))]
        assert list(told.values())[found.shape[1] - len(labels) :] == values
