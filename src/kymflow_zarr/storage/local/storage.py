"""A folder on a local disk or a network share, addressed by keys."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from kymflow_zarr import layout
from kymflow_zarr.errors import ReadOnlyError, StorageError
from kymflow_zarr.storage.local.disk import disk
from kymflow_zarr.storage.local.files import FileParts, os_errors, read_file, sync_all
from kymflow_zarr.storage.local.journal import (
    Journal,
    Move,
    Operation,
    Put,
    Remove,
    make_folders,
    read_journals,
    recover,
)
from kymflow_zarr.storage.local.locks import Locks
from kymflow_zarr.storage.local.parent_sync import ParentSync
from kymflow_zarr.storage.local.pending_changes import PendingChanges
from kymflow_zarr.storage.local.scan import (
    files_below,
    first_link,
    folder_times,
    folders,
    names_below,
)
from kymflow_zarr.storage.local.session import Session, is_dead, sweep, work_folder
from kymflow_zarr.storage.local.staging import StagedTree, sync_trees
from kymflow_zarr.storage.local.transaction import Transaction
from kymflow_zarr.types import Durability


class Stat(NamedTuple):
    """Size and time of the last change of a file or folder."""

    size: int
    mtime_ns: int


class LocalStorage:
    """The bytes of one dataset.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    writable : bool
        False makes every write a :class:`~kymflow_zarr.errors.ReadOnlyError`.
    durability : {"full", "relaxed"}
        Whether a write is on the disk, or only with the operating system, when it returns.
    """

    def __init__(self, root: Path, *, writable: bool, durability: Durability = "full") -> None:
        self.root = root
        self._top = f"{root}{os.sep}"
        self.writable = writable
        self.durable = durability == "full"
        self._session = Session(root, durable=self.durable)
        self._locks = Locks(root)
        self._pending = PendingChanges(root)
        self._parent_sync = ParentSync(root)

    def path(self, key: str) -> Path:
        """Return the path of a key."""
        staged = self._pending.place(key)
        if staged is not None:
            return staged
        return self.root.joinpath(*key.split("/")) if key else self.root

    def _text(self, key: str) -> str:
        """Return the path of a key as text, which is made faster than a path."""
        if self._pending or not key:
            return str(self.path(key))
        return self._top + (key if os.sep == "/" else key.replace("/", os.sep))

    # Reading ---------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        """Return the bytes at a key, None if there are none."""
        with os_errors("read", key):
            self.refuse_links(key, "read")
            for _ in range(2 if self._pending else 1):  # It may go to its place between the two.
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    return read_file(self._text(key))
        return None

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[FileParts | None]:
        """Open the file at a key to read parts of it; None if there is none."""
        found = None
        with os_errors("read", key):
            self.refuse_links(key, "read")
            for _ in range(2 if self._pending else 1):  # It may go to its place between the two.
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    found = FileParts(self._text(key), key)
                    break
        try:
            yield found
        finally:
            if found is not None:
                found.close()

    def stat(self, key: str) -> Stat | None:
        """Return size and time of a file or folder, None if it is not there."""
        with os_errors("look at", key):
            try:
                result = os.stat(self._text(key))  # noqa: PTH116 - asked of every image
            except (FileNotFoundError, NotADirectoryError):
                return None
            return Stat(result.st_size, result.st_mtime_ns)

    def is_folder(self, key: str) -> bool:
        """Tell whether a folder is at a key."""
        return self.path(key).is_dir()

    def list_folders(self, key: str) -> list[str]:
        """Return the names of the folders directly below a key, temporary ones left out."""
        with os_errors("list", key):
            try:
                names = folders(self.path(key))
            except (FileNotFoundError, NotADirectoryError):
                names = []
        if self._pending:
            names = [*{*names, *self._pending.names_below(key)}]
            names = [name for name in names if self.is_folder(f"{key}/{name}")]
        return names

    def folder_times(self, key: str) -> dict[str, int]:
        """Return name and modification time, in ns, of each folder directly below a key.

        The time is -1 where it tells nothing, since a change is not carried out there yet.
        """
        if self._pending:
            return dict.fromkeys(self.list_folders(key), -1)
        with os_errors("list", key):
            return folder_times(self.path(key))

    def unfinished(self, key: str) -> set[str]:
        """Return the names below a key where a change is committed and not carried out yet."""
        journals = [journal for _, journal in read_journals(self.root) if journal is not None]
        return names_below(
            key, (operation.key for journal in journals for operation in journal.operations)
        )

    def walk_files(self, key: str) -> Iterator[tuple[str, Stat]]:
        """Yield key, size and time of each file below a key, in order of their keys."""
        keys = list(files_below(key, self.path(key)))
        if self._pending:
            new = self._pending.keys_below(key)
            keys += [key for key in new if self.path(key).is_file()]
            keys += [below for key in new for below in files_below(key, self.path(key))]
            keys = sorted(set(keys))
        for below in keys:
            found = self.stat(below)
            if found is not None:  # Else it was deleted since it was listed.
                yield below, found

    def refuse_links(self, key: str, done: str) -> None:
        """Raise StorageError if a key, or a folder above it, is a link: it would lead elsewhere."""
        link = first_link(self.root, key)
        if link is not None:
            raise StorageError(
                f"a part of the dataset is a link, through which nothing is {done}",
                where=link,
                hint="Move what it leads to into the dataset, in place of the link.",
            )

    # Writing ---------------------------------------------------------------------------

    def require_writable(self) -> None:
        """Raise ReadOnlyError if the dataset was opened for reading only."""
        if not self.writable:
            raise ReadOnlyError(
                "the dataset was opened read-only",
                where=str(self.root),
                hint='Open it with mode="r+" or mode="a" to change it.',
            )

    def write(self, key: str, data: bytes | memoryview, *, anchor: str) -> None:
        """Put bytes at a key in one step: a reader sees the old ones or the new ones.

        Parameters
        ----------
        key : str
        data : bytes
        anchor : str
            A folder above `key`. It must be there already: folders are made only below
            it, so that a record deleted meanwhile does not come back as a ghost.

        Raises
        ------
        FileNotFoundError
            If the anchor is not there.
        """
        self.commit({key: data}, anchor=anchor)

    def commit(
        self,
        files: Mapping[str, bytes | memoryview],
        *,
        anchor: str,
        trees: Mapping[str, StagedTree] | None = None,
        removed: Iterable[str] = (),
    ) -> None:
        """Put files and staged folders at keys, and remove others: all of it or nothing.

        The caller holds the locks of what it changes. A folder that a tree takes the place of
        is removed; what is to be removed and is not there does not matter. Other parameters and
        errors as of :meth:`write`.
        """
        self.require_writable()
        trees = trees or {}
        folder = self.path(anchor)
        if not folder.is_dir():
            raise FileNotFoundError(str(folder))
        to_delete = [k for k in removed if k not in files and os.path.lexists(self.path(k))]
        in_the_way = [key for key in trees if os.path.lexists(self.path(key))]
        for key in (*files, *trees, *to_delete):
            self.refuse_links(key.rpartition("/")[0], "written")
        if len(files) == 1 and not trees and not to_delete:
            ((key, data),) = files.items()
            self._put(key, data, folder)
        elif not self._locks.held:
            # A journal without a lock would be in nobody's way, and so never carried out.
            with self.lock("dataset"):
                self.commit(files, anchor=anchor, trees=trees, removed=to_delete)
        elif files or trees or to_delete:
            staged: list[Path] = []
            where = next(iter((*files, *trees, *to_delete)))
            with os_errors("write", where), self._session.in_use():
                try:
                    if self.durable:
                        self._parent_sync.make_safe(folder)
                    puts = [self._stage(key, data, staged) for key, data in files.items()]
                    operations: list[Operation] = [
                        *map(self._remove, in_the_way),
                        *(Move(key, self._relative(t.folder)) for key, t in trees.items()),
                        *puts,
                        *map(self._remove, to_delete),
                    ]
                    sync_trees(trees.values())
                    if trees and self.durable:
                        # Of a file that is missing its digest tells; of a folder, nothing.
                        sync_all((), {tree.folder.parent for tree in trees.values()})
                    journal = Journal(self._locks.held, tuple(operations))
                    name = f"{self._session.name}-{uuid.uuid4().hex}.json"
                    transaction = Transaction(
                        self.root,
                        work_folder(self.root, "journal") / name,
                        journal,
                        durable=self.durable,
                    )
                    transaction.make(folder, staged, list(trees.values()), self._pending)
                except OSError:
                    # What can be deleted now need not wait for the next writer.
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
        """Put a single file: the renaming alone is the commit."""
        staged: list[Path] = []
        with os_errors("write", key), self._session.in_use():
            try:
                self._stage(key, data, staged)
                sync_all(staged)
                target = self.root.joinpath(*key.split("/"))
                make_folders(folder, target.parent)
                disk().replace(staged[0], target)
                # Whoever made those above may not have come to sync them.
                above = {p for p in target.parents if p.is_relative_to(self.root)}
                sync_all((), above if self.durable else ())
            except OSError:
                _unlink_all(staged)
                raise

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def delete(self, key: str, *, anchor: str) -> bool:
        """Delete the file at a key and the folders it leaves empty; False if it is not there."""
        self.require_writable()
        if not os.path.lexists(self.path(key)):
            return False
        self.commit({}, anchor=anchor, removed=[key])
        return True

    def delete_tree(self, key: str) -> bool:
        """Delete a folder in one step and its content after; False if it is not there."""
        return self.delete(key, anchor="")

    def stage(self) -> StagedTree:
        """Return an empty folder that nobody sees until it is committed."""
        self.require_writable()
        with os_errors("write", layout.WORK):
            folder = self._session.new_path()
            disk().make_folder(folder)
        in_use = self._session.in_use
        return StagedTree(folder, root=self.root, durable=self.durable, in_use=in_use)

    def make_root(self) -> None:
        """Make the dataset's folder, and those above it, unless it is there."""
        with os_errors("create the dataset", str(self.root)):
            top = next(folder for folder in self.root.parents if folder.is_dir())
            changed = {self.root.parent, *make_folders(top, self.root)}
            for folder in changed if self.durable else ():
                # One above may be none of ours, and closed to us.
                with contextlib.suppress(PermissionError):
                    disk().sync_folder(folder)

    def now_ns(self) -> int:
        """Return the time by the clock of the file system, which dates its files."""
        self.require_writable()
        with os_errors("write", layout.WORK):
            probe = self._session.new_path()
            disk().create(probe, b"")
            try:
                return probe.stat().st_mtime_ns
            finally:
                disk().unlink(probe)

    @contextlib.contextmanager
    def lock(self, *scopes: str) -> Iterator[None]:
        """Keep other writers, threads and processes, out of some scopes.

        What a dead writer has committed and not carried out there is carried out first.

        Raises
        ------
        LockTimeoutError
            If another writer holds one for longer than two minutes.
        """
        self.require_writable()
        with self._locks.hold(scopes, acquired=self._recover_held):
            yield

    # After a crash ---------------------------------------------------------------------

    def recover(self) -> None:
        """Bring to an end what dead writers have begun, and delete what they have left.

        One who may not write sees the files that are committed and not in their places yet.
        """
        with os_errors("recover", layout.WORK):
            if not self.writable:
                for path, journal in read_journals(self.root):
                    if journal is not None and journal.can_be_completed(self.root):
                        self._pending.add(path, journal)
                return
            self._recover(self._is_over)
            # A journal of one who lives, or of one who cannot be told, needs its files.
            spare = {
                self.path(name).parent
                for _, journal in read_journals(self.root)
                for operation in (journal.operations if journal else ())
                for name in [operation.trash if isinstance(operation, Remove) else operation.staged]
            }
            sweep(self.root, spare=spare)

    def _recover_held(self, names: set[str]) -> None:
        # Whoever wrote a journal held its locks: if one of them is ours now, he is gone.
        with os_errors("recover", layout.WORK):
            self._recover(
                lambda _, journal: journal is not None and not names.isdisjoint(journal.locks)
            )

    def _is_over(self, path: Path, journal: Journal | None) -> bool:
        """Tell whether nobody is at work on a journal any more."""
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

    def close(self) -> None:
        """Give up the session; the next write begins another."""
        self._session.close()


def _unlink_all(paths: Iterable[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            disk().unlink(path)
