"""Values by condition and figures, as the page's server answers and downloads them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from tests.viewer.web.site import ask, client_of


@pytest.fixture
def client(dataset: ZarrDataset) -> TestClient:
    rows = [
        ("kymo", "run", 1.0),
        ("kymo", "run", 3.0),
        ("stack", "rest", 5.0),
        ("kymo", "rest", 7.0),
    ]
    dataset.save_table("v", pd.DataFrame(rows, columns=["image_id", "state", "speed"]))
    return client_of(dataset)


def test_points_of_images_by_group_come_with_their_statistics(client: TestClient) -> None:
    found = ask(client, "/api/values/v?value=speed&by=state")
    assert found["unit"] == "image_id"
    rest, run = found["groups"]
    assert (rest["label"], rest["units"], rest["values"]) == ("rest", ["kymo", "stack"], [7, 5])
    assert (rest["mean"], rest["n_units"], rest["quartiles"]) == (6, 2, [5.5, 6.5])
    assert (run["values"], run["n_rows"], run["sem"]) == ([2], 2, None)
    some = ask(client, "/api/values/v?value=speed&where=state:eq:run&unit=state")
    assert [group["units"] for group in some["groups"]] == [["run"]]


@pytest.mark.parametrize("query", ["value=state", "value=gone", "value=speed&by=gone", ""])
def test_columns_that_make_no_plot_are_refused(client: TestClient, query: str) -> None:
    assert ask(client, f"/api/values/v?{query}", 400)["error"]["type"] == "ArgumentError"


def test_values_are_downloaded_tidy_by_column_as_workbook_and_as_figure(client: TestClient) -> None:
    pytest.importorskip("matplotlib")
    openpyxl = pytest.importorskip("openpyxl")
    address = "/download/values/v?value=speed&by=state"
    tidy = client.get(f"{address}&as=csv")
    assert tidy.headers["content-disposition"].endswith("speed%20of%20v.csv")
    assert tidy.text.splitlines()[0] == "state,image_id,speed,n_images,n_rows"
    columns = client.get(f"{address}&as=columns&order=run&order=rest").text
    assert columns == "run,rest\n2.0,7.0\n,5.0\n"
    book = openpyxl.load_workbook(io.BytesIO(client.get(f"{address}&as=xlsx").content))
    assert book.sheetnames == ["summary", "values", "columns"]
    for form, start in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        figure = client.get(f"{address}&kind=box&as={form}")
        assert figure.content.startswith(start)
    assert client.get(f"{address}&kind=cake&as=svg").status_code == 400
    table: Any = client.get("/download/table/v?as=xlsx&where=state:eq:run")
    assert openpyxl.load_workbook(io.BytesIO(table.content))["v"].max_row == 3


def test_a_figure_of_an_image_has_its_plane_its_contrast_and_a_scale_bar(
    client: TestClient,
) -> None:
    pytest.importorskip("matplotlib")
    figure = client.get("/download/figure/kymo?as=svg&low=0&high=9000&map=viridis")
    assert figure.headers["content-disposition"].endswith('filename="kymo.svg"')
    # Text stays text, which other programs edit.
    assert ">time (s)<" in figure.text
    assert 'id="scale bar"' in figure.text
    assert 'id="ROI 1"' in figure.text
    plain = client.get("/download/figure/kymo?as=svg&rois=false").text
    assert 'id="ROI 1"' not in plain
    for query in ("map=composite&low=1,2,3", "at=z:99", "at=q:1", "low=dark"):
        assert client.get(f"/download/figure/stack?as=png&{query}").status_code == 400
    assert client.get("/download/figure/stack?as=png&at=c:1,z:2").content[:4] == b"\x89PNG"


def test_a_figure_of_several_channels_has_their_colors_and_contrasts(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with ZarrDataset(tmp_path / "x.zarr", "w-", durability="relaxed") as ds:
        stack = np.zeros((2, 8, 8), np.uint16)
        stack[0, :4], stack[1, :, :4] = 100, 50
        ds.add_image(stack, image_id="two", axes="cyx", pixel_size_um=0.5)
        rgb = np.zeros((8, 8, 3), np.uint8)
        rgb[..., 0], rgb[..., 2] = 255, 128
        ds.add_image(rgb, image_id="rgb", axes="yxc", channel_names=["red", "green", "blue"])
        ds.add_image(np.zeros((5, 8, 8), np.uint8), image_id="five", axes="cyx")
        client = client_of(ds)

        def colors(image_id: str, query: str) -> set[tuple[int, ...]]:
            address = f"/download/figure/{image_id}?as=png&map=composite&rois=false&{query}"
            answer = client.get(address)
            assert answer.status_code == 200, answer.text
            png = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))
            found, counts = np.unique(png.reshape(-1, 3), axis=0, return_counts=True)
            return {tuple(map(int, found[i])) for i in np.argsort(counts)[-6:]}

        # Green over magenta, half as bright with twice its range; the channel with the focus in
        # the page is no matter.
        found = colors("two", "low=0,0&high=100,100&at=c:1")
        assert {(0, 255, 0), (128, 255, 128), (128, 0, 128)} <= found
        assert {(0, 128, 0), (255, 128, 255)} <= colors("two", "low=0,0&high=200,50")
        assert (255, 0, 128) in colors("rgb", "")
        refused = client.get("/download/figure/five?as=png&map=composite")
        assert refused.status_code == 400
        assert "5 channels" in refused.json()["error"]["what"]
