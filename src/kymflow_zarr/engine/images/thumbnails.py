"""Thumbnails of images, cached as derived data.

Each file names the pixels that it shows, so that a stale thumbnail is never shown. Files are not
fsynced: a thumbnail that is lost in a power cut is drawn again.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
import zlib
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Final

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.errors import ArgumentError, KymflowZarrError
from kymflow_zarr.storage.interface import Storage

if TYPE_CHECKING:
    from kymflow_zarr.schema.image import ImageDocument

SIZE: Final = 256
_LARGEST: Final = 2048
# Incremented whenever the drawing changes.
_DRAWN: Final = 2
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
# Size of signature and header chunk, which come first in every PNG.
_HEAD: Final = 33
_KEYWORD: Final = b"kymflow_zarr\x00thumbnail "
_MAX_BYTES: Final = 2**22


def thumbnail(
    storage: Storage, document: ImageDocument, size: int, draw: Callable[[int], bytes]
) -> bytes:
    """Return the thumbnail of an image as PNG; draw it if none of the current pixels is cached.

    Parameters
    ----------
    storage : Storage
    document : ImageDocument
        The current document of the image.
    size : int
        Longer side in pixels; only thumbnails of :data:`SIZE` are cached.
    draw : callable
        Draws a thumbnail of a given size.
    """
    if not 1 <= size <= _LARGEST:
        raise ArgumentError(f"a size of {size!r} is not 1 to {_LARGEST} pixels", where="size")
    if size != SIZE:
        return draw(size)
    note = _note(document)
    place = layout.thumbnail_key(document.image_id)
    cached = _read(storage, place)
    if cached is not None and cached[_HEAD : _HEAD + len(note)] == note:
        return cached
    png = draw(size)
    noted = png[:_HEAD] + note + png[_HEAD:]
    # If it cannot be cached (no permission, full disk), return it anyway.
    with contextlib.suppress(KymflowZarrError, OSError):
        if storage.writable:
            storage.put_derived(place, noted)
    return noted


def forget(storage: Storage, image_ids: Container[str]) -> None:
    """Delete the thumbnails of all other images."""
    if not storage.writable:
        return
    with contextlib.suppress(KymflowZarrError, OSError):
        for name in storage.names(layout.THUMBNAILS):
            image_id = layout.parse_thumbnail(name)
            if image_id is not None and image_id not in image_ids:
                storage.put_derived(f"{layout.THUMBNAILS}/{name}", None)


def forget_one(storage: Storage, image_id: str) -> None:
    """Delete the thumbnail of an image."""
    with contextlib.suppress(KymflowZarrError, OSError):
        place = layout.thumbnail_key(image_id)
        if storage.stat(place) is not None:
            storage.put_derived(place, None)


def _note(document: ImageDocument) -> bytes:
    """Return the PNG chunk that names the pixels that it shows."""
    pixels = document.pixels
    facts = [_DRAWN, SIZE, pixels.sha256, pixels.shape, pixels.dtype, document.axes]
    key = hashlib.sha256(msgspec.json.encode(facts)).hexdigest()
    body = b"tEXt" + _KEYWORD + key.encode()
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _read(storage: Storage, place: str) -> bytes | None:
    with contextlib.suppress(KymflowZarrError):
        stat = storage.stat(place)
        if stat is not None and _HEAD < stat.size <= _MAX_BYTES:
            data = storage.read(place)
            if data is not None and _is_whole(data):
                return data
    return None


def _is_whole(png: bytes) -> bool:
    """Return True if a file is a PNG of our size, and the checksum of each chunk matches."""
    if not png.startswith(_SIGNATURE):
        return False
    at, kind = len(_SIGNATURE), b""
    while at + 12 <= len(png) and kind != b"IEND":
        (length,) = struct.unpack_from(">I", png, at)
        kind, body, end = png[at + 4 : at + 8], png[at + 8 : at + 8 + length], at + 12 + length
        if end > len(png) or struct.unpack_from(">I", png, end - 4)[0] != zlib.crc32(kind + body):
            return False
        if at == len(_SIGNATURE) and (
            kind != b"IHDR" or not all(0 < n <= SIZE for n in struct.unpack_from(">2I", body))
        ):
            return False
        at = end
    return kind == b"IEND" and at == len(png)
