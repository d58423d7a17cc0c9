"""`ds.compute()`: what is missing or out of date is computed, and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile

from kymflow_zarr import ComputeReport, RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import ArgumentError, ArtifactNotFoundError, UnsupportedDataError

CALLS: list[str] = []


def velocity(rec: ZarrImageRecord, window: int = 16) -> pd.DataFrame:
    CALLS.append(rec.image_id)
    roi = rec.load_rois()[0]
    assert isinstance(roi, RectRoi)
    lines = rec.load_array(np.s_[roi.y0 : roi.y1])
    return pd.DataFrame({"time_s": [0.0, 0.5], "mm_per_s": lines[:2, 0] / window})


def count_pixels(rec: ZarrImageRecord) -> int:
    return int(rec.load_array().size)


def only_big(rec: ZarrImageRecord) -> pd.DataFrame | None:
    if rec.image_id == "b":
        raise ValueError("too dark")
    return None if rec.image_id == "c" else pd.DataFrame({"n": [1]})


@pytest.fixture
def many(ds: ZarrDataset) -> ZarrDataset:
    CALLS.clear()
    for number, name in enumerate("abc"):
        rec = ds.add_image(np.full((20, 8), number + 1, "uint16"), image_id=name)
        rec.save_rois([RectRoi(roi_id=i, x0=0, x1=4, y0=i, y1=10) for i in (1, 2)])
    return ds


def run(ds: ZarrDataset, **options: Any) -> ComputeReport:
    options = {"params": {"window": 16}, "version": "1.2"} | options
    return ds.compute("velocity", velocity, **options)


def ran(report: ComputeReport) -> dict[str, str]:
    return {i.image_id: i.reason for i in report.items if i.outcome not in ("up to date", "edited")}


def move(rec: ZarrImageRecord, roi_id: int = 1) -> None:
    rois = [roi for roi in rec.load_rois() if isinstance(roi, RectRoi)]
    changed = [RectRoi(roi_id=r.roi_id, x0=0, x1=4, y0=r.y0 + 3, y1=r.y1) if r.roi_id == roi_id
               else r for r in rois]  # fmt: skip
    rec.save_rois(changed)


def test_the_second_call_computes_nothing(many: ZarrDataset) -> None:
    first = run(many)
    assert first.ok
    assert len(first.computed) == 3
    assert sorted(CALLS) == ["a", "b", "c"]
    second = run(many)
    assert len(second.up_to_date) == 3
    assert sorted(CALLS) == ["a", "b", "c"]
    assert str(second) == "velocity: 0 computed, 3 up to date, 0 failed"
    assert many["a"].result("velocity").load().equals(many["a"].load_df_parquet("velocity"))


def test_exactly_what_depends_on_a_change_runs_again(many: ZarrDataset) -> None:
    run(many)
    many.add_image(np.ones((20, 8), "uint16"), image_id="d").save_rois(
        [RectRoi(roi_id=1, x0=0, x1=4, y0=0, y1=10)]
    )
    move(many["a"])
    many["b"].save_array(np.zeros((20, 8), "uint16"))
    move(many["c"], roi_id=2)  # The function reads the first region only.
    many["c"].save_json("a note", {"not": "read"})
    assert ran(run(many)) == {
        "a": "region 1 was moved",
        "b": "made from earlier pixels",
        "d": "not computed yet",
    }
    assert ran(run(many)) == {}


def test_other_parameters_and_another_version_run_all_again(many: ZarrDataset) -> None:
    run(many)
    assert ran(run(many, params={"window": 32}, ids="a")) == {
        "a": "parameters differ: window 16 -> 32"
    }
    assert many.stale()[["image_id", "reason"]].to_numpy().tolist() == [
        ["b", "parameters differ: window 16 -> 32"],
        ["c", "parameters differ: window 16 -> 32"],
    ]
    assert set(ran(run(many, params={"window": 32}))) == {"b", "c"}
    assert set(ran(run(many, params={"window": 32}, version="1.3"))) == {"a", "b", "c"}
    assert ran(run(many, params={"window": 32.0}, version="1.3")) == {}


def test_one_image_that_fails_is_a_result_with_its_error(many: ZarrDataset) -> None:
    report = many.compute("big", only_big)
    assert not report.ok
    assert [(i.image_id, i.outcome) for i in report.items] == [
        ("a", "ok"), ("b", "failed"), ("c", "empty"),
    ]  # fmt: skip
    failed = many["b"].result("big")
    assert (failed.status, failed.error) == ("failed", "ValueError: too dark")
    with pytest.raises(ArtifactNotFoundError, match="too dark"):
        failed.load()
    assert many["c"].result("big").load() is None
    # Computed and empty, or failed on the same inputs, is not the same as never computed.
    assert len(many.compute("big", only_big).up_to_date) == 3
    assert set(ran(many.compute("big", only_big, only="all", ids=["b"]))) == {"b"}


def test_a_failure_does_not_delete_the_earlier_value(many: ZarrDataset) -> None:
    many.compute("big", lambda rec: pd.DataFrame({"n": [len(rec.image_id)]}), version="1")
    many.compute("big", only_big, version="2")
    assert many["b"].result("big").status == "failed"
    assert many["b"].load_df_parquet("big@replaced=1")["n"].tolist() == [1]


def test_only_missing_leaves_what_is_out_of_date(many: ZarrDataset) -> None:
    run(many, ids=["a", "b"])
    move(many["a"])
    assert ran(run(many, only="missing")) == {"c": "not computed yet"}


def test_the_table_follows_the_rows_of_what_changed(many: ZarrDataset) -> None:
    assert run(many, table="flow").table_images == 3
    flow = many.load_table("flow")
    assert list(flow) == ["image_id", "time_s", "mm_per_s", "result_sha256"]
    assert flow["image_id"].tolist() == ["a", "a", "b", "b", "c", "c"]
    many["b"].save_array(np.zeros((20, 8), "uint16"))
    assert run(many, table="flow").table_images == 1
    flow = many.load_table("flow")
    assert flow.groupby("image_id")["mm_per_s"].sum().to_dict() == {"a": 0.125, "b": 0, "c": 0.375}
    assert run(many, table="flow").table_images == 0


def test_a_table_that_was_left_behind_is_completed_by_the_next_call(many: ZarrDataset) -> None:
    run(many)
    assert run(many, table="flow").table_images == 3
    many.compute("velocity", lambda _: None, version="2", ids="a", table="flow")
    assert many.load_table("flow")["image_id"].tolist() == ["b", "b", "c", "c"]


def test_a_table_of_another_origin_is_not_touched(many: ZarrDataset) -> None:
    many.save_table("flow", pd.DataFrame({"image_id": ["a"]}))
    with pytest.raises(ArgumentError, match="was not made by compute"):
        run(many, table="flow")
    assert list(many.load_table("flow")) == ["image_id"]


def test_a_result_for_each_region_and_channel(ds: ZarrDataset) -> None:
    rec = ds.add_image(np.ones((2, 6, 6), "uint8"), axes="cyx", image_id="a")
    rec.save_rois([RectRoi(roi_id=i, x0=0, x1=i, y0=0, y1=2) for i in (1, 2)])

    def mean(rec: ZarrImageRecord, roi: RectRoi, channel: int) -> float:
        return float(rec.roi_pixels(roi, channel=channel).sum())

    report = ds.compute("mean", mean, roi="all", channel="all")
    assert [(i.roi_id, i.channel, i.outcome) for i in report.items] == [
        (1, 1, "ok"), (1, 2, "ok"), (2, 1, "ok"), (2, 2, "ok"),
    ]  # fmt: skip
    assert rec.result("mean", roi=2, channel=1).load() == 4.0
    with pytest.raises(ArgumentError, match="the image has 4 results 'mean'"):
        rec.result("mean")
    rec.save_rois([RectRoi(roi_id=i, x0=i - 1, x1=i, y0=0, y1=2) for i in (1, 2)])
    stale = ds.stale("mean")
    assert stale[["roi_id", "reason"]].to_numpy().tolist() == [[2, "region 2 was moved"]] * 2


def test_interrupted_work_goes_on_where_it_stopped(many: ZarrDataset) -> None:
    def stop(done: int, _total: int, _label: str) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(1) as executor:
        run(many, progress=stop, executor=executor)
    before = len(many.results())
    assert 1 <= before <= 3
    report = run(many)
    assert len(report.computed) == 3 - before
    assert len(report.up_to_date) == before


def test_values_changed_by_hand_are_left_alone(many: ZarrDataset) -> None:
    run(many)
    many["a"].save_df_parquet("velocity", pd.DataFrame({"time_s": [0.0], "mm_per_s": [9.0]}))
    assert many["a"].result("velocity").edited
    move(many["a"])
    report = run(many)
    assert [i.image_id for i in report.edited] == ["a"]
    assert many["a"].load_df_parquet("velocity")["mm_per_s"].tolist() == [9.0]
    assert set(ran(run(many, only="all"))) == {"a", "b", "c"}
    assert not many["a"].result("velocity").edited


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"params": {"window": object()}}, UnsupportedDataError, "params.window"),
        ({"params": {"roi": 1}}, ArgumentError, "'roi' is an argument of its own"),
        ({"only": "old"}, ArgumentError, "'old' is not one of"),
        ({"roi": "some"}, ArgumentError, "'some' is not a number"),
        ({"variant": "a/b"}, ArgumentError, "not the name of a variant"),
        ({"ids": ["a", "x"]}, KeyError, "there is no image 'x'"),
    ],
)
def test_a_wrong_call_computes_nothing(
    many: ZarrDataset, options: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        run(many, **options)
    assert CALLS == []
    assert len(many.results()) == 0


def test_two_variants_stand_side_by_side(many: ZarrDataset) -> None:
    run(many)
    run(many, params={"window": 32}, variant="window32")
    assert len(many.stale()) == 0
    both = many.compare_results("velocity", "window32")
    assert list(both) == ["image_id", "time_s", "mm_per_s_window32", "mm_per_s_usual"]
    assert both["image_id"].tolist() == ["a", "a", "b", "b", "c", "c"]
    assert (both["mm_per_s_usual"] / both["mm_per_s_window32"]).tolist() == [2.0] * 6
    by_row = many.compare_results("velocity", "window32", on=["mm_per_s"])
    assert by_row["time_s_usual"].isna().sum() == 6
    with pytest.raises(ArgumentError, match="no image has a result of the variant 'none'"):
        many.compare_results("velocity", "none")
    with pytest.raises(ArgumentError, match="no column 'x' in common"):
        many.compare_results("velocity", "window32", on=["x"])


def test_a_result_is_explained_down_to_the_source_file(ds: ZarrDataset, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "vessel.tif", np.ones((20, 8), "uint16"))
    rec = ds.ingest_tiff(tmp_path / "vessel.tif", image_id="v")
    ds.compute("mask", lambda r: r.load_array() > 0)
    ds.compute("count", lambda r, x: int(r.result("mask").load().sum()) * x, params={"x": 1})
    lines = rec.explain("count").splitlines()
    assert lines[0] == "count: ok, up to date"
    assert lines[1].endswith("(x=1)")
    assert any(line.strip().startswith("mask: ok, up to date") for line in lines)
    source = rec.source
    assert source is not None
    assert any(f"vessel.tif (sha256 {source.sha256[:16]}" in line for line in lines)
    assert repr(rec.explain("count")) == "\n".join(lines)


def test_what_is_no_function_is_refused(many: ZarrDataset) -> None:
    called: Any = 3.5
    with pytest.raises(TypeError, match=r"3\.5 is no function"):
        many.compute("velocity", called)
    with pytest.raises(TypeError, match=r"3\.5 is no function"):
        many.map(called)
    assert len(many.results()) == 0
