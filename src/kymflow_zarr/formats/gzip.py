"""Gzip source files with libdeflate, which is several times as fast as zlib, and smaller."""

from __future__ import annotations

import zlib
from typing import BinaryIO, Final

from kymflow_zarr.errors import CorruptDataError

# Measured on the CSVs of one real folder: level 1 takes 0.17 s at ratio 10.0, level 4 0.25 s at
# 12.0, level 6 0.34 s at 12.5, and zlib's level 9 3.2 s at 12.1.
_LEVEL: Final = 4
# Longer than any gzip header, so that it includes the start of the first block.
_HEAD_BYTES: Final = 256 << 10
_HINT: Final = "Restore it from a copy of the dataset, or save it again."


def gzip_bytes(data: bytes) -> bytes:
    """Return data as a gzip file without time and name: equal data gives equal files."""
    import imagecodecs

    return bytes(imagecodecs.gzip_encode(data, level=_LEVEL))


def deflate_bytes(data: bytes) -> bytes:
    """Return data as a raw deflate stream, without the header and checksum of gzip."""
    import imagecodecs

    return bytes(imagecodecs.deflate_encode(data, level=_LEVEL, raw=True))


def check_gzip(file: BinaryIO, *, where: str) -> None:
    """Check that a file begins as gzip, and that a short file is complete.

    Raises
    ------
    CorruptDataError
        If it does not, or is truncated.
    """
    head = file.read(_HEAD_BYTES)
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        # RFC 1952: "ID1 = 31, ID2 = 139"; the smallest possible member has 20 bytes.
        decoder.decompress(head, _HEAD_BYTES)
    except zlib.error as error:
        raise CorruptDataError(
            f"not a readable gzip file: {error}", where=where, hint=_HINT
        ) from error
    if len(head) < _HEAD_BYTES and not decoder.eof and not decoder.unconsumed_tail:
        raise CorruptDataError("the gzip file was cut off", where=where, hint=_HINT)
