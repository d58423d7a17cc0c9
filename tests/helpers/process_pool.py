"""Processes that begin without the threads of this one, which a fork may leave half done."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

_KIND: Final = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
# Loaded once for all processes, where the system can.
_LOADED: Final = ["numpy", "pandas", "pyarrow.parquet", "kymflow_zarr.engine.dataset"]


def clean_processes() -> Any:
    """Return the context of multiprocessing that begins processes so."""
    context = multiprocessing.get_context(_KIND)
    if _KIND == "forkserver":
        context.set_forkserver_preload(_LOADED)
    return context


def process_pool(
    workers: int,
    *,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
) -> ProcessPoolExecutor:
    """Return an executor with processes."""
    return ProcessPoolExecutor(
        workers, clean_processes(), initializer=initializer, initargs=initargs
    )
