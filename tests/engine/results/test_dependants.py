"""Whatever one input is changed: exactly what was made of it is out of date."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import ReadingRecord, RectRoi, ZarrDataset, ZarrImageRecord

# By name of an input: how a function reads it as a number, and how a user changes it.
READ: dict[str, Callable[[ReadingRecord], Any]] = {
    "pixels": lambda r: int(r.load_array()[0, 0]),
    "region 1": lambda r: _roi(r, 1).x0,
    "region 2": lambda r: _roi(r, 2).x0,
    "condition": lambda r: r.load_metadata_payload()["experiment_metadata"]["condition"],
    "day": lambda r: r.load_metadata_payload().get("experiment_metadata", {}).get("day", 0),
    "note": lambda r: r.load_json("note"),
    "rows": lambda r: int(r.load_df_parquet("rows")["n"][0]),
    "mask": lambda r: int(r.load_array_artifact("mask").sum()),
    "verdict": lambda r: r.curation().verdict,
    "norms": lambda r: int(r.load_table("norms")["n"][0]),
}


def _roi(rec: ZarrImageRecord, number: int) -> Any:
    # Of the list only the place that is looked at is an input.
    return rec.load_rois()[number - 1]


def _change(ds: ZarrDataset, what: str, value: int) -> None:
    rec = ds["a"]
    if what == "pixels":
        rec.save_array(np.full((8, 64), value, "uint16"))
    elif what.startswith("region"):
        rois = list(rec.load_rois())
        number = int(what[-1])
        rois[number - 1] = RectRoi(roi_id=number, x0=value, x1=60, y0=0, y1=1)
        with rec.edit() as edit:
            edit.save_roi({"roi_id": number, "data": {"x0": value, "x1": 60, "y0": 0, "y1": 1}})
    elif what in ("condition", "day"):
        payload = rec.load_metadata_payload()
        payload["experiment_metadata"][what] = value
        rec.save_metadata_payload(payload)
    elif what == "note":
        rec.save_json("note", value)
    elif what == "rows":
        rec.save_df_parquet("rows", pd.DataFrame({"n": [value]}))
    elif what == "mask":
        rec.save_array_artifact("mask", np.arange(100) < value)
    elif what == "verdict":
        with rec.edit() as edit:
            edit.set_verdict("accepted" if value % 2 else "rejected")
    else:
        ds.save_table("norms", pd.DataFrame({"n": [value]}))


def _dataset(path: Path) -> ZarrDataset:
    ds = ZarrDataset(path, mode="w", durability="relaxed")
    rec = ds.add_image(np.zeros((8, 64), "uint16"), image_id="a")
    rec.save_metadata_payload({"experiment_metadata": {"condition": 0}})
    rec.save_rois([RectRoi(roi_id=i, x0=0, x1=60, y0=0, y1=1) for i in (1, 2)])
    for what in ("note", "rows", "mask", "norms"):
        _change(ds, what, 1)
    return ds


def _function(rec: ReadingRecord, reads: tuple[str, ...], results: tuple[str, ...]) -> list[Any]:
    return [READ[what](rec) for what in reads] + [rec.result(name).load() for name in results]


INPUTS = st.lists(st.sampled_from(sorted(READ)), unique=True, max_size=4).map(tuple)


@settings(max_examples=12)
@given(data=st.data(), inputs=st.lists(INPUTS, min_size=1, max_size=4))
def test_exactly_the_dependants_of_a_change_are_out_of_date_and_run_again(
    data: st.DataObject, inputs: list[tuple[str, ...]]
) -> None:
    names = [f"r{number}" for number in range(len(inputs))]
    # Each result may be made of earlier ones, too.
    of_results = [
        tuple(data.draw(st.lists(st.sampled_from(names[:n]), unique=True, max_size=2))) if n else ()
        for n in range(len(names))
    ]
    with tempfile.TemporaryDirectory() as folder, _dataset(Path(folder, "x.zarr")) as ds:

        def run(only: Any) -> set[str]:
            ran = set()
            for name, reads, made_of in zip(names, inputs, of_results, strict=True):
                function = functools.partial(_function, reads=reads, results=made_of)
                report = ds.compute(name, function, only=only)
                assert report.ok, str(report)
                if report.computed:
                    ran.add(name)
            return ran

        assert run("stale") == set(names)
        what = st.sampled_from(sorted(READ))
        changes = data.draw(st.dictionaries(what, st.integers(2, 50), min_size=1, max_size=2))
        for changed, value in changes.items():
            _change(ds, changed, value)
        expected: set[str] = set()
        for name, reads, made_of in zip(names, inputs, of_results, strict=True):
            if set(reads) & set(changes) or set(made_of) & expected:
                expected.add(name)
        assert set(ds.stale()["name"]) == expected
        assert {r.name for r in ds["a"].results() if r.out_of_date} == expected
        assert run("stale") <= expected
        assert len(ds.stale()) == 0
        # The same as if all had been computed from the beginning.
        values = {name: ds["a"].result(name).load() for name in names}
        assert run("all") == set(names)
        assert {name: ds["a"].result(name).load() for name in names} == values
