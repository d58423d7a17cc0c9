"""Several files changed as one: all of it happens, or nothing, whatever comes between.

The new files are put on the disk out of sight, then a journal that says what is to become of
them: with it the change is made. Then it is carried out, and the journal deleted. Whoever finds
a journal whose writer is dead carries it out again: each operation says whether it was taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.storage.local.disk import disk
from kymflow_zarr.storage.local.files import digest_file, sync_all


class Put(msgspec.Struct, frozen=True, tag="put"):
    """A staged file takes its place.

    Parameters
    ----------
    key : str
        Where it goes.
    staged : str
        Where it is, below the root.
    size_bytes, sha256
        What it is: one that a power loss has torn is not put anywhere.
    """

    key: str
    staged: str
    size_bytes: int
    sha256: str


class Move(msgspec.Struct, frozen=True, tag="move"):
    """A staged folder, complete and on the disk, takes its place, which is free."""

    key: str
    staged: str


class Remove(msgspec.Struct, frozen=True, tag="remove"):
    """A file or folder goes out of sight; it is deleted when the journal is."""

    key: str
    trash: str = msgspec.field(name="aside")


Operation: TypeAlias = Put | Move | Remove


class Journal(msgspec.Struct, frozen=True):
    """One change of several files.

    Parameters
    ----------
    locks : tuple of str
        Lock files that its writer held: while one of them is held it lives.
    operations : tuple of Put, Move or Remove
        In this order.
    """

    locks: tuple[str, ...]
    operations: tuple[Operation, ...] = msgspec.field(name="steps")

    def write(self, root: Path, path: Path, *, durable: bool) -> None:
        """Put the journal on the disk: this is the commit."""
        body = msgspec.json.encode(self)
        disk().create(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        self.make_safe(root, path, durable=durable)

    def make_safe(self, root: Path, path: Path, *, durable: bool, begun: bool = False) -> None:
        """Put the journal and what it speaks of on the disk, before an operation is taken.

        Parameters
        ----------
        root, path : Path
        durable : bool
        begun : bool
            Whether files may have taken their places: by one who had done this before.
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
        self, root: Path, *, durable: bool, made: Collection[Path] = (), first: bool = False
    ) -> None:
        """Take the operations that are still to be taken.

        Parameters
        ----------
        root : Path
        durable : bool
        made : collection of Path
            Folders in which others were made for it.
        first : bool
            Whether no operation was taken: what is staged and not there was taken away.
        """
        touched: dict[Path, None] = {}
        made = [*made]
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
                made += make_folders(root, target.parent)
        if durable and made:
            # First: with the name of a folder all is lost that went into it.
            sync_all((), dict.fromkeys(made))
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
        """Delete the journal, and then what was removed."""
        with contextlib.suppress(FileNotFoundError):
            disk().unlink(path)
        trashed = [_path(root, s.trash) for s in self.operations if isinstance(s, Remove)]
        if trashed and durable:
            # A journal that came back without them would remove what is new there.
            disk().sync_folder(path.parent)
        for trash in trashed:
            delete_trash(trash)

    def is_begun(self, root: Path) -> bool:
        """Tell whether one of the operations was taken, all having been staged."""
        return any(
            os.path.lexists(_path(root, operation.trash))
            if isinstance(operation, Remove)
            else not _path(root, operation.staged).exists()
            for operation in self.operations
        )

    def can_be_completed(self, root: Path) -> bool:
        """Tell whether each operation was taken or can be taken.

        Where not, power was lost before all of it was on the disk, and so before any of it was
        done. That a staged file is not there does not tell whether it was taken.
        """
        return all(map(partial(_is_possible, root), self.operations)) or any(
            os.path.lexists(_path(root, operation.trash))
            for operation in self.operations
            if isinstance(operation, Remove)
        )


def read_journals(root: Path) -> Iterator[tuple[Path, Journal | None]]:
    """Yield the journals there are, None for one that was never complete."""
    try:
        paths = sorted((root / layout.WORK / "journal").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in paths:
        try:
            digest, _, body = path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            continue  # Carried out meanwhile.
        if hashlib.sha256(body).hexdigest().encode() != digest:
            yield path, None
            continue
        try:
            journal = msgspec.json.decode(body, type=Journal)
        except msgspec.DecodeError:
            yield path, None
            continue
        yield path, journal if all(map(_stays_inside, journal.operations)) else None


def recover(root: Path, path: Path, journal: Journal | None, *, durable: bool) -> None:
    """Bring a dead writer's change to its end, or drop what never was one."""
    if journal is None or not journal.can_be_completed(root):
        with contextlib.suppress(FileNotFoundError):
            disk().unlink(path)
        if durable:
            # Before what it speaks of is swept.
            disk().sync_folder(path.parent)
        return
    # The dead writer may have written and made any of these and not have come to sync them.
    journal.make_safe(root, path, durable=durable, begun=True)
    made = {
        folder
        for operation in journal.operations
        for folder in _path(root, operation.key).parents
        if folder.is_relative_to(root) and folder.is_dir()
    }
    journal.carry_out(root, durable=durable, made=made)
    journal.finish(root, path, durable=durable)


def make_folders(root: Path, folder: Path) -> Collection[Path]:
    """Make a folder and those above it; return the folders whose names have changed."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            disk().make_folder(folder)
    return [folder.parent for folder in missing]


def delete_trash(path: Path) -> None:
    """Delete what was put aside; another may be at it too."""
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
        return any(place.is_dir() for place in places)
    for place in places:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if digest_file(place) == (operation.size_bytes, operation.sha256):
                return True
    return False


def _stays_inside(operation: Operation) -> bool:
    # On-disk format: "A journal MUST NOT name a path outside the dataset."
    other = operation.trash if isinstance(operation, Remove) else operation.staged
    return not (layout.leads_out(operation.key) or layout.leads_out(other))


def _path(root: Path, key: str) -> Path:
    return root.joinpath(*key.split("/"))
