"""The time of each frame or line of an image, in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kymflow_zarr.errors import ArgumentError, SchemaValidationError

if TYPE_CHECKING:
    import numpy.typing as npt

    from kymflow_zarr.engine.image import StoredImage

SECONDS: Final = {
    "nanosecond": 1e-9,
    "microsecond": 1e-6,
    "millisecond": 1e-3,
    "second": 1.0,
    "minute": 60.0,
    "hour": 3600.0,
}


def times_name(axis: str) -> str:
    """Return the name of the array artifact that holds the times along an axis."""
    return f"axis_times/{axis}"


def time_axis(image: StoredImage, axis: str | None = None) -> int | None:
    """Return the position of an axis of time, the last one by default; None if there is none."""
    axes = image.axes
    of_time = [place for place, each in enumerate(axes) if each.quantity == "time"]
    if axis is None:
        return of_time[-1] if of_time else None
    for place in of_time:
        if axes[place].name == axis:
            return place
    names = ", ".join(axes[place].name for place in of_time) or "none"
    raise ArgumentError(
        f"the image has no axis {axis!r} of time", where="axis", hint=f"Of time: {names}."
    )


def kept_times_s(image: StoredImage, axis: str | None = None) -> npt.NDArray[np.float64] | None:
    """Return the times that are kept of each frame or line; None if the axis is regular.

    Raises
    ------
    SchemaValidationError
        If they do not fit the image.
    """
    place = time_axis(image, axis)
    if place is None:
        return None
    name = times_name(image.axes[place].name)
    try:
        times = image.load_array_artifact(name)
    except KeyError:
        image.require_present()
        return None
    problem = times_problem(times, image.shape[place])
    if problem is not None:
        raise SchemaValidationError(
            problem,
            where=f"{image.prefix}: {name}",
            hint=f"save_array_artifact({name!r}, times) replaces them, delete_array_artifact() "
            "makes the axis regular.",
        )
    return np.asarray(times, dtype=np.float64)


def times_problem(times: npt.NDArray[np.generic], size: int) -> str | None:
    """Return what is wrong with the times of an axis of some length; None if nothing is."""
    if times.shape != (size,):
        return f"the times have the shape {times.shape}, and the axis {size} samples"
    if times.dtype.kind not in "iuf" or not np.isfinite(times).all():
        return "the times are not all finite numbers"
    if size > 1 and not (np.diff(times.astype(np.float64)) > 0).all():
        return "the times do not rise from sample to sample"
    return None


def times_s(image: StoredImage, axis: str | None = None) -> npt.NDArray[np.float64] | None:
    """Return the time of each frame or line; see :meth:`kymflow_zarr.ZarrImageRecord.times_s`."""
    image = image.snapshot()
    place = time_axis(image, axis)
    if place is None:
        return None
    irregular = kept_times_s(image, image.axes[place].name)
    if irregular is not None:
        return irregular
    time = image.axes[place]
    if time.step is None or time.unit not in SECONDS:
        return None
    step = time.step * SECONDS[time.unit]
    return np.arange(image.shape[place], dtype=np.float64) * step
