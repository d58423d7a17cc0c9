"""Read the image files of one acquisition as one image."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.formats.array.write import SHARD_BYTES
from kymflow_zarr.ingest.folder.scan import ScannedFile
from kymflow_zarr.ingest.sources.interface import ImageFile
from kymflow_zarr.ingest.sources.registry import open_image_file
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.schema.tiff_skeleton import encode_skeleton
from kymflow_zarr.types import Axis

if TYPE_CHECKING:
    from kymflow_zarr.engine.images.draft import RecordDraft
    from kymflow_zarr.engine.images.update import RecordUpdate

# Limit of the bytes besides the pixels in a file that is read as a whole.
_REST_BYTES: Final = 1 << 20


class ChannelStack:
    """The image files of one acquisition, read on demand; a context manager.

    One file is returned unchanged. Several become one image with a channel axis at the position
    that OME-Zarr requires: after ``t``, before everything else.

    Parameters
    ----------
    files : sequence of ScannedFile
        In order of their channels.
    series : int
        Number of the image in each file.

    Raises
    ------
    SourceFileError
        If the files cannot be read, or differ in shape, dtype or axes.
    """

    def __init__(self, files: Sequence[ScannedFile], series: int) -> None:
        self._open = ExitStack()
        try:
            self.images: list[ImageFile] = [
                self._open.enter_context(open_image_file(scanned.path, series=series))
                for scanned in files
            ]
            self._check(files)
        except BaseException:
            self._open.close()
            raise
        self._files = tuple(files)
        first = self.images[0]
        self.dtype = first.dtype
        self._at: int | None = None
        self.shape, self.axes = first.shape, first.axes
        if len(self.images) > 1:
            self._at = 1 if first.axes[0].name == "t" and len(first.axes) > 2 else 0
            self.shape = (*first.shape[: self._at], len(files), *first.shape[self._at :])
            channel = Axis("c", "channel")
            self.axes = (*first.axes[: self._at], channel, *first.axes[self._at :])

    @property
    def notes(self) -> list[str]:
        """Notes of the files for the report, without repetitions."""
        return list(dict.fromkeys(note for image in self.images for note in image.notes))

    @property
    def memory_bytes(self) -> int:
        """Peak memory in bytes for writing its pixels into a dataset."""
        # A block, its compressed chunks and their shard; then the reader's own buffers, and, for
        # several channels, each block before they are stacked.
        blocks = 3 if self._at is None else 4
        return blocks * self._block_bytes + sum(image.held_bytes for image in self.images)

    @property
    def _block_bytes(self) -> int:
        return min(math.prod(self.shape) * self.dtype.itemsize, SHARD_BYTES)

    @contextmanager
    def read_once(self) -> Iterator[None]:
        """Read the files once for both digests and pixels.

        This holds small files in memory, about one block of pixels, for which :attr:`memory_bytes`
        has room. Larger files are read twice as usual.
        """
        size = sum(scanned.size_bytes for scanned in self._files)
        if size <= self._block_bytes + _REST_BYTES:
            for image, scanned in zip(self.images, self._files, strict=True):
                data = None if scanned.is_digested else image.hold(scanned.size_bytes)
                if data is not None:
                    scanned.learn(hashlib.sha256(data).hexdigest())
        try:
            yield
        finally:
            for image in self.images:
                image.let_go()

    def keep_skeletons(
        self, draft: RecordDraft | RecordUpdate, documents: Sequence[SourceFileDocument]
    ) -> None:
        """Save the skeleton of each file that has one, and record its key in the file's document.

        Parameters
        ----------
        draft : RecordDraft or RecordUpdate
        documents : sequence of SourceFileDocument
            Documents of the files, in order of their channels.
        """
        for index, (image, document) in enumerate(zip(self.images, documents, strict=True)):
            skeleton = image.skeleton(None if self._at is None else (self._at, index))
            name = document.rel_path.rpartition("/")[2]
            # Scans skip hidden folders, so no source file can have this key.
            document.frame_as = (
                None
                if skeleton is None
                else draft.keep_source_file(f".frames/{name}", encode_skeleton(skeleton))
            )

    def _check(self, files: Sequence[ScannedFile]) -> None:
        first = self.images[0]
        for image, scanned in zip(self.images[1:], files[1:], strict=True):
            same = image.shape == first.shape and image.dtype == first.dtype
            if not same or "c" in [axis.name for axis in first.axes]:
                raise SourceFileError(
                    f"is {image.dtype} {image.shape}, not {first.dtype} {first.shape} as the "
                    f"first channel {files[0].path.name}; they make no image together",
                    where=scanned.full_path,
                )

    def __getitem__(self, region: Any) -> np.ndarray[Any, Any]:
        if self._at is None:
            return self.images[0][region]
        channels = range(*region[self._at].indices(len(self.images)))
        rest = (*region[: self._at], *region[self._at + 1 :])
        return np.stack([self.images[i][rest] for i in channels], axis=self._at)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()
