"""A worklist is random, balanced, and the same again for the same seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError

CONDITIONS = ["control"] * 12 + ["drug"] * 6 + ["sham"] * 2
PINNED = ["i14", "i01", "i15", "i18"]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for number, condition in enumerate(CONDITIONS):
            record = ds.add_image(np.zeros((2, 2), np.uint8), image_id=f"i{number:02d}")
            record.save_metadata_payload({"experiment_metadata": {"condition": condition}})
        yield ds


def conditions_of(ids: list[str]) -> Counter[str]:
    return Counter(CONDITIONS[int(image_id[1:])] for image_id in ids)


def test_each_condition_is_chosen_as_often_while_it_has_images_left(lab: ZarrDataset) -> None:
    for seed in range(20):
        assert set(conditions_of(lab.worklist(6, balance="condition", seed=seed)).values()) == {2}
    assert conditions_of(lab.worklist(12, balance=["condition"])) == {
        "control": 5, "drug": 5, "sham": 2,
    }  # fmt: skip
    assert len(set(lab.worklist(20, balance="condition"))) == 20


def test_the_same_seed_chooses_the_same_and_another_seed_others(lab: ZarrDataset) -> None:
    assert lab.worklist(5, seed=7) == lab.worklist(5, seed=7)
    assert len({tuple(lab.worklist(5, seed=seed)) for seed in range(10)}) == 10
    # Written down once, so that no version of the package or of Python changes a lab's choice.
    assert lab.worklist(4, balance="condition", seed=1) == PINNED


def test_every_image_has_its_chance_and_order_tells_no_condition(lab: ZarrDataset) -> None:
    lists = [lab.worklist(6, balance="condition", seed=seed) for seed in range(200)]
    assert set().union(*lists) == set(lab.list_image_ids())
    first = conditions_of([each[0] for each in lists])
    assert min(first.values()) > 40


def test_more_images_than_there_are_and_unknown_columns_are_refused(lab: ZarrDataset) -> None:
    with pytest.raises(ArgumentError, match="21 images are asked for, and there are 20"):
        lab.worklist(21)
    with pytest.raises(ArgumentError):
        lab.worklist(2, balance="conditon")
    assert len(lab.worklist(2, ids=["i00", "i19"])) == 2
