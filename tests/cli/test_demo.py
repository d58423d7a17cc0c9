"""`demo`: a synthetic experiment from end to end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kymflow_zarr.cli.exchange.demo import find_stalls, measure_velocity
from kymflow_zarr.testing import SyntheticVessel, default_vessels, synthesize_kymograph
from tests.cli.run import one_error_line, run, run_process


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
