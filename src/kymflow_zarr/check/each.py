"""One check for each image, here or wherever an executor does it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from kymflow_zarr.check.validate.findings import Findings
from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.runtime.parallel import in_order
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import Progress

__all__ = ["check_each"]


def check_each(
    findings: Findings,
    check: Callable[[Findings, Storage, str], None],
    storage: Storage,
    image_ids: Sequence[str],
    progress: Progress | None,
    executor: Executor | None,
) -> None:
    """Add what a check finds of each image, in their order.

    Parameters
    ----------
    findings : Findings
    check : callable
        A function of a module, which pickles.
    storage : Storage
    image_ids : sequence of str
    progress : callable, optional
    executor : concurrent.futures.Executor, optional
        Parsing JSON keeps other threads waiting, so there are none of our own.
    """
    call = functools.partial(_found, check, Reading(storage))
    results = in_order(
        call,
        image_ids,
        executor=executor,
        progress=progress,
        threads=1,
        here=lambda _: executor is None,
    )
    for image_id, found, error in results:
        if found is None:
            assert error is not None
            error.add_note(f"image {image_id!r}")
            raise error
        findings.extend(found)


def _found(
    check: Callable[[Findings, Storage, str], None], reading: Reading, image_id: str
) -> Findings:
    findings = Findings()
    check(findings, reading.storage, image_id)
    return findings
