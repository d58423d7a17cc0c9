"""The dataset against a plain dictionary: whatever is called in whatever order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from hypothesis.extra import numpy as hnp
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from kymflow_zarr import ZarrDataset

NAMES = st.sampled_from(["a", "A", "a/b", "metadata", "zarr", "é", "x.json"])
ARRAYS = hnp.arrays(
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    shape=hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
)
VALUES = st.dictionaries(st.text(max_size=3), st.integers() | st.floats(allow_nan=False))


class Against(RuleBasedStateMachine):
    """Every step is made twice: on a dataset, and on dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "x.zarr"
        self.ds = ZarrDataset(self.path, mode="w-", durability="relaxed")
        self.pixels: dict[str, Any] = {}
        self.json: dict[tuple[str, str], Any] = {}
        self.arrays: dict[tuple[str, str], Any] = {}
        self.tables: dict[str, list[tuple[str, int]]] = {}

    images = Bundle("images")

    @rule(target=images, arr=ARRAYS, own=st.none() | st.sampled_from(["i", "I", "j k"]))
    def add(self, arr: Any, own: str | None) -> Any:
        if own in self.pixels:
            with pytest.raises(ValueError, match="already"):
                self.ds.add_image(arr, image_id=own)
            return multiple()
        image_id = self.ds.add_image(arr, image_id=own).image_id
        self.pixels[image_id] = arr
        return image_id

    @rule(image_id=images, arr=ARRAYS)
    def replace(self, image_id: str, arr: Any) -> None:
        self.ds[image_id].save_array(arr)
        self.pixels[image_id] = arr

    @rule(image_id=images, name=NAMES, value=VALUES)
    def save_json(self, image_id: str, name: str, value: Any) -> None:
        self.ds[image_id].save_json(name, value)
        self.json[image_id, name] = value

    @rule(image_id=images, name=NAMES, arr=ARRAYS)
    def save_array(self, image_id: str, name: str, arr: Any) -> None:
        self.ds[image_id].save_array_artifact(name, arr)
        self.arrays[image_id, name] = arr

    @rule(image_id=images)
    def delete_analysis(self, image_id: str) -> None:
        gone = [key for key in self.json if key[0] == image_id and key[1] != "metadata"]
        assert self.ds[image_id].delete_analysis() == len(gone)
        for key in gone:
            del self.json[key]

    @rule(image_id=images, name=NAMES, n=st.lists(st.integers(0, 9), max_size=3))
    def replace_rows(self, image_id: str, name: str, n: list[int]) -> None:
        rows = pd.DataFrame({"image_id": [image_id] * len(n), "n": n})
        self.ds.replace_rows_for_image_id(name, image_id, rows)
        kept = [row for row in self.tables.get(name, []) if row[0] != image_id]
        self.tables[name] = [*kept, *((image_id, i) for i in n)]

    @rule(name=NAMES)
    def delete_table(self, name: str) -> None:
        if self.tables.pop(name, None) is None:
            with pytest.raises(FileNotFoundError):
                self.ds.delete_table(name)
        else:
            self.ds.delete_table(name)

    @rule(image_id=consumes(images))
    def delete_image(self, image_id: str) -> None:
        rows = [row for table in self.tables.values() for row in table if row[0] == image_id]
        assert self.ds.delete_image(image_id) == len(rows)
        del self.pixels[image_id]
        for mapping in (self.json, self.arrays):
            for key in [key for key in mapping if key[0] == image_id]:
                del mapping[key]
        for name, table in self.tables.items():
            self.tables[name] = [row for row in table if row[0] != image_id]

    @rule()
    def reopen(self) -> None:
        self.ds = ZarrDataset(self.path, mode="r+", durability="relaxed")

    @rule()
    def update_manifest(self) -> None:
        self.ds.update_manifest()

    @invariant()
    def the_same_is_there(self) -> None:
        assert self.ds.list_image_ids() == sorted(self.pixels)
        assert self.ds.list_table_names() == sorted(self.tables)
        for image_id, arr in self.pixels.items():
            rec = self.ds[image_id]
            loaded = rec.load_array()
            assert loaded.dtype == arr.dtype
            np.testing.assert_array_equal(loaded, arr)
            names = sorted(name for owner, name in self.json if owner == image_id)
            assert sorted(info.name for info in rec.list_artifacts()) == names
            names = sorted(name for owner, name in self.arrays if owner == image_id)
            assert rec.list_array_artifacts() == names
        for (image_id, name), value in self.json.items():
            assert self.ds[image_id].load_json(name) == value
        for (image_id, name), arr in self.arrays.items():
            np.testing.assert_array_equal(self.ds[image_id].load_array_artifact(name), arr)
        for name, rows in self.tables.items():
            table = self.ds.load_table(name)
            assert list(zip(table["image_id"], table["n"], strict=True)) == rows

    @invariant()
    def the_index_says_the_same(self) -> None:
        shapes = {e["image_id"]: tuple(e["shape"]) for e in self.ds.load_manifest()["images"]}
        assert shapes == {image_id: arr.shape for image_id, arr in self.pixels.items()}

    def teardown(self) -> None:
        assert self.ds.validate().ok
        self.folder.cleanup()


Against.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestAgainstDictionaries = Against.TestCase
