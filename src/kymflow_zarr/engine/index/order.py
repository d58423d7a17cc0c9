"""The order file: what images are sorted by, in a form that is read without Arrow.

Loading Arrow takes longer than everything else that a program does to list a dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from kymflow_zarr.engine.index.seal import NOTE, is_sealed, sealed
from kymflow_zarr.schema.base import FORMAT, FORMAT_VERSION, decodable


class Order(msgspec.Struct, frozen=True):
    """The order file: a value for each image in each list.

    Parameters
    ----------
    format, format_version
        As in every document.
    image_id : list of str
    changed_ns : list of int
        The version of the image that the other values are from.
    created_utc : list of str or None
    acquired_local_epoch_ns : list of int or None
    """

    format: str
    format_version: int
    image_id: list[str]
    changed_ns: list[int]
    created_utc: list[str | None]
    acquired_local_epoch_ns: list[int | None]


COLUMNS: Final = ("image_id", "changed_ns", "created_utc", "acquired_local_epoch_ns")
_DECODER: Final = msgspec.json.Decoder(decodable(Order))


def to_bytes(columns: Mapping[str, Sequence[Any]]) -> bytes:
    """Return the bytes of the file, from the columns of the same names in the index."""
    lists = msgspec.json.encode({name: columns[name] for name in COLUMNS})
    return sealed(NOTE.encode() + b"," + lists[1:] + b"\n")


def from_bytes(data: bytes) -> Order | None:
    """Return the content of the file; None if it is damaged, or of another version."""
    # Treat an unusable file as missing: it is derived data.
    if not is_sealed(data):
        return None
    try:
        order = _DECODER.decode(data)
    except msgspec.DecodeError:
        return None  # Sealed by another program.
    if (order.format, order.format_version) != (FORMAT, FORMAT_VERSION):
        return None
    counts = {len(getattr(order, name)) for name in COLUMNS}
    return order if len(counts) == 1 else None
