"""A dataset with results that was exported and ingested again has equal results."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import ReadingRecord, RectRoi, ZarrDataset, ZarrImageRecord


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


NAMES = ["mean", "flow/rows", "flow/mask", "50%2f"]


def made(rec: ReadingRecord, name: str, scale: int) -> Any:
    roi = rec.load_rois()[0]
    assert isinstance(roi, RectRoi)
    pixels = rec.load_array()[roi.y0 : roi.y1] * scale
    if name == "flow/mask":
        return pixels > 50
    return pd.DataFrame({"v": pixels[:3, 0]}) if name == "flow/rows" else float(pixels.mean())


def change(ds: ZarrDataset, action: tuple[Any, ...]) -> None:
    """Do one thing that a user may do to results; what is not possible does nothing."""
    rec = ds["a"]
    what, name, number = action
    with contextlib.suppress(KeyError, ValueError):
        if what == "compute":
            variant = None if number % 2 else "wide"
            ds.compute(
                name, functools.partial(made, name=name), params={"scale": number},
                variant=variant, keep=number % 3,
            )  # fmt: skip
        elif what in ("empty", "failed"):
            ds.compute(name, none if what == "failed" else empty, version=str(number))
        elif what == "accept":
            rec.accept_result(name)
        elif what == "choose":
            rec.choose_result(name, variant="wide")
        elif what == "move":
            with rec.edit(who="maria") as edit:
                edit.save_roi({"roi_id": 1, "data": {"x0": 0, "x1": 9, "y0": number, "y1": 30}})
        elif what == "edit":
            rec.save_df_parquet(name, pd.DataFrame({"by_hand": [number]}))
        elif what == "pixels":
            rec.save_array(rec.load_array() + number)


def empty(_: Any) -> None:
    return None


ACTIONS = st.tuples(
    st.sampled_from(
        ["compute", "compute", "empty", "failed", "accept", "choose", "move", "edit", "pixels"]
    ),
    st.sampled_from(NAMES),
    st.integers(1, 4),
)


def told(rec: ZarrImageRecord) -> list[dict[str, Any]]:
    """Return all that is known of the results of an image, wherever it is."""
    found = []
    for result in rec.results():
        facts = {**result.to_dict(), "image_id": ""}
        if result.artifact is not None:
            facts["artifact"] = result.artifact.split("/", 2)[2]
        found.append(facts)
    return found


@pytest.mark.parametrize("layout", ["dataset", "kymflow"])
@given(actions=st.lists(ACTIONS, min_size=1, max_size=6))
@settings(max_examples=12, deadline=None)
def test_whatever_was_done_to_results_an_export_and_its_ingest_give_them_back(
    layout: Any, actions: list[tuple[Any, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ZarrDataset(folder / "x.zarr", durability="relaxed") as ds:
            pixels = np.random.default_rng(0).integers(0, 99, (40, 9)).astype("uint16")
            rec = ds.add_image(pixels, image_id="a", line_period_s=0.001)
            rec.save_rois([RectRoi(roi_id=1, x0=0, x1=9, y0=0, y1=30)])
            for action in actions:
                change(ds, action)
            before = told(rec)
            ds.export_legacy_folder(folder / "out", layout=layout)
        with ZarrDataset(folder / "back.zarr", durability="relaxed") as back:
            assert back.ingest_legacy_folder(folder / "out").failed == ()
            (there,) = back.iter_records()
            assert told(there) == before
