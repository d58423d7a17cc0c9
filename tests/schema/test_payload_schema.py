"""The metadata payload: what is read, what is written, and its published JSON Schema."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, validators

from kymflow_zarr import ZarrDataset, ZarrImageRecord, json_schema
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.schema.payload import payload_deviations, upgrade_payload
from kymflow_zarr.schema.rois import upgrade_roi
from kymflow_zarr.testing import write_experiment

NAMES = ["payload", "dataset", "image", "array_artifact", "curation", "lineage"]
FLAT = {
    "id": 3, "channel": 1, "z": 0, "name": "", "note": "left", "revision": 2, "img_mean": 4.5,
    "dim0_start": 5, "dim0_stop": 90, "dim1_start": 1, "dim1_stop": 4, "color": "red",
}  # fmt: skip
NESTED = {
    "roi_id": 3, "roi_type": "rect", "version": "1.0", "name": "", "note": "left", "channel": 1,
    "z": 0, "data": {"x0": 1, "x1": 4, "y0": 5, "y1": 90},
    "meta": {"revision": 2, "img_mean": 4.5}, "color": "red",
}  # fmt: skip
OLD: dict[str, Any] = {
    "version": "1.0",
    "header": {"shape": [100, 8], "voxels_units": ["px", "px"], "labels": ["Time (s)", "x"]},
    "experiment_metadata": {"depth": "", "acq_date": "2022-11-02", "acq_time": "12:30", "cage": 7},
    "rois": [FLAT],
    "accepted": True,
}


# JSON Schema takes 3.0 for an integer; what reads a payload is stricter.
Strict = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def violations(document: object, name: Any = "payload") -> list[str]:
    validator = Strict(json_schema(name))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def real_payloads(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(folder.rglob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(document, dict) and {"header", "experiment_metadata"} <= document.keys():
            found[str(path.relative_to(folder))] = document
    return found


# The published schema ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_schema_is_one_of_draft_2020_12(name: Any) -> None:
    schema = json_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", NAMES)
def test_the_command_prints_the_schema(name: Any) -> None:
    command = [sys.executable, "-m", "kymflow_zarr", "schema", name]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == json_schema(name)


def test_a_schema_that_is_not_there_is_named() -> None:
    with pytest.raises(ArgumentError, match=r"no schema 'table'.*There are payload, dataset"):
        json_schema("table")  # type: ignore[arg-type]  # a wrong call is the point


def test_the_documents_of_a_dataset_keep_to_their_schemas(ds: ZarrDataset, tmp_path: Path) -> None:
    kymograph = ds.add_image(np.ones((9, 4)), image_id="a", line_period_s=0.001)
    ds.add_image(np.ones((2, 9, 4)), axes="cyx", channel_names=["red", "green"])
    kymograph.save_mask("cell", np.ones((9, 4), bool))
    with kymograph.edit() as edit:
        edit.set_verdict("accepted")
        edit.save_roi({"data": {"x0": 0, "x1": 1, "y0": 0, "y1": 1}})
    kymograph.undo()
    kymograph.save_result("v", 1.0, params={"window": 16}, roi=1)
    written = {
        "dataset": "zarr.json",
        "image": "images/a/zarr.json",
        "array_artifact": "images/a/analysis_arrays/cell/zarr.json",
        "payload": "images/a/analysis/metadata.json",
        "curation": "images/a/analysis/curation.json",
        "lineage": "images/a/analysis/lineage.json",
    }
    for name, key in written.items():
        document = json.loads((tmp_path / "experiment.zarr" / key).read_text())
        assert violations(document, name) == []
        others = [other for other in NAMES if other != name]
        assert all(violations(document, other) for other in others)


def test_an_unknown_format_version_breaks_the_schema(ds: ZarrDataset, tmp_path: Path) -> None:
    document = json.loads((tmp_path / "experiment.zarr" / "zarr.json").read_text())
    document["attributes"]["kymflow_zarr"]["format_version"] = 3
    assert violations(document, "dataset") == [
        "$.attributes.kymflow_zarr.format_version: 2 was expected"
    ]


def test_unknown_keys_are_allowed_at_every_level() -> None:
    payload = upgrade_payload(OLD)
    payload["header"]["lens"] = payload["rois"][0]["data"]["angle"] = {"any": [1]}
    payload["rois"][0]["meta"]["by"] = "me"
    assert violations(payload) == []
    assert list(payload_deviations(payload)) == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("header", "shape", [100, -1]),
        ("header", "shape", "100 x 8"),
        ("header", "voxels", [0.1, "0.2"]),
        ("header", "acquired_local_epoch_ns", "2022"),
        ("experiment_metadata", "depth", "deep"),
        ("experiment_metadata", "species", 5),
    ],
)
def test_wrong_types_break_the_schema_and_are_named(section: str, key: str, value: object) -> None:
    payload = upgrade_payload(OLD)
    payload[section][key] = value
    [violation] = violations(payload)
    [deviation] = payload_deviations(payload)
    assert deviation.key.startswith(f"{section}.{key}")
    assert violation.startswith(f"$.{section}.{key}")


# Reading ------------------------------------------------------------------------------------


def test_an_old_payload_means_the_same_in_the_new_form() -> None:
    before = copy.deepcopy(OLD)
    assert upgrade_payload(OLD) == {
        "version": "2.0",
        "header": OLD["header"] | {"date_str": "2022-11-02", "time_str": "12:30"},
        "experiment_metadata": OLD["experiment_metadata"],
        "rois": [NESTED],
        "accepted": True,
    }
    assert before == OLD


def test_a_header_that_says_when_is_believed() -> None:
    header = {"date_str": "2 Nov", "time_str": ""}
    upgraded = upgrade_payload({**OLD, "header": header})
    assert upgraded["header"] == {"date_str": "2 Nov", "time_str": "12:30"}


def test_missing_and_null_sections_are_empty_ones() -> None:
    empty = {"version": "2.0", "header": {}, "experiment_metadata": {}, "rois": []}
    assert upgrade_payload({}) == empty
    assert upgrade_payload(dict.fromkeys(empty)) == empty


def test_an_unknown_version_is_not_taken_for_a_known_one() -> None:
    assert upgrade_payload({"version": "3.0"})["version"] == "3.0"
    assert upgrade_payload({"version": True})["version"] is True


@pytest.mark.parametrize("version", ["1.0", "2.0", 1, 2.0, "1", None])
def test_known_versions_become_the_one_of_today(version: object) -> None:
    assert upgrade_payload({"version": version})["version"] == "2.0"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"roi_id": 1, "data": {"x0": 0.0, "x1": 3.0, "y0": 0, "y1": 1}}, {"x0": 0, "x1": 3}),
        ({"roi_id": 1, "data": {"mask_ref": "m"}, "z": None}, {"mask_ref": "m"}),
        ({"roi_id": 1, "roi_type": "mask", "meta": {"mask_ref": "m"}}, {"mask_ref": "m"}),
        ({"id": 1, "mask_ref": "m", "note": None}, {"mask_ref": "m"}),
    ],
)
def test_other_old_forms_of_a_region_are_read(old: dict[str, Any], new: dict[str, Any]) -> None:
    upgraded: Any = upgrade_roi(old)
    assert {key: upgraded["data"][key] for key in new} == new
    assert (upgraded["roi_id"], upgraded["channel"], upgraded["z"]) == (1, 1, 0)
    assert upgraded["note"] == ""
    assert violations(upgrade_payload({"rois": [old]})) == []


@pytest.mark.parametrize("roi", [5, None, [], {}, {"roi_type": "star"}, {"dim0_start": 1}])
def test_what_is_no_known_region_stays_as_it_is(roi: object) -> None:
    assert upgrade_roi(roi) == roi


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda items: (
        st.lists(items, max_size=3) | st.dictionaries(st.text(max_size=3), items, max_size=3)
    ),
    max_leaves=6,
)
KEYS = [
    "version", "header", "experiment_metadata", "rois", "shape", "voxels", "labels", "depth",
    "acq_date", "id", "roi_id", "roi_type", "data", "meta", "mask_ref", "channel", "z",
    "dim0_start", "dim0_stop", "dim1_start", "dim1_stop", "x0", "x1", "y0", "y1",
]  # fmt: skip
MAPPINGS = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), JSON, max_size=8)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "version": st.sampled_from(["1.0", "2.0", "9", 2]) | JSON,
            "header": MAPPINGS | JSON,
            "experiment_metadata": MAPPINGS | JSON,
            "rois": st.lists(MAPPINGS | JSON, max_size=3) | JSON,
            "more": JSON,
        },
    )
)
def test_any_payload_is_read_and_what_still_deviates_is_what_the_schema_says(raw: Any) -> None:
    before = copy.deepcopy(raw)
    upgraded = upgrade_payload(raw)
    assert raw == before
    assert upgrade_payload(upgraded) == upgraded
    assert bool(list(payload_deviations(upgraded))) == bool(violations(upgraded))
    for key in ("header", "experiment_metadata"):
        if isinstance(raw.get(key), dict):
            assert {**upgraded[key], **raw[key]} == upgraded[key]


# Real and synthetic payloads ---------------------------------------------------------------


def test_real_payloads_are_read_and_written_in_the_published_form(shared_data: Path) -> None:
    payloads = real_payloads(shared_data)
    assert len(payloads) >= 5
    for name, payload in payloads.items():
        assert all(deviation.readable for deviation in payload_deviations(payload)), name
        upgraded = upgrade_payload(payload)
        assert violations(upgraded) == [], name
        assert upgraded["experiment_metadata"] == payload["experiment_metadata"]
        assert upgraded["header"] == payload["header"]
        assert len(upgraded["rois"]) == len(payload["rois"])
        if payload["version"] == "2.0":
            assert upgraded == payload


def test_what_ingest_writes_keeps_to_the_schema(ds: ZarrDataset, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    write_experiment(folder)
    [first, *_] = sorted(folder.rglob("*.tif"))
    rec = ds.ingest_tiff(first)
    payload = json.loads(
        (tmp_path / "experiment.zarr" / rec.save_rois(rec.load_rois())).read_text()
    )
    assert payload["rois"]
    assert violations(payload) == []
    assert not [p for p in ds.validate().problems if p.code.startswith(("metadata", "roi"))]


def test_older_forms_in_a_dataset_are_reported_and_rewritten(rec: ZarrImageRecord) -> None:
    rec.save_metadata_payload(OLD | {"header": {"shape": [500, 38]}})
    with ZarrDataset(rec._image.storage.location) as ds:
        problems = ds.validate().problems
        assert [(p.code, p.message.split()[0]) for p in problems] == [
            ("metadata-form", "version"),
            ("metadata-form", "rois[0]"),
        ]
        rec.save_metadata_objects()
        rec.save_rois(rec.load_rois())
        assert ds.validate().problems == ()
    assert rec.load_metadata_payload() == {
        "version": "2.0",
        "header": {"shape": [500, 38]},
        "experiment_metadata": OLD["experiment_metadata"],
        "rois": [NESTED],
        "accepted": True,
    }
