"""Parts of an array: what a caller asks for, and which chunks hold how much of it."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

from kymflow_zarr.errors import ArgumentError, ArgumentTypeError

_HINT = "Use numbers, slices and ..., as in np.s_[2, 0, :, 100:200]; index the result for more."


class Along(NamedTuple):
    """Positions along one dimension: `length` of them, `step` (1 or more) apart."""

    start: int
    step: int
    length: int

    @property
    def slice(self) -> slice:
        """The same as a slice."""
        return slice(self.start, self.start + self.step * self.length, self.step)


class Selection(NamedTuple):
    """A region of an array.

    Parameters
    ----------
    along : tuple of Along
        For each dimension what is to be read.
    turn : tuple of int or slice
        What makes of the block that was read what was asked for: dimensions of which one
        position was asked for go, and those that were asked for backwards are turned.
    """

    along: tuple[Along, ...]
    turn: tuple[int | slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the block that is read."""
        return tuple(part.length for part in self.along)


class Piece(NamedTuple):
    """The part of a selection along one dimension that lies in one chunk.

    Parameters
    ----------
    chunk : int
        Its index.
    out : slice
        Where it goes in the block that is read.
    along : Along
        Where it is in the chunk.
    """

    chunk: int
    out: slice
    along: Along


def pieces(along: Along, size: int) -> Iterator[Piece]:
    """Yield what each chunk of `size` elements holds, those left out that hold nothing."""
    done = 0
    while done < along.length:
        at = along.start + done * along.step
        index = at // size
        end = min(along.length, done - (at - (index + 1) * size) // along.step)
        yield Piece(index, slice(done, end), Along(at - index * size, along.step, end - done))
        done = end


def parse_selection(selection: object, shape: tuple[int, ...]) -> Selection:
    """Return the region that a caller asks for.

    Parameters
    ----------
    selection : int, slice, Ellipsis, or a tuple of these
        As between the brackets of a NumPy array.
    shape : tuple of int
        Of the array.

    Raises
    ------
    ArgumentError
        If there are too many, or one is outside of the array.
    ArgumentTypeError
        If one of them is something else.
    """
    given = list(selection) if isinstance(selection, tuple) else [selection]
    dots = [i for i, part in enumerate(given) if part is ...]
    missing = len(shape) - len(given) + len(dots)
    if len(dots) > 1:
        raise ArgumentError("... can stand once, not more often", where="selection", hint=_HINT)
    if missing < 0:
        raise ArgumentError(
            f"{len(given) - len(dots)} indices are more than the {len(shape)} dimensions there are",
            where="selection",
            hint="Give one for each dimension at most.",
        )
    at = dots[0] if dots else len(given)
    given[at : at + 1] = [slice(None)] * missing
    parts = [_part(part, n, i) for i, (part, n) in enumerate(zip(given, shape, strict=True))]
    return Selection(tuple(along for along, _ in parts), tuple(turn for _, turn in parts))


def _part(part: Any, size: int, dimension: int) -> tuple[Along, int | slice]:
    if isinstance(part, slice):
        try:
            start, stop, step = part.indices(size)
        except (TypeError, ValueError) as error:
            raise ArgumentTypeError(f"{part}: {error}", where="selection", hint=_HINT) from None
        count = len(range(start, stop, step))
        if step > 0:
            return Along(start, step, count), slice(None)
        return Along(start + step * (count - 1), -step, count), slice(None, None, -1)
    try:
        if isinstance(part, bool):
            raise TypeError
        index = operator.index(part)
    except TypeError:
        raise ArgumentTypeError(
            f"an image cannot be indexed by {part!r}", where="selection", hint=_HINT
        ) from None
    if not -size <= index < size:
        raise ArgumentError(
            f"there is no position {index} along dimension {dimension}, which has {size}",
            where="selection",
        )
    return Along(index % size, 1, 1), 0
