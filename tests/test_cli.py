"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import tifffile
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr import ZarrDataset, __version__
from kymflow_zarr._cli._app import app
from kymflow_zarr._cli._facts import shortest_prefixes
from kymflow_zarr._cli._picture import picture
from kymflow_zarr._cli._velocity import find_stalls, measure_velocity
from kymflow_zarr.testing import (
    SyntheticVessel,
    default_vessels,
    synthesize_kymograph,
    write_experiment,
)


@pytest.fixture(autouse=True)
def _plain_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as in a pipe, whatever width the test runner itself was given."""
    monkeypatch.delenv("COLUMNS", raising=False)


def run(*args: object) -> Result:
    """Run a command in this process; an exception it does not handle fails the test."""
    return CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)


def run_process(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does; its output is that of a pipe, in UTF-8."""
    return subprocess.run(
        [sys.executable, "-m", "kymflow_zarr", *map(str, args)],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        cwd=cwd,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("command", ["", *sorted(app.commands)])
def test_help_shows_examples_a_line_each(command: str) -> None:
    result = run(*([command] if command else []), "--help")
    assert result.exit_code == 0
    assert "\\b" not in result.stdout
    examples = [line for line in result.stdout.splitlines() if "kymflow-zarr " in line]
    assert len(examples) >= 2


def json_of(result: Result) -> Any:
    return json.loads(result.stdout)


def one_error_line(result: Result) -> str:
    """Return the only line on standard error; nothing is on standard output."""
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """A folder of three short kymographs."""
    vessels = [replace(vessel, n_lines=300, stalls=()) for vessel in default_vessels()[1:4]]
    write_experiment(tmp_path / "legacy", vessels=vessels)
    return tmp_path / "legacy"


@pytest.fixture
def dataset(legacy: Path) -> Path:
    """The folder as a dataset."""
    path = legacy.parent / "data.zarr"
    with ZarrDataset(path, mode="w-") as ds:
        assert not ds.ingest_legacy_folder(legacy).failed
    return path


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


def test_ls_tells_what_the_dataset_holds(dataset: Path) -> None:
    result = run("ls", dataset)
    assert result.exit_code == 0
    header, *lines = result.stdout.splitlines()
    assert header.split() == ["id", "shape", "dtype", "axes", "acquired", "created", "source"]
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


def test_show_tells_all_about_an_image(dataset: Path) -> None:
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
    assert "2 image ids begin with 'ves'" in one_error_line(result)


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


def test_validate_finds_problems(dataset: Path) -> None:
    with ZarrDataset(dataset, mode="r") as ds:
        image_id = ds.list_image_ids()[0]
    (dataset / "images" / image_id / "zarr.json").write_text("{")
    result = run("validate", dataset)
    assert result.exit_code == 1
    assert "not valid" in result.stdout
    assert image_id in result.stdout
    result = run("validate", dataset, "--json")
    assert result.exit_code == 1
    report = json_of(result)
    assert report["ok"] is False
    assert any(image_id in problem["where"] for problem in report["problems"])


@pytest.mark.parametrize(
    "args",
    [
        ("ls", "nowhere.zarr"),
        ("ls", "nowhere.zarr", "--json"),
        ("show", "nowhere.zarr", "3f"),
        ("export", "nowhere.zarr", "out"),
        ("validate", "nowhere.zarr"),
        ("ingest", "nowhere.zarr"),
        ("ingest", "nowhere.zarr", "new.zarr", "--json"),
    ],
)
def test_nothing_there_is_one_friendly_line_and_nothing_is_made(
    args: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*args)
    assert result.exit_code == 2
    assert "nowhere.zarr" in one_error_line(result)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_dataset_is_refused_and_left_alone(legacy: Path) -> None:
    before = sorted(legacy.rglob("*"))
    for args in (("ls", legacy), ("ingest", legacy, legacy)):
        result = run(*args)
        assert result.exit_code == 2
        assert str(legacy) in one_error_line(result)
    assert sorted(legacy.rglob("*")) == before


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = run("ls", tmp_path / "nowhere.zarr", "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_an_error_nobody_foresaw_is_no_traceback_either(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(ZarrDataset, "iter_records", fail)
    result = run("ls", dataset)
    assert result.exit_code == 2
    assert "surprise" in one_error_line(result)


def test_ctrl_c_is_one_line_and_exit_code_130(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(ZarrDataset, "validate", interrupt)
    result = run("validate", dataset)
    assert result.exit_code == 130
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


def test_help_and_version_need_no_heavy_package() -> None:
    code = (
        "import sys\n"
        "from kymflow_zarr._cli import main\n"
        "sys.argv = ['kymflow-zarr', sys.argv[1]]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'pandas', 'pyarrow', 'zarr', 'tifffile', 'imagecodecs', 'rich'}\n"
        "    print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    for option, expected in (("--help", "ingest"), ("--version", __version__)):
        done = subprocess.run(
            [sys.executable, "-c", code, option], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0
        assert expected in done.stdout
        assert done.stderr.strip() == "[]"


@pytest.mark.skipif(os.name == "nt", reason="a pipe on Windows closes differently")
@pytest.mark.parametrize("options", [["--json"], []])
def test_a_reader_that_has_seen_enough_is_no_error(dataset: Path, options: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "kymflow_zarr", "ls", str(dataset), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.parametrize("command", ["demo", "ingest", "ls", "show", "export", "validate"])
def test_every_command_explains_itself_with_examples(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"kymflow-zarr {command} " in result.stdout.split("Examples:")[1]


def test_commands_run_as_a_program(legacy: Path, tmp_path: Path) -> None:
    done = run_process("ingest", legacy, "new.zarr", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["counts"]["ingested"] == 3
    done = run_process("ls", "new.zarr", cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 4
    done = run_process("ls", "nowhere.zarr", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert run_process("unknown").returncode == 2


def test_demo_end_to_end(tmp_path: Path) -> None:
    done = run_process("demo", "try", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for word in ("6 ingested", "Control", "28d AngII", "speed mm/s", "What next", "load_array"):
        assert word in done.stdout
    # Every command and every line of Python that it suggests runs.
    lines = [line.strip() for line in done.stdout.splitlines()]
    commands = [line.split() for line in lines if line.startswith("kymflow-zarr ")]
    assert len(commands) >= 3
    for command in commands:
        assert run_process(*command[1:], cwd=tmp_path).returncode == 0
    first = lines.index("In Python:") + 1
    code = "\n".join(lines[first : lines.index("In the shell:")])
    code += "\nassert pixels.shape == rec.shape\nassert len(velocity) and len(stalls)\n"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    # It never writes over what is there.
    again = run_process("demo", "try", cwd=tmp_path)
    assert again.returncode == 2
    assert again.stdout == ""
    assert again.stderr.startswith("error: ")
    assert "an earlier demo: remove it" in again.stderr


def test_demo_says_at_once_that_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        result = run("demo", folder)
        assert result.exit_code == 2
        assert "kymflow-zarr demo FOLDER takes another" in one_error_line(result)
    assert (tmp_path / "file").read_text() == "in the way"


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


def test_validate_does_not_claim_to_read_pixels() -> None:
    assert "bytes are not read" in run("validate", "--help").stdout


def test_demo_removes_what_it_wrote_and_nothing_else(tmp_path: Path) -> None:
    result = run("demo", tmp_path / "try", "--remove")
    assert result.exit_code == 0
    assert "What next" not in result.stdout
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    assert run("demo", tmp_path / "empty", "--remove").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize("vessel", default_vessels(), ids=lambda vessel: vessel.name)
def test_demo_measures_what_is_in_the_pixels(vessel: SyntheticVessel) -> None:
    kymograph = synthesize_kymograph(vessel)
    measured = measure_velocity(
        kymograph.pixels, line_period_s=vessel.line_period_s, pixel_size_um=vessel.pixel_size_um
    )
    truth = np.interp(measured["time_s"], kymograph.time_s, kymograph.velocity_mm_s)
    error = np.abs(measured["velocity_mm_s"] - truth)
    assert error.median() < 0.1 * vessel.mean_velocity_mm_s
    for start_s, stop_s in find_stalls(measured):
        assert any(first < start_s + 0.05 and stop_s < last + 0.05 for first, last in vessel.stalls)
    assert bool(find_stalls(measured)) == bool(vessel.stalls)


@given(st.sets(st.text(alphabet="0123", min_size=1, max_size=14), min_size=1, max_size=12))
def test_short_ids_tell_images_apart(ids: set[str]) -> None:
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
