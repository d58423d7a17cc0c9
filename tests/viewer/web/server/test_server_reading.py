"""What the page tells of an image and of a table, and what can be downloaded."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
import tifffile
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import InvalidNameError
from tests.helpers.v1_dataset import write_v1
from tests.viewer.web.site import PIXELS, SCRIPT, ask, client_of


def test_an_image_is_described_with_its_axes_in_real_units(client: TestClient) -> None:
    facts = ask(client, "/api/images/kymo")
    assert facts["error"] is None
    assert (facts["shape"], facts["dtype"]) == ([600, 20], "uint16")
    plane = facts["plane"]
    assert plane["kymograph"]
    assert plane["turned"]
    assert plane["horizontal"] == {
        "name": "time", "label": "time (s)", "unit": "s", "step": 0.002, "size": 600,
        "calibrated": True,
    }  # fmt: skip
    assert plane["vertical"]["unit"] == "µm"
    assert facts["sliders"] == []
    assert (facts["contrast"]["min"], facts["contrast"]["max"]) == (0, PIXELS.size - 1)
    assert facts["rois"][0]["data"] == {"x0": 2, "x1": 9, "y0": 10, "y1": 300}
    assert facts["acquired"] == "2025-07-15T11:20:55.774"
    assert facts["tables"] == [{"name": "a/flow", "n_rows": 2}]
    assert (facts["previous"], facts["next"]) == (None, "stack")
    assert facts["curation"] == {"verdict": None, "note": "", "history": []}


def test_a_stack_has_a_slider_for_each_axis_beyond_the_plane(client: TestClient) -> None:
    facts = ask(client, "/api/images/stack")
    channels, depth = facts["sliders"]
    assert (channels["axis"], channels["name"], channels["size"]) == ("c", "channel", 2)
    assert channels["labels"] == ["vessel", "cells"]
    assert (depth["axis"], depth["size"], depth["at"], depth["labels"]) == ("z", 3, 1, None)
    assert facts["plane"]["true_to_scale"]
    assert {"kind": "array", "name": "mask"}.items() <= facts["artifacts"][-1].items()


def test_an_id_may_hold_any_letter(client: TestClient) -> None:
    image_id = "É # %2e photo"
    facts = ask(client, f"/api/images/{quote(image_id, safe='')}")
    assert facts["image_id"] == image_id
    assert client.get(facts["thumbnail"]).status_code == 200


@pytest.mark.parametrize("part", ["", "/window", "/thumbnail", "/histogram", "/series", "/events"])
def test_an_image_that_is_not_there_is_named(client: TestClient, part: str) -> None:
    error = ask(client, f"/api/images/kymmo{part}", 404)["error"]
    assert error["type"] == "RecordNotFoundError"
    assert "kymmo" in error["what"]


def test_a_trace_comes_by_region_in_the_order_of_time(client: TestClient) -> None:
    (offered,) = ask(client, "/api/images/kymo")["series"]
    assert offered["columns"] == [{"name": "velocity_mm_s", "unit": "mm/s"}]
    found = ask(client, "/api/images/kymo/series?kind=parquet&name=velocity&column=velocity_mm_s")
    assert (found["time_column"], found["unit"]) == ("time_s", "mm/s")
    assert [group["label"] for group in found["groups"]] == ["ROI 1", "ROI 2"]
    for group in found["groups"]:
        assert group["time"] == sorted(group["time"])
        assert len(group["values"]) == 50
        assert group["values"].count(None) == 2


def test_a_very_long_trace_keeps_its_extremes(dataset: ZarrDataset) -> None:
    time_s = np.arange(500_000) * 1e-3
    speed = np.zeros(len(time_s))
    speed[123_456], speed[400_001] = 9.0, -7.0
    dataset["kymo"].save_df_parquet("long", pd.DataFrame({"time_s": time_s, "speed": speed}))
    found = ask(client_of(dataset), "/api/images/kymo/series?kind=parquet&name=long&column=speed")
    (group,) = found["groups"]
    assert len(group["values"]) <= 110_000
    assert (min(group["values"]), max(group["values"])) == (-7.0, 9.0)
    at = group["values"].index(9.0)
    assert group["time"][at] == pytest.approx(123.456)


def test_events_come_with_their_positions_and_types(client: TestClient) -> None:
    assert ask(client, "/api/images/kymo")["events"] == [
        {"kind": "parquet", "name": "velocity_events/events", "n": 2}
    ]
    found = ask(client, "/api/images/kymo/events?kind=parquet&name=velocity_events/events")
    assert [row["row"] for row in found["rows"]] == [0, 1]
    assert found["rows"][1]["t_end_s"] is None
    assert found["type_column"] == "user_type"
    assert found["types"] == ["drop", "rise", "unreviewed"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("series?kind=parquet&name=nothing", 404),
        ("series?kind=json&name=deep/note", 400),
        ("series?kind=parquet&name=velocity&column=nothing", 400),
        ("events?kind=parquet&name=velocity", 400),
        ("artifact?kind=json&name=nothing", 404),
        ("artifact?kind=pickle&name=velocity", 400),
        ("artifact?kind=array&name=nothing", 404),
    ],
)
def test_artifacts_that_are_not_there_are_named(
    client: TestClient, query: str, status: int
) -> None:
    assert ask(client, f"/api/images/kymo/{query}", status)["error"]["what"]


def test_artifacts_are_read_in_the_page(client: TestClient) -> None:
    note = ask(client, "/api/images/kymo/artifact?kind=json&name=deep/note")
    assert note == {"json": {"text": SCRIPT, "nan": None}}
    frame = ask(client, "/api/images/kymo/artifact?kind=parquet&name=velocity&offset=98")
    assert frame["columns"] == ["roi_id", "time_s", "velocity_mm_s"]
    assert (frame["total"], len(frame["rows"])) == (100, 2)
    array = ask(client, "/api/images/stack/artifact?kind=array&name=mask")
    assert array == {"shape": [40, 30], "dtype": "bool"}


# Tables ----------------------------------------------------------------------------------


def test_a_table_is_browsed(client: TestClient) -> None:
    found = ask(client, "/api/tables/a%2fflow?sort=speed_mm_s&descending=true&where=state:eq:rest")
    assert [(c["name"], c["kind"], c["unit"]) for c in found["columns"]] == [
        ("image_id", "text", ""), ("speed_mm_s", "number", "mm/s"), ("state", "text", ""),
    ]  # fmt: skip
    assert found["total"] == 2
    assert found["rows"] == [["kymo", 1.5, "rest"], ["stack", 0.5, "rest"]]
    assert ask(client, "/api/tables/a%2fflow?q=RUN")["rows"] == [["kymo", None, "run"]]
    assert ask(client, "/api/tables/nothing", 404)["error"]["type"] == "TableNotFoundError"


def test_a_table_that_has_changed_is_read_again(client: TestClient, dataset: ZarrDataset) -> None:
    assert ask(client, "/api/tables/a%2fflow")["total"] == 3
    dataset.save_table("a/flow", pd.DataFrame({"image_id": ["kymo"], "new": [1]}))
    assert ask(client, "/api/tables/a%2fflow")["rows"] == [["kymo", 1]]


@pytest.mark.parametrize(
    ("values", "where", "found"),
    [
        ([True, False, None], "eq:true", [0]),
        ([True, False, None], "ne:true", [1, 2]),
        (["nan", None, "b"], "eq:nan", [0]),
        ([3, 2**60, -1], "gt:3", [1]),
        ([1.5, np.nan, np.inf], "ge:1.5", [0, 2]),
        (np.array(["2026-01-01", "NaT", "2026-03-01"], "M8[ns]"), "ge:2026-02-01", [2]),
        (pd.Categorical(["b", "a", "b"]), "eq:b", [0, 2]),
        ([[1, 2], [3], None], "contains:2", [0]),
        ([{"k": 1}, None, {"z": 2}], "contains:z", [2]),
        ([b"raw", None, b""], "present:", [0, 2]),
    ],
)
def test_columns_of_any_type_are_filtered_sorted_and_shown(
    tmp_path: Path, values: Any, where: str, found: list[int]
) -> None:
    ds = ZarrDataset(tmp_path / "x.zarr", durability="relaxed")
    ds.save_table("t", pd.DataFrame({"v": values, "n": range(3)}))
    client = client_of(ds)
    told = ask(client, f"/api/tables/t?where=v:{where}")
    assert [row[1] for row in told["rows"]] == found
    for down in ("true", "false"):
        rows = ask(client, f"/api/tables/t?sort=v&descending={down}")["rows"]
        assert sorted(row[1] for row in rows) == [0, 1, 2]
        shown = [row[0] is None for row in rows]
        assert shown == sorted(shown) or np.inf in values


def test_a_histogram_of_a_column_counts_each_group(client: TestClient) -> None:
    found = ask(client, "/api/tables/a%2fflow/plot?x=speed_mm_s&by=state")
    assert (found["kind"], found["total"], found["x_unit"]) == ("histogram", 2, "mm/s")
    assert [(g["label"], sum(g["counts"])) for g in found["groups"]] == [("rest", 2)]
    # The metadata of the images group a table that names them.
    found = ask(client, "/api/tables/a%2fflow/plot?x=speed_mm_s&by=animal")
    assert [(g["label"], sum(g["counts"])) for g in found["groups"]] == [("", 1), ("A7", 1)]


def test_one_column_is_drawn_over_another(dataset: ZarrDataset) -> None:
    n = 20_000
    table = pd.DataFrame({"a": np.arange(n), "b": np.arange(n) % 7, "t": ["x", "y"] * (n // 2)})
    dataset.save_table("points", table)
    client = client_of(dataset)
    found = ask(client, "/api/tables/points/plot?x=a&y=b&by=t&where=a:lt:10000")
    assert (found["kind"], found["total"], found["sampled"]) == ("scatter", 10_000, True)
    assert [group["label"] for group in found["groups"]] == ["x", "y"]
    for group in found["groups"]:
        assert len(group["x"]) == len(group["y"]) > 1000
        assert all(b == a % 7 for a, b in zip(group["x"], group["y"], strict=True))
    assert ask(client, "/api/tables/points/plot?x=t", 400)["error"]["what"]


# Downloads -------------------------------------------------------------------------------


def test_an_image_is_downloaded_as_tiff(client: TestClient) -> None:
    response = client.get("/download/image/kymo")
    assert 'filename="kymo.tif"' in response.headers["content-disposition"]
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(response.content)), PIXELS)


def test_artifacts_and_tables_are_downloaded(client: TestClient, dataset: ZarrDataset) -> None:
    frame = dataset["kymo"].load_df_parquet("velocity")
    address = "/download/artifact/kymo?kind=parquet&name=velocity"
    found = pd.read_csv(io.BytesIO(client.get(f"{address}&as=csv").content))
    pd.testing.assert_frame_equal(found, frame.reset_index(drop=True))
    found = pd.read_parquet(io.BytesIO(client.get(f"{address}&as=parquet").content))
    pd.testing.assert_frame_equal(found, frame)
    note = client.get("/download/artifact/kymo?kind=json&name=deep/note").content
    assert json.loads(note)["text"] == SCRIPT
    mask = client.get("/download/artifact/stack?kind=array&name=mask").content
    np.testing.assert_array_equal(
        np.load(io.BytesIO(mask)), dataset["stack"].load_array_artifact("mask")
    )
    table = pd.read_csv(io.BytesIO(client.get("/download/table/a%2fflow?as=csv").content))
    pd.testing.assert_frame_equal(table, dataset.load_table("a/flow"), check_dtype=False)
    stored = client.get("/download/table/a%2fflow?as=parquet").content
    assert stored == (dataset.path / "tables" / "a" / "flow.parquet").read_bytes()
    ask(client, "/download/table/a%2fflow?as=docx", 400)


def test_a_tiff_is_written_where_nothing_is(dataset: ZarrDataset, tmp_path: Path) -> None:
    target = tmp_path / "one.tif"
    dataset["kymo"].export_tiff(target)
    np.testing.assert_array_equal(tifffile.imread(target), PIXELS)
    before = target.read_bytes()
    with pytest.raises(FileExistsError, match="already"):
        dataset["stack"].export_tiff(target)
    assert target.read_bytes() == before


# OME-Zarr --------------------------------------------------------------------------------


def test_ome_zarr_may_be_read_by_pages_of_others_with_ranges(dataset: ZarrDataset) -> None:
    client = client_of(dataset, zarr_key="key")
    stored = (dataset.path / "images/kymo/data/c/0/0").read_bytes()
    address = "/zarr/key/images/kymo/data/c/0/0"
    headers = {"Origin": "https://viewer.example", "Range": "bytes=10-19"}
    part = client.get(address, headers=headers)
    assert part.status_code == 206
    assert part.content == stored[10:20]
    assert part.headers["access-control-allow-origin"] == "*"
    assert client.get(address, headers={"Range": "bytes=-8"}).content == stored[-8:]
    assert client.get(address, headers={"Range": "bytes=999999-"}).status_code == 416
    asked = client.options(
        address, headers={"Origin": "https://v.example", "Access-Control-Request-Headers": "range"}
    )
    assert asked.status_code == 204
    assert "Range" in asked.headers["access-control-allow-headers"]
    assert client.head(address).headers["content-length"] == str(len(stored))
    group = client.get("/zarr/key/images/kymo/zarr.json").json()
    assert group["attributes"]["ome"]["version"] == "0.5"


def test_a_dataset_of_version_1_is_shown(tmp_path: Path) -> None:
    write_v1(tmp_path / "old.zarr")
    with ZarrDataset(tmp_path / "old.zarr", "r") as ds:
        client = client_of(ds)
        rows = ask(client, "/api/images")["rows"]
        assert len(rows) == len(ds)
        for row in rows:
            facts = ask(client, f"/api/images/{quote(row['image_id'], safe='')}")
            assert facts["plane"]
            assert facts["ome_zarr"] is None
            assert facts["error"] is None
            assert client.get(row["thumbnail"]).status_code == 200


def test_a_token_changes_with_what_it_is_of(dataset: ZarrDataset) -> None:
    images, table = dataset._open.change_token(), dataset._open.change_token("a/flow")
    assert dataset._open.change_token() == images
    dataset["stack"].save_json("note", 1)
    changed = dataset._open.change_token()
    assert changed != images
    assert dataset._open.change_token("a/flow") == table
    dataset.save_table("a/flow", pd.DataFrame({"n": [1]}))
    assert dataset._open.change_token("a/flow") != table
    assert dataset._open.change_token() != changed
    assert dataset._open.change_token("none yet") == dataset._open.change_token("none yet")


def test_a_record_states_its_chunks_and_the_digest_of_its_pixels(dataset: ZarrDataset) -> None:
    record = dataset.add_image(PIXELS, image_id="new", chunks=(100, 20))
    assert record.chunks == (100, 20)
    before = record.pixels_sha256
    record.save_json("note", 1)
    assert record.pixels_sha256 == before
    record.save_array(PIXELS + 1)
    assert record.pixels_sha256 != before


def test_an_event_is_named_by_its_position_even_if_a_column_is_called_row(
    dataset: ZarrDataset,
) -> None:
    frame = pd.DataFrame({"row": [7, 8], "t_start_s": [0.1, 0.2], "event_type": ["a", "b"]})
    dataset["kymo"].save_df_parquet("counted", frame)
    events = ask(client_of(dataset), "/api/images/kymo/events?kind=parquet&name=counted")
    assert [row["row"] for row in events["rows"]] == [0, 1]


def test_times_beyond_nanoseconds_and_huge_numbers_are_sorted_and_drawn(
    dataset: ZarrDataset,
) -> None:
    far = np.array(["3500-01-01", "1500-01-01", "NaT"], "datetime64[us]")
    dataset.save_table(
        "far",
        pd.DataFrame(
            {
                "image_id": ["kymo", "stack", "kymo"],
                "when": far,
                "epoch_ns": [1_752_578_455_774_000_000] * 3,
                "wide": [1e308, -1e308, 0.0],
            }
        ),
    )
    client = client_of(dataset)
    rows = ask(client, "/api/tables/far?sort=when")["rows"]
    assert [row[0] for row in rows] == ["stack", "kymo", "kymo"]
    assert ask(client, "/api/tables/far?where=when:gt:2026-01-01")["total"] == 1
    for column, total in (("when", 2), ("epoch_ns", 3), ("wide", 3)):
        (group,) = ask(client, f"/api/tables/far/plot?x={column}")["groups"]
        assert sum(group["counts"]) == total


def test_an_image_with_a_backslash_in_its_id_is_served_as_ome_zarr(dataset: ZarrDataset) -> None:
    try:
        dataset.add_image(np.zeros((4, 4), np.uint8), image_id="a\\b")
    except InvalidNameError:
        pytest.skip("ids may hold no backslash here")
    client = client_of(dataset, zarr_key="key")
    assert client.get("/zarr/key/images/a%5Cb/zarr.json").status_code == 200
