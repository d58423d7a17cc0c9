"""Check the unpacked size of compressed chunks against limits before they are decoded."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from kymflow_zarr.errors import LimitExceededError
from kymflow_zarr.runtime.limits import get_limits

COMPRESSORS: Final = frozenset({"blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd"})
"""The codecs whose output is not bounded by the size of their input."""

# For what other codecs add to a chunk, such as checksums, and for small chunks.
_SLACK_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 20
# Two bits of deflate encode at most 258 bytes, which bounds the ratio of any stream.
_DEFLATE_RATIO: Final = 1032
_GZIP_OR_ZLIB: Final = 47
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def check_unpacked(codec: str, data: bytes, expected: int | None, *, where: str) -> None:
    """Check that a chunk does not unpack to far more bytes than its array declares.

    Parameters
    ----------
    codec : str
        One of :data:`COMPRESSORS`; chunks of other codecs are not checked.
    data : bytes
        The chunk as it is stored.
    expected : int, optional
        Size of the chunk in bytes as the document of its array declares it, if it does.
    where : str
        The array, for errors.

    Raises
    ------
    LimitExceededError
        If it unpacks to more than declared, or than the limit ``array_bytes``.
    """
    limit = get_limits().array_bytes
    if expected is not None:
        limit = min(limit, expected + _SLACK_BYTES)
    size = _size(codec, data, limit)
    if size > limit:
        raise LimitExceededError(
            f"a chunk of {len(data)} bytes unpacks to at least {size} bytes, where at most "
            f"{limit} can be meant",
            where=where,
            hint="Such a chunk is damaged, or made to fill the memory. If you trust its origin, "
            "read it with zarr itself.",
        )


def _size(codec: str, data: bytes, enough: int) -> int:
    """Return the unpacked size of a chunk, or some size beyond `enough`."""
    match codec:
        case "gzip" | "zlib":
            if len(data) * _DEFLATE_RATIO <= enough:
                return 0
            return _counted(_Deflate, data, enough)
        case "bz2":
            return _counted(bz2.BZ2Decompressor, data, enough)
        case "lzma":
            return _counted(lzma.LZMADecompressor, data, enough)
        case "zstd":
            return _zstd_size(data, enough)
        case "blosc":
            return int(struct.unpack_from("<I", data, 4)[0]) if len(data) >= 8 else 0
        case "lz4":
            return int(struct.unpack_from("<i", data)[0]) if len(data) >= 4 else 0
    return 0


class _Deflate:
    """A decompressor of gzip or zlib with the interface of those of bz2 and lzma."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail or data, max_length)


def _counted(make: Callable[[], _Decompressor], data: bytes, enough: int) -> int:
    size, rest = 0, data
    try:
        while rest and size <= enough:
            stream = make()
            piece = stream.decompress(rest, _PIECE_BYTES)
            size += len(piece)
            while not stream.eof and piece and size <= enough:
                piece = stream.decompress(b"", _PIECE_BYTES)
                size += len(piece)
            if not stream.eof:
                break
            rest = stream.unused_data
    except (zlib.error, OSError, EOFError, lzma.LZMAError):
        pass  # The decoder reports the error, and unpacks no more up to there than was counted.
    return size


def _zstd_size(data: bytes, enough: int) -> int:
    import pyarrow as pa

    if data.count(_ZSTD_MAGIC) == 1 and (declared := _zstd_declared(data)) is not None:
        return declared
    size = 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
            while size <= enough and (piece := stream.read(_PIECE_BYTES)):
                size += len(piece)
    except (OSError, pa.ArrowException):
        pass  # As above.
    return size


def _zstd_declared(data: bytes) -> int | None:
    """Return the content size in a frame's header, None if it has none (RFC 8878, 3.1.1.1)."""
    if data[:4] != _ZSTD_MAGIC or len(data) < 5:
        return None
    flags = data[4]
    single = flags >> 5 & 1
    length = (single, 2, 4, 8)[flags >> 6]
    start = 5 + (not single) + (0, 1, 2, 4)[flags & 3]
    field = data[start : start + length]
    if not length or len(field) < length:
        return None
    return int.from_bytes(field, "little") + (256 if length == 2 else 0)


_HEADER_BYTES: Final = 16


def check_blosc(chunk: bytes | memoryview) -> None:
    """Check the sizes that the header of a blosc chunk declares.

    The decoders trust them: for a chunk that declares more bytes than it has they read beyond
    its end, which can crash the interpreter.

    Raises
    ------
    ValueError
        If the header does not fit the chunk.
    """
    if len(chunk) < _HEADER_BYTES:
        raise ValueError("a chunk is shorter than its header")
    declared, block, stored = struct.unpack_from("<III", chunk, 4)
    if stored != len(chunk) or not 0 < block <= max(declared, 1):
        raise ValueError(
            f"a chunk of {len(chunk)} bytes declares {stored} of them, in blocks of {block}"
        )
