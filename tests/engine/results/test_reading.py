"""A record that remembers what is read of it: nothing that is read is missed."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ArtifactInfo, ReadingRecord, RectRoi, ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import ArgumentError, ReadOnlyError

ROI = RectRoi(roi_id=2, x0=0, x1=4, y0=0, y1=10)
AXES = {"property axes", "property shape"}
LIST = {"artifacts"}
EVERYTHING_OF_ROIS = {"regions ids", "regions 0", "regions 1", "region 1", "region 2"}
# Each member of a record that reads: how it is called, and what is then an input.
READS: dict[str, tuple[Callable[[ReadingRecord], Any], set[str]]] = {
    "image_id": (lambda r: r.image_id, set()),
    "axes": (lambda r: r.axes, {"property axes"}),
    "get_axes": (lambda r: r.get_axes(), {"property axes"}),
    "channel_names": (lambda r: r.channel_names, {"property channel_names"}),
    "chunks": (lambda r: r.chunks, {"pixels"}),
    "levels": (lambda r: r.levels, {"pixels"}),
    "pixels_sha256": (lambda r: r.pixels_sha256, {"pixels"}),
    "created_utc": (lambda r: r.created_utc, {"property created_utc"}),
    "updated_utc": (lambda r: r.updated_utc, {"property updated_utc"}),
    "shape": (lambda r: r.shape, {"property shape"}),
    "ndim": (lambda r: r.ndim, {"property shape"}),
    "dtype": (lambda r: r.dtype, {"property dtype"}),
    "source": (lambda r: r.source, {"property source_files"}),
    "source_files": (lambda r: r.source_files, {"property source_files"}),
    "get_image_bounds": (lambda r: r.get_image_bounds(), AXES),
    "times_s": (lambda r: r.times_s(), AXES),
    "load_array": (lambda r: r.load_array(np.s_[3:5, ::2]), {"pixels [3:5, ::2]"}),
    "open_array": (lambda r: r.open_array()[3:5], {"pixels"}),
    "to_xarray": (
        lambda r: r.to_xarray(), {"pixels", "property axes", "property channel_names"}
    ),
    "load_json": (lambda r: r.load_json("note"), {"artifact note"}),
    "load_df_parquet": (lambda r: r.load_df_parquet("rows").to_dict(), {"artifact rows"}),
    "load_df_csv_gz": (lambda r: r.load_df_csv_gz("text").to_dict(), {"artifact text"}),
    "load_artifact": (lambda r: r.load_artifact("note"), {"artifact note"}),
    "load_array_artifact": (lambda r: r.load_array_artifact("mask"), {"artifact mask"}),
    "open_array_artifact": (lambda r: r.open_array_artifact("mask"), {"artifact mask"}),
    "list_artifacts": (lambda r: r.list_artifacts(), LIST),
    "list_analysis_keys": (lambda r: r.list_analysis_keys(), LIST),
    "load_labels": (lambda r: r.load_labels("cells"), {"artifact labels%2fcells"}),
    "list_labels": (lambda r: r.list_labels(), LIST),
    "list_array_artifacts": (lambda r: r.list_array_artifacts(), LIST),
    "load_metadata_payload": (
        lambda r: r.load_metadata_payload()["experiment_metadata"]["condition"],
        {"metadata /experiment_metadata/condition"},
    ),
    "load_rois": (lambda r: r.load_rois()[1], {"regions 1", "region 2"}),
    "roi_pixels": (lambda r: r.roi_pixels(ROI), {"pixels", *AXES}),
    "roi_statistics": (lambda r: r.roi_statistics(ROI), {"pixels", *AXES}),
    "roi_statistics_by_plane": (lambda r: r.roi_statistics_by_plane(ROI), {"pixels", *AXES}),
    "curation": (lambda r: r.curation().verdict, {"curation verdict"}),
    "result": (lambda r: r.result("earlier").load(), {"result earlier", "artifact earlier"}),
}  # fmt: skip
# Members that draw or write files: what they read is at least this.
DRAWS: dict[str, tuple[Callable[[ReadingRecord, Path], Any], set[str]]] = {
    "plot": (lambda r, _: r.plot(), {"pixels [:, :]", "property axes"}),
    "plot_events": (lambda r, _: r.plot_events(), {"artifact velocity"}),
    "thumbnail": (lambda r, _: r.thumbnail(), {"property document"}),
    "export_tiff": (lambda r, p: r.export_tiff(p / "x.tif"), {"pixels"}),
    "export_rois": (lambda r, p: r.export_rois(p / "x.zip"), {"region 1", "region 2"}),
}
REFUSED: dict[str, Callable[[ReadingRecord], Any]] = {
    "revision": lambda r: r.revision,
    "results": lambda r: r.results(),
    "explain": lambda r: r.explain("earlier"),
    "list_earlier_artifacts": lambda r: r.list_earlier_artifacts(),
    "verify": lambda r: r.verify(),
}
WRITES: dict[str, Callable[[ReadingRecord], Any]] = {
    "accept_result": lambda r: r.accept_result("earlier"),
    "choose_result": lambda r: r.choose_result("earlier", variant=None),
    "delete_analysis": lambda r: r.delete_analysis(),
    "delete_array_artifact": lambda r: r.delete_array_artifact("mask"),
    "delete_labels": lambda r: r.delete_labels("cells"),
    "delete_result": lambda r: r.delete_result("earlier"),
    "edit": lambda r: r.edit().__enter__(),
    "save_array": lambda r: r.save_array(np.zeros((20, 8))),
    "save_array_artifact": lambda r: r.save_array_artifact("x", np.zeros(2)),
    "save_artifact": lambda r: r.save_artifact("x", 1, "json"),
    "save_df_csv_gz": lambda r: r.save_df_csv_gz("x", pd.DataFrame({"a": [1]})),
    "save_df_parquet": lambda r: r.save_df_parquet("x", pd.DataFrame({"a": [1]})),
    "save_json": lambda r: r.save_json("x", 1),
    "save_labels": lambda r: r.save_labels("x", np.zeros((20, 8), int)),
    "save_roi_labels": lambda r: r.save_roi_labels(),
    "save_mask": lambda r: r.save_mask("x", np.ones((20, 8), bool)),
    "save_metadata_objects": lambda r: r.save_metadata_objects(rois=[]),
    "save_metadata_payload": lambda r: r.save_metadata_payload({}),
    "save_result": lambda r: r.save_result("x", 1),
    "save_rois": lambda r: r.save_rois([]),
    "undo": lambda r: r.undo(),
}
# `load_metadata_objects` needs the package kymflow, and reads by `load_metadata_payload`;
# `ingest_rois` reads a file and calls `save_rois`.
BY_OTHERS = {"load_metadata_objects", "ingest_rois", "reading"}


@pytest.fixture
def rec(ds: ZarrDataset) -> ZarrImageRecord:
    record = ds.add_image(
        np.arange(160, dtype="uint16").reshape(20, 8), image_id="a", line_period_s=0.001
    )
    record.save_metadata_payload(
        {"experiment_metadata": {"condition": "control", "tags": {"x": 1}}, "header": {"n": 1}}
    )
    record.save_rois([RectRoi(roi_id=i, x0=0, x1=4, y0=0, y1=10) for i in (1, 2)])
    record.save_json("note", {"good": True})
    record.save_df_parquet("rows", pd.DataFrame({"n": [1]}))
    record.save_df_csv_gz("text", pd.DataFrame({"n": [1]}))
    record.save_df_parquet(
        "velocity", pd.DataFrame({"time_s": [0.0, 0.1], "velocity_mm_s": [1.0, 2.0]})
    )
    record.save_labels("cells", np.ones((20, 8), int))
    record.save_array_artifact("mask", np.ones((20, 8), bool))
    record.save_result("earlier", {"n": 3})
    return record


def read(record: ReadingRecord) -> set[str]:
    """Return the inputs as text, artifacts that are not there left out."""
    told = {str(i) for i in record.inputs if i.kind != "artifact" or i.sha256 is not None}
    return {text.replace("analysis_arrays/", "") for text in told}


def test_every_member_of_a_record_is_remembered_or_refused() -> None:
    known = {*READS, *DRAWS, *REFUSED, *WRITES, *BY_OTHERS}
    assert {name for name in dir(ZarrImageRecord) if not name.startswith("_")} == known


@pytest.mark.parametrize("member", READS)
def test_what_a_member_reads_is_an_input(rec: ZarrImageRecord, member: str) -> None:
    call, inputs = READS[member]
    reading = rec.reading()
    value = call(reading)
    assert read(reading) == inputs
    expected = call(rec)  # type: ignore[arg-type]  # a plain record reads the same
    if not member.startswith(("open_", "to_", "list_", "result")):
        np.testing.assert_equal(value, expected)
    rec.save_result("new", 1, inputs=reading)
    assert not rec.result("new").out_of_date


@pytest.mark.parametrize("member", DRAWS)
def test_what_is_drawn_is_an_input(rec: ZarrImageRecord, member: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    call, inputs = DRAWS[member]
    reading = rec.reading()
    call(reading, tmp_path)
    assert inputs <= read(reading)
    rec.save_result("new", 1, inputs=reading)
    assert not rec.result("new").out_of_date


@pytest.mark.parametrize("member", REFUSED)
def test_what_changes_with_each_result_is_refused(rec: ZarrImageRecord, member: str) -> None:
    with pytest.raises(ArgumentError):
        REFUSED[member](rec.reading())


@pytest.mark.parametrize("member", WRITES)
def test_a_reading_record_changes_nothing(rec: ZarrImageRecord, member: str) -> None:
    before = rec.revision
    with pytest.raises(ReadOnlyError, match="changes nothing"):
        WRITES[member](rec.reading())
    assert rec.revision == before


PAYLOAD: dict[str, tuple[Callable[[dict[str, Any]], Any], set[str]]] = {
    "a key": (lambda p: p["header"]["n"], {"/header/n"}),
    "get": (lambda p: p.get("header", {}).get("n"), {"/header/n"}),
    "a key that is missing": (lambda p: p.get("none"), {"/none"}),
    "in": (lambda p: "none" in p, {"/none"}),
    "a mapping that is not looked into": (lambda p: p["experiment_metadata"],
                                          {"/experiment_metadata"}),
    "a mapping inside a mapping": (lambda p: p["experiment_metadata"]["tags"]["x"],
                                   {"/experiment_metadata/tags/x"}),
    "nothing of it": (lambda p: None, {""}),
    "keys": (lambda p: list(p), {""}),
    "items": (lambda p: [*p["header"].items()], {"/header"}),
    "a copy": (lambda p: {**p["header"]}, {"/header"}),
    "dict": (lambda p: dict(p["header"]), {"/header"}),
    "deepcopy": (lambda p: copy.deepcopy(p["header"]), {"/header"}),
    "pickle": (lambda p: pickle.loads(pickle.dumps(p["header"])), {"/header"}),
    "JSON": (lambda p: json.dumps(p["header"]), {"/header"}),
    "or": (lambda p: p["header"] | {"b": 2}, {"/header"}),
    "equal": (lambda p: p["header"] == {"n": 1}, {"/header"}),
    "length": (lambda p: len(p["header"]), {"/header"}),
    "regions as a list": (lambda p: p["rois"][0], {"/rois"}),
    "keywords": (lambda p: (lambda **k: k)(**p["header"]), {"/header"}),
    "a data frame": (lambda p: pd.Series(p["header"]), {"/header"}),
}  # fmt: skip


@pytest.mark.parametrize("how", PAYLOAD)
def test_keys_of_the_metadata_are_remembered(rec: ZarrImageRecord, how: str) -> None:
    call, pointers = PAYLOAD[how]
    reading = rec.reading()
    value = call(reading.load_metadata_payload())
    assert {i.key for i in reading.inputs if i.kind == "metadata"} >= pointers
    if how in ("a key", "get", "in", "keys", "items"):
        assert {i.key for i in reading.inputs} == pointers
    plain = call(rec.load_metadata_payload())
    assert value == plain if how != "a data frame" else value.equals(plain)


def at_7(rois: list[Any]) -> None:
    with pytest.raises(IndexError):
        _ = rois[7]


ROIS: dict[str, tuple[Callable[[list[Any]], Any], set[str]]] = {
    "the first": (lambda r: r[0], {"regions 0", "region 1"}),
    "the last": (lambda r: r[-1], EVERYTHING_OF_ROIS),
    "all": (lambda r: [roi.x0 for roi in r], EVERYTHING_OF_ROIS),
    "until one is found": (lambda r: next(roi for roi in r if roi.roi_id == 1),
                           {"regions 0", "region 1"}),
    "how many": (lambda r: len(r), {"regions ids"}),
    "whether there are any": (lambda r: bool(r), {"regions ids"}),
    "nothing of it": (lambda r: None, EVERYTHING_OF_ROIS),
    "a slice": (lambda r: r[:1], EVERYTHING_OF_ROIS),
    "unpacked": (lambda r: [*r], EVERYTHING_OF_ROIS),
    "sorted": (lambda r: sorted(r, key=lambda roi: roi.y0), EVERYTHING_OF_ROIS),
    "a copy": (lambda r: r.copy(), EVERYTHING_OF_ROIS),
    "a sum": (lambda r: r + [], EVERYTHING_OF_ROIS),  # noqa: RUF005
    "equal": (lambda r: r == [], EVERYTHING_OF_ROIS),
    "reversed": (lambda r: [*reversed(r)], EVERYTHING_OF_ROIS),
    "one that is not there": (at_7, {"regions 7"}),
}  # fmt: skip


@pytest.mark.parametrize("how", ROIS)
def test_regions_are_remembered_one_by_one(rec: ZarrImageRecord, how: str) -> None:
    call, inputs = ROIS[how]
    reading = rec.reading()
    call(reading.load_rois())
    found = {str(i) for i in reading.inputs}
    assert found >= inputs
    if how in ("the first", "until one is found", "how many", "one that is not there"):
        assert found == inputs


def test_regions_without_an_id_of_their_own_are_remembered_all(rec: ZarrImageRecord) -> None:
    payload = rec.load_metadata_payload()
    payload["rois"][1]["roi_id"] = 1
    rec.save_metadata_payload(payload)
    reading = rec.reading()
    _ = reading.load_rois()[1]
    assert {str(i) for i in reading.inputs} == {"regions 1", "metadata /rois"}


def test_an_artifact_that_is_not_there_is_remembered(rec: ZarrImageRecord) -> None:
    reading = rec.reading()
    with pytest.raises(KeyError):
        reading.load_json("none")
    with pytest.raises(KeyError):
        reading.load_array_artifact("none")
    with pytest.raises(KeyError):
        reading.result("none")
    rec.save_result("new", 1, inputs=reading)
    rec.save_json("none", 1)
    assert rec.result("new").reasons == ('input "none" was added',)


SIZES: dict[str, Callable[[list[ArtifactInfo]], Any]] = {
    "one size": lambda infos: next(i.size_bytes for i in infos if i.name == "note"),
    "as text": lambda infos: str(next(i for i in infos if i.name == "note")),
    "as a dict": lambda infos: dataclasses.asdict(next(i for i in infos if i.name == "note")),
    "a copy": lambda infos: copy.copy(next(i for i in infos if i.name == "note")),
    "pickle": lambda infos: pickle.dumps(next(i for i in infos if i.name == "note")),
}


@pytest.mark.parametrize("how", SIZES)
def test_the_size_of_an_artifact_in_a_listing_is_remembered(rec: ZarrImageRecord, how: str) -> None:
    reading = rec.reading()
    SIZES[how](reading.list_artifacts())
    assert read(reading) == {"artifacts", "artifact note"}
    rec.save_result("new", 1, inputs=reading)
    rec.save_df_parquet("rows", pd.DataFrame({"n": [7]}))
    assert not rec.result("new").out_of_date
    rec.save_json("note", {"good": "no longer"})
    assert rec.result("new").out_of_date


def test_a_result_cannot_be_made_of_itself(rec: ZarrImageRecord, ds: ZarrDataset) -> None:
    report = ds.compute("earlier", lambda r: r.load_json("earlier"), only="all")
    assert "a result cannot be made of itself" in report.failed[0].reason
    assert rec.load_json("earlier@replaced=1") == {"n": 3}


def test_a_table_is_remembered_and_results_follow_it(rec: ZarrImageRecord, ds: ZarrDataset) -> None:
    ds.save_table("norms", pd.DataFrame({"n": [2]}))
    ds.compute("scaled", lambda r: int(r.load_table("norms")["n"][0]))
    assert rec.result("scaled").load() == 2
    ds.save_table("norms", pd.DataFrame({"n": [5]}))
    ds.compute("scaled", lambda r: int(r.load_table("norms")["n"][0]))
    assert rec.result("scaled").load() == 5


def test_a_reading_record_stays_in_its_process(rec: ZarrImageRecord) -> None:
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        pickle.dumps(rec.reading())


def test_a_plain_record_is_no_list_of_inputs(rec: ZarrImageRecord) -> None:
    with pytest.raises(ArgumentError, match="does not remember what was read"):
        rec.save_result("new", 1, inputs=rec)
