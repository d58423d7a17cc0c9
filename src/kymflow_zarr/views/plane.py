"""The displayed plane of an image, and its two axes in real units."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.engine.images.times import kept_times_s
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, UnsupportedDataError
from kymflow_zarr.types import Axis

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kymflow_zarr.engine.image import StoredImage
    from kymflow_zarr.engine.rois.values import KnownRoi

__all__ = ["Drawn", "Plane", "plane_of"]

# The display unit of each unit, and the conversion factor.
_UNITS: Final[dict[str, tuple[str, float]]] = {
    "nanosecond": ("s", 1e-9),
    "microsecond": ("s", 1e-6),
    "millisecond": ("s", 1e-3),
    "second": ("s", 1.0),
    "minute": ("s", 60.0),
    "hour": ("s", 3600.0),
    "angstrom": ("µm", 1e-4),
    "nanometer": ("µm", 1e-3),
    "micrometer": ("µm", 1.0),
    "millimeter": ("µm", 1e3),
    "centimeter": ("µm", 1e4),
    "meter": ("µm", 1e6),
}


@dataclass(frozen=True)
class Drawn:
    """One axis of a displayed plane.

    Parameters
    ----------
    name : str
        ``"time"``, or the name of the axis.
    size : int
        Samples.
    step : float
        Distance between samples in `unit`; 1 if it is unknown.
    unit : str
        ``"s"``, ``"µm"``, any other unit unchanged, or ``"lines"`` or ``"pixels"``.
    calibrated : bool
        Whether the step is known.
    edges : ndarray, optional
        Of samples that are not evenly spaced, shape (size + 1,), in `unit`: a sample reaches from
        its own time to that of the next, the last one as far as the median.
    """

    name: str
    size: int
    step: float
    unit: str
    calibrated: bool
    edges: npt.NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str:
        """Name and unit, as ``time (s)``."""
        return f"{self.name} ({self.unit})"

    @property
    def start(self) -> float:
        """The outer edge of the first sample, in `unit`."""
        return 0.0 if self.edges is None else float(self.edges[0])

    @property
    def extent(self) -> float:
        """The outer edge of the last sample, in `unit`."""
        return self.size * self.step if self.edges is None else float(self.edges[-1])

    def at(self, position: Any) -> Any:
        """Return the values, in `unit`, of positions in samples from the first edge."""
        if self.edges is None:
            return position * self.step
        import numpy as np

        return np.interp(position, np.arange(self.size + 1), self.edges)

    def position(self, value: float) -> float:
        """Return the position, in samples from the first edge, of a value in `unit`."""
        if self.edges is None:
            return value / self.step
        import numpy as np

        return float(np.interp(value, self.edges, np.arange(self.size + 1)))


@dataclass(frozen=True)
class Plane:
    """The plane of two axes of an image, with time to the right.

    Parameters
    ----------
    axes : tuple of Axis
    shape : tuple of int
    rows, columns : int
        Positions of the plane's axes in the image.
    channel_names : tuple of str
        Empty if the channels have no names.
    times_s : ndarray, optional
        Times along the plane's axis of time, where they are not regular.
    """

    axes: tuple[Axis, ...]
    shape: tuple[int, ...]
    rows: int
    columns: int
    channel_names: tuple[str, ...] = ()
    times_s: npt.NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    @property
    def turned(self) -> bool:
        """Whether rows are points in time, which are drawn from left to right."""
        return self.axes[self.rows].quantity == "time"

    @property
    def is_kymograph(self) -> bool:
        """Whether one of the two axes is time."""
        return self.turned or self.axes[self.columns].quantity == "time"

    @property
    def horizontal(self) -> Drawn:
        """The axis from left to right."""
        return self._drawn(self.rows if self.turned else self.columns)

    @property
    def vertical(self) -> Drawn:
        """The axis from top to bottom."""
        return self._drawn(self.columns if self.turned else self.rows)

    @property
    def is_true_to_scale(self) -> bool:
        """Whether both axes have the same unit, so that a circle must look like one."""
        return not self.is_kymograph and self.horizontal.unit == self.vertical.unit

    def _drawn(self, position: int) -> Drawn:
        axis, size = self.axes[position], self.shape[position]
        name = "time" if axis.quantity == "time" else axis.name
        if axis.quantity == "time" and self.times_s is not None and size > 1:
            import numpy as np

            step = float(np.median(np.diff(self.times_s)))
            edges = np.append(self.times_s, self.times_s[-1] + step)
            return Drawn(name, size, step, "s", calibrated=True, edges=edges)
        if axis.step is None or axis.unit is None:
            unit = "lines" if axis.quantity == "time" else "pixels"
            return Drawn(name, size, 1.0, unit, calibrated=False)
        unit, factor = _UNITS.get(axis.unit, (axis.unit, 1.0))
        return Drawn(name, size, axis.step * factor, unit, calibrated=True)

    def index(
        self,
        *,
        t: int = 0,
        z: int = 0,
        channel: int | str = 1,
        at: Mapping[str, int] | None = None,
    ) -> tuple[int | slice, ...]:
        """Return the index of the plane in the pixels.

        Raises
        ------
        ArgumentError
            If the image has no such plane; the message names the axis and its valid range.
        UnsupportedDataError
            If the image has no pixels at all.
        """
        if 0 in self.shape:
            raise UnsupportedDataError("the image has no pixels")
        wanted: dict[str, Any] = dict(at or {})
        index: list[int | slice] = []
        for position, (axis, size) in enumerate(zip(self.axes, self.shape, strict=True)):
            asked = wanted.pop(axis.name, None)
            if position in (self.rows, self.columns):
                if asked is not None:
                    raise ArgumentError(f"{axis.name!r} is an axis of the plane", where="at")
                index.append(slice(None))
            elif axis.quantity == "channel":
                index.append(
                    self._channel(channel, size) if asked is None else _at(asked, axis, size)
                )
            elif asked is None and axis.quantity == "time":
                index.append(_at(t, axis, size))
            elif asked is None and axis.name == "z":
                index.append(_at(z, axis, size))
            else:
                index.append(_at(0 if asked is None else asked, axis, size))
        if wanted:
            raise ArgumentError(
                f"the image has no axis {next(iter(wanted))!r}",
                where="at",
                hint=f"Its axes are {', '.join(axis.name for axis in self.axes)}.",
            )
        self._refuse_what_is_not_there(t=t, z=z, channel=channel)
        return tuple(index)

    def _refuse_what_is_not_there(self, *, t: int, z: int, channel: int | str) -> None:
        beyond = [a for i, a in enumerate(self.axes) if i not in (self.rows, self.columns)]
        for name, value, first, there in (
            ("t", t, 0, any(axis.quantity == "time" for axis in beyond)),
            ("z", z, 0, any(axis.name == "z" for axis in beyond)),
            (
                "channel",
                1 if channel in self.channel_names else channel,
                1,
                any(axis.quantity == "channel" for axis in beyond),
            ),
        ):
            if not there and value != first:
                raise ArgumentError(
                    f"{name} is {value!r}, but the image has no such axis",
                    where=name,
                    hint=f"Its axes are {', '.join(axis.name for axis in self.axes)}.",
                )

    def _channel(self, channel: int | str, size: int) -> int:
        if isinstance(channel, str):
            if channel not in self.channel_names:
                names = ", ".join(map(repr, self.channel_names)) or "none"
                raise ArgumentError(
                    f"there is no channel {channel!r}", where="channel", hint=f"Names: {names}."
                )
            return self.channel_names.index(channel)
        return _whole(channel, "channel", 1, size) - 1

    def shows(self, roi: KnownRoi, index: Sequence[int | slice]) -> bool:
        """Return True if a region's channel and z are those of the plane at an index."""
        for axis, position in zip(self.axes, index, strict=True):
            if isinstance(position, slice):
                continue
            if axis.quantity == "channel" and roi.channel != position + 1:
                return False
            if axis.name == "z" and roi.z != position:
                return False
        return True

    def arrange(self, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return a plane of shape (rows, columns) in drawing orientation."""
        return pixels.T if self.turned else pixels


def plane_of(record: StoredImage) -> Plane:
    """Return the plane of an image: its last two axes that are not channels."""
    axes, shape = record.axes, record.shape
    ours = [i for i, axis in enumerate(axes) if axis.quantity != "channel"]
    rows, columns = ours[-2:] if len(ours) >= 2 else (len(axes) - 2, len(axes) - 1)
    time = next((axes[i].name for i in (rows, columns) if axes[i].quantity == "time"), None)
    times = None if time is None else kept_times_s(record, time)
    return Plane(axes, shape, rows, columns, tuple(record.channel_names or ()), times)


def _at(value: Any, axis: Axis, size: int) -> int:
    return _whole(value, axis.name, 0, size - 1)


def _whole(value: Any, what: str, first: int, last: int) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ArgumentTypeError(f"{what} is {value!r}, not a whole number", where=what) from None
    if not first <= number <= last:
        raise ArgumentError(f"{what} is {number}, and the image has {first} to {last}", where=what)
    return number
