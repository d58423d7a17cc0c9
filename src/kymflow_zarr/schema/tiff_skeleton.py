"""The skeleton of a TIFF: all bytes of the file but its pixels, and the positions of the pixels.

Together with the pixels of the image it restores the file. On disk it is one line of JSON,
followed by the bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Final

import msgspec

from kymflow_zarr.errors import SchemaValidationError
from kymflow_zarr.schema.base import decodable

__all__ = ["TiffSkeleton", "coalesced", "decode_skeleton", "encode_skeleton", "gaps_of"]

_VERSION: Final = 1
_DTYPE: Final = re.compile(r"[<>|](?:[iu][1248]|f[248]|c(?:8|16))")
_MAX_DIMS_OF_AXIS: Final = 2


class TiffSkeleton(msgspec.Struct, kw_only=True):
    """The bytes of a TIFF that are not pixels, and the positions of its pixels.

    Parameters
    ----------
    size_bytes : int
        Size of the file.
    dtype : str
        NumPy dtype of the pixels in the file, such as ``<u2``.
    shape : list of int
        Shape of the pixels in the file, in C order.
    dims : list of list of int
        For each axis of the image, the one or two dimensions of the file that form it, the
        outer one first. Dimensions of the file that belong to no axis have length 1.
    ranges : list of (int, int)
        Offset and length of the byte ranges that are pixels, in the order of the pixels.
    channel : (int, int), optional
        For a file that is one channel of the image: the channel axis of the image, and the
        index of the file along it. `dims` leaves that axis out.
    rest : bytes
        All other bytes of the file, in file order.
    """

    size_bytes: int
    dtype: str
    shape: list[int]
    dims: list[list[int]]
    ranges: list[tuple[int, int]]
    channel: tuple[int, int] | None = None
    rest: bytes = b""

    @property
    def itemsize(self) -> int:
        """Size of a pixel in bytes."""
        return int(self.dtype[2:])

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the image, without the axis of `channel`."""
        return tuple(math.prod(self.shape[d] for d in dims) for dims in self.dims)

    @property
    def gaps(self) -> list[tuple[int, int]]:
        """Offset and length of the byte ranges that `rest` fills, in file order."""
        return gaps_of(self.ranges, self.size_bytes)


class _Head(msgspec.Struct, kw_only=True):
    frame_version: int
    size_bytes: int
    dtype: str
    shape: list[int]
    dims: list[list[int]]
    ranges: list[tuple[int, int]]
    channel: tuple[int, int] | None = None


def coalesced(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return byte ranges with adjacent ones merged."""
    merged: list[tuple[int, int]] = []
    for offset, count in ranges:
        if merged and sum(merged[-1]) == offset:
            merged[-1] = (merged[-1][0], merged[-1][1] + count)
        else:
            merged.append((offset, count))
    return merged


def gaps_of(ranges: Sequence[tuple[int, int]], size_bytes: int) -> list[tuple[int, int]]:
    """Return the gaps between byte ranges of a file.

    Raises
    ------
    ValueError
        If ranges overlap, or lie outside of the file.
    """
    edges = [(0, 0), *sorted(ranges), (size_bytes, 0)]
    gaps = []
    for (offset, count), (following, _) in pairwise(edges):
        if count < 0 or offset + count > following:
            raise ValueError(f"the {count} bytes at {offset} overlap others or the file's end")
        gaps.append((offset + count, following - offset - count))
    return [gap for gap in gaps if gap[1]]


def encode_skeleton(skeleton: TiffSkeleton) -> bytes:
    """Return the bytes of a skeleton."""
    head = _Head(
        frame_version=_VERSION,
        size_bytes=skeleton.size_bytes,
        dtype=skeleton.dtype,
        shape=skeleton.shape,
        dims=skeleton.dims,
        ranges=skeleton.ranges,
        channel=skeleton.channel,
    )
    return msgspec.json.encode(head) + b"\n" + skeleton.rest


def decode_skeleton(data: bytes, *, where: str) -> TiffSkeleton:
    """Decode the bytes of a skeleton, which may be damaged or hostile.

    Raises
    ------
    SchemaValidationError
        If they are not a skeleton, or its fields are inconsistent.
    """
    line, _, rest = data.partition(b"\n")
    try:
        head = msgspec.json.decode(line, type=decodable(_Head))
    except (msgspec.DecodeError, RecursionError) as error:
        raise SchemaValidationError(f"is no skeleton of a TIFF: {error}", where=where) from error
    if head.frame_version != _VERSION:
        raise SchemaValidationError(
            f"the skeleton has the version {head.frame_version}, {_VERSION} is the newest known",
            where=where,
            hint="Update kymflow_zarr.",
        )
    problem = next(_problems(head, len(rest)), None)
    if problem is not None:
        raise SchemaValidationError(f"the skeleton of the TIFF is damaged: {problem}", where=where)
    return TiffSkeleton(
        size_bytes=head.size_bytes,
        dtype=head.dtype,
        shape=head.shape,
        dims=head.dims,
        ranges=head.ranges,
        channel=head.channel,
        rest=rest,
    )


def _problems(head: _Head, rest: int) -> Iterator[str]:
    if not _DTYPE.fullmatch(head.dtype):
        yield f"{head.dtype!r} is no dtype of pixels"
        return
    if not head.shape or min(head.shape) < 1:
        yield f"the shape {head.shape} has no pixels"
        return
    # On-disk format: "Each dimension of the file longer than 1 MUST belong to one axis."
    named = list(chain.from_iterable(head.dims))
    left = [n for d, n in enumerate(head.shape) if d not in named]
    known = all(0 <= d < len(head.shape) for d in named) and len(set(named)) == len(named)
    if not known or any(n != 1 for n in left):
        yield f"the axes {head.dims} are not those of the shape {head.shape}"
    if not all(1 <= len(dims) <= _MAX_DIMS_OF_AXIS for dims in head.dims):
        yield f"the axes {head.dims} have no, or too many, dimensions of the file"
    if head.channel is not None and not (
        0 <= head.channel[0] <= len(head.dims) and head.channel[1] >= 0
    ):
        yield f"{head.channel} is no channel"
    # On-disk format: "ranges MUST lie in the file, MUST NOT overlap and MUST hold every pixel."
    pixels = sum(count for _, count in head.ranges)
    if pixels != math.prod(head.shape) * int(head.dtype[2:]):
        yield f"{pixels} bytes of pixels are not those of the shape {head.shape}"
    try:
        free = sum(count for _, count in gaps_of(head.ranges, head.size_bytes))
    except ValueError as error:
        yield str(error)
        return
    # On-disk format: "rest MUST be all other bytes of the file, in its order."
    if free != rest:
        yield f"{rest} bytes beside the pixels, where {free} belong"
