"""Running commands, and what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from kymflow_zarr.cli.app import app


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


def json_of(result: Result) -> Any:
    return json.loads(result.stdout)


def one_error_line(result: Result) -> str:
    """Return the only line on standard error; nothing is on standard output."""
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line
