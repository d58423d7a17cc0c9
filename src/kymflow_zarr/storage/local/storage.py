"""A folder on a local disk or a network share, addressed by keys."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

from kymflow_zarr import layout
from kymflow_zarr.errors import StorageError
from kymflow_zarr.runtime.lease import committing
from kymflow_zarr.storage.interface import (
    UNKNOWN_VERSION,
    Staged,
    Stat,
    Storage,
    Transaction,
    check_key,
)
from kymflow_zarr.storage.local.disk import disk, register_root
from kymflow_zarr.storage.local.files import (
    FileParts,
    ParentSync,
    again_if_stale,
    edited_times,
    files_below,
    first_link,
    folder_times,
    folders,
    links_below,
    names_below,
    os_errors,
    read_file,
    refused_link,
    sync_all,
)
from kymflow_zarr.storage.local.journal import (
    Journal,
    JournaledTransaction,
    Move,
    Operation,
    PendingChanges,
    Put,
    Remove,
    journals_of_unknown_origin,
    make_folders,
    read_journals,
    recover,
)
from kymflow_zarr.storage.local.lease import LocalLease
from kymflow_zarr.storage.local.locks import Hold, Locks
from kymflow_zarr.storage.local.session import Session, dead_sessions, is_dead, sweep
from kymflow_zarr.storage.local.staging import StagedTree, commit_trees, staged_in, sync_trees
from kymflow_zarr.storage.local.work_dir import (
    entries_of_unknown_origin,
    foreign_entries,
    keep_reserve,
    make_room,
    work_folder,
)
from kymflow_zarr.types import Durability

_stat: Final = again_if_stale(os.stat)
_listdir: Final = again_if_stale(os.listdir)
# The coarsest clock of a file system, that of FAT, ticks every two seconds.
_TICK_NS: Final = 2_000_000_000


@runtime_checkable
class LocalFiles(Protocol):
    """A storage whose files are those of a local folder."""

    def local_path(self, key: str) -> Path:
        """Return the path of the file at a key."""


class LocalStat(Stat):
    """Size, and as version the time of the last change in ns."""

    __slots__ = ()

    @property
    def settled(self) -> bool:
        """Return True if the next change is certain to get another time."""
        return time.time_ns() - self.version > _TICK_NS


class LocalStorage(Storage):
    """The bytes of one dataset.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    writable : bool
        False makes every write a :class:`~kymflow_zarr.errors.ReadOnlyError`.
    durability : {"full", "relaxed"}
        "full": writes are fsynced before they return. "relaxed": they are not.
    """

    def __init__(self, root: Path, *, writable: bool, durability: Durability = "full") -> None:
        self.root = root
        self.location = str(root)
        self._top = f"{root}{os.sep}"
        self.writable = writable
        self.durable = durability == "full"
        self._session = Session(root, durable=self.durable)
        self._locks = Locks(root)
        self._pending = PendingChanges(root)
        register_root(root)
        self._parent_sync = ParentSync(root)

    def path(self, key: str) -> Path:
        """Return the path of a key; raise StorageError if it leads out of the dataset."""
        if not key:
            return self.root
        staged = self._pending.place(check_key(key))
        if staged is not None:
            return staged
        return self.root.joinpath(*key.split("/"))

    def local_path(self, key: str) -> Path:
        """Return the path of the file at a key; raise StorageError if a part of it is a link."""
        self.refuse_links(key, "read")
        return self.path(key)

    def _text(self, key: str) -> str:
        """Return the path of a key as str, which is faster than a Path."""
        if self._pending or not key:
            return str(self.path(key))
        check_key(key)
        return self._top + (key if os.sep == "/" else key.replace("/", os.sep))

    # Reading ---------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        """Return the bytes of the file at a key, None if there is none."""
        with os_errors("read", key):
            self.refuse_links(key, "read")
            for _ in range(2 if self._pending else 1):  # A writer may apply the journal meanwhile.
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    return read_file(self._text(key), key)
        return None

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[FileParts | None]:
        """Open the file at a key to read byte ranges; yield None if there is none."""
        file = None
        with os_errors("read", key):
            self.refuse_links(key, "read")
            for _ in range(2 if self._pending else 1):  # A writer may apply the journal meanwhile.
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    file = FileParts(self._text(key), key)
                    break
        try:
            yield file
        finally:
            if file is not None:
                file.close()

    def stat(self, key: str) -> Stat | None:
        """Return size and version of the file or folder at a key, None if there is none."""
        with os_errors("look at", key):
            try:
                result = _stat(self._text(key))
            except (FileNotFoundError, NotADirectoryError):
                return Stat(0, UNKNOWN_VERSION) if self._has_pending_below(key) else None
            return LocalStat(result.st_size, result.st_mtime_ns)

    def is_folder(self, key: str) -> bool:
        """Return True if a folder is at a key."""
        return self.path(key).is_dir() or self._has_pending_below(key)

    def _has_pending_below(self, key: str) -> bool:
        """Return True if a committed file goes below a key whose folder does not exist yet."""
        if not self._pending:
            return False
        return any(self._pending.place(below) for below in self._pending.keys_below(key))

    def names(self, key: str) -> list[str]:
        """Return the names of all files and folders directly below a key, sorted."""
        with os_errors("list", key):
            try:
                names = _listdir(self.path(key))
            except (FileNotFoundError, NotADirectoryError):
                names = []
        if self._pending:
            prefix = f"{key}/" if key else ""
            names = [*{*names, *self.children(key)}]
            names = [name for name in names if os.path.lexists(self.path(prefix + name))]
        return sorted(names)

    def children(self, key: str) -> list[str]:
        """Return the names of the folders directly below a key, hidden ones left out."""
        with os_errors("list", key):
            try:
                names = folders(self.path(key))
            except (FileNotFoundError, NotADirectoryError):
                names = []
        if self._pending:
            names = [*{*names, *self._pending.names_below(key)}]
            names = [name for name in names if self.is_folder(f"{key}/{name}" if key else name)]
        return names

    def versions(self, key: str, file: str = "") -> dict[str, int]:
        """Return name and modification time, in ns, of each folder directly below a key.

        With a file below each folder, see :func:`edited_times`. The times do not reflect
        committed changes that are not applied yet.
        """
        if self._pending:
            return dict.fromkeys(self.children(key), UNKNOWN_VERSION)
        with os_errors("list", key):
            times = folder_times(self.path(key))
            return edited_times(self.path(key), times, file) if file else times

    def unfinished(self, key: str) -> set[str]:
        """Return the names below a key to which a committed change is still being applied."""
        journals = [journal for _, journal in read_journals(self.root) if journal is not None]
        return names_below(
            key, (operation.key for journal in journals for operation in journal.operations)
        )

    def walk(self, key: str) -> Iterator[tuple[str, Stat]]:
        """Yield key and stat of each file below a key, sorted by the parts of their keys."""
        place = self.path(key)
        # A link in the place of the folder is no empty folder.
        keys = [key] if key and place.is_symlink() else list(files_below(key, place))
        if self._pending:
            new = self._pending.keys_below(key)
            keys += [key for key in new if self.path(key).is_file()]
            keys += [below for key in new for below in files_below(key, self.path(key))]
            keys = sorted(set(keys), key=lambda key: key.split("/"))
        for below in keys:
            stat = self.stat(below)
            if stat is not None:
                yield below, stat
            elif self.path(below).is_symlink():
                # Reading it is an error, and leaving it out would be silent.
                yield below, LocalStat(0, UNKNOWN_VERSION)
            # Else another process has deleted it meanwhile.

    def refuse_links(self, key: str, done: str) -> None:
        """Raise StorageError if a key or one of its parents is a link, which may lead outside."""
        link = first_link(self.root, check_key(key) if key else key)
        if link is not None:
            raise refused_link(link, done)

    # Writing ---------------------------------------------------------------------------

    def transaction(self, prefix: str) -> Transaction:
        """Return a transaction; see :class:`kymflow_zarr.storage.interface.Storage`."""
        return Transaction(prefix, self._commit)

    def _commit(self, changes: Transaction) -> None:
        self.require_writable()
        made_room = False
        while True:
            try:
                with committing():
                    self._commit_once(changes)
            except StorageError as error:
                full = getattr(error.__cause__, "errno", 0) in (errno.ENOSPC, errno.EDQUOT)
                # On a full disk users delete to make room, so a deletion may use the reserve.
                if not full or not changes.removed or changes.staged or not make_room(self.root):
                    raise
                made_room = True
            else:
                break
        if made_room:
            keep_reserve(self.root)

    def _commit_once(self, changes: Transaction) -> None:
        files, moves = changes.files, changes.moves
        trees = {key: _as_tree(staged) for key, staged in changes.staged.items()}
        folder = self.path(changes.prefix)
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the dataset or image is not there", str(folder))
        to_delete = [k for k in changes.removed if k not in files and os.path.lexists(self.path(k))]
        in_the_way = [key for key in trees if os.path.lexists(self.path(key))]
        keys = [*files, *trees, *moves, *moves.values(), *to_delete]
        for key in keys:
            self.refuse_links(key.rpartition("/")[0], "written")
        if len(files) == 1 == len(keys):
            ((key, data),) = files.items()
            self._put(key, data, folder)
        elif not keys:
            return
        elif not self._locks.held:
            # Recovery runs when the next writer takes the same lock; a journal that names no
            # lock would never be recovered.
            with self.lock("dataset"):
                self._commit_once(changes)
        else:
            staged: list[Path] = []
            with os_errors("write", keys[0]), self._session.in_use():
                try:
                    if self.durable:
                        self._parent_sync.make_safe(folder)
                    puts = [self._stage(key, data, staged) for key, data in files.items()]
                    operations: list[Operation] = [
                        *map(self._remove, in_the_way),
                        *(Move(to, key) for key, to in moves.items()),
                        *(Move(key, self._relative(t.folder)) for key, t in trees.items()),
                        *puts,
                        *map(self._remove, to_delete),
                    ]
                    sync_trees(trees.values())
                    if self.durable:
                        # Recovery detects a lost staged file by its digest, but not a lost
                        # staged folder, so fsync the parents now.
                        parents = {tree.folder.parent for tree in trees.values()}
                        sync_all((), parents | {self.path(key).parent for key in moves})
                    journal = Journal(self._locks.held, tuple(operations))
                    name = f"{self._session.name}-{uuid.uuid4().hex}.json"
                    transaction = JournaledTransaction(
                        self.root,
                        work_folder(self.root, "journal") / name,
                        journal,
                        durable=self.durable,
                    )
                    transaction.make(folder, staged, list(trees.values()), self._pending)
                    if moves and self.durable:
                        # If the deleted journal reappeared after a power cut, recovery would
                        # move away what was put at the old key since then.
                        disk().sync_folder(transaction.path.parent)
                except OSError:
                    # Delete now, instead of leaving it to the next writer.
                    _unlink_all(staged)
                    raise

    def _remove(self, key: str) -> Remove:
        return Remove(key, self._relative(self._session.new_path()))

    def _stage(self, key: str, data: bytes | memoryview, staged: list[Path]) -> Put:
        path = self._session.new_path()
        staged.append(path)
        disk().create(path, data)
        return Put(key, self._relative(path), len(data), hashlib.sha256(data).hexdigest())

    def _put(self, key: str, data: bytes | memoryview, folder: Path) -> None:
        """Put a single file: the rename is the commit."""
        staged: list[Path] = []
        with os_errors("write", key), self._session.in_use():
            try:
                self._stage(key, data, staged)
                sync_all(staged)
                target = self.root.joinpath(*key.split("/"))
                make_folders(folder, target.parent)
                disk().replace(staged[0], target)
                # The process that created the parents may have died before it fsynced them.
                above = {p for p in target.parents if p.is_relative_to(self.root)}
                sync_all((), above if self.durable else ())
            except OSError:
                _unlink_all(staged)
                raise

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def put_derived(self, key: str, data: bytes | None) -> None:
        """Put derived bytes at a key without fsync, or remove them."""
        self.require_writable()
        with os_errors("write" if data is not None else "delete", key):
            self.refuse_links(check_key(key), "written" if data is not None else "deleted")
            target = self.root.joinpath(*key.split("/"))
            if data is None:
                with contextlib.suppress(FileNotFoundError):
                    disk().unlink(target)
                return
            with self._session.in_use():
                staged = self._session.new_path()
                try:
                    disk().create(staged, data)
                    make_folders(self.root, target.parent)
                    disk().replace(staged, target)
                except OSError:
                    _unlink_all([staged])
                    raise

    def stage(self, area: str | None = None, *, key: str | None = None) -> StagedTree:  # noqa: ARG002
        """Return an empty staged folder, inside another staged folder if its `area` is given."""
        self.require_writable()
        if area is not None:
            return staged_in(area, root=self.root, durable=self.durable)
        with os_errors("write", layout.WORK):
            folder = self._session.new_path()
            disk().make_folder(folder)
        in_use = self._session.in_use
        return StagedTree(folder, root=self.root, durable=self.durable, in_use=in_use)

    def publish(self, staged: Sequence[tuple[Staged, str]]) -> list[bool]:
        """Publish several staged folders; they share the cost of fsync."""
        return commit_trees([(_as_tree(tree), key) for tree, key in staged])

    @contextlib.contextmanager
    def lease(self) -> Iterator[LocalLease | None]:
        """Yield the permission of a call's workers to commit; withdraw it on exit."""
        if not self.writable:
            yield None
            return
        with self.stage() as tree, tree.in_use():
            lease = LocalLease(tree.folder)
            try:
                yield lease
            finally:
                with os_errors("end the work of the executor", layout.WORK):
                    lease.withdraw()

    def create(self) -> None:
        """Create the dataset's folder and its parents, unless it exists."""
        with os_errors("create the dataset", self.location):
            top = next(folder for folder in self.root.parents if folder.is_dir())
            changed = {self.root.parent, *make_folders(top, self.root)}
            register_root(self.root)
            for folder in changed if self.durable else ():
                # A parent may belong to another user.
                with contextlib.suppress(PermissionError):
                    disk().sync_folder(folder)

    def settled(self) -> Callable[[int], bool]:
        """Return a predicate: True if a later change is certain to give another version."""
        before_ns = self._now_ns() - _TICK_NS
        return lambda version: UNKNOWN_VERSION < version < before_ns

    def _now_ns(self) -> int:
        """Return the current time of the file system, whose clock may differ from ours."""
        self.require_writable()
        with os_errors("write", layout.WORK):
            probe = self._session.new_path()
            disk().create(probe, b"")
            try:
                return probe.stat().st_mtime_ns
            finally:
                disk().unlink(probe)

    def lock(self, *scopes: str) -> Hold:
        """Lock scopes against other writers, threads and processes.

        A journal that a dead writer committed under these locks is recovered first.

        Raises
        ------
        LockTimeoutError
            If another writer holds one for longer than two minutes.
        """
        self.require_writable()
        return self._locks.hold(scopes, acquired=self._recover_held)

    # After a crash ---------------------------------------------------------------------

    def unknown_origin(self) -> list[str]:
        """Return the keys of foreign entries in the work folder that recovery would act on.

        A dataset with such entries is not written to.
        """
        with os_errors("look at", layout.WORK):
            return entries_of_unknown_origin(self.root) or journals_of_unknown_origin(self.root)

    def links(self) -> list[str]:
        """Return the keys of all symbolic links in the dataset; none is followed."""
        with os_errors("list", self.location):
            return sorted(links_below(self.root, ""))

    def foreign(self) -> list[str]:
        """Return the keys of all entries that other programs put into the work folder."""
        with os_errors("look at", layout.WORK):
            return sorted({*self.unknown_origin(), *foreign_entries(self.root)})

    def recover(self) -> None:
        """Complete the commits of dead writers, and delete their leftovers.

        A read-only storage changes nothing: it reads committed files from where they are staged.
        """
        with os_errors("recover", layout.WORK):
            if not self.writable:
                for path, journal in read_journals(self.root):
                    if journal is not None and journal.can_be_completed(self.root):
                        self._pending.add(path, journal)
                return
            self._recover(self._is_over)
            # A journal whose writer lives, or may live, still needs its staged files.
            spare = {
                self.path(name).parent
                for _, journal in read_journals(self.root)
                for operation in (journal.operations if journal else ())
                for name in [operation.trash if isinstance(operation, Remove) else operation.staged]
            }
            sweep(self.root, spare=spare)

    def _recover_held(self, names: set[str]) -> None:
        # A journal's writer holds its locks while it lives. If we hold one of them now, that
        # writer is dead and we must finish its journal.
        with os_errors("recover", layout.WORK):
            self._recover(
                lambda _, journal: journal is not None and not names.isdisjoint(journal.locks)
            )

    def _is_over(self, path: Path, journal: Journal | None) -> bool:
        """Return True if no writer is applying a journal any more."""
        if is_dead(self.root, path.stem.partition("-")[0]):
            return True
        locks = () if journal is None else journal.locks
        return bool(locks) and all(map(self._locks.is_free, locks))

    def _recover(self, is_over: Callable[[Path, Journal | None], bool]) -> None:
        for path, journal in read_journals(self.root):
            if is_over(path, journal):
                with self._locks.hold(["recovery"]):
                    if path.exists():
                        recover(self.root, path, journal, durable=self.durable)

    def leftovers(self) -> dict[str, list[str]]:
        """Return the journals and sessions of dead writers."""
        try:
            journals = [path for path, _ in read_journals(self.root)]
            sessions = dead_sessions(self.root)
            dead = [path for path in journals if is_dead(self.root, path.stem.partition("-")[0])]
        except PermissionError:
            # Without permission to open the lock files we cannot tell live sessions from dead.
            return {}
        leftovers = {"journal": dead, "sessions": sessions}
        return {name: [path.name for path in paths] for name, paths in leftovers.items()}

    # Other processes, other libraries --------------------------------------------------

    def reader(self) -> LocalStorage:
        """Return a read-only storage of the same folder."""
        return LocalStorage(self.root, writable=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.location, self.writable, "full" if self.durable else "relaxed")

    def close(self) -> None:
        """Release the session; the next write begins a new one."""
        self._session.close()


def local_path(storage: Storage, key: str) -> Path:
    """Return the path of a file, for callers that need a file on a local disk.

    Raises
    ------
    StorageError
        If the dataset is not in a folder, or a part of the path is a link.
    """
    if not isinstance(storage, LocalFiles):
        raise StorageError("the dataset is not in a folder", where=storage.location)
    return storage.local_path(key)


@functools.lru_cache(maxsize=8)
def _reopened(location: str, writable: bool, durability: Durability) -> LocalStorage:
    """Return the storage that was pickled: one for each process."""
    return LocalStorage(Path(location), writable=writable, durability=durability)


def _as_tree(staged: Staged) -> StagedTree:
    assert isinstance(staged, StagedTree), "staged by another storage"
    return staged


def _unlink_all(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            disk().unlink(path)
