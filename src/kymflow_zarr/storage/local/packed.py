"""Read-only storage of a dataset that is packed into one file (``.ozx``), without unpacking it.

The file is a ZIP of stored entries, as RFC-9 of OME-Zarr asks, so that each is read by ranges.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import weakref
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from kymflow_zarr.errors import CorruptDataError, ReadOnlyError, SchemaValidationError
from kymflow_zarr.layout import leads_out
from kymflow_zarr.storage.interface import Stat, check_key
from kymflow_zarr.storage.local.files import os_errors
from kymflow_zarr.storage.read_only import ReadOnlyStorage

_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
_MAGIC: Final = b"PK\x03\x04"
_ENCRYPTED: Final = 1


@dataclass(frozen=True, slots=True)
class _Entry:
    """One file of the archive, open for reading."""

    storage: PackedStorage
    header: int
    size: int
    crc: int

    def read(self, start: int, size: int) -> bytes:
        return self.storage.read_entry(self, start, size)


class PackedStorage(ReadOnlyStorage):
    """The storage of a packed dataset.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    SchemaValidationError
        If it is no ZIP, or has entries that are compressed, encrypted or lead out of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.location = str(path)
        self._guard = threading.Lock()
        with os_errors("open", self.location):
            self._file: BinaryIO = path.open("rb")
        # A storage that was unpickled has no owner that calls close().
        self._close = weakref.finalize(self, self._file.close)
        self._files = dict(self._listed())
        self._version = path.stat().st_mtime_ns
        self._folders: dict[str, dict[str, bool]] = {"": {}}
        for key in self._files:
            self._add_to_folders(key)

    def _listed(self) -> Iterator[tuple[str, _Entry]]:
        try:
            entries = zipfile.ZipFile(self._file).infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise SchemaValidationError(
                f"is no packed dataset: {error}", where=self.location
            ) from error
        seen = set()
        for info in entries:
            if info.is_dir():
                continue
            what = None
            if leads_out(info.filename):
                what = "leads out of it"
            elif info.filename in seen:
                what = "is there twice"
            elif info.compress_type != zipfile.ZIP_STORED or info.flag_bits & _ENCRYPTED:
                what = "is compressed or encrypted; entries are stored as they are"
            elif info.compress_size != info.file_size:
                what = "has two sizes"
            if what is not None:
                raise SchemaValidationError(
                    f"its entry {info.filename!r} {what}",
                    where=self.location,
                    hint="kymflow-zarr pack writes such files.",
                )
            seen.add(info.filename)
            yield info.filename, _Entry(self, info.header_offset, info.file_size, info.CRC)

    def _add_to_folders(self, key: str) -> None:
        parent, _, name = key.rpartition("/")
        is_folder = False
        while name not in self._folders.setdefault(parent, {}):
            self._folders[parent][name] = is_folder
            is_folder = True
            if not parent:
                return
            parent, _, name = parent.rpartition("/")

    def read_entry(self, entry: _Entry, start: int, size: int) -> bytes:
        """Return bytes of an entry, fewer at its end."""
        size = max(0, min(size, entry.size - start))
        with self._guard, os_errors("read", self.location):
            self._file.seek(entry.header)
            magic, name, extra = _LOCAL_HEADER.unpack(self._file.read(_LOCAL_HEADER.size))
            if magic != _MAGIC:
                raise CorruptDataError("an entry of the file is damaged", where=self.location)
            self._file.seek(entry.header + _LOCAL_HEADER.size + name + extra + start)
            data = self._file.read(size)
        if len(data) != size:
            raise CorruptDataError("the file was cut short", where=self.location)
        return data

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedStorage, (self.path,)

    def require_writable(self) -> None:
        """Raise ReadOnlyError."""
        raise ReadOnlyError(
            "the dataset is packed into one file, which can only be read",
            where=self.location,
            hint="ds.subset(ds.list_image_ids(), folder) makes one that can be changed.",
        )

    def read(self, key: str) -> bytes | None:
        """Return the bytes of the file at a key, None if there is none."""
        entry = self._files.get(check_key(key) if key else key)
        return None if entry is None else entry.read(0, entry.size)

    @contextlib.contextmanager
    def open(self, key: str) -> Iterator[_Entry | None]:
        """Open the file at a key to read byte ranges; yield None if there is none."""
        yield self._files.get(key)

    def stat(self, key: str) -> Stat | None:
        """Return size and version of the file or folder at a key, None if there is none."""
        entry = self._files.get(key)
        if entry is not None:
            return Stat(entry.size, entry.crc)
        return Stat(0, self._version) if key in self._folders else None

    def is_folder(self, key: str) -> bool:
        """Return True if a folder is at a key."""
        return key in self._folders

    def children(self, prefix: str) -> list[str]:
        """Return the names of the folders directly below a key."""
        return list(self.versions(prefix))

    def names(self, prefix: str) -> list[str]:
        """Return the names of all files and folders directly below a key, sorted."""
        return sorted(self._folders.get(prefix, ()))

    def versions(self, prefix: str, file: str = "") -> dict[str, int]:  # noqa: ARG002
        """Return name and version of each folder directly below a key."""
        return {
            name: self._version
            for name, is_folder in self._folders.get(prefix, {}).items()
            if is_folder and not name.startswith(".")
        }

    def walk(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """Yield key and stat of each file below a key, sorted by the parts of their keys."""
        for name in self.names(prefix):
            if name.startswith("."):
                continue
            key = f"{prefix}/{name}" if prefix else name
            if self._folders[prefix][name]:
                yield from self.walk(key)
            else:
                entry = self._files[key]
                yield key, Stat(entry.size, entry.crc)

    def settled(self) -> Callable[[int], bool]:  # type: ignore[override]
        """Return a predicate that is always True: the file does not change."""
        return lambda _: True

    def close(self) -> None:
        """Close the file."""
        self._close()
