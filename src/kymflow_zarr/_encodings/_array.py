"""Zarr v3 arrays as files: written and read directly, without zarr-python.

zarr-python reads all of it too and is the oracle in the tests. It is not used here because
it takes milliseconds for what takes a fraction of one (see the design notes).
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from kymflow_zarr._encodings._chunks import plan_layout
from kymflow_zarr._foreign import check_blosc
from kymflow_zarr._limits import check_limit
from kymflow_zarr._schema import DATA_TYPES, ArrayDocument, FileSum, array_document
from kymflow_zarr._types import ArrayLike, Axis
from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    CorruptDataError,
    LimitExceededError,
    UnsupportedDataError,
)

_CRC_BYTES: Final = 4
# Zarr v3 sharding: "offset and nbytes ... are set to 2^64 - 1" marks an inner chunk left out.
_EMPTY: Final = 2**64 - 1
_BLOSC_HEADER_BYTES: Final = 16


def as_array(data: object, *, what: str) -> ArrayLike:
    """Return `data` as something with shape, dtype and regions, checked for its dtype.

    Parameters
    ----------
    data : object
        A NumPy, memory-mapped, dask or zarr array, or nested sequences of numbers.
    what : str
        What it is, for the error.

    Raises
    ------
    UnsupportedDataError
        If its dtype has no equal in Zarr v3, or if it is masked.
    ArgumentTypeError
        If it is a path, a record or something else that holds no array.
    ArgumentError
        If its shape is not known yet.
    """
    _refuse_no_array(data, what)
    # Dask tells by its meta what its blocks are.
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
    if not all(n == n for n in array.shape):  # Dask's word for unknown is NaN.
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
    if dtype.name not in DATA_TYPES or dtype.fields is not None:
        kind = "structured" if dtype.fields is not None else "object"
        detail = f" ({kind})" if dtype.fields is not None or dtype.hasobject else ""
        raise UnsupportedDataError(
            f"the {what} has the dtype {dtype}{detail}, which a Zarr array cannot hold",
            hint="Convert it with .astype() to bool, an integer, float16-64 or complex64-128.",
        )
    return array  # type: ignore[no-any-return]


def _refuse_no_array(data: object, what: str) -> None:
    if isinstance(data, str | os.PathLike):
        said = "is text or a path, not an array"
        hint = "ingest_tiff() takes the path of a TIFF; of another file, read the pixels first."
    elif data is None:
        said, hint = "is None, which is no array", "Check what the call before it returned."
    elif hasattr(data, "load_array"):
        said = "is a record, not an array"
        hint = "Pass its pixels: rec.load_array(), or rec.open_array() to copy block by block."
    elif isinstance(data, Iterator):
        said = f"is a {type(data).__name__}, not an array"
        hint = "Collect it first, as np.stack(list(...))."
    else:
        return
    raise ArgumentTypeError(f"the {what} {said}", hint=hint)


def array_files(
    array: ArrayLike, layout: ArrayDocument, *, dimension_names: Sequence[str] | None
) -> Iterator[tuple[str, bytes]]:
    """Yield key and bytes of each file of an array, its ``zarr.json`` first.

    At most one shard's worth of `array` is in memory at a time. Keys come in C order of
    the chunk grid.
    """
    dtype = np.dtype(layout.data_type)
    document = array_document(layout, item_size=dtype.itemsize, dimension_names=dimension_names)
    # With an indent json falls back to Python, ten times slower.
    line = json.dumps(document).encode()
    yield "zarr.json", msgspec.json.format(line, indent=2) + b"\n"
    for index, region in _regions(layout):
        block = np.asarray(array[region]) if region else np.asarray(array)
        # Native bytes, little-endian on disk; a plain copy of the values.
        block = block.astype(dtype.newbyteorder("<"), copy=False)
        yield chunk_key(index), _encode_file(block, layout)


def read_array(
    layout: ArrayDocument, read: Callable[[str], bytes | None], *, where: str
) -> np.ndarray[Any, Any]:
    """Return the whole array.

    Parameters
    ----------
    layout : ArrayDocument
    read : callable
        Returns the bytes at a key below the array, None if there are none.
    where : str
        Key of the array, for errors.

    Raises
    ------
    CorruptDataError
        If a file is missing, truncated or not what was written.
    LimitExceededError
        If the array is larger than ``array_bytes``, or has more chunks than ``array_chunks``.
    """
    dtype = np.dtype(layout.data_type).newbyteorder("<")
    result = _allocate(layout.shape, dtype, math.prod(layout.file_grid), where=where)
    for index, region in _regions(layout):
        key = chunk_key(index)
        data = read(key)
        if data is None:
            raise CorruptDataError(
                "a file of the array is missing",
                where=f"{where}/{key}",
                hint="Restore the file from a copy of the dataset, or ingest the image anew.",
            )
        try:
            _decode_file(data, layout, result[region] if region else result)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise CorruptDataError(
                f"a file of the array is damaged: {error}",
                where=f"{where}/{key}",
                hint="Restore the file from a copy of the dataset, or ingest the image anew.",
            ) from error
    return result.astype(dtype.newbyteorder("="), copy=False)


def array_layout(
    array: ArrayLike, *, axes: Sequence[Axis] | None, chunks: int | Sequence[int] | None
) -> ArrayDocument:
    """Return the layout in which an array is stored."""
    dtype = np.dtype(array.dtype)
    shape = tuple(int(n) for n in array.shape)
    return plan_layout(shape, dtype.name, dtype.itemsize, axes=axes, chunks=chunks)


class FilesDigest:
    """SHA-256 of the files of an array, and their size.

    The digest is that of the concatenated 32-byte SHA-256 digests of ``zarr.json`` and of
    the chunk files in C order of the chunk grid, so that files can be digested in parallel.
    """

    def __init__(self) -> None:
        self._digests = hashlib.sha256()
        self.stored_bytes = 0

    def add(self, file: FileSum) -> None:
        """Take in the next file."""
        self._digests.update(bytes.fromhex(file.sha256))
        self.stored_bytes += file.size_bytes

    def hexdigest(self) -> str:
        """Return the digest of what was taken in."""
        return self._digests.hexdigest()


def chunk_keys(layout: ArrayDocument) -> Iterator[str]:
    """Yield the keys of the chunk files of an array, in C order of the chunk grid."""
    for index in itertools.product(*map(range, layout.file_grid)):
        yield chunk_key(index)


def chunk_key(index: tuple[int, ...]) -> str:
    """Return the key of a chunk file: Zarr v3's default chunk key encoding."""
    return "/".join(["c", *map(str, index)])


def _allocate(
    shape: tuple[int, ...], dtype: np.dtype[Any], chunks: int, *, where: str
) -> np.ndarray[Any, Any]:
    size = math.prod(shape) * dtype.itemsize
    check_limit("array_bytes", size, "the array takes", where=where)
    check_limit("array_chunks", chunks, "the array has", where=where)
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:  # ValueError: more dimensions than NumPy has.
        raise LimitExceededError(
            f"the array of shape {shape} and dtype {dtype.name} takes "
            f"{size} bytes, more than there is memory",
            where=where,
            hint="Read it in parts, with open_array().",
        ) from error


def _regions(layout: ArrayDocument) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    for index in itertools.product(*map(range, layout.file_grid)):
        yield index, _region(index, layout.file_shape, layout.shape)


def _region(
    index: tuple[int, ...], step: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[slice, ...]:
    return tuple(
        slice(i * s, min((i + 1) * s, n)) for i, s, n in zip(index, step, shape, strict=True)
    )


def _encode_file(block: np.ndarray[Any, Any], layout: ArrayDocument) -> bytes:
    if layout.shard_shape is None:
        return _encode_chunk(block, layout)
    parts = []
    offset = 0
    grid = layout.chunks_per_file
    table = np.full((math.prod(grid), 2), _EMPTY, dtype="<u8")
    for i, index in enumerate(itertools.product(*map(range, grid))):
        region = _region(index, layout.chunk_shape, block.shape)
        if any(r.start >= r.stop for r in region):
            continue  # Wholly outside the array.
        part = _encode_chunk(block[region], layout)
        table[i] = offset, len(part)
        offset += len(part)
        parts.append(part)
    index_bytes = table.tobytes()
    return b"".join([*parts, index_bytes, _crc(index_bytes)])


def _encode_chunk(block: np.ndarray[Any, Any], layout: ArrayDocument) -> bytes:
    import imagecodecs

    if block.shape != layout.chunk_shape:
        whole = np.zeros(layout.chunk_shape, block.dtype)
        whole[tuple(slice(n) for n in block.shape)] = block
        block = whole
    blosc_encode: Any = imagecodecs.blosc_encode  # Its annotations leave out buffers.
    encoded: bytes = blosc_encode(
        # Typed, not as bytes: it shuffles by the size of the items, whatever `typesize` says.
        np.ascontiguousarray(block),
        level=5,
        compressor=layout.compressor,
        shuffle="bitshuffle",
        numthreads=1,
    )
    return encoded + _crc(encoded)


def _decode_file(data: bytes, layout: ArrayDocument, out: np.ndarray[Any, Any]) -> None:
    view = memoryview(data)
    if layout.shard_shape is None:
        _decode_chunk(view, layout, out)
        return
    grid = layout.chunks_per_file
    size = math.prod(grid) * 16
    table_view = view[-size - _CRC_BYTES : -_CRC_BYTES]
    if len(table_view) != size or _crc(table_view) != view[-_CRC_BYTES:]:
        raise ValueError("the index of the shard does not match its checksum")
    table = np.frombuffer(table_view, dtype="<u8").reshape(-1, 2)
    for i, index in enumerate(itertools.product(*map(range, grid))):
        region = _region(index, layout.chunk_shape, out.shape)
        if any(r.start >= r.stop for r in region):
            continue
        offset, nbytes = (int(n) for n in table[i])
        if offset == _EMPTY or offset + nbytes > len(view) - size - _CRC_BYTES:
            raise ValueError(f"inner chunk {index} is missing")
        _decode_chunk(view[offset : offset + nbytes], layout, out[region])


def _decode_chunk(view: memoryview, layout: ArrayDocument, out: np.ndarray[Any, Any]) -> None:
    import imagecodecs

    blosc_decode: Any = imagecodecs.blosc_decode
    encoded, checksum = view[:-_CRC_BYTES], view[-_CRC_BYTES:]
    if len(encoded) < _BLOSC_HEADER_BYTES or _crc(encoded) != checksum:
        raise ValueError("a chunk does not match its checksum")
    # Before anything is allocated: the size that the chunk declares is the one it must have.
    expected = math.prod(layout.chunk_shape) * out.dtype.itemsize
    declared = int.from_bytes(encoded[4:8], "little")
    if declared != expected:
        raise ValueError(f"a chunk declares {declared} bytes instead of {expected}")
    check_blosc(encoded)
    if out.shape == layout.chunk_shape and out.flags.c_contiguous:
        blosc_decode(encoded, numthreads=1, out=_as_bytes(out))
        return
    whole = np.empty(layout.chunk_shape, out.dtype)
    blosc_decode(encoded, numthreads=1, out=_as_bytes(whole))
    out[...] = whole[tuple(slice(n) for n in out.shape)]


def _as_bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.reshape(-1).view(np.uint8)


def _crc(data: bytes | memoryview) -> bytes:
    import google_crc32c

    value: int = google_crc32c.value(bytes(data) if isinstance(data, memoryview) else data)
    return value.to_bytes(4, "little")
