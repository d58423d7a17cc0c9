"""The commands about results: `results`, `stale`, `explain` and `compute`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kymflow_zarr import RectRoi, ZarrDataset
from tests.cli.run import json_of, run

FLOW = """
def mean(record, scale=1):
    if record.image_id == "bad":
        raise ValueError("too dark")
    return {"mean": float(record.load_array().mean()) * scale}


def of_region(record, roi):
    return float(record.roi_pixels(roi).mean())
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "flow_of_lab.py").write_text(FLOW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with ZarrDataset("all.zarr", durability="relaxed") as ds:
        for name in ("one", "two"):
            rec = ds.add_image(np.ones((9, 9), "uint8"), image_id=name)
            rec.save_rois([RectRoi(roi_id=1, x0=0, x1=2, y0=0, y1=2)])
    return Path("all.zarr")


def test_a_function_is_computed_once_and_again_where_it_has_to_be(lab: Path) -> None:
    compute = ("compute", lab, "flow_of_lab:mean", "--params", '{"scale": 2}', "--version", "1")
    assert run(*compute).stdout == "mean: 2 computed, 0 up to date, 0 failed\n"
    assert run("stale", lab).stdout == "all results are up to date\n"
    with ZarrDataset(lab) as ds:
        assert ds["one"].result("mean").load() == {"mean": 2.0}
        assert ds["one"].result("mean").program == "flow_of_lab:mean"
        ds["one"].save_array(np.zeros((9, 9), "uint8"))
    told = run("stale", lab, "--csv")
    assert told.exit_code == 1
    assert "made from earlier pixels" in told.stdout
    assert [row["image_id"] for row in json_of(run("stale", lab, "--json"))] == ["one"]
    report = json_of(run(*compute, "--json"))
    assert [item["outcome"] for item in report["items"]] == ["ok", "up to date"]
    assert run("results", lab, "--csv").stdout.count("flow_of_lab:mean") == 2


def test_regions_variants_and_choices(lab: Path) -> None:
    told = run("compute", lab, "flow_of_lab:of_region", "--roi", "all", "--ids", "two")
    assert told.stdout == "of_region: 1 computed, 0 up to date, 0 failed\n"
    told = run("explain", lab, "two", "of_region", "--roi", "1")
    assert told.stdout.startswith("of_region@roi=1: ok, up to date\n")
    assert "- region 1" in told.stdout
    assert json_of(run("explain", lab, "two", "of_region", "--json"))["roi_id"] == 1


def test_a_function_that_fails_exits_with_one(lab: Path) -> None:
    with ZarrDataset(lab) as ds:
        ds.add_image(np.ones((9, 9), "uint8"), image_id="bad")
    told = run("compute", lab, "flow_of_lab:mean")
    assert told.exit_code == 1
    assert "bad: ValueError: too dark" in told.stdout
    assert "2 computed" in told.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["flow_of_lab"], "is not MODULE:FUNCTION"),
        (["flow_of_lab:nothing"], "there is no function"),
        (["no_module_of_lab:mean"], "there is no function"),
        (["flow_of_lab:mean", "--params", "[1]"], "is a JSON object"),
        (["flow_of_lab:mean", "--params", "{"], "is not JSON"),
        (["flow_of_lab:mean", "--roi", "some"], "is a number or all"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(lab: Path, args: list[str], said: str) -> None:
    told = run("compute", lab, *args)
    assert told.exit_code == 2
    assert said in told.stderr


def test_the_list_of_images_says_what_is_out_of_date(lab: Path) -> None:
    run("compute", lab, "flow_of_lab:mean", "--version", "1")
    assert "out of date" not in run("ls", lab).stdout
    with ZarrDataset(lab) as ds:
        ds["one"].save_array(np.zeros((9, 9), "uint8"))
    told = run("ls", lab).stdout
    assert "out of date" in told.splitlines()[0]
    assert "mean: made from earlier pixels" in told
    found = {row["image_id"]: row["out_of_date"] for row in json_of(run("ls", lab, "--json"))}
    assert found == {"one": "mean: made from earlier pixels", "two": None}
