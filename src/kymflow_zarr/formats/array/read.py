"""Read a Zarr v3 array directly, whole or a selection with only the chunks that it needs."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple, NoReturn, Protocol, TypeAlias

import numpy as np

from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    CorruptDataError,
    LimitExceededError,
)
from kymflow_zarr.formats.array.write import CRC_BYTES, EMPTY
from kymflow_zarr.runtime.limits import check_limit
from kymflow_zarr.schema.array import ArrayDocument, chunk_key
from kymflow_zarr.storage.interface import InMemory, Storage
from kymflow_zarr.storage.unpacking import check_blosc
from kymflow_zarr.storage.versioned_cache import VersionedCache

_USE = "Use numbers, slices and ..., as in np.s_[2, 0, :, 100:200]; index the result for more."


class Along(NamedTuple):
    """Positions along one dimension: `length` of them, `step` (1 or more) apart."""

    start: int
    step: int
    length: int

    @property
    def slice(self) -> slice:
        """Return these positions as a slice."""
        return slice(self.start, self.start + self.step * self.length, self.step)


class Selection(NamedTuple):
    """A region of an array.

    Parameters
    ----------
    along : tuple of Along
        The positions to read along each dimension.
    turn : tuple of int or slice
        The index that converts the block that was read to the requested result: it drops
        dimensions indexed by an integer, and reverses those with a negative step.
    """

    along: tuple[Along, ...]
    turn: tuple[int | slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the block that is read."""
        return tuple(part.length for part in self.along)


class Piece(NamedTuple):
    """The part of a selection along one dimension that lies in one chunk.

    Parameters
    ----------
    chunk : int
        Its index.
    out : slice
        Its positions in the block that is read.
    along : Along
        Its positions in the chunk.
    """

    chunk: int
    out: slice
    along: Along


def pieces(along: Along, size: int) -> Iterator[Piece]:
    """Yield the part in each chunk of `size` elements, except empty ones."""
    done = 0
    while done < along.length:
        at = along.start + done * along.step
        index = at // size
        end = min(along.length, done - (at - (index + 1) * size) // along.step)
        yield Piece(index, slice(done, end), Along(at - index * size, along.step, end - done))
        done = end


def parse_selection(selection: object, shape: tuple[int, ...]) -> Selection:
    """Return the region that a selection names.

    Parameters
    ----------
    selection : int, slice, Ellipsis, or a tuple of these
        A NumPy basic index.
    shape : tuple of int
        Shape of the array.

    Raises
    ------
    ArgumentError
        If there are too many indices, or one is out of bounds.
    ArgumentTypeError
        If an index has another type.
    """
    given = list(selection) if isinstance(selection, tuple) else [selection]
    dots = [i for i, part in enumerate(given) if part is ...]
    missing = len(shape) - len(given) + len(dots)
    if len(dots) > 1:
        raise ArgumentError("... can stand once, not more often", where="selection", hint=_USE)
    if missing < 0:
        raise ArgumentError(
            f"{len(given) - len(dots)} indices are more than the {len(shape)} dimensions there are",
            where="selection",
            hint="Give one for each dimension at most.",
        )
    at = dots[0] if dots else len(given)
    given[at : at + 1] = [slice(None)] * missing
    parts = [_part(part, n, i) for i, (part, n) in enumerate(zip(given, shape, strict=True))]
    return Selection(tuple(along for along, _ in parts), tuple(turn for _, turn in parts))


def _part(part: Any, size: int, dimension: int) -> tuple[Along, int | slice]:
    if isinstance(part, slice):
        try:
            start, stop, step = part.indices(size)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(f"{part}: {error}", where="selection", hint=_USE) from None
        count = len(range(start, stop, step))
        if step > 0:
            return Along(start, step, count), slice(None)
        return Along(start + step * (count - 1), -step, count), slice(None, None, -1)
    try:
        if isinstance(part, bool):
            raise TypeError
        index = operator.index(part)
    except TypeError:
        raise ArgumentTypeError(
            f"an image cannot be indexed by {part!r}", where="selection", hint=_USE
        ) from None
    if not -size <= index < size:
        raise ArgumentError(
            f"there is no position {index} along dimension {dimension}, which has {size}",
            where="selection",
        )
    return Along(index % size, 1, 1), 0


_BLOSC_HEADER_BYTES: Final = 16
# The CRC-32C of any data followed by its own CRC-32C.
_RESIDUE: Final = 0x48674BC7
_HINT: Final = "Restore the file from a copy of the dataset, or ingest the image again."


class Parts(Protocol):
    """A file that is read by byte ranges."""

    @property
    def size(self) -> int:
        """Size in bytes."""

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, fewer at the end."""


OpenFile: TypeAlias = Callable[[str], AbstractContextManager[Parts | None]]
"""Opens the file at a key below an array; yields None if there is none."""


def files_of(storage: Storage, key: str, layout: ArrayDocument) -> OpenFile:
    """Return what opens the files of the array at a key."""
    if layout.shard_shape is not None:
        return lambda name: storage.open(f"{key}/{name}")
    # Each file is a chunk, and read whole: a store or web host is asked once.
    return lambda name: nullcontext(_whole(storage.read(f"{key}/{name}")))


def _whole(data: bytes | None) -> Parts | None:
    return None if data is None else InMemory(data)


ChunkCache = VersionedCache[np.ndarray[Any, Any]]
"""The chunks that an open array decoded last.

A program that pages through a recording asks for the same chunk many times.
"""


def read_array(
    layout: ArrayDocument,
    open_file: OpenFile,
    *,
    where: str,
    selection: object = ...,
) -> np.ndarray[Any, Any]:
    """Return an array, or a selection of it.

    Parameters
    ----------
    layout : ArrayDocument
    open_file : OpenFile
        From :func:`files_of`.
    where : str
        Key of the array, for errors.
    selection : int, slice, Ellipsis, or a tuple of these
        A NumPy basic index; only the chunks that it needs are read.

    Raises
    ------
    CorruptDataError
        If a file is missing, truncated or damaged.
    LimitExceededError
        If the selection exceeds ``array_bytes``, or spans more files than ``array_chunks``.
    ArgumentError
        If the selection is out of bounds.
    """
    wanted = parse_selection(selection, layout.shape)
    size = math.prod(wanted.shape) * np.dtype(layout.data_type).itemsize
    files = math.prod(map(min, layout.file_grid, wanted.shape))
    check_limit("array_bytes", size, "the array takes", where=where)
    check_limit("array_chunks", files, "the array has", where=where)
    return read_selection(layout, open_file, wanted, where=where)


def read_selection(
    layout: ArrayDocument,
    open_file: OpenFile,
    wanted: Selection,
    *,
    where: str,
    cache: ChunkCache | None = None,
    hint: str = _HINT,
) -> np.ndarray[Any, Any]:
    """Return a selection of an array, of any size; parameters and errors as `read_array`.

    Parameters
    ----------
    cache : ChunkCache, optional
        Takes chunks that are decoded, and spares decoding them again.
    hint : str
        What to do about a missing or damaged file, for errors.
    """
    dtype = np.dtype(layout.data_type).newbyteorder("<")
    result = _allocate(wanted.shape, dtype, where=where)
    grid = zip(wanted.along, layout.file_shape, strict=True)
    for index, out, along in _blocks([list(pieces(part, size)) for part, size in grid]):
        key = chunk_key(index)
        block, parts = result[out], _chunks_of(layout, along)
        version = None
        if cache is not None:
            version = cache.version(f"{where}/{key}")
            parts = [
                part
                for part in parts
                if not _copied(cache.get(version, f"{where}/{key}", part[0]), part, block)
            ]
            if not parts:
                continue
        with open_file(key) as file:
            if file is None:
                _corrupt("is missing", f"{where}/{key}", hint)
            try:
                for at, chunk in _decode_file(file, layout, parts, block):
                    if cache is not None:
                        cache.put(version, f"{where}/{key}", chunk, at)
            except (ValueError, RuntimeError, MemoryError) as error:
                _corrupt(f"is damaged: {error}", f"{where}/{key}", hint, error)
    # With an Ellipsis, so that a 0-dimensional result stays an array.
    return result[(*wanted.turn, ...)].astype(dtype.newbyteorder("="), copy=False)


def _corrupt(how: str, where: str, hint: str, error: Exception | None = None) -> NoReturn:
    raise CorruptDataError(f"a file of the array {how}", where=where, hint=hint) from error


Index = tuple[int, ...]
Part = tuple[Index, tuple[Any, ...], tuple[Along, ...]]
"""Index of a chunk, the region of its part in the result, and in the chunk."""


def _blocks(along: list[list[Piece]]) -> Iterator[Part]:
    for block in itertools.product(*along):
        yield (
            tuple(piece.chunk for piece in block),
            (*(piece.out for piece in block), ...),
            tuple(piece.along for piece in block),
        )


def _chunks_of(layout: ArrayDocument, along: tuple[Along, ...]) -> Iterable[Part]:
    """Return the parts of a file's selection that lie in each of its chunks."""
    if layout.shard_shape is None:
        return [((), (...,), along)]
    inside = zip(along, layout.chunk_shape, strict=True)
    return _blocks([list(pieces(each, chunk)) for each, chunk in inside])


def _copied(chunk: np.ndarray[Any, Any] | None, part: Part, block: np.ndarray[Any, Any]) -> bool:
    """Copy a part of a chunk to its place; return False if there is no chunk."""
    if chunk is not None:
        block[part[1]] = chunk[tuple(along.slice for along in part[2])]
    return chunk is not None


def _allocate(shape: tuple[int, ...], dtype: np.dtype[Any], *, where: str) -> np.ndarray[Any, Any]:
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:  # ValueError: more dimensions than NumPy supports.
        size = math.prod(shape) * dtype.itemsize
        raise LimitExceededError(
            f"the array of shape {shape} and dtype {dtype.name} takes "
            f"{size} bytes, more than there is memory",
            where=where,
            hint="Read it in parts, with load_array(selection).",
        ) from error


def _decode_file(
    file: Parts, layout: ArrayDocument, parts: Iterable[Part], out: np.ndarray[Any, Any]
) -> Iterator[tuple[Index, np.ndarray[Any, Any]]]:
    """Decode parts of chunks to their places; yield the chunks that were decoded beside it."""
    table = None
    end = file.size
    if layout.shard_shape is not None:
        grid = layout.chunks_per_file
        size = math.prod(grid) * 16 + CRC_BYTES
        end -= size
        index = file.read(end, size) if end >= 0 else b""
        if len(index) != size or not _is_sound(index):
            raise ValueError("the index of the shard does not match its checksum")
        table = np.frombuffer(index, "<u8", math.prod(grid) * 2).reshape(*grid, 2)
    for part in parts:
        at, to, along = part
        offset, nbytes = (0, end) if table is None else table[at].tolist()
        if offset == EMPTY or offset + nbytes > end:
            raise ValueError(f"inner chunk {at} is missing")
        place = out[to]
        encoded = _sound_chunk(file.read(offset, nbytes), layout, out.dtype)
        if place.shape == layout.chunk_shape and place.flags.c_contiguous:
            # The part has the size of the chunk, so it is the whole chunk: decode into place.
            _decode(encoded, place)
            continue
        chunk = np.empty(layout.chunk_shape, out.dtype)
        _decode(encoded, chunk)
        place[...] = chunk[tuple(each.slice for each in along)]
        yield at, chunk


def _sound_chunk(data: bytes, layout: ArrayDocument, dtype: np.dtype[Any]) -> memoryview:
    """Return an encoded chunk without its checksum, after checking it and its header."""
    if len(data) < _BLOSC_HEADER_BYTES + CRC_BYTES or not _is_sound(data):
        raise ValueError("a chunk does not match its checksum")
    encoded = memoryview(data)[:-CRC_BYTES]
    # Before allocating: the chunk must declare the expected size.
    expected = math.prod(layout.chunk_shape) * dtype.itemsize
    declared = int.from_bytes(encoded[4:8], "little")
    if declared != expected:
        raise ValueError(f"a chunk declares {declared} bytes instead of {expected}")
    check_blosc(encoded)
    return encoded


def _decode(encoded: memoryview, out: np.ndarray[Any, Any]) -> None:
    import imagecodecs

    blosc_decode: Any = imagecodecs.blosc_decode
    blosc_decode(encoded, numthreads=1, out=_as_bytes(out))


def _as_bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.reshape(-1).view(np.uint8)


def _is_sound(data: bytes) -> bool:
    import google_crc32c

    return bool(google_crc32c.value(data) == _RESIDUE)
