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

    Attributes
    ----------
    path : Path
        The file that stands for the image.
    files : tuple of Path
        All files that the image is read from, `path` first. A change of one of them is a
        change of the image.
    shape : tuple of int
    dtype : numpy.dtype
        In native byte order.
    axes : tuple of Axis
        One for each dimension, with the unit and step that the file states.
    source_axes : str
        The axes as the file calls them.
    channel_names : tuple of str or None
        One for each channel, None where the file names none.
    name : str or None
        What the file calls this image, such as a stage position or a scene.
    series_index, series_count : int
        Number of this image in its file, and how many images the file holds.
    description : dict
        Everything else that the file states, JSON-able; floats may be NaN.
    acquired_local_epoch_ns : int or None
        Wall clock at the microscope, as nanoseconds since 1970-01-01T00:00:00 of that clock.
    frame_times_s : tuple of float or None
        Seconds from the start of the acquisition, one for each index of the time axis.
    notes : tuple of str
        What of the file is not in the image, or could not be understood: for the report.
    held_bytes : int
        Memory taken beside a region while it is read: decoded pages.
    """

    path: Path
    files: tuple[Path, ...]
    dtype: np.dtype[Any]
    axes: tuple[Axis, ...]
    source_axes: str
    channel_names: tuple[str, ...] | None
    name: str | None
    series_index: int
    series_count: int
    acquired_local_epoch_ns: int | None
    frame_times_s: tuple[float, ...] | None
    notes: tuple[str, ...]
    held_bytes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""

    @property
    def description(self) -> dict[str, object]:
        """Everything else that the file states, JSON-able; floats may be NaN."""

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
