"""The true axes of an image, from its file, its instrument header and its metadata.

Where they disagree the metadata sidecar, which the lab has edited, goes before the instrument
header, and that before the TIFF's own tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kymflow_zarr.ingest.sidecars.olympus import OlympusHeader
from kymflow_zarr.schema.axes import normalize_unit
from kymflow_zarr.schema.payload import stated_axes
from kymflow_zarr.types import Axis


def true_axes(
    axes: Sequence[Axis],
    shape: Sequence[int],
    *,
    header: OlympusHeader | None,
    payload: Mapping[str, Any] | None,
) -> tuple[Axis, ...]:
    """Return the axes with what header and payload know of them filled in.

    A line scan, whichever of the three says that it is one, has ``y`` as its time axis.
    """
    filled = [_as_row(axis, axes) for axis in axes]
    if header is not None:
        filled = [_from_header(axis, i, len(filled), header) for i, axis in enumerate(filled)]
    return stated_axes(filled, shape, payload)


def _as_row(axis: Axis, axes: Sequence[Axis]) -> Axis:
    # (t, x) and (c, t, x): the rows are lines in time, and rows are called y.
    names = [a.name for a in axes]
    is_line_scan = names[-2:] == ["t", "x"] and "y" not in names
    return replace(axis, name="y") if is_line_scan and axis.name == "t" else axis


def _from_header(axis: Axis, index: int, ndim: int, header: OlympusHeader) -> Axis:
    if header.is_line_scan and index == ndim - 2 and axis.name == "y":
        period = header.line_period_s
        if period is None:
            return replace(axis, quantity="time")
        return Axis("y", "time", "second", period)
    found = header.dimension(axis.name.upper())
    if found is None or axis.quantity == "channel":
        return axis
    step = found.step
    if step is None and found.count > 1 and axis.quantity == "time":
        step = found.extent / (found.count - 1)
    return axis if not step or step <= 0 else Axis(axis.name, axis.quantity, found.unit, step)


def calibration_notes(
    payload: Mapping[str, Any] | None, axes: Sequence[Axis], shape: Sequence[int]
) -> list[str]:
    """Return what is to be said where a payload states steps that could not be taken."""
    header = payload.get("header") if payload is not None else None
    if not isinstance(header, Mapping) or not header.get("voxels"):
        return []
    stated = header.get("shape")
    if stated is not None and stated != list(shape):
        said = f"the metadata's header is of an image of shape {stated}, this one has {list(shape)}"
        return [f"{said}: its calibration was left out"]
    units = header.get("voxels_units")
    named = isinstance(units, list) and any(normalize_unit(str(unit)) for unit in units)
    if named and all(axis.step is None for axis in axes):
        return ["the calibration in the metadata's header could not be read"]
    return []
