"""Pixels that lie in a file as they are: only what is asked for is read, and nothing stays.

They are not mapped into memory. What was read of a map counts as memory of this process until
the system takes it back, and a file that is cut short meanwhile would end the process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr.errors import SourceFileError

if TYPE_CHECKING:
    import numpy.typing as npt
    from tifffile import TiffPage

__all__ = ["StoredPixels"]

# Pieces that are shorter are read together with what lies between them, up to so much at once.
_RUN_BYTES: Final = 64 << 10
_HULL_BYTES: Final = 16 << 20
# No dtype asks for more.
_ALIGNED_TO: Final = 16


class StoredPixels:
    """Pixels of a page, or of pages that follow each other.

    Parameters
    ----------
    page : tifffile.TiffPage
        The first.
    shape : sequence of int
    offset : int
        Where they begin in the file.
    path : str, optional
        The file, if it is another one than that of the page.
    """

    bounded = True
    held_bytes = 0

    def __init__(
        self, page: TiffPage, shape: Sequence[int], offset: int, path: str | None = None
    ) -> None:
        self._path = Path(page.parent.filehandle.path if path is None else path)
        self._dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
        self._offset = offset
        steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        self._shape = tuple(shape)
        self._steps = [step * self._dtype.itemsize for step in steps]
        self._held: npt.NDArray[np.uint8] | None = None

    def hold(self, size: int) -> memoryview | None:
        """Read the whole file, so that regions come from memory; return its bytes.

        Parameters
        ----------
        size : int
            Bytes of the file.

        Returns
        -------
        memoryview or None
            None where the file is not of that size: then it stays on the disk.
        """
        # The pixels begin where an element may lie.
        pad = -self._offset % _ALIGNED_TO
        data = np.empty(pad + size + 1, np.uint8)[pad:]
        try:
            with self._path.open("rb", buffering=0) as file:
                done = 0
                while count := file.readinto(data[done:].data):
                    done += count
        except OSError:
            return None  # Whoever asks for a region is told.
        if done != size:
            return None
        self._held = data[:size]
        self._held.flags.writeable = False
        return self._held.data

    def let_go(self) -> None:
        """Read regions from the file again."""
        self._held = None

    def view(self, ranges: Sequence[range]) -> npt.NDArray[Any] | None:
        """Return the pixels at `ranges`, read-only, if the file is in memory."""
        if self._held is None:
            return None
        start = self._offset + sum(r[0] * step for r, step in zip(ranges, self._steps, strict=True))
        strides = [r.step * step for r, step in zip(ranges, self._steps, strict=True)]
        shape = [len(r) for r in ranges]
        return np.ndarray(shape, self._dtype, self._held, start, strides)

    def read_into(self, ranges: Sequence[range], out: npt.NDArray[Any]) -> None:
        """Fill `out` with the pixels at `ranges`, one per dimension, steps positive."""
        held = self.view(ranges)
        if held is not None:
            out[...] = held
            return
        # Each with a file of its own: threads must not mix up seeks.
        try:
            with self._path.open("rb", buffering=0) as file:
                self._read(file, list(ranges), out)
        except OSError as error:
            raise SourceFileError(
                f"the file cannot be read: {error.strerror or error}", where=str(self._path)
            ) from error

    def _read(self, file: FileIO, ranges: list[range], out: npt.NDArray[Any]) -> None:
        first = [r[0] * step for r, step in zip(ranges, self._steps, strict=True)]
        last = [r[-1] * step for r, step in zip(ranges, self._steps, strict=True)]
        start, size = sum(first), sum(last) - sum(first) + self._dtype.itemsize
        run = self._run(ranges)
        if run == out.nbytes and out.flags.c_contiguous and out.dtype == self._dtype:
            self._fill(file, start, out.reshape(-1).view(np.uint8).data)
            return
        if run == out.nbytes or (size <= _HULL_BYTES and run < _RUN_BYTES):
            data = np.empty(size, np.uint8)
            self._fill(file, start, data.data)
            strides = [r.step * step for r, step in zip(ranges, self._steps, strict=True)]
            out[...] = np.ndarray(out.shape, self._dtype, data, 0, strides)
            return
        axis = next(axis for axis, r in enumerate(ranges) if len(r) > 1)
        half = len(ranges[axis]) // 2
        before: tuple[slice, ...] = (slice(None),) * axis
        for part in (slice(0, half), slice(half, None)):
            some = [*ranges[:axis], ranges[axis][part], *ranges[axis + 1 :]]
            self._read(file, some, out[(*before, part)])

    def _run(self, ranges: Sequence[range]) -> int:
        """Return how many bytes at the end of the dimensions lie in one piece."""
        size = self._dtype.itemsize
        for r, length in zip(reversed(ranges), reversed(self._shape), strict=True):
            if r.step != 1 and len(r) > 1:
                break
            size *= len(r)
            if len(r) != length:
                break
        return size

    def _fill(self, file: FileIO, start: int, view: memoryview) -> None:
        file.seek(self._offset + start)
        done = 0
        while done < len(view):
            count = file.readinto(view[done:])
            if not count:
                raise SourceFileError(
                    "the TIFF file was cut short while it was read",
                    where=str(self._path),
                    hint="Is it still being written? It is left for next time.",
                )
            done += count
