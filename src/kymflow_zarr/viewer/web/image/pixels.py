"""Pixels of one plane, opened once for many windows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kymflow_zarr.api.internals import snapshot_of, stored_image_of
from kymflow_zarr.errors import ArgumentError, EditConflictError
from kymflow_zarr.viewer.web.image.blocks import block_means, check_cost
from kymflow_zarr.views.plane import Plane, plane_of

if TYPE_CHECKING:
    from kymflow_zarr import ZarrImageRecord
    from kymflow_zarr.viewer.web.site import Site

__all__ = ["Pixels", "at_of", "open_pixels", "version_of"]

_OPENED_BYTES = 2**14  # A few objects.
_ANEW = "Load the image anew."


@dataclass(frozen=True)
class Pixels:
    """The pixels of an image as they are now.

    Parameters
    ----------
    record : ZarrImageRecord
        A snapshot.
    version : str
        Changes with the pixels.
    plane : Plane
    chunks : tuple of int
    dtype : dtype
    """

    record: ZarrImageRecord
    version: str
    plane: Plane
    chunks: tuple[int, ...]
    dtype: np.dtype[Any]

    def window(
        self, at: dict[str, int], rows: slice, columns: slice, step: tuple[int, int]
    ) -> npt.NDArray[Any]:
        """Return the means of the blocks of a rectangle of one plane.

        Raises
        ------
        ArgumentError
            If the image has no such plane.
        LimitExceededError
            If too much would be read for it.
        EditConflictError
            If the pixels were replaced meanwhile: half of each would be no image.
        """
        where: list[Any] = list(self.plane.index(at=at))
        down, across = self.plane.rows, self.plane.columns
        sizes = self.chunks[down], self.chunks[across]
        deep = math.prod(n for i, n in enumerate(self.chunks) if i not in (down, across))
        check_cost((rows, columns), sizes, self.dtype.itemsize, deep=deep)

        def read(rows: slice, columns: slice) -> npt.NDArray[Any]:
            where[down], where[across] = rows, columns
            return self.record.load_array(tuple(where))

        found = block_means(read, rows, columns, step, self.dtype, chunk_rows=sizes[0])
        if stored_image_of(self.record).has_new_pixels():
            raise EditConflictError(
                "the pixels have changed meanwhile", where=self.record.image_id, hint=_ANEW
            )
        return found

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the plane."""
        return self.plane.shape[self.plane.rows], self.plane.shape[self.plane.columns]


def open_pixels(site: Site, image_id: str) -> Pixels:
    """Return the pixels of an image as they are now.

    Raises
    ------
    RecordNotFoundError
        If there is no such image.
    """
    record = snapshot_of(site.dataset.record(image_id))
    version = version_of(record)

    def opened() -> Pixels:
        plane = plane_of(stored_image_of(record))
        return Pixels(record, version, plane, record.chunks, record.dtype)

    # The same pixels may have got other axes.
    key = ("pixels", image_id, version, record.axes, tuple(record.channel_names or ()))
    return site.kept.get(key, opened, lambda _: _OPENED_BYTES)


def version_of(record: ZarrImageRecord) -> str:
    """Return what changes with the pixels of an image."""
    return record.pixels_sha256[:16]


def at_of(text: str) -> dict[str, int]:
    """Return positions along axes of a text such as ``c:0,z:3``.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    at = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.rpartition(":")
        if not name or not number.isascii() or not number.isdigit() or len(number) > 9:
            raise ArgumentError(f"{part!r} is no position", where="at", hint="c:0,z:3 are two.")
        at[name] = int(number)
    return at
