"""The work folder of a dataset, ``.kymflow_zarr``, which holds sessions, journals and locks.

Recovery deletes and replaces files according to this folder, so its content is not trusted: names
that no writer of ours makes are ignored, and a link or device in place of a folder or file of a
writer is left alone and makes writing an error.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import Final

from kymflow_zarr import layout
from kymflow_zarr.errors import StorageError
from kymflow_zarr.storage.local.disk import disk

WORK_FOLDERS: Final = ("sessions", "journal", "locks")
SESSION_NAME: Final = re.compile(r"[0-9a-f]{32}")
LOCK_SUFFIX: Final = ".lock"
# A deletion writes a journal and a list of checksums, so it needs room even on a full disk.
_RESERVE: Final = "reserve"
_RESERVE_BYTES: Final = 1 << 16
_SESSION_ENTRY: Final = re.compile(rf"([0-9a-f]{{32}})(?:{re.escape(LOCK_SUFFIX)})?")
_JOURNAL_NAME: Final = re.compile(r"[0-9a-f]{32}-[0-9a-f]+\.json")


def work_folder(root: Path, name: str) -> Path:
    """Return a folder below ``.kymflow_zarr``, created if it does not exist.

    Raises
    ------
    StorageError
        If it is a link, or not a folder.
    """
    folder = root / layout.WORK / name
    if not _is_folder(folder.parent) or not _is_folder(folder):
        # Not parents=True: a deleted dataset must not partly reappear.
        for path in (folder.parent, folder):
            with contextlib.suppress(FileExistsError):
                disk().make_folder(path)
            if not _is_folder(path):
                raise _not_a_folder(path)
    return folder


def keep_reserve(root: Path) -> None:
    """Reserve room for deletions, if the disk has it."""
    path = root / layout.WORK / _RESERVE
    if not os.path.lexists(path):
        with contextlib.suppress(OSError):
            # Random bytes, which no file system can compress.
            disk().create(path, os.urandom(_RESERVE_BYTES))


def make_room(root: Path) -> bool:
    """Delete the reserve, or else the index; return False if neither exists."""
    with contextlib.suppress(FileNotFoundError):
        disk().unlink(root / layout.WORK / _RESERVE)
        return True
    with contextlib.suppress(FileNotFoundError):
        disk().remove_tree(root / layout.INDEX)
        return True
    return False


def names_in(root: Path, name: str) -> list[str]:
    """Return the names in a folder below ``.kymflow_zarr``, sorted; none if it is not a folder.

    Links are not followed; writers refuse a dataset with links here, see
    :func:`entries_of_unknown_origin`.
    """
    folder = root / layout.WORK / name
    return sorted(_names(folder)) if _is_folder(folder.parent) else []


def session_names(root: Path) -> list[str]:
    """Return the names of the sessions that have a folder or a lock file."""
    matches = map(_SESSION_ENTRY.fullmatch, names_in(root, "sessions"))
    return sorted({match[1] for match in matches if match is not None})


def journal_names(root: Path) -> list[str]:
    """Return the names of the journals."""
    return [name for name in names_in(root, "journal") if _JOURNAL_NAME.fullmatch(name)]


def entries_of_unknown_origin(root: Path) -> list[str]:
    """Return the keys of work folder entries that conflict with what a writer makes there.

    Files and folders with names that no writer uses are harmless and not included.
    """
    for folder in (layout.WORK, *(f"{layout.WORK}/{name}" for name in WORK_FOLDERS)):
        path = root.joinpath(*folder.split("/"))
        if os.path.lexists(path) and not _is_folder(path):
            return [folder]
    keys = []
    for folder in WORK_FOLDERS:
        with (
            contextlib.suppress(FileNotFoundError),
            os.scandir(root / layout.WORK / folder) as entries,
        ):
            keys += [
                f"{layout.WORK}/{folder}/{entry.name}"
                for entry in entries
                if not _is_harmless(folder, entry)
            ]
    return sorted(keys)


def foreign_entries(root: Path) -> list[str]:
    """Return the keys of files and folders that other programs put into the work folder."""
    entries = {
        (layout.WORK, name) for name in _names(root / layout.WORK) - {*WORK_FOLDERS, _RESERVE}
    }
    for folder in WORK_FOLDERS:
        for name in _names(root / layout.WORK / folder):
            is_session = folder == "sessions" and SESSION_NAME.fullmatch(name) is not None
            if not is_session and not _is_own_file(folder, name):
                entries.add((f"{layout.WORK}/{folder}", name))
    return sorted(f"{folder}/{name}" for folder, name in entries)


def _names(folder: Path) -> set[str]:
    with contextlib.suppress(FileNotFoundError):
        return set(os.listdir(folder)) if _is_folder(folder) else set()  # noqa: PTH208
    return set()


def _is_harmless(folder: str, entry: os.DirEntry[str]) -> bool:
    if entry.is_dir(follow_symlinks=False):
        return not _is_own_file(folder, entry.name)
    is_session = folder == "sessions" and SESSION_NAME.fullmatch(entry.name) is not None
    # Anything else is a link, a device, a named pipe or a socket.
    return entry.is_file(follow_symlinks=False) and not is_session


def _is_own_file(folder: str, name: str) -> bool:
    if folder == "journal":
        return _JOURNAL_NAME.fullmatch(name) is not None
    return name.endswith(LOCK_SUFFIX)


def _mode(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(_mode(path))


def _not_a_folder(path: Path) -> StorageError:
    return StorageError(
        "a part of the dataset's work folder is not a folder, or a link to one",
        where=str(path),
        hint="Delete it, and open the dataset again: the folder is made when it is needed.",
    )
