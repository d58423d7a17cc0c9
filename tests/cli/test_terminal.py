"""What others wrote into names, notes and files reaches a terminal spelled out."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import ArgumentError
from tests.cli.run import run, run_process

# Sets the title of the window, clears the screen, moves up, and a C1 control that does the same.
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[1A\x9b2J\x7f"


def on_a_terminal(*args: object) -> str:
    """Return what a command writes to a terminal."""
    terminal, its_side = pty.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "kymflow_zarr", *map(str, args)],
        stdin=its_side, stdout=its_side, stderr=its_side, start_new_session=True,
        env={**os.environ, "TERM": "dumb"},  # Without the program's own colors.
    )  # fmt: skip
    os.close(its_side)
    written = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux: the other side is closed.
            break
        if not part:
            break
        written += part
    command.wait(60)
    os.close(terminal)
    return written.decode()


def has_controls(text: str) -> bool:
    return any(not c.isprintable() for c in text.replace("\r", "").replace("\n", ""))


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A dataset that another user made."""
    path = tmp_path / "gift.zarr"
    with ZarrDataset(path, "w-") as ds:
        record = ds.add_image(
            np.ones((3, 9, 9), np.uint16), axes="cyx", image_id="a", channel_names=[ESCAPES] * 3
        )
        record.save_metadata_payload(
            {
                "version": "2.0",
                "header": {},
                "experiment_metadata": {"note": ESCAPES, f"key{ESCAPES}": [ESCAPES]},
                "rois": [],
            }
        )
        record.save_json(f"json{ESCAPES}", {ESCAPES: ESCAPES})
        frame = pd.DataFrame({f"column{ESCAPES}": [ESCAPES]})
        record.save_df_parquet("frame", frame)
        record.save_array_artifact(f"array{ESCAPES}", np.ones(3))
        ds.save_table("table", frame)
    (path / f"foreign{ESCAPES}").write_text("x")
    return path


COMMANDS = (
    "ls {}", "ls {} --columns all", "show {} a", "tables {}", "head {} table",
    "head {} table --csv",
    "cat {} a frame", "cat {} a metadata", "verify {}", "validate {}", "repair {}",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_no_escape_sequence_of_a_dataset_reaches_the_terminal(hostile: Path, command: str) -> None:
    written = on_a_terminal(*(word.format(hostile) for word in command.split()))
    assert written
    assert not has_controls(written), repr(written)


def test_no_escape_sequence_of_a_file_name_reaches_the_terminal(tmp_path: Path) -> None:
    folder = tmp_path / f"folder{ESCAPES}"
    folder.mkdir()
    (folder / f"file{ESCAPES}.tif").write_bytes(b"II*\0")
    for command in (
        ("ingest", folder, tmp_path / "new.zarr"),
        ("refresh", folder, tmp_path / "new.zarr"),
        ("ls", folder),
        ("ls", tmp_path / "new.zarr", f"--{ESCAPES}"),
        ("show", tmp_path / "new.zarr", ESCAPES, ESCAPES),
    ):
        written = on_a_terminal(*command)
        assert written
        assert not has_controls(written), repr(written)


def test_an_id_of_two_lines_is_one_line_of_the_list(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr", "w-") as ds:
        ds.add_image([[1, 2]], image_id="two\nlines")
    listed = run("ls", tmp_path / "x.zarr").stdout
    assert len(listed.splitlines()) == 2
    assert "two\\nlines" in listed


def test_a_note_of_two_lines_is_shown_as_two_lines(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "x.zarr", "w-") as ds:
        ds.add_image([[1, 2]], image_id="a").save_metadata_payload(
            {"experiment_metadata": {"note": "first\nsecond"}}
        )
    lines = [line.strip() for line in run("show", tmp_path / "x.zarr", "a").stdout.splitlines()]
    assert "second" in lines


def test_csv_in_a_pipe_holds_what_the_cells_hold(hostile: Path) -> None:
    piped = run_process("head", hostile, "table").stdout
    assert piped == f"column{ESCAPES}\n{ESCAPES}\n"


def test_what_python_prints_spells_out_what_others_wrote(hostile: Path, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / f"file{ESCAPES}.tif").write_bytes(b"II*\0")
    with ZarrDataset(hostile, "r+") as ds:
        ds.save_table(f"table{ESCAPES}", pd.DataFrame({"a": [1]}))
        reports = (ds.verify(), ds.validate(), ds.repair(dry_run=True))
        for each in (ds, ds["a"], *reports, ds.ingest_legacy_folder(folder, pattern="*.tif")):
            assert not has_controls(f"{each}\n{each!r}"), each


def test_an_error_spells_out_what_it_quotes() -> None:
    error = ArgumentError(f"no {ESCAPES}", where=ESCAPES, hint=ESCAPES)
    assert not has_controls(str(error))
    assert "\\x1b" in str(error)
    assert error.where == ESCAPES


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "latin-1"])
def test_an_old_console_spells_out_the_letters_that_it_lacks(
    tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ZarrDataset(tmp_path / "x.zarr", "w-") as ds:
        record = ds.add_image([[1, 2]], image_id="日本", pixel_size_um=0.3)
        record.save_metadata_payload({"experiment_metadata": {"condition": "β \x1b[31m"}})
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    import subprocess

    for command in (["ls"], ["show", "日"], ["validate"], ["ls", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "kymflow_zarr", command[0], tmp_path / "x.zarr", *command[1:]],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stdout
