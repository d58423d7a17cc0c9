"""Planes of an image, and pixels and statistics of regions, read plane by plane."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from kymflow_zarr.engine.rois.shapes import covered_pixels
from kymflow_zarr.engine.rois.values import KnownRoi, MaskRoi, RectRoi
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, UnsupportedDataError
from kymflow_zarr.types import Axis, ImageBounds

Choice: TypeAlias = int | Literal["all"] | None
Chosen: TypeAlias = Mapping[int, int | None]
"""For each axis beyond the plane, the chosen position, or None for all."""
Index: TypeAlias = tuple[int | slice, ...]


@dataclass(frozen=True, kw_only=True)
class RoiStatistics:
    """Statistics of the finite pixels of a region; NaN and infinities do not count.

    Parameters
    ----------
    min, max : int or float
        In the number type of the image; NaN if `n` is 0.
    mean, std : float
        Accumulated in float64; `std` is that of the population (``ddof=0``). NaN if `n` is 0.
    n : int
        Number of finite pixels.
    channel : int, optional
        Channel, from 1; None if several were combined.
    z : int, optional
        Plane along ``z``, from 0; None if several were combined.
    at : mapping of str to int
        Positions along the other axes, such as ``t``, if a single one was chosen.
    """

    min: float
    max: float
    mean: float
    std: float
    n: int
    channel: int | None = None
    z: int | None = None
    at: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class ImagePlanes:
    """The axes of an image that span its planes, and those that enumerate the planes.

    The last two axes that are not channels span a plane: rows (``y``, dimension 0) and
    columns (``x``, dimension 1).

    Parameters
    ----------
    axes : tuple of Axis
    shape : tuple of int
    """

    axes: tuple[Axis, ...]
    shape: tuple[int, ...]

    @property
    def plane_axes(self) -> tuple[int, int]:
        """Positions of the row axis and the column axis."""
        ours = [i for i, axis in enumerate(self.axes) if axis.quantity != "channel"]
        y, x = ours[-2:] if len(ours) >= 2 else (len(self.axes) - 2, len(self.axes) - 1)
        return y, x

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        y, x = self.plane_axes
        return self.shape[y], self.shape[x]

    @property
    def bounds(self) -> ImageBounds:
        """Extent of the image."""
        height, width = self.plane_shape
        return ImageBounds(width, height, self._count("z"))

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self._count("channel")

    def _count(self, role: str) -> int:
        return next((self.shape[i] for i in self._others() if self._role(i) == role), 1)

    def _others(self) -> list[int]:
        return [i for i in range(len(self.axes)) if i not in self.plane_axes]

    def _role(self, position: int) -> str:
        axis = self.axes[position]
        return "channel" if axis.quantity == "channel" else axis.name

    def choose(
        self, roi: KnownRoi, *, channel: Choice, z: Choice, at: Mapping[str, int] | None
    ) -> dict[int, int | None]:
        """Return the position to read along each axis beyond the plane, None for all.

        Parameters
        ----------
        roi : region of a known kind
            Supplies channel and plane if the caller does not.
        channel : int or "all", optional
            From 1.
        z : int or "all", optional
            From 0.
        at : mapping of str to int, optional
            Positions along other axes, from 0; all if left out.

        Raises
        ------
        ArgumentError
            If there is no such channel, plane, axis or position.
        """
        asked: dict[str, int | None] = {
            "channel": _number("channel", roi.channel if channel is None else channel),
            "z": _number("z", roi.z if z is None else z),
        }
        roles = [self._role(i) for i in self._others()]
        for name, position in (at or {}).items():
            if name not in roles or name in asked:
                names = [role for role in roles if role not in asked]
                raise ArgumentError(
                    f"the image has no axis {name!r} beside channel, z and the plane",
                    where="at",
                    hint=f"It has {names}." if names else None,
                )
            asked[name] = _number(name, position)
        for role in ("channel", "z"):
            self._check(role, asked[role], self._count(role), first=int(role == "channel"))
        chosen: dict[int, int | None] = {}
        for i in self._others():
            role, wanted = self._role(i), asked.get(self._role(i))
            if role not in ("channel", "z"):
                self._check(role, wanted, self.shape[i], first=0)
            chosen[i] = wanted - 1 if role == "channel" and wanted is not None else wanted
        return chosen

    @staticmethod
    def _check(role: str, wanted: int | None, count: int, *, first: int) -> None:
        if wanted is not None and not first <= wanted < count + first:
            raise ArgumentError(
                f"there is no {role} {wanted}: the image has {count}, counted from {first}",
                where=role,
            )

    def index(self, chosen: Chosen, rows: slice, columns: slice) -> Index:
        """Return the index of a block of the chosen planes."""
        index: list[int | slice] = []
        y, x = self.plane_axes
        for i in range(len(self.axes)):
            wanted = chosen.get(i)
            index.append(rows if i == y else columns if i == x else _all_or(wanted))
        return tuple(index)

    def read(self, array: Any, index: Index) -> np.ndarray[Any, Any]:
        """Return a block of the image, rows and columns last; read only what it covers."""
        sliced = [i for i, at in enumerate(index) if isinstance(at, slice)]
        sizes = [len(range(*at.indices(n))) for at, n in self._slices(index)]
        block = np.empty(sizes, array.dtype) if 0 in sizes else np.asarray(array[index])
        return np.moveaxis(block, [sliced.index(i) for i in self.plane_axes], [-2, -1])

    def _slices(self, index: Index) -> Iterator[tuple[slice, int]]:
        for at, n in zip(index, self.shape, strict=True):
            if isinstance(at, slice):
                yield at, n

    def one_by_one(self, chosen: Chosen) -> Iterator[dict[int, int | None]]:
        """Yield each of the chosen planes separately."""
        ranges = [range(self.shape[i]) if at is None else [at] for i, at in chosen.items()]
        for positions in itertools.product(*ranges):
            yield dict(zip(chosen, positions, strict=True))

    def place(self, chosen: Chosen, roi: KnownRoi) -> dict[str, Any]:
        """Return channel, z and at of the chosen planes, as in :class:`RoiStatistics`.

        If the image has no such axis, channel and z are those of the region.
        """
        by_role = {self._role(i): position for i, position in chosen.items()}
        channel = by_role.pop("channel", roi.channel - 1)
        return {
            "channel": None if channel is None else channel + 1,
            "z": by_role.pop("z", roi.z),
            "at": {name: position for name, position in by_role.items() if position is not None},
        }


def _number(name: str, value: object) -> int | None:
    if value == "all":
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentError(f'{name} is {value!r}, not a whole number or "all"', where=name)
    return int(value)


def _all_or(position: int | None) -> int | slice:
    return slice(None) if position is None else position


def statistics(blocks: Iterable[np.ndarray[Any, Any]], place: Mapping[str, Any]) -> RoiStatistics:
    """Return the combined statistics of blocks of pixels, with one block in memory at a time.

    Notes
    -----
    Means and squared deviations are merged as in Chan, Golub, LeVeque, "Updating Formulae
    and a Pairwise Algorithm for Computing Sample Variances", 1979.
    """
    n, mean, squares = 0, 0.0, 0.0
    low: list[Any] = []
    high: list[Any] = []
    for block in blocks:
        numbers = block.view(np.uint8) if block.dtype.kind == "b" else block
        values = numbers[np.isfinite(numbers)] if numbers.dtype.kind == "f" else numbers
        if values.size == 0:
            continue
        low.append(values.min().item())
        high.append(values.max().item())
        block_mean = float(values.mean(dtype=np.float64))
        block_squares = float(values.std(dtype=np.float64)) ** 2 * values.size
        shift = block_mean - mean
        total = n + values.size
        squares += block_squares + shift**2 * n * values.size / total
        mean += shift * values.size / total
        n = total
    if n == 0:
        nan = float("nan")
        return RoiStatistics(min=nan, max=nan, mean=nan, std=nan, n=0, **place)
    std = float(np.sqrt(squares / n))
    return RoiStatistics(min=min(low), max=max(high), mean=mean, std=std, n=n, **place)


def bounding_box(mask: np.ndarray[Any, Any]) -> tuple[slice, slice]:
    """Return the rows and columns that a mask covers; empty slices for an empty mask."""
    extents: Sequence[slice] = [
        slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0, 0)
        for hit in (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    ]
    return extents[0], extents[1]


_Pixels: TypeAlias = np.ndarray[Any, Any]
# Rows, columns, and of regions that are no rectangle the index of their pixels in them.
_Region: TypeAlias = tuple[slice, slice, tuple[np.ndarray[Any, Any], ...] | None]


class RoiReader:
    """Reads pixels and statistics of regions.

    Parameters
    ----------
    planes : ImagePlanes
    open_array : callable
        Opens the pixels as a lazy array.
    load_mask : callable
        Returns an array artifact by name.
    """

    def __init__(
        self,
        planes: ImagePlanes,
        open_array: Callable[[], Any],
        load_mask: Callable[[str], np.ndarray[Any, Any]],
    ) -> None:
        self.planes = planes
        self._open_array = open_array
        self._load_mask = load_mask

    def pixels(
        self, roi: KnownRoi, *, channel: Choice, z: Choice, at: Mapping[str, int] | None
    ) -> _Pixels:
        """Return the pixels of a region."""
        region = self._place(roi)
        chosen = self.planes.choose(roi, channel=channel, z=z, at=at)
        return self._read(self._open_array(), region, chosen)

    def statistics(
        self, roi: KnownRoi, *, channel: Choice, z: Choice, at: Mapping[str, int] | None
    ) -> RoiStatistics:
        """Return the combined statistics of all selected pixels."""
        region = self._place(roi)
        chosen = self.planes.choose(roi, channel=channel, z=z, at=at)
        blocks = (block for _, block in self._planes_of(region, chosen))
        return statistics(blocks, self.planes.place(chosen, roi))

    def statistics_by_plane(
        self, roi: KnownRoi, *, channel: Choice, z: Choice, at: Mapping[str, int] | None
    ) -> list[RoiStatistics]:
        """Return the statistics of each selected plane."""
        region = self._place(roi)
        chosen = self.planes.choose(roi, channel=channel, z=z, at=at)
        return [
            statistics([block], self.planes.place(one, roi))
            for one, block in self._planes_of(region, chosen)
        ]

    def draw(self, roi: KnownRoi, labels: np.ndarray[Any, Any]) -> None:
        """Set the pixels of a region in an array of the plane's shape to its id."""
        rows, columns, inside = self._place(roi)
        labels[rows, columns][... if inside is None else inside] = roi.roi_id

    def _planes_of(self, region: _Region, chosen: Chosen) -> Iterator[tuple[Chosen, _Pixels]]:
        array = self._open_array()
        if array.dtype.kind == "c":
            raise UnsupportedDataError(
                "complex pixels have no least and no greatest",
                hint="Take the magnitude of roi_pixels().",
            )
        for one in self.planes.one_by_one(chosen):
            yield one, self._read(array, region, one)

    def _read(self, array: Any, region: _Region, chosen: Chosen) -> _Pixels:
        rows, columns, inside = region
        block = self.planes.read(array, self.planes.index(chosen, rows, columns))
        if inside is None:
            return block
        covered: np.ndarray[Any, Any] = block[(slice(None),) * (block.ndim - 2) + inside]
        return covered

    def _place(self, roi: object) -> _Region:
        """Return rows and columns of a region, and the index of its pixels in them."""
        if not isinstance(roi, KnownRoi):
            raise ArgumentTypeError(
                f"a region is one of the classes of regions, not {type(roi).__qualname__}",
                hint="load_rois() returns those of the image.",
            )
        if not isinstance(roi, MaskRoi):
            # The caller may override channel and plane; choose() checks them.
            replace(roi, z=0).check({**self.planes.bounds, "num_slices": 1})
            if isinstance(roi, RectRoi):
                return slice(roi.y0, roi.y1), slice(roi.x0, roi.x1), None
            return covered_pixels(roi, self.planes.plane_shape)
        mask = self._load_mask(roi.mask_ref)
        check_mask_shape(roi.mask_ref, mask.shape, self.planes)
        inside = mask != 0
        rows, columns = bounding_box(inside)
        return rows, columns, (inside[rows, columns],)


def check_mask_shape(name: str, shape: tuple[int, ...], planes: ImagePlanes) -> None:
    """Check that a mask has the shape of the plane.

    Raises
    ------
    ArgumentError
        If it has another.
    """
    if shape != planes.plane_shape:
        raise ArgumentError(
            f"the mask has the shape {shape}, the plane of the image {planes.plane_shape}",
            where=f"mask {name!r}",
            hint="A mask has one value for each pixel of the plane, rows first.",
        )
