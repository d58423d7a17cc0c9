"""Ctrl-C, progress, and what an error shows to those who ask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import click
import numpy as np
import pytest
import tifffile

from kymflow_zarr import ZarrDataset
from tests.cli.run import one_error_line, run, run_process

# Who starts a program in the background lets it ignore Ctrl-C; here it listens.
LISTENING = (
    "import signal, sys\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from kymflow_zarr.cli import main\n"
    "main()\n"
)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_ctrl_c_leaves_everything_whole_and_the_next_run_goes_on(tmp_path: Path) -> None:
    folder, target = tmp_path / "many", tmp_path / "many.zarr"
    folder.mkdir()
    for number in range(250):
        tifffile.imwrite(folder / f"{number:03}.tif", np.full((64, 8), number, np.uint16))
    program = subprocess.Popen(
        [sys.executable, "-c", LISTENING, "ingest", str(folder), str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while program.poll() is None and not any((target / "images").glob("*/zarr.json")):
        time.sleep(0.005)
    program.send_signal(signal.SIGINT)
    said, complained = program.communicate(timeout=60)
    assert program.returncode == 130, complained
    assert said == ""
    assert complained.splitlines() == ["cancelled; what was finished is kept"]
    with ZarrDataset(target, mode="r") as ds:
        assert 0 < len(ds) < 250
    assert run("validate", target).exit_code == 0
    assert run("verify", target).exit_code == 0
    assert run("ingest", folder, target).exit_code == 0
    with ZarrDataset(target, mode="r") as ds:
        assert len(ds) == 250


def test_ctrl_c_at_a_question_is_no_answer(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def abort(*_: object, **__: object) -> NoReturn:
        raise click.Abort

    monkeypatch.setattr(ZarrDataset, "repair", abort)
    result = run("repair", dataset)
    assert result.exit_code == 130
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("where", ["before", "after", "environment"])
def test_a_traceback_is_shown_on_request(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["ls", str(tmp_path / "nowhere.zarr")]
    assert "Traceback" not in run(*command).stderr
    if where == "environment":
        monkeypatch.setenv("KYMFLOW_ZARR_DEBUG", "1")
    args = {"before": ["--debug", *command], "after": [*command, "--debug"]}.get(where, command)
    result = run(*args)
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_a_letter_that_the_terminal_does_not_have_is_spelled_out(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kymflow_zarr", "ls", str(dataset)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert b"x 0.284 \\xb5m" in done.stdout


def test_progress_shows_rate_and_remaining_time_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kymflow_zarr.cli.output.terminal import progress_bar

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bar("Working") as progress:
        for done in range(1, 30):
            progress(done, 100, f"image {done}")
            time.sleep(0.02)
    shown = capsys.readouterr().err
    assert "Working" in shown
    assert "/100" in shown
    assert "/s" in shown
    assert "0:00:0" in shown  # what is left, in hours, minutes and seconds


def test_progress_is_silent_in_a_pipe(legacy: Path, tmp_path: Path) -> None:
    assert run_process("ingest", legacy, "new.zarr", cwd=tmp_path).stderr == ""


# Completion --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shell", "said"),
    [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --no-files")],
)
def test_completion_prints_the_script_of_a_shell(shell: str, said: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert said in result.stdout
    assert "_KYMFLOW_ZARR_COMPLETE" in result.stdout


def completions(*words: object) -> list[str]:
    """Return what the program offers for the last word, asked as zsh does."""
    line = ["kymflow-zarr", *map(str, words)]
    done = subprocess.run(
        [sys.executable, "-m", "kymflow_zarr"],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "_KYMFLOW_ZARR_COMPLETE": "zsh_complete",
            "COMP_WORDS": " ".join(line),
            "COMP_CWORD": str(len(line) - 1),
        },
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()[1::3]


def test_the_shell_is_offered_what_is_there(dataset: Path) -> None:
    with ZarrDataset(dataset, mode="a") as ds:
        ids = ds.list_image_ids()
        ds.save_table_from("all_events", "velocity_events/events")
    assert set(completions("show", dataset, ids[0][:6])) == {ids[0]}
    assert set(completions("head", dataset, "all")) == {"all_events"}
    assert "velocity_events/events" in completions("cat", dataset, ids[0][:8], "velocity")
    assert "condition" in completions("ls", dataset, "--sort", "cond")
    assert completions("ls", dataset, "--columns", "image_id,condi") == [
        "image_id,condition",
        "image_id,condition2",
    ]
    assert set(completions("ta")) == {"tables"}


def test_no_dataset_no_offer_and_no_word(tmp_path: Path) -> None:
    assert completions("show", tmp_path / "nowhere.zarr", "a") == []
    assert list(tmp_path.iterdir()) == []


def test_an_error_is_one_line_even_if_it_is_about_many(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "new.zarr", durability="relaxed") as ds:
        for number in range(5):
            ds.add_image(np.zeros((2, 2), np.uint8), image_id=f"vessel-{number}")
    said = one_error_line(run("show", tmp_path / "new.zarr", "ves"))
    assert "5 images are called 'ves', or have an id that begins so" in said
    assert "or more of the id" in said
    assert json.loads(run("show", tmp_path / "new.zarr", "vessel-4", "--json").stdout)
