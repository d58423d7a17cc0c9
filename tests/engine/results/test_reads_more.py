"""Whatever is changed: nothing that would be read differently now is up to date."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import ReadingRecord, RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import UnsupportedDataError
from tests.engine.results.test_reading import PAYLOAD, READS, ROIS

# What the functions of the tests of reading raise where something is not there.
ERRORS = (
    LookupError, ValueError, OSError, AttributeError, TypeError, AssertionError, StopIteration,
)  # fmt: skip


def of_payload(call: Callable[[Any], Any], reading: ReadingRecord) -> Any:
    return call(reading.load_metadata_payload())


def of_regions(call: Callable[[Any], Any], reading: ReadingRecord) -> Any:
    return call(reading.load_rois())


READ: dict[str, Callable[[ReadingRecord], Any]] = {
    **{f"member {name}": call for name, (call, _) in READS.items()},
    **{f"payload {name}": partial(of_payload, call) for name, (call, _) in PAYLOAD.items()},
    **{f"regions {name}": partial(of_regions, call) for name, (call, _) in ROIS.items()},
    "note of curation": lambda r: r.curation().note,
    "table": lambda r: r.load_table("norms"),
}


def told(call: Callable[[ReadingRecord], Any], reading: ReadingRecord) -> str:
    """Return what a function sees as text, its error if it raises one."""
    try:
        value = call(reading)
        if hasattr(value, "__array__") and not isinstance(value, pd.DataFrame | pd.Series):
            value = np.asarray(value)
            return f"{value.dtype} {value.tolist()}"
        return repr(value.to_dict() if hasattr(value, "to_dict") else value)
    except ERRORS as error:
        return type(error).__name__


def payload(rec: ZarrImageRecord, edit: Callable[[Any], Any]) -> None:
    value = rec.load_metadata_payload()
    edit(value)
    rec.save_metadata_payload(value)


def region(number: int, roi_id: int) -> RectRoi:
    return RectRoi(roi_id=roi_id, x0=number % 3, x1=4, y0=0, y1=10)


def verdict(rec: ZarrImageRecord, number: int) -> None:
    with rec.edit() as edit:
        edit.set_verdict("accepted" if number % 2 else "rejected")
        edit.set_note(f"n{number}")


CHANGES: dict[str, Callable[[ZarrDataset, ZarrImageRecord, int], Any]] = {
    "pixels": lambda _, r, n: r.save_array(np.full((20, 8), n, "uint16")),
    "shape": lambda _, r, n: r.save_array(np.full((20 + n, 8), 1, "uint16")),
    "dtype": lambda _, r, n: r.save_array(np.full((20, 8), n, "float32")),
    "another region": lambda _, r, n: r.save_rois([*r.load_rois(), region(n, 7 + n)]),
    "no regions": lambda _, r, n: r.save_rois([]),
    "regions in another order": lambda _, r, n: r.save_rois([*r.load_rois()][::-1]),
    "a region moves": lambda _, r, n: r.save_rois([region(n, 1), region(0, 2)]),
    "a new key": lambda _, r, n: payload(r, lambda p: p.update(none=n)),
    "a value": lambda _, r, n: payload(r, lambda p: p["header"].update(n=n)),
    "a deep value": lambda _, r, n: payload(
        r, lambda p: p["experiment_metadata"].update(tags={"x": n}, condition=f"c{n}")
    ),
    "a key goes": lambda _, r, n: payload(r, lambda p: p.pop("header", None)),
    "an artifact": lambda _, r, n: r.save_json("note", {"good": n}),
    "a new artifact": lambda _, r, n: r.save_json(f"new{n}", n),
    "an artifact of another kind": lambda _, r, n: r.save_df_parquet(
        "note", pd.DataFrame({"n": [n]})
    ),
    "rows": lambda _, r, n: r.save_df_parquet("rows", pd.DataFrame({"n": [n]})),
    "text": lambda _, r, n: r.save_df_csv_gz("text", pd.DataFrame({"n": [n]})),
    "a mask": lambda _, r, n: r.save_array_artifact("mask", np.full((20, 8), n % 2 == 0)),
    "a mask goes": lambda _, r, n: r.delete_array_artifact("mask"),
    "labels": lambda _, r, n: r.save_labels("cells", np.full((20, 8), n)),
    "other labels": lambda _, r, n: r.save_labels(f"cells{n}", np.full((20, 8), n)),
    "labels go": lambda _, r, n: r.delete_labels("cells"),
    "a verdict": lambda _, r, n: verdict(r, n),
    "a result": lambda _, r, n: r.save_result("earlier", {"n": n}),
    "a result goes": lambda _, r, n: r.delete_result("earlier"),
    "a table": lambda d, _, n: d.save_table("norms", pd.DataFrame({"n": [n]})),
}


def dataset(path: Path) -> ZarrDataset:
    ds = ZarrDataset(path, mode="w", durability="relaxed")
    rec = ds.add_image(
        np.arange(160, dtype="uint16").reshape(20, 8), image_id="a", line_period_s=0.001
    )
    rec.save_metadata_payload(
        {"experiment_metadata": {"condition": "control", "tags": {"x": 1}}, "header": {"n": 1}}
    )
    rec.save_rois([RectRoi(roi_id=i, x0=0, x1=4, y0=0, y1=10) for i in (1, 2)])
    for name in ("note", "rows", "text", "mask", "labels", "a result", "a table"):
        CHANGES[{"note": "an artifact", "mask": "a mask"}.get(name, name)](ds, rec, 1)
    return ds


# All of them in each example would take minutes: the results of one image are in one document.
READS_OF_AN_EXAMPLE = st.lists(st.sampled_from(sorted(READ)), min_size=8, max_size=16, unique=True)


@settings(max_examples=20)
@given(
    names=READS_OF_AN_EXAMPLE,
    changes=st.lists(
        st.tuples(st.sampled_from(sorted(CHANGES)), st.integers(0, 3)), min_size=1, max_size=4
    ),
)
def test_nothing_that_a_function_would_read_differently_now_is_up_to_date(
    names: list[str], changes: list[tuple[str, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder, dataset(Path(folder, "x.zarr")) as ds:
        rec = ds["a"]
        before = {}
        for number, name in enumerate(names):
            reading = rec.reading()
            before[name] = told(READ[name], reading)
            rec.save_result(f"r{number}", 1, inputs=reading)
        assert len(ds.stale()) == 0
        for what, number in changes:
            # What is not there cannot be deleted, and labels fit the pixels or are refused.
            with contextlib.suppress(KeyError, UnsupportedDataError):
                CHANGES[what](ds, rec, number)
        stale = {*ds.stale()["name"]}
        for number, name in enumerate(names):
            if told(READ[name], rec.reading()) != before[name]:
                assert f"r{number}" in stale, (name, changes)
