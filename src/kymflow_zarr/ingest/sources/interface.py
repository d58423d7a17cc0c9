"""The interface that every reader of image files implements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kymflow_zarr.schema.tiff_skeleton import TiffSkeleton
    from kymflow_zarr.types import Axis

__all__ = ["FileSet", "ImageFile"]


@dataclass(frozen=True, slots=True)
class FileSet:
    """The files that belong to one image.

    Parameters
    ----------
    primary : Path
        The file to open; it identifies the image.
    members : tuple of Path
        The other files that hold pixels of the image.
    companions : tuple of Path
        Files without pixels that describe the image.
    pictures : tuple of Path
        Image files that show where the image was taken, and are not ingested as images.
    """

    primary: Path
    members: tuple[Path, ...] = ()
    companions: tuple[Path, ...] = ()
    pictures: tuple[Path, ...] = ()


class ImageFile(Protocol):
    """One image of a file, or of a set of files; its pixels are read on demand.

    A context manager that closes the files on exit. Threads may share an instance.
    """

    @property
    def path(self) -> Path:
        """The file that identifies the image."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the image is read from, `path` first; each is watched for changes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in native byte order."""

    @property
    def axes(self) -> tuple[Axis, ...]:
        """One axis for each dimension, with the unit and step that the file states."""

    @property
    def source_axes(self) -> str:
        """The file's own names of the axes."""

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """One name for each channel, None if the file has none."""

    @property
    def name(self) -> str | None:
        """The file's name for this image, such as a stage position or a scene."""

    @property
    def series_index(self) -> int:
        """Number of this image in its file, from 0."""

    @property
    def series_count(self) -> int:
        """The number of images in the file."""

    @property
    def description(self) -> dict[str, object]:
        """All other metadata of the file, JSON-able; floats may be NaN."""

    @property
    def acquired_local_epoch_ns(self) -> int | None:
        """Wall clock at the microscope, in ns since 1970-01-01T00:00:00 of that clock."""

    @property
    def frame_times_s(self) -> tuple[float, ...] | None:
        """Seconds since the start, for each index of the time axis."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the report on content that is not in the image or was not understood."""

    @property
    def held_bytes(self) -> int:
        """Memory needed besides the region while a region is read, such as decoded pages."""

    def __getitem__(self, key: Any, /) -> npt.NDArray[Any]:
        """Read a region, given by integers and slices, as a C-contiguous array."""

    def hold(self, size: int) -> memoryview | None:
        """Read the whole file of `size` bytes into memory, and serve regions from there.

        Return its bytes, or None if the format does not gain from it.
        """

    def let_go(self) -> None:
        """Release the memory; read regions from the file again."""

    def skeleton(self, channel: tuple[int, int] | None = None) -> TiffSkeleton | None:
        """Return the bytes of the file around its pixels, from which an export rebuilds the file.

        None if the file does not store the pixels uncompressed and in order, or the format does not
        support it. `channel` is axis and index, for a file that is one channel of an image.
        """

    def close(self) -> None:
        """Close the files; may be called twice."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
