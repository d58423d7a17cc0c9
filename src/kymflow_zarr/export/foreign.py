"""Artifacts that another program put into an image, such as copies of conflicting versions."""

from __future__ import annotations

from kymflow_zarr import layout
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.schema.checksums import parse_checksums
from kymflow_zarr.storage.interface import Storage


class OwnFiles:
    """The files of one image that its list of checksums names.

    Parameters
    ----------
    storage : Storage
    prefix : str
        Key of the image.
    """

    def __init__(self, storage: Storage, prefix: str) -> None:
        where = f"{prefix}/{layout.CHECKSUMS}"
        data = storage.read(where)
        self._prefix = f"{prefix}/"
        self._names = None if data is None else parse_checksums(data, where=where)

    def lack(self, key: str) -> bool:
        """Return True if another program made the file at a key."""
        return self._names is not None and key.removeprefix(self._prefix) not in self._names


def left_out(error: KymflowZarrError) -> str:
    """Return why a broken file of another program is not in the export."""
    return f"left out, as kymflow_zarr did not write it and cannot read it: {error}"
