"""Every call that changes a dataset, and a dataset in which each finds something to change."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from kymflow_zarr import RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.testing import SyntheticVessel, write_experiment

LONG: Final = os.environ.get("KYMFLOW_ZARR_LONG", "") not in ("", "0")
# Long runs sample what is too much for an hour; another seed samples others, and "all" tries all.
EVERY: Final = os.environ.get("KYMFLOW_ZARR_LONG") == "all"
SEED: Final = int(os.environ.get("KYMFLOW_ZARR_SEED", "0"))

PIXELS: Final = np.arange(120, dtype=np.uint16).reshape(20, 6)
FRAME: Final = pd.DataFrame({"roi_id": [1, 2], "peak": [0.5, float("nan")]})
EVENTS: Final = pd.DataFrame({"t_start_s": [0.1, 0.4], "event_type": ["drop", "rise"]})
RECTANGLE: Final = RectRoi(roi_id=1, x0=0, x1=4, y0=1, y1=9)
PAYLOAD: Final[dict[str, Any]] = {
    "version": "2.0",
    "header": {"shape": [20, 6], "ndim": 2},
    "experiment_metadata": {"species": "mouse"},
    "rois": [],
}


def write_base(path: Path) -> None:
    """Write a small dataset with one of everything."""
    with ZarrDataset(path, "w-", durability="relaxed") as ds:
        for image_id in ("a", "b"):
            rec = ds.add_image(PIXELS, image_id=image_id, line_period_s=0.001, pixel_size_um=0.3)
            if image_id == "b":
                continue
            rec.save_json("v/x", {"n": 1})
            rec.save_json("v/y", [1, 2])
            rec.save_df_parquet("frame", FRAME)
            rec.save_df_csv_gz("rows", FRAME)
            rec.save_df_parquet("events", EVENTS)
            rec.save_array_artifact("mean", PIXELS.mean(axis=0))
            rec.save_metadata_payload(PAYLOAD)
            rec.save_result("speed", FRAME, params={"window": 16})
            for number, roi in enumerate((RECTANGLE, replace(RECTANGLE, x1=5))):
                with rec.edit() as edit:
                    edit.set_note(f"note {number}")
                    edit.save_roi(roi)
        for table in ("one", "two"):
            ds.save_table(table, pd.DataFrame({"image_id": ["a", "b", "a"], "n": [1, 2, 3]}))


def _edit(ds: ZarrDataset) -> None:
    with ds["a"].edit() as edit:
        edit.set_verdict("accepted")
        edit.save_roi({"data": {"x0": 0, "x1": 3, "y0": 0, "y1": 5}, "roi_id": 7})
        edit.set_event_type("events", 1, "stall")


def _peak(rec: ZarrImageRecord, window: int) -> pd.DataFrame:
    return pd.DataFrame({"peak": rec.load_array()[:window].max(axis=0)})


def _rows(n: int) -> pd.DataFrame:
    return pd.DataFrame({"image_id": ["a"] * n, "n": range(n)})


OPERATIONS: Final[dict[str, Callable[[ZarrDataset], object]]] = {
    "add_image": lambda ds: ds.add_image(PIXELS, image_id="new"),
    "add_image, several chunks": lambda ds: ds.add_image(PIXELS, image_id="new", chunks=(5, 6)),
    "save_array": lambda ds: ds["a"].save_array(PIXELS + 7),
    "save_json, new": lambda ds: ds["a"].save_json("w/deep/er", {"new": True}),
    "save_json, replaced": lambda ds: ds["a"].save_json("v/x", {"n": 2}),
    "save_df_parquet": lambda ds: ds["a"].save_df_parquet("frame", FRAME * 2),
    "save_df_csv_gz": lambda ds: ds["a"].save_df_csv_gz("w/rows", FRAME),
    "save_array_artifact, new": lambda ds: ds["a"].save_array_artifact("new", PIXELS / 2),
    "save_array_artifact, replaced": lambda ds: ds["a"].save_array_artifact("mean", PIXELS[0]),
    "delete_array_artifact": lambda ds: ds["a"].delete_array_artifact("mean"),
    "delete_analysis, several": lambda ds: ds["a"].delete_analysis(),
    "save_metadata_payload": lambda ds: ds["a"].save_metadata_payload(PAYLOAD | {"more": 1}),
    "save_mask": lambda ds: ds["a"].save_mask("cell", PIXELS > 50),
    "save_rois": lambda ds: ds["a"].save_rois([RECTANGLE]),
    "compute": lambda ds: ds.compute("peak", _peak, params={"window": 4}, ids=["a"]),
    "save_result, replaced and kept": lambda ds: ds["a"].save_result("speed", [1, 2], keep=1),
    "edit": _edit,
    "undo": lambda ds: ds["a"].undo(),
    "judge": lambda ds: ds.judge(ds.list_image_ids(), "rejected"),
    "save_table": lambda ds: ds.save_table("three", FRAME),
    "replace_rows_for_image_id": lambda ds: ds.replace_rows_for_image_id("one", "a", _rows(5)),
    "delete_table": lambda ds: ds.delete_table("two"),
    "delete_image": lambda ds: ds.delete_image("a"),
    "update_manifest": lambda ds: ds.update_manifest(),
}


def write_lab(folder: Path) -> None:
    """Write a folder of two acquisitions, with sidecars, pooled tables and a stray file."""
    vessels = [SyntheticVessel(name=f"v{i}", n_lines=100, seed=i) for i in range(2)]
    write_experiment(folder, vessels=vessels)
    (folder / "notes.xml").write_text("<note/>")


def by_source(record: Any) -> str:
    """Call an image what its file is called: its id is another each time it is added."""
    return str(record.source_files[0].rel_path)
