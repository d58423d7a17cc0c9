"""Copies of files of other storages, for callers that need a file on a local disk."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from pathlib import Path

from kymflow_zarr.errors import StorageError
from kymflow_zarr.storage.interface import Storage


def local_copy(storage: Storage, key: str) -> Path:
    """Return the path of a copy of a file, made once for each version, until the program ends.

    Raises
    ------
    StorageError
        If there is no such file.
    """
    stat = storage.stat(key)
    data = None if stat is None else storage.read(key)
    if data is None:
        raise StorageError("the file is not there", where=key)
    name = hashlib.sha256(f"{storage.location}\0{key}\0{stat}".encode()).hexdigest()
    path = Path(_folder().name, name)
    if not path.exists():
        new = path.with_name(f"{name}-{id(data)}")
        new.write_bytes(data)
        new.replace(path)
    return path


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kymflow_zarr-", ignore_cleanup_errors=True)
