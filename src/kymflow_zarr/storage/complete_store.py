"""A Zarr store for arrays whose every chunk was written. Imports zarr: import it late."""

from __future__ import annotations

from pathlib import Path

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from kymflow_zarr.errors import CorruptDataError


class CompleteStore(LocalStore):
    """A read-only store in which a missing chunk is an error, not zeros."""

    def __init__(self, root: Path | str, *, read_only: bool = True) -> None:
        super().__init__(root, read_only=read_only)

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Return the bytes at a key; see :class:`zarr.storage.LocalStore`."""
        found = await super().get(key, prototype, byte_range)
        if found is None and (key == "c" or key.startswith("c/")):
            raise CorruptDataError(
                "a chunk is missing",
                where=f"{self.root}/{key}",
                hint="If the pixels were replaced meanwhile, call open_array() again; "
                "otherwise the file was lost.",
            )
        return found
