"""A dataset is copied between any two places, and changes come back."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from obstore.store import MemoryStore

from kymflow_zarr import ZarrDataset, copy_dataset
from kymflow_zarr.errors import ArgumentError, DatasetNotFoundError
from kymflow_zarr.storage.object.bucket import Bucket
from kymflow_zarr.testing import state_of
from tests.cli.run import run
from tests.storage.test_dataset_on_memory import work

PIXELS = np.arange(2000, dtype="uint16").reshape(50, 40)
NUMBERS = itertools.count()


@pytest.fixture
def lab(tmp_path: Path) -> ZarrDataset:
    ds = ZarrDataset(tmp_path / "lab.zarr")
    work(ds)
    return ds


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "folder":
        return str(tmp_path / "copy.zarr")
    if request.param == "memory":
        return f"memory://copy-{next(NUMBERS)}"
    store = MemoryStore()
    monkeypatch.setattr(Bucket, "_opened", lambda _: store)
    return f"s3://bucket/{next(NUMBERS)}.zarr"


places = pytest.mark.parametrize("place", ["folder", "memory", "bucket"], indirect=True)


@places
def test_a_copy_is_equal_and_a_second_one_copies_nothing(lab: ZarrDataset, place: str) -> None:
    planned = copy_dataset(lab.path, place, dry_run=True)
    with pytest.raises(DatasetNotFoundError):
        ZarrDataset(place, mode="r")
    report = copy_dataset(lab.path, place)
    assert (report.ok, report.n_bytes) == (True, planned.n_bytes)
    assert state_of(ZarrDataset(place, mode="r")) == state_of(lab)
    assert ZarrDataset(place).verify().ok
    assert ZarrDataset(place).validate().ok
    assert copy_dataset(lab.path, place).counts() == {"unchanged": 3}


@places
def test_changes_go_there_and_back(lab: ZarrDataset, place: str) -> None:
    copy_dataset(lab.path, place)
    copy = ZarrDataset(place)
    lab["a"].save_json("note", {"n": "new"})
    lab.add_image(PIXELS, image_id="new")
    assert copy_dataset(lab.path, place).counts() == {"copied": 1, "unchanged": 2, "updated": 1}
    assert copy["a"].load_json("note") == {"n": "new"}
    copy["b"].save_array(PIXELS + 7)
    copy.replace_rows_for_image_id("pooled", "b", pd.DataFrame({"image_id": ["b"], "v": [8]}))
    assert copy_dataset(lab.path, place).counts() == {"changed there": 2, "unchanged": 2}
    assert copy_dataset(place, lab.path).counts() == {"updated": 2, "unchanged": 2}
    assert np.array_equal(lab["b"].load_array(), PIXELS + 7)
    lab["b"].save_json("again", 1)
    assert copy_dataset(lab.path, place).counts() == {"updated": 1, "unchanged": 3}
    assert state_of(copy) == state_of(lab)
    assert copy.verify().ok
    assert lab.verify().ok


@places
def test_what_both_sides_changed_is_a_conflict(lab: ZarrDataset, place: str) -> None:
    copy_dataset(lab.path, place)
    copy = ZarrDataset(place)
    lab["a"].save_json("note", "lab")
    copy["a"].save_json("note", "copy")
    report = copy_dataset(lab.path, place)
    assert (report.ok, report.counts()) == (False, {"conflict": 1, "unchanged": 2})
    assert "conflict: a" in str(report)
    assert copy["a"].load_json("note") == "copy"
    assert copy_dataset(lab.path, place, overwrite=True).ok
    assert copy["a"].load_json("note") == "lab"


@places
def test_images_are_deleted_only_if_asked_for(lab: ZarrDataset, place: str) -> None:
    copy_dataset(lab.path, place)
    copy = ZarrDataset(place)
    copy.add_image(PIXELS, image_id="mine")
    lab.delete_image("b")
    assert copy_dataset(lab.path, place).counts() == {"only there": 2, "unchanged": 1, "updated": 1}
    assert copy_dataset(lab.path, place, delete=True).counts()["deleted"] == 1
    assert copy.list_image_ids() == ["a", "mine"]


def test_a_damaged_file_is_not_copied(lab: ZarrDataset, tmp_path: Path) -> None:
    (lab.path / "images" / "b" / "analysis" / "note.json").write_bytes(b"damaged")
    report = copy_dataset(lab.path, tmp_path / "copy.zarr")
    assert [(item.image_id, item.status) for item in report.items if item.status != "copied"] == [
        (None, "updated"), ("b", "failed"),
    ]  # fmt: skip
    assert ZarrDataset(tmp_path / "copy.zarr").list_image_ids() == ["a"]


def test_another_dataset_is_no_target(lab: ZarrDataset, tmp_path: Path) -> None:
    ZarrDataset(tmp_path / "other.zarr").add_image(PIXELS, image_id="a")
    with pytest.raises(ArgumentError, match="another dataset"):
        copy_dataset(lab.path, tmp_path / "other.zarr")
    with pytest.raises(ArgumentError, match="one place"):
        copy_dataset(lab.path, lab.path)
    with pytest.raises(DatasetNotFoundError):
        copy_dataset(tmp_path / "nothing.zarr", tmp_path / "y.zarr")


def test_the_command_copies_and_the_others_take_addresses(
    lab: ZarrDataset,
) -> None:
    address = f"memory://command-{next(NUMBERS)}"
    assert run("copy", str(lab.path), address, "--dry-run").exit_code == 0
    copied = run("copy", str(lab.path), address, "--json")
    assert json.loads(copied.stdout)["ok"]
    for command in ("ls", "verify", "validate", "tables"):
        assert run(command, address).exit_code == 0
    assert run("show", address, "a").exit_code == 0
    lab["a"].save_json("note", 1)
    ZarrDataset(address)["a"].save_json("note", 2)
    conflict = run("copy", str(lab.path), address)
    assert (conflict.exit_code, "conflict: a" in conflict.stdout) == (1, True)
