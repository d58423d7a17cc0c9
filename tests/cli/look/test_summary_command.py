"""`kymflow-zarr summary`: the table under a figure, the figure, and the numbers behind both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from tests.cli.run import json_of, run


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for number in range(4):
            rec = ds.add_image(np.zeros((4, 4), np.uint8), image_id=f"i{number}")
            condition = "drug" if number % 2 else "control"
            rec.save_metadata_payload({"experiment_metadata": {"condition": condition}})
            rec.save_df_parquet("events", pd.DataFrame({"speed": [number, number + 1.0]}))
        ds.save_table_from("pooled", "events")
    return tmp_path / "x.zarr"


def test_a_table_or_an_artifact_is_summarized_by_condition(lab: Path) -> None:
    for name in ("pooled", "events"):
        rows = json_of(run("summary", lab, name, "speed", "--by", "condition", "--json"))
        assert [(r["condition"], r["n_images"], r["mean"]) for r in rows] == [
            ("control", 2, 1.5), ("drug", 2, 2.5),
        ]  # fmt: skip
    some = json_of(run("summary", lab, "pooled", "speed", "--where", "condition=drug", "--json"))
    assert [(row["n_images"], row["mean"]) for row in some] == [(2, 2.5)]


def test_files_of_the_values_and_of_a_figure_are_written_once(lab: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("xlsxwriter")
    names = ["v.csv", "v.columns.csv", "v.xlsx", "v.svg", "v.png", "v.pdf"]
    outs = [part for name in names for part in ("--out", tmp_path / name)]
    told = run("summary", lab, "pooled", "speed", "--by", "condition", *outs)
    assert told.exit_code == 0
    assert (tmp_path / "v.columns.csv").read_text() == "control,drug\n0.5,1.5\n2.5,3.5\n"
    starts = {name: (tmp_path / name).read_bytes()[:4] for name in names[2:]}
    assert starts == {"v.xlsx": b"PK\x03\x04", "v.svg": b"<?xm", "v.png": b"\x89PNG",
                      "v.pdf": b"%PDF"}  # fmt: skip
    again = run("summary", lab, "pooled", "speed", "--out", tmp_path / "v.csv")
    assert again.exit_code == 2
    assert "choose another name" in again.stderr
    assert run("summary", lab, "pooled", "speed", "--out", tmp_path / "v.doc").exit_code == 2
