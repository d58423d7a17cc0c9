"""The page's server needs nothing of a dataset but its storage."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd

from kymflow_zarr import ZarrDataset
from kymflow_zarr.api.dataset import _reopened
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.storage.memory import MemoryStorage
from tests.viewer.web.site import ask, client_of

PIXELS = np.arange(600, dtype="uint16").reshape(30, 20)


def test_a_dataset_that_is_in_no_folder_is_shown_and_downloaded() -> None:
    storage = MemoryStorage()
    ds: ZarrDataset = _reopened(OpenDataset.on, (storage,))
    rec = ds.add_image(PIXELS, image_id="a")
    rec.save_json("note", [1, 2])
    rows = pd.DataFrame({"image_id": ["a"], "v": [1.5]})
    rec.save_df_parquet("rows", rows)
    ds.save_table("t", rows)
    client = client_of(ds, zarr_key="key")
    assert ask(client, "/api/images/a")["ome_zarr"] == "/zarr/key/images/a"
    assert ask(client, "/api/dataset")["tables"][0]["n_rows"] == 1
    chunk = storage.read("images/a/data/c/0/0")
    assert client.get("/zarr/key/images/a/data/c/0/0").content == chunk
    assert client.get("/download/artifact/a?kind=json&name=note").json() == [1, 2]
    for address in ("table/t?as=parquet", "artifact/a?kind=parquet&name=rows&as=parquet"):
        stored = client.get(f"/download/{address}").content
        pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(stored)), rows)


def test_a_part_of_a_file_is_sent_while_the_file_is_the_same(dataset: ZarrDataset) -> None:
    client = client_of(dataset, zarr_key="key")
    stored = (dataset.path / "images/kymo/data/c/0/0").read_bytes()
    address = "/zarr/key/images/kymo/data/c/0/0"
    whole = client.get(address)
    tag = whole.headers["etag"]
    for asked, expected in (
        ("bytes=0-0", stored[:1]), ("bytes=5-", stored[5:]), ("bytes=-3", stored[-3:]),
        (f"bytes=0-{10**9}", stored),
    ):  # fmt: skip
        part = client.get(address, headers={"Range": asked, "If-Range": tag})
        assert (part.status_code, part.content) == (206, expected), asked
        assert part.headers["content-length"] == str(len(expected))
    # Another file, several ranges, and what is no range: the whole file.
    for headers in (
        {"Range": "bytes=0-0", "If-Range": '"other"'}, {"Range": "bytes=0-1,4-5"},
        {"Range": "bytes=-"}, {"Range": "lines=0-1"}, {"Range": "bytes=1-x"},
    ):  # fmt: skip
        assert client.get(address, headers=headers).content == stored, headers
    for nothing in ("bytes=-0", f"bytes={len(stored)}-", "bytes=5-4"):
        assert client.get(address, headers={"Range": nothing}).status_code == 416, nothing
    head = client.head(address, headers={"Range": "bytes=0-9"})
    assert (head.status_code, head.content, head.headers["content-length"]) == (206, b"", "10")
