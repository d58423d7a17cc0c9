"""Values by condition and figures, as the page's server answers and downloads them."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pytest
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
    for query in ("at=z:99", "at=q:1", "low=dark"):
        assert client.get(f"/download/figure/stack?as=png&{query}").status_code == 400
    assert client.get("/download/figure/stack?as=png&at=c:1,z:2").content[:4] == b"\x89PNG"
