"""People who judged the same images: how far they agree."""

from __future__ import annotations

import math
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr import ZarrDataset
from kymflow_zarr.engine.curation.agreement import kappa, matches
from kymflow_zarr.errors import ArgumentError

# Cohen's kappa of 50 proposals that two readers accept or reject: 20 both accept, 5 and 10 one of
# them, 15 both reject: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa = 0.4.
TABLE = {("a", "a"): 20, ("a", "r"): 5, ("r", "a"): 10, ("r", "r"): 15}


def pairs_of(table: dict[tuple[str, str], int]) -> list[tuple[str, str]]:
    return [pair for pair, count in table.items() for _ in range(count)]


def test_kappa_is_that_of_the_definition() -> None:
    assert kappa(pairs_of(TABLE)) == pytest.approx(0.4, abs=1e-15)
    assert kappa([("a", "r"), ("r", "a")]) == -1
    assert kappa([("a", "a"), ("r", "r")]) == 1
    assert kappa([("a", "a"), ("r", "a")]) == 0
    assert math.isnan(kappa([("a", "a")]))
    assert math.isnan(kappa([]))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=30))
def test_kappa_is_symmetric_at_most_one_and_as_by_matrices(pairs: list[tuple[str, str]]) -> None:
    found = kappa(pairs)
    swapped = kappa([(b, a) for a, b in pairs])
    assert found == swapped or (math.isnan(found) and math.isnan(swapped))
    if math.isnan(found):
        return
    assert -1 <= found <= 1
    counts = np.zeros((3, 3))
    for a, b in pairs:
        counts["abc".index(a), "abc".index(b)] += 1
    shares = counts / counts.sum()
    chance = shares.sum(0) @ shares.sum(1)
    assert found == pytest.approx((np.trace(shares) - chance) / (1 - chance), abs=1e-9)


def test_two_people_are_compared_where_both_have_decided(ds: ZarrDataset) -> None:
    for number in range(6):
        ds.add_image(np.zeros((2, 3), "u1"), image_id=f"i{number}")
    ds.judge(["i0", "i1", "i2", "i3"], "accepted", who="ada")
    ds.judge(["i0", "i1", "i4"], "accepted", who="bob")
    ds.judge(["i2"], "rejected", who="bob")
    ds.judge(["i3"], "rejected", who="bob")
    ds.judge(["i3"], None, who="bob")
    taken_back = ds.judge(["i1"], "rejected", who="bob")
    assert taken_back is not None
    ds.undo(taken_back, who="bob")
    ds.judge(["i5"], "accepted", who="cid")
    (row,) = ds.agreement(["ada", "bob"]).to_dict("records")
    # i0, i1 equal, i2 not; i3 was cleared by bob, i4 and i5 were judged by one of them.
    assert (row["rater_1"], row["rater_2"], row["n_images"], row["n_equal"]) == ("ada", "bob", 3, 2)
    assert row["share_equal"] == pytest.approx(2 / 3)
    assert row["kappa"] == 0
    everybody = ds.agreement()
    assert [*zip(everybody["rater_1"], everybody["rater_2"], strict=True)] == [
        *combinations(["ada", "bob", "cid"], 2)
    ]
    assert math.isnan(everybody["kappa"].iloc[-1])
    with pytest.raises(ArgumentError, match="'dan' has judged none"):
        ds.agreement(["ada", "dan"])
    assert len(ds.agreement(ids=[])) == 0


def test_events_of_two_people_are_matched_one_to_one(ds: ZarrDataset) -> None:
    image = ds.add_image(np.zeros((2, 3), "u1"), image_id="a")
    ds.add_image(np.zeros((2, 3), "u1"), image_id="without")
    ada = {"t_start_s": [0.0, 2.0, 5.0, np.nan], "t_end_s": [1.0, 4.0, np.nan, 3.0]}
    bob = {"t_start_s": [0.5, 3.0, 3.5, 4.9], "t_end_s": [1.5, 3.4, 4.0, 5.1]}
    image.save_df_parquet("events/ada", pd.DataFrame(ada))
    image.save_df_parquet("events/bob", pd.DataFrame(bob))
    (row,) = ds.event_agreement("events/ada", "events/bob").to_dict("records")
    assert (row["image_id"], row["n_1"], row["n_2"], row["n_matched"]) == ("a", 3, 4, 3)
    assert row["f1"] == pytest.approx(6 / 7)
    # In both: 0.5 + 0.4 + 0.5 s; in one of them: 1.5 + 2.0 + 0.2 s.
    assert row["overlap"] == pytest.approx(1.4 / 3.7)
    image.save_df_parquet("velocity", pd.DataFrame({"time_s": [0.0]}))
    with pytest.raises(ArgumentError, match="no column 't_start_s'"):
        ds.event_agreement("velocity", "events/bob")


def test_events_of_two_people_in_one_data_frame_are_compared(ds: ZarrDataset) -> None:
    events = pd.DataFrame(
        {
            "t_start_s": [0.0, 0.5, 2.0, 7.0],
            "t_end_s": [1.0, 1.5, 3.0, 8.0],
            "rater": ["ada", "bob", "ada", None],
        }
    )
    for image_id, rows in (("a", events), ("b", events[events["rater"] == "ada"])):
        image = ds.add_image(np.zeros((2, 3), "u1"), image_id=image_id)
        image.save_df_parquet("events", rows)
    compared = ds.event_agreement("ada", "bob", of="events")
    counts = compared[["image_id", "n_1", "n_2", "n_matched"]].to_numpy().tolist()
    assert counts == [["a", 2, 1, 1], ["b", 2, 0, 0]]
    assert compared["overlap"].tolist() == [pytest.approx(0.5 / 2.5), 0]
    with pytest.raises(ArgumentError, match="of 'cid'") as told:
        ds.event_agreement("ada", "cid", of="events")
    assert "ada, bob" in str(told.value.hint)
    with pytest.raises(ArgumentError, match="no column 'person'"):
        ds.event_agreement("ada", "bob", of="events", by="person")


SPANS = st.lists(
    st.tuples(st.integers(0, 8), st.integers(1, 4)).map(lambda s: (float(s[0]), float(sum(s)))),
    max_size=4,
)


@given(SPANS, SPANS)
def test_as_many_events_are_matched_as_any_pairing_can(
    first: list[tuple[float, float]], second: list[tuple[float, float]]
) -> None:
    def overlap(i: int, j: int) -> bool:
        return max(first[i][0], second[j][0]) < min(first[i][1], second[j][1])

    found = matches(first, second)
    assert all(overlap(i, j) for i, j in found)
    assert len({i for i, _ in found}) == len({j for _, j in found}) == len(found)
    padded = [*range(len(second)), *[-1] * len(first)]
    best = max(
        sum(j >= 0 and overlap(i, j) for i, j in enumerate(order))
        for order in permutations(padded, len(first))
    )
    assert len(found) == best
