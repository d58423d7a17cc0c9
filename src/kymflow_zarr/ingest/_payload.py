"""The canonical payload of an image, from its sidecars and its own header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kymflow_zarr._core import PAYLOAD_VERSION
from kymflow_zarr._types import Axis
from kymflow_zarr.ingest._olympus import OlympusHeader

_SHORT_UNITS: Final = {"micrometer": "um", "second": "s", None: "px"}
_OLD_ROI: Final = ("dim0_start", "dim0_stop", "dim1_start", "dim1_stop")
_ROI_META: Final = ("revision", "img_min", "img_max", "img_mean", "img_std", "mask_ref")


def build_payload(
    sidecar: Mapping[str, Any] | None,
    header: OlympusHeader | None,
    axes: Sequence[Axis],
    shape: Sequence[int],
) -> dict[str, Any]:
    """Return the payload of an image.

    What the sidecar says is kept, unknown keys too; what it lacks comes from the instrument
    header and from the image. The acquisition time is the instrument's, if it gave one.

    Parameters
    ----------
    sidecar : mapping, optional
        A metadata payload of any version.
    header : OlympusHeader, optional
    axes : sequence of Axis
    shape : sequence of int
    """
    payload = dict(sidecar or {})
    payload["version"] = PAYLOAD_VERSION
    payload["header"] = _header(payload.get("header"), header, axes, shape)
    experiment = payload.get("experiment_metadata")
    payload["experiment_metadata"] = dict(experiment) if isinstance(experiment, Mapping) else {}
    rois = payload.get("rois")
    payload["rois"] = [_roi(roi) for roi in rois] if isinstance(rois, list) else []
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


def _roi(roi: object) -> object:
    """Return a region in today's form; x is dimension 1, y is dimension 0, stops exclusive."""
    if not isinstance(roi, Mapping) or not all(key in roi for key in _OLD_ROI):
        return roi
    known = {"id", "channel", "z", "name", "note", *_ROI_META, *_OLD_ROI}
    return {
        "roi_id": roi.get("id"),
        "roi_type": "rect",
        "version": "1.0",
        "name": roi.get("name", ""),
        "note": roi.get("note", ""),
        "channel": roi.get("channel", 1),
        "z": roi.get("z", 0),
        "data": {
            "x0": roi["dim1_start"],
            "x1": roi["dim1_stop"],
            "y0": roi["dim0_start"],
            "y1": roi["dim0_stop"],
        },
        "meta": {key: roi[key] for key in _ROI_META if key in roi},
        **{key: value for key, value in roi.items() if key not in known},
    }
