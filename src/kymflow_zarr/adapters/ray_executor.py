"""A Ray cluster as an executor of the standard library."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from kymflow_zarr.errors import MissingDependencyError

R = TypeVar("R")


class RayExecutor(Executor):
    """Run the work of ``executor=`` as tasks of a Ray cluster.

    Parameters
    ----------
    **options : object
        Of each task, as ``ray.remote`` takes them: ``num_cpus``, ``max_retries``, ...

    Raises
    ------
    MissingDependencyError
        If Ray is not installed.

    Examples
    --------
    >>> import ray
    >>> from kymflow_zarr.adapters.ray_executor import RayExecutor
    >>> _ = ray.init(address="auto")  # doctest: +SKIP
    >>> report = ds.ingest_legacy_folder("data", executor=RayExecutor())  # doctest: +SKIP
    """

    def __init__(self, **options: Any) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingDependencyError(
                "a Ray cluster needs the package ray, which is not installed",
                hint="Install it: pip install ray.",
            ) from error
        task = ray.remote(_call)
        self._task: Any = task.options(**options) if options else task

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Submit a call, whose function and arguments pickle."""
        future: Future[R] = self._task.remote(fn, args, kwargs).future()
        return future


def _call(fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
    return fn(*args, **kwargs)
