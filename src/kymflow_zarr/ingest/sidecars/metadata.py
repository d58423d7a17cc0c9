"""Derive the true axes and the metadata payload of an image from its files.

Both come from the image file, the instrument header and the metadata sidecar. Where they disagree,
the metadata sidecar, which the lab has edited, takes precedence over the instrument header, and the
header over the TIFF's tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from kymflow_zarr.ingest.sidecars.olympus import OlympusHeader
from kymflow_zarr.schema.axes import normalize_unit
from kymflow_zarr.schema.payload import stated_axes, upgrade_payload
from kymflow_zarr.types import Axis

_SHORT_UNITS: Final = {"micrometer": "um", "second": "s", None: "px"}


def true_axes(
    axes: Sequence[Axis],
    shape: Sequence[int],
    *,
    header: OlympusHeader | None,
    payload: Mapping[str, Any] | None,
) -> tuple[Axis, ...]:
    """Return the axes completed from header and payload.

    If any of the three declares a line scan, ``y`` is the time axis.
    """
    filled = [_as_row(axis, axes) for axis in axes]
    if header is not None:
        filled = [_from_header(axis, i, len(filled), header) for i, axis in enumerate(filled)]
    return stated_axes(filled, shape, payload)


def _as_row(axis: Axis, axes: Sequence[Axis]) -> Axis:
    # In (t, x) and (c, t, x) the rows are lines in time, and rows are called y.
    names = [a.name for a in axes]
    is_line_scan = names[-2:] == ["t", "x"] and "y" not in names
    return replace(axis, name="y") if is_line_scan and axis.name == "t" else axis


def _from_header(axis: Axis, index: int, ndim: int, header: OlympusHeader) -> Axis:
    if header.is_line_scan and index == ndim - 2 and axis.name == "y":
        period = header.line_period_s
        if period is None:
            return replace(axis, quantity="time")
        return Axis("y", "time", "second", period)
    dimension = header.dimension(axis.name.upper())
    if dimension is None or axis.quantity == "channel":
        return axis
    step = dimension.step
    if step is None and dimension.count > 1 and axis.quantity == "time":
        step = dimension.extent / (dimension.count - 1)
    return axis if not step or step <= 0 else Axis(axis.name, axis.quantity, dimension.unit, step)


def calibration_notes(
    payload: Mapping[str, Any] | None, axes: Sequence[Axis], shape: Sequence[int]
) -> list[str]:
    """Return notes on steps of a payload that could not be used."""
    header = payload.get("header") if payload is not None else None
    if not isinstance(header, Mapping) or not header.get("voxels"):
        return []
    stated = header.get("shape")
    if stated is not None and stated != list(shape):
        message = (
            f"the metadata's header is of an image of shape {stated}, this one has {list(shape)}"
        )
        return [f"{message}: its calibration was left out"]
    units = header.get("voxels_units")
    named = isinstance(units, list) and any(normalize_unit(str(unit)) for unit in units)
    if named and all(axis.step is None for axis in axes):
        return ["the calibration in the metadata's header could not be read"]
    return []


def build_payload(
    sidecar: Mapping[str, Any] | None,
    header: OlympusHeader | None,
    axes: Sequence[Axis],
    shape: Sequence[int],
    *,
    acquired_local_epoch_ns: int | None = None,
) -> dict[str, Any]:
    """Return the payload of an image.

    All keys of the sidecar are kept, unknown ones too; missing ones are filled in from the
    instrument header and from the image. The acquisition time is the instrument's if present, else
    the sidecar's, else the image file's.

    Parameters
    ----------
    sidecar : mapping, optional
        A metadata payload of any version.
    header : OlympusHeader, optional
    axes : sequence of Axis
    shape : sequence of int
    acquired_local_epoch_ns : int, optional
        As the image file states it.
    """
    payload = upgrade_payload(sidecar or {})
    payload["header"] = _header(payload["header"], header, axes, shape)
    if acquired_local_epoch_ns is not None:
        own = payload["header"].get("acquired_local_epoch_ns")
        payload["header"]["acquired_local_epoch_ns"] = (
            acquired_local_epoch_ns if own is None else own
        )
    for key, kind in (("experiment_metadata", dict), ("rois", list)):
        if not isinstance(payload[key], kind):
            payload[key] = kind()
    return payload


def _header(
    given: object, instrument: OlympusHeader | None, axes: Sequence[Axis], shape: Sequence[int]
) -> dict[str, Any]:
    steps = [1.0 if axis.step is None else axis.step for axis in axes]
    derived: dict[str, Any] = {
        "shape": list(shape),
        "ndim": len(shape),
        "voxels": steps,
        "voxels_units": [_SHORT_UNITS.get(axis.unit, axis.unit) for axis in axes],
        "labels": [_label(axis) for axis in axes],
        "physical_size": [n * step for n, step in zip(shape, steps, strict=True)],
    }
    known = {k: v for k, v in given.items() if v is not None} if isinstance(given, Mapping) else {}
    header = derived | (dict(given) if isinstance(given, Mapping) else {}) | known
    acquired = None if instrument is None else instrument.acquired_local_epoch_ns
    if acquired is not None:
        header["acquired_local_epoch_ns"] = acquired
    return header


def _label(axis: Axis) -> str:
    if axis.quantity in ("time", "space") and axis.unit is not None:
        return f"{axis.quantity} ({_SHORT_UNITS.get(axis.unit, axis.unit)})"
    return axis.name
