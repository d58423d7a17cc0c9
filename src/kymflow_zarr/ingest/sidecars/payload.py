"""The canonical payload of an image, from its sidecars and its own header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kymflow_zarr.ingest.sidecars.olympus import OlympusHeader
from kymflow_zarr.schema.payload import upgrade_payload
from kymflow_zarr.types import Axis

_SHORT_UNITS: Final = {"micrometer": "um", "second": "s", None: "px"}


def build_payload(
    sidecar: Mapping[str, Any] | None,
    header: OlympusHeader | None,
    axes: Sequence[Axis],
    shape: Sequence[int],
    *,
    acquired_local_epoch_ns: int | None = None,
) -> dict[str, Any]:
    """Return the payload of an image.

    What the sidecar says is kept, unknown keys too; what it lacks comes from the instrument
    header and from the image. The acquisition time is the instrument's, if it gave one, else the
    sidecar's, else that of the image file.

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
