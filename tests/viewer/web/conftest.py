"""Datasets for the tests of the page."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.testclient import TestClient

from kymflow_zarr import ZarrDataset
from kymflow_zarr.storage.local.locks import LockFile
from tests.viewer.web.browser import Visits, make_experiment, make_many, started
from tests.viewer.web.site import client_of, make_dataset

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from kymflow_zarr.viewer.web.serving import Viewer


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[ZarrDataset]:
    with make_dataset(tmp_path / "x.zarr") as ds:
        yield ds


@pytest.fixture
def client(dataset: ZarrDataset) -> TestClient:
    return client_of(dataset)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; it ends with the module, as its event loop would be in the way of others."""
    with started() as browser:
        yield browser


@pytest.fixture
def visits(browser: Browser) -> Iterator[Visits]:
    """Windows of the browser; at the end they have asked for nothing elsewhere, in peace."""
    visits = Visits(browser)
    yield visits
    visits.close()


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZarrDataset]:
    """A dataset that is looked at only."""
    with make_experiment(tmp_path_factory.mktemp("look") / "x.zarr") as ds:
        yield ds


@pytest.fixture(scope="module")
def shown(experiment: ZarrDataset) -> Iterator[Viewer]:
    with experiment.view() as server:
        yield server


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[ZarrDataset]:
    """A dataset to change."""
    with make_experiment(tmp_path / "x.zarr") as ds:
        yield ds


@pytest.fixture
def editing(mine: ZarrDataset, visits: Visits) -> Iterator[Viewer]:
    with mine.view(edit=True, who="ada") as server:
        yield server
        visits.leave()


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of 10,000, made once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    path = folder / "many.zarr"
    lock = LockFile(folder / "many.lock")
    assert lock.acquire(600)
    try:
        if not path.exists():
            make_many(folder / "making.zarr")
            (folder / "making.zarr").rename(path)
    finally:
        lock.end()
    return path
