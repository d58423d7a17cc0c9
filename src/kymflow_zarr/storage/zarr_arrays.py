"""Open arrays of a dataset through zarr-python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kymflow_zarr.errors import CorruptDataError, StorageError
from kymflow_zarr.storage.interface import Storage

if TYPE_CHECKING:
    import zarr


def open_zarr_array(storage: Storage, key: str, *, complete: bool = True) -> zarr.Array[Any]:
    """Open an array for reading, lazily.

    Parameters
    ----------
    storage : Storage
    key : str
        Folder of the array.
    complete : bool
        True if every chunk was written, as in all our arrays: a missing chunk is then an
        error. Zarr itself would read the fill value.

    Raises
    ------
    StorageError
        If there is no array.
    CorruptDataError
        If zarr-python cannot open it.
    """
    import zarr

    from kymflow_zarr.storage.zarr_reader import checked_codecs

    if not storage.is_folder(key):
        raise StorageError("there is no array", where=key)
    store = storage.as_zarr_store(key, complete=complete)
    try:
        with zarr.config.set(checked_codecs()):
            return zarr.open_array(store=store, mode="r")
    except (ValueError, KeyError, TypeError, OverflowError, FileNotFoundError) as error:
        raise CorruptDataError(f"the array cannot be opened: {error}", where=key) from error
