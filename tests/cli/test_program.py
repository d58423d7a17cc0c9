"""The program as a whole: help, exit codes, errors, what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from kymflow_zarr import ZarrDataset, __version__
from kymflow_zarr.cli.app import app
from tests.cli.run import json_of, one_error_line, run, run_process


@pytest.mark.parametrize("command", ["", *sorted(app.commands)])
def test_help_shows_examples_a_line_each(command: str) -> None:
    result = run(*([command] if command else []), "--help")
    assert result.exit_code == 0
    assert "\\b" not in result.stdout
    examples = [line for line in result.stdout.splitlines() if "kymflow-zarr " in line]
    assert len(examples) >= 2


@pytest.mark.parametrize("command", sorted(set(app.commands) - {"demo", "completion", "delete"}))
def test_every_command_that_prints_facts_prints_them_as_json(command: str) -> None:
    assert "--json" in run(command, "--help").stdout


def test_the_page_and_the_help_list_every_command_and_exit_code() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    told = run("--help").stdout
    for command in app.commands:
        assert f"\n## {command}\n" in page
        assert f"[`{command}`](#{command})" in page
    for code in (0, 1, 2, 130):
        assert f"\n| {code} |" in page
        assert f"{code} " in told.split("Exit codes:")[1]


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


def test_an_unexpected_error_prints_no_traceback(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> NoReturn:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(ZarrDataset, "images", fail)
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
        "from kymflow_zarr.cli import main\n"
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


@pytest.mark.parametrize("command", sorted(app.commands))
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


def test_validate_does_not_claim_to_read_pixels() -> None:
    assert "bytes are not read" in run("validate", "--help").stdout
