"""Blosc as zarr-python decodes it, with the header of each chunk checked before.

The decoder believes the header: one that declares more bytes than there are makes it read
beyond their end, and the interpreter crash. Imports zarr: import it late.
"""

from __future__ import annotations

from zarr.abc.store import ByteRequest
from zarr.codecs.blosc import BloscCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.registry import register_codec
from zarr.storage import LocalStore

from kymflow_zarr.formats.array.foreign import check_blosc

CODEC = {"codecs.blosc": f"{__name__}.CheckedBloscCodec"}
_DOCUMENTS = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


class CheckedBloscCodec(BloscCodec):
    """What Zarr v3 documents call ``blosc``; a ValueError where a chunk lies of its size."""

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        check_blosc(chunk_bytes.as_numpy_array().data)
        return await super()._decode_single(chunk_bytes, chunk_spec)


register_codec("blosc", CheckedBloscCodec, qualname=CODEC["codecs.blosc"])


class BloscStore(LocalStore):
    """A read-only store of a Zarr v2 array whose chunks are compressed by blosc."""

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes at a key; see :class:`zarr.storage.LocalStore`."""
        found = await super().get(key, prototype, byte_range)
        if found is not None and key.rpartition("/")[2] not in _DOCUMENTS:
            check_blosc(found.as_numpy_array().data)
        return found
