"""The reader that napari finds by `napari.yaml`: a dataset's folder, or that of an image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from kymflow_zarr.errors import FormatVersionError, KymflowZarrError
from kymflow_zarr.viewer.napari.layers import LayerData, layers_of

if TYPE_CHECKING:
    from kymflow_zarr import ZarrDataset

__all__ = ["MOST_IMAGES", "folder_of", "get_reader"]

MOST_IMAGES: Final = 12
"""Images that a dataset opens with; all are in the list of the widget."""
_IMAGES: Final = "images"

Paths: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """Return :func:`read` if all that is to be opened is ours, and None if it is another's.

    napari asks for each folder that is dropped on it, so this neither raises nor reads pixels.
    """
    return read if all(_is_ours(Path(one)) for one in _each(path)) else None


def read(path: Paths) -> list[LayerData]:
    """Return the layers of datasets and images.

    Of a dataset the first :data:`MOST_IMAGES`, in the order they were acquired; all but the
    first image are hidden.

    Raises
    ------
    KymflowZarrError
        If it cannot be read; says why.
    """
    found: list[LayerData] = []
    for one in _each(path):
        folder = Path(one)
        if _is_image(folder):
            dataset = _opened(folder.parents[1])
            found += layers_of(dataset, dataset.record(folder.name))
        else:
            found += _gallery(_opened(folder))
    # So napari is told that there is nothing to show.
    return found or [(None,)]


def folder_of(dataset: ZarrDataset, image_id: str) -> Path:
    """Return the folder of an image, which :func:`read` takes."""
    return dataset.path / _IMAGES / image_id


def _each(path: Paths) -> list[str | os.PathLike[str]]:
    return [path] if isinstance(path, str | os.PathLike) else list(path)


def _opened(folder: Path) -> ZarrDataset:
    from kymflow_zarr import ZarrDataset

    return ZarrDataset(folder, mode="r")


def _is_image(folder: Path) -> bool:
    if folder.absolute().parent.name != _IMAGES:
        return False
    try:
        return folder.name in _opened(folder.absolute().parents[1])
    except KymflowZarrError:
        return False


def _is_ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    if _is_image(folder):
        return True
    try:
        _opened(folder)
    except FormatVersionError:
        return True  # Of a later version: reading it says what to do.
    except KymflowZarrError:
        return False
    return True


def _gallery(dataset: ZarrDataset) -> Iterator[LayerData]:
    records = list(dataset.iter_records(order_by="acquired_local_epoch_ns"))
    if not records:
        _tell(f"The dataset {dataset.path} has no images.")
    shown = False
    for record in records[:MOST_IMAGES]:
        try:
            layers = layers_of(dataset, record)
        except KymflowZarrError as error:
            _tell(f"The image {record.image_id} is left out: {error}")
            continue
        for pixels, options, kind in layers:
            yield pixels, options | {"visible": options["visible"] and not shown}, kind
        shown = True
    if len(records) > MOST_IMAGES:
        _tell(
            f"The first {MOST_IMAGES} of {len(records)} images were opened. Plugins > "
            "Kymflow-Zarr > Images of a dataset lists all."
        )


def _tell(message: str) -> None:
    """Say something that is no error; napari shows warnings in its window."""
    warnings.warn(message, stacklevel=2)
