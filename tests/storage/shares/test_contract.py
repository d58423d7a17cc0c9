"""Objects in a folder of several hosts pass the contract of storages, with faults of a disk."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.object.storage import ObjectStorage
from kymflow_zarr.storage.shares.folder import SharedFolder
from kymflow_zarr.testing import FaultPoint, fault_points
from tests.helpers.operations import LONG
from tests.storage.test_contract import LocalContract, _given


class TestSharedFolder(LocalContract):
    def _on(self, root: Path) -> Storage:
        storage = ObjectStorage(SharedFolder(root, durable=True), writable=True)
        storage._states.patience_s = 0
        return storage

    def faults(self) -> Iterator[Callable[[Storage], FaultPoint]]:
        # Names of files take more operations here than in a folder of one host.
        for point in fault_points(self.kinds, step=1 if LONG else 11):
            yield functools.partial(_given, point)

    def new_storage(self) -> Storage:
        return self._on(self._folder / f"{next(self._numbers)}.zarr")

    def other(self, storage: Storage) -> Storage:
        return self._on(Path(storage.location))

    def settle(self, storage: Storage, key: str) -> None:
        """A version is no time here."""


class TestSharedFolderThatCrashes(TestSharedFolder):
    kinds = ("crash",)
