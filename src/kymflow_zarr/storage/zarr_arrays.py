"""Open arrays of a dataset through zarr-python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kymflow_zarr.errors import CorruptDataError, StorageError
from kymflow_zarr.storage.interface import Storage

if TYPE_CHECKING:
    import zarr


def open_zarr_array(
    storage: Storage,
    key: str,
    *,
    complete: bool = True,
    document: Mapping[str, Any] | None = None,
) -> zarr.Array[Any]:
    """Open an array for reading, lazily.

    Parameters
    ----------
    storage : Storage
    key : str
        Folder of the array.
    complete : bool
        True if every chunk was written, as in all our arrays: a missing chunk is then an
        error. Zarr itself would read the fill value.
    document : mapping, optional
        The parsed ``zarr.json`` of the array. None lets zarr-python find and read the document.

    Raises
    ------
    StorageError
        If there is no array.
    CorruptDataError
        If zarr-python cannot open it.
    """
    import zarr
    from zarr.storage import StorePath

    from kymflow_zarr.storage.zarr_reader import checked_codecs

    if document is None and not storage.is_folder(key):
        raise StorageError("there is no array", where=key)
    store = storage.as_zarr_store(key, complete=complete)
    try:
        with zarr.config.set(checked_codecs()):
            if document is None:
                return zarr.open_array(store=store, mode="r")
            # This skips a task in another thread that reads the document.
            return zarr.Array.from_dict(StorePath(store), dict(document))
    except (ValueError, KeyError, TypeError, OverflowError, FileNotFoundError) as error:
        raise CorruptDataError(f"the array cannot be opened: {error}", where=key) from error
