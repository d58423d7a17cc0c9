"""A dataset that is shown, asked without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from starlette.testclient import TestClient

from kymflow_zarr import RectRoi, ZarrDataset
from kymflow_zarr.viewer.web.app import make_app
from kymflow_zarr.viewer.web.security import Rules

ORIGIN = "http://127.0.0.1:8000"
PIXELS = np.arange(600 * 20, dtype=np.uint16).reshape(600, 20)
SCRIPT = "<script>alert('note')</script>"


def make_dataset(path: Path) -> ZarrDataset:
    """Write a kymograph with what may lie beside one, a stack of two channels and a photo."""
    ds = ZarrDataset(path, "w-", durability="relaxed")
    kymograph = ds.add_image(PIXELS, image_id="kymo", line_period_s=0.002, pixel_size_um=0.5)
    kymograph.save_metadata_payload(
        {
            "version": "2.0",
            "header": {"acquired_local_epoch_ns": 1_752_578_455_774_000_000},
            "experiment_metadata": {"animal": "A7", "depth": 40, "remark": SCRIPT},
            "rois": [],
        }
    )
    kymograph.save_rois([RectRoi(roi_id=1, x0=2, x1=9, y0=10, y1=300, name="lumen")])
    time_s = np.tile(np.arange(50) * 0.01, 2)
    velocity = pd.DataFrame({"roi_id": [1] * 50 + [2] * 50, "time_s": time_s[::-1]})
    velocity["velocity_mm_s"] = np.where(time_s < 0.02, np.nan, time_s)
    kymograph.save_df_parquet("velocity", velocity)
    kymograph.save_df_parquet(
        "velocity_events/events",
        pd.DataFrame(
            {
                "t_start_s": [0.1, 0.3],
                "t_end_s": [0.2, np.nan],
                "event_type": ["drop", "rise"],
                "user_type": ["unreviewed", None],
            }
        ),
    )
    kymograph.save_json("deep/note", {"text": SCRIPT, "nan": float("nan")})
    stack = np.random.default_rng(1).normal(size=(2, 3, 40, 30)).astype(np.float32)
    ds.add_image(
        stack, image_id="stack", axes="czyx", channel_names=["vessel", "cells"], pixel_size_um=0.5
    ).save_array_artifact("mask", stack[0, 0] > 0)
    ds.add_image(np.full((8, 9), 7, np.uint8), image_id="É # %2e photo")
    ds.save_table(
        "a/flow",
        pd.DataFrame(
            {
                "image_id": ["kymo", "kymo", "stack"],
                "speed_mm_s": [1.5, np.nan, 0.5],
                "state": ["rest", "run", "rest"],
            }
        ),
    )
    return ds


def client_of(dataset: ZarrDataset, *, edit: bool = False, **rules: Any) -> TestClient:
    """Return who asks the server of a dataset."""
    blind, who, only = (
        rules.pop(*each) for each in (("blind", None), ("who", "tester"), ("only", None))
    )
    known = Rules(rules.pop("host", "127.0.0.1"), 8000, **rules)
    app = make_app(dataset, known, edit=edit, who=who, blind=blind, only=only)
    return TestClient(app, base_url=ORIGIN)


def ask(client: TestClient, address: str, status: int = 200) -> Any:
    """Return an answer in JSON, which has this status."""
    response = client.get(address)
    assert response.status_code == status, response.text
    return response.json()
