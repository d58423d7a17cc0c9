"""Sidecars of acqstore and CloudScope, version 2, from and to the metadata payload.

Source: files written by acqstore 0.2.0 and by CloudScope of May 2026 (``<file>.<ext>.json``).
"""

from __future__ import annotations

import ast
import copy
import datetime as dt
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.schema.axes import normalize_unit
from kymflow_zarr.schema.rois import ROI_VERSION

if TYPE_CHECKING:
    import pandas as pd

PROGRAM: Final = "acqstore"
_HEADER: Final = "image_header_metadata"
_EXPERIMENT: Final = "experiment_metadata"
# Texts of their experiment metadata; depth is a number, branch_order an integer, both or null.
_TEXTS: Final = (
    "species", "region", "cell_type", "direction", "sex", "genotype", "age", "condition",
    "condition2", "treatment", "treatment2", "date", "note",
)  # fmt: skip
_NUMBERS: Final = ("depth", "branch_order")
# Columns of their tables in seconds, rows and columns of the region, each of which gets a column
# ``image_...`` that counts from the first row or column of the image.
TIMES: Final = ("time_s", "time_sec")
ROWS: Final = ("center_row",)
COLUMNS: Final = ("left_edge_px", "right_edge_px")
_EPOCH: Final = dt.datetime(1970, 1, 1)
# Their coordinates and ours: rows are y, columns are x.
_RECTANGLE: Final = {"row_start": "y0", "row_stop": "y1", "col_start": "x0", "col_stop": "x1"}


def is_sidecar(value: object) -> bool:
    """Return True if a decoded JSON value is a sidecar of acqstore, of the version 2."""
    return (
        isinstance(value, Mapping)
        and type(value.get("version")) is int
        and value["version"] == 2
        and isinstance(value.get(_EXPERIMENT), Mapping)
        and isinstance(value.get("rois"), list)
        and isinstance(value.get("analysis"), list)
    )


# In ----------------------------------------------------------------------------------------


def payload_of_sidecar(sidecar: Mapping[str, Any], *, suffix: str) -> dict[str, Any]:
    """Return the metadata payload of a sidecar.

    Regions become rectangles and lines; of a kind that acqstore does not write, they stay as they
    are. ``accepted`` and ``image_contrast`` stay as keys of the payload.

    Parameters
    ----------
    sidecar : mapping
        See `is_sidecar`.
    suffix : str
        Of the image file, in lower case, such as ``".czi"``, whose units are other ones.
    """
    payload: dict[str, Any] = {
        "version": "2.0",
        "header": _header(sidecar.get(_HEADER), suffix),
        "experiment_metadata": dict(sidecar[_EXPERIMENT]),
        "rois": [_region(roi) for roi in sidecar["rois"]],
    }
    for key in ("accepted", "image_contrast"):
        if key in sidecar:
            payload[key] = copy.deepcopy(sidecar[key])
    return payload


def _header(raw: object, suffix: str) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        return {}
    header: dict[str, Any] = {}
    shape, dims = _literal(raw.get("shape")), _literal(raw.get("dims"))
    if _is_list_of(shape, int) and _is_list_of(dims, str) and len(shape) == len(dims):
        steps = [_step(raw, name, suffix) for name in dims]
        header["shape"] = list(shape)
        header["voxels"] = [step for step, _ in steps]
        header["voxels_units"] = [unit for _, unit in steps]
    for key, stated in (("date_str", "date"), ("time_str", "time")):
        if isinstance(raw.get(stated), str) and raw[stated]:
            header[key] = raw[stated]
    try:
        moment = dt.datetime.strptime(f"{raw.get('date')} {raw.get('time')}", "%Y%m%d %H:%M:%S")
    except ValueError:
        return header
    since = moment - _EPOCH
    header["acquired_local_epoch_ns"] = (since.days * 86400 + since.seconds) * 10**9
    return header


def _step(raw: Mapping[str, Any], name: str, suffix: str) -> tuple[float, str]:
    """Return step and unit of an axis; a label that is the axis letter has the unit of its file."""
    key = name.lower()
    step, label = raw.get(f"physical_unit_{key}"), raw.get(f"physical_label_{key}")
    number = isinstance(step, int | float) and not isinstance(step, bool) and 0 < step < 1e300
    if not number or not isinstance(label, str) or label.casefold() == "pixels":
        return 1.0, "px"
    value = float(step or 0)
    if label != name:
        return value, label
    if value == 1.0:
        return 1.0, "px"  # The file has no calibration.
    if suffix == ".oir":
        return value, "s" if key == "y" else "um"
    return value, "m"


def letter_labels(sidecar: Mapping[str, Any], *, suffix: str) -> str | None:
    """Return a note on a calibration whose unit is a convention of its file format."""
    raw = sidecar.get(_HEADER)
    if not isinstance(raw, Mapping):
        return None
    used = [
        axis
        for axis in ("Y", "X")
        if raw.get(f"physical_label_{axis.lower()}") == axis
        and raw.get(f"physical_unit_{axis.lower()}") not in (None, 1.0)
    ]
    if not used:
        return None
    unit = "seconds and micrometers" if suffix == ".oir" else "meters"
    return f"the calibration of {' and '.join(used)} has no unit and was taken as {unit}"


def _region(raw: Any) -> Any:
    data = raw.get("data") if isinstance(raw, Mapping) else None
    if not isinstance(data, Mapping):
        return raw
    region = {"channel": 1, "z": 0, "meta": {}} | {k: v for k, v in raw.items() if k != "data"}
    extra = copy.deepcopy(dict(data))
    try:
        if raw.get("roi_type") == "rectroi":
            inside = {ours: extra.pop(theirs) for theirs, ours in _RECTANGLE.items()}
            return {**region, "roi_type": "rect", "data": inside | extra}
        if raw.get("roi_type") == "linesegmentroi":
            points = [[extra.pop(f"col{end}"), extra.pop(f"row{end}")] for end in "01"]
            return {**region, "roi_type": "line", "data": {"points": points, **extra}}
    except KeyError:
        pass  # A coordinate is missing: the region is shown as one that cannot be read.
    return copy.deepcopy(dict(raw))


def _literal(text: object) -> Any:
    # Their program writes tuples as Python does: "(5000, 38)".
    if not isinstance(text, str) or len(text) > 1000:
        return text
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list | tuple) and all(type(item) is kind for item in value)


def runs_of_sidecar(sidecar: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the analyses of a sidecar, each with its program and its channel from 1.

    ``channel`` counts from 1, as everywhere in this package; ``channel_index`` is the number in
    the sidecar, from 0.
    """
    return [
        {"program": PROGRAM, **copy.deepcopy(dict(run)), **_channel(run.get("channel"))}
        for run in sidecar["analysis"]
        if isinstance(run, Mapping)
    ]


def _channel(index: Any) -> dict[str, Any]:
    return {"channel": index + 1 if type(index) is int else None, "channel_index": index}


# Out ---------------------------------------------------------------------------------------


def sidecar_of_payload(
    payload: Mapping[str, Any],
    original: Mapping[str, Any] | None,
    *,
    suffix: str,
    shape: Sequence[int],
    dims: Sequence[str],
    dtype: str,
) -> tuple[dict[str, Any], list[str]]:
    """Return a sidecar of acqstore with the content of a payload, and what it cannot say.

    Values that are equal to those of the earlier sidecar stay as they are written there. Regions
    of kinds that acqstore does not read are left out, because it would drop all metadata of the
    image; so are analyses of regions that were changed or removed.

    Parameters
    ----------
    payload : mapping
        Of version "2.0".
    original : mapping, optional
        The earlier sidecar.
    suffix : str
        Of the image file.
    shape, dims : sequence
        Of the pixels; `dims` in upper case.
    dtype : str
    """
    lost: list[str] = []
    before = None if original is None else payload_of_sidecar(original, suffix=suffix)
    written = copy.deepcopy(dict(original)) if original is not None else _empty(shape, dims, dtype)
    experiment = payload.get(_EXPERIMENT)
    if isinstance(experiment, Mapping) and (before is None or experiment != before[_EXPERIMENT]):
        written[_EXPERIMENT] = written[_EXPERIMENT] | _experiment(experiment)
        lost += [
            f"experiment_metadata.{key}" for key in experiment if key not in written[_EXPERIMENT]
        ]
    rois = payload.get("rois")
    rois = rois if isinstance(rois, list) else []
    earlier = (
        {} if before is None else {roi.get("roi_id"): roi for roi in _mappings(before["rois"])}
    )
    theirs = (
        {} if original is None else {roi.get("roi_id"): roi for roi in _mappings(original["rois"])}
    )
    written["rois"] = []
    same: set[Any] = set()
    for roi in _mappings(rois):
        roi_id = roi.get("roi_id")
        if roi_id in earlier and _without_meta(roi) == _without_meta(earlier[roi_id]):
            written["rois"].append(theirs[roi_id])
            same.add(roi_id)
        elif (region := _their_region(roi)) is not None:
            written["rois"].append(region)
        else:
            lost.append(f"region {roi_id} of the kind {roi.get('roi_type')}")
    dropped = [run for run in _mappings(written["analysis"]) if run.get("roi_id") not in same]
    lost += [
        f"{run.get('analysis_name')} of the changed region {run.get('roi_id')}" for run in dropped
    ]
    written["analysis"] = [run for run in written["analysis"] if run not in dropped]
    if isinstance(payload.get("accepted"), bool):
        written["accepted"] = payload["accepted"]
    _set_steps(written, payload.get("header"), None if before is None else before["header"], dims)
    return written, lost


def sidecar_bytes(sidecar: Mapping[str, Any]) -> bytes:
    """Return a sidecar as acqstore spells it."""
    return json.dumps(sidecar, indent=2, sort_keys=True).encode("ascii")


def _mappings(values: object) -> Iterator[Mapping[str, Any]]:
    for value in values if isinstance(values, list) else ():
        if isinstance(value, Mapping):
            yield value


def _without_meta(roi: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in roi.items() if key != "meta"}


def _experiment(experiment: Mapping[str, Any]) -> dict[str, Any]:
    texts = {
        key: "" if experiment[key] is None else experiment[key]
        for key in _TEXTS
        if key in experiment
    }
    numbers = {
        key: experiment[key] if experiment[key] != "" else None
        for key in _NUMBERS
        if key in experiment
    }
    return texts | numbers


def _their_region(roi: Mapping[str, Any]) -> dict[str, Any] | None:
    data = roi.get("data")
    if not isinstance(data, Mapping):
        return None
    if roi.get("roi_type") == "rect":
        kind, inside = "rectroi", {key: data.get(ours) for key, ours in _RECTANGLE.items()}
    elif roi.get("roi_type") == "line":
        points = data.get("points")
        if not (_is_list_of(points, list) and [len(p) for p in points or ()] == [2, 2]):
            return None
        # Their lines join the centers of pixels.
        (x0, y0), (x1, y1) = ((round(x), round(y)) for x, y in points or ())
        kind, inside = "linesegmentroi", {"row0": y0, "col0": x0, "row1": y1, "col1": x1}
    else:
        return None
    return {
        "roi_id": roi.get("roi_id"),
        "roi_type": kind,
        "version": ROI_VERSION,
        "name": roi.get("name", ""),
        "note": roi.get("note", ""),
        "data": inside,
    }


def _empty(shape: Sequence[int], dims: Sequence[str], dtype: str) -> dict[str, Any]:
    channels = shape[list(dims).index("C")] if "C" in dims else 1
    return {
        "version": 2,
        "accepted": True,
        "analysis": [],
        "rois": [],
        "image_contrast": {},
        _EXPERIMENT: dict.fromkeys(_TEXTS, "") | dict.fromkeys(_NUMBERS),
        _HEADER: {
            "shape": repr(tuple(shape)),
            "dims": repr(tuple(dims)),
            "sizes": repr(dict(zip(dims, shape, strict=True))),
            "dtype": dtype,
            "num_channels": channels,
            "num_scenes": 1,
            "date": "",
            "time": "",
            **{f"physical_unit_{axis}": 1.0 for axis in "yx"},
            **dict.fromkeys(("physical_label_y", "physical_label_x"), "Pixels"),
        },
    }


def _set_steps(
    written: dict[str, Any], header: object, before: Mapping[str, Any] | None, dims: Sequence[str]
) -> None:
    if not isinstance(header, Mapping) or not isinstance(written.get(_HEADER), dict):
        return
    steps, units = header.get("voxels"), header.get("voxels_units")
    if not (isinstance(steps, list) and isinstance(units, list)):
        return
    if before is not None and (steps, units) == (before.get("voxels"), before.get("voxels_units")):
        return
    if not len(steps) == len(units) == len(dims):
        return
    for name, step, unit in zip(dims, steps, units, strict=True):
        key = name.lower()
        if key in ("y", "x") and isinstance(step, int | float) and isinstance(unit, str):
            calibrated = normalize_unit(unit) is not None
            written[_HEADER][f"physical_unit_{key}"] = float(step)
            written[_HEADER][f"physical_label_{key}"] = unit if calibrated else "Pixels"


def table_as_written(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table without what ingest added: channels from 1, and columns ``image_...``."""
    added = [f"image_{name}" for name in (*TIMES, *ROWS, *COLUMNS)]
    table = frame.drop(columns=added, errors="ignore")
    if "channel_index" in table.columns:
        table["channel"] = table["channel_index"]
        table = table.drop(columns="channel_index")
    return table
