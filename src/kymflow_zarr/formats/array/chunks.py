"""How an array is cut into chunks and shards.

Measured on kymographs and stacks (see the design notes): reading a part wants chunks of
about half a megabyte, few files want one shard for all of them, and blosc's bitshuffle
wants a multiple of eight elements in each chunk, or it silently does not shuffle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Final

from kymflow_zarr.errors import ArgumentError, ArgumentTypeError
from kymflow_zarr.schema.array import ArrayDocument
from kymflow_zarr.types import Axis

ONE_CHUNK_BYTES: Final = 2 << 20
INNER_CHUNK_BYTES: Final = 512 << 10
SHARD_BYTES: Final = 64 << 20
TILE: Final = 512
_SHUFFLE_UNIT: Final = 8
# What blosc can take in one piece.
_MAX_CHUNK_BYTES: Final = 2**31 - 1 - 16


def plan_layout(
    shape: tuple[int, ...],
    data_type: str,
    item_size: int,
    *,
    axes: Sequence[Axis] | None = None,
    chunks: int | Sequence[int] | None = None,
) -> ArrayDocument:
    """Return the layout of an array.

    Parameters
    ----------
    shape : tuple of int
    data_type : str
        Zarr v3 name.
    item_size : int
        Bytes of one element.
    axes : sequence of Axis, optional
        Planes whose last two axes are space are cut into tiles, others into full rows.
    chunks : int or sequence of int, optional
        Shape of a chunk, as the caller wants it; None decides from the above.

    Raises
    ------
    ArgumentError
        If `chunks` does not fit the shape, or a chunk would be larger than 2 GB.
    """
    if chunks is None:
        chunk = _default_chunk(shape, item_size, axes)
    else:
        chunk = _given_chunk(chunks, shape)
        size = item_size * math.prod(chunk)
        if size > _MAX_CHUNK_BYTES:
            raise ArgumentError(
                f"a chunk of shape {chunk} takes {size} bytes; "
                f"at most {_MAX_CHUNK_BYTES} can be kept",
                where="chunks",
                hint="Give smaller chunks, or leave them out: they are then chosen by size.",
            )
    shard = _shard(shape, chunk, item_size)
    return ArrayDocument(
        shape=shape,
        data_type=data_type,
        chunk_shape=chunk,
        shard_shape=None if shard == chunk else shard,
    )


def _given_chunk(chunks: int | Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    wanted: Any = (chunks,) * max(1, len(shape)) if isinstance(chunks, Integral) else chunks
    if not isinstance(wanted, Sequence) or not all(
        isinstance(n, Integral) and not isinstance(n, bool) for n in wanted
    ):
        raise ArgumentTypeError(
            f"chunks must be a number or one for each dimension, not {chunks!r}", where="chunks"
        )
    if len(wanted) != len(shape) or any(n < 1 for n in wanted):
        raise ArgumentError(
            f"chunks {tuple(wanted)} do not fit an array of shape {shape}",
            where="chunks",
            hint="Give one positive number for each dimension.",
        )
    return tuple(max(1, min(int(c), n)) for c, n in zip(wanted, shape, strict=True))


def _default_chunk(
    shape: tuple[int, ...], item_size: int, axes: Sequence[Axis] | None
) -> tuple[int, ...]:
    if not shape:
        return ()
    # Programs read at most one plane as a whole, so no chunk holds two.
    *leading, height, width = (1, *shape) if len(shape) == 1 else shape
    rows, columns = max(height, 1), max(width, 1)
    if rows * columns * item_size > ONE_CHUNK_BYTES:
        spatial = axes is not None and all(axis.quantity == "space" for axis in axes[-2:])
        if spatial and min(rows, columns) > TILE:
            rows = columns = TILE
        else:
            columns = min(columns, max(_SHUFFLE_UNIT, INNER_CHUNK_BYTES // item_size))
            most = max(1, INNER_CHUNK_BYTES // (columns * item_size))
            # All alike: what the last one lacked would be encoded and stored as zeros.
            rows = -(-rows // -(-rows // most))
    # Zarr pads the edge, so that a chunk may be larger than the array.
    unit = _SHUFFLE_UNIT // math.gcd(_SHUFFLE_UNIT, columns)
    if len(shape) == 1:
        return (-(-columns // _SHUFFLE_UNIT) * _SHUFFLE_UNIT,)
    return (*(1 for _ in leading), -(-rows // unit) * unit, columns)


def _shard(shape: tuple[int, ...], chunk: tuple[int, ...], item_size: int) -> tuple[int, ...]:
    """Return the largest block of chunks of at most SHARD_BYTES, last dimensions first."""
    shard = list(chunk)
    size = item_size * math.prod(chunk)
    for i in reversed(range(len(shape))):
        needed = max(1, -(-shape[i] // chunk[i]))
        count = max(1, min(needed, SHARD_BYTES // size))
        shard[i] = chunk[i] * count
        size *= count
        if count < needed:
            break
    return tuple(shard)
