"""Write a Zarr v3 array as chunk and shard files, directly without zarr-python."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import math
import os
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any, Final

import msgspec
import numpy as np

from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, UnsupportedDataError
from kymflow_zarr.runtime.background import Content, in_background, threads
from kymflow_zarr.schema.array import DATA_TYPES, ArrayDocument, array_document, chunk_key
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.types import ArrayLike, Axis

ONE_CHUNK_BYTES: Final = 2 << 20
INNER_CHUNK_BYTES: Final = 512 << 10
SHARD_BYTES: Final = 64 << 20
TILE: Final = 512
_SHUFFLE_UNIT: Final = 8
# The largest input of one blosc call.
_MAX_CHUNK_BYTES: Final = 2**31 - 1 - 16


def plan_layout(
    shape: tuple[int, ...],
    data_type: str,
    item_size: int,
    *,
    axes: Sequence[Axis] | None = None,
    chunks: int | Sequence[int] | None = None,
) -> ArrayDocument:
    """Return the layout of an array.

    Parameters
    ----------
    shape : tuple of int
    data_type : str
        Zarr v3 name.
    item_size : int
        Bytes of one element.
    axes : sequence of Axis, optional
        Planes whose last two axes are space are split into tiles, others into full rows.
    chunks : int or sequence of int, optional
        Shape of a chunk; None chooses one.

    Raises
    ------
    ArgumentError
        If `chunks` does not fit the shape, or a chunk would be larger than 2 GB.
    """
    if chunks is None:
        chunk = _default_chunk(shape, item_size, axes)
    else:
        chunk = _given_chunk(chunks, shape)
        size = item_size * math.prod(chunk)
        if size > _MAX_CHUNK_BYTES:
            raise ArgumentError(
                f"a chunk of shape {chunk} takes {size} bytes; "
                f"at most {_MAX_CHUNK_BYTES} can be kept",
                where="chunks",
                hint="Give smaller chunks, or leave them out: they are then chosen by size.",
            )
    shard = _shard(shape, chunk, item_size)
    return ArrayDocument(
        shape=shape,
        data_type=data_type,
        chunk_shape=chunk,
        shard_shape=None if shard == chunk else shard,
    )


def _given_chunk(chunks: int | Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    wanted: Any = (chunks,) * max(1, len(shape)) if isinstance(chunks, Integral) else chunks
    if not isinstance(wanted, Sequence) or not all(
        isinstance(n, Integral) and not isinstance(n, bool) for n in wanted
    ):
        raise ArgumentTypeError(
            f"chunks must be a number or one for each dimension, not {chunks!r}", where="chunks"
        )
    if len(wanted) != len(shape) or any(n < 1 for n in wanted):
        raise ArgumentError(
            f"chunks {tuple(wanted)} do not fit an array of shape {shape}",
            where="chunks",
            hint="Give one positive number for each dimension.",
        )
    return tuple(max(1, min(int(c), n)) for c, n in zip(wanted, shape, strict=True))


def _default_chunk(
    shape: tuple[int, ...], item_size: int, axes: Sequence[Axis] | None
) -> tuple[int, ...]:
    if not shape:
        return ()
    # Programs rarely read more than one plane at a time, so a chunk never spans two.
    *leading, height, width = (1, *shape) if len(shape) == 1 else shape
    rows, columns = max(height, 1), max(width, 1)
    if rows * columns * item_size > ONE_CHUNK_BYTES:
        spatial = axes is not None and all(axis.quantity == "space" for axis in axes[-2:])
        if spatial and min(rows, columns) > TILE:
            rows = columns = TILE
        else:
            columns = min(columns, max(_SHUFFLE_UNIT, INNER_CHUNK_BYTES // item_size))
            most = max(1, INNER_CHUNK_BYTES // (columns * item_size))
            # Chunks of equal height: a partial last chunk would be padded with zeros.
            rows = -(-rows // -(-rows // most))
    # Zarr pads at the edge, so a chunk may be larger than the array.
    unit = _SHUFFLE_UNIT // math.gcd(_SHUFFLE_UNIT, columns)
    if len(shape) == 1:
        return (-(-columns // _SHUFFLE_UNIT) * _SHUFFLE_UNIT,)
    return (*(1 for _ in leading), -(-rows // unit) * unit, columns)


def _shard(shape: tuple[int, ...], chunk: tuple[int, ...], item_size: int) -> tuple[int, ...]:
    """Return the largest block of chunks of at most SHARD_BYTES, last dimensions first."""
    shard = list(chunk)
    size = item_size * math.prod(chunk)
    for i in reversed(range(len(shape))):
        needed = max(1, -(-shape[i] // chunk[i]))
        count = max(1, min(needed, SHARD_BYTES // size))
        shard[i] = chunk[i] * count
        size *= count
        if count < needed:
            break
    return tuple(shard)


CRC_BYTES: Final = 4
# Blosc's header, which precedes incompressible data stored as is.
_BLOSC_BYTES: Final = 16
# Zarr v3 sharding: "offset and nbytes ... are set to 2^64 - 1" marks an absent inner chunk.
EMPTY: Final = 2**64 - 1
# Fewer chunks are encoded in this thread before another one has started on a busy machine.
_ENCODED_ALONE: Final = 16


def as_array(data: object, *, what: str) -> ArrayLike:
    """Return `data` as an array-like with shape, dtype and slicing, after checking its dtype.

    Parameters
    ----------
    data : object
        A NumPy, memory-mapped, dask or zarr array, or nested sequences of numbers.
    what : str
        Its name for errors.

    Raises
    ------
    UnsupportedDataError
        If its dtype has no equal in Zarr v3, or if it is a masked array.
    ArgumentTypeError
        If it is a path, a record or anything else that is not an array.
    ArgumentError
        If its shape is not known yet.
    """
    _refuse_no_array(data, what)
    # Dask's `_meta` shows the type of its blocks.
    if isinstance(data, np.ma.MaskedArray) or isinstance(
        getattr(data, "_meta", None), np.ma.MaskedArray
    ):
        raise UnsupportedDataError(
            f"the {what} is a masked array, whose mask would be lost",
            hint="Save .filled(...) and the mask as two arrays.",
        )
    if not all(hasattr(data, name) for name in ("shape", "dtype", "__getitem__")):
        try:
            data = np.asarray(data)
        except ValueError as error:
            raise UnsupportedDataError(f"the {what} is not an array: {error}") from error
    array: Any = data
    if not all(n == n for n in array.shape):  # Dask uses NaN for an unknown length.
        raise ArgumentError(
            f"the {what} has a shape that is not known yet, {tuple(array.shape)}",
            hint="Call compute_chunk_sizes() on the dask array first.",
        )
    try:
        dtype = np.dtype(array.dtype)
    except TypeError:
        raise ArgumentTypeError(
            f"the {what} has the dtype {array.dtype!r}, which is not one of NumPy's"
        ) from None
    if _name(dtype) not in DATA_TYPES or dtype.fields is not None:
        kind = "structured" if dtype.fields is not None else "object"
        detail = f" ({kind})" if dtype.fields is not None or dtype.hasobject else ""
        raise UnsupportedDataError(
            f"the {what} has the dtype {dtype}{detail}, which a Zarr array cannot hold",
            hint="Convert it with .astype() to bool, an integer, float16-64 or complex64-128.",
        )
    return array  # type: ignore[no-any-return]


def _refuse_no_array(data: object, what: str) -> None:
    if isinstance(data, str | os.PathLike):
        problem = "is text or a path, not an array"
        hint = "ingest_tiff() takes the path of a TIFF; of another file, read the pixels first."
    elif data is None:
        problem, hint = "is None, which is no array", "Check what the call before it returned."
    elif hasattr(data, "load_array"):
        problem = "is a record, not an array"
        hint = "Pass its pixels: rec.load_array(), or rec.open_array() to copy block by block."
    elif isinstance(data, Iterator):
        problem = f"is a {type(data).__name__}, not an array"
        hint = "Collect it first, as np.stack(list(...))."
    else:
        return
    raise ArgumentTypeError(f"the {what} {problem}", hint=hint)


def array_files(
    array: ArrayLike, layout: ArrayDocument, *, dimension_names: Sequence[str] | None
) -> Iterator[tuple[str, Content]]:
    """Yield key and bytes of each file of an array, its ``zarr.json`` first.

    At most one shard of `array` is in memory at a time. Keys come in C order of the chunk
    grid. The bytes of the only chunk of an array may be a future.
    """
    document = _document(layout, None if dimension_names is None else (*dimension_names,))
    if math.prod(layout.file_grid) == 1:
        # While it is encoded, the caller creates folders and writes the document.
        ((index, region),) = _regions(layout)
        encoded = _encoded(_block(array, region, layout), layout)
        yield "zarr.json", document
        yield chunk_key(index), encoded
        return
    yield "zarr.json", document
    for index, region in _regions(layout):
        # Do not bind the block to a name, which would keep it while the next one is read.
        yield chunk_key(index), _encode_file(_block(array, region, layout), layout)


def _encoded(block: np.ndarray[Any, Any], layout: ArrayDocument) -> Content:
    if math.prod(layout.chunks_per_file) >= _ENCODED_ALONE:
        return _encode_file(block, layout)  # It uses several threads itself.
    return in_background(functools.partial(_encode_file, block, layout), size=block.nbytes)


def _block(
    array: ArrayLike, region: tuple[slice, ...], layout: ArrayDocument
) -> np.ndarray[Any, Any]:
    dtype = np.dtype(layout.data_type)
    block = np.asarray(array[region]) if region else np.asarray(array)
    # Stored little-endian.
    return block.astype(dtype.newbyteorder("<"), copy=False)


# Cached: the images of an experiment share a few shapes.
@functools.lru_cache(maxsize=64)
def _document(layout: ArrayDocument, dimension_names: tuple[str, ...] | None) -> bytes:
    item_size = np.dtype(layout.data_type).itemsize
    document = array_document(layout, item_size=item_size, dimension_names=dimension_names)
    # With an indent, json uses its pure Python encoder, which is ten times slower.
    line = json.dumps(document).encode()
    return msgspec.json.format(line, indent=2) + b"\n"


def array_layout(
    array: ArrayLike, *, axes: Sequence[Axis] | None, chunks: int | Sequence[int] | None
) -> ArrayDocument:
    """Return the layout in which an array is stored."""
    dtype = np.dtype(array.dtype)
    shape = tuple(int(n) for n in array.shape)
    if chunks is None:
        return _usual_layout(
            shape, _name(dtype), dtype.itemsize, None if axes is None else (*axes,)
        )
    return plan_layout(shape, _name(dtype), dtype.itemsize, axes=axes, chunks=chunks)


@functools.lru_cache(maxsize=64)
def _usual_layout(
    shape: tuple[int, ...], data_type: str, item_size: int, axes: tuple[Axis, ...] | None
) -> ArrayDocument:
    return plan_layout(shape, data_type, item_size, axes=axes)


# Cached: NumPy computes the name each time.
@functools.lru_cache(maxsize=64)
def _name(dtype: np.dtype[Any]) -> str:
    return dtype.name


class FilesDigest:
    """Computes the SHA-256 of the files of an array, and their total size.

    The digest is that of the concatenated 32-byte SHA-256 digests of ``zarr.json`` and of
    the chunk files in C order of the chunk grid, so that files can be digested in parallel.
    """

    def __init__(self) -> None:
        self._digests = hashlib.sha256()
        self.stored_bytes = 0

    def add(self, file: FileSum) -> None:
        """Add the next file."""
        self._digests.update(bytes.fromhex(file.sha256))
        self.stored_bytes += file.size_bytes

    def hexdigest(self) -> str:
        """Return the digest of the files added so far."""
        return self._digests.hexdigest()


def chunk_keys(layout: ArrayDocument) -> Iterator[str]:
    """Yield the keys of the chunk files of an array, in C order of the chunk grid."""
    for index in itertools.product(*map(range, layout.file_grid)):
        yield chunk_key(index)


def _regions(layout: ArrayDocument) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    for index in itertools.product(*map(range, layout.file_grid)):
        yield index, _region(index, layout.file_shape, layout.shape)


def _region(
    index: tuple[int, ...], step: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[slice, ...]:
    return tuple(
        slice(i * s, min((i + 1) * s, n)) for i, s, n in zip(index, step, shape, strict=True)
    )


def _encode_file(block: np.ndarray[Any, Any], layout: ArrayDocument) -> bytes | memoryview:
    if layout.shard_shape is None:
        file = np.empty(_most_bytes(layout, block), np.uint8)
        return file[: _encode_chunk(block, layout, file)].data
    grid = layout.chunks_per_file
    regions = (
        (i, _region(index, layout.chunk_shape, block.shape))
        for i, index in enumerate(itertools.product(*map(range, grid)))
    )
    # Leave out inner chunks that lie wholly outside the array.
    inside = {i: region for i, region in regions if all(r.start < r.stop for r in region)}
    table = np.full((math.prod(grid), 2), EMPTY, dtype="<u8")
    file, sizes = _encode_chunks(
        [block[region] for region in inside.values()], layout, beside=table.nbytes + CRC_BYTES
    )
    ends = list(itertools.accumulate(sizes, initial=0))
    for i, offset, size in zip(inside, ends[:-1], sizes, strict=True):
        table[i] = offset, size
    index_bytes = table.tobytes()
    end = ends[-1] + len(index_bytes) + CRC_BYTES
    file[ends[-1] : end].data[:] = index_bytes + _crc(index_bytes)
    return file[:end].data


def _encode_chunks(
    blocks: list[np.ndarray[Any, Any]], layout: ArrayDocument, *, beside: int
) -> tuple[np.ndarray[Any, Any], list[int]]:
    """Return the concatenated encoded chunks, with room for `beside` bytes, and their lengths.

    They are encoded in place: joining them would add a fifth of the encoding time.
    """
    most = _most_bytes(layout, blocks[0]) if blocks else 0
    if len(blocks) >= _ENCODED_ALONE:
        file = np.empty(len(blocks) * most + beside, np.uint8)
        rooms = [file[i * most : (i + 1) * most] for i in range(len(blocks))]
        # While the interpreter shuts down, it starts no more threads.
        with contextlib.suppress(RuntimeError):
            sizes = list(threads().map(_encode_chunk, blocks, itertools.repeat(layout), rooms))
            end = 0
            for size, room in zip(sizes, rooms, strict=True):
                file[end : end + size] = room[:size]
                end += size
            return file, sizes
    # A new buffer: other threads may still be encoding into the first one.
    file = np.empty(len(blocks) * most + beside, np.uint8)
    sizes, end = [], 0
    for block in blocks:
        sizes.append(_encode_chunk(block, layout, file[end : end + most]))
        end += sizes[-1]
    return file, sizes


def _most_bytes(layout: ArrayDocument, block: np.ndarray[Any, Any]) -> int:
    return math.prod(layout.chunk_shape) * block.itemsize + _BLOSC_BYTES + CRC_BYTES


def _encode_chunk(
    block: np.ndarray[Any, Any], layout: ArrayDocument, room: np.ndarray[Any, Any]
) -> int:
    """Encode a chunk to the start of `room`; return its length."""
    import imagecodecs

    if block.shape != layout.chunk_shape:
        whole = np.zeros(layout.chunk_shape, block.dtype)
        whole[tuple(slice(n) for n in block.shape)] = block
        block = whole
    blosc_encode: Any = imagecodecs.blosc_encode  # Its annotations lack buffers.
    encoded = blosc_encode(
        # Typed, not as bytes: it shuffles by the item size of the array and ignores `typesize`.
        np.ascontiguousarray(block),
        level=layout.level,
        compressor=layout.compressor,
        shuffle="bitshuffle",
        numthreads=1,
        # With more room, blosc stores incompressible data in another way.
        out=room[: len(room) - CRC_BYTES],
    )
    size = len(encoded)
    room[size : size + CRC_BYTES].data[:] = _crc(room[:size])
    return size + CRC_BYTES


def _crc(data: bytes | np.ndarray[Any, Any]) -> bytes:
    import google_crc32c

    value: int = google_crc32c.value(data)
    return value.to_bytes(4, "little")
