"""Commands in a pipe whose reader has gone, as `head` goes when it has seen enough."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kymflow_zarr import ZarrDataset

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a pipe on Windows closes differently")

PIXELS = np.zeros((4, 4), np.uint8)


def run_unread(*args: object, stderr_too: bool = False) -> tuple[int, str]:
    """Run a command whose output nobody reads; return its exit code and what it complained of."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "kymflow_zarr", *map(str, args)],
            stdout=pipe,
            stderr=pipe if stderr_too else subprocess.PIPE,
            check=False,
            timeout=60,
        )
    return done.returncode, (done.stderr or b"").decode()


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["ls", "--help"], ["schema"]], ids=" ".join
)
def test_output_that_no_program_reads_is_no_problem(args: list[str]) -> None:
    assert run_unread(*args) == (0, "")


@pytest.mark.parametrize(
    "args",
    [
        ["ls"],
        ["ls", "--json"],
        ["ls", "--columns", "all"],
        ["validate"],
        ["tables"],
        ["head", "long", "-n", "100000"],
        ["head", "long", "--table"],
        ["cat", "a", "fit"],
    ],
    ids=" ".join,
)
def test_what_is_said_of_a_dataset_need_not_be_read(ds: ZarrDataset, args: list[str]) -> None:
    ds.add_image(PIXELS, image_id="a").save_json("fit", list(range(9)))
    ds.save_table("long", pd.DataFrame({"x": np.arange(100_000)}))
    assert run_unread(args[0], ds.path, *args[1:]) == (0, "")


def test_an_error_whose_text_no_program_reads_still_has_its_exit_code(tmp_path: Path) -> None:
    code, _ = run_unread("ls", tmp_path / "nothing.zarr", stderr_too=True)
    assert code == 2
    code, said = run_unread("ls", tmp_path / "nothing.zarr")
    assert code == 2
    assert said.startswith("error: ")
