"""A dataset with results that was exported and ingested again has equal results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kymflow_zarr import ReadingRecord, RectRoi, ZarrDataset


def velocity(rec: ReadingRecord, scale: int) -> pd.DataFrame:
    return pd.DataFrame({"time_s": [1.0], "v": [scale * float(rec.load_array().mean())]})


def none(_: Any) -> None:
    raise ValueError("too dark")


def test_results_go_through_an_export_and_stay_up_to_date(ds: ZarrDataset, tmp_path: Path) -> None:
    for name, chunks in (("a", None), ("b", (40, 38))):
        pixels = np.random.default_rng(0).integers(0, 99, (200, 38)).astype("uint16")
        rec = ds.add_image(pixels, image_id=name, line_period_s=0.001, chunks=chunks)
        rec.save_rois([RectRoi(roi_id=1, x0=0, x1=38, y0=0, y1=200)])
    for scale in (1, 2):
        ds.compute("velocity", velocity, params={"scale": scale}, keep=1)
    ds.compute("mask", lambda r: r.load_array() > 3)
    ds.compute("n", lambda r: int(r.result("mask").load().sum()) + r.load_rois()[0].x1)
    ds.compute("nothing", lambda _: None)
    ds.compute("failed", none)
    ds.export_legacy_folder(tmp_path / "out")
    with ZarrDataset(tmp_path / "back.zarr", durability="relaxed") as back:
        back.ingest_legacy_folder(tmp_path / "out")
        assert len(back.stale()) == 0
        for name in "ab":
            assert back[name].results() == ds[name].results()
            assert back[name].list_artifacts() == ds[name].list_artifacts()
        assert len(back.compute("velocity", velocity, params={"scale": 2}).up_to_date) == 2
