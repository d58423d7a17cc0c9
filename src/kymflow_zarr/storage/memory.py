"""A dataset in memory, for tests, and the smallest complete implementation of a storage.

The content is a tree of immutable folders. A change copies the path from the root to the
changed node and then swaps the root, so every reader has a snapshot and a failed change
leaves nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeAlias

from kymflow_zarr.errors import StorageError
from kymflow_zarr.runtime.background import Content, arrived
from kymflow_zarr.runtime.lease import call_has_ended, committing
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.storage.interface import Staged, Stat, Storage, Transaction, check_key
from kymflow_zarr.storage.thread_locks import ThreadLocks


@dataclass(frozen=True, slots=True)
class _File:
    data: bytes
    version: int

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, size: int) -> bytes:
        return self.data[start : start + size]


@dataclass(frozen=True, slots=True)
class _Folder:
    entries: Mapping[str, _Node]
    version: int


_Node: TypeAlias = _File | _Folder


@dataclass(frozen=True, slots=True)
class _Lease:
    """The lease of a call whose workers are threads; it is one of those of its dataset."""

    storage: MemoryStorage
    number: int

    @contextlib.contextmanager
    def committing(self) -> Iterator[None]:
        leases = self.storage._dataset.leases  # noqa: SLF001 - one module
        with leases.guard:
            if self.number not in leases.numbers:
                raise call_has_ended(self.storage.location)
            yield


class _Leases:
    """The numbers of the calls that run."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.numbers: set[int] = set()


class _Dataset:
    """The content and locks that all storages of one dataset share.

    Parameters
    ----------
    location : str
    """

    def __init__(self, location: str) -> None:
        self.location = location
        self.root: _Folder | None = None
        self.guard = threading.RLock()
        self.versions = itertools.count(1)
        self.leases = _Leases()
        self.locks = ThreadLocks(location)
        self.staged: weakref.WeakValueDictionary[str, MemoryStaged] = weakref.WeakValueDictionary()

    def find(self, key: str) -> _Node | None:
        """Return the node at a key; raise StorageError if the key leads out of the dataset."""
        node: _Node | None = self.root
        for name in check_key(key).split("/") if key else ():
            node = node.entries.get(name) if isinstance(node, _Folder) else None
        return node

    def with_node(self, root: _Folder, key: str, node: _Node | None) -> _Folder:
        """Return a root with a node at a key; with None, without it and its empty parents."""
        name, _, rest = key.partition("/")
        version = next(self.versions)
        entries = dict(root.entries)
        if rest:
            child = entries.get(name)
            if isinstance(child, _File):
                raise StorageError("cannot write: a file is where a folder must be", where=key)
            inner = self.with_node(child or _Folder({}, version), rest, node)
            stays = name in entries and bool(inner.entries)
            if inner.entries:
                entries[name] = inner
            else:
                entries.pop(name, None)
            # A folder's version changes with its own entries, not with deeper ones.
            return _Folder(entries, root.version if stays else version)
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node
        return _Folder(entries, version)


# The datasets that an address names last as long as the process.
_named: dict[str, MemoryStorage] = {}


def named_storage(address: str, *, writable: bool) -> MemoryStorage:
    """Return a storage of the dataset in memory that an address such as ``memory://x`` names."""
    named = _named.get(address)
    if named is None:
        named = _named.setdefault(address, MemoryStorage(location=address))
    return MemoryStorage(writable=writable, of=named)


# By location, to unpickle storages that were pickled in this process.
_datasets: weakref.WeakValueDictionary[str, _Dataset] = weakref.WeakValueDictionary()


class MemoryStorage(Storage):
    """A storage that lasts as long as an object holds it.

    Parameters
    ----------
    writable : bool
    of : MemoryStorage, optional
        Another storage of the same dataset; a new dataset if left out.
    location : str, optional
        Where a new dataset is, for messages.

    Attributes
    ----------
    before_operation : callable
        Called with the name of each operation that changes something, before it: a test can
        raise I/O errors there.
    """

    def __init__(
        self,
        *,
        writable: bool = True,
        of: MemoryStorage | None = None,
        location: str | None = None,
    ) -> None:
        self.writable = writable
        self.before_operation: Callable[[str], object] = lambda _: None
        self._dataset: _Dataset = (
            _Dataset(location or f"memory:{uuid.uuid4().hex}") if of is None else of._dataset  # noqa: SLF001 - of this class
        )
        self.location = self._dataset.location
        _datasets[self.location] = self._dataset

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.location, self.writable)

    # Reading ---------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        """Return the bytes of the file at a key, None if there is none."""
        node = self._dataset.find(key)
        return node.data if isinstance(node, _File) else None

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[_File | None]:
        """Open the file at a key to read byte ranges; yield None if there is none."""
        node = self._dataset.find(key)
        yield node if isinstance(node, _File) else None

    def stat(self, key: str) -> Stat | None:
        """Return size and version of the file or folder at a key, None if there is none."""
        node = self._dataset.find(key)
        if node is None:
            return None
        return Stat(node.size if isinstance(node, _File) else 0, node.version)

    def is_folder(self, key: str) -> bool:
        """Return True if a folder is at a key."""
        return isinstance(self._dataset.find(key), _Folder)

    def children(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a key."""
        return list(self.versions(prefix))

    def names(self, prefix: str) -> list[str]:
        """Return the names of all files and folders directly below a key, sorted."""
        node = self._dataset.find(prefix)
        return sorted(node.entries) if isinstance(node, _Folder) else []

    def versions(self, prefix: str, file: str = "") -> dict[str, int]:  # noqa: ARG002
        """Return name and version of each folder directly below a key."""
        node = self._dataset.find(prefix)
        return {
            name: child.version
            for name, child in (node.entries.items() if isinstance(node, _Folder) else ())
            if isinstance(child, _Folder) and not name.startswith(".")
        }

    def walk(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield key and stat of each file below a key, sorted by the parts of their keys."""
        return _walk(prefix, self._dataset.find(prefix))

    def unfinished(self, prefix: str) -> set[str]:  # noqa: ARG002 - as the interface has it
        """Return an empty set: a change is applied in one step."""
        return set()

    def settled(self) -> Callable[[int], bool]:
        """Return a predicate that is always True: versions are a counter."""
        return lambda _: True

    # Writing ---------------------------------------------------------------------------

    def lock(self, *scopes: str) -> AbstractContextManager[None]:
        """Lock scopes against other threads."""
        self.require_writable()
        return self._dataset.locks.lock(*scopes)

    def stage(self, area: str | None = None, *, key: str | None = None) -> MemoryStaged:  # noqa: ARG002
        """Return an empty staged folder, inside another staged folder if its `area` is given."""
        self.require_writable()
        self._operation("stage")
        staged = MemoryStaged(self)
        self._dataset.staged[staged.area] = staged
        if area is not None:
            self._dataset.staged[area].inside.append(staged)
        return staged

    def publish(self, staged: Sequence[tuple[Staged, str]]) -> list[bool]:
        """Publish several staged folders, each at its key."""
        return [tree.publish(key) for tree, key in staged]

    @contextlib.contextmanager
    def lease(self) -> Iterator[_Lease]:
        """Yield the permission of a call's workers to commit; withdraw it on exit."""
        leases, number = self._dataset.leases, next(self._dataset.versions)
        leases.numbers.add(number)
        try:
            yield _Lease(self, number)
        finally:
            with leases.guard:
                leases.numbers.discard(number)

    def transaction(self, prefix: str) -> Transaction:
        """Return a transaction; see :class:`kymflow_zarr.storage.interface.Storage`."""
        return Transaction(prefix, self._commit)

    def _commit(self, changes: Transaction) -> None:
        self.require_writable()
        with self._dataset.guard, committing(), self._changed_root() as change:
            if not self.is_folder(changes.prefix):
                raise FileNotFoundError(changes.prefix)
            for key, to in changes.moves.items():
                node = self._dataset.find(key)
                if node is None or self._dataset.find(to) is not None:
                    raise StorageError("cannot move: nothing is there, or its place is taken",
                                       where=key)  # fmt: skip
                change("move", key, None)
                change("move", to, node)
            for key, staged in changes.staged.items():
                change("put_staged", key, _as_memory(staged).folder)
            for key, data in changes.files.items():
                change("put", key, _File(bytes(data), next(self._dataset.versions)))
            for key in changes.removed:
                if key not in changes.files and self._dataset.find(key) is not None:
                    change("remove", key, None)
        for staged in changes.staged.values():
            _as_memory(staged).published = True

    @contextlib.contextmanager
    def _changed_root(self) -> Iterator[Callable[[str, str, _Node | None], None]]:
        """Yield a function that changes a copy of the content; swap the copy in at the end."""
        root = self._dataset.root
        if root is None:
            raise FileNotFoundError(self.location)
        copy = root

        def change(operation: str, key: str, node: _Node | None) -> None:
            nonlocal copy
            self._operation(f"{operation} {key}")
            check_key(key)
            copy = self._dataset.with_node(copy, key, node)

        yield change
        self._dataset.root = copy

    def put_derived(self, key: str, data: bytes | None) -> None:
        """Put derived bytes at a key, or remove them."""
        self.require_writable()
        with self._dataset.guard, self._changed_root() as change:
            node = None if data is None else _File(data, next(self._dataset.versions))
            if node is not None or self._dataset.find(key) is not None:
                change("put_derived", key, node)

    def _operation(self, name: str) -> None:
        try:
            self.before_operation(name)
        except OSError as error:
            raise StorageError(f"cannot {name}: {error.strerror}", where=self.location) from error

    # Life cycle ------------------------------------------------------------------------

    def create(self) -> None:
        """Create the root folder of the dataset, unless it exists."""
        self.require_writable()
        with self._dataset.guard:
            if self._dataset.root is None:
                self._operation("create")
                self._dataset.root = _Folder({}, next(self._dataset.versions))

    def reader(self) -> MemoryStorage:
        """Return a read-only storage of the same dataset."""
        return MemoryStorage(writable=False, of=self)

    def recover(self) -> None:
        """Do nothing: an interrupted change leaves nothing."""

    def leftovers(self) -> dict[str, list[str]]:
        """Return an empty dict: an interrupted change leaves nothing."""
        return {}

    def close(self) -> None:
        """Do nothing: the content lives as long as a storage of the dataset."""


class MemoryStaged:
    """New files that are not in the dataset yet.

    Parameters
    ----------
    storage : MemoryStorage

    Attributes
    ----------
    sums : dict of str to FileSum
    area : str
        Its name, by which others can be staged inside it.
    folder : _Folder
        Its files.
    published : bool
    inside : list of MemoryStaged
        Staged folders inside this one, dropped together with it.
    """

    def __init__(self, storage: MemoryStorage) -> None:
        self.sums: dict[str, FileSum] = {}
        self.area = uuid.uuid4().hex
        self.folder = _Folder(MappingProxyType({}), 0)
        self.published = False
        self.inside: list[MemoryStaged] = []
        self._storage = storage

    def write(self, key: str, data: Content) -> FileSum:
        """Write a file at a key below the staged folder; return its size and digest."""
        content = bytes(arrived(data))
        dataset = self._storage._dataset  # noqa: SLF001 - one module
        self._storage._operation(f"write {key}")  # noqa: SLF001
        node = _File(content, next(dataset.versions))
        self.folder = dataset.with_node(self.folder, check_key(key), node)
        self.sums[key] = FileSum.of(content)
        return self.sums[key]

    def read(self, key: str) -> bytes:
        """Return the bytes of a file that was written."""
        node: _Node | None = self.folder
        for name in key.split("/"):
            node = node.entries.get(name) if isinstance(node, _Folder) else None
        if not isinstance(node, _File):
            raise StorageError("cannot read back: no such file was written", where=key)
        return node.data

    def publish(self, key: str) -> bool:
        """Make all files visible below a key, in one step; False if something is there."""
        storage, dataset = self._storage, self._storage._dataset  # noqa: SLF001 - one module
        with dataset.guard, committing(), storage._changed_root() as change:  # noqa: SLF001
            if dataset.find(key) is not None:
                return False
            parent = key.rpartition("/")[0]
            if not isinstance(dataset.find(parent), _Folder):
                raise StorageError("cannot publish: the folder above is not there", where=key)
            change("publish", key, self.folder)
        self.published = True
        return True

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Do nothing: closing the storage drops no files."""
        yield

    def __reduce__(self) -> tuple[Any, ...]:
        return _staged_again, (self._storage, self.area)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.published:
            self.folder, self.sums = _Folder({}, 0), {}
        for staged in self.inside:
            staged.__exit__(kind, error, trace)


def _walk(key: str, node: _Node | None) -> Iterator[tuple[str, Stat]]:
    if isinstance(node, _Folder):
        for name in sorted(node.entries):
            child = node.entries[name]
            below = f"{key}/{name}" if key else name
            if name.startswith("."):
                continue
            if isinstance(child, _File):
                yield below, Stat(child.size, child.version)
            else:
                yield from _walk(below, child)


def _as_memory(staged: Staged) -> MemoryStaged:
    assert isinstance(staged, MemoryStaged), "staged by another storage"
    return staged


def _reopened(location: str, writable: bool) -> MemoryStorage:
    dataset = _datasets.get(location)
    if dataset is None:
        raise StorageError(
            "the dataset is in the memory of another process",
            where=location,
            hint="Use threads, or a dataset in a folder.",
        )
    storage = MemoryStorage(writable=writable)
    storage._dataset, storage.location = dataset, location  # noqa: SLF001 - one module
    return storage


def _staged_again(storage: MemoryStorage, area: str) -> MemoryStaged:
    return storage._dataset.staged[area]  # noqa: SLF001 - one module
