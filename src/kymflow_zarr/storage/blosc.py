"""The header of a blosc chunk, checked before a decoder trusts it."""

from __future__ import annotations

import struct
from typing import Final

_HEADER_BYTES: Final = 16


def check_blosc(chunk: bytes | memoryview) -> None:
    """Check the sizes that the header of a blosc chunk declares.

    The decoders trust them: a chunk that declares more bytes than it has makes them read
    beyond its end, and the interpreter crash.

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
