"""The OME-Zarr metadata of an image group against its true axes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from kymflow_zarr import layout
from kymflow_zarr.check.validate.findings import Findings
from kymflow_zarr.schema.axes import channel_count, ome_axes
from kymflow_zarr.schema.image import ImageDocument
from kymflow_zarr.schema.ome import ome_attributes
from kymflow_zarr.types import Axis


def check_ome(
    findings: Findings,
    where: str,
    found: Any,
    document: ImageDocument,
    folders: Mapping[str, Mapping[str, int]],
) -> None:
    """Check ``attributes.ome``; keys that we do not write are anybody's.

    Parameters
    ----------
    findings : Findings
    where : str
        Key of the image's document.
    found : object
        ``attributes.ome``, None if there is none.
    document : ImageDocument
    folders : mapping of str to mapping
        The files of the image's folders, as of :func:`list_tree`.
    """
    axes = document.axis_values()
    wanted = ome_attributes(axes, path=document.pixels.path, name=document.image_id)
    if wanted is None:
        _not_expressible(findings, where, axes, found)
        return
    faults = [] if isinstance(found, Mapping) else ["is missing"]
    if isinstance(found, Mapping):
        # OME-Zarr 0.5: "The OME-Zarr Metadata ... version MUST be '0.5'."
        if found.get("version") != wanted["version"]:
            faults.append(f"has the version {found.get('version')!r}, not '0.5'")
        faults += _multiscale_faults(found, wanted["multiscales"][0], folders)
        faults += _omero_faults(found, document)
    if faults:
        findings.add(
            "ome",
            where,
            f"attributes.ome {'; it '.join(faults)}; so that other programs see something else "
            "than this one. save_array(load_array()) writes it anew.",
        )


def _not_expressible(findings: Findings, where: str, axes: Sequence[Axis], found: Any) -> None:
    orders = itertools.permutations(axes)
    order = next((order for order in orders if ome_axes(order) is not None), None)
    if order is None:
        advice = "No order of them would be: that takes two or three axes of space, or one of "
        advice += "space and one of time, and at most one other."
    else:
        names = " ".join(axis.name for axis in order)
        advice = f"In the order {names} they would be: transpose the pixels for that."
    said = " ".join(axis.name for axis in axes)
    # OME-Zarr 0.5: "The 'axes' MUST contain 2 or 3 entries of 'type:space' ... The entries
    # MUST be ordered by 'type'."
    findings.add(
        "ome-not-expressible",
        where,
        f"the axes {said} cannot be told in OME-Zarr, so other programs see a plain Zarr array. "
        f"{advice}",
    )
    if found is not None:
        findings.add(
            "ome",
            where,
            "attributes.ome describes axes that the image has not. Remove it from the document.",
        )


def _multiscale_faults(
    found: Mapping[str, Any], wanted: Mapping[str, Any], folders: Mapping[str, Mapping[str, int]]
) -> list[str]:
    first = _item(found.get("multiscales"), 0)
    axes = _list(first.get("axes"))
    kept = ("name", "type", "unit")
    told = [[_mapping(axis).get(k) for k in kept] for axis in axes]
    faults = []
    if told != [[axis.get(k) for k in kept] for axis in wanted["axes"]]:
        faults.append(f"has axes {axes}, where the image's make it {wanted['axes']}")
    datasets = _list(first.get("datasets"))
    level = _item(datasets, 0)
    [expected] = wanted["datasets"]
    # "Each 'datasets' dictionary MUST contain the key 'path', whose value contains the path
    # to the array for this resolution, ... ordered from largest (i.e. highest resolution)."
    if level.get("path") != expected["path"]:
        faults.append(f"has level 0 at {level.get('path')!r}, where it is at {expected['path']!r}")
    for other in datasets[1:]:
        path = _mapping(other).get("path")
        folder, _, below = f"{path}/{layout.GROUP}".partition("/")
        if below not in folders.get(folder, {}):
            faults.append(f"names a level at {path!r}, where there is none")
    # "They MUST contain exactly one 'scale' ... transformation"; for ours the true steps.
    scale = _item(level.get("coordinateTransformations"), 0).get("scale")
    [transformation] = expected["coordinateTransformations"]
    if scale != transformation["scale"]:
        faults.append(f"has the scale {scale}, where the steps make it {transformation['scale']}")
    return faults


def _omero_faults(found: Mapping[str, Any], document: ImageDocument) -> list[str]:
    channels = _mapping(found.get("omero")).get("channels")
    if channels is None:
        return []
    count = channel_count(document.axes, document.pixels.shape)
    # OME-Zarr 0.5: the entries of "omero" are those of the channel axis, in its order.
    named = len(_list(channels))
    return [f"displays {named} channels of {count}"] if named != count else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _item(values: Any, index: int) -> Mapping[str, Any]:
    items = _list(values)
    return _mapping(items[index]) if len(items) > index else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
