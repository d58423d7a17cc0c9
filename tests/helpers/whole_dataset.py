"""A small dataset with one of everything, and all that the API says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile

from kymflow_zarr import ZarrDataset

PIXELS = np.arange(16 * 6, dtype=np.uint16).reshape(16, 6)


def write_whole(path: Path, source: Path) -> None:
    """Write the dataset; files of `source` are ingested into it."""
    source.mkdir()
    tifffile.imwrite(source / "scan.tif", PIXELS)
    (source / "scan.note.json").write_text('{"by": "me"}')
    (source / "all_db.csv").write_text("rel_path,n\nscan.tif,3\n")
    with ZarrDataset(path, mode="w-", durability="relaxed") as ds:
        line = ds.add_image(PIXELS, image_id="line", chunks=(8, 6), line_period_s=0.001)
        line.save_metadata_payload(
            {"version": "2.0", "header": {}, "experiment_metadata": {"day": 3}, "rois": []}
        )
        frame = pd.DataFrame({"time": [0.0, 0.1], "velocity": [1.0, float("nan")]})
        line.save_json("flow/Summary", {"mean": float("nan")})
        line.save_df_parquet("flow/velocity", frame)
        line.save_df_csv_gz("flow/velocity", frame)
        line.save_array_artifact("mask", PIXELS > 7)
        ds.ingest_legacy_folder(source)
        ds.save_table("events", pd.DataFrame({"image_id": ["line", "line"], "n": [1, 2]}))
        ds.update_manifest()


def values_of(path: Path) -> Any:
    """Return all that a reader is told, as text that can be compared."""
    with ZarrDataset(path, mode="r") as ds:
        said: dict[str, Any] = {
            "dataset": [ds.dataset_id, ds.created_utc, ds.list_image_ids(), ds.list_table_names()],
            "manifest": ds.load_manifest(),
            "sources": ds.load_sources_index().to_dict("list"),
            "tables": {name: frame_of(ds.load_table(name)) for name in ds.list_table_names()},
        }
        for image_id in ds:
            rec = ds[image_id]
            load = {
                "json": rec.load_json, "parquet": rec.load_df_parquet, "csv_gz": rec.load_df_csv_gz
            }  # fmt: skip
            said[image_id] = {
                "pixels": array_of(rec.load_array()),
                "axes": repr(rec.axes),
                "artifacts": {
                    info.key: frame_of(load[info.kind](info.name)) for info in rec.list_artifacts()
                },
                "arrays": {
                    name: array_of(rec.load_array_artifact(name))
                    for name in rec.list_array_artifacts()
                },
            }
    return json.dumps(said, default=repr, sort_keys=True)


def frame_of(value: Any) -> Any:
    return value.to_dict("list") if isinstance(value, pd.DataFrame) else value


def array_of(array: np.ndarray[Any, Any]) -> Any:
    return [str(array.dtype), array.tolist()]


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the bytes of each file below a folder, by its path below it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
