"""The permission of a call's workers to commit, which ends when the call ends.

An executor of a cluster cannot stop a task that runs, and may run one that it reported as
cancelled. Such a task may compute on, but it must not change the dataset after its call has
returned. So a worker's commit asks the lease of its call, and a call that ends withdraws its lease.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol, TypeAlias

from kymflow_zarr.errors import StorageError


class Lease(Protocol):
    """The permission of the workers of one call to commit; it pickles if storages do."""

    def committing(self) -> AbstractContextManager[None]:
        """Keep the call from ending in a ``with`` block that commits.

        Raises
        ------
        StorageError
            If the call has ended.
        """


# Begins a call: the lease is withdrawn, and commits under way are awaited, on exit.
Leased: TypeAlias = Callable[[], AbstractContextManager[Lease | None]]

_current: ContextVar[Lease | None] = ContextVar("kymflow_zarr_lease", default=None)


def current_lease() -> Lease | None:
    """Return the lease that this thread works under, None if it is no worker."""
    return _current.get()


@contextmanager
def working_under(lease: Lease | None) -> Iterator[None]:
    """Make commits of this thread ask a lease in a ``with`` block."""
    token = _current.set(lease)
    try:
        yield
    finally:
        _current.reset(token)


def committing() -> AbstractContextManager[None]:
    """Return the context manager in which this thread may commit."""
    lease = _current.get()
    return nullcontext() if lease is None else lease.committing()


def call_has_ended(where: str) -> StorageError:
    """Return the error of a worker that would commit too late."""
    return StorageError(
        "the call that this work was done for has ended; nothing was written",
        where=where,
        hint="Call again: what is missing is done then.",
    )
