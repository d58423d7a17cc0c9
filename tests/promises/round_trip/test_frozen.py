"""A dataset of format version 2, written once and checked in: every later version reads it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from kymflow_zarr import RectRoi, ZarrDataset
from tests.frozen.make_v2 import EXPECTED, HEADER, STORE, values_of
from tests.helpers.whole_dataset import files_below


def times_below(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_every_value_is_read_as_it_was_written_and_nothing_is_changed() -> None:
    before, times = files_below(STORE), times_below(STORE)
    with ZarrDataset(STORE, mode="r") as ds:
        assert values_of(ds) == json.loads(EXPECTED.read_text(encoding="utf-8"))
    assert files_below(STORE) == before
    assert times_below(STORE) == times


def test_some_values_spelled_out() -> None:
    with ZarrDataset(STORE, mode="r") as ds:
        assert ds.list_image_ids() == ["Stack (µm)", "channels", "empty", "five", "line", "photo"]
        assert ds.created_utc == "2026-07-15T12:00:00.000000Z"
        assert ds.list_table_names() == ["all/days", "events"]
        assert ds.load_table("events").to_dict("list") == {
            "image_id": ["line", "photo"], "v": [0.5, 2.0]
        }  # fmt: skip
        line = ds["line"]
        np.testing.assert_array_equal(
            line.load_array(), np.arange(280, dtype=np.uint16).reshape(40, 7)
        )
        assert [(a.name, a.quantity, a.step) for a in line.axes] == [
            ("y", "time", 0.00117), ("x", "space", 0.284)
        ]  # fmt: skip
        [roi] = line.load_rois()
        assert isinstance(roi, RectRoi)
        assert (roi.x0, roi.x1, roi.y0, roi.y1) == (0, 7, 0, 40)
        events = line.load_json("velocity/Events")
        assert events["1"][0] == 1.5
        assert math.isnan(events["1"][1])
        assert events["1"][2] == -math.inf
        assert line.load_df_csv_gz("velocity/all")["note"].tolist()[2] == 'a "b", c'
        np.testing.assert_allclose(
            line.load_array_artifact("Spectrum"), np.exp(1j * np.arange(5)), rtol=1e-12
        )
        assert line.load_array_artifact("mask").sum() == 94
        assert [file.rel_path for file in line.source_files] == ["line.tif", "line.txt"]
        assert line.source_files[1].size_bytes == len(HEADER)
        assert ds["channels"].channel_names == ["vessel", "cells"]
        assert ds["photo"].load_array()[3, 4].tolist() == [57, 58, 59]
        assert ds["empty"].shape == (0, 4)
        assert ds["five"].shape == (2, 1, 3, 6, 5)


def test_it_is_whole_and_valid() -> None:
    with ZarrDataset(STORE, mode="r") as ds:
        assert ds.verify().damages == ()
        assert ds.repair(dry_run=True).actions == ()
        report = ds.validate()
        # The axes of a photograph, y x c, cannot be told in OME-Zarr.
        assert [problem.code for problem in report.problems] == ["ome-not-expressible"]


def test_it_is_small() -> None:
    assert sum(map(len, files_below(STORE).values())) < 200_000
