"""A dataset in memory is the one that it would be in a folder."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import RectRoi, ZarrDataset
from kymflow_zarr.api.dataset import _reopened
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import ReadOnlyError, RecordExistsError, RecordNotFoundError
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.storage.memory import MemoryStorage
from kymflow_zarr.testing import state_of

PIXELS = np.arange(2000, dtype="uint16").reshape(50, 40)


def dataset_on(storage: Storage) -> ZarrDataset:
    return _reopened(OpenDataset.on, (storage,))


def work(ds: ZarrDataset) -> None:
    """Do what one does with a dataset."""
    for number, name in enumerate("abc"):
        rec = ds.add_image(PIXELS + number, image_id=name, line_period_s=0.001, pixel_size_um=0.3)
        rec.save_json("note", {"n": number})
        rec.save_df_parquet("velocity/rows", pd.DataFrame({"t": [0.0, 0.1], "v": [1.0, number]}))
        rec.save_array_artifact("mask", number < PIXELS)
        rec.save_metadata_payload({"version": "2.0", "experiment_metadata": {"animal": name}})
    first = ds["a"]
    first.save_array(PIXELS * 2)
    first.delete_array_artifact("mask")
    with first.edit(who="me") as edit:
        edit.set_verdict("accepted")
        edit.save_roi(RectRoi(roi_id=1, x0=0, x1=6, y0=0, y1=5))
    ds.save_table("pooled", pd.DataFrame({"image_id": ["a", "b", "b"], "v": [1, 2, 3]}))
    ds.replace_rows_for_image_id("pooled", "b", pd.DataFrame({"image_id": ["b"], "v": [9]}))
    ds.save_table_from("velocity", "velocity/rows")
    ds.delete_image("c")
    ds.update_manifest()


def test_a_workflow_in_memory_ends_as_in_a_folder(tmp_path: Path) -> None:
    local = dataset_on(LocalStorage(tmp_path / "x.zarr", writable=True))
    memory = dataset_on(MemoryStorage())
    for ds in (local, memory):
        work(ds)
    assert state_of(memory) == state_of(local)
    left, right = (
        ds.images().drop(columns=["created_utc", "updated_utc"]) for ds in (memory, local)
    )
    pd.testing.assert_frame_equal(left, right)
    pd.testing.assert_frame_equal(memory.gather("velocity/rows"), local.gather("velocity/rows"))
    query = "SELECT image_id, count(*) AS n FROM pooled GROUP BY image_id ORDER BY image_id"
    pd.testing.assert_frame_equal(memory.sql(query), local.sql(query))
    assert [key for key, _ in memory._open.storage.walk("images")] == [
        key for key, _ in local._open.storage.walk("images")
    ]


def test_a_dataset_in_memory_is_whole_and_valid() -> None:
    ds = dataset_on(MemoryStorage())
    work(ds)
    assert ds.verify().ok
    assert ds.validate().ok
    assert np.array_equal(ds["a"].open_array()[3:5], (PIXELS * 2)[3:5])
    assert ds["a"].thumbnail()[:4] == b"\x89PNG"
    assert ds.map(lambda rec: rec.shape, executor=None).ok
    assert ds.repair().actions == ()


def test_a_damaged_file_in_memory_is_found_and_put_away() -> None:
    storage = MemoryStorage()
    ds = dataset_on(storage)
    ds.add_image(PIXELS, image_id="a").save_json("note", {"n": 1})
    with storage.lock("image:a"), storage.transaction("images/a") as transaction:
        transaction.put("images/a/analysis/note.json", b"damaged")
    assert [damage.code for damage in ds.verify().damages] == ["file-size"]
    assert ds.repair().actions
    assert ds["a"].list_artifacts() == []
    assert all(damage.severity != "error" for damage in ds.verify().damages)


def test_ids_and_modes_in_memory_are_refused_as_in_a_folder() -> None:
    storage = MemoryStorage()
    ds = dataset_on(storage)
    ds.add_image(PIXELS, image_id="a")
    with pytest.raises(RecordExistsError):
        ds.add_image(PIXELS, image_id="a")
    with pytest.raises(RecordNotFoundError):
        ds["b"]
    reader = dataset_on(storage.reader())
    assert reader.mode == "r"
    with pytest.raises(ReadOnlyError):
        reader["a"].save_json("note", {})
    assert np.array_equal(reader["a"].load_array(), PIXELS)


def test_a_dataset_in_memory_pickles_in_its_process_and_says_so_in_another(tmp_path: Path) -> None:
    ds = dataset_on(MemoryStorage())
    ds.add_image(PIXELS, image_id="a")
    again: ZarrDataset = pickle.loads(pickle.dumps(ds))
    assert again.list_image_ids() == ["a"]
    file = tmp_path / "ds.pickle"
    file.write_bytes(pickle.dumps(ds))
    code = f"import pickle; pickle.loads(open({str(file)!r}, 'rb').read())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "in the memory of another process" in run.stderr
