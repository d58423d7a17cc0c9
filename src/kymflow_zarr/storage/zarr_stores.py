"""Hand out arrays through zarr-python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kymflow_zarr.errors import CorruptDataError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

    import zarr


def open_zarr_array(path: Path, *, complete: bool = True) -> zarr.Array[Any]:
    """Open an array for reading, lazily.

    Parameters
    ----------
    path : Path
        Folder of the array.
    complete : bool
        Whether each of its chunks was written, as in all arrays of ours. A missing chunk
        is then an error; for Zarr alone it would be zeros.

    Raises
    ------
    StorageError
        If there is no array.
    """
    import zarr

    from kymflow_zarr.storage.blosc import CODEC, BloscStore
    from kymflow_zarr.storage.complete_store import CompleteStore

    if not path.is_dir():
        raise StorageError("there is no array", where=str(path))
    store: zarr.storage.LocalStore
    if _has_blosc_v2(path):
        store = BloscStore(path, read_only=True)
    else:
        store = CompleteStore(path) if complete else zarr.storage.LocalStore(path, read_only=True)
    try:
        with zarr.config.set(CODEC):
            return zarr.open_array(store=store, mode="r")
    except (ValueError, KeyError, TypeError, OverflowError, FileNotFoundError) as error:
        raise CorruptDataError(f"the array cannot be opened: {error}", where=str(path)) from error


def _has_blosc_v2(path: Path) -> bool:
    # Zarr v2: the compressor comes last, so a chunk file begins with its header.
    document = path / ".zarray"
    return document.is_file() and b"blosc" in document.read_bytes()
