"""Commands that bring files in, bring a dataset up to them, and write them out again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from tests.cli.run import json_of, one_error_line, run


def test_ingest_reports_what_came_in(legacy: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.zarr"
    result = run("ingest", legacy, target)
    assert result.exit_code == 0
    assert "3 ingested" in result.stdout
    with ZarrDataset(target, mode="r") as ds:
        assert len(ds) == 3


def test_ingest_again_leaves_all_as_it_is(legacy: Path, dataset: Path) -> None:
    result = run("ingest", legacy, dataset, "--json")
    assert result.exit_code == 0
    report = json_of(result)
    assert report["counts"]["ingested"] == 0
    assert report["counts"]["unchanged"] == 3
    assert report["n_images"] == 3


def test_ingest_names_the_dataset_after_the_source(
    legacy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run("ingest", legacy).exit_code == 0
    tiff = next(legacy.rglob("*.tif"))
    assert run("ingest", tiff).exit_code == 0
    assert sorted(path.name for path in Path.cwd().iterdir()) == sorted(
        ["legacy.zarr", f"{tiff.stem}.zarr"]
    )


def test_ingest_of_one_file(legacy: Path, tmp_path: Path) -> None:
    tiff = next(legacy.rglob("*.tif"))
    first = json_of(run("ingest", tiff, tmp_path / "one.zarr", "--json"))
    again = json_of(run("ingest", tiff, tmp_path / "one.zarr", "--json"))
    assert [item["status"] for item in first["items"] + again["items"]] == [
        "ingested",
        "unchanged",
    ]
    assert first["items"][0]["image_id"] == again["items"][0]["image_id"]


def test_one_broken_tiff_is_reported_and_the_others_are_in(legacy: Path, tmp_path: Path) -> None:
    broken = sorted(legacy.rglob("*.tif"))[1]
    broken.write_bytes(b"II*\0 no TIFF at all")
    target = tmp_path / "new.zarr"
    result = run("ingest", legacy, target)
    assert result.exit_code == 1
    assert "2 ingested" in result.stdout
    assert "1 failed" in result.stdout
    [line] = [line for line in result.stdout.splitlines() if broken.name in line]
    assert line.startswith("failed")
    report = json_of(run("ingest", legacy, target, "--json"))
    [item] = [item for item in report["items"] if item["status"] == "failed"]
    assert Path(item["path"]).name == broken.name
    assert item["reason"]
    assert report["counts"]["unchanged"] == 2


@pytest.mark.parametrize("source", ["empty", "broken.tif", "nothing.tif"])
def test_ingest_of_what_is_no_image_says_so_and_makes_no_dataset(
    tmp_path: Path, source: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.tif").write_bytes(b"no image")
    result = run("ingest", tmp_path / source, tmp_path / "new.zarr")
    assert result.exit_code == 2
    assert source in result.stderr
    assert not (tmp_path / "new.zarr").exists()


def test_ingest_takes_a_pattern_and_leaves_out_sidecars(legacy: Path, tmp_path: Path) -> None:
    target = tmp_path / "new.zarr"
    result = run("ingest", legacy, target, "--pattern", "*A89*.tif", "--no-sidecars", "--json")
    [item] = json_of(result)["items"]
    assert "A89" in item["path"]
    shown = json_of(run("show", target, item["image_id"], "--json"))
    assert "instrument_header" not in {artifact["name"] for artifact in shown["artifacts"]}


def test_export_and_validate(dataset: Path, tmp_path: Path) -> None:
    result = run("export", dataset, tmp_path / "out")
    assert result.exit_code == 0
    assert len(list((tmp_path / "out").rglob("*.tif"))) == 3
    report = json_of(run("export", dataset, tmp_path / "bare", "--no-tiff", "--json"))
    assert not list((tmp_path / "bare").rglob("*.tif"))
    assert all((tmp_path / "bare" / name).is_file() for name in report["files"])
    result = run("validate", dataset)
    assert result.exit_code == 0
    assert "3 images checked" in result.stdout
    assert json_of(run("validate", dataset, "--json"))["ok"] is True


def test_export_never_overwrites_what_is_not_its_own(dataset: Path, tmp_path: Path) -> None:
    assert run("export", dataset, tmp_path / "out").exit_code == 0
    name = next((tmp_path / "out").rglob("*.tif")).relative_to(tmp_path / "out")
    foreign = tmp_path / "foreign" / name
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    result = run("export", dataset, tmp_path / "foreign")
    assert result.exit_code == 2
    assert foreign.name in one_error_line(result)
    assert foreign.read_bytes() == b"mine"


def test_a_dataset_is_no_source_to_ingest(dataset: Path, tmp_path: Path) -> None:
    result = run("ingest", dataset, tmp_path / "new.zarr")
    assert result.exit_code == 2
    assert "this is a dataset" in one_error_line(result)
    assert not (tmp_path / "new.zarr").exists()


def test_a_changed_file_is_skipped_with_the_next_step(legacy: Path, dataset: Path) -> None:
    tiff = next(legacy.rglob("*.tif"))
    tifffile.imwrite(tiff, np.full((300, 44), 7, np.uint16))
    result = run("ingest", legacy, dataset)
    assert result.exit_code == 0
    assert "1 skipped" in result.stdout
    assert "refresh_from_folder(folder" in result.stdout


def test_refresh_brings_a_dataset_up_to_date(legacy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    shutil.copytree(legacy, folder)
    target = tmp_path / "new.zarr"
    assert run("ingest", folder, target).exit_code == 0
    moved = min(folder.rglob("*.tif"))
    moved.rename(moved.with_name("renamed.tif"))
    planned = json_of(run("refresh", folder, target, "--dry-run", "--json"))
    assert planned["dry_run"] is True
    assert planned["counts"]["moved"] == 1
    done = json_of(run("refresh", folder, target, "--mode", "reingest_if_changed", "--json"))
    assert done["counts"]["moved"] == 1
    assert done["n_images"] == planned["n_images"]
    again = run("refresh", folder, target)
    assert again.exit_code == 0
    assert "unchanged" in again.stdout
    assert run("refresh", folder, tmp_path / "none.zarr").exit_code == 2
    assert not (tmp_path / "none.zarr").exists()


@pytest.mark.parametrize("who", [["--workers", "2"], ["--processes", "1"]])
def test_the_executor_makes_no_difference(legacy: Path, tmp_path: Path, who: list[str]) -> None:
    target, out = tmp_path / "new.zarr", tmp_path / "out"
    assert json_of(run("ingest", legacy, target, "--json", *who))["counts"]["ingested"] == 3
    assert json_of(run("refresh", legacy, target, "--json", *who))["counts"]["unchanged"] == 3
    assert run("verify", target, *who).exit_code == 0
    assert run("export", target, out, *who).exit_code == 0
    assert len(list(out.rglob("*.tif"))) == 3


@pytest.mark.parametrize("wrong", [["--workers", "0"], ["--workers", "2", "--processes", "2"]])
def test_wrong_workers_are_refused(legacy: Path, tmp_path: Path, wrong: list[str]) -> None:
    result = run("ingest", legacy, tmp_path / "new.zarr", *wrong)
    assert result.exit_code == 2
    assert "--workers" in result.stderr
    assert not (tmp_path / "new.zarr").exists()


def test_images_are_read_back(legacy: Path, tmp_path: Path) -> None:
    tiff = next(legacy.rglob("*.tif"))
    assert run("ingest", legacy, tmp_path / "all.zarr", "--verify").exit_code == 0
    assert run("ingest", tiff, tmp_path / "one.zarr", "--verify").exit_code == 0
