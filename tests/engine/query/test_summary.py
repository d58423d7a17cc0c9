"""Summaries count images and animals, not rows, and agree with other ways to compute them."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize("value", ["n", "count", "mean"])
def test_the_column_of_the_values_may_have_any_name(lab: ZarrDataset, value: str) -> None:
    named = lab.load_table("events").rename(columns={"speed": value})
    for by, unit in (("condition", None), ("condition", "animal"), ("image_id", None)):
        pd.testing.assert_frame_equal(
            lab.summary(named, value, by=by, unit=unit),
            lab.summary("events", "speed", by=by, unit=unit),
        )
    by_image = lab.summary(named, value, by="image_id")
    assert by_image["image_id"].tolist() == list(LAB)
    assert by_image["n_rows"].tolist() == [3, 1, 1, 2, 1]


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


def test_images_whose_animal_is_not_known_are_not_taken_for_one_animal(lab: ZarrDataset) -> None:
    lab["b"].save_metadata_payload({"experiment_metadata": {"condition": "control"}})
    with pytest.raises(ArgumentError, match=r"of 1 images 'animal' is not known, such as of 'b'"):
        lab.summary("events", "speed", by="condition", unit="animal")
    found = lab.summary("events", "speed", by="condition", unit="animal", ids=["a", "c", "d"])
    assert found["n_units"].tolist() == [2, 1]


def test_the_values_behind_a_summary_are_a_row_for_each_unit(lab: ZarrDataset) -> None:
    found = lab.unit_values("events", "speed", by="condition", unit="animal")
    assert list(found.columns) == ["condition", "animal", "speed", "n_images", "n_rows"]
    assert found.to_numpy().tolist() == [
        ["control", "m1", 3.0, 2, 4], ["control", "m2", 10.0, 1, 1],
        ["drug", "m3", 6.0, 1, 2], ["drug", "m4", 8.0, 1, 1],
    ]  # fmt: skip
    images = lab.unit_values("events", "speed")
    assert images["image_id"].tolist() == list("abcde")
    assert images["speed"].tolist() == [2.0, 4.0, 10.0, 6.0, 8.0]


def test_values_with_a_column_for_each_group_are_what_prism_takes(lab: ZarrDataset) -> None:
    columns = lab.group_columns("events", "speed", by="condition", order=["drug", "control"])
    assert list(columns) == ["drug", "control"]
    assert columns.fillna(-1).to_numpy().tolist() == [[6.0, 2.0], [8.0, 4.0], [-1, 10.0]]
    with pytest.raises(ArgumentError, match="no group 'drag'"):
        lab.group_columns("events", "speed", by="condition", order=["drag"])


def test_an_animal_before_and_after_is_one_row(lab: ZarrDataset) -> None:
    for image_id, animal in zip("abcde", ["m1", "m2", "m3", "m2", "m1"], strict=True):
        condition = LAB[image_id][0]
        lab[image_id].save_metadata_payload(
            {"experiment_metadata": {"condition": condition, "animal": animal}}
        )
    pairs = lab.group_columns(
        "events", "speed", by="condition", unit="animal", paired=True, order=["drug", "control"]
    )
    assert pairs.fillna(-1).to_numpy().tolist() == [
        ["m1", 8.0, 2.0], ["m2", 6.0, 4.0], ["m3", -1, 10.0],
    ]  # fmt: skip
    with pytest.raises(ArgumentError, match="paired values need a unit"):
        lab.group_columns("events", "speed", by="condition", paired=True)


# What R prints of its data set `sleep` (Student 1908): aggregate(extra ~ group, sleep, FUN).
SLEEP = {
    "1": [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    "2": [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
}


def test_the_numbers_are_those_of_r(tmp_path: Path) -> None:
    rows = [(f"{group}{i}", group, x) for group, xs in SLEEP.items() for i, x in enumerate(xs)]
    table = pd.DataFrame(rows, columns=["image_id", "group", "extra"])
    with ZarrDataset(tmp_path / "x.zarr", "w-") as ds:
        found = ds.summary(table, "extra", by="group")
    assert found["mean"].round(7).tolist() == [0.75, 2.33]
    assert found["sd"].round(6).tolist() == [1.789010, 2.002249]
    assert found["median"].round(7).tolist() == [0.35, 1.75]
    assert found["sem"].round(7).tolist() == [0.5657345, 0.6331666]


ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(-1e6, 1e6, allow_subnormal=False)),
    min_size=1,
    max_size=40,
)


def test_a_summary_is_what_pandas_says_to_the_last_digit(lab: ZarrDataset) -> None:
    # No shrinking: it takes minutes where machines are busy.
    @settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
    @given(ROWS)
    def agrees(rows: list[tuple[str, float]]) -> None:
        table = pd.DataFrame(rows, columns=["group", "v"])
        table["image_id"] = [f"i{i:02}" for i in range(len(rows))]
        ours = lab.summary(table, "v", by="group").set_index("group")
        groups = table.groupby("group")["v"]
        assert ours["n_units"].tolist() == groups.size().tolist()
        for name in ("median", "min", "max"):
            assert ours[name].tolist() == groups.agg(name).tolist()
        # The last digit of a sum depends on its order, and sums may cancel.
        digit = 4 * np.finfo(np.float64).eps * float(table["v"].abs().max())
        for name, by_pandas in (
            ("mean", groups.mean()),
            ("sd", groups.std()),
            ("sem", groups.sem()),
        ):
            np.testing.assert_allclose(ours[name], by_pandas, rtol=1e-13, atol=digit)

    agrees()
