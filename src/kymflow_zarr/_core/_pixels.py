"""An array below a group, replaceable in one step.

The group's document names the child that holds the current array. A replacement is written
beside it under the next name; rewriting the document is the commit. The array before is kept
until the replacement after, so that a reader who has just opened it can go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kymflow_zarr import _layout
from kymflow_zarr._core._documents import load
from kymflow_zarr._encodings._array import FilesDigest, array_files, array_layout, read_array
from kymflow_zarr._schema import PixelsDocument, read_array_document
from kymflow_zarr._storage import LocalStorage, open_zarr_array
from kymflow_zarr._types import ArrayLike, Axis
from kymflow_zarr.errors import CorruptDataError

if TYPE_CHECKING:
    import numpy as np
    import zarr


def write_pixels(
    array: ArrayLike,
    *,
    generation: int,
    axes: Sequence[Axis] | None,
    chunks: int | Sequence[int] | None,
    dimension_names: Sequence[str] | None,
    write: Callable[[str, bytes], None],
) -> PixelsDocument:
    """Write an array as files and return what the document is to say of it.

    Parameters
    ----------
    array : ArrayLike
        Any shape; dtypes of :func:`kymflow_zarr._encodings._array.as_array`.
    generation : int
        1 for the first array of the group, one more for each replacement.
    axes, chunks
        What the layout depends on.
    dimension_names : sequence of str, optional
    write : callable
        Takes a key below the group and bytes.
    """
    layout = array_layout(array, axes=axes, chunks=chunks)
    path = _layout.pixels_path(generation)
    digest = FilesDigest()
    for key, data in array_files(array, layout, dimension_names=dimension_names):
        write(f"{path}/{key}", data)
        digest.add(data)
    return PixelsDocument(
        path=path,
        generation=generation,
        shape=list(layout.shape),
        dtype=layout.data_type,
        chunks=list(layout.chunk_shape),
        sha256=digest.hexdigest(),
        stored_bytes=digest.stored_bytes,
    )


def load_pixels(
    storage: LocalStorage, prefix: str, current: Callable[[], PixelsDocument]
) -> np.ndarray[Any, Any]:
    """Return the current array of the group at `prefix`.

    Parameters
    ----------
    storage : LocalStorage
    prefix : str
        Key of the group.
    current : callable
        Reads what the group's document says now. It is asked again if a file is missing:
        the array may have been replaced since.
    """
    pixels = current()
    while True:
        try:
            array = _load(storage, f"{prefix}/{pixels.path}", pixels)
        except CorruptDataError:
            now = current()
            if _same(now, pixels):
                raise
        else:
            # An image deleted and added again under its id has other pixels at the same path.
            now = current()
            if _same(now, pixels):
                return array
        pixels = now


def _same(a: PixelsDocument, b: PixelsDocument) -> bool:
    return (a.path, a.sha256) == (b.path, b.sha256)


def _load(storage: LocalStorage, key: str, pixels: PixelsDocument) -> np.ndarray[Any, Any]:
    where = f"{key}/{_layout.GROUP}"
    document = load(storage, where)
    if document is None:
        raise CorruptDataError(
            "the document of the array is missing",
            where=where,
            hint="Restore it from a copy of the dataset, or ingest the image anew.",
        )
    layout = read_array_document(document, where=where)
    if layout is None:
        # Written by another program: Zarr itself knows its codecs.
        return _load_foreign(storage, key)
    if list(layout.shape) != pixels.shape or layout.data_type != pixels.dtype:
        raise CorruptDataError(
            f"the array is {layout.data_type} {layout.shape}, "
            f"its group says {pixels.dtype} {tuple(pixels.shape)}",
            where=where,
        )
    return read_array(layout, lambda name: storage.read(f"{key}/{name}"), where=key)


def _load_foreign(storage: LocalStorage, key: str) -> np.ndarray[Any, Any]:
    array: Any = open_zarr_array(storage.path(key), complete=False)
    try:
        result: np.ndarray[Any, Any] = array[...]
    except (RuntimeError, ValueError, TypeError) as error:  # What codecs raise.
        raise CorruptDataError(
            f"the array cannot be read: {error}",
            where=key,
            hint="Restore it from a copy of the dataset.",
        ) from error
    return result.astype(result.dtype.newbyteorder("="), copy=False)


def open_pixels(storage: LocalStorage, prefix: str, pixels: PixelsDocument) -> zarr.Array[Any]:
    """Return the current array of the group at `prefix`, to be read lazily."""
    return open_zarr_array(storage.path(f"{prefix}/{pixels.path}"))


def replace_pixels(
    storage: LocalStorage,
    prefix: str,
    old: PixelsDocument,
    write: Callable[[int, Callable[[str, bytes], None]], PixelsDocument],
    commit: Callable[[PixelsDocument], None],
) -> PixelsDocument:
    """Write the next generation, switch to it, drop the one before the last.

    Parameters
    ----------
    storage : LocalStorage
    prefix : str
        Key of the group.
    old : PixelsDocument
        What the group's document says now.
    write : callable
        ``write(generation, put)`` writes the array through ``put(key, data)``, as
        :func:`write_pixels` does, and returns what the document is to say.
    commit : callable
        Rewrites the group's document.
    """
    generation = old.generation + 1
    path = _layout.pixels_path(generation)
    with storage.stage() as tree:
        new = write(generation, lambda key, data: tree.write(key.removeprefix(f"{path}/"), data))
        # What a crash may have left there was never committed.
        storage.delete_tree(f"{prefix}/{path}")
        tree.commit(f"{prefix}/{path}")
    commit(new)
    for name in storage.list_folders(prefix):
        if _layout.parse_pixels_path(name) is not None and name not in {old.path, new.path}:
            storage.delete_tree(f"{prefix}/{name}")
    return new
