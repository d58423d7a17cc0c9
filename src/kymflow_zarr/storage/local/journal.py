"""Journals that change several files atomically, their transactions, and recovery."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.errors import LimitExceededError, StorageError
from kymflow_zarr.schema.base import decodable
from kymflow_zarr.storage.local.disk import disk
from kymflow_zarr.storage.local.files import digest_file, first_link, read_file, sync_all
from kymflow_zarr.storage.local.staging import StagedTree
from kymflow_zarr.storage.local.work_dir import journal_names

# Mode "w" also empties a dataset of format version 1, whose files a journal then removes.
_WRITTEN: Final = (layout.OWN_NAMES - {layout.WORK}) | layout.ZARR_V2_NAMES
_LOCK_NAME: Final = re.compile(r"[0-9a-f]{2}|top|recovery")
# A writer stages files, and puts trash, in the folder of its session.
_STAGED: Final = re.compile(rf"{re.escape(layout.WORK)}/sessions/[0-9a-f]{{32}}/.+", re.DOTALL)


class Put(msgspec.Struct, frozen=True, tag="put"):
    """Move a staged file to its key.

    Parameters
    ----------
    key : str
        Its target.
    staged : str
        Its staged path below the root.
    size_bytes, sha256
        Its content: recovery does not apply a file that a power cut tore.
    """

    key: str
    staged: str
    size_bytes: int
    sha256: str


class Move(msgspec.Struct, frozen=True, tag="move"):
    """Move a staged folder, complete and fsynced, to its key, which is free."""

    key: str
    staged: str


class Remove(msgspec.Struct, frozen=True, tag="remove"):
    """Move a file or folder to the trash, which is deleted after the journal."""

    key: str
    trash: str = msgspec.field(name="aside")


Operation: TypeAlias = Put | Move | Remove


class Journal(msgspec.Struct, frozen=True):
    """One change of several files.

    Parameters
    ----------
    locks : tuple of str
        Lock files that the writer holds while it lives.
    operations : tuple of Put, Move or Remove
        In the order in which they are applied.
    """

    locks: tuple[str, ...]
    operations: tuple[Operation, ...] = msgspec.field(name="steps")

    def write(self, root: Path, path: Path, *, durable: bool) -> None:
        """Write the journal, which commits the change."""
        body = msgspec.json.encode(self)
        disk().create(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        self.make_safe(root, path, durable=durable)

    def make_safe(self, root: Path, path: Path, *, durable: bool, begun: bool = False) -> None:
        """Fsync the journal and its staged files, before an operation is applied.

        Parameters
        ----------
        root, path : Path
        durable : bool
        begun : bool
            True if operations may have been applied already, by a writer that then died.
        """
        staged = [
            _path(root, operation.staged)
            for operation in self.operations
            if isinstance(operation, Put)
        ]
        staged = [file for file in staged if not begun or file.exists()]
        folders = {path.parent, *(file.parent for file in staged)}
        sync_all([*staged, path], folders if durable else ())

    def carry_out(
        self, root: Path, *, durable: bool, created: Collection[Path] = (), first: bool = False
    ) -> None:
        """Apply the operations that are not applied yet.

        Parameters
        ----------
        root : Path
        durable : bool
        created : collection of Path
            Folders in which folders were created for it.
        first : bool
            True if no operation was applied yet: a missing staged file is then an error.
        """
        touched: dict[Path, None] = {}
        created = [*created]
        moved = {
            _path(root, operation.key)
            for operation in self.operations
            if isinstance(operation, Move)
        }
        for operation in self.operations:
            target = _path(root, operation.key)
            touched[target.parent] = None
            if isinstance(operation, Remove) or not moved.isdisjoint(target.parents):
                continue
            if _path(root, operation.staged).exists():
                created += make_folders(root, target.parent)
        if durable and created:
            # First: if a directory entry is lost in a power cut, so is everything below it.
            sync_all((), dict.fromkeys(created))
        for operation in self.operations:
            target = _path(root, operation.key)
            if isinstance(operation, Remove):
                trash = _path(root, operation.trash)
                if not os.path.lexists(trash) and os.path.lexists(target):
                    disk().rename_folder(target, trash)
            elif (staged := _path(root, operation.staged)).exists() or first:
                if not moved.isdisjoint(target.parents):
                    touched.update(dict.fromkeys(make_folders(root, target.parent)))
                if isinstance(operation, Put):
                    disk().replace(staged, target)
                else:
                    disk().rename_folder(staged, target)
        if durable:
            sync_all((), [folder for folder in touched if folder.is_dir()])

    def finish(self, root: Path, path: Path, *, durable: bool) -> None:
        """Delete the journal, and then the trash."""
        with contextlib.suppress(FileNotFoundError):
            disk().unlink(path)
        trashed = [_path(root, s.trash) for s in self.operations if isinstance(s, Remove)]
        if trashed and durable:
            # If the journal reappeared without its trash, recovery would remove newer files.
            disk().sync_folder(path.parent)
        for trash in trashed:
            delete_trash(trash)

    def is_begun(self, root: Path) -> bool:
        """Return True if an operation was applied; all of them were staged."""
        return any(
            os.path.lexists(_path(root, operation.trash))
            if isinstance(operation, Remove)
            else not _path(root, operation.staged).exists()
            for operation in self.operations
        )

    def can_be_completed(self, root: Path) -> bool:
        """Return True if each operation was applied or can be applied.

        If False, power was lost before all of it was fsynced, and so before any of it was
        applied. A missing staged file does not show whether it was applied.
        """
        return all(map(partial(_is_possible, root), self.operations)) or any(
            os.path.lexists(_path(root, operation.trash))
            for operation in self.operations
            if isinstance(operation, Remove)
        )


def read_journals(root: Path) -> Iterator[tuple[Path, Journal | None]]:
    """Yield path and journal of each journal file, None for an incomplete one.

    Journals of other programs are left out: see :func:`journals_of_unknown_origin`.
    """
    for path, journal, problem in _read_all(root):
        if problem is None:
            yield path, journal


def journals_of_unknown_origin(root: Path) -> list[str]:
    """Return the keys of complete journals that none of our writers can have written.

    They are neither applied nor deleted.
    """
    return [path.relative_to(root).as_posix() for path, _, problem in _read_all(root) if problem]


def _read_all(root: Path) -> Iterator[tuple[Path, Journal | None, str | None]]:
    for name in journal_names(root):
        path = root / layout.WORK / "journal" / name
        try:
            digest, _, body = read_file(str(path), f"{layout.WORK}/journal/{name}").partition(b"\n")
        except FileNotFoundError:
            continue  # Another process has finished it.
        except (StorageError, LimitExceededError) as error:
            yield path, None, str(error)
            continue
        if hashlib.sha256(body).hexdigest().encode() != digest:
            yield path, None, None
            continue
        try:
            journal = msgspec.json.decode(body, type=decodable(Journal))
        except msgspec.DecodeError as error:
            yield path, None, str(error)
            continue
        yield path, journal, _problem(root, journal)


def _problem(root: Path, journal: Journal) -> str | None:
    """Return why none of our writers can have written a journal, None if one can."""
    if not all(_LOCK_NAME.fullmatch(name) for name in journal.locks):
        return "it names a lock that there is not"
    for operation in journal.operations:
        other = operation.trash if isinstance(operation, Remove) else operation.staged
        # On-disk format: "A journal MUST NOT name a path outside the dataset."
        leads_out = layout.leads_out(operation.key) or layout.leads_out(other)
        moved = isinstance(operation, Move) and other.partition("/")[0] in _WRITTEN
        if leads_out or not (moved or _STAGED.fullmatch(other)):
            return "it names a path outside of the dataset, or of the session that wrote it"
        if operation.key.partition("/")[0] not in _WRITTEN:
            return f"it changes {operation.key}, which is none of the dataset's files"
        for key in (operation.key.rpartition("/")[0], other):
            if first_link(root, key) is not None:
                return f"{key} leads through a link"
    return None


def recover(root: Path, path: Path, journal: Journal | None, *, durable: bool) -> None:
    """Complete a dead writer's transaction, or delete its journal if it never committed."""
    if journal is None or not journal.can_be_completed(root):
        with contextlib.suppress(FileNotFoundError):
            disk().unlink(path)
        if durable:
            # Before its staged files are swept.
            disk().sync_folder(path.parent)
        return
    # The dead writer may not have fsynced the files and folders that it wrote.
    journal.make_safe(root, path, durable=durable, begun=True)
    created = {
        folder
        for operation in journal.operations
        for folder in _path(root, operation.key).parents
        if folder.is_relative_to(root) and folder.is_dir()
    }
    journal.carry_out(root, durable=durable, created=created)
    journal.finish(root, path, durable=durable)


def make_folders(root: Path, folder: Path) -> Collection[Path]:
    """Create a folder and its parents; return the folders whose entries changed."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            disk().make_folder(folder)
    return [folder.parent for folder in missing]


def delete_trash(path: Path) -> None:
    """Delete trash; another process may be deleting it at the same time."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            disk().remove_tree(path)
        else:
            disk().unlink(path)


def _is_possible(root: Path, operation: Operation) -> bool:
    if isinstance(operation, Remove):
        return True
    places = [_path(root, operation.staged), _path(root, operation.key)]
    if isinstance(operation, Move):
        return any(place.is_dir() and not place.is_symlink() for place in places)
    for place in places:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            # Size first: a file of another size need not be read.
            same_size = os.lstat(place).st_size == operation.size_bytes
            if same_size and digest_file(place, follow=False) == _sum(operation):
                return True
    return False


def _sum(operation: Put) -> tuple[int, str]:
    return operation.size_bytes, operation.sha256


def _path(root: Path, key: str) -> Path:
    return root.joinpath(*key.split("/"))


class PendingChanges:
    """The keys whose content is still staged, according to the journals on disk.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._nothing = root / layout.WORK / "removed"  # This path never exists.
        self._journals: dict[Path, tuple[Operation, ...]] = {}

    def add(self, path: Path, journal: Journal) -> None:
        """Read staged content through a journal until it is deleted, after it was applied."""
        self._journals[path] = journal.operations

    def _current(self) -> list[Operation]:
        if not self._journals:
            return []
        self._journals = {
            path: journal for path, journal in self._journals.items() if path.exists()
        }
        return [operation for operations in self._journals.values() for operation in operations]

    def __bool__(self) -> bool:
        return bool(self._journals)

    def place(self, key: str) -> Path | None:
        """Return the path from which to read a key, None if it is the key's own."""
        is_removed = False
        for operation in self._current():
            if isinstance(operation, Move) and f"{key}/".startswith(f"{operation.staged}/"):
                return self._nothing  # It will be moved to another key.
            if key != operation.key and not key.startswith(f"{operation.key}/"):
                continue
            # An applied operation no longer matters: what is at the key now counts.
            if isinstance(operation, Remove):
                # Another folder may be staged to replace the removed one.
                is_removed |= not os.path.lexists(self._root / operation.trash)
                continue
            staged_key = operation.staged + key[len(operation.key) :]
            staged = self._root.joinpath(*staged_key.split("/"))
            if staged.exists() and first_link(self._root, staged_key) is None:
                return staged
        return self._nothing if is_removed else None

    def keys_below(self, key: str) -> list[str]:
        """Return the keys below a key that get new content."""
        new = [operation.key for operation in self._current() if not isinstance(operation, Remove)]
        return [pending for pending in new if not key or pending.startswith(f"{key}/")]

    def names_below(self, key: str) -> list[str]:
        """Return the names directly below a key that get new content, or whose content does."""
        cut = len(key) + 1 if key else 0
        return sorted({new[cut:].partition("/")[0] for new in self.keys_below(key)})


class JournaledTransaction(msgspec.Struct, frozen=True):
    """A transaction with staged files whose journal is not written yet.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    path : Path
        Where the journal goes.
    journal : Journal
    durable : bool
    """

    root: Path
    path: Path
    journal: Journal
    durable: bool

    def make(
        self, folder: Path, staged: list[Path], trees: Sequence[StagedTree], pending: PendingChanges
    ) -> None:
        """Write the journal, which commits; apply its operations; delete it.

        Parameters
        ----------
        folder : Path
            Empty folders are removed only below this one.
        staged : list of Path
            The staged files; emptied where the journal needs them after an error.
        trees : sequence of StagedTree
            The staged folders; committed from here on, unless the transaction is rolled back.
        pending : PendingChanges
            Gets the journal if it can be neither applied nor rolled back now.
        """
        # The journal owns the staged folders from here on, even after Ctrl-C.
        for tree in trees:
            tree.committed = True
        try:
            self.journal.write(self.root, self.path, durable=self.durable)
            self._carry_out()
        except BaseException:
            if self.journal.is_begun(self.root):
                # It cannot be rolled back; the next writer recovers it from journal and files.
                staged.clear()
                pending.add(self.path, self.journal)
            elif self._taken_back():
                for tree in trees:
                    tree.committed = False
                self._remove_empty([operation.key for operation in self.journal.operations], folder)
            else:
                staged.clear()
            raise
        # Everything is applied. The next writer deletes what cannot be deleted now.
        with contextlib.suppress(OSError):
            self.journal.finish(self.root, self.path, durable=self.durable)
            removed = [
                operation.key
                for operation in self.journal.operations
                if isinstance(operation, Remove)
            ]
            self._remove_empty(removed, folder)

    def _carry_out(self) -> None:
        try:
            self.journal.carry_out(self.root, durable=self.durable, first=True)
        except FileNotFoundError:
            # A concurrent delete removed a staged file. Do not retry: a retry would treat the
            # missing file as already applied.
            raise
        except BaseException as error:
            # The journal is committed: completing it is better than stopping halfway.
            self.journal.carry_out(self.root, durable=self.durable)
            if not isinstance(error, OSError):
                raise

    def _taken_back(self) -> bool:
        """Delete the journal if nothing was applied; return False if that fails too."""
        try:
            with contextlib.suppress(FileNotFoundError):
                disk().unlink(self.path)
            if self.durable:
                # It must not reappear after a power cut, once its staged files are deleted.
                disk().sync_folder(self.path.parent)
        except OSError:
            return False
        return True

    def _remove_empty(self, keys: Iterable[str], top: Path) -> None:
        for key in keys:
            folder = self.root.joinpath(*key.split("/")).parent
            with contextlib.suppress(OSError):  # Another writer put a file there.
                while folder.is_relative_to(top) and folder != top:
                    disk().remove_folder(folder)
                    folder = folder.parent
