"""The folders in a folder with their times: one call of the system for each, and no more."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, cast

_KIND: Final = 0o170000


def folder_times(path: Path) -> dict[str, int]:
    """Return name and modification time, in ns, of each folder directly below another.

    Those whose names begin with a dot are left out; there are none where there is no folder.
    """
    try:
        if os.stat not in os.supports_dir_fd:
            # Not DirEntry.stat: what a listing says of a folder's time may be old on Windows.
            return _times(os.listdir(path), lambda name: (path / name).stat())  # noqa: PTH208
        descriptor = os.open(path, os.O_RDONLY)
        try:
            # Names below an open folder are found without walking its path again.
            look = functools.partial(os.stat, dir_fd=descriptor)
            return _times(os.listdir(descriptor), look)  # noqa: PTH208
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        return {}


def names_below(key: str, keys: Iterable[str]) -> set[str]:
    """Return the names directly below a key that some of the keys lead through."""
    cut = len(key) + 1
    return {k[cut:].partition("/")[0] for k in keys if k.startswith(f"{key}/")}


def _times(names: list[str], look: Callable[[str], os.stat_result]) -> dict[str, int]:
    try:
        # A loop would take half as long again.
        times = [
            found.st_mtime_ns if (found := look(name)).st_mode & _KIND == stat.S_IFDIR else None
            for name in names
        ]
    except FileNotFoundError:  # One was deleted since it was listed.
        times = [_time(name, look) for name in names]
    listed = dict(zip(names, times, strict=True))
    for name in [name for name, time in listed.items() if time is None or name[0] == "."]:
        del listed[name]
    return cast("dict[str, int]", listed)


def _time(name: str, look: Callable[[str], os.stat_result]) -> int | None:
    try:
        found = look(name)
    except FileNotFoundError:
        return None
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
