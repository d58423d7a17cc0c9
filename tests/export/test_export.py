"""What an export writes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from kymflow_zarr import ZarrDataset
from kymflow_zarr.export.dataset_layout import places
from tests.helpers.export_dataset import EXACT, MANIFEST, TYPED, dataset, files_of, manifest_of


def test_every_part_of_a_dataset_has_its_place(tmp_path: Path) -> None:
    report = dataset(tmp_path).export_legacy_folder(tmp_path / "out")
    assert set(files_of(tmp_path / "out")) == {
        MANIFEST,
        "images/plain/image.tif",
        "images/rich/array_artifacts/seg/mask.npy",
        "images/rich/exact.csv",
        "images/rich/image.tif",
        "images/rich/metadata.json",
        "images/rich/text.csv",
        "images/rich/typed.csv",
        "images/rich/typed.parquet",
        "images/rich/velocity_events/events.json",
        "tables/radon_report.csv",
        "tables/typed.csv",
        "tables/typed.parquet",
    }
    assert sorted(files_of(tmp_path / "out")) == list(report.files)
    assert report.removed == report.kept == ()
    assert not (tmp_path / "out" / ".kymflow_zarr_export").exists()


def test_ordinary_programs_read_what_was_saved(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    ds.export_legacy_folder(tmp_path / "out")
    image = tmp_path / "out" / "images" / "rich"
    np.testing.assert_array_equal(tifffile.imread(image / "image.tif"), ds["rich"].load_array())
    np.testing.assert_array_equal(
        np.load(image / "array_artifacts" / "seg" / "mask.npy"), np.eye(3, dtype=bool)
    )
    pd.testing.assert_frame_equal(pd.read_csv(image / "exact.csv"), EXACT)
    pd.testing.assert_frame_equal(pd.read_csv(image / "text.csv"), EXACT)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out/tables/radon_report.csv"), EXACT)
    pd.testing.assert_frame_equal(pd.read_parquet(image / "typed.parquet"), TYPED)
    assert json.loads((image / "metadata.json").read_bytes()) == {"version": "2.0", "rois": []}


def test_json_and_parquet_are_the_bytes_of_the_dataset(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    ds.export_legacy_folder(tmp_path / "out")
    image = tmp_path / "out" / "images" / "rich"
    keys = {(info.name, info.kind): ds.path / info.key for info in ds["rich"].list_artifacts()}
    events = image / "velocity_events" / "events.json"
    assert events.read_bytes() == keys["velocity_events/events", "json"].read_bytes()
    assert (image / "typed.parquet").read_bytes() == keys["typed", "parquet"].read_bytes()


@pytest.mark.parametrize(
    ("frame", "csv_says_all"),
    [
        (pd.DataFrame({"n": [1, -2], "f": [0.1, float("nan")], "b": [True, False]}), True),
        (pd.DataFrame({"n": [1, 2]}, index=pd.Index([3, 4], name="row")), False),
        (pd.DataFrame({"n": pd.array([1, None], dtype="Int64")}), False),
        (pd.DataFrame({"s": ["1", "2"]}), False),
        (pd.DataFrame({"s": ["", "x"]}), False),
        (pd.DataFrame({"n": np.array([1], dtype="uint8")}), False),
        (pd.DataFrame({"c": pd.Categorical(["a", "b"])}), False),
        (pd.DataFrame({"t": pd.to_datetime(["2026-01-01T12:00"], utc=True)}), False),
        (pd.DataFrame({"a": [1, 2]}).iloc[:0], False),
        (pd.DataFrame(), False),
    ],
)
@pytest.mark.parametrize("kind", ["parquet", "csv_gz"])
def test_a_data_frame_keeps_its_types_beside_a_csv_that_does_not(
    tmp_path: Path, frame: pd.DataFrame, csv_says_all: bool, kind: str
) -> None:
    ds = ZarrDataset(tmp_path / "d.zarr", durability="relaxed")
    rec = ds.add_image(np.zeros((2, 2)), image_id="a")
    save = rec.save_df_parquet if kind == "parquet" else rec.save_df_csv_gz
    key = save("x", frame)
    ds.export_legacy_folder(tmp_path / "out")
    exact = tmp_path / "out/images/a" / ("x.parquet" if kind == "parquet" else "x.csv.gz")
    assert (tmp_path / "out/images/a/x.csv").is_file()
    if csv_says_all:
        assert not exact.exists()
        pd.testing.assert_frame_equal(pd.read_csv(exact.with_name("x.csv")), frame)
    else:
        assert exact.read_bytes() == (ds.path / key).read_bytes()


def test_a_parquet_and_a_gzip_csv_of_one_name_both_arrive(tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "d.zarr", durability="relaxed")
    rec = ds.add_image(np.zeros((2, 2)), image_id="a")
    rec.save_df_parquet("x", EXACT)
    key = rec.save_df_csv_gz("x", EXACT * 2)
    rec.save_json("x", {"also": "JSON"})
    ds.export_legacy_folder(tmp_path / "out")
    image = tmp_path / "out/images/a"
    pd.testing.assert_frame_equal(pd.read_csv(image / "x.csv"), EXACT)
    assert (image / "x.csv.gz").read_bytes() == (ds.path / key).read_bytes()
    assert pd.read_csv(image / "x.csv.gz")["roi_id"].tolist() == [2, 4]


def test_the_manifest_is_enough_to_rebuild_the_dataset(tmp_path: Path) -> None:
    ds = dataset(tmp_path)
    ds.export_legacy_folder(tmp_path / "out")
    told = manifest_of(tmp_path / "out")
    rec = ds["rich"]
    assert told["format"] == "kymflow_zarr_export"
    assert told["format_version"] == 1
    assert told["dataset_id"] == ds.dataset_id
    assert set(told["images"]) == {"plain", "rich"}
    image = told["images"]["rich"]
    assert image["axes"] == [
        {"name": "y", "quantity": "time", "unit": "second", "step": 0.002},
        {"name": "x", "quantity": "space", "unit": "micrometer", "step": 0.25},
    ]
    assert (image["dtype"], image["shape"]) == ("uint16", [10, 6])
    assert image["created_utc"] == rec.created_utc
    assert image["updated_utc"] == rec.updated_utc
    assert image["source"] is None
    assert {(a["name"], a["kind"]): a["file"] for a in image["artifacts"]} == {
        ("exact", "parquet"): "images/rich/exact.csv",
        ("metadata", "json"): "images/rich/metadata.json",
        ("text", "csv_gz"): "images/rich/text.csv",
        ("typed", "parquet"): "images/rich/typed.parquet",
        ("velocity_events/events", "json"): "images/rich/velocity_events/events.json",
    }
    assert image["arrays"][0]["name"] == "seg/mask"
    assert image["arrays"][0]["axes"] == ["y", "x"]
    assert [(t["name"], t["file"]) for t in told["tables"]] == [
        ("radon_report", "tables/radon_report.csv"),
        ("typed", "tables/typed.parquet"),
    ]
    for path, data in files_of(tmp_path / "out").items():
        if path != MANIFEST:
            assert told["files"][path]["sha256"] == hashlib.sha256(data).hexdigest()
            assert told["files"][path]["size_bytes"] == len(data)


def test_an_image_without_pixels_keeps_shape_and_dtype(tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "d.zarr", durability="relaxed")
    ds.add_image(np.zeros((0, 5), "float32"), image_id="a")
    ds.export_legacy_folder(tmp_path / "out")
    back = np.load(tmp_path / "out/images/a/image.npy")
    assert (back.shape, back.dtype) == ((0, 5), np.float32)


def test_names_that_differ_in_case_or_spelling_have_files_of_their_own(tmp_path: Path) -> None:
    ds = ZarrDataset(tmp_path / "d.zarr", durability="relaxed")
    names = ["ROI", "roi", "Roi", "\u00e9", "e\u0301", "a b", "a/b", "a.b", "metadata "]
    for image_id in ("A", "a"):
        rec = ds.add_image(np.zeros((2, 2)), image_id=image_id)
        for number, name in enumerate(names):
            rec.save_json(name, number)
            rec.save_df_parquet(name, EXACT * number)
            rec.save_array_artifact(name, np.array([number]))
    ds.export_legacy_folder(tmp_path / "out")
    told = manifest_of(tmp_path / "out")
    assert len({path.casefold() for path in told["files"]}) == len(told["files"])
    for image in told["images"].values():
        for number, name in enumerate(names):
            (array,) = (a["file"] for a in image["arrays"] if a["name"] == name)
            assert np.load(tmp_path / "out" / array).tolist() == [number]
            (doc,) = (
                a["file"] for a in image["artifacts"] if a["name"] == name and a["kind"] == "json"
            )
            assert json.loads((tmp_path / "out" / doc).read_bytes()) == number


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["json", "parquet", "csv_gz", "array"]),
            st.lists(
                st.sampled_from(
                    (
                        *("x", "X", "x.csv", "x.csv.gz", "x.parquet", "x.npy", "x.json"),
                        *("image", "image.tif", "array_artifacts", "metadata", "X.CSV", "x%2ecsv"),
                    )
                ),
                min_size=1,
                max_size=3,
            ).map("/".join),
        ),
        unique=True,
        max_size=12,
    )
)
@settings(deadline=None)
def test_no_two_artifacts_want_the_same_place(artifacts: list[tuple[Any, str]]) -> None:
    from kymflow_zarr import ArtifactInfo

    infos = [ArtifactInfo(name, kind, "", 0) for kind, name in artifacts if kind != "array"]
    paths = [path for place in places.artifact_places("a", infos) for path in place.paths]
    paths += [places.array_place("a", name) for kind, name in artifacts if kind == "array"]
    paths += [places.pixels_place("a", empty=empty) for empty in (True, False)]
    files = {path.casefold() for path in paths}
    folders = {str(parent) for path in files for parent in Path(path).parents}
    assert len(files) == len(paths)
    assert not files & folders


def test_a_text_that_a_spreadsheet_takes_for_a_formula_is_exported_as_it_is(tmp_path: Path) -> None:
    texts = ["=1+1", "+cmd", "-2", "@SUM(A1)", "\tx", '=HYPERLINK("a")']
    with ZarrDataset(tmp_path / "x.zarr", "w", durability="relaxed") as ds:
        ds.save_table("notes", pd.DataFrame({"note": texts}))
        ds.export_legacy_folder(tmp_path / "out")
    back = pd.read_csv(tmp_path / "out" / "tables" / "notes.csv", dtype="str")
    assert back["note"].tolist() == texts
