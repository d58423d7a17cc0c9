"""Operations on files and folders that behave alike on Linux, macOS and Windows."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from kymflow_zarr.errors import KymflowZarrError, LimitExceededError, StorageError
from kymflow_zarr.runtime.limits import check_limit
from kymflow_zarr.storage.local.disk import disk
from kymflow_zarr.types import StrPath

F = TypeVar("F", bound=Callable[..., Any])

# Up to this number of files, threads cost more than they save.
_SYNC_ALONE: Final = 4
_SYNC_THREADS: Final = 8

_READ: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NOT_FOLLOWED: Final = getattr(os, "O_NOFOLLOW", 0)
_SMALL_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 26
# The limit for a whole file, by suffix; other files have the limit of a chunk.
_LIMITS: Final = {
    ".json": "json_bytes",
    ".sha256": "json_bytes",
    ".png": "json_bytes",
    ".parquet": "table_bytes",
    ".gz": "gzip_bytes",
}

_HINTS: Final = {
    errno.ENOSPC: "The disk is full: make room and call again.",
    errno.EDQUOT: "The disk quota is used up: make room and call again.",
    errno.EACCES: "This user has no permission to do that there.",
    errno.EPERM: "This user has no permission to do that there.",
    errno.EROFS: "The file system is mounted read-only.",
    errno.EMFILE: "This process has too many files open.",
    errno.ENFILE: "This machine has too many files open.",
    errno.ENAMETOOLONG: "The path is too long for this file system.",
}


class os_errors:  # noqa: N801 - used as a function; a class costs a third of a generator
    """Turn an OSError of the body into a StorageError that says what to do.

    Parameters
    ----------
    doing, where : str
        The operation, as a verb, and the file that it failed on.
    """

    __slots__ = ("_doing", "_where")

    def __init__(self, doing: str, where: str) -> None:
        self._doing, self._where = doing, where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, KymflowZarrError):
            reason = error.strerror or type(error).__name__
            hint = _HINTS.get(error.errno or 0)
            where = self._where
            if isinstance(error, PermissionError) and isinstance(error.filename, str):
                where, hint = error.filename, _permission_hint(error.filename) or hint
            doing = f"cannot {self._doing}: {reason}"
            raise StorageError(doing, where=where, hint=hint) from error


def _permission_hint(path: str) -> str | None:
    """Return a hint that names the owner of a file or folder, and how to get permission."""
    if sys.platform == "win32":
        return None
    import pwd

    while not os.path.lexists(path) and os.path.dirname(path) != path:  # noqa: PTH120 - text
        path = os.path.dirname(path)  # noqa: PTH120 - as above
    try:
        status = os.lstat(path)
        folder = os.path.dirname(path)  # noqa: PTH120 - as above
        if status.st_uid == os.geteuid() and not stat.S_ISDIR(status.st_mode):
            path, status = folder, os.lstat(folder)
    except OSError:
        return None
    try:
        user = f"the user {pwd.getpwuid(status.st_uid).pw_name!r}"
    except KeyError:
        user = f"the user of number {status.st_uid}"
    mode = stat.filemode(status.st_mode)
    return (
        f"This user has no permission to do that there: {path} belongs to {user}, with the "
        f"permissions {mode}. Ask that user to close the dataset and to let the group write "
        "(chmod -R g+w on the dataset's folder); what is written after that keeps it so"
    )


class ParentSync:
    """Fsyncs the parent directories of written files, each once.

    A process that creates a directory fsyncs its entry, but may die before it does. If the
    entry is lost in a power cut, so is everything that another process writes below it.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._safe: set[tuple[Path, int]] = set()

    def make_safe(self, folder: Path) -> None:
        """Fsync the parents of a folder, up to the dataset's folder."""
        # The inode distinguishes a folder from one that was deleted and created again.
        identity = (folder, folder.stat().st_ino)
        if folder != self._root and identity not in self._safe:
            sync_all((), [path for path in folder.parents if path.is_relative_to(self._root)])
            self._safe.add(identity)


def write_file(path: Path, data: bytes | memoryview, *, durable: bool) -> None:
    """Write a new file; with `durable`, fsync it."""
    disk().create(path, data)
    if durable:
        disk().sync(path)


def again_if_stale(function: F) -> F:
    """Call a function again if a file was replaced or deleted by another host of a share.

    Raises
    ------
    FileNotFoundError
        If its handle is stale again (ESTALE).
    """

    @functools.wraps(function)
    def look(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
        try:
            return function(*args, **kwargs)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            raise FileNotFoundError(
                errno.ENOENT, os.strerror(errno.ENOENT), error.filename
            ) from error

    return cast("F", look)


def open_file(path: StrPath, *, follow: bool = False) -> io.FileIO:
    """Open a file for reading; raise StorageError, without blocking, for a device or named pipe."""
    return io.FileIO(_open_regular(path, _READ if follow else _READ | _NOT_FOLLOWED)[0])


@again_if_stale
def _open_regular(path: StrPath, flags: int) -> tuple[int, int]:
    """Open a regular file; return its descriptor and size."""
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and os.path.islink(path):  # noqa: PTH114 - text
            raise refused_link(str(path), "read") from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise StorageError(
            "this is no file, but a device, a named pipe or a socket",
            where=str(path),
            hint="Delete it, and restore the file from a copy of the dataset.",
        )
    return descriptor, status.st_size


@again_if_stale
def read_file(path: str, key: str) -> bytes:
    """Return the bytes of a file, after checking its size.

    Raises
    ------
    LimitExceededError
        If it is larger than the limit for its kind, or than the memory.
    """
    descriptor, size = _open_regular(path, _READ | _NOT_FOLLOWED)
    try:
        _check_size(key, size)
        data = os.read(descriptor, size)
        if len(data) == size:
            return data
        # One call reads at most 2 GB.
        pieces = [data]
        while piece := os.read(descriptor, _PIECE_BYTES):
            pieces.append(piece)
        return b"".join(pieces)
    except MemoryError as error:
        raise LimitExceededError(
            f"the file has {size} bytes, more than this process can have in memory", where=key
        ) from error
    finally:
        os.close(descriptor)


def _check_size(key: str, size: int) -> None:
    # Most files are small; skip the lookup of the limit for them.
    if size > _SMALL_BYTES:
        suffix = next((suffix for suffix in _LIMITS if key.endswith(suffix)), "")
        check_limit(_LIMITS.get(suffix, "array_bytes"), size, "the file has", where=key)


class FileParts:
    """An open file, read by byte ranges.

    Parameters
    ----------
    path : str
    key : str
        Its name in errors.
    """

    def __init__(self, path: str, key: str) -> None:
        self._key = key
        self._file = open_file(path)

    @property
    def size(self) -> int:
        """Size in bytes."""
        with os_errors("read", self._key):
            return os.fstat(self._file.fileno()).st_size

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, fewer at the end."""
        with os_errors("read", self._key):
            self._file.seek(start)
            return self._file.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def digest_file(path: StrPath, *, follow: bool = True) -> tuple[int, str]:
    """Return size in bytes and SHA-256, as 64 hexadecimal digits, of a file."""
    with open_file(path, follow=follow) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def digest_of_bytes(data: bytes) -> str:
    """Return the SHA-256 of bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sync_file(path: Path) -> None:
    """Fsync a file that another library wrote."""
    disk().sync(path)


def append_lines(path: Path, lines: bytes) -> None:
    """Append whole lines to a file and fsync it.

    A partial line that a crash left is terminated first, so that the new lines stay whole.
    """
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                lines = b"\n" + lines
    disk().append(path, lines)
    disk().sync(path)


def sync_folder(path: Path) -> None:
    """Fsync a directory, where the operating system can."""
    disk().sync_folder(path)


def replace(source: Path, target: Path) -> None:
    """Rename `source` to `target`, replacing a file; retry while a program holds it open."""
    disk().replace(source, target)


def rename_folder(source: Path, target: Path) -> None:
    """Rename a folder to a free name."""
    disk().rename_folder(source, target)


def remove_tree(path: Path) -> None:
    """Delete a folder and all below it; links are deleted, not followed."""
    disk().remove_tree(path)


def sync_all(files: Iterable[StrPath], folders: Iterable[StrPath] = ()) -> None:
    """Fsync files, and then folders.

    Several at once: a journaling file system commits them together, at little more than the
    cost of one.
    """
    for paths, sync in ((list(files), disk().sync), (list(folders), disk().sync_folder)):
        if len(paths) < _SYNC_ALONE or not disk().waits:
            for path in paths:
                sync(path)
        else:
            try:
                done = _pool().map(sync, paths)
            except RuntimeError:
                # The interpreter is shutting down and starts no more threads: do it in this one.
                done = map(sync, paths)
            list(done)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix="kymflow_zarr sync")


if hasattr(os, "register_at_fork"):
    # A forked child does not have the threads of the pool.
    os.register_at_fork(after_in_child=_pool.cache_clear)


_KIND: Final = 0o170000
# Below this number of folders, threads and Arrow cost more than they save.
_MANY: Final = 2_000
# Not a power of two or of ten, of which the ticks of clocks are multiples.
_MIXED: Final = 997
# Passed to filter: measurably faster than a loop for 100,000 entries.
_IS_FOLDER: Final[Callable[[os.DirEntry[str]], bool]] = os.DirEntry.is_dir


@again_if_stale
def folders(place: Path | int) -> list[str]:
    """Return the names of the folders in a folder, unsorted, without hidden ones.

    The folder is a path or an open descriptor. Raises OSError if it cannot be listed.
    """
    with os.scandir(place) as entries:
        listed = list(entries)
    try:
        names = [entry.name for entry in filter(_IS_FOLDER, listed)]
    except OSError:  # For example, a symbolic link that points to itself.
        names = [entry.name for entry in listed if _is_folder(entry)]
    return [name for name in names if name[0] != "."]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):
        return entry.is_dir()
    return False


@again_if_stale
def folder_times(path: Path) -> dict[str, int]:
    """Return name and modification time in ns of each folder directly below a path.

    Names that begin with a dot are left out. Empty if the path is not a folder.
    """
    try:
        if os.stat not in os.supports_dir_fd:
            # Not DirEntry.stat: on Windows its modification time of a folder may be outdated.
            names = [name for name in os.listdir(path) if name[0] != "."]  # noqa: PTH208
            return _times(names, lambda name: (path / name).stat())
        descriptor = os.open(path, os.O_RDONLY)
        try:
            names = folders(descriptor)
            if len(names) >= _MANY:
                with contextlib.suppress(UnicodeEncodeError):  # Arrow needs names in UTF-8.
                    top = f"{path}{os.sep}"
                    return _present(names, _many([top + name for name in names]))
            # Names relative to an open folder need no lookup of the path.
            return _times(names, functools.partial(os.stat, dir_fd=descriptor))
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        return {}


def edited_times(path: Path, times: Mapping[str, int], file: str) -> dict[str, int]:
    """Return the times of folders, or that of a file below one where the file is newer.

    Our writers replace a file and then change the time of its folder. An editor that writes the
    file in place changes the time of the file only.
    """
    names = list(times)
    top, end = f"{path}{os.sep}", f"{os.sep}{file}"
    keys = [f"{top}{name}{end}" for name in names]
    edited: list[int | None] | None = None
    if len(names) >= _MANY:
        with contextlib.suppress(UnicodeEncodeError):
            edited = _many(keys)
    if edited is None:
        edited = [_file_time(key) for key in keys]
    return {
        # The digits of the folder's time stay in: a file from a clock that is ahead must not
        # hide a change of its folder.
        name: time if new is None or new <= time else new - new % _MIXED + time % _MIXED
        for name, time, new in zip(names, times.values(), edited, strict=True)
    }


def _file_time(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - it is measurably faster.
    except OSError:
        return None  # The reader of the file reports why it cannot be read.


def files_below(key: str, path: Path) -> Iterator[str]:
    """Yield the keys of all files below a folder, sorted by their parts.

    What is no file is listed too, links to folders included: reading it raises an error.
    """
    with os_errors("list", key):
        try:
            with os.scandir(path) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
    for entry in listed:
        if entry.name.startswith("."):
            continue
        below = f"{key}/{entry.name}" if key else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(below, path / entry.name)
        else:
            yield below


def refused_link(where: str, done: str) -> StorageError:
    """Return the error of a link in a dataset, through which nothing is read or written."""
    return StorageError(
        f"a part of the dataset is a link, through which nothing is {done}",
        where=where,
        hint="Move what it leads to into the dataset, in place of the link.",
    )


def links_below(root: Path, key: str) -> Iterator[str]:
    """Yield the keys of all symbolic links below a folder, those of hidden names too."""
    with contextlib.suppress(FileNotFoundError), os.scandir(root / key) as entries:
        for entry in entries:
            below = f"{key}/{entry.name}" if key else entry.name
            if entry.is_symlink():
                yield below
            elif entry.is_dir(follow_symlinks=False):
                yield from links_below(root, below)


def names_below(key: str, keys: Iterable[str]) -> set[str]:
    """Return the names directly below a key that occur in the given keys."""
    cut = len(key) + 1
    return {k[cut:].partition("/")[0] for k in keys if k.startswith(f"{key}/")}


def _times(names: list[str], look: Callable[[str], os.stat_result]) -> dict[str, int]:
    try:
        # A comprehension: a loop takes half as long again.
        times = [
            status.st_mtime_ns if (status := look(name)).st_mode & _KIND == stat.S_IFDIR else None
            for name in names
        ]
    except OSError:  # One was deleted since it was listed, or is a link that points to itself.
        times = [_time(name, look) for name in names]
    return _present(names, times)


def _present(names: list[str], times: list[int | None]) -> dict[str, int]:
    """Return names with their times, without those that have none."""
    listed = dict(zip(names, times, strict=True))
    if None in times:
        listed = {name: time for name, time in listed.items() if time is not None}
    return cast("dict[str, int]", listed)


def _many(paths: list[str]) -> list[int | None]:
    """Return modification times through Arrow in two threads; Arrow releases the GIL."""
    from pyarrow.fs import LocalFileSystem

    look = LocalFileSystem().get_file_info
    half = len(paths) // 2
    with ThreadPoolExecutor(1) as other:
        first = other.submit(look, paths[:half])
        second = look(paths[half:])
        infos = first.result() + second
    return [info.mtime_ns for info in infos]


def _time(name: str, look: Callable[[str], os.stat_result]) -> int | None:
    try:
        status = look(name)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno == errno.ELOOP:
            return None
        raise
    return status.st_mtime_ns if status.st_mode & _KIND == stat.S_IFDIR else None


def first_link(root: Path, key: str) -> str | None:
    """Return the topmost part of a key that is a symbolic link; None if there is none."""
    path = str(root)
    for name in key.split("/") if key else ():
        path = f"{path}{os.sep}{name}"
        try:
            mode = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(mode):
            return path
    return None
