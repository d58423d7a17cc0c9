"""What `ls` and `show` tell of a dataset."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr import ZarrDataset
from kymflow_zarr.cli.output.facts import shortest_prefixes
from kymflow_zarr.cli.output.picture import picture
from tests.cli.run import json_of, one_error_line, run


def test_ls_shows_what_the_dataset_holds(dataset: Path) -> None:
    result = run("ls", dataset)
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["id", "shape", "dtype", "axes", "acquired", "created", "name"]
    with ZarrDataset(dataset, mode="r") as ds:
        records = list(ds.iter_records(order_by="acquired_local_epoch_ns"))
        assert len(lines) == len(records) == 3
        for line, record in zip(lines, records, strict=True):
            assert line.startswith(record.image_id)
            assert " x ".join(map(str, record.shape)) in line
            assert record.source is not None
            assert line.rstrip().endswith(Path(record.source.path).name)
    assert "y 1.17 ms, x 0.284 µm" in lines[0]
    assert "2025-07-15 09:58" in lines[0]


def test_ls_json_is_calibrated_and_in_order_of_acquisition(dataset: Path) -> None:
    images = json_of(run("ls", dataset, "--json"))
    assert [image["acquired"] for image in images] == [
        "2025-07-15T09:58:31.042",
        "2025-07-15T11:20:55.774",
        "2025-07-22T12:13:14.620",
    ]
    assert images[0]["shape"] == [300, 44]
    assert images[0]["dtype"] == "uint16"
    y, x = images[0]["axes"]
    assert (y["quantity"], y["unit"], y["step"]) == ("time", "second", pytest.approx(0.00117))
    assert (x["quantity"], x["unit"], x["step"]) == ("space", "micrometer", pytest.approx(0.284))


def test_ls_of_an_empty_dataset(tmp_path: Path) -> None:
    ZarrDataset(tmp_path / "new.zarr", mode="w-").close()
    result = run("ls", tmp_path / "new.zarr")
    assert result.exit_code == 0
    assert "holds no images yet" in result.stdout
    assert json_of(run("ls", tmp_path / "new.zarr", "--json")) == []


def test_ls_goes_on_past_a_broken_image(dataset: Path) -> None:
    with ZarrDataset(dataset, mode="r") as ds:
        ids = ds.list_image_ids()
    (dataset / "images" / ids[1] / "zarr.json").write_text("{")
    result = run("ls", dataset)
    assert result.exit_code == 1
    assert f"{ids[1]} is broken: " in result.stdout
    images = json_of(run("ls", dataset, "--json"))
    assert {image["image_id"] for image in images if "error" not in image} == {ids[0], ids[2]}


def test_show_takes_the_beginning_of_an_id(dataset: Path) -> None:
    with ZarrDataset(dataset, mode="r") as ds:
        [first, *others] = ds.list_image_ids()
    prefix = next(
        first[:n] for n in range(1, 36) if not any(o.startswith(first[:n]) for o in others)
    )
    assert json_of(run("show", dataset, prefix, "--json"))["image_id"] == first


def test_show_prints_all_about_an_image(dataset: Path) -> None:
    with ZarrDataset(dataset, mode="a") as ds:
        record = next(ds.iter_records())
        record.save_array_artifact("masks/vessel", np.zeros((3, 4), dtype=bool))
        payload = record.load_metadata_payload()
        record.save_json("odd", {"value": float("nan")})
        artifacts = {artifact.name for artifact in record.list_artifacts()}
    shown = json_of(run("show", dataset, record.image_id, "--json"))
    assert shown["metadata"]["experiment_metadata"] == payload["experiment_metadata"]
    assert len(shown["metadata"]["rois"]) == len(payload["rois"])
    assert {artifact["name"] for artifact in shown["artifacts"]} == artifacts
    assert shown["array_artifacts"] == ["masks/vessel"]
    text = run("show", dataset, record.image_id).stdout
    assert text.startswith(record.image_id)
    for word in ("uint16", "capillary", "Full Image", "instrument_header", "masks/vessel"):
        assert word in text


def test_show_counts_the_rows_of_tables(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        for image_id in ("a", "b"):
            ds.add_image(np.zeros((4, 5), np.uint8), image_id=image_id)
        ds.save_table("events", pd.DataFrame({"image_id": ["a", "b", "a"], "t_s": [1.0, 2.0, 3.0]}))
        ds.save_table("other", pd.DataFrame({"x": [1]}))
    assert json_of(run("show", tmp_path / "new.zarr", "a", "--json"))["table_rows"] == {"events": 2}


def test_show_of_an_id_that_begins_another(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        for image_id in ("vessel", "vessel-2", "other"):
            ds.add_image(np.zeros((4, 5), np.uint8), image_id=image_id)
    path = tmp_path / "new.zarr"
    assert json_of(run("show", path, "vessel", "--json"))["image_id"] == "vessel"
    result = run("show", path, "ves")
    assert result.exit_code == 2
    assert "2 images are called 'ves'" in one_error_line(result)


def test_metadata_that_json_cannot_hold_is_null_in_json(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        record = ds.add_image(np.zeros((4, 5), np.uint8), image_id="a")
        record.save_metadata_payload({"version": "2.0", "depth": float("nan")})
    result = run("show", tmp_path / "new.zarr", "a", "--json")

    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} is no JSON")

    shown = json.loads(result.stdout, parse_constant=refuse)
    assert shown["metadata"]["depth"] is None


def test_show_prints_all_that_can_be_saved(tmp_path: Path) -> None:
    saved = {
        "date": dt.date(2025, 7, 15),
        "time": dt.datetime(2025, 7, 15, 9, 58, tzinfo=dt.UTC),
        "none": [pd.NaT, np.datetime64("NaT", "s"), math.inf],
        "path": PurePosixPath("/data/a.tif"),
        "bytes": b"\x00\xff",
        "complex": 1 + 2j,
        "array": np.array([[1.0, np.nan], [2.0, 3.0]]),
        "times": np.array(["2025-07-15"], dtype="M8[D]"),
        "scalar": np.array(3),
        "duration": dt.timedelta(days=1),
        "numbered": {1: "a"},
    }
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        record = ds.add_image(np.zeros((4, 5), np.uint8), image_id="a")
        record.save_metadata_payload({"version": "2.0", "experiment_metadata": saved})
    shown = json_of(run("show", tmp_path / "new.zarr", "a", "--json"))
    assert shown["metadata"]["experiment_metadata"] == {
        "date": "2025-07-15",
        "time": "2025-07-15T09:58:00+00:00",
        "none": [None, None, None],
        "path": "/data/a.tif",
        "bytes": "00ff",
        "complex": "(1+2j)",
        "array": [[1.0, None], [2.0, 3.0]],
        "times": ["2025-07-15"],
        "scalar": 3,
        "duration": "1 day, 0:00:00",
        "numbered": {"1": "a"},
    }
    assert "/data/a.tif" in run("show", tmp_path / "new.zarr", "a").stdout


@pytest.mark.parametrize(
    "payload",
    [
        *({"header": {"acquired_local_epoch_ns": odd}} for odd in ("now", 10**25, True, -5, 1.5)),
        {"header": [1], "experiment_metadata": [1], "rois": {"a": 1}},
        {"header": "x", "experiment_metadata": "x", "rois": "x"},
        {"rois": [5, None, {"data": 5}, {"dim0_start": [1], "dim0_stop": {}, "name": 7}]},
        {"experiment_metadata": {"a": np.arange(3), "b": [], "": None}},
        [1, 2],
        "text",
        5,
    ],
    ids=repr,
)
def test_odd_payloads_are_listed_and_shown(tmp_path: Path, payload: Any) -> None:
    path = tmp_path / "new.zarr"
    with ZarrDataset(path) as ds:
        ds.add_image(np.zeros((4, 5), np.uint8), image_id="plain")
        ds.add_image(np.zeros((4, 5), np.uint8), image_id="odd").save_json("metadata", payload)
    for args in (("ls", path), ("ls", path, "--json"), ("show", path, "odd"),
                 ("show", path, "odd", "--json")):  # fmt: skip
        assert run(*args).exit_code == 0
    assert [image["acquired"] for image in json_of(run("ls", path, "--json"))] == [None, None]


def test_tables_with_odd_ids_are_counted(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "new.zarr") as ds:
        ds.add_image(np.zeros((4, 5), np.uint8), image_id="a")
        ds.save_table("numbers", pd.DataFrame({"image_id": [1, 2]}))
        ds.save_table("times", pd.DataFrame({"image_id": pd.to_datetime(["2025-07-15"])}))
        ds.save_table("texts", pd.DataFrame({"image_id": pd.Categorical(["a", "b"])}))
    shown = json_of(run("show", tmp_path / "new.zarr", "a", "--json"))
    assert shown["table_rows"] == {"numbers": 0, "times": 0, "texts": 1}


@given(st.sets(st.text(alphabet="0123", min_size=1, max_size=14), min_size=1, max_size=12))
def test_short_ids_distinguish_images(ids: set[str]) -> None:
    shown = shortest_prefixes(list(ids))
    assert shown.keys() == ids
    for image_id, prefix in shown.items():
        assert image_id.startswith(prefix)
        assert prefix == image_id or not any(other.startswith(prefix) for other in ids - {image_id})


@pytest.mark.parametrize("color", [True, False])
def test_picture_shows_bright_where_the_image_is_bright(color: bool) -> None:
    pixels = np.zeros((300, 12), np.uint16)
    pixels[150:, :6] = 4000  # the later lines, in their first pixels
    text = picture(pixels, columns=60, color=color)
    rows = text.plain.split("\n")
    assert [len(row) for row in rows] == [60] * 6
    if color:
        bright = {str(span.style) for span in text.spans if span.start % 61 >= 30}
        assert "rgb(255,255,255) on rgb(255,255,255)" in bright
        dark = {str(span.style) for span in text.spans if span.start % 61 < 30}
        assert dark == {"rgb(0,0,0) on rgb(0,0,0)"}
    else:
        assert rows[:3] == [" " * 30 + "█" * 30] * 3
        assert rows[3:] == [" " * 60] * 3


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (59, 5), (61, 2)])
def test_picture_of_any_shape(shape: tuple[int, int]) -> None:
    text = picture(np.full(shape, 7), columns=60, color=False)
    rows = text.plain.split("\n")
    assert len(rows) == -(-shape[1] // 2)
    assert {len(row) for row in rows} <= set(range(1, 61))
