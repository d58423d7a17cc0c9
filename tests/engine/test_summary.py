"""Summaries count images and animals, not rows, and agree with other ways to compute them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError

# By image: condition, animal, and the values of its rows.
LAB = {
    "a": ("control", "m1", [1.0, 2.0, 3.0]),
    "b": ("control", "m1", [4.0]),
    "c": ("control", "m2", [10.0, np.nan]),
    "d": ("drug", "m3", [5.0, 7.0]),
    "e": ("drug", "m4", [8.0]),
}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for image_id, (condition, animal, _) in LAB.items():
            record = ds.add_image(np.zeros((4, 4), np.uint8), image_id=image_id)
            record.save_metadata_payload(
                {"experiment_metadata": {"condition": condition, "animal": animal}}
            )
        rows = [(image_id, value) for image_id, lab in LAB.items() for value in lab[2]]
        ds.save_table("events", pd.DataFrame(rows, columns=["image_id", "speed"]))
        yield ds


def test_an_animal_counts_once_however_many_images_and_rows_it_has(lab: ZarrDataset) -> None:
    found = lab.summary("events", "speed", by="condition", unit="animal")
    assert found["condition"].tolist() == ["control", "drug"]
    counted = ["n_rows", "n_images", "n_units"]
    assert found[counted].to_numpy().tolist() == [[5, 3, 2], [3, 2, 2]]
    # m1 is the mean of its images, 2 and 4; m2 is 10.
    assert found["mean"].tolist() == [statistics.mean([3, 10]), 7.0]
    assert found["sd"].tolist() == [statistics.stdev([3, 10]), statistics.stdev([6, 8])]
    assert found["sem"].iloc[0] == pytest.approx(statistics.stdev([3, 10]) / 2**0.5, rel=1e-15)
    assert found[["median", "min", "max"]].to_numpy().tolist() == [[6.5, 3, 10], [7, 6, 8]]


def test_an_image_counts_once_where_no_unit_is_named(lab: ZarrDataset) -> None:
    found = lab.summary("events", "speed", by=["condition"])
    assert found["n_units"].tolist() == [3, 2]
    assert found["mean"].tolist() == [pytest.approx(16 / 3), 7.0]
    everything = lab.summary(lab.load_table("events"), "speed", ids=["a", "e"])
    assert everything[["n_rows", "n_images", "mean"]].to_numpy().tolist() == [[4, 2, 5.0]]


def test_a_group_of_one_has_no_deviation_and_an_unknown_condition_is_a_group(
    lab: ZarrDataset,
) -> None:
    table = pd.concat(
        [lab.load_table("events"), pd.DataFrame({"image_id": ["gone"], "speed": [3.0]})]
    )
    found = lab.summary(table, "speed", by="condition")
    assert found["condition"].isna().tolist() == [False, False, True]
    assert np.isnan(found["sd"].iloc[2])
    assert found["mean"].iloc[2] == 3.0


@pytest.mark.parametrize(
    ("value", "by"), [("image_id", "condition"), ("sped", "condition"), ("speed", "conditon")]
)
def test_columns_that_do_not_fit_are_refused(lab: ZarrDataset, value: str, by: str) -> None:
    with pytest.raises(ArgumentError):
        lab.summary("events", value, by=by)
