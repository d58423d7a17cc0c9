"""Arrays below a group that can be replaced atomically.

The group's document names the child that holds the current array. A replacement is written
beside it under the next name; rewriting the document is the commit. The previous array is kept
until the next replacement, so that a reader that has just opened it can continue.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from kymflow_zarr import layout as keys
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import CurrentImage, load, utc_now
from kymflow_zarr.errors import ArgumentError, CorruptDataError, KymflowZarrError
from kymflow_zarr.formats.array.foreign import check_foreign_array, check_foreign_size
from kymflow_zarr.formats.array.read import files_of, parse_selection, read_array
from kymflow_zarr.formats.array.write import FilesDigest, array_files, array_layout
from kymflow_zarr.runtime.background import Content
from kymflow_zarr.runtime.limits import check_limit
from kymflow_zarr.schema.array import ArrayDocument, read_array_document
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.schema.image import (
    ArrayArtifactDocument,
    ImageDocument,
    PixelsDocument,
    PyramidDocument,
)
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.zarr_arrays import open_zarr_array
from kymflow_zarr.types import ArrayLike, Axis, Level

if TYPE_CHECKING:
    import numpy as np
    import zarr


LARGE_PLANE: Final = 1 << 22
"""Pixels of a plane; larger ones get levels. A large screen shows 4 million at once."""


class Tree(Protocol):
    """A folder of staged files: a staged folder of the storage, or one below it."""

    def write(self, key: str, data: Content) -> FileSum:
        """Write a file at a key below the folder; return its size and digest."""

    def read(self, key: str) -> bytes:
        """Return the bytes of a file that was written."""


@dataclass(frozen=True)
class Below:
    """A folder below another tree."""

    tree: Tree
    prefix: str

    def write(self, key: str, data: Content) -> FileSum:
        """Write a file at a key below the folder; return its size and digest."""
        return self.tree.write(f"{self.prefix}/{key}", data)

    def read(self, key: str) -> bytes:
        """Return the bytes of a file that was written."""
        return self.tree.read(f"{self.prefix}/{key}")


class Target:
    """Where the arrays of a group are written.

    Parameters
    ----------
    generation : int
        1 for the first array of the group, incremented by each replacement.
    stage : callable
        ``stage(name)`` stages a folder of that name below the group.
    """

    def __init__(self, generation: int, stage: Callable[[str], Tree]) -> None:
        self.generation = generation
        self._stage = stage
        self._trees: dict[str, Tree] = {}

    def tree(self, name: str) -> Tree:
        """Return the staged folder of a name below the group."""
        if name not in self._trees:
            self._trees[name] = self._stage(name)
        return self._trees[name]


def new_target(tree: Tree) -> Target:
    """Return the target of a new group, which is staged as a whole."""
    return Target(1, lambda name: Below(tree, name))


def write_pixels(
    array: ArrayLike,
    target: Target,
    *,
    axes: Sequence[Axis] | None,
    chunks: int | Sequence[int] | None,
    dimension_names: Sequence[str] | None,
) -> PixelsDocument:
    """Write an array as files and return its description for the document.

    Parameters
    ----------
    array : ArrayLike
        Any shape; dtypes of :func:`kymflow_zarr.formats.array.write.as_array`.
    target : Target
    axes, chunks
        As for :func:`kymflow_zarr.formats.array.write.plan_layout`.
    dimension_names : sequence of str, optional
    """
    path = keys.pixels_path(target.generation)
    layout = array_layout(array, axes=axes, chunks=chunks)
    return write_array(
        array, layout, target.tree(path), path=path, generation=target.generation,
        dimension_names=dimension_names,
    )  # fmt: skip


def write_array(
    array: ArrayLike,
    layout: ArrayDocument,
    tree: Tree,
    *,
    path: str,
    generation: int,
    dimension_names: Sequence[str] | None,
) -> PixelsDocument:
    """Write an array of a given layout into a staged folder; return its description."""
    digest = FilesDigest()
    for key, data in array_files(array, layout, dimension_names=dimension_names):
        digest.add(tree.write(key, data))
        del data  # Free it before the next one is made.
    return PixelsDocument(
        path=path,
        generation=generation,
        shape=list(layout.shape),
        dtype=layout.data_type,
        chunks=list(layout.chunk_shape),
        sha256=digest.hexdigest(),
        stored_bytes=digest.stored_bytes,
    )


def set_pyramid(
    document: ImageDocument | ArrayArtifactDocument, pyramid: PyramidDocument | None
) -> None:
    """Set or remove the pyramid of a document; one that never had any keeps none."""
    if pyramid is not None or document.pyramid is not msgspec.UNSET:
        document.pyramid = pyramid


def array_artifact_document(
    name: str,
    pixels: PixelsDocument,
    axes: Sequence[str] | None,
    updated_utc: str | None = None,
) -> ArrayArtifactDocument:
    """Return the document of an array artifact; `axes` were checked."""
    return ArrayArtifactDocument(
        name=keys.check_name(name, what="artifact name"),
        updated_utc=utc_now() if updated_utc is None else updated_utc,
        pixels=pixels,
        axes=None if axes is None else list(axes),
    )


def load_pixels(
    storage: Storage,
    prefix: str,
    pixels: PixelsDocument,
    current: Callable[[], PixelsDocument],
    selection: object = ...,
) -> np.ndarray[Any, Any]:
    """Return the current array of the group at `prefix`, or a selection of it.

    Parameters
    ----------
    storage : Storage
    prefix : str
        Key of the group.
    pixels : PixelsDocument
        From the group's document when the caller read it.
    current : callable
        Reads the document again: the array may have been replaced since.
    selection : int, slice, Ellipsis, or a tuple of these
        A NumPy basic index; only the chunks that it needs are read.
    """
    while True:
        try:
            array = _load(storage, f"{prefix}/{pixels.path}", pixels, selection)
        except CorruptDataError:
            now = current()
            if _same(now, pixels):
                raise
        else:
            if storage.reads_states:
                return array
            # An image that was deleted and added again has other pixels at the same path.
            now = current()
            if _same(now, pixels):
                return array
        pixels = now


def levels_of(document: ImageDocument) -> tuple[Level, ...]:
    """Return the levels of the pixels, the full resolution first."""
    pixels, pyramid = document.pixels, document.current_pyramid
    full = Level(tuple(pixels.shape), (1,) * len(pixels.shape), tuple(pixels.chunks))
    further = [] if pyramid is None else pyramid.levels
    return full, *(
        Level(tuple(level.shape), tuple(level.factors), tuple(level.chunks)) for level in further
    )


def level_of(document: ImageDocument, level: int) -> PixelsDocument:
    """Return the description of a level of the pixels; raise ArgumentError if there is none."""
    if level == 0:
        return document.pixels
    pyramid = document.current_pyramid
    levels = [] if pyramid is None else pyramid.levels
    if level not in range(1, len(levels) + 1):
        raise ArgumentError(
            f"the image has no level {level!r}",
            where="level",
            hint=f"Its levels are 0 to {len(levels)}." if levels else "It has level 0 only.",
        )
    return levels[level - 1]


def load_level(
    storage: Storage, prefix: str, current: CurrentImage, level: int, selection: object
) -> np.ndarray[Any, Any]:
    """Return the pixels of an image at a level of its pyramid, or a selection of them."""

    def now() -> PixelsDocument:
        current.pixels()  # Reads the document again.
        return level_of(current.document, level)

    return load_pixels(storage, prefix, level_of(current.document, level), now, selection)


def _same(a: PixelsDocument, b: PixelsDocument) -> bool:
    return (a.path, a.sha256) == (b.path, b.sha256)


def _load(
    storage: Storage, key: str, pixels: PixelsDocument, selection: object
) -> np.ndarray[Any, Any]:
    where = f"{key}/{keys.GROUP}"
    document = load(storage, where)
    if document is None:
        raise CorruptDataError(
            "the document of the array is missing",
            where=where,
            hint="Restore it from a copy of the dataset, or ingest the image again.",
        )
    layout = read_array_document(document, where=where)
    if layout is None:
        # Written by another program: zarr-python knows its codecs.
        return _load_foreign(storage, key, selection)
    if list(layout.shape) != pixels.shape or layout.data_type != pixels.dtype:
        raise CorruptDataError(
            f"the array is {layout.data_type} {layout.shape}, "
            f"its group says {pixels.dtype} {tuple(pixels.shape)}",
            where=where,
        )
    return read_array(layout, files_of(storage, key, layout), where=key, selection=selection)


def _load_foreign(storage: Storage, key: str, selection: object) -> np.ndarray[Any, Any]:
    check = check_foreign_size if selection is ... else check_foreign_array
    for _, document in _foreign_documents(storage, key):
        check(document, where=key)
    array: Any = open_zarr_array(storage, key, complete=False)
    wanted = parse_selection(selection, array.shape)
    size = math.prod(wanted.shape) * array.dtype.itemsize
    check_limit("array_bytes", size, "the part takes", where=key)
    try:
        # Zarr does not support negative steps.
        block = array[tuple(part.slice for part in wanted.along)]
        result: np.ndarray[Any, Any] = block[(*wanted.turn, ...)]
    except KymflowZarrError:
        raise
    except Exception as error:  # Codecs raise many exception types on corrupt input.
        raise CorruptDataError(
            f"the array cannot be read: {error}",
            where=key,
            hint="Restore it from a copy of the dataset.",
        ) from error
    return result.astype(result.dtype.newbyteorder("="), copy=False)


def open_pixels(storage: Storage, prefix: str, pixels: PixelsDocument) -> zarr.Array[Any]:
    """Return the current array of the group at `prefix` as a lazy array."""
    key = f"{prefix}/{pixels.path}"
    documents = dict(_foreign_documents(storage, key))
    for document in documents.values():
        check_foreign_array(document, where=key)
    document = documents.get(keys.GROUP)
    layout = None if document is None else read_array_document(document, where=key)
    if layout is None:
        return open_zarr_array(storage, key)
    from kymflow_zarr.formats.array.opened import OpenedArray

    array = open_zarr_array(storage, key, document=document)
    return OpenedArray(array, layout, storage, key)


def _foreign_documents(storage: Storage, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the names and Zarr v3 and v2 documents of an array: zarr-python may read either."""
    for name in (keys.GROUP, ".zarray"):
        document = load(storage, f"{key}/{name}")
        if document is not None:
            yield name, document


def replacement_target(
    storage: Storage, change: Change, prefix: str, old: PixelsDocument
) -> Target:
    """Return the target of the next generation of an array, and remove the second to last.

    Parameters
    ----------
    storage : Storage
    change : Change
        A change of the image; the caller adds the group's document to it.
    prefix : str
        Key of the group below the image, ending with a slash; empty for the image itself.
    old : PixelsDocument
        From the group's current document.
    """
    generation = old.generation + 1
    for name in storage.children(f"{change.prefix}/{prefix}".rstrip("/")):
        of_pixels, of_levels = keys.parse_pixels_path(name), keys.parse_pyramid_path(name)
        if (of_pixels is not None and name not in {old.path, keys.pixels_path(generation)}) or (
            of_levels is not None and of_levels not in {old.generation, generation}
        ):
            change.remove(f"{prefix}{name}")
    return Target(generation, lambda name: change.stage(f"{prefix}{name}"))
