"""Format version 1 is a reading half over any storage, and an opener that the face passes in."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import KymflowZarrError, ReadOnlyError
from kymflow_zarr.legacy_v1.storage import V1Storage, open_v1
from kymflow_zarr.storage.memory import MemoryStorage
from tests.helpers.v1_dataset import KYMOGRAPH, LINES, STACK

OPENERS = {"kymflow_zarr_v1": open_v1}


def in_memory(root: Path) -> MemoryStorage:
    """Return a storage in memory that holds the files of a folder."""
    storage = MemoryStorage()
    storage.create()
    with storage.transaction("") as transaction:
        for path in root.rglob("*"):
            if path.is_file():
                transaction.put(path.relative_to(root).as_posix(), path.read_bytes())
    return storage


def test_version_1_is_read_from_any_storage(old: Path) -> None:
    storage = open_v1(in_memory(old).reader(), "r")
    assert storage is not None
    ds = OpenDataset.on(storage)
    with ZarrDataset(old, mode="r") as local:
        assert ds.list_image_ids() == local.list_image_ids()
        assert ds.list_table_names() == local.list_table_names()
        assert np.array_equal(ds.record(KYMOGRAPH).load_array(), LINES)
        stack = ds.record(STACK).open_array()
        assert np.array_equal(stack[:], local[STACK].load_array(), equal_nan=True)
        for image_id in ds.list_image_ids():
            keys = [info.key for info in ds.record(image_id).list_artifacts()]
            assert keys == [info.key for info in local[image_id].list_artifacts()]


def test_a_program_without_the_opener_refuses_version_1(old: Path) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    with pytest.raises(KymflowZarrError):
        OpenDataset.open(old, "r")
    with OpenDataset.open(old, "r", older_formats=OPENERS) as ds:
        assert KYMOGRAPH in ds
    assert before == {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}


def test_a_dataset_of_version_1_pickles(old: Path) -> None:
    with ZarrDataset(old, mode="r") as ds:
        again: ZarrDataset = pickle.loads(pickle.dumps(ds))
        assert np.array_equal(again[KYMOGRAPH].load_array(), LINES)


def test_nothing_can_be_written_to_version_1(old: Path) -> None:
    storage = V1Storage(in_memory(old))
    calls: list[Callable[[], object]] = [
        storage.require_writable,
        storage.stage,
        storage.create,
        storage.settled,
        lambda: storage.lock("top"),
        lambda: storage.transaction(""),
        lambda: storage.publish([]),
        lambda: storage.put_derived("x", b"x"),
    ]
    for call in calls:
        with pytest.raises(ReadOnlyError, match="format version 1"):
            call()
