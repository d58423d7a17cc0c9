"""One image as one TIFF file, wherever it is wanted."""

from __future__ import annotations

import filecmp
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kymflow_zarr.errors import (
    KymflowZarrError,
    StorageError,
    TargetExistsError,
    UnsupportedDataError,
)
from kymflow_zarr.types import StrPath

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage

__all__ = ["export_tiff"]

# Below this an image is loaded whole, above it plane by plane.
_WHOLE_BYTES: Final = 256 << 20


def export_tiff(record: StoredImage, path: StrPath) -> None:
    """Write an image; see :meth:`kymflow_zarr.StoredImage.export_tiff`."""
    from kymflow_zarr.export.tiff.display import display_of
    from kymflow_zarr.export.tiff.write import write_tiff

    target = Path(path)
    array = record.open_array()
    if 0 in array.shape:
        raise UnsupportedDataError("the image has no pixels", where=record.image_id)
    # The same call once more is no conflict: then what is there is this TIFF, byte for byte.
    is_there = os.path.lexists(target)
    if is_there and not (target.is_file() and target.stat().st_size >= array.nbytes):
        raise _taken(target)
    pixels = record.load_array() if array.nbytes <= _WHOLE_BYTES else array
    display = display_of(record.storage, record.image_id)
    # Hidden until it is complete: a process that is killed leaves nothing under the name.
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        axes, names = record.axes, record.channel_names
        write_tiff(partial, pixels, axes, names, name=record.image_id, display=display)
        if not is_there:
            _publish(partial, target)
        elif not filecmp.cmp(partial, target, shallow=False):
            raise _taken(target)
        else:
            partial.unlink()
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, FileExistsError) and not isinstance(error, TargetExistsError):
            raise _taken(target) from error
        if isinstance(error, OSError) and not isinstance(error, KymflowZarrError):
            raise StorageError(
                f"cannot write: {error.strerror or error}", where=str(target)
            ) from error
        raise


def _publish(partial: Path, target: Path) -> None:
    """Give a complete file its name, unless something has it by now."""
    try:
        os.link(partial, target)
    except FileExistsError:
        raise
    except OSError:
        # Shares and memory sticks have no hard links.
        if os.path.lexists(target):
            raise _taken(target) from None
        partial.rename(target)
    else:
        partial.unlink()


def _taken(target: Path) -> TargetExistsError:
    return TargetExistsError(
        "there is something already", where=str(target), hint="Choose another name."
    )
