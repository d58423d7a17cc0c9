"""The documents of one image record and of one array artifact, with their OME-Zarr metadata."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.errors import LimitExceededError, SchemaValidationError
from kymflow_zarr.schema.axes import ome_axes
from kymflow_zarr.schema.base import Document, group_document, own_attributes, read_document
from kymflow_zarr.types import Axis, Quantity

_MAX_ELEMENTS: Final = 2**56


class AxisDocument(msgspec.Struct, kw_only=True):
    """One true axis; see :class:`kymflow_zarr.Axis`."""

    name: str
    quantity: Quantity
    unit: str | None = None
    step: float | None = None

    @classmethod
    def of(cls, axis: Axis) -> AxisDocument:
        """Return the document of an axis value."""
        return cls(name=axis.name, quantity=axis.quantity, unit=axis.unit, step=axis.step)

    def value(self) -> Axis:
        """Return the axis value."""
        return Axis(self.name, self.quantity, self.unit, self.step)


class PixelsDocument(msgspec.Struct, kw_only=True):
    """Location and layout of the current pixels.

    ``path`` names the array beside the document. Replacing pixels writes a new array
    under a new name and then this document, which is the commit.
    """

    path: str
    generation: int
    shape: list[int]
    dtype: str
    chunks: list[int]
    sha256: str
    stored_bytes: int


class LevelDocument(PixelsDocument, kw_only=True):
    """One level of a pyramid: an array, and the samples of level 0 for one of its own."""

    factors: list[int]


class PyramidDocument(msgspec.Struct, kw_only=True):
    """The further levels of an array, each reduced from the one before.

    Parameters
    ----------
    of : str
        ``pixels.sha256`` of the array that they were made of; of any other they are stale.
    method : str
        ``mean`` or ``mode``.
    levels : list of LevelDocument
        The largest first.
    """

    of: str
    method: str
    levels: list[LevelDocument]

    @property
    def path(self) -> str:
        """Name of the group that holds the levels."""
        return self.levels[0].path.partition("/")[0]


class SourceFileDocument(msgspec.Struct, kw_only=True):
    """One file that an image or one of its artifacts was read from.

    Parameters
    ----------
    path : str
        Absolute path when it was read.
    rel_path : str
        Path below the folder that was ingested, with ``/``.
    role : str
        ``image``, ``member`` (of a set of files), ``companion``, ``picture``, ``header``,
        ``metadata``, ``analysis``, ``sidecar`` or ``unknown``.
    size_bytes, mtime_ns : int
        From the file system.
    sha256 : str
        Digest of the file's bytes.
    series : int
        Index of the image in a file with several.
    series_name : str, optional
        Its name in such a file: a stage position, a scene.
    gone : bool
        True if a later scan did not find the file.
    kept_as : str, optional
        Key, below the record, of the file's own bytes.
    frame_as : str, optional
        Key, below the record, of the TIFF's skeleton
        (:class:`kymflow_zarr.schema.tiff_skeleton.TiffSkeleton`).
    feeds : dict of str to str
        SHA-256 of each artifact made from it, by key below the record, when it was stored:
        an artifact with another digest was edited since.
    """

    path: str
    rel_path: str
    role: str
    size_bytes: int
    mtime_ns: int
    sha256: str
    series: int = 0
    series_name: str | msgspec.UnsetType = msgspec.UNSET
    gone: bool = False
    kept_as: str | None = None
    frame_as: str | None = None
    feeds: dict[str, str] = msgspec.field(default_factory=dict)


class ImageDocument(Document, kw_only=True):
    """``attributes.kymflow_zarr`` of an image record's group."""

    image_id: str
    created_utc: str
    updated_utc: str
    axes: list[AxisDocument]
    pixels: PixelsDocument
    channel_names: list[str] | None = None
    source_files: list[SourceFileDocument] = msgspec.field(default_factory=list)
    earlier_artifacts: dict[str, str] = msgspec.field(default_factory=dict)
    pyramid: PyramidDocument | msgspec.UnsetType | None = msgspec.UNSET
    document: str = "image"

    @property
    def current_pyramid(self) -> PyramidDocument | None:
        """The pyramid of the current pixels, None if there is none."""
        return current_pyramid(self.pyramid, self.pixels)

    @property
    def source(self) -> SourceFileDocument | None:
        """The source file of the pixels, the first if there are several."""
        return next((file for file in self.source_files if file.role == "image"), None)

    def axis_values(self) -> tuple[Axis, ...]:
        """Return the axes as values."""
        return tuple(axis.value() for axis in self.axes)

    def to_group(self, *, ome: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the whole ``zarr.json``, with `ome` unless it is None."""
        return group_document(self, ome=ome)


class ArrayArtifactDocument(Document, kw_only=True):
    """``attributes.kymflow_zarr`` of an array artifact's group."""

    name: str
    updated_utc: str
    pixels: PixelsDocument
    axes: list[str] | None = None
    pyramid: PyramidDocument | msgspec.UnsetType | None = msgspec.UNSET
    document: str = "array_artifact"

    @property
    def current_pyramid(self) -> PyramidDocument | None:
        """The pyramid of the current array, None if there is none."""
        return current_pyramid(self.pyramid, self.pixels)

    def to_group(self, *, ome: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the whole ``zarr.json``, with `ome` unless it is None."""
        return group_document(self, ome=ome)


def read_image_document(group: Any, *, where: str) -> ImageDocument:
    """Read the ``zarr.json`` of an image record.

    Raises
    ------
    SchemaValidationError, FormatVersionError
        If it is not one of ours, or has a version that this code does not know.
    """
    document = read_document(ImageDocument, own_attributes(group, where=where), where=where)
    _check_shape(document.pixels, where=where)
    _check_dimensions(document.pixels, len(document.axes), where=where)
    _check_levels(document.pyramid, document.pixels, where=where)
    return document


def read_array_artifact_document(group: Any, *, where: str) -> ArrayArtifactDocument:
    """Read the ``zarr.json`` of an array artifact; errors as for images."""
    document = read_document(ArrayArtifactDocument, own_attributes(group, where=where), where=where)
    _check_shape(document.pixels, where=where)
    if document.axes is not None:
        _check_dimensions(document.pixels, len(document.axes), where=where)
    _check_levels(document.pyramid, document.pixels, where=where)
    return document


def current_pyramid(
    pyramid: PyramidDocument | msgspec.UnsetType | None, pixels: PixelsDocument
) -> PyramidDocument | None:
    """Return a pyramid that was made of these pixels, None if it is missing or stale."""
    # On-disk format: "A reader MUST NOT use levels whose pyramid.of is not pixels.sha256."
    if not isinstance(pyramid, PyramidDocument) or pyramid.of != pixels.sha256:
        return None
    return pyramid if pyramid.levels else None


def _check_levels(
    pyramid: PyramidDocument | msgspec.UnsetType | None, pixels: PixelsDocument, *, where: str
) -> None:
    current = current_pyramid(pyramid, pixels)
    for number, level in enumerate([] if current is None else current.levels, start=1):
        folder, _, name = level.path.partition("/")
        # On-disk format: "path MUST be the number of the level in the folder pyramid."
        if layout.parse_pyramid_path(folder) != pixels.generation or name != str(number):
            raise SchemaValidationError(
                f"level {number} of the pyramid is at {level.path!r}", where=where
            )
        fits = len(level.factors) == len(pixels.shape) and all(f > 0 for f in level.factors)
        shape = [-(-n // f) for n, f in zip(pixels.shape, level.factors, strict=fits)]
        if not fits or (level.shape, level.dtype) != (shape, pixels.dtype):
            raise SchemaValidationError(
                f"level {number} of the pyramid is {level.dtype} {level.shape}, no reduced "
                f"version of {pixels.dtype} {pixels.shape}",
                where=where,
            )


def _check_shape(pixels: PixelsDocument, *, where: str) -> None:
    shape = " x ".join(map(str, pixels.shape))
    if any(n < 0 for n in pixels.shape):
        raise SchemaValidationError(f"no array can have the shape {shape}", where=where)
    # Programs multiply the lengths; beyond this the products may overflow.
    if math.prod(n or 1 for n in pixels.shape) > _MAX_ELEMENTS:
        raise LimitExceededError(
            f"the array has the shape {shape}, more than array_bytes can ever allow",
            where=where,
            hint="The document is damaged or hostile: restore it from a copy of the dataset.",
        )


def _check_dimensions(pixels: PixelsDocument, axes: int, *, where: str) -> None:
    # On-disk format: "axes MUST have one entry for each dimension of the pixels."
    if axes != len(pixels.shape):
        raise SchemaValidationError(
            f"the document names {axes} axes for {len(pixels.shape)} dimensions", where=where
        )
    # On-disk format: "pixels.path MUST be the name of a child, without a separator."
    if "/" in pixels.path or not layout.is_safe_key(pixels.path):
        raise SchemaValidationError(
            f"pixels.path {pixels.path!r} is not the name of a child", where=where
        )


_COLORS: Final = ("FF0000", "00FF00", "0000FF", "FFFFFF", "00FFFF", "FF00FF", "FFFF00")


def channel_color(index: int) -> str:
    """Return the display color of a channel as RRGGBB, as Fiji assigns them in a composite."""
    return _COLORS[index % len(_COLORS)]


class ChannelWindow(NamedTuple):
    """Name and range of intensities of one channel, for the display settings."""

    name: str
    low: float
    high: float


def ome_attributes(
    axes: Sequence[Axis],
    *,
    path: str,
    name: str,
    channels: Sequence[ChannelWindow] = (),
    pyramid: PyramidDocument | None = None,
) -> dict[str, Any] | None:
    """Return the ``ome`` attribute of an image group, or None if OME-Zarr cannot express it.

    Parameters
    ----------
    axes : sequence of Axis
        The true axes.
    path : str
        Name of the level 0 array below the group.
    name : str
        Name of the image in viewers.
    channels : sequence of ChannelWindow
        Named channels, for the ``omero`` block; if empty, the block is left out.
    pyramid : PyramidDocument, optional
        The further levels.

    Notes
    -----
    Source: OME-Zarr 0.5, https://ngff.openmicroscopy.org/0.5/.
    """
    expressed = ome_axes(axes)
    if expressed is None:
        return None
    # "The length of the 'scale' array MUST be the same as the length of 'axes'"; an unknown
    # step is 1, the specification's value for "no scaling".
    scale = [1.0 if axis.step is None else axis.step for axis in expressed]
    multiscale = {
        "name": name,
        "axes": [_axis(axis) for axis in expressed],
        "datasets": [
            {"path": path, "coordinateTransformations": [{"type": "scale", "scale": scale}]},
            *(_level(level, scale) for level in ([] if pyramid is None else pyramid.levels)),
        ],
    }
    attributes: dict[str, Any] = {"version": "0.5", "multiscales": [multiscale]}
    if channels:
        attributes["omero"] = {"channels": [_channel(i, c) for i, c in enumerate(channels)]}
    return attributes


def _level(level: LevelDocument, scale: Sequence[float]) -> dict[str, Any]:
    factors = list(zip(level.factors, scale, strict=True))
    # The first sample lies in the middle of those of level 0 that it stands for.
    return {
        "path": level.path,
        "coordinateTransformations": [
            {"type": "scale", "scale": [f * step for f, step in factors]},
            {"type": "translation", "translation": [(f - 1) / 2 * step for f, step in factors]},
        ],
    }


def _axis(axis: Axis) -> dict[str, Any]:
    described: dict[str, Any] = {"name": axis.name}
    # "The value of 'type' ... SHOULD be one of 'space', 'time' or 'channel'": a custom axis
    # has no type.
    if axis.quantity != "other":
        described["type"] = axis.quantity
    if axis.unit is not None:
        described["unit"] = axis.unit
    return described


def _channel(index: int, channel: ChannelWindow) -> dict[str, Any]:
    # "Each dictionary in 'channels' MUST contain the field 'color' ... and 'window'".
    window = {"min": channel.low, "max": channel.high, "start": channel.low, "end": channel.high}
    return {
        "label": channel.name,
        "color": channel_color(index),
        "window": window,
        "active": True,
    }
