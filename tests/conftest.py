"""Fixtures that every test may use."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, settings

from kymflow_zarr import ZarrDataset, ZarrImageRecord, set_limits
from tests.helpers.v1_dataset import write_v1

# A shared machine is slow at times: no example has a deadline. CI tries the same examples each
# time, so that it fails by what a commit changed; every other run tries new ones.
settings.register_profile(
    "kymflow_zarr",
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("kymflow_zarr")

# A worker that never answers is to fail its test, not to be waited for a day.
set_limits(worker_seconds=120)

# Where the suite runs in the background, shells have it and all it starts ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def shared_data() -> Path:
    """Real files, which lie beside a checkout of the project where there are any."""
    path = Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the real files are not here: no ../shared/data beside the checkout")
    return path


@pytest.fixture
def ds(tmp_path: Path) -> Iterator[ZarrDataset]:
    """An empty dataset."""
    with ZarrDataset(tmp_path / "experiment.zarr", mode="w-", durability="relaxed") as dataset:
        yield dataset


@pytest.fixture(scope="session")
def written_v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of format version 1, to be copied."""
    return write_v1(tmp_path_factory.mktemp("v1") / "old.zarr")


@pytest.fixture
def old(written_v1: Path, tmp_path: Path) -> Path:
    """A dataset of format version 1, to be read and changed."""
    return Path(shutil.copytree(written_v1, tmp_path / "old.zarr"))


@pytest.fixture
def kymograph() -> npt.NDArray[np.uint16]:
    """Pixels of a small kymograph, (500 lines, 38 pixels)."""
    rng = np.random.default_rng(7)
    return rng.integers(100, 400, size=(500, 38), dtype=np.uint16)


@pytest.fixture
def rec(ds: ZarrDataset, kymograph: npt.NDArray[np.uint16]) -> ZarrImageRecord:
    """A calibrated kymograph in an empty dataset."""
    return ds.add_image(kymograph, line_period_s=0.00117, pixel_size_um=0.284)


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file below a folder, but for the reports of scans.

    Those are derived, and written when the last change of the dataset is two seconds old.
    """
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "scans"
    }
