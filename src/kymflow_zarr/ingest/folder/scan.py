"""What is in a folder: one walk, one look at each file, nothing opened."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from kymflow_zarr.ingest.digest import sha256_of_file
from kymflow_zarr.layout import LITTER


@dataclass(frozen=True, slots=True)
class Found:
    """A file of a scanned folder.

    Parameters
    ----------
    path : Path
        Absolute, links of the folder itself resolved.
    rel_path : str
        Path below the scanned folder, with ``/``.
    size_bytes, mtime_ns : int
    """

    path: Path
    rel_path: str
    size_bytes: int
    mtime_ns: int
    _sha256: list[str] = field(default_factory=list, compare=False, repr=False)

    def sha256(self) -> str:
        """Return the SHA-256 of the file, which is read for it only once.

        Whoever relies on it checks at the end that the file has settled.
        """
        if not self._sha256:
            self._sha256.append(sha256_of_file(self.path))
        return self._sha256[0]

    @property
    def is_digested(self) -> bool:
        """Whether :meth:`sha256` is known."""
        return bool(self._sha256)

    def learn(self, sha256: str) -> None:
        """Take over what another has found :meth:`sha256` to be."""
        self._sha256[:] = [sha256]

    @property
    def stem(self) -> str:
        """Name of the file without its last suffix."""
        return self.path.stem


@dataclass(frozen=True, slots=True)
class Scan:
    """What a walk of a folder found.

    Parameters
    ----------
    files : list of Found
        In order of their paths.
    unreadable : list of (str, str)
        Folders and files that could not be looked at, and why.
    """

    files: list[Found]
    unreadable: list[tuple[str, str]]


def scan_folder(root: Path) -> Scan:
    """Walk a folder; hidden files, desktop litter and Zarr stores are left out."""
    scan = Scan([], [])
    _walk(root.resolve(), "", scan)
    return scan


def look_at(path: Path, root: Path | None = None) -> Found:
    """Return one file as a scan of its folder, or of `root`, would.

    Raises
    ------
    OSError
        If it is not there.
    """
    here = path.resolve()
    stat = here.stat()
    top = here.parent if root is None else root.resolve()
    return Found(here, here.relative_to(top).as_posix(), stat.st_size, stat.st_mtime_ns)


def scan_siblings(path: Path) -> list[Found]:
    """Return the files that may belong to one: those of its folder and one level below."""
    scan = Scan([], [])
    _walk(path.resolve().parent, "", scan, depth=1)
    return scan.files


def _walk(folder: Path, prefix: str, scan: Scan, depth: int = 1000) -> None:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        scan.unreadable.append((str(folder), f"the folder cannot be read: {error.strerror}"))
        return
    for entry in found:
        if entry.name.startswith(".") or entry.name in LITTER:
            continue
        rel_path = f"{prefix}{entry.name}"
        try:
            if entry.is_dir(follow_symlinks=False):
                if depth and not _is_store(Path(entry.path)):
                    _walk(Path(entry.path), f"{rel_path}/", scan, depth - 1)
            elif entry.is_file():
                stat = entry.stat()
                path = Path(entry.path)
                scan.files.append(Found(path, rel_path, stat.st_size, stat.st_mtime_ns))
            elif entry.is_symlink():
                why = "is a link to a folder, which is not followed"
                leads = entry.is_dir()
                scan.unreadable.append((entry.path, why if leads else "the link leads nowhere"))
        except FileNotFoundError:
            continue  # Gone since it was listed.
        except OSError as error:
            scan.unreadable.append((entry.path, f"cannot be looked at: {error.strerror}"))


def _is_store(folder: Path) -> bool:
    try:
        return any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))
    except PermissionError:
        return False  # The walk says that it cannot be read.
