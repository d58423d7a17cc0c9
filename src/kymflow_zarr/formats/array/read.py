"""Zarr v3 arrays read directly: all of one, or a part and only the chunks that hold it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final, NoReturn, Protocol

import numpy as np

from kymflow_zarr.errors import CorruptDataError, LimitExceededError
from kymflow_zarr.formats.array.selection import (
    Along,
    Piece,
    Selection,
    parse_selection,
    pieces,
)
from kymflow_zarr.formats.array.write import CRC_BYTES, EMPTY, chunk_key
from kymflow_zarr.runtime.limits import check_limit
from kymflow_zarr.schema.array import ArrayDocument
from kymflow_zarr.storage.blosc import check_blosc

_BLOSC_HEADER_BYTES: Final = 16
# The CRC-32C of anything that its own CRC-32C follows.
_RESIDUE: Final = 0x48674BC7
_HINT: Final = "Restore the file from a copy of the dataset, or ingest the image anew."


class Parts(Protocol):
    """A file of which parts are read."""

    @property
    def size(self) -> int:
        """Bytes that it has."""

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, fewer at the end."""


def read_array(
    layout: ArrayDocument,
    open_file: Callable[[str], AbstractContextManager[Parts | None]],
    *,
    where: str,
    selection: object = ...,
) -> np.ndarray[Any, Any]:
    """Return an array, or a part of it.

    Parameters
    ----------
    layout : ArrayDocument
    open_file : callable
        Opens the file at a key below the array; None if there is none.
    where : str
        Key of the array, for errors.
    selection : int, slice, Ellipsis, or a tuple of these
        As between the brackets of a NumPy array. Only the chunks that it needs are read.

    Raises
    ------
    CorruptDataError
        If a file is missing, truncated or not what was written.
    LimitExceededError
        If what is asked for is larger than ``array_bytes``, or in more files than
        ``array_chunks``.
    ArgumentError
        If there is no such part.
    """
    dtype = np.dtype(layout.data_type).newbyteorder("<")
    wanted = parse_selection(selection, layout.shape)
    result = _allocate(layout, wanted, dtype, where=where)
    grid = zip(wanted.along, layout.file_shape, strict=True)
    for index, out, along in _blocks([list(pieces(part, size)) for part, size in grid]):
        key = chunk_key(index)
        with open_file(key) as file:
            if file is None:
                _corrupt("is missing", f"{where}/{key}")
            try:
                _decode_file(file, layout, along, result[out])
            except (ValueError, RuntimeError, MemoryError) as error:
                _corrupt(f"is damaged: {error}", f"{where}/{key}", error)
    # With dots: an array of no dimensions stays one.
    return result[(*wanted.turn, ...)].astype(dtype.newbyteorder("="), copy=False)


def _corrupt(how: str, where: str, error: Exception | None = None) -> NoReturn:
    raise CorruptDataError(f"a file of the array {how}", where=where, hint=_HINT) from error


def _blocks(
    along: list[list[Piece]],
) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...], tuple[Along, ...]]]:
    """Yield index of a chunk, where what it holds goes, and where it is in the chunk."""
    for block in itertools.product(*along):
        yield (
            tuple(piece.chunk for piece in block),
            (*(piece.out for piece in block), ...),
            tuple(piece.along for piece in block),
        )


def _allocate(
    layout: ArrayDocument, wanted: Selection, dtype: np.dtype[Any], *, where: str
) -> np.ndarray[Any, Any]:
    size = math.prod(wanted.shape) * dtype.itemsize
    files = math.prod(map(min, layout.file_grid, wanted.shape))
    check_limit("array_bytes", size, "the array takes", where=where)
    check_limit("array_chunks", files, "the array has", where=where)
    try:
        return np.empty(wanted.shape, dtype)
    except (MemoryError, ValueError) as error:  # ValueError: more dimensions than NumPy has.
        raise LimitExceededError(
            f"the array of shape {wanted.shape} and dtype {dtype.name} takes "
            f"{size} bytes, more than there is memory",
            where=where,
            hint="Read it in parts, with load_array(selection).",
        ) from error


def _decode_file(
    file: Parts, layout: ArrayDocument, along: tuple[Along, ...], out: np.ndarray[Any, Any]
) -> None:
    if layout.shard_shape is None:
        _decode_chunk(file.read(0, file.size), layout, along, out)
        return
    grid = layout.chunks_per_file
    size = math.prod(grid) * 16 + CRC_BYTES
    end = file.size - size
    index = file.read(end, size) if end >= 0 else b""
    if len(index) != size or not _is_sound(index):
        raise ValueError("the index of the shard does not match its checksum")
    table = np.frombuffer(index, "<u8", math.prod(grid) * 2).reshape(*grid, 2)
    inside = zip(along, layout.chunk_shape, strict=True)
    for at, to, part in _blocks([list(pieces(each, chunk)) for each, chunk in inside]):
        offset, nbytes = table[at].tolist()
        if offset == EMPTY or offset + nbytes > end:
            raise ValueError(f"inner chunk {at} is missing")
        _decode_chunk(file.read(offset, nbytes), layout, part, out[to])


def _decode_chunk(
    data: bytes, layout: ArrayDocument, along: tuple[Along, ...], out: np.ndarray[Any, Any]
) -> None:
    import imagecodecs

    blosc_decode: Any = imagecodecs.blosc_decode
    if len(data) < _BLOSC_HEADER_BYTES + CRC_BYTES or not _is_sound(data):
        raise ValueError("a chunk does not match its checksum")
    encoded = memoryview(data)[:-CRC_BYTES]
    # Before anything is allocated: the size that the chunk declares is the one it must have.
    expected = math.prod(layout.chunk_shape) * out.dtype.itemsize
    declared = int.from_bytes(encoded[4:8], "little")
    if declared != expected:
        raise ValueError(f"a chunk declares {declared} bytes instead of {expected}")
    check_blosc(encoded)
    if out.shape == layout.chunk_shape and out.flags.c_contiguous:
        # All of it: there is no other way to be as large.
        blosc_decode(encoded, numthreads=1, out=_as_bytes(out))
        return
    whole = np.empty(layout.chunk_shape, out.dtype)
    blosc_decode(encoded, numthreads=1, out=_as_bytes(whole))
    out[...] = whole[tuple(part.slice for part in along)]


def _as_bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.reshape(-1).view(np.uint8)


def _is_sound(data: bytes) -> bool:
    import google_crc32c

    return bool(google_crc32c.value(data) == _RESIDUE)
