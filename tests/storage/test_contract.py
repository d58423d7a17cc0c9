"""Each storage passes the one suite that says what a storage does."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.storage.memory import MemoryStorage
from kymflow_zarr.testing import FAULT_KINDS, FaultKind, FaultPoint, fault_points
from kymflow_zarr.testing.storage_contract import StorageContract


class TestMemoryStorage(StorageContract):
    def new_storage(self) -> Storage:
        return MemoryStorage()

    def other(self, storage: Storage) -> Storage:
        assert isinstance(storage, MemoryStorage)
        return MemoryStorage(of=storage)

    def faults(self) -> Iterator[Callable[[Storage], MemoryFault]]:
        for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
            for number in range(9):
                yield functools.partial(MemoryFault, number=number, error=error)


class MemoryFault:
    """The n-th operation of a storage in memory raises."""

    def __init__(self, storage: Storage, number: int, error: BaseException) -> None:
        assert isinstance(storage, MemoryStorage)
        self.storage, self.left, self.error = storage, number, error
        self.reached = False

    def _count(self, _: str) -> None:
        self.left -= 1
        if self.left < 0 and not self.reached:
            self.reached = True
            raise self.error

    def __enter__(self) -> None:
        self.storage.before_operation = self._count

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.storage.before_operation = lambda _: None
        return self.reached and isinstance(error, (KymflowZarrError, KeyboardInterrupt))


def _given(point: FaultPoint, _: Storage) -> FaultPoint:
    return point


class LocalContract(StorageContract):
    kinds: tuple[FaultKind, ...] = FAULT_KINDS

    @pytest.fixture(autouse=True)
    def _places(self, tmp_path: Path) -> None:
        self._numbers = itertools.count()
        self._folder = tmp_path

    def new_storage(self) -> Storage:
        return LocalStorage(self._folder / f"{next(self._numbers)}.zarr", writable=True)

    def other(self, storage: Storage) -> Storage:
        return LocalStorage(Path(storage.location), writable=True)

    def settle(self, storage: Storage, key: str) -> None:
        os.utime(Path(storage.location, key), ns=(10**18, 10**18))

    def faults(self) -> Iterator[Callable[[Storage], FaultPoint]]:
        for point in fault_points(self.kinds):
            yield functools.partial(_given, point)


class TestLocalStorage(LocalContract):
    pass


class TestLocalStorageThatCrashes(LocalContract):
    kinds = ("crash",)
