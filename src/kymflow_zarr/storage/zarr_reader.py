"""A read-only zarr-python store of the files below a key. Imports zarr: import it late."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.registry import get_codec_class, register_codec

from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.storage.unpacking import COMPRESSORS, check_blosc, check_unpacked

if TYPE_CHECKING:
    from kymflow_zarr.storage.interface import Storage

_DOCUMENTS = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})


def _checked(name: str, base: type[BytesBytesCodec]) -> type[BytesBytesCodec]:
    """Return a Zarr v3 codec that checks the unpacked size of a chunk before it decodes it."""
    codec = name.removeprefix("numcodecs.")

    class Checked(base):  # type: ignore[valid-type, misc]
        async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
            data = chunk_bytes.to_bytes()
            if codec == "blosc":
                check_blosc(data)
            item: int | None = getattr(chunk_spec.dtype, "item_size", None)
            expected = None if item is None else math.prod(chunk_spec.shape) * item
            await asyncio.to_thread(check_unpacked, codec, data, expected, where="a chunk")
            unpacked: Buffer = await super()._decode_single(chunk_bytes, chunk_spec)
            return unpacked

    Checked.__name__ = Checked.__qualname__ = f"Checked{base.__name__}"
    return Checked


def checked_codecs() -> dict[str, dict[str, str]]:
    """Return the zarr-python configuration that selects the size-checking codecs."""
    return {"codecs": {**zarr.config.get("codecs"), **_CHECKED}}


_CHECKED: Final[dict[str, str]] = {}
_OF_ZARR: Final = COMPRESSORS & {"blosc", "gzip", "zstd"}
for _name in sorted([*_OF_ZARR, *(f"numcodecs.{codec}" for codec in COMPRESSORS)]):
    _class = _checked(_name, get_codec_class(_name))  # type: ignore[arg-type]
    _CHECKED[_name] = f"{__name__}.{_class.__name__}"
    register_codec(_name, _class, qualname=_CHECKED[_name])
    globals()[_class.__name__] = _class  # So that an array pickles.


class ReadingStore(Store):
    """A read-only store of the node at a key.

    Parameters
    ----------
    storage : Storage
    prefix : str
        Key of the node.
    complete : bool
        True if a missing or empty chunk is an error, not the fill value.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, storage: Storage, prefix: str, *, complete: bool) -> None:
        super().__init__(read_only=True)
        self._storage = storage
        self._prefix = prefix
        self._complete = complete
        # In Zarr v2 the compressor is applied last, so a chunk file begins with its header.
        self._v2 = storage.read(f"{prefix}/.zarray")

    def __str__(self) -> str:
        return f"{self._storage.location}/{self._prefix}"

    def __repr__(self) -> str:
        return f"ReadingStore({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadingStore) and str(self) == str(other)

    __hash__ = Store.__hash__

    def with_read_only(self, read_only: bool = False) -> Self:
        """Return this store: it is read-only.

        Raises
        ------
        ValueError
            If `read_only` is False.
        """
        if not read_only:
            raise ValueError("the store of a dataset is read-only")
        return self

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes at a key, None if there are none.

        Raises
        ------
        CorruptDataError
            If a chunk is missing that must exist.
        """
        data = await asyncio.to_thread(self._read, key, byte_range)
        if not data and self._complete and (key == "c" or key.startswith("c/")):
            raise CorruptDataError(
                "a chunk is missing" if data is None else "a chunk is empty",
                where=f"{self}/{key}",
                hint="If the pixels were replaced meanwhile, call open_array() again; "
                "otherwise the file was lost.",
            )
        if data is None:
            return None
        if self._v2 is not None and key.rpartition("/")[2] not in _DOCUMENTS:
            await asyncio.to_thread(self._check_v2, data)
        return (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    def _check_v2(self, data: bytes) -> None:
        document: Any = json.loads(self._v2 or b"{}")
        outermost = document.get("compressor") or [*(document.get("filters") or [{}])][-1]
        codec = str(outermost.get("id"))
        if codec == "blosc":
            check_blosc(data)
        expected = None
        with contextlib.suppress(TypeError, ValueError):
            item = np.dtype(document["dtype"]).itemsize
            # A filter may store its values in a wider type.
            expected = 16 * item * math.prod(document["chunks"]) if item else None
        check_unpacked(codec, data, expected, where=str(self))

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        whole = f"{self._prefix}/{key}"
        if byte_range is None:
            return self._storage.read(whole)
        with self._storage.open(whole) as file:
            if file is None:
                return None
            if isinstance(byte_range, RangeByteRequest):
                return file.read(byte_range.start, byte_range.end - byte_range.start)
            if isinstance(byte_range, OffsetByteRequest):
                return file.read(byte_range.offset, file.size - byte_range.offset)
            assert isinstance(byte_range, SuffixByteRequest)
            size = min(byte_range.suffix, file.size)
            return file.read(file.size - size, size)

    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        """Return ranges of the bytes at keys."""
        wanted = [self.get(key, prototype, byte_range) for key, byte_range in key_ranges]
        return list(await asyncio.gather(*wanted))

    async def exists(self, key: str) -> bool:
        """Return True if a file is at a key."""
        whole = f"{self._prefix}/{key}"
        stat = await asyncio.to_thread(self._storage.stat, whole)
        return stat is not None and not self._storage.is_folder(whole)

    async def list(self) -> AsyncIterator[str]:
        """Yield all keys."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that begin with a prefix."""
        cut = len(self._prefix) + 1
        for key, _ in await asyncio.to_thread(lambda: list(self._storage.walk(self._prefix))):
            if key[cut:].startswith(prefix):
                yield key[cut:]

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below a prefix."""
        key = f"{self._prefix}/{prefix}".rstrip("/")
        for name in await asyncio.to_thread(self._storage.names, key):
            yield name

    async def set(self, key: str, value: Buffer) -> None:  # noqa: ARG002 - as the base has it
        """Raise ValueError, as every read-only store of zarr-python does."""
        self._check_writable()

    async def delete(self, key: str) -> None:  # noqa: ARG002 - as the base has it
        """Raise ValueError, as every read-only store of zarr-python does."""
        self._check_writable()
