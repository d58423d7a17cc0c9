"""Label images: array artifacts of whole numbers that OME-Zarr viewers lay over the image.

They are stored as OME-Zarr has them, in ``labels/<name>`` of the image, and are the array artifacts
``labels/<name>`` as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kymflow_zarr import layout
from kymflow_zarr.engine.images.pixels import (
    Target,
    Tree,
    array_artifact_document,
    set_pyramid,
    write_pixels,
)
from kymflow_zarr.engine.images.pyramid import make_levels, plan_levels, stored_array, write_levels
from kymflow_zarr.errors import UnsupportedDataError
from kymflow_zarr.formats.array.write import array_layout, as_array
from kymflow_zarr.schema.axes import array_dimension_names, ome_axes
from kymflow_zarr.schema.base import plain_group_document
from kymflow_zarr.schema.image import (
    ArrayArtifactDocument,
    ImageDocument,
    ome_attributes,
)
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import ArrayLike, Axis


class Labels(NamedTuple):
    """Checked labels of an image, and their axes."""

    array: ArrayLike
    axes: tuple[Axis, ...]


def check_labels(name: str, array: object, image: ImageDocument) -> Labels:
    """Return labels as they are stored; bool becomes uint8.

    Raises
    ------
    UnsupportedDataError
        If they are not whole numbers, do not have the shape of the image without its channels, of
        a stack or of a plane of it, or if OME-Zarr cannot express the image.
    """
    labels = as_array(array, what=f"labels {name!r}")
    dtype = np.dtype(labels.dtype)
    if dtype.kind not in "bui":
        raise UnsupportedDataError(
            f"labels are whole numbers, not {dtype}",
            where=f"labels {name!r}",
            hint="Convert them with .astype('int32'), or use save_array_artifact().",
        )
    if dtype.kind == "b":
        labels = np.asarray(labels).astype(np.uint8)
    axes = image.axis_values()
    shape = tuple(labels.shape)
    others = [i for i, axis in enumerate(axes) if axis.quantity != "channel"]
    for chosen in (others, others[-3:], others[-2:]):
        label_axes = tuple(axes[i] for i in chosen)
        if (
            shape == tuple(image.pixels.shape[i] for i in chosen)
            and ome_axes(label_axes) is not None
        ):
            return Labels(labels, label_axes)
    expected = tuple(image.pixels.shape[i] for i in others)
    raise UnsupportedDataError(
        f"labels of shape {shape} do not lie over an image whose planes have {expected}",
        where=f"labels {name!r}",
        hint="Labels have a value for each pixel of the image without its channels, or of its "
        "plane, and axes that OME-Zarr can express; save_array_artifact() takes any array.",
    )


def write_labels(
    name: str,
    labels: Labels,
    image: ImageDocument,
    target: Target,
    updated_utc: str | None = None,
) -> ArrayArtifactDocument:
    """Write the arrays of labels; return their document.

    Parameters
    ----------
    name : str
        Of the array artifact, with ``labels/`` before it.
    labels : Labels
    image : ImageDocument
        Labels have as many levels as their image, as OME-Zarr demands.
    target : Target
    updated_utc : str, optional
        When they were written; now if left out.
    """
    names = array_dimension_names(labels.axes)
    pixels = write_pixels(
        labels.array, target, axes=labels.axes, chunks=None, dimension_names=names
    )
    document = array_artifact_document(name, pixels, names, updated_utc)
    if image.current_pyramid is not None:
        layout_ = array_layout(labels.array, axes=labels.axes, chunks=None)
        pyramid = write_levels(
            labels.array, layout_, pixels, target, axes=labels.axes, dimension_names=names,
            method="mode",
        )  # fmt: skip
        set_pyramid(document, pyramid)
    return document


def labels_document(document: ArrayArtifactDocument, axes: Sequence[Axis]) -> dict[str, Any]:
    """Return the ``zarr.json`` of labels, with their OME-Zarr metadata."""
    name = document.name.removeprefix(f"{layout.LABELS}/")
    ome = ome_attributes(
        axes, path=document.pixels.path, name=name, pyramid=document.current_pyramid
    )
    assert ome is not None, "checked by check_labels"
    return document.to_group(ome={**ome, "image-label": {"source": {"image": "../../"}}})


def labels_group(folders: Iterable[str]) -> dict[str, Any]:
    """Return the ``zarr.json`` of the group that lists the labels of an image."""
    group = plain_group_document()
    group["attributes"] = {"ome": {"version": "0.5", "labels": sorted(folders)}}
    return group


def listed_labels(raw: Any) -> list[str]:
    """Return the folders that the decoded ``zarr.json`` of the group lists, none if it is None."""
    attributes = raw.get("attributes") if isinstance(raw, Mapping) else None
    ome = attributes.get("ome") if isinstance(attributes, Mapping) else None
    listed = ome.get("labels") if isinstance(ome, Mapping) else None
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def rebuild_levels(storage: Storage, key: str, document: ArrayArtifactDocument, tree: Tree) -> None:
    """Write the levels of stored labels into a staged group.

    Parameters
    ----------
    storage : Storage
    key : str
        Key of the group of the labels.
    document : ArrayArtifactDocument
        Their document, which gets the description. The image may have another shape by now.
    tree : Tree
    """
    source, unit = stored_array(storage, f"{key}/{document.pixels.path}")
    plan = plan_levels(document.pixels.shape, None)
    pyramid = make_levels(
        source, unit, plan, document.pixels, tree, axes=None, dimension_names=document.axes,
        method="mode",
    )  # fmt: skip
    set_pyramid(document, pyramid)
