"""List folders and their modification times, with one system call for each."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, cast

from kymflow_zarr.storage.local.files import os_errors

_KIND: Final = 0o170000
# Below this number, threads and Arrow cost more than they save.
_MANY: Final = 2_000
# Called by filter: measurably faster than a loop for 100,000 entries.
_IS_FOLDER: Final[Callable[[os.DirEntry[str]], bool]] = os.DirEntry.is_dir


def folders(place: Path | int) -> list[str]:
    """Return the names of the folders in a folder, unsorted, without those that begin with a dot.

    The folder is a path or an open descriptor; OSError if it cannot be listed.
    """
    with os.scandir(place) as entries:
        found = list(entries)
    try:
        names = [entry.name for entry in filter(_IS_FOLDER, found)]
    except OSError:  # Such as a link that leads to itself: it is no folder.
        names = [entry.name for entry in found if _is_folder(entry)]
    return [name for name in names if name[0] != "."]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(OSError):
        return entry.is_dir()
    return False


def folder_times(path: Path) -> dict[str, int]:
    """Return name and modification time in ns of each folder directly below a path.

    Names that begin with a dot are left out. Empty if the path is not a folder.
    """
    try:
        if os.stat not in os.supports_dir_fd:
            # Not DirEntry.stat: on Windows a listing may hold an outdated time of a folder.
            names = [name for name in os.listdir(path) if name[0] != "."]  # noqa: PTH208
            return _times(names, lambda name: (path / name).stat())
        descriptor = os.open(path, os.O_RDONLY)
        try:
            names = folders(descriptor)
            if len(names) >= _MANY:
                with contextlib.suppress(UnicodeEncodeError):  # Arrow wants names in UTF-8.
                    return _many_times(f"{path}{os.sep}", names)
            # Names relative to an open folder need no lookup of the path.
            return _times(names, functools.partial(os.stat, dir_fd=descriptor))
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        return {}


def files_below(key: str, path: Path) -> Iterator[str]:
    """Yield the keys of all files below a folder, sorted by their parts."""
    with os_errors("list", key):
        try:
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            return
    for entry in found:
        if entry.name.startswith("."):
            continue
        below = f"{key}/{entry.name}" if key else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from files_below(below, path / entry.name)
            continue
        with os_errors("look at", below):
            is_file = entry.is_file()
        if is_file:
            yield below


def names_below(key: str, keys: Iterable[str]) -> set[str]:
    """Return the names directly below a key that are part of some of the keys."""
    cut = len(key) + 1
    return {k[cut:].partition("/")[0] for k in keys if k.startswith(f"{key}/")}


def _times(names: list[str], look: Callable[[str], os.stat_result]) -> dict[str, int]:
    try:
        # A loop would take half as long again.
        times = [
            found.st_mtime_ns if (found := look(name)).st_mode & _KIND == stat.S_IFDIR else None
            for name in names
        ]
    except OSError:  # One was deleted since it was listed, or is a link that leads to itself.
        times = [_time(name, look) for name in names]
    return _present(names, times)


def _present(names: list[str], times: list[int | None]) -> dict[str, int]:
    """Return names with their times, without those that have none."""
    listed = dict(zip(names, times, strict=True))
    if None in times:
        listed = {name: time for name, time in listed.items() if time is not None}
    return cast("dict[str, int]", listed)


def _many_times(above: str, names: list[str]) -> dict[str, int]:
    """Do as :func:`_times` through Arrow, which releases the interpreter's lock, in two threads."""
    from pyarrow.fs import LocalFileSystem

    look = LocalFileSystem().get_file_info
    paths = [above + name for name in names]
    half = len(paths) // 2
    with ThreadPoolExecutor(1) as other:
        first = other.submit(look, paths[:half])
        second = look(paths[half:])
        found = first.result() + second
    return _present(names, [info.mtime_ns for info in found])


def _time(name: str, look: Callable[[str], os.stat_result]) -> int | None:
    try:
        found = look(name)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno == errno.ELOOP:
            return None
        raise
    return found.st_mtime_ns if found.st_mode & _KIND == stat.S_IFDIR else None


def first_link(root: Path, key: str) -> str | None:
    """Return the first part of a key, from the top, that is a link; None if there is none."""
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
