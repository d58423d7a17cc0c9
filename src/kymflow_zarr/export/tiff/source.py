"""Write the TIFF that an image came from: the same bytes if possible, else a new TIFF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import load_image
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.engine.source_files import read_kept
from kymflow_zarr.errors import ArtifactNotFoundError, CorruptDataError, SchemaValidationError
from kymflow_zarr.export.dataset_layout.files import WHOLE_IMAGE_BYTES, pixel_bytes
from kymflow_zarr.export.tiff.display import display_of, tiff_description
from kymflow_zarr.export.work_dir import target_errors
from kymflow_zarr.runtime.memory_budget import pixels_memory
from kymflow_zarr.schema.image import ImageDocument, SourceFileDocument
from kymflow_zarr.schema.tiff_skeleton import TiffSkeleton, decode_skeleton
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.files import digest_file

__all__ = ["SourceTiff", "channel_place"]

_KINDS: Final = {
    "imagej": "an ImageJ TIFF",
    "ome": "an OME-TIFF",
    "tiff": "a TIFF with ImageJ's description",
}


@dataclass(frozen=True, slots=True)
class SourceTiff:
    """An image, or one channel of it, on its way into a TIFF.

    Parameters
    ----------
    reading : Reading
    record : StoredImage
    file : SourceFileDocument, optional
        The TIFF it came from.
    channel : (int, int), optional
        Axis and index, where each channel was a file of its own.
    reason : str, optional
        Without `file`: why there is none.
    """

    reading: Reading
    record: StoredImage
    file: SourceFileDocument | None
    channel: tuple[int, int] | None = None
    reason: str | None = None

    def write(self, path: Path) -> str | None:
        """Write the TIFF; return why it is not the one it was, None if it is.

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
        """What holds the bytes of the dataset."""
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
        return f"{reason}; its pixels were written anew, as {kind}"

    def _as_it_was(
        self, path: Path, pixels: Any, document: ImageDocument, file: SourceFileDocument
    ) -> str | None:
        from kymflow_zarr.export.tiff.skeleton import fits, write_with_skeleton

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
        return decode_skeleton(read_kept(self.storage, key), where=key)

    def _open(self) -> tuple[Any, ImageDocument]:
        while True:
            document = load_image(self.storage, self.record.image_id)
            large = pixel_bytes(document) > WHOLE_IMAGE_BYTES
            pixels = self.record.open_array() if large else self.record.load_array()
            # Another process may replace the pixels between the two reads.
            if load_image(self.storage, self.record.image_id).pixels == document.pixels:
                return pixels, document

    def _write_new(self, path: Path, pixels: Any, document: ImageDocument) -> str:
        from kymflow_zarr.export.tiff.skeleton import OneChannel
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
    """Return axis and index of a file that was one channel of its image; None for the only one.

    Raises
    ------
    CorruptDataError
        If the image has no channel for it any more.
    """
    images = [each for each in document.source_files if each.role == "image"]
    if len(images) < 2:
        return None
    axis = next((i for i, each in enumerate(document.axes) if each.quantity == "channel"), None)
    index = images.index(file)
    if axis is None or document.pixels.shape[axis] <= index or len(document.axes) < 3:
        raise CorruptDataError("the image has no channel for this file any more")
    return axis, index
