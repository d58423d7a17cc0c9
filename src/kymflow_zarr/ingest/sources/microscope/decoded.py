"""The part that all readers of microscope files share."""

from __future__ import annotations

import datetime as dt
import importlib
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from kymflow_zarr.errors import (
    ArgumentError,
    KymflowZarrError,
    MissingDependencyError,
    SourceFileError,
)
from kymflow_zarr.ingest.sources.tiff.calibration import even_step, usual_step
from kymflow_zarr.runtime.limits import check_limit
from kymflow_zarr.types import Axis, Quantity

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["DecodedImage", "Stated", "as_json", "epoch_ns", "library", "reading"]

# The files' letters of axes; wavelengths of emission and excitation are Leica's.
_AXES: Final[Mapping[str, tuple[str, Quantity]]] = {
    "T": ("t", "time"),
    "C": ("c", "channel"),
    "Z": ("z", "space"),
    "Y": ("y", "space"),
    "X": ("x", "space"),
    "L": ("lambda", "other"),
    "\u03bb": ("lambda", "other"),
    "\u039b": ("excitation", "other"),
}
_RGB: Final = ("R", "G", "B", "A")


def library(name: str, *, extra: str, python: tuple[int, int] = (3, 11)) -> Any:
    """Import the library of a format.

    Raises
    ------
    MissingDependencyError
        If it is not installed; names the extra, and the Python that it needs if this one is older.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        hint = f"pip install 'kymflow-zarr[{extra}]' installs it."
        if sys.version_info[:2] < python:
            needed = ".".join(map(str, python))
            hint = f"It needs Python {needed} or newer: use one, and {hint}"
        raise MissingDependencyError(
            f"files of this kind need the package {name}, which is not installed", hint=hint
        ) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise the errors of a library as SourceFileError.

    The libraries raise many types on damaged files.
    """
    try:
        yield
    except (KymflowZarrError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        raise SourceFileError(
            f"cannot be read: {type(error).__name__}: {error}",
            where=str(path),
            hint="It may be damaged, or be another kind of file with this name.",
        ) from error


@dataclass(kw_only=True)
class Stated:
    """What a file states of one image.

    Parameters
    ----------
    dims : sequence of str
        The file's letters of the axes, in order.
    shape : sequence of int
    dtype : dtype
    steps : mapping of str to (str, float)
        Unit and step, by letter.
    channel_names : sequence of str, optional
    times_s : sequence of float, optional
        Seconds since the start for each index along T, as the file's time stamps say.
    acquired_local_epoch_ns : int, optional
    name : str, optional
    regions : sequence of mapping
        Regions in the form of the metadata payload, such as the line that was scanned.
    description : mapping
        JSON-able.
    notes : sequence of str
    """

    dims: Sequence[str]
    shape: Sequence[int]
    dtype: np.dtype[Any]
    steps: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    channel_names: Sequence[str] | None = None
    times_s: Sequence[float] | None = None
    acquired_local_epoch_ns: int | None = None
    name: str | None = None
    regions: Sequence[Mapping[str, Any]] = ()
    description: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()


class DecodedImage:
    """One image of a microscope's file, an `ImageFile`.

    All its pixels are decoded when the first are read. Samples of RGB become channels; a line
    scan, which has one row a time or none, becomes ``(t, x)``.

    Parameters
    ----------
    path : Path
    stated : Stated
    series, count : int
        Number of the image in the file, and how many there are.
    decode : callable
        Returns all pixels, as `stated` has them.
    close : callable
        Closes the file.
    others : sequence of Path
        Other files that the image is read from.
    """

    def __init__(
        self,
        path: Path,
        stated: Stated,
        *,
        series: int,
        count: int,
        decode: Callable[[], npt.NDArray[Any]],
        close: Callable[[], None],
        others: Sequence[Path] = (),
    ) -> None:
        self.path = path
        self.files: tuple[Path, ...] = (path, *others)
        self.series_index, self.series_count = series, count
        self.source_axes = "".join(stated.dims)
        self.name, self.dtype = stated.name, stated.dtype.newbyteorder("=")
        self.acquired_local_epoch_ns = stated.acquired_local_epoch_ns
        self.regions = tuple(stated.regions)
        self._stated, self._decode, self._close = stated, decode, close
        self._lock = threading.Lock()
        self._pixels: npt.NDArray[Any] | None = None
        dims, shape = list(stated.dims), list(stated.shape)
        self._order, self.shape = self._arranged(dims, shape)
        times = stated.times_s
        count = shape[dims.index("T")] if "T" in dims else 1
        fits = times is not None and len(times) == count > 1
        self.frame_times_s: tuple[float, ...] | None = tuple(times or ()) if fits else None
        self.axes: tuple[Axis, ...] = tuple(self._axis(dim) for dim in self._order)
        self.channel_names = self._names()
        self.notes: tuple[str, ...] = (*stated.notes, *self._noted())
        size = math.prod(stated.shape) * self.dtype.itemsize
        check_limit("image_bytes", size, "the image has", where=str(path))
        self.held_bytes = size

    @property
    def description(self) -> dict[str, object]:
        """All other metadata of the file, and the time of each frame or line."""
        described = dict(self._stated.description)
        if self.frame_times_s is not None:
            described["frame_times_s"] = list(self.frame_times_s)
        return described

    def _arranged(self, dims: list[str], shape: list[int]) -> tuple[list[str], tuple[int, ...]]:
        """Return the letters of the axes of the image, and its shape."""
        sizes = dict(zip(dims, shape, strict=True))
        if len(sizes) != len(dims):
            raise SourceFileError(f"has two axes of one name: {dims}", where=str(self.path))
        self._line_scan = sizes.get("T", 1) > 1 and sizes.get("Y", 1) == 1
        if self._line_scan:
            sizes.pop("Y", None)
        self._samples = sizes.pop("S", 1)
        if self._samples > 1:
            order = list(sizes) if "C" in sizes else self._with_channel(list(sizes))
            sizes = {dim: sizes.get(dim, 1) for dim in order}
            sizes["C"] *= self._samples
        if len(sizes) < 2:
            sizes = {"Y": 1, **sizes}
        return list(sizes), tuple(sizes.values())

    @staticmethod
    def _with_channel(order: list[str]) -> list[str]:
        at = 1 if order[0] == "T" else 0
        return [*order[:at], "C", *order[at:]]

    def _axis(self, dim: str) -> Axis:
        name, quantity = _AXES.get(dim, (dim.lower(), "other"))
        if quantity == "channel":
            return Axis(name, quantity)
        if dim == "T" and self.frame_times_s is not None:
            step = usual_step(self.frame_times_s)
            if step is not None:
                return Axis(name, quantity, "second", step)
        stated = self._stated.steps.get(dim)
        if stated is None or not math.isfinite(stated[1]) or stated[1] == 0:
            return Axis(name, quantity)
        # Rows in seconds are the lines of a line scan.
        quantity = "time" if stated[0] == "second" else quantity
        return Axis(name, quantity, stated[0], abs(float(stated[1])))

    def _names(self) -> tuple[str, ...] | None:
        names = self._stated.channel_names
        if "C" not in self._order:
            return None
        count = self.shape[self._order.index("C")] // self._samples
        if names is None or len(names) != count:
            names = [""] * count
        if self._samples == 1:
            return tuple(names) if any(names) else None
        letters = _RGB[: self._samples] if self._samples <= len(_RGB) else range(self._samples)
        return tuple(f"{name} {letter}".strip() for name in names for letter in letters)

    def _noted(self) -> Iterator[str]:
        times = self.frame_times_s
        if times is not None and even_step(times) is None:
            gaps = [after - before for before, after in pairwise(times)]
            yield (
                f"its times are not regular ({min(gaps):g} to {max(gaps):g} s apart, "
                f"{np.median(gaps):g} s in the middle): rec.times_s() gives the time of each"
            )

    def __getitem__(self, key: Any, /) -> npt.NDArray[Any]:
        """Read a region, given by integers and slices, as a C-contiguous array."""
        with self._lock:
            if self._pixels is None:
                with reading(self.path):
                    self._pixels = self._in_order(self._decode())
            pixels = self._pixels
        return np.ascontiguousarray(pixels[key], dtype=self.dtype)

    def _in_order(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        dims = list(self._stated.dims)
        if pixels.shape != tuple(self._stated.shape):
            raise SourceFileError(
                f"its pixels have the shape {pixels.shape}, its metadata say "
                f"{tuple(self._stated.shape)}",
                where=str(self.path),
            )
        if self._samples > 1:
            # Samples directly after their channel, so that both are one axis.
            at = dims.index("C") + 1 if "C" in dims else self._order.index("C")
            pixels = np.moveaxis(pixels, dims.index("S"), at)
        return pixels.reshape(self.shape)

    def hold(self, size: int) -> memoryview | None:  # noqa: ARG002
        """Return None: the pixels are decoded as a whole in any case."""
        return None

    def let_go(self) -> None:
        """Release the decoded pixels."""
        with self._lock:
            self._pixels = None

    def skeleton(self, channel: tuple[int, int] | None = None) -> None:
        """Return None: the file is not rebuilt of its pixels."""

    def close(self) -> None:
        """Close the file; may be called twice."""
        self.let_go()
        self._close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()


def check_series(series: int, count: int, path: Path) -> None:
    """Raise ArgumentError if a file has no image of this number."""
    if not 0 <= series < count:
        raise ArgumentError(
            f"the file holds {count} images, numbered from 0; there is no {series}",
            where=str(path),
        )


def epoch_ns(moment: dt.datetime | np.datetime64 | None) -> int | None:
    """Return a wall clock as nanoseconds since 1970-01-01T00:00:00 of that clock."""
    if moment is None:
        return None
    if isinstance(moment, dt.datetime):
        moment = np.datetime64(moment.replace(tzinfo=None))
    return int(moment.astype("datetime64[ns]").astype(np.int64))


def as_json(value: Any) -> Any:
    """Return metadata of a library as JSON-able values."""
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return as_json(value.tolist())
    if isinstance(value, np.generic):
        return as_json(value.item())
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
