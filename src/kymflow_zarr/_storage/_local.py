"""A folder on a local disk or a network share, addressed by keys."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kymflow_zarr import _layout
from kymflow_zarr._storage._files import (
    os_errors,
    remove_tree,
    rename_folder,
    replace,
    sync_folder,
    write_file,
)
from kymflow_zarr._storage._staging import StagedTree
from kymflow_zarr._types import Durability
from kymflow_zarr.errors import LockTimeoutError, ReadOnlyError

LOCK_TIMEOUT_S: Final = 120.0
_PUT_ATTEMPTS: Final = 100


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
        self.writable = writable
        self.durable = durability == "full"

    def path(self, key: str) -> Path:
        """Return the path of a key."""
        return self.root.joinpath(*key.split("/")) if key else self.root

    # Reading ---------------------------------------------------------------------------

    def read(self, key: str) -> bytes | None:
        """Return the bytes at a key, None if there are none."""
        with os_errors("read", key):
            try:
                return self.path(key).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def stat(self, key: str) -> Stat | None:
        """Return size and time of a file or folder, None if it is not there."""
        with os_errors("look at", key):
            try:
                result = self.path(key).stat()
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
                with os.scandir(self.path(key)) as entries:
                    return [e.name for e in entries if e.is_dir() and e.name[0] != "."]
            except (FileNotFoundError, NotADirectoryError):
                return []

    def walk_files(self, key: str) -> Iterator[tuple[str, Stat]]:
        """Yield key, size and time of each file below a key, in order of their keys."""
        with os_errors("list", key):
            try:
                with os.scandir(self.path(key)) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except (FileNotFoundError, NotADirectoryError):
                return
        for entry in found:
            if entry.name.startswith("."):
                continue
            below = f"{key}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from self.walk_files(below)
                continue
            with os_errors("look at", below):
                is_file = entry.is_file()
            if not is_file:
                continue
            found_stat = self.stat(below)
            if found_stat is not None:  # Else it was deleted since it was listed.
                yield below, found_stat

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
            it, so that a record deleted meanwhile does not come back as a ghost. The
            temporary file is made in it, which also changes the anchor's time: the index
            sees from that alone that something below has changed.

        Raises
        ------
        FileNotFoundError
            If the anchor is not there.
        """
        self.require_writable()
        target = self.path(key)
        folder = self.path(anchor)
        if not folder.is_dir():
            raise FileNotFoundError(str(folder))
        with os_errors("write", key):
            temporary = folder / f"{_layout.TEMPORARY_PREFIX}{uuid.uuid4().hex}"
            try:
                write_file(temporary, data, durable=self.durable)
                self._put(temporary, target, anchor, key)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            if self.durable:
                sync_folder(target.parent)

    def _put(self, temporary: Path, target: Path, anchor: str, key: str) -> None:
        # Between the two steps somebody may delete the last other file of a folder, and it.
        for _ in range(_PUT_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                self._make_folders(anchor, key)
                replace(temporary, target)
                return
        self._make_folders(anchor, key)
        replace(temporary, target)

    def _make_folders(self, anchor: str, key: str) -> None:
        missing = []
        folder = self.path(key).parent
        top = self.path(anchor)
        while folder != top and not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            if self.durable:
                sync_folder(folder.parent)

    def delete(self, key: str, *, anchor: str) -> bool:
        """Delete the file at a key and the folders it leaves empty; False if it is not there."""
        self.require_writable()
        target = self.path(key)
        with os_errors("delete", key):
            # Through the anchor, so that its time changes as it does for a write.
            doomed = self.path(anchor) / f"{_layout.TEMPORARY_PREFIX}{uuid.uuid4().hex}"
            try:
                replace(target, doomed)
            except (FileNotFoundError, NotADirectoryError):
                return False
            doomed.unlink()
            if self.durable:
                sync_folder(target.parent)
            folder, top = target.parent, self.path(anchor)
            with contextlib.suppress(OSError):  # Not empty: somebody else's file is there.
                while folder != top:
                    folder.rmdir()
                    folder = folder.parent
        return True

    def delete_tree(self, key: str) -> bool:
        """Delete a folder in one step and its content after; False if it is not there."""
        self.require_writable()
        with os_errors("delete", key):
            trash = self._work_folder("trash")
            doomed = trash / uuid.uuid4().hex
            source = self.path(key)
            try:
                rename_folder(source, doomed)
            except (FileNotFoundError, NotADirectoryError):
                return False
            if self.durable:
                sync_folder(source.parent)
            remove_tree(doomed)
        return True

    def stage(self) -> StagedTree:
        """Return an empty folder that nobody sees until it is committed."""
        self.require_writable()
        with os_errors("write", _layout.WORK):
            folder = self._work_folder("staging") / uuid.uuid4().hex
            folder.mkdir()
        return StagedTree(folder, root=self.root, durable=self.durable)

    def now_ns(self) -> int:
        """Return the time by the clock of the file system, which dates its files."""
        self.require_writable()
        with os_errors("write", _layout.WORK):
            probe = self._work_folder("staging") / uuid.uuid4().hex
            probe.touch()
            try:
                return probe.stat().st_mtime_ns
            finally:
                probe.unlink()

    def touch(self, key: str) -> None:
        """Set the time of a folder to now, as a write through it does."""
        self.require_writable()
        with os_errors("write", key):
            os.utime(self.path(key))

    def _work_folder(self, name: str) -> Path:
        folder = self.root / _layout.WORK / name
        try:
            folder.mkdir()
        except FileExistsError:
            pass
        except FileNotFoundError:
            # Not parents=True: a dataset that has vanished must not come back half.
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir(exist_ok=True)
        return folder

    @contextlib.contextmanager
    def lock(self, *scopes: str) -> Iterator[None]:
        """Keep other writers, threads and processes, out of some scopes.

        The operating system holds the locks, so a writer that dies holding one blocks
        nobody. Scopes share 256 lock files; taking them in sorted order prevents deadlock.

        Raises
        ------
        LockTimeoutError
            If another writer holds one for longer than two minutes.
        """
        from filelock import FileLock, Timeout

        self.require_writable()
        names = sorted({hashlib.sha256(scope.encode()).hexdigest()[:2] for scope in scopes})
        with contextlib.ExitStack() as held:
            with os_errors("lock", _layout.WORK):
                folder = self._work_folder("locks")
                for name in names:
                    lock = FileLock(folder / f"{name}.lock", timeout=LOCK_TIMEOUT_S)
                    try:
                        held.enter_context(lock)
                    except Timeout as error:
                        raise LockTimeoutError(
                            f"another writer has held the lock on {', '.join(scopes)} "
                            f"for {LOCK_TIMEOUT_S:.0f} s",
                            where=str(self.root),
                            hint="Wait for it to finish, then call again.",
                        ) from error
            yield
