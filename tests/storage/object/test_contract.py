"""The storage in an object store passes the contract, with a fault at each request."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from obstore.store import MemoryStore

from kymflow_zarr.errors import KymflowZarrError, StorageError
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.object.bucket import Bucket
from kymflow_zarr.storage.object.storage import ObjectStorage
from kymflow_zarr.testing.storage_contract import StorageContract

NUMBERS = itertools.count()
CUT = StorageError("the connection was cut")


class FaultyBucket(Bucket):
    """A bucket whose requests call a function before they are sent and after the answer."""

    before: Callable[[], None] = staticmethod(lambda: None)
    after: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def request(self, kind: str, name: str, *, counts: bool = True) -> Iterator[None]:
        if counts:
            self.before()
        with super().request(kind, name, counts=counts):
            yield
        if counts:
            self.after()


class RequestFault:
    """From the n-th request on nothing reaches the store, or the n-th answer alone is lost."""

    def __init__(self, storage: Storage, number: int, error: BaseException, where: str) -> None:
        assert isinstance(storage, ObjectStorage)
        assert isinstance(storage.bucket, FaultyBucket)
        self.bucket, self.left, self.error, self.where = storage.bucket, number, error, where
        self.number = number
        storage._states.sleep = lambda _: None
        self.reached = False

    def __repr__(self) -> str:
        return f"{self.where} request {self.number}: {self.error!r}"

    def _count(self) -> None:
        self.left -= 1
        if self.left == -1 or (self.left < -1 and self.where == "from"):
            self.reached = True
            raise self.error

    def __enter__(self) -> None:
        setattr(self.bucket, "before" if self.where == "from" else "after", self._count)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.bucket.before = self.bucket.after = lambda: None
        return self.reached and isinstance(error, (KymflowZarrError, KeyboardInterrupt))


class TestObjectStorage(StorageContract):
    def setup_method(self) -> None:
        self._buckets: list[Bucket] = []  # They hold the stores in memory.

    def _storage(self, address: str, store: Any) -> ObjectStorage:
        self._buckets.append(FaultyBucket(address, store=store))
        storage = ObjectStorage(self._buckets[-1], writable=True)
        storage._states.patience_s = 0
        return storage

    def new_storage(self) -> Storage:
        return self._storage(f"test://{next(NUMBERS)}", MemoryStore())

    def other(self, storage: Storage) -> Storage:
        assert isinstance(storage, ObjectStorage)
        assert isinstance(storage.bucket, Bucket)
        return self._storage(storage.location, storage.bucket._store)

    def faults(self) -> Iterator[Callable[[Storage], RequestFault]]:
        interrupt = KeyboardInterrupt()
        for error, where in (
            (CUT, "from"), (interrupt, "from"), (CUT, "after"), (interrupt, "after"),
        ):  # fmt: skip
            for number in range(22):
                yield functools.partial(RequestFault, number=number, error=error, where=where)


class TestOnAnS3Server(TestObjectStorage):
    """The same over HTTP; answers are lost at each fourth request alone, to take seconds."""

    @pytest.fixture(autouse=True)
    def _server(self, s3_options: dict[str, Any], new_address: Callable[[], str]) -> None:
        self._options, self._new_address = s3_options, new_address

    def new_storage(self) -> Storage:
        return self._opened(self._new_address())

    def other(self, storage: Storage) -> Storage:
        return self._opened(storage.location)

    def _opened(self, address: str) -> ObjectStorage:
        self._buckets.append(FaultyBucket(address, self._options))
        storage = ObjectStorage(self._buckets[-1], writable=True)
        storage._states.patience_s = 0
        return storage

    def faults(self) -> Iterator[Callable[[Storage], RequestFault]]:
        for number in range(2, 22, 4):
            yield functools.partial(RequestFault, number=number, error=CUT, where="after")
