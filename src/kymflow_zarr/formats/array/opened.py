"""Arrays of ours that are open for reading, as zarr-python's. Imports zarr: import it late."""

from __future__ import annotations

from typing import Any, Final

import zarr

from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.formats.array.read import (
    ChunkCache,
    Selection,
    files_of,
    parse_selection,
    read_selection,
)
from kymflow_zarr.schema.array import ArrayDocument
from kymflow_zarr.storage.interface import Storage

_CACHED_BYTES: Final = 8 << 20
_HINT: Final = (
    "If the pixels were replaced meanwhile, call open_array() again; otherwise restore the file "
    "from a copy of the dataset, or ingest the image again."
)


class OpenedArray(zarr.Array[Any]):
    """A :class:`zarr.Array` that reads slices itself, five times as fast, and caches chunks.

    Other selections, and everything else, are zarr-python's.

    Parameters
    ----------
    array : zarr.Array
    layout : ArrayDocument
    storage : Storage
    key : str
        Key of the array.
    """

    def __init__(
        self, array: zarr.Array[Any], layout: ArrayDocument, storage: Storage, key: str
    ) -> None:
        super().__init__(array.async_array)
        self._layout = layout
        self._storage = storage
        self._key = key
        self._cache: ChunkCache = ChunkCache(storage, _CACHED_BYTES)

    def __getitem__(self, selection: Any) -> Any:
        """Return a selection of the array, as :class:`zarr.Array` does."""
        wanted = _plain_selection(selection, self._layout.shape)
        if wanted is None:
            return super().__getitem__(selection)
        return read_selection(
            self._layout, files_of(self._storage, self._key, self._layout), wanted,
            where=self._key, cache=self._cache, hint=_HINT,
        )  # fmt: skip

    def with_config(self, config: Any) -> zarr.Array[Any]:
        """Return the array with another configuration of zarr-python, which reads it alone."""
        return zarr.Array(self.async_array.with_config(config))


def _plain_selection(selection: object, shape: tuple[int, ...]) -> Selection | None:
    """Return a selection of slices and numbers; None if zarr-python must decide about it.

    zarr-python returns a scalar for one element, and refuses negative steps and indices out of
    bounds with errors of its own.
    """
    try:
        wanted = parse_selection(selection, shape)
    except KymflowZarrError:
        return None
    scalar = all(isinstance(turn, int) for turn in wanted.turn)
    turned = any(isinstance(turn, slice) and turn.step is not None for turn in wanted.turn)
    return None if scalar or turned else wanted
