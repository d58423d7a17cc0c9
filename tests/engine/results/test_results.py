"""Results of one image: saved, found, judged, and found out of date with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import (
    ArgumentError,
    ArtifactNotFoundError,
    FormatVersionError,
    SchemaValidationError,
    UnsupportedDataError,
)

ZEROS = np.zeros((100, 8), "uint16")
FRAME = pd.DataFrame({"time_s": [0.0, 0.1], "mm_per_s": [1.0, 2.0]})


@pytest.fixture
def rec(ds: ZarrDataset) -> ZarrImageRecord:
    record = ds.add_image(
        np.arange(800, dtype="uint16").reshape(100, 8), image_id="a", line_period_s=0.001
    )
    record.save_metadata_payload(
        {"experiment_metadata": {"condition": "control", "note": "x"}, "header": {"n": 1}}
    )
    record.save_rois([RectRoi(roi_id=i, x0=0, x1=4, y0=0, y1=10) for i in (1, 2)])
    record.save_array_artifact("mask", np.ones((100, 8), bool))
    return record


def reject(rec: ZarrImageRecord) -> None:
    with rec.edit(who="maria") as edit:
        edit.set_verdict("rejected")


def lineage_of(rec: ZarrImageRecord, ds: ZarrDataset) -> Path:
    return Path(ds.path, "images", rec.image_id, "analysis", "lineage.json")


@pytest.mark.parametrize(
    ("value", "status", "artifact"),
    [
        (FRAME, "ok", "images/a/analysis/v.parquet"),
        (FRAME.iloc[:0], "empty", "images/a/analysis/v.parquet"),
        ({"mean": 1.5}, "ok", "images/a/analysis/v.json"),
        (np.zeros((2, 3)), "ok", "images/a/analysis_arrays/v"),
        ([], "empty", "images/a/analysis/v.json"),
        (None, "empty", None),
    ],
)
def test_a_value_comes_back_with_what_it_was_made_by(
    rec: ZarrImageRecord, value: Any, status: str, artifact: str | None
) -> None:
    saved = rec.save_result(
        "v", value, params={"b": np.float32(0.5), "a": [1]}, program="lab:v", version="3",
        seconds=2.5,
    )  # fmt: skip
    result = rec.result("v")
    assert result == saved
    assert (result.status, result.artifact) == (status, artifact)
    assert (result.program, result.version, result.seconds) == ("lab:v", "3", 2.5)
    assert result.params == {"a": [1], "b": 0.5}
    assert [str(i) for i in result.inputs] == ["pixels"]
    assert not result.out_of_date
    loaded = result.load()
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(loaded, value)
    else:
        np.testing.assert_equal(loaded, value)


def test_another_kind_of_value_takes_the_place_of_the_earlier_one(rec: ZarrImageRecord) -> None:
    rec.save_result("v", FRAME)
    rec.save_result("v", {"n": 1})
    assert [i.key.rpartition("/")[2] for i in rec.list_artifacts()] == [
        "lineage.json", "metadata.json", "v.json",
    ]  # fmt: skip
    rec.save_result("v", np.zeros(2))
    assert rec.list_array_artifacts() == ["mask", "v"]


@pytest.mark.parametrize(
    ("declared", "change", "reason"),
    [
        ("pixels", lambda r: r.save_array(ZEROS), "made from earlier pixels"),
        ("region:2", lambda r: r.save_rois([]), "region 2 was deleted"),
        (
            "regions:ids", lambda r: r.save_rois(r.load_rois()[:1]),
            "regions were added, deleted or put in another order",
        ),
        (
            "metadata:/experiment_metadata/condition",
            lambda r: r.save_metadata_payload({"experiment_metadata": {"condition": "drug"}}),
            'experiment_metadata.condition changed: "control" -> "drug"',
        ),
        ("artifact:mask", lambda r: r.save_array_artifact("mask", np.zeros((100, 8), bool)),
         'input "mask" was replaced'),
        ("artifact:mask", lambda r: r.delete_array_artifact("mask"), 'input "mask" was deleted'),
        ("curation:verdict", reject, 'the verdict of the image changed: null -> "rejected"'),
        ("property:axes", lambda r: r.save_array(r.load_array(), line_period_s=0.002),
         "the axes of the image changed"),
    ],
)  # fmt: skip
def test_a_result_is_out_of_date_with_a_reason_in_words(
    rec: ZarrImageRecord, ds: ZarrDataset, declared: str, change: Any, reason: str
) -> None:
    rec.save_result("v", FRAME, inputs=[declared])
    rec.save_result("other", FRAME, inputs=["property:dtype"])
    assert len(ds.stale()) == 0
    change(rec)
    stale = ds.stale()
    assert stale["name"].tolist() == ["v"]
    assert stale["reason"][0].startswith(reason)
    assert rec.result("v").reasons[0].startswith(reason)
    assert not rec.result("other").out_of_date


def test_a_moved_region_says_when_and_by_whom(rec: ZarrImageRecord) -> None:
    rec.save_result("v", FRAME, roi=2)
    with rec.edit(who="maria") as edit:
        edit.save_roi({"roi_id": 2, "data": {"x0": 1, "x1": 4, "y0": 0, "y1": 10}})
    (reason,) = rec.result("v").reasons
    assert reason.startswith("region 2 was moved on 20")
    assert reason.endswith(" by maria")
    rec.undo(who="maria")
    assert not rec.result("v").out_of_date


def test_a_result_of_a_result_that_is_out_of_date_is_out_of_date_too(
    rec: ZarrImageRecord, ds: ZarrDataset
) -> None:
    rec.save_result("a", FRAME, roi=1, inputs=[])
    a = rec.result("a").artifact or ""
    rec.save_result("b", FRAME, inputs=[f"artifact:{a.removeprefix('images/a/')}"])
    rec.save_result("c", 1, inputs=["result:b"])
    assert len(ds.stale()) == 0
    rec.save_rois(rec.load_rois()[1:])
    assert ds.stale()[["name", "reason"]].to_numpy().tolist() == [
        ["a", "region 1 was deleted"],
        ["b", 'made from "a@roi=1", which is out of date'],
        ["c", 'made from "b", which is out of date'],
    ]


def test_a_table_is_an_input(rec: ZarrImageRecord, ds: ZarrDataset) -> None:
    ds.save_table("norms", pd.DataFrame({"x": [1]}))
    rec.save_result("v", 1, inputs=["table:norms"])
    assert len(ds.stale()) == 0
    ds.save_table("norms", pd.DataFrame({"x": [2]}))
    assert ds.stale()["reason"].tolist() == ['table "norms" was changed']
    ds.delete_table("norms")
    assert rec.result("v").reasons == ('table "norms" was deleted',)
    assert ds.images()["out_of_date"].tolist() == ['v: table "norms" was deleted']


def test_an_earlier_digest_can_be_given(rec: ZarrImageRecord) -> None:
    digest = rec.pixels_sha256
    rec.save_array(np.zeros((100, 8), "uint16"))
    rec.save_result("v", 1, inputs=[{"kind": "pixels", "sha256": digest}])
    assert rec.result("v").reasons == ("made from earlier pixels",)


def test_variants_stand_beside_each_other_and_one_counts(rec: ZarrImageRecord) -> None:
    rec.save_result("v", 16, params={"window": 16})
    rec.save_result("v", 32, params={"window": 32}, variant="window32")
    assert rec.result("v").load() == 16
    assert rec.result("v", variant="window32").load() == 32
    rec.choose_result("v", variant="window32")
    assert rec.result("v").load() == 32
    assert [r.counts for r in rec.results("v")] == [False, True]
    rec.choose_result("v", variant=None)
    assert rec.result("v").load() == 16
    with pytest.raises(ArtifactNotFoundError):
        rec.choose_result("v", variant="window64")


def test_replaced_results_stay_in_the_history_on_request(rec: ZarrImageRecord) -> None:
    for number in range(4):
        rec.save_result("v", {"n": number}, keep=2)
    assert rec.result("v").load() == {"n": 3}
    names = [i.name for i in rec.list_artifacts() if i.name.startswith("v")]
    assert sorted(rec.load_json(name)["n"] for name in names) == [1, 2, 3]
    rec.delete_result("v")
    assert [i.name for i in rec.list_artifacts()] == ["metadata"]


def test_arrays_stay_in_the_history_too(rec: ZarrImageRecord) -> None:
    rec.save_result("v", np.zeros(3), keep=1)
    rec.save_result("v", np.ones(3), keep=1)
    assert rec.load_array_artifact("v@replaced=1").tolist() == [0, 0, 0]


def test_a_result_that_was_accepted_is_no_longer_out_of_date(
    rec: ZarrImageRecord, ds: ZarrDataset
) -> None:
    rec.save_result("v", 1, roi=1)
    rec.save_rois(rec.load_rois()[1:])
    rec.accept_result("v", who="maria")
    result = rec.result("v")
    assert (result.status, result.reasons) == ("accepted by hand", ())
    rec.save_array(np.zeros((100, 8), "uint16"))
    assert ds.stale()["reason"].tolist() == ["made from earlier pixels"]


def test_deleting_the_value_deletes_the_result(rec: ZarrImageRecord, ds: ZarrDataset) -> None:
    rec.save_result("v", FRAME)
    rec.save_result("w", np.ones(2))
    rec.delete_analysis("v")
    assert [r.name for r in rec.results()] == ["w"]
    rec.delete_array_artifact("w")
    assert rec.results() == []
    assert not lineage_of(rec, ds).exists()


def test_another_json_artifact_called_lineage_is_left_alone(
    rec: ZarrImageRecord, ds: ZarrDataset
) -> None:
    rec.save_json("lineage", {"mother": 7})
    assert [problem.code for problem in ds.validate().problems if "lineage" in problem.where] == [
        "lineage"
    ]
    assert len(ds.results()) == 0
    with pytest.raises(SchemaValidationError, match="does not say what the results"):
        rec.save_result("v", 1)
    assert rec.load_json("lineage") == {"mother": 7}
    assert [i.name for i in rec.list_artifacts()] == ["lineage", "metadata"]


def test_a_newer_lineage_is_refused_by_version(rec: ZarrImageRecord, ds: ZarrDataset) -> None:
    rec.save_result("v", 1)
    newer = {**rec.load_json("lineage"), "version": "9.0"}
    rec.save_json("lineage", newer)
    with pytest.raises(FormatVersionError, match=r"version '9\.0' of lineage is not known"):
        rec.results()
    assert any("of lineage is not known" in p.message for p in ds.validate().problems)


def test_unknown_keys_of_a_payload_are_preserved(rec: ZarrImageRecord) -> None:
    rec.save_result("v", 1)
    document = rec.load_json("lineage")
    document["lab"] = "Bonn"
    document["results"][0]["mood"] = "good"
    rec.save_json("lineage", document)
    rec.save_result("w", 2)
    again = rec.load_json("lineage")
    assert (again["lab"], again["results"][0]["mood"]) == ("Bonn", "good")


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("metadata", {}, "is the name of a document"),
        ("v", {"roi": "2"}, "not a whole number"),
        ("v", {"params": {"x": object()}}, r"params\.x is of type object"),
        ("v", {"inputs": ["nothing"]}, "there is no kind of input 'nothing'"),
        ("v", {"inputs": ["artifact:none"]}, "the image has no artifact 'none'"),
        ("v", {"inputs": [7]}, "an input is text such as"),
        ("v", {"params": [1]}, "params is a mapping"),
    ],
)
def test_a_wrong_call_changes_nothing(
    rec: ZarrImageRecord, name: str, options: dict[str, Any], told: str
) -> None:
    before = rec.revision
    with pytest.raises((ArgumentError, ArtifactNotFoundError, UnsupportedDataError), match=told):
        rec.save_result(name, 1, **options)
    assert rec.revision == before


def test_the_document_is_json_that_other_programs_read(
    rec: ZarrImageRecord, ds: ZarrDataset
) -> None:
    rec.save_result("v", FRAME, params={"window": 16})
    document = json.loads(lineage_of(rec, ds).read_text())
    assert document["results"][0]["params"] == {"window": 16}
    assert ds.verify().ok
    assert ds.validate().ok
