"""The axes of a TIFF series: from tifffile's letters to names in OME order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kymflow_zarr.errors import SourceFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kymflow_zarr.types import Quantity

__all__ = ["QUANTITY_OF_NAME", "AxisPlan", "plan_axes"]

QUANTITY_OF_NAME: Final[dict[str, Quantity]] = {
    "t": "time",
    "c": "channel",
    "z": "space",
    "y": "space",
    "x": "space",
}

_KNOWN: Final = {"T": "t", "C": "c", "S": "c", "Z": "z", "Y": "y", "X": "x"}
_FOR_UNKNOWN: Final = ("z", "c", "t", "y", "x")
_OME_ORDER: Final = ("t", "c", "z", "y", "x")
# Without y the rows of an image are its line scans, so time comes right before x.
_LINE_SCAN_ORDER: Final = ("c", "z", "t", "y", "x")
_MAX_NDIM: Final = 5


@dataclass(frozen=True, slots=True)
class AxisPlan:
    """How the dimensions of a TIFF series become named axes.

    Parameters
    ----------
    source_axes : str
        tifffile's letters, one per dimension of the series.
    source_shape : tuple of int
        Shape of the series.
    names : tuple of str
        Names of the axes of the image.
    dims : tuple of tuple of int
        For each axis the source dimensions it consists of, the outer one first:
        one as a rule, two where channels and RGB samples become one axis. A source
        dimension that occurs nowhere has length one and is dropped.
    """

    source_axes: str
    source_shape: tuple[int, ...]
    names: tuple[str, ...]
    dims: tuple[tuple[int, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image with its axes in the order of `names`."""
        return tuple(math.prod(self.source_shape[d] for d in dims) for dims in self.dims)

    def letter(self, axis: int) -> str:
        """Return the source letter that calibration of an axis goes by."""
        return self.source_axes[self.dims[axis][0]]


def plan_axes(source_axes: str, source_shape: Sequence[int], *, where: str) -> AxisPlan:
    """Name the dimensions of a series and put them in OME order.

    The order is ``t c z y x``; without ``y`` but with ``t`` and ``x`` (line scans) it
    is ``c z t x``. RGB samples (``S``) are channels; channels times samples become one
    axis. Letters without a counterpart take the free names among z, c, t, in that
    order of preference, and keep their order among themselves.

    Parameters
    ----------
    source_axes : str
        tifffile's letters, such as ``"TZCYX"``, ``"YXS"`` or ``"TX"``.
    source_shape : sequence of int
        Length of each dimension.
    where : str
        The file, for messages.

    Returns
    -------
    AxisPlan

    Raises
    ------
    SourceFileError
        The image has fewer than two dimensions, or more than five that are longer
        than one.
    """
    shape = tuple(int(n) for n in source_shape)
    dims = list(range(len(shape)))
    if len(_grouped(source_axes, dims)) > _MAX_NDIM:
        dims = [d for d in dims if shape[d] != 1 or source_axes[d] in "YX"]
    groups = _grouped(source_axes, dims)
    if not 2 <= len(groups) <= _MAX_NDIM:
        raise SourceFileError(
            f"the image has {len(groups)} dimensions (axes {source_axes}, "
            f"shape {shape}); 2 to {_MAX_NDIM} are supported",
            where=where,
            hint="Split the file, or reshape it and write it again.",
        )
    named = _named(source_axes, groups)
    line_scan = "y" not in named and "t" in named and "x" in named
    order = _LINE_SCAN_ORDER if line_scan else _OME_ORDER
    names = tuple(name for name in order if name in named)
    return AxisPlan(source_axes, shape, names, tuple(named[name] for name in names))


def _grouped(axes: str, dims: Sequence[int]) -> list[tuple[int, ...]]:
    """Return the dimensions of each axis-to-be: samples join the channels."""
    channel = next((d for d in dims if axes[d] == "C"), None)
    sample = next((d for d in dims if axes[d] == "S"), None)
    if channel is None or sample is None:
        return [(d,) for d in dims]
    return [(d, sample) if d == channel else (d,) for d in dims if d != sample]


def _named(axes: str, groups: Sequence[tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    named: dict[str, tuple[int, ...]] = {}
    unknown: list[tuple[int, ...]] = []
    for group in groups:
        name = _KNOWN.get(axes[group[0]])
        # A letter may occur twice in hand-written metadata.
        if name is None or name in named:
            unknown.append(group)
        else:
            named[name] = group
    free = [name for name in _FOR_UNKNOWN if name not in named][: len(unknown)]
    taken = [name for name in _OME_ORDER if name in free]
    return named | dict(zip(taken, unknown, strict=True))
