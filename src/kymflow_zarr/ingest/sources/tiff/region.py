"""NumPy's basic indexing in terms of ranges."""

from __future__ import annotations

import operator
from types import EllipsisType
from typing import Any

import numpy as np

from kymflow_zarr.errors import ArgumentTypeError

__all__ = ["selection_of"]


def selection_of(key: Any, shape: tuple[int, ...]) -> tuple[tuple[range, ...], set[int]]:
    """Return the indices wanted along each axis, and the axes that an integer removes."""
    keys = key if isinstance(key, tuple) else (key,)
    dots = [i for i, k in enumerate(keys) if isinstance(k, EllipsisType)]
    if len(dots) > 1:
        raise IndexError("an index can have only one ellipsis ('...')")
    at = dots[0] if dots else len(keys)
    before, after = keys[:at], keys[at + 1 :]
    missing = len(shape) - len(before) - len(after)
    if missing < 0:
        raise IndexError(f"too many indices: the image has {len(shape)} axes")
    wanted: list[range] = []
    integers: set[int] = set()
    full = (*before, *([slice(None)] * missing), *after)
    for axis, (k, length) in enumerate(zip(full, shape, strict=True)):
        if isinstance(k, slice):
            wanted.append(range(length)[k])
            continue
        index = _integer(k)
        if not -length <= index < length:
            raise IndexError(f"index {index} is out of range for axis {axis} of length {length}")
        wanted.append(range(index % length, index % length + 1))
        integers.add(axis)
    return tuple(wanted), integers


def _integer(key: Any) -> int:
    try:
        if not isinstance(key, bool | np.bool_):
            return operator.index(key)
    except TypeError:
        pass
    raise ArgumentTypeError(
        f"an image is indexed with integers and slices, not {type(key).__name__}"
    )
