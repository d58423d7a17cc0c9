"""What is damaged is an entry of its own in the page and on the command line; the rest works."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from tests.cli.run import json_of, run
from tests.viewer.web.site import ask, client_of, make_dataset


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A dataset with a damaged table and a damaged data frame, beside whole ones."""
    path = tmp_path / "x.zarr"
    with make_dataset(path) as ds:
        ds.save_table("good", pd.DataFrame({"image_id": ["kymo"], "v": [1]}))
        ds.images()
    (path / "tables" / "a" / "flow.parquet").write_bytes(b"PAR1" + bytes(40) + b"PAR1")
    frame = path / "images" / "kymo" / "analysis" / "velocity.parquet"
    frame.write_bytes(frame.read_bytes()[:100])
    return path


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_damaged_table_is_named_in_the_page_and_the_rest_is_shown(path: Path, mode: str) -> None:
    with ZarrDataset(path, mode) as ds:  # type: ignore[arg-type]
        client = client_of(ds)
        told = ask(client, "/api/dataset")
        tables = {table["name"]: table for table in told["tables"]}
        assert "Parquet" in tables["a/flow"]["error"]
        assert tables["good"]["n_rows"] == 1
        assert ask(client, "/api/images")["total"] == 3
        assert ask(client, "/api/tables/good")["total"] == 1
        assert ask(client, "/api/tables/a%2Fflow", 422)["error"]["where"] == "tables/a/flow.parquet"


def test_a_damaged_data_frame_is_named_among_the_artifacts(path: Path) -> None:
    with ZarrDataset(path, "r") as ds:
        facts = ask(client_of(ds), "/api/images/kymo")
    artifacts = {one["name"]: one for one in facts["artifacts"]}
    assert "Parquet" in artifacts["velocity"]["error"]
    assert "error" not in artifacts["velocity_events/events"]
    assert facts["events"]
    assert facts["metadata"]["experiment_metadata"]["animal"] == "A7"


def test_the_command_line_names_what_is_damaged_and_shows_the_rest(path: Path) -> None:
    assert run("ls", path).exit_code == 0
    listed = run("tables", path)
    assert listed.exit_code == 1
    assert "a/flow is broken" in listed.stdout
    shown = run("show", path, "kymo")
    assert shown.exit_code == 1
    assert "lumen" in shown.stdout
    assert "table a/flow" in shown.stdout
    facts = json_of(run("show", path, "kymo", "--json"))
    assert facts["table_rows"] == {"good": 1}
    assert list(facts["damaged"]) == ["table a/flow"]


def test_damaged_metadata_hide_neither_the_image_nor_its_tables(path: Path) -> None:
    (path / "images" / "kymo" / "analysis" / "metadata.json").write_bytes(b'{"header": ')
    shown = run("show", path, "kymo", "--json")
    assert shown.exit_code == 1
    facts = json_of(shown)
    assert facts["shape"] == [600, 20]
    assert set(facts["damaged"]) == {"metadata", "table a/flow"}


def test_the_neighbors_of_an_image_are_those_of_the_list_that_one_came_from(path: Path) -> None:
    with ZarrDataset(path, "r") as ds:
        client = client_of(ds)

        def neighbors(image_id: str, query: str) -> tuple[str | None, str | None, int | None, int]:
            facts = ask(client, f"/api/images/{image_id}{query}")
            return facts["previous"], facts["next"], facts["position"], facts["n_listed"]

        photo = "É # %2e photo"
        assert neighbors("stack", "") == ("kymo", photo, 2, 3)
        assert neighbors("stack", "?sort=image_id&descending=true") == (photo, "kymo", 2, 3)
        assert neighbors("kymo", "?sort=dtype") == ("stack", photo, 2, 3)
        assert neighbors("kymo", "?where=dtype:ne:float32") == (None, photo, 1, 2)
        # It would be between these two, if it were listed.
        assert neighbors("stack", "?where=dtype:ne:float32") == ("kymo", photo, None, 2)
        assert neighbors("stack", "?q=nothing-is-so") == (None, None, None, 0)


def test_damaged_results_hide_no_artifacts(path: Path) -> None:
    with ZarrDataset(path, "r+") as ds:
        ds["stack"].save_result("mean", 1.5, program="lab.m", version="7")
        assert [one["program"] for one in ask(client_of(ds), "/api/images/stack")["results"]] == [
            "lab.m"
        ]
        (path / "images" / "stack" / "analysis" / "lineage.json").write_text("{")
        facts = ask(client_of(ds), "/api/images/stack")
    assert facts["results"] == []
    assert "lineage.json" in facts["error"]
    assert "mask" in {one["name"] for one in facts["artifacts"]}
