"""`ls` picks images, sorts them and shows the columns that were asked for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr import Axis, ZarrDataset
from kymflow_zarr.cli.look.images import Selection, parse_condition
from tests.cli.run import json_of, one_error_line, run

NS = 10**9
DAY_S = 86_400
JULY_1 = 20_270 * DAY_S  # 2025-07-01, in seconds since 1970


@pytest.fixture
def vessels(tmp_path: Path) -> Path:
    """Five images: four acquired day after day, and one of which nothing is known."""
    path = tmp_path / "vessels.zarr"
    with ZarrDataset(path, mode="w-", durability="relaxed") as ds:
        for number, name in enumerate(["b2", "a10", "c7", "a9"]):
            experiment: dict[str, Any] = {
                "condition": ["control", "drug"][number % 2],
                "depth": [10, 9, None, 100.5][number],
                "animal": ["007", "7", "8", "9"][number],
                "blind": number == 0,
            }
            rec = ds.add_image(np.zeros((4 + number, 5), np.uint8), image_id=name)
            rec.save_metadata_payload(
                {
                    "header": {"acquired_local_epoch_ns": (JULY_1 + number * DAY_S) * NS},
                    "experiment_metadata": experiment,
                    "rois": [
                        {
                            "roi_id": n,
                            "roi_type": "rect",
                            "data": {"x0": 0, "x1": 1, "y0": 0, "y1": 1},
                        }
                        for n in range(number)
                    ],
                }
            )
            if number % 2:
                rec.save_df_parquet("velocity/events", pd.DataFrame({"t_s": [1.0]}))
        ds.add_image(np.zeros((2, 2), np.uint8), image_id="z")
        ds.save_table("events", pd.DataFrame({"image_id": ["a9", "a9", "c7"]}))
    return path


def ids(path: Path, *args: object) -> list[str]:
    result = run("ls", path, "--json", *args)
    assert result.exit_code == 0, result.stderr
    return [image["image_id"] for image in json_of(result)]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], "b2 a10 c7 a9 z"),
        (["--reverse"], "a9 c7 a10 b2 z"),
        (["--limit", 2], "b2 a10"),
        (["--where", "condition=drug"], "a10 a9"),
        (["--where", "condition!=drug"], "b2 c7 z"),
        (["--where", "condition~RU"], "a10 a9"),
        (["--where", "experiment_metadata.condition = drug"], "a10 a9"),
        (["--where", "condition=drug", "--where", "depth>9"], "a9"),
        (["--where", "depth>=9"], "b2 a10 a9"),
        (["--where", "depth=10.0"], "b2"),
        (["--where", "depth="], "c7 z"),
        (["--where", "depth!="], "b2 a10 a9"),
        (["--where", "animal=7"], "a10"),
        (["--where", "blind=true"], "b2"),
        (["--where", "acquired>=2025-07-03"], "c7 a9"),
        (["--where", f"acquired_local_epoch_ns={JULY_1 * NS}"], "b2"),
        (["--where", "artifacts=velocity/events"], "a10 a9"),
        (["--where", "id~a"], "a10 a9"),
        (["--where", "n_rows:events>0"], "c7 a9"),
        (["--since", "2025-07-02"], "a10 c7 a9"),
        (["--until", "2025-07-02"], "b2 a10"),
        (["--since", "2025-07-02", "--until", "2025-07-02"], "a10"),
        (["--until", "2025-07-02T00:00"], "b2"),
        (["--min-rois", 2], "c7 a9"),
        (["--has", "velocity/events"], "a10 a9"),
        (["--has", "velocity*"], "a10 a9"),
        (["--has", "velocity*", "--has", "nothing"], ""),
        (["--sort", "depth"], "a10 b2 a9 c7 z"),
        (["--sort", "depth", "--reverse"], "a9 b2 a10 c7 z"),
        (["--sort", "id"], "a10 a9 b2 c7 z"),
        (["--sort", "shape", "--limit", 3], "z b2 a10"),
    ],
    ids=str,
)
def test_ls_lists_what_was_asked_for(vessels: Path, args: list[object], expected: str) -> None:
    assert ids(vessels, *args) == expected.split()


def test_ls_prints_the_columns_that_were_asked_for(vessels: Path) -> None:
    result = run("ls", vessels, "--columns", "id,condition,shape,depth", "--limit", 2)
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["image_id", "condition", "shape", "depth"],
        ["b2", "control", "4", "x", "5", "10"],
        ["a10", "drug", "5", "x", "5", "9"],
    ]
    shown = json_of(run("ls", vessels, "--columns", "depth,n_rows:events,acquired", "--json"))
    assert shown[2] == {"depth": None, "n_rows:events": 1, "acquired": "2025-07-03T00:00:00"}
    [first, *_] = json_of(run("ls", vessels, "--columns", "all", "--json"))
    with ZarrDataset(vessels, mode="r") as ds:
        assert list(first) == list(ds.images().columns)


def test_what_nothing_fits_is_said_apart_from_the_list(vessels: Path) -> None:
    result = run("ls", vessels, "--where", "condition=none")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "none of the 5 images" in result.stderr
    assert json_of(run("ls", vessels, "--where", "condition=none", "--json")) == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--where", "dept=1"], "Did you mean 'depth'?"),
        (["--sort", "conditio"], "Did you mean 'condition'?"),
        (["--columns", "id,nothing"], "no column 'nothing'"),
        (["--where", "depth"], "COLUMN=VALUE"),
        (["--columns", ","], "no column is named"),
    ],
    ids=str,
)
def test_a_column_that_is_not_there_is_named(vessels: Path, args: list[str], said: str) -> None:
    result = run("ls", vessels, *args)
    assert result.exit_code == 2
    assert said in one_error_line(result)


@pytest.mark.parametrize("date", ["yesterday", "2025-13-01", "2025-07-01T10:00Z"])
def test_a_date_that_is_none_is_refused(vessels: Path, date: str) -> None:
    result = run("ls", vessels, "--since", date)
    assert result.exit_code == 2
    assert date in result.stderr


def test_a_broken_image_is_named_whatever_was_asked_for(vessels: Path) -> None:
    (vessels / "images" / "c7" / "zarr.json").write_text("{")
    for args in (["--where", "condition=drug"], ["--limit", 1], ["--columns", "id"]):
        result = run("ls", vessels, *args)
        assert result.exit_code == 1
        assert "c7 is broken: " in result.stdout
        [*_, last] = json.loads(run("ls", vessels, *args, "--json").stdout)
        assert set(last) == {"image_id", "error"}


def test_what_a_terminal_would_obey_is_spelled_out(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        rec = ds.add_image(np.zeros((2, 2), np.uint8), image_id="a")
        rec.save_metadata_payload({"experiment_metadata": {"note": "red \x1b[31m\nline"}})
    said = run("ls", tmp_path / "new.zarr", "--columns", "id,note").stdout
    assert "\x1b" not in said
    assert len(said.splitlines()) == 2


def test_ls_of_version_1(old: Path) -> None:
    with ZarrDataset(old, mode="r") as ds:
        whole = set(ds.list_image_ids())
    assert set(ids(old)) == whole
    assert run("ls", old, "--columns", "id,shape", "--sort", "shape").exit_code == 0


CELLS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.tuples(st.text())
)


@given(st.lists(CELLS, max_size=8), st.booleans())
def test_any_column_can_be_sorted(values: list[Any], reverse: bool) -> None:
    rows = [{"image_id": str(n), "error": None, "n_rois": 0, "artifacts": (),
             "acquired_local_epoch_ns": None, "x": value}
            for n, value in enumerate(values)]  # fmt: skip
    found = [row["x"] for row in Selection(sort="x", reverse=reverse).of(rows)]
    assert sorted(map(repr, found)) == sorted(map(repr, values))
    empty = [v is None or (isinstance(v, float) and math.isnan(v)) for v in found]
    assert empty == sorted(empty)  # What is not known comes last.
    numbers = [v for v in found if type(v) in (int, float) and not math.isnan(v)]
    assert numbers == sorted(numbers, reverse=reverse)


@given(CELLS, st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~"]), st.text(max_size=4))
def test_a_condition_holds_or_its_opposite_does(value: Any, sign: str, text: str) -> None:
    opposite = {"=": "!=", "<": ">=", "<=": ">"}
    holds = parse_condition(f"x{sign}{text}").holds(value)
    assert isinstance(holds, bool)
    if sign in opposite and value not in (None, "") and value == value:
        assert holds != parse_condition(f"x{opposite[sign]}{text}").holds(value)


def test_ls_shows_the_calibration_of_every_axis(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        ds.add_image(
            np.zeros((2, 3, 4, 5), np.uint8),
            image_id="stack",
            axes=[
                Axis("c", "channel"),
                Axis("z", "space", "micrometer", 2.0),
                Axis("y", "space", "micrometer", 0.5),
                Axis("x", "space", "micrometer", 0.5),
            ],
        )
        ds.add_image(np.zeros((4, 5), np.uint8), image_id="plane", pixel_size_um=0.3)
    said = run("ls", tmp_path / "new.zarr").stdout
    assert "c, z 2 µm, y 0.5 µm, x 0.5 µm" in said
    assert "y 0.3 µm, x 0.3 µm" in said
