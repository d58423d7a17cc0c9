"""Datasets of format version 3: one that was checked in, and hostile ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from obstore.store import MemoryStore

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import FormatVersionError, KymflowZarrError, SchemaValidationError
from kymflow_zarr.storage.object.bucket import Bucket
from kymflow_zarr.storage.object.heads import is_deleted, is_pending
from tests.frozen.make_v2 import EXPECTED, values_of
from tests.frozen.make_v3 import STORE
from tests.storage.object.test_dataset_in_a_bucket import dataset_in

PIXELS = np.arange(2000, dtype="uint16").reshape(50, 40)


def frozen_bucket() -> Bucket:
    bucket = Bucket("test://frozen", store=MemoryStore())
    for path in STORE.rglob("*"):
        if path.is_file():
            bucket.put(path.relative_to(STORE).as_posix(), path.read_bytes())
    return bucket


def test_every_value_of_the_frozen_dataset_is_read_as_it_was_written() -> None:
    ds = dataset_in(frozen_bucket())
    assert values_of(ds) == json.loads(EXPECTED.read_text(encoding="utf-8"))
    assert ds.verify().ok


def test_what_a_dead_writer_committed_is_finished_by_the_next() -> None:
    bucket = frozen_bucket()
    ds = dataset_in(bucket)
    assert is_pending(len((STORE / "heads" / "images" / "empty.json").read_bytes()))
    assert is_deleted(len((STORE / "heads" / "images" / "gone.json").read_bytes()))
    ds["empty"].save_json("note", 1)
    head = json.loads((bucket.get("heads/images/empty.json") or (b"",))[0])
    assert "pending" not in head
    assert ds["empty"].load_json("note") == 1
    ds.add_image(PIXELS, image_id="gone")
    assert np.array_equal(ds["gone"].load_array(), PIXELS)


def test_a_reader_of_folders_refuses_a_bucket_that_was_downloaded(tmp_path: Path) -> None:
    for path in STORE.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(STORE)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    with pytest.raises(FormatVersionError, match="format version 3"):
        ZarrDataset(tmp_path, mode="r")


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b'"images/line/', b'"../../line/../', SchemaValidationError),
        (b'"format_version":3', b'"format_version":4', FormatVersionError),
        (b'"size":', b'"sizes":', SchemaValidationError),
        (b'{"commit"', b'{"commit', SchemaValidationError),
    ],
)
def test_a_hostile_head_harms_its_image_alone(
    old: bytes, new: bytes, error: type[KymflowZarrError]
) -> None:
    bucket = frozen_bucket()
    ds = dataset_in(bucket)
    head, _ = bucket.get("heads/images/line.json") or (b"", "")
    assert old in head
    bucket.put("heads/images/line.json", head.replace(old, new))
    with pytest.raises(error):
        ds["line"].load_array()
    assert ds["photo"].load_array().shape
    assert "head" in str(ds.images().set_index("image_id").loc["line", "error"])
    assert not ds.verify().ok
