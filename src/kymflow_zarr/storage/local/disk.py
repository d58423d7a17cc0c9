"""The file system operations of all writes, in one class that tests can replace.

Each method is one operation: :mod:`kymflow_zarr.testing` makes the n-th of them fail, or crash,
and checks what is left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from kymflow_zarr.errors import StorageError
from kymflow_zarr.types import StrPath

_HAS_DIR_FD: Final = {os.open, os.rename, os.unlink, os.rmdir, os.mkdir} <= os.supports_dir_fd
_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NOT_FOLLOWED: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# On Windows a virus scanner or viewer may hold a file open briefly; these add up to about 2 s.
_RETRY_WAITS_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.5, 0.7)
_APPENDED: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NOT_FOLLOWED
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class Disk:
    """The operations of the operating system, alike on Linux, macOS and Windows.

    Attributes
    ----------
    waits : bool
        True if fsync waits for hardware, so that several at once are worth threads.
    """

    waits = True

    def create(self, path: StrPath, data: bytes | memoryview) -> None:
        """Write a new file."""
        # Exclusive creation does not follow a symbolic link at the path.
        with _opened_parent(path) as (name, parent):
            descriptor = os.open(name, _NEW_FILE, 0o666, dir_fd=parent)
        try:
            allow_group(path, descriptor)
            written = os.write(descriptor, data)
            if written < len(data):  # One call writes at most 2 GB.
                rest = memoryview(data)
                while written < len(data):
                    written += os.write(descriptor, rest[written:])
        finally:
            os.close(descriptor)

    def append(self, path: Path, data: bytes) -> None:
        """Append bytes to a file, which is created if it does not exist."""
        with _opened_parent(path) as (name, parent):
            descriptor = os.open(name, _APPENDED, 0o666, dir_fd=parent)
        with open(descriptor, "ab") as file:  # noqa: PTH123 - a descriptor
            file.write(data)

    def sync(self, path: StrPath) -> None:
        """Fsync a file."""
        # Windows can sync only a file that is open for writing.
        access = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
        descriptor = os.open(path, access | _NOT_FOLLOWED)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)

    def sync_folder(self, path: StrPath) -> None:
        """Fsync a directory, where the operating system can."""
        if sys.platform == "win32":
            return  # NTFS journals names; Windows cannot open a folder to sync it.
        self.sync(path)

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file, replacing another; retry while another program holds it open."""
        with _opened_parent(source) as (old, from_fd), _opened_parent(target) as (new, to_fd):
            if from_fd is None and to_fd is None:
                _patiently(lambda: source.replace(target))
            else:
                os.replace(old, new, src_dir_fd=from_fd, dst_dir_fd=to_fd)

    def link(self, source: StrPath, target: StrPath) -> None:
        """Give a file a second name; raise FileExistsError if that name is taken."""
        with _opened_parent(source) as (old, from_fd), _opened_parent(target) as (new, to_fd):
            os.link(old, new, src_dir_fd=from_fd, dst_dir_fd=to_fd)

    def rename_folder(self, source: StrPath, target: StrPath) -> None:
        """Rename a folder to a free name."""
        with _opened_parent(source) as (old, from_fd), _opened_parent(target) as (new, to_fd):
            if from_fd is None and to_fd is None:
                _patiently(lambda: os.rename(source, target))  # noqa: PTH104
            else:
                os.rename(old, new, src_dir_fd=from_fd, dst_dir_fd=to_fd)

    def make_folder(self, path: StrPath) -> None:
        """Create a folder; raise FileExistsError if it exists."""
        with _opened_parent(path) as (name, parent):
            os.mkdir(name, dir_fd=parent)
            allow_group(path, None, name, parent)

    def unlink(self, path: Path) -> None:
        """Delete a file or a link."""
        with _opened_parent(path) as (name, descriptor):
            if descriptor is None:
                _patiently(path.unlink)
            else:
                os.unlink(name, dir_fd=descriptor)

    def remove_folder(self, path: Path) -> None:
        """Delete an empty folder."""
        with _opened_parent(path) as (name, descriptor):
            if descriptor is None:
                path.rmdir()
            else:
                os.rmdir(name, dir_fd=descriptor)

    def remove_tree(self, path: Path) -> None:
        """Delete a folder and all below it; links are deleted, not followed."""
        with _opened_parent(path) as (name, descriptor):
            if _HAS_DIR_FD:
                _remove_below(name, descriptor)
            elif path.is_symlink():
                path.unlink()
            else:
                _remove_tree_by_path(path)

    def touch(self, path: Path) -> None:
        """Set the modification time of a file or folder to now."""
        os.utime(path)


_current: Disk = Disk()


def disk() -> Disk:
    """Return the disk that all operations go through."""
    return _current


@contextlib.contextmanager
def disk_replaced(other: Disk) -> Iterator[None]:
    """Replace the disk in all threads of this process, for a ``with`` block; for tests."""
    global _current
    before, _current = _current, other
    try:
        yield
    finally:
        _current = before


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # On macOS fsync leaves the bytes in the drive's cache. Not all shares support F_FULLFSYNC.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


class _OpenFolder:
    """A folder that stays open until nothing refers to it, so that no thread loses it midway."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


class _Root(NamedTuple):
    """A folder to which operations below it are confined.

    Parameters
    ----------
    group_writes : bool
        True if new files and folders are made group-writable.
    folder : _OpenFolder, optional
        Opened for each operation if left out.
    """

    group_writes: bool
    folder: _OpenFolder | None = None


# By their paths, which end with a separator: folders of datasets, and of sessions in them.
_roots: dict[str, _Root] = {}


def register_root(root: Path) -> None:
    """Confine operations below a dataset's folder to it: they refuse symbolic links inside.

    New files and folders are group-writable if the dataset's folder is.
    """
    try:
        mode = os.stat(root).st_mode  # noqa: PTH116 - as below
    except OSError:
        mode = 0  # It is registered again when it has been created.
    _roots[f"{root}{os.sep}"] = _Root(bool(mode & stat.S_IWGRP))


def register_session(folder: Path) -> None:
    """Keep the folder of a session open: what is staged goes there, whatever its path leads to."""
    with _opened_parent(folder) as (name, parent):
        if parent is not None:
            opened = _OpenFolder(os.open(name, _FOLDER, dir_fd=parent))
            group_root = _root_of(str(folder))
            group_writes = group_root is not None and group_root[1].group_writes
            _roots[f"{folder}{os.sep}"] = _Root(group_writes, opened)


def unregister_session(folder: Path) -> None:
    """Let go of the folder of a session that has ended."""
    _roots.pop(f"{folder}{os.sep}", None)


def allow_group(
    path: StrPath, descriptor: int | None, name: str = "", parent: int | None = None
) -> None:
    """Make a new file or folder group-writable if the dataset's folder is.

    The default umask of most systems removes that permission, and the umask can be set only for
    all threads.
    """
    if sys.platform == "win32":
        return
    group_root = _root_of(os.fspath(path))
    if group_root is not None and group_root[1].group_writes:
        place = name if descriptor is None else descriptor
        mode = stat.S_IMODE(os.stat(place, dir_fd=parent).st_mode)
        group = (mode & stat.S_IRWXU) >> 3
        if mode & group != group:
            os.chmod(place, mode | group, dir_fd=parent)


def _root_of(path: str) -> tuple[str, _Root] | None:
    # From the path upwards, so that it costs the same however many datasets a program opened.
    end = path.rfind(os.sep)
    while end >= 0:
        if (root := _roots.get(path[: end + 1])) is not None:
            return path[: end + 1], root
        end = path.rfind(os.sep, 0, end)
    return None


@contextlib.contextmanager
def _opened_parent(path: StrPath) -> Iterator[tuple[str, int | None]]:
    """Open the parent folder of a path, without following links.

    From the dataset's folder down, or from that of the session.

    Yields
    ------
    (str, int or None)
        The name in the parent folder, and the folder's descriptor. The path and None where that
        is not needed or the system has no such calls; links were then only checked for.

    Raises
    ------
    StorageError
        If a folder on the way is a link.
    """
    text = os.fspath(path)
    group_root = _root_of(text)
    if group_root is None:
        yield text, None
        return
    root, (_, session) = group_root
    *folders, name = Path(text[len(root) :]).parts
    if not _HAS_DIR_FD:
        above = root
        for folder in folders:
            above = os.path.join(above, folder)  # noqa: PTH118
            if os.path.islink(above):  # noqa: PTH114
                raise _through_a_link(above)
        yield text, None
        return
    opened: list[int] = []
    try:
        if session is None:
            parent = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            opened.append(parent)
        else:
            parent = session.descriptor
        for folder in folders:
            try:
                parent = os.open(folder, _FOLDER, dir_fd=parent)
            except OSError as error:
                is_link = error.errno in (errno.ELOOP, errno.ENOTDIR) and stat.S_ISLNK(
                    os.lstat(folder, dir_fd=parent).st_mode
                )
                if is_link:
                    raise _through_a_link(f"{text} at {folder!r}") from error
                raise
            opened.append(parent)
        yield name, parent
    except OSError as error:
        if error.filename in (name, *folders):
            error.filename = text  # The whole path, for the message.
        raise
    finally:
        # Each number leaves the list before it is closed: Ctrl-C in between may leave a
        # descriptor open, but never closes one twice, which by then may be another file's.
        while opened:
            os.close(opened.pop())


def _through_a_link(where: str) -> StorageError:
    return StorageError(
        "a part of the dataset is a link, through which nothing is changed",
        where=where,
        hint="Move what it leads to into the dataset, in place of the link.",
    )


def _remove_below(name: str, parent: int | None) -> None:
    """Delete a file, a link, or a folder and all below it."""
    status = os.lstat(name, dir_fd=parent)
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        os.chmod(name, stat.S_IRWXU, dir_fd=parent)
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    try:
        for entry in os.listdir(descriptor):  # noqa: PTH208
            with contextlib.suppress(FileNotFoundError):  # Another process deleted it first.
                try:
                    _remove_below(entry, descriptor)
                except PermissionError:
                    os.fchmod(descriptor, stat.S_IRWXU)
                    _remove_below(entry, descriptor)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)


def _remove_tree_by_path(path: Path) -> None:
    import shutil

    def make_writable_and_retry(function: Callable[..., object], name: str, _: object) -> None:
        if not os.path.lexists(name):
            return  # Another process deleted it first.
        if not os.path.islink(name):  # noqa: PTH114 - chmod would follow it
            Path(name).chmod(stat.S_IRWXU)
        if function in (os.unlink, os.rmdir):
            function(name)
        else:  # The folder could not be opened or listed.
            shutil.rmtree(name)

    if sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=make_writable_and_retry)
    else:
        shutil.rmtree(path, onerror=make_writable_and_retry)


def _patiently(operation: Callable[[], object]) -> None:
    for wait_s in _RETRY_WAITS_S:
        try:
            operation()
        except PermissionError:
            # On POSIX a denied permission is not transient.
            if sys.platform != "win32":
                raise
            time.sleep(wait_s)
        else:
            return
    operation()
