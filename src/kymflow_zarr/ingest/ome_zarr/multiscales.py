"""What OME-Zarr metadata of 0.4 to 0.6 say of an image: axes, levels, channels, labels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kymflow_zarr.errors import SourceFileError
from kymflow_zarr.ingest.ome_zarr.find import FoundImage, child, groups_in, ome_of
from kymflow_zarr.ingest.ome_zarr.levels import Level
from kymflow_zarr.runtime.limits import check_limit
from kymflow_zarr.schema.axes import normalize_unit
from kymflow_zarr.types import Axis, Quantity

_QUANTITIES: Final[Mapping[str, Quantity]] = {
    "space": "space",
    "time": "time",
    "channel": "channel",
}
_TIME_UNITS: Final = frozenset({"second", "millisecond", "microsecond", "minute", "hour"})
_NAMES: Final[Mapping[str, Quantity]] = {"t": "time", "c": "channel"}


@dataclass(frozen=True, slots=True)
class Multiscale:
    """The first multiscale of an image.

    Parameters
    ----------
    axes : tuple of Axis
    pixels : zarr.Array
        The first level.
    levels : tuple of Level
        The further ones.
    channel_names : list of str or None
    name : str, optional
    notes : list of str
    """

    axes: tuple[Axis, ...]
    pixels: Any
    levels: tuple[Level, ...]
    channel_names: list[str] | None
    name: str | None
    notes: list[str]


def read_multiscale(image: FoundImage) -> Multiscale:
    """Return axes, levels and names of an image.

    Raises
    ------
    SourceFileError
        If its metadata or its first level cannot be read.
    """
    listed = image.ome["multiscales"]
    stated = listed[0]
    datasets = stated.get("datasets") if isinstance(stated, Mapping) else None
    if not isinstance(datasets, list) or not datasets:
        raise SourceFileError("its multiscales list no levels")
    pixels = _array(image.group, datasets[0])
    size = math.prod(pixels.shape) * pixels.dtype.itemsize
    check_limit("image_bytes", size, "the image has", where=image.path or None)
    axes = _axes(stated, datasets[0], pixels.ndim)
    notes: list[str] = []
    levels = _levels(image.group, datasets, pixels.ndim, notes)
    if len(listed) > 1:
        notes.append(f"the first of its {len(listed)} multiscales was taken")
    name = stated.get("name")
    names = _channel_names(image.ome, axes, pixels.shape)
    name = name if isinstance(name, str) else None
    return Multiscale(axes, pixels, levels, names, name, notes)


def _array(group: Any, dataset: object) -> Any:
    import zarr

    path = dataset.get("path") if isinstance(dataset, Mapping) else None
    node = child(group, path)
    if not isinstance(node, zarr.Array):
        raise SourceFileError(f"its level {path!r} is no array")
    return node


def _levels(group: Any, datasets: list[Any], ndim: int, notes: list[str]) -> tuple[Level, ...]:
    """Return the further levels, and add a note on each that is missing."""
    first = _scale(datasets[0], ndim)
    levels = []
    for dataset in datasets[1:]:
        try:
            pixels = _array(group, dataset)
        except SourceFileError as error:
            notes.append(f"a level of its pyramid is missing: {error.what}")
            continue
        steps = _scale(dataset, ndim)
        scales = [step / of for step, of in zip(steps, first, strict=True)] if all(first) else []
        levels.append(Level(str(dataset.get("path")), pixels, scales))
    return tuple(levels)


def _axes(multiscale: Mapping[str, Any], dataset: Mapping[str, Any], ndim: int) -> tuple[Axis, ...]:
    listed = multiscale.get("axes") or _axes_of_system(multiscale, dataset)
    if not isinstance(listed, list):
        # Before 0.3 there were no axes: images were TCZYX.
        listed = [{"name": name} for name in "tczyx"[-ndim:]]
    if len(listed) != ndim:
        raise SourceFileError(f"its metadata name {len(listed)} axes, its pixels have {ndim}")
    scale = _scale(dataset, ndim)
    whole = _scale(multiscale, ndim)
    steps = [a * b for a, b in zip(scale, whole, strict=True)]
    return tuple(_axis(each, step) for each, step in zip(listed, steps, strict=True))


def _axes_of_system(multiscale: Mapping[str, Any], dataset: Mapping[str, Any]) -> Any:
    """Return the axes of the coordinate system that a level is in, as 0.6 has them."""
    systems = multiscale.get("coordinateSystems")
    known = [each for each in systems if isinstance(each, Mapping)] if systems else []
    outputs = [each.get("output") for each in _transforms(dataset)]
    names = [each.get("name") for each in outputs if isinstance(each, Mapping)]
    system = next((each for each in known if each.get("name") in names), next(iter(known), {}))
    return system.get("axes")


def _transforms(owner: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the transformations of a level, those of a sequence one by one."""
    for transform in owner.get("coordinateTransformations") or []:
        if isinstance(transform, Mapping):
            yield transform
            if transform.get("type") == "sequence":
                for each in transform.get("transformations") or []:
                    yield each if isinstance(each, Mapping) else {}


def _scale(owner: Mapping[str, Any], ndim: int) -> list[float]:
    for transform in _transforms(owner):
        scale = transform.get("scale")
        if transform.get("type") != "scale" or "coordinateSystems" in owner:
            continue  # From 0.6 on, those of the whole lead to other coordinate systems.
        if isinstance(scale, list) and len(scale) == ndim:
            return [float(step) for step in scale]
    return [1.0] * ndim


def _axis(stated: object, step: float) -> Axis:
    entry = stated if isinstance(stated, Mapping) else {"name": stated}
    name, unit = str(entry.get("name")), entry.get("unit")
    quantity = _QUANTITIES.get(str(entry.get("type")), _NAMES.get(name, "space"))
    known = normalize_unit(unit) if isinstance(unit, str) else None
    if quantity == "channel":
        return Axis(name, quantity)
    if known in _TIME_UNITS and name in ("t", "y"):
        quantity = "time"
    if not math.isfinite(step) or step <= 0 or (known is None and step == 1.0):
        return Axis(name, quantity)
    return Axis(name, quantity, known, step)


def _channel_names(
    ome: Mapping[str, Any], axes: tuple[Axis, ...], shape: tuple[int, ...]
) -> list[str] | None:
    omero = ome.get("omero")
    channels = omero.get("channels") if isinstance(omero, Mapping) else None
    at = next((i for i, axis in enumerate(axes) if axis.quantity == "channel"), None)
    if not isinstance(channels, list) or at is None or len(channels) != shape[at]:
        return None
    labels = [str(each.get("label", "")) if isinstance(each, Mapping) else "" for each in channels]
    return labels if any(labels) else None


def label_names(image: FoundImage) -> list[str]:
    """Return the names of the label images below an image."""
    import zarr

    try:
        labels = image.group["labels"]
    except KeyError:
        return []
    if not isinstance(labels, zarr.Group):
        return []
    listed = ome_of(labels).get("labels")
    if isinstance(listed, list):
        return [str(name) for name in listed]
    return groups_in(labels)
