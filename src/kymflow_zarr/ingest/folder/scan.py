"""Scan a folder with one walk and one ``stat`` per file, without opening files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.layout import is_litter
from kymflow_zarr.types import StrPath

RENAME_HINT: Final = "Rename it."
# Documents at the top of a Zarr store, of version 3 and of version 2.
_OF_A_STORE: Final = frozenset({"zarr.json", ".zgroup", ".zarray"})


def sha256_of_file(path: StrPath) -> str:
    """Return the SHA-256 digest of a file, read in pieces, as 64 hex digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file of a scanned folder.

    Parameters
    ----------
    full_path : str
        Absolute, links of the folder itself resolved. Text, since a scan that finds nothing
        new needs no :attr:`path`, and making 10,000 of them takes longer than the scan.
    rel_path : str
        Path below the scanned folder, with ``/``.
    size_bytes, mtime_ns : int
    """

    full_path: str
    rel_path: str
    size_bytes: int
    mtime_ns: int
    _sha256: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Path(self.full_path)

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.rel_path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """Path of its folder below the scanned folder, "" for that folder itself."""
        return self.rel_path.rpartition("/")[0]

    @property
    def stem(self) -> str:
        """Name of the file without its last suffix."""
        return self.name.rpartition(".")[0] or self.name

    def sha256(self) -> str:
        """Return the SHA-256 of the file; read the file at the first call only.

        A caller that relies on the digest checks afterwards that the file has not changed.
        """
        if not self._sha256:
            self._sha256.append(sha256_of_file(self.path))
        return self._sha256[0]

    @property
    def is_digested(self) -> bool:
        """Whether the digest has already been computed."""
        return bool(self._sha256)

    def learn(self, sha256: str) -> None:
        """Set the digest that another reader has computed."""
        self._sha256[:] = [sha256]


@dataclass(frozen=True)
class Scan:
    """The result of a folder scan.

    Parameters
    ----------
    listing : list of (str, str, int, int)
        Of each file its full path, path below the scanned folder, size in bytes and time of
        modification in ns, in order of their paths.
    unreadable : list of (str, str)
        Links and folders that could not be followed or read, and why.
    no_files : list of (str, str)
        Path of each named pipe, socket and device, and what it is.
    misnamed : list of (str, str)
        Files whose names are not valid Unicode, which no document can hold, and why.
    unlisted : list of str
        Folders that could not be listed; the state of the files in them is unknown.
    """

    listing: list[tuple[str, str, int, int]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    misnamed: list[tuple[str, str]] = field(default_factory=list)
    no_files: list[tuple[str, str]] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)

    @functools.cached_property
    def files(self) -> list[ScannedFile]:
        """The files of the listing, made when they are needed: a scan of known files needs none."""
        return [ScannedFile(*each) for each in self.listing]


def scan_folder(root: Path) -> Scan:
    """Walk a folder; hidden files, desktop litter and Zarr stores are left out.

    Raises
    ------
    SourceFileError
        If the folder's own path is not valid Unicode.
    """
    scan = Scan()
    _walk(str(_named(root.resolve())), "", scan)
    return scan


def look_at(path: Path, root: Path | None = None) -> ScannedFile:
    """Return one file as a scan of its folder, or of `root`, would return it.

    Links in the folder's path are resolved, but not the file itself: a file that git-annex or DVC
    has replaced by a link is known by its name in the folder.

    Raises
    ------
    OSError
        If it does not exist.
    SourceFileError
        If its path is not valid Unicode.
    """
    here = _named(path.parent.resolve() / path.name)
    stat = here.stat()
    top = here.parent if root is None else root.resolve()
    return ScannedFile(str(here), here.relative_to(top).as_posix(), stat.st_size, stat.st_mtime_ns)


def scan_siblings(path: Path) -> Scan:
    """Walk the folder of a file and its direct subfolders, where its sidecars lie."""
    scan = Scan()
    _walk(str(path.parent), "", scan, depth=1)
    return scan


def is_gone(path: StrPath) -> bool:
    """Return True if a file does not exist, False if it does or if that is unknown.

    Raises
    ------
    OSError
        If the operating system refuses to say.
    """
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except ValueError:  # The path has a null byte, as paths of foreign systems may.
        return True
    return False


def is_unicode(name: str) -> bool:
    """Return True if a name is valid UTF-8 (Python marks invalid bytes as surrogates)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def spelled_out(path: StrPath) -> str:
    """Return a path for display, with invalid UTF-8 bytes escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _named(path: Path) -> Path:
    if not is_unicode(str(path)):
        raise SourceFileError(
            "the path is not valid Unicode", where=spelled_out(path), hint=RENAME_HINT
        )
    return path


def _walk(folder: str, prefix: str, scan: Scan, depth: int = 1000) -> None:
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        return  # Deleted since it was listed.
    except OSError as error:
        scan.unlisted.append(folder)
        scan.unreadable.append((folder, f"the folder cannot be read: {error.strerror}"))
        return
    if prefix and _is_store(listed):
        return
    for entry in listed:
        name = entry.name
        if name[0] == "." or is_litter(name):
            continue
        rel_path = f"{prefix}{name}"
        try:
            if entry.is_dir(follow_symlinks=False):
                if not (name.isascii() or is_unicode(name)):
                    why = f"the folder's name is not valid Unicode. {RENAME_HINT}"
                    scan.unreadable.append((spelled_out(entry.path), why))
                elif depth:
                    _walk(entry.path, f"{rel_path}/", scan, depth - 1)
            elif entry.is_file():
                if not (name.isascii() or is_unicode(name)):
                    why = f"the file's name is not valid Unicode. {RENAME_HINT}"
                    scan.misnamed.append((spelled_out(entry.path), why))
                    continue
                stat = entry.stat()
                scan.listing.append((entry.path, rel_path, stat.st_size, stat.st_mtime_ns))
            elif entry.is_symlink():
                scan.unreadable.append((spelled_out(entry.path), _where_it_leads(entry)))
            else:
                why = "is no file, but a named pipe, a socket or a device"
                scan.no_files.append((spelled_out(entry.path), why))
        except FileNotFoundError:
            continue  # Deleted since it was listed.
        except OSError as error:
            scan.unreadable.append(
                (spelled_out(entry.path), f"cannot be looked at: {error.strerror}")
            )


def _where_it_leads(entry: os.DirEntry[str]) -> str:
    if entry.is_dir():
        return "is a link to a folder, which is not followed"
    return "the link leads to no file" if os.path.exists(entry.path) else "the link leads nowhere"  # noqa: PTH110 - as above


def _is_store(listed: Iterable[os.DirEntry[str]]) -> bool:
    """Return True if the entries of a folder are those of a Zarr store."""
    with contextlib.suppress(OSError):  # The walk reports it.
        return any(entry.name in _OF_A_STORE and entry.is_file() for entry in listed)
    return False
