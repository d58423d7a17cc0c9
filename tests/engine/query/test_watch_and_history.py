"""What a program sees of others' changes, and who changed what when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[ZarrDataset]:
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        for image_id in "abc":
            ds.add_image(np.zeros((4, 4), np.uint8), image_id=image_id)
        yield ds


def test_a_program_sees_what_another_adds_changes_and_deletes(ds: ZarrDataset) -> None:
    changes = ds.watch(interval_s=0.01)
    with ZarrDataset(ds.path, "r+", durability="relaxed") as other:
        with other["a"].edit("ada") as edit:
            edit.set_verdict("accepted")
        other.add_image(np.zeros((4, 4), np.uint8), image_id="d")
        other.delete_image("b")
        other.save_table("t", pd.DataFrame({"v": [1]}))
    seen = [next(changes) for _ in range(4)]
    assert [(c.what, c.image_id, c.table) for c in seen] == [
        ("changed", "a", None), ("deleted", "b", None), ("added", "d", None), ("added", None, "t"),
    ]  # fmt: skip
    with ds["a"].edit("bob") as edit:
        edit.set_note("seen")
    assert (next(changes).image_id, ds["a"].curation().note) == ("a", "seen")


def test_a_watch_ends_when_it_is_stopped(ds: ZarrDataset) -> None:
    stop = threading.Event()
    stop.set()
    assert list(ds.watch(stop=stop)) == []
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ArgumentError):
            ds.watch(interval_s=wrong)


def test_the_history_of_a_dataset_says_who_changed_what_when(ds: ZarrDataset) -> None:
    with ds["b"].edit("ada") as edit:
        edit.set_verdict("rejected")
        edit.set_metadata("animal", "m1")
    with ds["a"].edit("bob") as edit:
        edit.set_note("dark")
    ds["b"].undo(who="bob")
    history = ds.history()
    assert history[["who", "image_id", "what", "before", "after"]].to_numpy().tolist() == [
        ["ada", "b", "verdict", None, "rejected"],
        ["ada", "b", "metadata 'animal'", None, "m1"],
        ["bob", "a", "note", "", "dark"],
        ["bob", "b", "verdict", "rejected", None],
        ["bob", "b", "metadata 'animal'", "m1", None],
    ]
    assert history["undone_by"].notna().tolist() == [True, True, False, False, False]
    assert ds.history(["b"], who="ada")["what"].tolist() == ["verdict", "metadata 'animal'"]
    assert ds.info()["judged_by"] == {"bob": 2, "ada": 1}
    assert ds.info()["last_edit_utc"] == history["when_utc"].iloc[-1]


def test_a_history_that_cannot_be_read_is_named_and_hides_no_other(ds: ZarrDataset) -> None:
    for image_id in "ab":
        with ds[image_id].edit("ada") as edit:
            edit.set_note("x")
    (ds.path / "images" / "a" / "analysis" / "curation.json").write_text("{")
    history = ds.history()
    assert history["image_id"].tolist() == ["b"]
    assert list(history.attrs["errors"]) == ["a"]
