"""One image as one TIFF file, wherever it is wanted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kymflow_zarr.errors import StorageError, TargetExistsError, UnsupportedDataError
from kymflow_zarr.types import StrPath

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage

__all__ = ["export_tiff"]

# Below this an image is loaded whole, above it plane by plane.
_WHOLE_BYTES: Final = 256 << 20


def export_tiff(record: StoredImage, path: StrPath) -> None:
    """Write an image; see :meth:`kymflow_zarr.StoredImage.export_tiff`."""
    from kymflow_zarr.export.tiff.write import write_tiff

    target = Path(path)
    array = record.open_array()
    if 0 in array.shape:
        raise UnsupportedDataError("the image has no pixels", where=record.image_id)
    if os.path.lexists(target):
        raise TargetExistsError(
            "there is something already", where=str(target), hint="Choose another name."
        )
    pixels = record.load_array() if array.nbytes <= _WHOLE_BYTES else array
    try:
        write_tiff(target, pixels, record.axes, record.channel_names, name=record.image_id)
    except BaseException as error:
        target.unlink(missing_ok=True)  # A half is of no use.
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise StorageError(
                f"cannot write: {error.strerror or error}", where=str(target)
            ) from error
        raise
