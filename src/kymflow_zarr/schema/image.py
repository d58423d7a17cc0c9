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
    document: str = "image"

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
    document: str = "array_artifact"

    def to_group(self) -> dict[str, Any]:
        """Return the whole ``zarr.json``."""
        return group_document(self)


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
    return document


def read_array_artifact_document(group: Any, *, where: str) -> ArrayArtifactDocument:
    """Read the ``zarr.json`` of an array artifact; errors as for images."""
    document = read_document(ArrayArtifactDocument, own_attributes(group, where=where), where=where)
    _check_shape(document.pixels, where=where)
    if document.axes is not None:
        _check_dimensions(document.pixels, len(document.axes), where=where)
    return document


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


# Default display colors, as Fiji assigns them to the channels of a composite.
_COLORS: Final = ("FF0000", "00FF00", "0000FF", "FFFFFF", "00FFFF", "FF00FF", "FFFF00")


class ChannelWindow(NamedTuple):
    """Name and range of intensities of one channel, for the display settings."""

    name: str
    low: float
    high: float


def ome_attributes(
    axes: Sequence[Axis], *, path: str, name: str, channels: Sequence[ChannelWindow] = ()
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
            {"path": path, "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        ],
    }
    attributes: dict[str, Any] = {"version": "0.5", "multiscales": [multiscale]}
    if channels:
        attributes["omero"] = {"channels": [_channel(i, c) for i, c in enumerate(channels)]}
    return attributes


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
        "color": _COLORS[index % len(_COLORS)],
        "window": window,
        "active": True,
    }
