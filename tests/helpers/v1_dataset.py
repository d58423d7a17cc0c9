"""A dataset of format version 1, written with zarr-python as the program of then wrote it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from click.testing import CliRunner

from kymflow_zarr.cli.app import app

CREATED = "2026-01-02T03:04:05Z"
UPDATED = "2026-01-03T00:00:00Z"
KYMOGRAPH = "8a83983b-07d9-4eb2-839a-63fae9c68585"
STACK = "029ed734-66bf-4556-ac30-a2b8e5a9973f"
PLAIN = "d6009619-a4e0-4103-929e-ced16538ffa0"

LINES = np.arange(600 * 38, dtype=np.uint16).reshape(600, 38)
CHANNELS_LAST = np.linspace(-1, 1, 2 * 3 * 2 * 8 * 4, dtype=np.float32).reshape(2, 3, 2, 8, 4)
CHANNELS_LAST[0, 0, 0, 0, 0] = np.nan
MASK = LINES % 3 == 0
FRAME = pd.DataFrame({"roi_id": [1, 2], "peak": [0.5, float("nan")], "kind": ["rise", "drop"]})
PAYLOAD: dict[str, Any] = {
    "version": "2.0",
    "header": {
        "shape": [600, 38],
        "ndim": 2,
        "voxels": [0.00117, 0.284],
        "voxels_units": ["s", "um"],
        "acquired_local_epoch_ns": 1667392215461000000,
    },
    "experiment_metadata": {"species": "mouse"},
    "rois": [],
}
LATER: dict[str, Any] = {
    "version": "2.0",
    "header": {"acquired_local_epoch_ns": 1700000000000000000},
    "experiment_metadata": {},
    "rois": [],
}
SOURCES = pd.DataFrame(
    {
        "source_primary_path": ["/data/example.tif"],
        "image_id": [KYMOGRAPH],
        "source_mtime_ns": [1],
        "source_size_bytes": [2288496],
        "ingested_epoch_ns": [1730000000000000000],
    }
)
POOLED = pd.DataFrame({"image_id": [KYMOGRAPH, STACK], "score": [0.5, 0.25]})


def write_v1(root: Path) -> Path:
    """Write a small dataset with one of everything, and return its path."""
    _group(
        root,
        {
            "format": "kymflow_zarr_v1",
            "schema_version": 1,
            "created_utc": CREATED,
            "updated_utc": UPDATED,
        },
    )
    _group(root / "images")
    line = add_image(root, KYMOGRAPH, LINES, ["y", "x"])
    _json(line / "analysis" / "metadata.json", PAYLOAD)
    _json(line / "analysis" / "provenance.json", {"original_path": "/data/example.tif"})
    _json(line / "analysis" / "nested" / "ROI_table (µm).json", {"snr": float("nan"), "n": [1, 2]})
    (line / "analysis" / "velocity_events").mkdir()
    FRAME.to_parquet(line / "analysis" / "velocity_events" / "events.parquet")
    FRAME.to_csv(line / "analysis" / "ROI_table.csv.gz", index=False)
    _group(line / "analysis_arrays")
    add_array(line, "roi_mask_1", MASK, ["y", "x"])
    add_array(line, "Projection", LINES.mean(axis=0), None)
    stack = add_image(root, STACK, CHANNELS_LAST, ["t", "z", "y", "x", "c"], created=UPDATED)
    _json_gz(stack / "analysis" / "metadata.json.gz", LATER)
    _json_gz(stack / "analysis" / "legacy_payload.json.gz", {"legacy": True, "v": [1, 2, 3]})
    # Zarr leaves out the chunks that hold nothing but zeros.
    add_image(root, PLAIN, np.zeros((40, 50), dtype=">i2"), ["y", "x"])
    (root / "tables").mkdir()
    SOURCES.to_parquet(root / "tables" / "sources.parquet")
    POOLED.to_parquet(root / "tables" / "Kym_events.parquet")
    _group(root / "index")
    _json_gz(root / "index" / "manifest.json.gz", {"schema_version": 1, "images": []})
    return root


def add_image(
    root: Path,
    image_id: str,
    pixels: np.ndarray[Any, Any],
    axes: Sequence[str],
    *,
    created: str = CREATED,
) -> Path:
    """Add an image and return its folder."""
    folder = root / "images" / image_id
    _group(folder, {"axes": list(axes), "created_utc": created, "updated_utc": UPDATED})
    _array(folder / "data", pixels)
    return folder


def add_array(
    record: Path, name: str, values: np.ndarray[Any, Any], axes: Sequence[str] | None
) -> None:
    """Add an array artifact to an image's folder."""
    folder = record / "analysis_arrays" / name
    _group(folder, {"axes": None if axes is None else list(axes), "updated_utc": UPDATED})
    _array(folder / "data", values)


def edit_json(path: Path, **values: object) -> None:
    """Set keys of a JSON document."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def run(*args: object) -> tuple[int, str]:
    """Run a command; return its exit code and what it said."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    return result.exit_code, result.output


def _group(folder: Path, attributes: dict[str, Any] | None = None) -> None:
    _json(folder / ".zgroup", {"zarr_format": 2})
    if attributes is not None:
        _json(folder / ".zattrs", attributes)


def _array(folder: Path, values: np.ndarray[Any, Any]) -> None:
    chunks = tuple(max(1, n // 2) for n in values.shape)
    array = zarr.create_array(
        folder, shape=values.shape, chunks=chunks, dtype=values.dtype, zarr_format=2
    )
    array[...] = values


def _json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=4), encoding="utf-8")


def _json_gz(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(document).encode()))
