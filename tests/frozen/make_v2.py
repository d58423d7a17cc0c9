"""Make the frozen dataset of format version 2, and what is to be read of it.

    python -m tests.frozen.make_v2

It was run once for the version that was released. What is checked in stays as it is: a test
reads it for ever. Run it again only as long as no version 2 has been released.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
import shutil
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd

from kymflow_zarr import Axis, ZarrDataset
from kymflow_zarr.engine import documents
from kymflow_zarr.schema.image import SourceFileDocument

HERE = Path(__file__).parent
STORE = HERE / "v2" / "experiment.zarr"
EXPECTED = HERE / "v2" / "expected.json"
NOON = dt.datetime(2026, 7, 15, 12, 0, tzinfo=dt.UTC)
HEADER = b"[General]\r\nScan\tLine\r\n"
POOLED = b"rel_path,n\nline.tif,3\n"


class _Clock(dt.datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _Clock:
        return cls.fromtimestamp(NOON.timestamp(), tz)


def main() -> None:
    """Write both."""
    shutil.rmtree(STORE.parent, ignore_errors=True)
    STORE.parent.mkdir()
    draw = random.Random(2)

    def new_id() -> uuid.UUID:
        return uuid.UUID(int=draw.getrandbits(128), version=4)

    with (
        mock.patch.object(documents, "dt", SimpleNamespace(datetime=_Clock, UTC=dt.UTC)),
        mock.patch.object(uuid, "uuid4", new_id),
        ZarrDataset(STORE, mode="w-") as ds,
    ):
        _fill(ds)
    # Locks of no writer, and no part of the data.
    shutil.rmtree(STORE / ".kymflow_zarr")
    with ZarrDataset(STORE, mode="r") as ds:
        EXPECTED.write_text(json.dumps(values_of(ds), indent=1, sort_keys=True) + "\n")


def _fill(ds: ZarrDataset) -> None:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "time": [0.0, 0.1, float("nan")],
            "n": pd.array([1, None, 3], dtype="Int64"),
            "when": pd.Series(["2026-01-02", None, "2026-12-31"], dtype="datetime64[ns]"),
            "note": ["µ", "", 'a "b", c'],
            "good": [True, False, True],
        }
    )
    with ds._open.new_record("line") as draft:
        draft.set_pixels(
            np.arange(40 * 7, dtype=np.uint16).reshape(40, 7),
            chunks=(16, 7),
            line_period_s=0.00117,
            pixel_size_um=0.284,
        )
        draft.save("json", "provenance", {"original_path": "/data/experiment/line.tif"})
        kept = draft.keep_source_file("line.txt", HEADER)
        draft.set_source_files([_file("line.tif", "image", b"TIFF", None),
                                _file("line.txt", "header", HEADER, kept)])  # fmt: skip
        draft.commit()
    line = ds["line"]
    line.save_metadata_payload(
        {
            "version": "2.0",
            "header": {"shape": [40, 7], "acquired_local_epoch_ns": 1_752_572_515_461_000_000},
            "experiment_metadata": {"species": "mouse", "depth_um": 120},
            "rois": [
                {
                    "roi_id": 1, "roi_type": "rect", "version": "1.0", "name": "all", "note": "",
                    "channel": 1, "z": 0, "data": {"x0": 0, "x1": 7, "y0": 0, "y1": 40}, "meta": {},
                }
            ],
        }
    )  # fmt: skip
    line.save_json("velocity/Events", {"1": [1.5, float("nan"), float("-inf")], "µ": None})
    line.save_df_parquet("velocity/all", frame)
    line.save_df_csv_gz("velocity/all", frame[["time", "note"]])
    line.save_array_artifact("mask", line.load_array() % 3 == 0, axes=["y", "x"])
    line.save_array_artifact("Spectrum", np.exp(1j * np.arange(5)))
    ds.add_image(rng.normal(size=(3, 8, 9)).astype(np.float32), image_id="Stack (µm)")
    ds.add_image(
        rng.integers(0, 255, (2, 2, 6, 5)).astype(np.uint8),
        image_id="channels",
        axes="czyx",
        channel_names=["vessel", "cells"],
        pixel_size_um=0.5,
    )
    ds.add_image(
        rng.integers(-9, 9, (2, 1, 3, 6, 5)).astype(np.int32),
        image_id="five",
        chunks=(1, 1, 1, 4, 5),
    )
    photo = ds.add_image(
        np.zeros((4, 5, 3), np.uint8),
        image_id="photo",
        axes=[Axis("y", "space"), Axis("x", "space"), Axis("c", "channel")],
    )
    photo.save_array(np.arange(60, dtype=np.uint8).reshape(4, 5, 3))
    ds.add_image(np.zeros((0, 4), bool), image_id="empty")
    ds.save_table("events", pd.DataFrame({"image_id": ["line", "photo"], "v": [0.5, 2.0]}))
    ds.save_table("all/days", frame)
    ds._open.source_files.keep({"/data/experiment/day_db.csv": (
        _file("day_db.csv", "pooled", POOLED, None), POOLED)})  # fmt: skip


def _file(name: str, role: str, data: bytes, kept_as: str | None) -> SourceFileDocument:
    return SourceFileDocument(
        path=f"/data/experiment/{name}",
        rel_path=name,
        role=role,
        size_bytes=len(data),
        mtime_ns=1_752_572_515_461_000_000,
        sha256=hashlib.sha256(data).hexdigest(),
        kept_as=kept_as,
    )


def values_of(ds: ZarrDataset) -> dict[str, Any]:
    """Return all that is to be read of a dataset, as plain JSON values."""
    kept = ds._open.source_files
    return {
        "dataset_id": ds.dataset_id,
        "created_utc": ds.created_utc,
        "tables": {name: _frame(ds.load_table(name)) for name in ds.list_table_names()},
        "kept": {
            path: hashlib.sha256(kept.read(document)).hexdigest()
            for path, document in kept.documents().items()
        },
        "images": {image_id: _image(ds, image_id) for image_id in ds.list_image_ids()},
    }


def _image(ds: ZarrDataset, image_id: str) -> dict[str, Any]:
    rec = ds[image_id]
    load = {
        "json": lambda name: repr(rec.load_json(name)),
        "parquet": lambda name: _frame(rec.load_df_parquet(name)),
        "csv_gz": lambda name: _frame(rec.load_df_csv_gz(name)),
    }
    return {
        "pixels": _array(rec.load_array()),
        "lazily": _array(np.asarray(rec.open_array()[...])),
        "axes": [[a.name, a.quantity, a.unit, a.step] for a in rec.axes],
        "channel_names": rec.channel_names,
        "times": [rec.created_utc, rec.updated_utc],
        "source_files": [[f.path, f.role, f.sha256, f.kept_as] for f in rec.source_files],
        "artifacts": {
            f"{info.kind} {info.name}": load[info.kind](info.name) for info in rec.list_artifacts()
        },
        "arrays": {
            name: _array(rec.load_array_artifact(name)) for name in rec.list_array_artifacts()
        },
    }


def _array(array: np.ndarray[Any, Any]) -> list[Any]:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return [array.dtype.name, list(array.shape), hashlib.sha256(little.tobytes()).hexdigest()]


def _frame(frame: pd.DataFrame) -> dict[str, list[str]]:
    # As text: pandas names dtypes, and spells missing values, differently from version to version.
    return {
        str(name): ["missing" if pd.isna(value) else str(value) for value in frame[name]]
        for name in frame.columns
    }


if __name__ == "__main__":
    main()
