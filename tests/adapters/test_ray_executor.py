"""A Ray cluster runs the work of a dataset through the adapter; Ray itself is played by threads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kymflow_zarr import ZarrDataset
from kymflow_zarr.adapters.ray_executor import RayExecutor
from kymflow_zarr.errors import MissingDependencyError


class Remote:
    """What ``ray.remote(function)`` is."""

    def __init__(self, function: Callable[..., Any], given: dict[str, Any]) -> None:
        self._function, self._given = function, given

    def options(self, **given: Any) -> Remote:
        self._given.update(given)
        return self

    def remote(self, *args: Any) -> Any:
        def future() -> Future[Any]:
            with ThreadPoolExecutor(1) as threads:
                return threads.submit(self._function, *args)

        return SimpleNamespace(future=future)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the options that tasks were given."""
    options: dict[str, Any] = {}
    ray = SimpleNamespace(remote=lambda function: Remote(function, options))
    monkeypatch.setitem(sys.modules, "ray", ray)
    return options


def _shape_or_error(record: Any) -> tuple[int, ...]:
    if record.image_id == "bad":
        raise ValueError("bad pixels")
    return tuple(record.shape)


def test_a_ray_cluster_is_an_executor(tmp_path: Path, given: dict[str, Any]) -> None:
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        for name in ("a", "bad"):
            ds.add_image(np.zeros((3, 2), "uint8"), image_id=name)
        result = ds.map(_shape_or_error, executor=RayExecutor(num_cpus=2))
        assert result["a"] == (3, 2)
        assert "bad pixels" in str(result.errors["bad"])
    assert given == {"num_cpus": 2}


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingDependencyError, match="pip install ray"):
        RayExecutor()
