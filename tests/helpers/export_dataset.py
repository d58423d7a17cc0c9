"""A small dataset with one of everything, for the tests of exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kymflow_zarr import ZarrDataset

MANIFEST = "kymflow_zarr_export.json"
EXACT = pd.DataFrame({"roi_id": [1, 2], "note": ["a", "b"], "velocity": [0.5, 2.0]})
TYPED = pd.DataFrame({"when": pd.to_datetime(["2026-01-01", "NaT"]), "n": [1, 2]}, index=[5, 7])


def dataset(folder: Path) -> ZarrDataset:
    """Two images, of which the second has one of everything, and two tables."""
    ds = ZarrDataset(folder / "d.zarr", mode="w", durability="relaxed")
    ds.add_image(np.arange(20, dtype="uint8").reshape(4, 5), image_id="plain")
    rec = ds.add_image(
        np.arange(60, dtype="uint16").reshape(10, 6),
        image_id="rich",
        line_period_s=0.002,
        pixel_size_um=0.25,
    )
    rec.save_metadata_payload({"version": "2.0", "rois": []})
    rec.save_json("velocity_events/events", {"1:1": [float("nan")]})
    rec.save_df_parquet("exact", EXACT)
    rec.save_df_parquet("typed", TYPED)
    rec.save_df_csv_gz("text", EXACT)
    rec.save_array_artifact("seg/mask", np.eye(3, dtype=bool), axes=["y", "x"])
    ds.save_table("radon_report", EXACT)
    ds.save_table("typed", TYPED)
    return ds


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_bytes())
    return found
