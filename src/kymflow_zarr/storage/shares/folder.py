"""The objects of a dataset as files of a folder that several hosts share.

Locks do not reach across hosts on all shares, but ``link()`` has one winner on all of them. So a
head is a folder of numbered files, each written elsewhere and then linked to the next number:
that number is free for one writer alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from kymflow_zarr.errors import StorageError
from kymflow_zarr.storage.interface import check_key
from kymflow_zarr.storage.local.disk import disk, register_root
from kymflow_zarr.storage.local.files import (
    FileParts,
    first_link,
    os_errors,
    read_file,
    refused_link,
)
from kymflow_zarr.storage.object.heads import HEADS, TOP
from kymflow_zarr.storage.object.requests import Listed, Objects

_STAGED: Final = "staged"
_PROBE: Final = "probe"
KEPT: Final = 16
"""How many files of a head are kept, so that who reads from a list finds what it names."""
_ATTEMPTS: Final = 20
# A file that another host replaced or deleted while this one had it in its cache.
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})
# NFS and FUSE rename a file that is deleted while it is open.
_SILLY: Final = re.compile(r"\.(nfs|fuse_hidden)[0-9A-Fa-f]{8,}")
_VERBS: Final = {"get": "read", "put": "write", "list": "list", "delete": "delete"}
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


class SharedFolder(Objects):
    """The objects of one dataset in a folder.

    Parameters
    ----------
    root : Path
        The dataset's folder.
    durable : bool
        True if the names of files must survive a power cut when a call returns. Their content
        is fsynced either way.

    Attributes
    ----------
    address : str
        The path of the folder.
    requests : dict of str to int
        How many operations of each kind were made.
    bytes_read, bytes_written : int
    """

    replaces_if_unchanged = False

    def __init__(self, root: Path, *, durable: bool) -> None:
        self.root = root
        self.address = str(root)
        self._durable = durable
        self.requests: dict[str, int] = {}
        self.bytes_read = self.bytes_written = 0
        self._counting = threading.Lock()
        register_root(root)

    def __repr__(self) -> str:
        return f"SharedFolder({self.address!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.address, self._durable)

    def close(self) -> None:
        """Do nothing: no file is open between two calls."""

    # Reading ---------------------------------------------------------------------------

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return the bytes of an object and its tag, None if there is none."""
        with self.request("get", name):
            if _is_numbered(name):
                newest = self._newest(name)
                data, tag = (None, "") if newest is None else (newest[1], _tag(*newest))
            else:
                data, tag = self._read(self._path(name), name), ""
        if data is None:
            return None
        self.bytes_read += len(data)
        return data, tag

    def get_range(self, name: str, start: int, size: int) -> bytes | None:
        """Return bytes of an object, fewer at its end; None if there is no object."""
        with self.request("get", name):
            self._refuse_links(name, "read")
            for _ in range(2):
                with _gone():
                    file = FileParts(str(self._path(name)), name)
                    with contextlib.closing(file):
                        data = file.read(start, size)
                    self.bytes_read += len(data)
                    return data
        return None

    def head(self, name: str) -> tuple[int, str] | None:
        """Return size and tag of an object, None if there is none."""
        stored = self.get(name)
        return None if stored is None else (len(stored[0]), stored[1])

    def list_below(self, prefix: str) -> Iterator[Listed]:
        """Yield the objects whose names begin with a prefix that ends with a slash, or is empty."""
        top = prefix.rstrip("/")
        with self.request("list", top):
            yield from self._listed(self._path(top) if top else self.root, top)

    def _listed(self, folder: Path, name: str) -> Iterator[Listed]:
        for entry in _entries(folder):
            below = f"{name}/{entry.name}" if name else entry.name
            with _gone():
                if not entry.is_dir(follow_symlinks=False):
                    if not entry.is_symlink():
                        status = entry.stat()
                        yield Listed(below, status.st_size, str(status.st_mtime_ns),
                                     status.st_mtime)  # fmt: skip
                elif _is_numbered(numbered := _name_of(below)):
                    number = max(_numbers(folder / entry.name), default=0)
                    if number:
                        status = (folder / entry.name / _file_of(number)).stat()
                        yield Listed(numbered, status.st_size, f"{number}.{status.st_size}",
                                     status.st_mtime)  # fmt: skip
                else:
                    yield from self._listed(folder / entry.name, below)

    def top_names(self) -> list[str]:
        """Return the names at the top of the dataset's folder, without hidden ones."""
        with self.request("list", ""):
            return [entry.name for entry in _entries(self.root) if entry.name[0] != "."]

    def _read(self, path: Path, name: str) -> bytes | None:
        self._refuse_links(name, "read")
        for _ in range(2):  # A stale handle is looked up again by the second call.
            with _gone(), contextlib.suppress(IsADirectoryError):
                return read_file(str(path), name)
        return None

    def _newest(self, name: str) -> tuple[int, bytes] | None:
        """Return number and content of the newest file of a head, None if there is no head."""
        folder = self._path(name)
        for _ in range(_ATTEMPTS):
            # Opening a folder makes the client of a share ask whether its list is current.
            number = max(_numbers(folder), default=0)
            if not number:
                return None
            data = self._read(folder / _file_of(number), name)
            while data is not None:
                later = self._read(folder / _file_of(number + 1), name)
                if later is None:
                    return number, data
                number, data = number + 1, later
        raise StorageError(
            "the share lists files of it that are not there any more",
            where=str(folder),
            hint="Call again; if that does not help, mount the share with shorter caching of "
            "attributes (actimeo=1 of NFS and SMB).",
        )

    def _refuse_links(self, name: str, done: str) -> None:
        link = first_link(self.root, check_key(name))
        if link is not None:
            raise refused_link(link, done)

    # Writing ---------------------------------------------------------------------------

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Put an object, replacing one of that name."""
        if _is_numbered(name):
            current = self.get(name)
            self.put_if(name, bytes(data), None if current is None else current[1])
            return
        with self.request("put", name):
            self._place(data, self._path(name), replace=True)

    def put_if(self, name: str, data: bytes, tag: str | None) -> str | None:
        """Put an object if its tag is still `tag`, or, with None, if there is none.

        Heads are the only objects that are replaced under a condition; others are replaced in
        any case, since no file system can.

        Returns
        -------
        str or None
            The new tag; None if the condition did not hold.
        """
        with self.request("put", name):
            if not _is_numbered(name):
                path = self._path(name)
                return "put" if self._place(data, path, replace=tag is not None) else None
            before = 0 if tag is None else int(tag.partition(".")[0])
            folder = self._path(name)
            if not self._place(data, folder / _file_of(before + 1), replace=False):
                return None
            if not self._is_successor(name, folder, before):
                return None
            self._forget(folder, before + 1 - KEPT)
        return _tag(before + 1, data)

    def _is_successor(self, name: str, folder: Path, before: int) -> bool:
        """Return True if no other writer had linked the number after `before` already.

        If this writer's list was old, that number may have been linked and deleted before. Files
        are deleted in the order of their numbers, so it was not if its predecessor is there.
        """
        if before == 0:
            return True  # The first file of a head is never deleted.
        latest = max(_numbers(folder), default=0)
        if self._read(folder / _file_of(before), name) is not None:
            # With a later number, the head tells by `recent` whether that was built on ours.
            return latest <= before + 1
        with _gone():
            disk().unlink(folder / _file_of(before + 1))
        return False

    def _forget(self, folder: Path, last: int) -> None:
        """Delete the files of a head up to a number, without the first, in ascending order."""
        if last > 1:
            for number in sorted(_numbers(folder)):
                if 1 < number <= last:
                    with _gone():
                        disk().unlink(folder / _file_of(number))

    def delete(self, names: list[str]) -> None:
        """Delete objects; those that are not there are no error."""
        for name in names:
            with self.request("delete", name):
                path = self._path(check_key(name))
                with _gone():
                    if _is_numbered(name):
                        disk().remove_tree(path)
                    else:
                        disk().unlink(path)
                for parent in path.relative_to(self.root).parents[:-1]:
                    # It is not empty, or holds a file that a host has open and NFS renamed.
                    try:
                        disk().remove_folder(self.root / parent)
                    except OSError:
                        break

    def _place(self, data: bytes | memoryview, path: Path, *, replace: bool) -> bool:
        """Give a new file its name, at which it appears whole; False if that is taken."""
        self._refuse_links(path.relative_to(self.root).as_posix(), "written")
        staged = self.root / _STAGED / uuid.uuid4().hex
        for attempt in range(_ATTEMPTS):
            try:
                self._make(staged.parent)
                self._make(path.parent)
                if not os.path.lexists(staged):
                    disk().create(staged, data)
                    disk().sync(staged)
                done = self._named(staged, path, replace=replace)
            except OSError as error:
                # Another writer may have deleted a folder that was empty.
                if error.errno not in _GONE or attempt == _ATTEMPTS - 1:
                    self._drop(staged)
                    raise
            else:
                break
        if done and self._durable:
            disk().sync_folder(path.parent)
        if not (done and replace):
            self._drop(staged)
        self.bytes_written += len(data)
        return done

    def _named(self, staged: Path, path: Path, *, replace: bool) -> bool:
        if replace:
            disk().replace(staged, path)
            return True
        try:
            disk().link(staged, path)
        except FileExistsError:
            # The answer of the server may have been lost, and the client has asked again.
            return staged.stat().st_nlink > 1
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise StorageError(
                    "the file system has no hard links, by which hosts agree on who writes",
                    where=self.address,
                    hint="Put the dataset on a share that has them (NFS, most SMB servers, "
                    "GlusterFS, ...), or in a bucket; or make it without shared=True and write "
                    "from one host alone.",
                ) from error
            raise
        return True

    def _drop(self, staged: Path) -> None:
        with contextlib.suppress(OSError):
            disk().unlink(staged)

    def _make(self, folder: Path) -> None:
        """Make a folder and its parents, and the names of new ones durable."""
        if folder.is_dir():
            return
        if folder != self.root:
            self._make(folder.parent)
        elif not folder.parent.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            disk().make_folder(folder)
        if folder == self.root:
            register_root(folder)
        if self._durable:
            disk().sync_folder(folder.parent)

    # Helpers ---------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        parts = name.removesuffix(".json") if _is_numbered(name) else name
        return self.root.joinpath(*parts.split("/"))

    @contextlib.contextmanager
    def request(self, kind: str, name: str) -> Iterator[None]:
        """Do what one request does in the ``with`` block: count it, and name the file in errors.

        Tests override this to lose answers.
        """
        with self._counting:
            self.requests[kind] = self.requests.get(kind, 0) + 1
        with os_errors(_VERBS[kind], f"{self.address}/{name}"):
            yield


class _gone:  # noqa: N801 - used as a function, as contextlib.suppress is
    """Ignore that a file is not there, or is not any more."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, OSError) and error.errno in _GONE


def _is_numbered(name: str) -> bool:
    """Return True if an object is a folder of numbered files: it is replaced if unchanged."""
    return name.startswith((f"{HEADS}/", f"{_PROBE}/")) and name.endswith(".json")


def _name_of(folder: str) -> str:
    """Return the name of the object that a folder of numbered files is."""
    parts = folder.split("/")
    is_head = folder == f"{HEADS}/{TOP}" or (len(parts) == 3 and parts[0] == HEADS)
    is_probe = len(parts) == 2 and parts[0] == _PROBE
    return f"{folder}.json" if is_head or is_probe else folder


def _file_of(number: int) -> str:
    return f"{number}.json"


def _tag(number: int, data: bytes) -> str:
    return f"{number}.{len(data)}"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, sorted, without deleted files that a host has open."""
    for _ in range(2):
        with _gone(), os.scandir(folder) as entries:
            shown = [entry for entry in entries if not _SILLY.fullmatch(entry.name)]
            return sorted(shown, key=lambda entry: entry.name)
    return []


def _numbers(folder: Path) -> list[int]:
    """Return the numbers of the files of a head, unsorted."""
    for _ in range(2):
        with _gone():
            names = os.listdir(folder)  # noqa: PTH208 - names alone
            stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
            return [int(stem) for stem in stems if stem.isascii() and stem.isdigit()]
    return []


def _reopened(address: str, durable: bool) -> SharedFolder:
    return SharedFolder(Path(address), durable=durable)
