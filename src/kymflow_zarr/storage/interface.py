"""The interface between a dataset and what holds its bytes.

Everything above this room speaks to a dataset's bytes through :class:`Storage`, in keys: the
names of files below the dataset, with ``/`` between the parts, such as ``images/a/zarr.json``.
A file system folder is one implementation, memory another; an object store can be a third.
:class:`kymflow_zarr.testing.StorageContract` is the test suite that each of them must pass.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    NamedTuple,
    Protocol,
    Self,
    TypeVar,
    cast,
)

from kymflow_zarr.errors import ReadOnlyError, StorageError
from kymflow_zarr.layout import leads_out
from kymflow_zarr.runtime.background import Content
from kymflow_zarr.runtime.lease import Lease
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.storage.traffic import Traffic

if TYPE_CHECKING:
    from zarr.abc.store import Store

_ATTEMPTS: Final = 20

UNKNOWN_VERSION = -1
"""The version of a folder that the storage cannot report: its content may have changed."""


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
        """Return True if the next change is certain to give another version.

        False where versions come from a coarse clock and the last change is recent.
        """
        return True


class ConflictError(StorageError):
    """Another writer changed what a transaction builds on; nothing was written.

    Raised only by storages without locks between hosts. There a change is refused at its commit,
    with everything as it was, and :func:`without_conflict` makes it again of what is there now.
    """


class OpenFile(Protocol):
    """A file that is open for reading ranges of its bytes."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, fewer at the end of the file."""


class InMemory:
    """The bytes of a file that was read whole, as an open file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, fewer at the end."""
        return self._data[start : start + size]


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
        """Opaque name; what ``storage.stage(area)`` stages is dropped together with this."""

    def write(self, key: str, data: Content) -> FileSum:
        """Write a file at a key below the staged folder; return its size and digest."""

    def read(self, key: str) -> bytes:
        """Return the bytes of a file that was written."""

    def publish(self, key: str) -> bool:
        """Make all files visible below a key, in one step; False if something is there."""

    def in_use(self) -> AbstractContextManager[None]:
        """Keep the files in a ``with`` block, even if the storage is closed meanwhile."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def check_key(key: str) -> str:
    """Return the key; raise StorageError if it leads out of the dataset."""
    if leads_out(key):
        raise StorageError("the key leads out of the dataset", where=key)
    return key


class Transaction:
    """Changes that are committed atomically when the ``with`` block ends: all, or none.

    Nothing is changed if the block ends with an exception. Removing a key that does not exist
    is not an error, and a staged folder replaces what is at its key.

    Parameters
    ----------
    prefix : str
        A folder that must exist: folders are created only below it, so that a record that was
        deleted concurrently does not partly reappear.
    commit : callable
        Applies the changes.

    Attributes
    ----------
    files : dict of str to bytes
        The bytes to put, by key.
    staged : dict of str to Staged
        The staged folders to publish, by key.
    moves : dict of str to str
        The new key of each file or folder to move, by its current key.
    removed : list of str
        The keys to remove.
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
        """Remove the file or folder at a key, and the parents that it leaves empty."""
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

    It is thread-safe. It pickles; if it cannot be opened in another process, unpickling there
    raises StorageError. I/O errors are raised as StorageError, which names the key.

    Attributes
    ----------
    location : str
        Where the dataset is, for messages; equal for two storages of one dataset.
    writable : bool
        Whether it was opened for writing.
    derives_checksums : bool
        Whether the storage itself keeps size and digest of each file. The lists of checksums
        are then made when they are read, and what is put in their place is ignored.
    holds_locks : bool
        Whether the calling thread is in the ``with`` block of a lock whose transactions may raise
        :class:`ConflictError`.
    reads_states : bool
        Whether the files of an array are read in the state that the document of its image had
        when this storage last read it, even if they were replaced since.
    """

    location: str
    writable: bool
    derives_checksums: bool = False
    holds_locks: bool = False
    reads_states: bool = False

    def __hash__(self) -> int:
        return object.__hash__(self)

    # Reading ---------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        """Return the bytes of the file at a key, None if there is none."""

    def open(self, key: str) -> AbstractContextManager[OpenFile | None]:
        """Open the file at a key to read byte ranges; yield None if there is none."""

    def stat(self, key: str) -> Stat | None:
        """Return size and version of the file or folder at a key, None if there is none."""

    def is_folder(self, key: str) -> bool:
        """Return True if a folder is at a key. The key of the dataset itself is empty."""

    def children(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a key, in any order.

        Names that begin with a dot are left out.
        """

    def names(self, prefix: str) -> list[str]:
        """Return the names of all files and folders directly below a key, sorted."""

    def versions(self, prefix: str, file: str = "") -> dict[str, int]:
        """Return name and version of each folder that :meth:`children` names.

        The version is :data:`UNKNOWN_VERSION` where the storage cannot tell. With the key of a
        file below each folder, the version also changes if another program writes that file in
        place.
        """

    def walk(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield key and stat of each file below a key, sorted by the parts of their keys.

        Names that begin with a dot are left out, and links are not followed.
        """

    def one_state(self) -> AbstractContextManager[None]:
        """Read each image in one state in a ``with`` block of this thread.

        Where that saves no requests, each read returns what is there, as without this.
        """
        return nullcontext()

    def unfinished(self, prefix: str) -> set[str]:
        """Return the names below a key to which a committed change is still being applied."""

    def settled(self) -> Callable[[int], bool]:
        """Return a predicate for versions listed before this call whose files are read after it.

        The predicate returns True if a later change is certain to give another version.
        """

    def as_zarr_store(self, prefix: str, *, complete: bool = True) -> Store:
        """Return the node at a key as a read-only store for zarr-python.

        Parameters
        ----------
        prefix : str
        complete : bool
            True if every chunk was written: a missing one is then an error, not the fill value.
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
        """Lock scopes against other writers; a thread may take a lock again that it holds.

        A journal that a dead writer committed under these locks is recovered first.

        Raises
        ------
        LockTimeoutError
            If another writer holds one for longer than two minutes.
        """

    def stage(self, area: str | None = None, *, key: str | None = None) -> Staged:
        """Return an empty staged folder, inside another staged folder if its `area` is given.

        Parameters
        ----------
        area : str, optional
        key : str, optional
            Where it will be published, if that is known. A storage that cannot rename writes the
            files there from the beginning, under names that no reader looks up.
        """

    def publish(self, staged: Sequence[tuple[Staged, str]]) -> list[bool]:
        """Publish several staged folders, each at its key; they share the cost of fsync.

        Returns
        -------
        list of bool
            False for each that was not published because its key is taken.
        """

    def lease(self) -> AbstractContextManager[Lease | None]:
        """Permit workers to commit in a ``with`` block; none of them does after it.

        None if they are always permitted to.
        """
        return nullcontext()

    def traffic(self) -> Traffic | None:
        """Return the requests to a store or host so far, None of a storage without requests."""
        return None

    def transaction(self, prefix: str) -> Transaction:
        """Return a transaction; the caller holds the locks of the keys that it changes.

        Raises
        ------
        FileNotFoundError
            On commit, if there is nothing at `prefix`.
        """

    def put_derived(self, key: str, data: bytes | None) -> None:
        """Put derived bytes at a key, or remove them; atomic, but a crash may lose them."""

    # Life cycle ------------------------------------------------------------------------

    def create(self) -> None:
        """Create the folder of the dataset, unless it exists."""

    def reader(self) -> Storage:
        """Return a read-only storage of the same dataset."""

    def recover(self) -> None:
        """Complete the commits of dead writers, and delete their leftovers.

        A read-only storage changes nothing, but reads what was committed from then on.
        """

    def leftovers(self) -> dict[str, list[str]]:
        """Return the leftovers of dead writers, by the folder of the work folder they are in."""

    def links(self) -> list[str]:
        """Return the keys of all symbolic links in the dataset; none is followed."""
        return []

    def collect(self, *, dry_run: bool) -> list[str]:  # noqa: ARG002
        """Delete what nothing names any more; return the keys, none if such is deleted at once.

        With `dry_run` nothing is deleted.
        """
        return []

    def foreign(self) -> list[str]:
        """Return the keys of files of other programs in folders that belong to this format."""
        return []

    def close(self) -> None:
        """Release all resources; the storage can still be used, and acquires them again."""


M = TypeVar("M", bound=Callable[..., Any])
R = TypeVar("R")


def without_conflict(storage: Storage, change: Callable[[], R]) -> R:
    """Call a function again after a conflict, at most 20 times.

    The function takes the locks that it needs itself. If the caller holds locks, the conflict is
    the caller's: what it read under them has changed.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return change()
        except ConflictError:
            if storage.holds_locks:
                raise
        time.sleep(random.uniform(0, min(2.0, 0.05 * 1.5**attempt)))
    return change()


def retried(method: M) -> M:
    """Call a method of what has a ``storage`` again after a conflict: :func:`without_conflict`."""

    @functools.wraps(method)
    def repeat(self: Any, *args: Any, **kwargs: Any) -> Any:
        # An iterator gives its items once, and the second attempt needs them too.
        args = tuple(list(arg) if isinstance(arg, Iterator) else arg for arg in args)
        return without_conflict(self.storage, functools.partial(method, self, *args, **kwargs))

    return cast("M", repeat)
