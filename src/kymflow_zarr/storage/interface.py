"""The interface between a dataset and what holds its bytes.

Everything above this room speaks to a dataset's bytes through :class:`Storage`, in keys: the
names of files below the dataset, with ``/`` between the parts, such as ``images/a/zarr.json``.
A file system folder is one implementation, memory another; an object store can be a third.
:class:`kymflow_zarr.testing.StorageContract` is the test suite that each of them must pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from kymflow_zarr.errors import ReadOnlyError, StorageError
from kymflow_zarr.layout import leads_out
from kymflow_zarr.runtime.background import Content
from kymflow_zarr.schema.checksums import FileSum

if TYPE_CHECKING:
    from zarr.abc.store import Store

UNKNOWN_VERSION = -1
"""The version of a folder of which nothing is known: its content may have changed."""


class Stat(NamedTuple):
    """Size and version of a file or folder.

    Parameters
    ----------
    size : int
        Bytes of a file; undefined for a folder.
    version : int
        An opaque number. A file whose content changed has another version than before, and so
        has a folder in which an entry was added, replaced or removed.
    """

    size: int
    version: int

    @property
    def settled(self) -> bool:
        """Whether the next change is certain to give another version.

        False where versions come from a coarse clock and the last change is recent.
        """
        return True


class OpenFile(Protocol):
    """A file that is open for reading ranges of its bytes."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, fewer at the end of the file."""


class Staged(Protocol):
    """New files that no reader sees until they are published; a context manager.

    Leaving the ``with`` block drops files that were not published. A staged object pickles, so
    that a worker process can fill it and another publish it.
    """

    @property
    def sums(self) -> Mapping[str, FileSum]:
        """Size and digest of each file that was written, by its key below the staged folder."""

    @property
    def area(self) -> str:
        """Opaque name; ``storage.stage(area)`` stages more files that go when this one goes."""

    def write(self, key: str, data: Content) -> FileSum:
        """Write a file at a key below the staged folder; return its size and digest."""

    def read(self, key: str) -> bytes:
        """Return the bytes of a file that was written."""

    def publish(self, key: str) -> bool:
        """Make all files visible below a key, in one step; False if something is there."""

    def in_use(self) -> AbstractContextManager[None]:
        """Keep the files although the storage may be closed meanwhile."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def check_key(key: str) -> str:
    """Return a key; StorageError if it leads out of the dataset."""
    if leads_out(key):
        raise StorageError("the key leads out of the dataset", where=key)
    return key


class Transaction:
    """Changes that are made together when the ``with`` block ends: all of them, or none.

    Nothing is changed if the block ends with an exception. A key that is removed and not there
    is no error, and a staged folder replaces what is at its key.

    Parameters
    ----------
    prefix : str
        A folder that must be there: folders are made only below it, so that a record that was
        deleted concurrently does not come back as a ghost.
    commit : callable
        Makes the changes.

    Attributes
    ----------
    files : dict of str to bytes
        What is put, by key.
    staged : dict of str to Staged
        The staged folders that are published, by key.
    moves : dict of str to str
        The new key of what is moved, by its key now.
    removed : list of str
        The keys that are removed.
    """

    def __init__(self, prefix: str, commit: Callable[[Transaction], None]) -> None:
        self.prefix = prefix
        self.files: dict[str, bytes | memoryview] = {}
        self.staged: dict[str, Staged] = {}
        self.moves: dict[str, str] = {}
        self.removed: list[str] = []
        self._commit = commit

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Put bytes at a key; readers see the old bytes or the new ones."""
        self.files[check_key(key)] = data

    def put_staged(self, key: str, staged: Staged) -> None:
        """Put a staged folder at a key, in place of what is there."""
        self.staged[check_key(key)] = staged

    def move(self, key: str, to: str) -> None:
        """Move a file or folder to another key, which must be free."""
        self.moves[check_key(key)] = check_key(to)

    def remove(self, key: str) -> None:
        """Remove the file or folder at a key, and the folders that it leaves empty."""
        self.removed.append(check_key(key))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._commit(self)


class Storage(Protocol):
    """The bytes of one dataset, by key.

    Many threads may use it at once. It pickles; where it cannot be opened in another process,
    unpickling there raises StorageError. Errors of the medium are raised as StorageError, which
    names the key.

    Attributes
    ----------
    location : str
        Where the dataset is, for messages; equal for two storages of one dataset.
    writable : bool
        Whether it was opened for writing.
    """

    location: str
    writable: bool

    def __hash__(self) -> int:
        return object.__hash__(self)

    # Reading ---------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        """Return the bytes at a key, None if no file is there."""

    def open(self, key: str) -> AbstractContextManager[OpenFile | None]:
        """Open the file at a key to read ranges of it; None if no file is there."""

    def stat(self, key: str) -> Stat | None:
        """Return size and version of a file or folder, None if nothing is there."""

    def is_folder(self, key: str) -> bool:
        """Return True if a folder is at a key. The key of the dataset itself is empty."""

    def children(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a key, in any order.

        Names that begin with a dot are left out.
        """

    def names(self, prefix: str) -> list[str]:
        """Return the names of all files and folders directly below a key, sorted."""

    def versions(self, prefix: str) -> dict[str, int]:
        """Return name and version of each folder that :meth:`children` names.

        The version is :data:`UNKNOWN_VERSION` where the storage cannot tell.
        """

    def walk(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield key and stat of each file below a key, sorted by the parts of their keys.

        Names that begin with a dot are left out, and links are not followed.
        """

    def unfinished(self, prefix: str) -> set[str]:
        """Return the names below a key where a committed change is still being applied."""

    def settled(self) -> Callable[[int], bool]:
        """Return a test of versions that were listed before this call and read after it.

        It returns True for a version that a later change is certain to replace.
        """

    def as_zarr_store(self, prefix: str, *, complete: bool = True) -> Store:
        """Return the node at a key as a read-only store for zarr-python.

        Parameters
        ----------
        prefix : str
        complete : bool
            Whether every chunk was written, so that a missing one is an error, not zeros.
        """
        from kymflow_zarr.storage.zarr_reader import ReadingStore

        return ReadingStore(self, prefix, complete=complete)

    # Writing ---------------------------------------------------------------------------

    def require_writable(self) -> None:
        """Raise ReadOnlyError if the dataset was opened for reading only."""
        if not self.writable:
            raise ReadOnlyError(
                "the dataset was opened read-only",
                where=self.location,
                hint='Open it with mode="r+" or mode="a" to change it.',
            )

    def lock(self, *scopes: str) -> AbstractContextManager[None]:
        """Keep other writers out of some scopes; a thread may take a lock that it holds again.

        What a dead writer committed under these locks is applied first.

        Raises
        ------
        LockTimeoutError
            If another writer holds one for longer than two minutes.
        """

    def stage(self, area: str | None = None) -> Staged:
        """Return an empty staged folder, inside that of another if its `area` is given."""

    def publish(self, staged: Sequence[tuple[Staged, str]]) -> list[bool]:
        """Publish several staged folders, each at its key; they share the cost of durability.

        Returns
        -------
        list of bool
            False for each one that was not published because something is at its key.
        """

    def transaction(self, prefix: str) -> Transaction:
        """Return a transaction; the caller holds the locks of what it changes.

        Raises
        ------
        FileNotFoundError
            On commit, if nothing is at `prefix`.
        """

    def put_derived(self, key: str, data: bytes | None) -> None:
        """Put derived bytes at a key, or remove them; a crash may lose them, never tear them."""

    # Life cycle ------------------------------------------------------------------------

    def create(self) -> None:
        """Make the place of the dataset, unless it is there."""

    def reader(self) -> Storage:
        """Return a read-only storage of the same dataset."""

    def recover(self) -> None:
        """Complete what dead writers have committed, and delete what they have left.

        A read-only storage changes nothing, and from then on reads what was committed.
        """

    def leftovers(self) -> dict[str, list[str]]:
        """Return what dead writers have left, by the folder of the work folder it is in."""

    def foreign(self) -> list[str]:
        """Return the keys of what other programs have put where only writers of this format do."""
        return []

    def close(self) -> None:
        """Release what was acquired; the storage can still be used, and acquires it again."""
