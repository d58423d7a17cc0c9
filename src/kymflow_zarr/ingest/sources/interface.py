"""What every image file offers, whichever program wrote it."""

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
    """The files of one folder that belong to one image.

    Parameters
    ----------
    primary : Path
        The file that is opened and stands for the image.
    members : tuple of Path
        The other files that hold pixels of it.
    companions : tuple of Path
        Files without pixels that describe it.
    pictures : tuple of Path
        Image files that show where it was taken and are no images of the experiment.
    """

    primary: Path
    members: tuple[Path, ...] = ()
    companions: tuple[Path, ...] = ()
    pictures: tuple[Path, ...] = ()


class ImageFile(Protocol):
    """One image of a file, or of a set of files; its pixels are read on demand.

    A context manager: leaving it closes the files. Threads may share one.
    """

    @property
    def path(self) -> Path:
        """The file that stands for the image."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the image is read from, `path` first: each counts for changes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels, in native byte order."""

    @property
    def axes(self) -> tuple[Axis, ...]:
        """One for each dimension, with the unit and step that the file states."""

    @property
    def source_axes(self) -> str:
        """The axes as the file calls them."""

    @property
    def channel_names(self) -> tuple[str, ...] | None:
        """One for each channel, None where the file names none."""

    @property
    def name(self) -> str | None:
        """What the file calls this image, such as a stage position or a scene."""

    @property
    def series_index(self) -> int:
        """Number of this image in its file, from 0."""

    @property
    def series_count(self) -> int:
        """How many images the file holds."""

    @property
    def description(self) -> dict[str, object]:
        """Everything else that the file states, JSON-able; floats may be NaN."""

    @property
    def acquired_local_epoch_ns(self) -> int | None:
        """Wall clock at the microscope, in ns since 1970-01-01T00:00:00 of that clock."""

    @property
    def frame_times_s(self) -> tuple[float, ...] | None:
        """Seconds since the start, one for each index of the time axis."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the file is not in the image, or was not understood: for the report."""

    @property
    def held_bytes(self) -> int:
        """Memory taken beside a region while it is read: decoded pages."""

    def __getitem__(self, key: Any, /) -> npt.NDArray[Any]:
        """Read a region, given by integers and slices, as a C-contiguous array."""

    def hold(self, size: int) -> memoryview | None:
        """Read the whole file of `size` bytes into memory, so that regions come from there.

        Return its bytes; None where the format does not gain from it.
        """

    def let_go(self) -> None:
        """Read regions from the file again."""

    def skeleton(self, channel: tuple[int, int] | None = None) -> TiffSkeleton | None:
        """Return the bytes of the file around its pixels, so that it can be written back.

        None where the pixels do not lie in it as they are, or the format has no such way.
        `channel` is axis and index, for a file that is one channel of an image.
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
