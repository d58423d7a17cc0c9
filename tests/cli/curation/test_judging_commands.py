"""`kymflow-zarr worklist`, `unblind` and `agreement`: what people judged, at the prompt."""

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
        for number in range(8):
            rec = ds.add_image(np.zeros((4, 4), np.uint8), image_id=f"i{number}")
            condition = "drug" if number % 2 else "control"
            rec.save_metadata_payload({"experiment_metadata": {"condition": condition}})
        events = {"t_start_s": [0.0, 0.5], "t_end_s": [1.0, 1.5], "person": ["ada", "bob"]}
        ds["i0"].save_df_parquet("events", pd.DataFrame(events))
    return tmp_path / "x.zarr"


def test_a_balanced_list_is_chosen_saved_and_the_same_again(lab: Path) -> None:
    chosen = json_of(run("worklist", lab, 4, "--balance", "condition", "--save", "ada", "--json"))
    assert sorted(int(image_id[1]) % 2 for image_id in chosen) == [0, 0, 1, 1]
    again = run("worklist", lab, 4, "--balance", "condition")
    assert again.stdout.split() == chosen
    with ZarrDataset(lab) as ds:
        assert ds.load_worklist("ada") == chosen
    other = run("worklist", lab, 4, "--balance", "condition", "--seed", 5).stdout.split()
    assert other != chosen
    some = run("worklist", lab, 2, "--where", "condition=drug").stdout.split()
    assert {int(image_id[1]) % 2 for image_id in some} == {1}
    refused = run("worklist", lab, 9)
    assert refused.exit_code == 2
    assert "8" in refused.stderr


def test_a_list_file_is_written_once(lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "list.csv"
    no_files = run("worklist", lab, 2, "--out", out)
    assert no_files.exit_code == 2
    assert not out.exists()
    out.write_text("mine")
    refused = run("worklist", lab, 2, "--out", out)
    assert refused.exit_code == 2
    assert "choose another name" in refused.stderr
    assert out.read_text() == "mine"


def test_a_person_is_told_what_was_hidden_and_that_is_written_down(lab: Path) -> None:
    not_blind = run("unblind", lab, "--as", "ada")
    assert not_blind.exit_code == 2
    with ZarrDataset(lab, "r+") as ds, ds.view(edit=True, who="ada", blind=["condition"]):
        ds.judge(["i1"], "accepted", who="ada")
    (row,) = json_of(run("unblind", lab, "--as", "ada", "--json"))
    assert row == {"image_id": "i1", "condition": "drug", "verdict": "accepted"}
    with ZarrDataset(lab) as ds:
        assert ds.load_table("blinding")["event"].tolist() == ["blinded", "unblinded"]


def test_agreement_of_verdicts_and_of_events(lab: Path) -> None:
    with ZarrDataset(lab, "r+") as ds:
        ds.judge(["i0", "i1"], "accepted", who="ada")
        ds.judge(["i0"], "accepted", who="bob")
        ds.judge(["i1"], "rejected", who="bob")
    (row,) = json_of(run("agreement", lab, "--json"))
    assert (row["rater_1"], row["rater_2"], row["n_images"], row["n_equal"]) == ("ada", "bob", 2, 1)
    assert json_of(run("agreement", lab, "--ids", "i0", "--json"))[0]["n_images"] == 1
    events = ("--events", "events", "--by", "person", "--json")
    (row,) = json_of(run("agreement", lab, "ada", "bob", *events))
    assert (row["image_id"], row["n_matched"]) == ("i0", 1)
    refused = run("agreement", lab, "ada", *events)
    assert refused.exit_code == 2
    assert "name both" in refused.stderr
