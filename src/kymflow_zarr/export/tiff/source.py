"""Write the TIFF that an image came from, byte for byte if possible."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import load_image
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.engine.source_files import read_source_file
from kymflow_zarr.errors import ArtifactNotFoundError, CorruptDataError, SchemaValidationError
from kymflow_zarr.export.dataset_layout.files import WHOLE_IMAGE_BYTES, pixel_bytes
from kymflow_zarr.export.staging_area import target_errors
from kymflow_zarr.export.tiff.display import display_of, tiff_description
from kymflow_zarr.runtime.limits import pixels_memory
from kymflow_zarr.schema.image import ImageDocument, SourceFileDocument
from kymflow_zarr.schema.tiff_skeleton import TiffSkeleton, decode_skeleton
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.files import digest_file

if TYPE_CHECKING:
    import numpy.typing as npt

    from kymflow_zarr.schema.tiff_skeleton import TiffSkeleton
    from kymflow_zarr.types import ArrayLike


_KINDS: Final = {
    "imagej": "an ImageJ TIFF",
    "ome": "an OME-TIFF",
    "tiff": "a TIFF with ImageJ's description",
}


@dataclass(frozen=True, slots=True)
class SourceTiff:
    """An image, or one channel of it, to be written as its source TIFF.

    Parameters
    ----------
    reading : Reading
    record : StoredImage
    file : SourceFileDocument, optional
        The TIFF it came from.
    channel : (int, int), optional
        Axis and index, if each channel was a file of its own.
    reason : str, optional
        If there is no `file`, the reason.
    """

    reading: Reading
    record: StoredImage
    file: SourceFileDocument | None
    channel: tuple[int, int] | None = None
    reason: str | None = None

    def write(self, path: Path) -> str | None:
        """Write the TIFF; return why it differs from the original, None if it does not.

        Raises
        ------
        KymflowZarrError
            If the pixels cannot be read.
        """
        document = load_image(self.storage, self.record.image_id)
        with pixels_memory.reserve(min(pixel_bytes(document), WHOLE_IMAGE_BYTES)):
            return self._written(path)

    @property
    def storage(self) -> Storage:
        """The storage of the dataset."""
        return self.reading.storage

    def _written(self, path: Path) -> str | None:
        pixels, document = self._open()
        if self.file is None:
            self._write_new(path, pixels, document)
            return self.reason
        reason = self._as_it_was(path, pixels, document, self.file)
        if reason is None:
            return None
        path.unlink(missing_ok=True)
        kind = self._write_new(path, pixels, document)
        return f"{reason}; its pixels were rewritten, as {kind}"

    def _as_it_was(
        self, path: Path, pixels: Any, document: ImageDocument, file: SourceFileDocument
    ) -> str | None:

        if file.frame_as is None or not file.sha256:
            return self._why_no_skeleton()
        try:
            skeleton = self._skeleton(file)
        except (ArtifactNotFoundError, CorruptDataError, SchemaValidationError) as error:
            return f"what the TIFF held beside its pixels is lost ({error.what})"
        if not fits(skeleton, tuple(document.pixels.shape), pixels.dtype):
            return "the pixels were replaced in the dataset by others of another shape or dtype"
        with target_errors("write", str(path)):
            write_with_skeleton(path, skeleton, pixels)
            _, digest = digest_file(path)
        if digest == file.sha256:
            return None
        return "the pixels were replaced in the dataset"

    def _skeleton(self, file: SourceFileDocument) -> TiffSkeleton:
        key = f"{layout.image_prefix(self.record.image_id)}/{file.frame_as}"
        return decode_skeleton(read_source_file(self.storage, key), where=key)

    def _open(self) -> tuple[Any, ImageDocument]:
        while True:
            document = load_image(self.storage, self.record.image_id)
            large = pixel_bytes(document) > WHOLE_IMAGE_BYTES
            pixels = self.record.open_array() if large else self.record.load_array()
            # Another process may replace the pixels between the two reads.
            if load_image(self.storage, self.record.image_id).pixels == document.pixels:
                return pixels, document

    def _write_new(self, path: Path, pixels: Any, document: ImageDocument) -> str:
        from kymflow_zarr.export.tiff.write import tiff_kind, write_tiff

        display = display_of(self.storage, self.record.image_id, self.channel)
        axes, names = document.axis_values(), document.channel_names
        if self.channel is not None:
            axis, index = self.channel
            axes = (*axes[:axis], *axes[axis + 1 :])
            pixels = OneChannel(pixels, axis, index)
            names = None if names is None else [names[index]]
        with target_errors("write", str(path)):
            write_tiff(path, pixels, axes, names, name=self.record.image_id, display=display)
        kind = _KINDS[tiff_kind(axes, tuple(pixels.shape), pixels.dtype)]
        loss = display.fitting(np.dtype(pixels.dtype)).loss
        return kind if loss is None else f"{kind} {loss}"

    def _why_no_skeleton(self) -> str:
        description = tiff_description(self.storage, self.record.image_id, self.channel)
        if description:
            if len(description.get("files") or ()) > 1:
                return f"the TIFF was one of a set of {len(description['files'])} files"
            if description.get("series_count", 1) != 1:
                return f"the TIFF held {description['series_count']} images"
            if description.get("compression", "none") != "none":
                return f"the TIFF was compressed ({description['compression']})"
        return "the TIFF's pixels did not lie in it one after the other, or it is not known where"


def channel_place(document: ImageDocument, file: SourceFileDocument) -> tuple[int, int] | None:
    """Return axis and index of a file that was one channel of its image; None for a single file.

    Raises
    ------
    CorruptDataError
        If the image no longer has that channel.
    """
    images = [each for each in document.source_files if each.role == "image"]
    if len(images) < 2:
        return None
    axis = next((i for i, each in enumerate(document.axes) if each.quantity == "channel"), None)
    index = images.index(file)
    if axis is None or document.pixels.shape[axis] <= index or len(document.axes) < 3:
        raise CorruptDataError("the image has no channel for this file any more")
    return axis, index


# Bytes of a large image to read at a time.
BLOCK_BYTES: Final = 64 << 20


class OneChannel:
    """One index along one axis of an image, read on demand.

    Parameters
    ----------
    pixels : ArrayLike
    axis, index : int
    """

    def __init__(self, pixels: ArrayLike, axis: int, index: int) -> None:
        self._pixels, self._axis, self._index = pixels, axis, index
        shape = tuple(pixels.shape)
        self.shape: tuple[int, ...] = (*shape[:axis], *shape[axis + 1 :])
        self.dtype: Any = pixels.dtype

    def __getitem__(self, key: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        whole = (*key[: self._axis], self._index, *key[self._axis :])
        return np.asarray(self._pixels[whole])


def fits(skeleton: TiffSkeleton, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Return True if pixels have the shape and dtype that a skeleton was made for.

    Parameters
    ----------
    skeleton : TiffSkeleton
    shape : tuple of int
        Shape of the image, with all channels of a set of files.
    dtype : numpy.dtype
    """
    if np.dtype(skeleton.dtype).newbyteorder("=") != dtype:
        return False
    if skeleton.channel is not None:
        axis, index = skeleton.channel
        if axis >= len(shape) or index >= shape[axis]:
            return False
        shape = (*shape[:axis], *shape[axis + 1 :])
    return shape == skeleton.image_shape


def write_with_skeleton(path: Path, skeleton: TiffSkeleton, pixels: ArrayLike) -> None:
    """Write a TIFF from its skeleton and the pixels, which :func:`fits` has found to fit.

    Parameters
    ----------
    path : Path
        Path of the new file.
    skeleton : TiffSkeleton
    pixels : ArrayLike
        Pixels of the image, read in blocks.
    """
    if skeleton.channel is not None:
        pixels = OneChannel(pixels, *skeleton.channel)
    with path.open("xb") as file:
        file.truncate(skeleton.size_bytes)
        at = 0
        for offset, count in skeleton.gaps:
            file.seek(offset)
            file.write(skeleton.rest[at : at + count])
            at += count
        left = iter(skeleton.ranges)
        offset, count = 0, 0
        for block in _blocks(skeleton, pixels):
            data = block.reshape(-1).view(np.uint8).data
            done = 0
            while done < len(data):
                if count == 0:
                    offset, count = next(left)
                    continue
                part = min(count, len(data) - done)
                file.seek(offset)
                file.write(data[done : done + part])
                offset, count, done = offset + part, count - part, done + part


def _blocks(skeleton: TiffSkeleton, pixels: ArrayLike) -> Iterator[npt.NDArray[Any]]:
    """Yield the pixels in the file's dtype and order, one block at a time."""
    shape = skeleton.shape
    # Find the first dimension of which a run fits into a block; iterate over those before it.
    cut = next(
        (d for d in range(len(shape)) if _bytes_below(skeleton, d) <= BLOCK_BYTES), len(shape) - 1
    )
    run = max(1, BLOCK_BYTES // max(1, _bytes_below(skeleton, cut)))
    if any(len(dims) > 1 and dims[1] == cut and dims[0] > cut for dims in skeleton.dims):
        run = 1
    for position in itertools.product(*(range(n) for n in shape[:cut])):
        for start in range(0, shape[cut], run):
            yield _block(
                skeleton,
                pixels,
                [
                    *(range(i, i + 1) for i in position),
                    range(start, min(start + run, shape[cut])),
                    *(range(n) for n in shape[cut + 1 :]),
                ],
            )


def _bytes_below(skeleton: TiffSkeleton, dimension: int) -> int:
    return math.prod(skeleton.shape[dimension + 1 :]) * skeleton.itemsize


def _block(skeleton: TiffSkeleton, pixels: ArrayLike, ranges: list[range]) -> npt.NDArray[Any]:
    key = tuple(_slice(skeleton, dims, ranges) for dims in skeleton.dims)
    block = np.asarray(pixels[key])
    order = [d for dims in skeleton.dims for d in dims]
    order += [d for d in range(len(ranges)) if d not in order]
    block = block.reshape([len(ranges[d]) for d in order]).transpose(np.argsort(order))
    return np.ascontiguousarray(block, dtype=skeleton.dtype)


def _slice(skeleton: TiffSkeleton, dims: list[int], ranges: list[range]) -> slice:
    """Return the slice of an axis that corresponds to a part of its file dimensions."""
    outer = ranges[dims[0]]
    if len(dims) == 1:
        return slice(outer.start, outer.stop)
    count, inner = skeleton.shape[dims[1]], ranges[dims[1]]
    if len(inner) == count:
        return slice(outer.start * count, outer.stop * count)
    first = outer.start * count + inner.start
    if len(outer) == 1:
        return slice(first, first + len(inner))
    return slice(first, outer.stop * count, count)
