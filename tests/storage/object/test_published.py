"""Datasets that were published are read over HTTP, from any host that serves ranges."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pandas as pd
import pytest
from obstore.store import LocalStore, MemoryStore

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import (
    ArgumentError,
    DatasetNotFoundError,
    ReadOnlyError,
    RecordNotFoundError,
    SchemaValidationError,
    StorageError,
)
from kymflow_zarr.storage.object.bucket import Bucket
from kymflow_zarr.storage.object.http import WebFolder
from kymflow_zarr.testing import state_of
from tests.helpers.static_host import Elsewhere, WithoutRanges, WithRanges, hosted
from tests.storage.object.test_dataset_in_a_bucket import dataset_in
from tests.storage.test_dataset_on_memory import work

PIXELS = np.arange(4000 * 64, dtype="uint16").reshape(4000, 64)


Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that serves the folder of the test and returns its address."""
    with ExitStack() as stack:

        def served(kind: Any = WithRanges) -> str:
            return stack.enter_context(hosted(tmp_path, kind))

        yield served


def test_a_folder_on_a_static_host_reads_as_it_does_at_home(tmp_path: Path, serve: Serve) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr")
    work(ds)
    ds.add_image(PIXELS, image_id="With Capitals")
    ds.update_manifest()
    there = ZarrDataset(f"{serve()}/x.zarr", mode="r")
    assert state_of(there) == state_of(ds)
    pd.testing.assert_frame_equal(there.images(), ds.images())
    assert there.list_table_names() == ds.list_table_names()
    assert np.array_equal(there["With Capitals"].load_array(slice(9, 20)), PIXELS[9:20])
    assert np.array_equal(there["With Capitals"].open_array()[9:20], PIXELS[9:20])
    assert there.verify().ok
    with pytest.raises(RecordNotFoundError):
        there["nothing"]
    with pytest.raises(ReadOnlyError):
        there["a"].save_json("x", {})
    again = pickle.loads(pickle.dumps(there))
    assert again.list_image_ids() == ds.list_image_ids()


def test_a_bucket_that_was_published_reads_too(tmp_path: Path, serve: Serve) -> None:
    bucket = Bucket("test://published", store=MemoryStore())
    ds = dataset_in(bucket)
    work(ds)
    ds.update_manifest()
    target = LocalStore(tmp_path / "x.zarr", mkdir=True)
    for item in bucket.list_below(""):
        target.put(item.name, (bucket.get(item.name) or (b"",))[0])
    there = ZarrDataset(f"{serve()}/x.zarr", mode="r")
    assert state_of(there) == state_of(ds)
    assert there.list_image_ids() == ["a", "b"]


class FromTheBeginning(WithRanges):
    """Knows no ranges that are counted from the end, as Azure's store does not."""

    def do_GET(self) -> None:  # noqa: N802 - the name is that of the library
        if self.headers.get("Range", "").startswith("bytes=-"):
            del self.headers["Range"]
        super().do_GET()


STACK = np.random.default_rng(0).integers(0, 60_000, (12, 400, 512), dtype="uint16")


@pytest.mark.parametrize(
    ("kind", "pixels", "first", "again"),
    [
        (WithRanges, PIXELS, 3, 2),  # Document, array, chunk.
        # The index of the file of many chunks, and the document once more: is it the same state?
        (WithRanges, STACK, 5, 3),
        (FromTheBeginning, STACK, 7, 4),
    ],
)
def test_a_window_costs_few_requests(
    tmp_path: Path, serve: Serve, kind: Any, pixels: Any, first: int, again: int
) -> None:
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        ds.add_image(pixels, image_id="a")
    there = ZarrDataset(f"{serve(kind)}/x.zarr", mode="r")
    host = there._open.storage.bucket  # type: ignore[attr-defined]
    record = there["a"]
    for most in (first, again):
        host.requests.clear()
        assert np.array_equal(record.load_array(slice(5, 6)), pixels[5:6])
        assert sum(host.requests.values()) == most


@pytest.mark.parametrize("pixels", [PIXELS, STACK], ids=["kymograph", "stack"])
def test_pixels_that_are_replaced_between_two_requests_are_read_whole(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, pixels: Any
) -> None:
    """An image was deleted, added again and published again: its files have the same names."""
    new = pixels[::-1].astype("int16")
    for name, content in (("x.zarr", pixels), ("new.zarr", new)):
        with ZarrDataset(tmp_path / name) as ds:
            ds.add_image(content, image_id="a")
    record = ZarrDataset(f"{serve()}/x.zarr", mode="r")["a"]
    assert np.array_equal(record.load_array(slice(3, 4)), pixels[3:4])
    ask = WebFolder.get

    def get(host: WebFolder, name: str) -> Any:
        answer = ask(host, name)
        if name == "images/a/zarr.json" and (tmp_path / "new.zarr").exists():
            shutil.rmtree(tmp_path / "x.zarr")
            shutil.move(tmp_path / "new.zarr", tmp_path / "x.zarr")
        return answer

    monkeypatch.setattr(WebFolder, "get", get)
    for _ in range(2):
        part = record.load_array(slice(5, 6))
        assert part.dtype == new.dtype
        assert np.array_equal(part, new[5:6])


def test_a_host_without_ranges_is_an_error_that_says_what_it_lacks(
    tmp_path: Path, serve: Serve
) -> None:
    big = np.random.default_rng(0).integers(0, 60_000, (60_000, 200), dtype="uint16")
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        ds.add_image(big, image_id="a")
    there = ZarrDataset(f"{serve(WithoutRanges)}/x.zarr", mode="r")
    with pytest.raises(StorageError, match="does not serve ranges"):
        there["a"].load_array(slice(0, 10))
    with pytest.raises(StorageError, match=r"published without its index.*update_manifest"):
        there.list_image_ids()


def test_wrong_addresses_of_hosts_are_refused(tmp_path: Path, serve: Serve) -> None:
    with pytest.raises(DatasetNotFoundError):
        ZarrDataset(f"{serve()}/nothing.zarr", mode="r")
    with pytest.raises(ArgumentError, match="read only"):
        ZarrDataset(f"{serve()}/x.zarr")
    with pytest.raises(StorageError, match="another host, localhost"):
        ZarrDataset(f"{serve(Elsewhere)}/x.zarr", mode="r")
    with pytest.raises(StorageError, match="a user in it") as caught:
        ZarrDataset("https://me:pAsSwOrD@host/x.zarr", mode="r")
    assert "pAsSwOrD" not in str(caught.value)


def test_a_folder_that_was_copied_into_a_bucket_is_read_and_not_written(
    s3_options: dict[str, Any], new_address: Callable[[], str], tmp_path: Path
) -> None:
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        work(ds)
    address = new_address()
    bucket = Bucket(address, s3_options)
    for path in (tmp_path / "x.zarr").rglob("*"):
        if path.is_file():
            bucket.put(path.relative_to(tmp_path / "x.zarr").as_posix(), path.read_bytes())
    there = ZarrDataset(address, mode="r", storage_options=s3_options)
    assert state_of(there) == state_of(ds)
    with pytest.raises(SchemaValidationError, match="copy of a dataset in a folder"):
        ZarrDataset(address, storage_options=s3_options)


def test_a_bucket_is_published_to_a_bucket_which_serves_it_to_browsers(
    s3_options: dict[str, Any], new_address: Callable[[], str]
) -> None:
    source, target = new_address(), new_address()
    with ZarrDataset(source, storage_options=s3_options) as ds:
        ds.add_image(np.arange(800, dtype="uint16").reshape(40, 20), image_id="a")
        ds.save_table("t", pd.DataFrame({"image_id": ["a"], "v": [1]}))
        assert ds.publish(target, storage_options=s3_options).ok
        again = ds.publish(target, storage_options=s3_options)
        assert again.n_bytes == 0
        state = state_of(ds)
    with ZarrDataset(target, mode="r", storage_options=s3_options) as there:
        assert state_of(there) == state
    bucket = Bucket(target, s3_options)
    assert json.loads((bucket.get("zarr.json") or (b"", ""))[0])["attributes"]["kymflow_zarr"]
    headers = obstore.get(bucket._store, "index.html").attributes
    assert headers["Content-Type"].startswith("text/html")
    assert headers["Cache-Control"] == "no-cache"
