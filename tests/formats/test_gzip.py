"""Gzip files that the package writes are those of any other program."""

from __future__ import annotations

import gzip
import zlib

import pytest

from kymflow_zarr.formats.gzip import deflate_bytes, gzip_bytes


@pytest.mark.parametrize("data", [b"", b"a", b"time,velocity\n" * 10_000, bytes(range(256)) * 300])
def test_any_program_unpacks_the_stored_files(data: bytes) -> None:
    packed = gzip_bytes(data)
    assert gzip.decompress(packed) == data
    assert zlib.decompress(deflate_bytes(data), wbits=-zlib.MAX_WBITS) == data


def test_equal_bytes_give_equal_files_without_a_time() -> None:
    packed = gzip_bytes(b"velocity")
    assert packed == gzip_bytes(b"velocity")
    # RFC 1952: magic, deflate, no flags and so no name, no time.
    assert packed[:8] == b"\x1f\x8b\x08\0\0\0\0\0"
