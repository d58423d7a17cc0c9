"""Literals and small value types that all rooms use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

__all__ = [
    "ARTIFACT_SUFFIXES",
    "ROI_SUFFIXES",
    "ArrayLike",
    "ArtifactInfo",
    "ArtifactKind",
    "Axis",
    "Durability",
    "ExportLayout",
    "FrameKind",
    "ImageBounds",
    "JsonValue",
    "Level",
    "MissingPlacement",
    "Mode",
    "OrderBy",
    "Progress",
    "Quantity",
    "RefreshMode",
    "Severity",
    "StrPath",
    "Verdict",
    "WorklistLayout",
]

Mode: TypeAlias = Literal["r", "r+", "a", "w", "w-"]
OrderBy: TypeAlias = Literal["image_id", "created_utc", "acquired_local_epoch_ns"]
MissingPlacement: TypeAlias = Literal["last", "first"]
WorklistLayout: TypeAlias = Literal["acqstore", "kymflow"]
ExportLayout: TypeAlias = Literal["dataset", "kymflow", "acqstore"]
RefreshMode: TypeAlias = Literal["skip", "reingest_if_changed"]
Durability: TypeAlias = Literal["full", "relaxed"]
Quantity: TypeAlias = Literal["space", "time", "channel", "other"]
ArtifactKind: TypeAlias = Literal["json", "parquet", "csv_gz"]
FrameKind: TypeAlias = Literal["parquet", "csv_gz"]
Severity: TypeAlias = Literal["error", "warning"]
Verdict: TypeAlias = Literal["accepted", "rejected"]
StrPath: TypeAlias = str | os.PathLike[str]
JsonValue: TypeAlias = (
    "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
)

# The end of the file names of each kind; none is the end of another.
ARTIFACT_SUFFIXES: Final[dict[ArtifactKind, str]] = {
    "json": ".json",
    "parquet": ".parquet",
    "csv_gz": ".csv.gz",
}

# ImageJ saves one region as ".roi"; its ROI Manager saves several as ".zip".
ROI_SUFFIXES: Final = (".roi", ".zip")

Progress: TypeAlias = Callable[[int, int, str], object]
"""Called as ``progress(done, total, label)`` while long work goes on.

Raising from it, including ``KeyboardInterrupt``, cancels the work between two items.
"""


class ArrayLike(Protocol):
    """The interface that pixels need: NumPy, memory-mapped, dask and zarr arrays have it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each dimension."""

    @property
    def dtype(self) -> Any:
        """Data type of the elements."""

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of an image, with its true quantity.

    Parameters
    ----------
    name : str
        Short name, one letter for the usual ones: ``t c z y x``.
    quantity : {"space", "time", "channel", "other"}
        The quantity along the axis. In a kymograph ``y`` has the quantity ``"time"``.
    unit : str, optional
        Name of the unit of `step` as in UDUNITS-2 and OME-Zarr (``"micrometer"``,
        ``"second"``); None if unknown.
    step : float, optional
        Distance between two neighbouring samples, in `unit`; None if unknown.
    """

    name: str
    quantity: Quantity
    unit: str | None = None
    step: float | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the pixels of an image.

    Parameters
    ----------
    shape : tuple of int
    factors : tuple of int
        Along each dimension, how many samples of the full resolution one of the level stands for;
        fewer for the last.
    chunks : tuple of int
        Shape of a chunk, the unit of compression.
    """

    shape: tuple[int, ...]
    factors: tuple[int, ...]
    chunks: tuple[int, ...]


class ImageBounds(dict[str, int]):
    """Extent of an image: ``{"width", "height", "num_slices"}``, as items and as attributes.

    Parameters
    ----------
    width, height : int
        Number of pixels of a plane along its last axis and along the one before.
    num_slices : int
        Number of planes along ``z``; 1 without such an axis.
    """

    def __init__(self, width: int, height: int, num_slices: int) -> None:
        super().__init__(width=width, height=height, num_slices=num_slices)

    @property
    def width(self) -> int:
        """Number of pixels along the last axis."""
        return self["width"]

    @property
    def height(self) -> int:
        """Number of pixels along the second to last axis."""
        return self["height"]

    @property
    def num_slices(self) -> int:
        """Number of planes along ``z``."""
        return self["num_slices"]


@dataclass(frozen=True, slots=True)
class ArtifactInfo:
    """One artifact in a listing.

    Parameters
    ----------
    name : str
        The name it was saved under.
    kind : {"json", "parquet", "csv_gz"}
    key : str
        Its key, relative to the dataset.
    size_bytes : int
    """

    name: str
    kind: ArtifactKind
    key: str
    size_bytes: int
