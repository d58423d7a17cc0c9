"""Fixtures of the tests of the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.testing import default_vessels, write_experiment


@pytest.fixture(autouse=True)
def _plain_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as in a pipe, whatever width the test runner itself was given."""
    monkeypatch.delenv("COLUMNS", raising=False)


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
