"""The lease of a call whose workers commit to a bucket or a shared folder, where no lock helps."""

from __future__ import annotations

import contextlib
import time
import uuid
import warnings
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

import msgspec

from kymflow_zarr.errors import StorageError
from kymflow_zarr.runtime.lease import call_has_ended
from kymflow_zarr.storage.interface import ConflictError
from kymflow_zarr.storage.object.requests import Objects
from kymflow_zarr.storage.object.states import States

LEASES: Final = "leases"
_PATIENCE_S: Final = 120.0


class ObjectLease:
    """An object that is there as long as the call runs.

    A worker reads the heads that it will swap, announces them in an object of its own, asks
    whether the lease is there, and then swaps. A call that ends deletes the lease and puts each
    announced head again as it is: a worker that asked before finds another tag than it read.

    Parameters
    ----------
    bucket : Objects
    name : str
    """

    def __init__(self, bucket: Objects, name: str) -> None:
        self.bucket = bucket
        self._folder = f"{LEASES}/{name}"
        self._key = f"{self._folder}/lease.json"

    def grant(self) -> None:
        """Begin the permission."""
        self.bucket.put(self._key, b"{}\n")

    def committing(self) -> AbstractContextManager[None]:
        """Keep the call from ending in a ``with`` block; raise StorageError if it has ended."""
        return self.committing_to(())

    @contextlib.contextmanager
    def committing_to(self, scopes: Collection[str]) -> Iterator[None]:
        """Permit to swap the heads of scopes, which were read before, in a ``with`` block.

        Raises
        ------
        StorageError
            If the call has ended.
        """
        mark = f"{self._folder}/{uuid.uuid4().hex}.json"
        self.bucket.put(mark, msgspec.json.encode({"scopes": sorted(scopes)}))
        try:
            if self.bucket.get(self._key) is None:
                raise call_has_ended(self.bucket.address)
            yield
        finally:
            with contextlib.suppress(StorageError):
                self.bucket.delete([mark])

    def withdraw(self) -> None:
        """End the permission; commits under way are done before this returns, or fail."""
        self.bucket.delete([self._key])
        # A worker that announces its heads after this list finds no lease.
        marks = [item.name for item in self.bucket.list_below(f"{self._folder}/")]
        states = States(self.bucket)
        for mark in marks:
            stored = self.bucket.get(mark)
            if stored is None:
                continue
            document: Any = msgspec.json.decode(stored[0])
            for scope in document["scopes"]:
                _put_again(states, scope)
            if not document["scopes"]:
                self._wait_for(mark)
        self.bucket.delete(marks)

    def _wait_for(self, mark: str) -> None:
        """Wait for a commit to another dataset, whose heads or locks are not known here."""
        until = time.monotonic() + _PATIENCE_S
        while self.bucket.get(mark) is not None:
            if time.monotonic() > until:
                warnings.warn(
                    f"a worker has been committing for {_PATIENCE_S:.0f} s and may still change "
                    "another dataset",
                    RuntimeWarning,
                    stacklevel=4,
                )
                return
            time.sleep(0.1)


def _put_again(states: States, scope: str) -> None:
    while True:
        seen = states.read(scope)
        with contextlib.suppress(ConflictError):
            states.commit({scope: (seen, seen.state)})
            return
