"""Drafts of new image records, staged and committed in one step."""

from __future__ import annotations

import math
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import TracebackType
from typing import Any, Self

import numpy as np

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import dump, utc_now
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.engine.images.from_xarray import is_data_array, labels_of
from kymflow_zarr.engine.images.pixels import (
    LARGE_PLANE,
    Below,
    Target,
    Tree,
    array_artifact_document,
    new_target,
    set_pyramid,
    write_pixels,
)
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, RecordExistsError
from kymflow_zarr.formats.array.write import array_layout, as_array
from kymflow_zarr.formats.gzip import gzip_bytes
from kymflow_zarr.runtime.background import Content
from kymflow_zarr.schema.axes import (
    array_dimension_names,
    calibrate,
    channel_count,
    normalize_axes,
)
from kymflow_zarr.schema.base import plain_group_document
from kymflow_zarr.schema.checksums import FileSum, dump_checksums
from kymflow_zarr.schema.image import (
    AxisDocument,
    ChannelWindow,
    ImageDocument,
    PixelsDocument,
    SourceFileDocument,
    ome_attributes,
)
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import ArrayLike, ArtifactKind, Axis


class RecordWriter(ABC):
    """Writes the artifacts and source files of one image; the base of its draft and its update.

    Parameters
    ----------
    prefix : str
        Key of the image.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    @property
    def prefix(self) -> str:
        """Key of the image."""
        return self._prefix

    def save(self, kind: ArtifactKind, name: str, value: Any) -> tuple[str, str]:
        """Save an artifact; return its key below the record and its SHA-256."""
        key = layout.artifact_key(kind, name)
        return self.save_encoded(key, artifacts.encode(kind, value, where=f"{self._prefix}/{key}"))

    def save_encoded(self, key: str, data: bytes) -> tuple[str, str]:
        """Save the bytes of an artifact; return its key below the record and its SHA-256."""
        return key, self.write(key, data)

    def keep_source_file(self, name: str, data: bytes) -> str:
        """Store the bytes of a source file, compressed, and return their key."""
        key = layout.source_file_key(name)
        self.write(key, gzip_bytes(data))
        return key

    @abstractmethod
    def write(self, key: str, data: bytes) -> str:
        """Put bytes at a key below the record; return their SHA-256."""

    @abstractmethod
    def find(self, key: str) -> bytes | None:
        """Return what a key below the record holds after the commit, None for nothing."""

    @property
    @abstractmethod
    def sums(self) -> Mapping[str, FileSum]:
        """Size and digest of each file written so far, by key below the record."""


class RecordDraft(RecordWriter):
    """Pixels and artifacts of an image that is not committed yet.

    Use as a context manager; a draft that is not committed when the block ends is dropped.

    Parameters
    ----------
    storage : Storage
    image_id : str, optional
        A UUID if left out.
    area : str, optional
        The area of another staged folder to stage in. The owner of that folder commits the
        draft, possibly in another process: a draft pickles once it has its pixels.

    Raises
    ------
    RecordExistsError
        If an image of that id exists.
    """

    def __init__(
        self, storage: Storage, image_id: str | None = None, *, area: str | None = None
    ) -> None:
        storage.require_writable()
        given = str(uuid.uuid4()) if image_id is None else image_id
        self.image_id = layout.check_name(given, what="image id")
        super().__init__(layout.image_prefix(self.image_id))
        self._location = storage.location
        self._document: ImageDocument | None = None
        self._ome: dict[str, Any] | None = None
        self._array_group_written = False
        self._label_folders: list[str] = []
        if storage.stat(self._prefix) is not None:
            raise self.taken()
        self.staged = storage.stage(area, key=self._prefix)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.staged.__exit__(kind, error, trace)

    def set_pixels(
        self,
        array: object,
        *,
        axes: str | Sequence[str | Axis] | None = None,
        chunks: int | Sequence[int] | None = None,
        channel_names: Sequence[str] | None = None,
        line_period_s: float | None = None,
        pixel_size_um: float | None = None,
    ) -> None:
        """Write the pixels; parameters as of :meth:`OpenDataset.add_image`."""
        if axes is None and is_data_array(array):
            array, axes, named = labels_of(array)
            channel_names = named if channel_names is None else channel_names
        self._document, self._ome = set_pixels(
            self.image_id, None, array, new_target(self.staged), axes=axes, chunks=chunks,
            channel_names=channel_names, line_period_s=line_period_s, pixel_size_um=pixel_size_um,
        )  # fmt: skip

    def write(self, key: str, data: bytes) -> str:
        """Put bytes at a key below the record; return their SHA-256."""
        return self.put(key, data).sha256

    def find(self, key: str) -> bytes | None:
        """Return what was written at a key, None for nothing."""
        return self.staged.read(key) if key in self.staged.sums else None

    @property
    def document(self) -> ImageDocument:
        """The document of the image; after :meth:`set_pixels`."""
        return self._require_pixels()

    def put(self, key: str, data: Content) -> FileSum:
        """Put bytes, which may still be computed, at a key; return their size and digest."""
        return self.staged.write(key, data)

    def set_times(self, *, created_utc: str, updated_utc: str) -> None:
        """Set the times of creation and last change, instead of now; after :meth:`set_pixels`."""
        document = self._require_pixels()
        document.created_utc, document.updated_utc = created_utc, updated_utc

    def set_source_files(self, files: Sequence[SourceFileDocument]) -> None:
        """Set the source files of the record; after :meth:`set_pixels`."""
        self._require_pixels().source_files = list(files)

    def set_earlier_artifacts(self, digests: Mapping[str, str]) -> None:
        """Mark artifacts, by key, as computed from earlier pixels; after :meth:`set_pixels`."""
        self._require_pixels().earlier_artifacts = dict(digests)

    def save_array(
        self,
        name: str,
        array: object,
        *,
        axes: Sequence[str] | None = None,
        updated_utc: str | None = None,
    ) -> tuple[str, str]:
        """Add an array artifact and return its key below the record and its SHA-256."""
        prefix = layout.array_artifact_prefix(name)
        if not self._array_group_written:
            self.staged.write(
                f"{layout.ANALYSIS_ARRAYS}/{layout.GROUP}", dump(plain_group_document())
            )
            self._array_group_written = True
        pixels = write_array_artifact(
            name, array, Below(self.staged, prefix), axes=axes, chunks=None,
            updated_utc=updated_utc,
        )  # fmt: skip
        return prefix, pixels.sha256

    def save_labels(
        self, name: str, labels: object, *, updated_utc: str | None = None
    ) -> PixelsDocument:
        """Add a label image and return the description of its array; after :meth:`set_pixels`."""
        from kymflow_zarr.engine.images.labels import check_labels, labels_document, write_labels

        image = self._require_pixels()
        full = f"{layout.LABELS}/{layout.check_name(name, what='name of labels')}"
        key = layout.labels_prefix(full)
        assert key is not None, "names are not empty"
        checked = check_labels(name, labels, image)
        tree = Below(self.staged, key)
        document = write_labels(full, checked, image, new_target(tree), updated_utc)
        tree.write(layout.GROUP, dump(labels_document(document, checked.axes)))
        self._label_folders.append(key.removeprefix(f"{layout.LABELS}/"))
        return document.pixels

    @property
    def sums(self) -> Mapping[str, FileSum]:
        """Size and digest of each file written so far, by key below the record."""
        return self.staged.sums

    def read(self, key: str) -> bytes:
        """Return the bytes of a file that was written."""
        return self.staged.read(key)

    def commit(self) -> None:
        """Make the record visible, complete.

        Raises
        ------
        RecordExistsError
            If an image of that id was added meanwhile.
        """
        if not self.staged.publish(self.complete()):
            raise self.taken()

    @property
    def size_bytes(self) -> int:
        """Total size of its files so far."""
        return sum(file.size_bytes for file in self.staged.sums.values())

    def complete(self) -> str:
        """Write the remaining documents; return the key to publish the files at."""
        document = self._require_pixels()
        if self._label_folders:
            from kymflow_zarr.engine.images.labels import labels_group

            key = f"{layout.LABELS}/{layout.GROUP}"
            self.staged.write(key, dump(labels_group(self._label_folders)))
        self.staged.write(layout.GROUP, dump(document.to_group(ome=self._ome)))
        self.staged.write(layout.CHECKSUMS, dump_checksums(self.staged.sums))
        return self._prefix

    def _require_pixels(self) -> ImageDocument:
        if self._document is None:
            raise ArgumentError("a record needs pixels before anything else", hint="set_pixels()")
        return self._document

    def taken(self) -> RecordExistsError:
        """Return the error that an image of its id exists."""
        return RecordExistsError(
            f"there is an image {self.image_id!r} already",
            where=self._location,
            hint="Use record(id).save_array() to replace its pixels, or choose another id.",
        )


def commit_drafts(
    storage: Storage, drafts: Sequence[RecordDraft]
) -> list[RecordExistsError | None]:
    """Make records visible, each complete; they share the cost of fsync.

    Returns
    -------
    list of RecordExistsError or None
        An error for each draft that was not committed because its id was taken meanwhile.
    """
    committed = storage.publish([(draft.staged, draft.complete()) for draft in drafts])
    return [None if done else draft.taken() for draft, done in zip(drafts, committed, strict=True)]


def set_pixels(
    image_id: str,
    old: ImageDocument | None,
    array: object,
    target: Target,
    *,
    axes: str | Sequence[str | Axis] | None,
    chunks: int | Sequence[int] | None = None,
    channel_names: Sequence[str] | None = None,
    line_period_s: float | None = None,
    pixel_size_um: float | None = None,
) -> tuple[ImageDocument, dict[str, Any] | None]:
    """Write the pixels of a new or existing image; return its document and OME metadata.

    Parameters
    ----------
    image_id : str
    old : ImageDocument, optional
        Document of the image whose pixels are replaced; modified in place.
    array : array_like
    target : Target
    axes, chunks, channel_names, line_period_s, pixel_size_um
        As for :meth:`OpenDataset.add_image`.
    """
    pixels = as_array(array, what="image")
    true_axes = calibrate(
        normalize_axes(axes, len(pixels.shape)),
        line_period_s=line_period_s,
        pixel_size_um=pixel_size_um,
    )
    names = check_channel_names(channel_names, true_axes, tuple(pixels.shape))
    channel = next((i for i, axis in enumerate(true_axes) if axis.quantity == "channel"), None)
    ranges = None if names is None or channel is None else ChannelRanges(pixels, channel)

    dimension_names = array_dimension_names(true_axes)
    written = write_pixels(
        pixels if ranges is None else ranges, target, axes=true_axes, chunks=chunks,
        dimension_names=dimension_names,
    )  # fmt: skip
    pyramid = None
    if math.prod(written.shape) > LARGE_PLANE:
        # A late import: most images are small.
        from kymflow_zarr.engine.images.pyramid import write_levels

        pyramid = write_levels(
            pixels, array_layout(pixels, axes=true_axes, chunks=chunks), written, target,
            axes=true_axes, dimension_names=dimension_names,
        )  # fmt: skip
    now = utc_now()
    listed = [AxisDocument.of(axis) for axis in true_axes]
    if old is None:
        document = ImageDocument(
            image_id=image_id, created_utc=now, updated_utc=now, axes=listed, pixels=written,
            channel_names=names,
        )  # fmt: skip
    else:
        document = old
        document.pixels, document.axes, document.channel_names = written, listed, names
        document.updated_utc = now
    set_pyramid(document, pyramid)
    windows = [] if ranges is None or names is None else ranges.windows(names)
    ome = ome_attributes(
        true_axes, path=written.path, name=image_id, channels=windows, pyramid=pyramid
    )
    return document, ome


def check_channel_names(
    names: Sequence[str] | None, axes: Sequence[Axis], shape: tuple[int, ...]
) -> list[str] | None:
    """Return the channel names, one per channel.

    Raises
    ------
    ArgumentError
        If there are more or fewer.
    ArgumentTypeError
        If they are not a sequence of str.
    """
    if names is None:
        return None
    given = _names([names] if isinstance(names, str) else names, "channel_names")
    count = channel_count(axes, shape)
    if len(given) != count:
        raise ArgumentError(
            f"{len(given)} channel names were given for {count} channels", where="channel_names"
        )
    return given


def check_array_axes(axes: Sequence[str] | None, ndim: int) -> list[str] | None:
    """Return the axis names of an array artifact, one per dimension.

    Raises
    ------
    ArgumentError
        If there are more or fewer, or two are the same.
    ArgumentTypeError
        If they are not a sequence of str.
    """
    if axes is None:
        return None
    names = _names(axes, "axes")
    if len(names) != ndim:
        raise ArgumentError(
            f"{len(names)} axes were named for an array of {ndim} dimensions", where="axes"
        )
    if len(set(names)) != len(names):
        raise ArgumentError(f"axis names must differ from each other, not {names}", where="axes")
    return names


def _names(names: object, where: str) -> list[str]:
    if isinstance(names, Mapping | AbstractSet | bytes) or not isinstance(names, Iterable):
        raise ArgumentTypeError(
            f"{where} is a sequence of names, not a {type(names).__name__}", where=where
        )
    given = list(names)
    for name in given:
        if not isinstance(name, str):
            raise ArgumentTypeError(
                f"{where} is a sequence of names, and {name!r} is not a str",
                where=where,
                hint='Give one str for each, as ["y", "x"].' if where == "axes" else None,
            )
    return [str.__str__(name) for name in given]


def write_array_artifact(
    name: str,
    array: object,
    tree: Tree,
    *,
    axes: Sequence[str] | None,
    chunks: int | Sequence[int] | None,
    updated_utc: str | None = None,
) -> PixelsDocument:
    """Write a new array artifact, its array and its group document; return its document."""
    checked = as_array(array, what=f"array {name!r}")
    axes = check_array_axes(axes, len(checked.shape))
    document = write_pixels(
        checked, new_target(tree), axes=None, chunks=chunks, dimension_names=axes
    )
    group = array_artifact_document(name, document, axes, updated_utc).to_group()
    tree.write(layout.GROUP, dump(group))
    return document


class ChannelRanges:
    """An array that records the least and greatest finite value read in each channel.

    Parameters
    ----------
    array : ArrayLike
    axis : int
        The channel axis.
    """

    def __init__(self, array: ArrayLike, axis: int) -> None:
        self._array = array
        self._axis = axis
        self.shape = tuple(array.shape)
        self.dtype = array.dtype
        self._low = np.full(self.shape[axis], np.inf)
        self._high = np.full(self.shape[axis], -np.inf)

    def __getitem__(self, region: tuple[slice, ...]) -> np.ndarray[Any, Any]:
        block = np.asarray(self._array[region])
        if block.size and block.dtype.kind in "buif":
            by_channel = np.moveaxis(block, self._axis, 0)
            for channel, values in zip(
                range(*region[self._axis].indices(self.shape[self._axis])), by_channel, strict=True
            ):
                finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
                if finite.size:
                    self._low[channel] = min(self._low[channel], float(finite.min()))
                    self._high[channel] = max(self._high[channel], float(finite.max()))
        return block

    def windows(self, names: Sequence[str]) -> list[ChannelWindow]:
        """Return the range of each named channel; 0 to 1 where nothing finite was read."""
        seen = self._low <= self._high
        low, high = np.where(seen, self._low, 0.0), np.where(seen, self._high, 1.0)
        return [
            ChannelWindow(name, float(a), float(b))
            for name, a, b in zip(names, low, high, strict=True)
        ]
