"""Facts about an image for the commands, as plain values and as short texts."""

from __future__ import annotations

import dataclasses
import datetime as dt
import difflib
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from kymflow_zarr.errors import ArtifactNotFoundError
from kymflow_zarr.views.markup import local_iso

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kymflow_zarr import ZarrImageRecord

__all__ = [
    "axes_text",
    "did_you_mean",
    "image_facts",
    "local_minute",
    "metadata_of",
    "part_of",
    "shape_text",
    "shortest_prefixes",
    "source_name",
]

_MIN_PREFIX = 8
_UNITS = {"second": "s", "millisecond": "ms", "micrometer": "µm", "nanometer": "nm"}


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return a "did you mean" question with similar names, empty if there are none."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


def shortest_prefixes(ids: Sequence[str]) -> dict[str, str]:
    """Return the shortest unique prefix of each id, of at least 8 letters."""
    ordered = sorted(ids)
    prefixes = {}
    for number, image_id in enumerate(ordered):
        length = _MIN_PREFIX
        for neighbor in ordered[max(0, number - 1) : number] + ordered[number + 1 : number + 2]:
            while length < len(image_id) and neighbor.startswith(image_id[:length]):
                length += 1
        prefixes[image_id] = image_id[:length]
    return prefixes


def metadata_of(record: ZarrImageRecord) -> Any:
    """Return the metadata payload unchanged, of any type; empty if the image has none."""
    try:
        return record.load_json("metadata")
    except ArtifactNotFoundError:
        return {}


def part_of(payload: object, key: str) -> Mapping[Any, Any]:
    """Return a nested mapping, an empty one if it is missing."""
    part = payload.get(key) if isinstance(payload, dict) else None
    return part if isinstance(part, dict) else {}


def image_facts(record: ZarrImageRecord, metadata: object) -> dict[str, Any]:
    """Return the facts that ``ls`` prints about an image, as JSON types."""
    header = part_of(metadata, "header")
    return {
        "image_id": record.image_id,
        "shape": list(record.shape),
        "dtype": str(record.dtype),
        "axes": [dataclasses.asdict(axis) for axis in record.axes],
        "acquired": local_iso(header.get("acquired_local_epoch_ns")),
        "created_utc": record.created_utc,
        "source": _source_path(record),
    }


def _source_path(record: ZarrImageRecord) -> str | None:
    if record.source is not None:
        return record.source.path
    # Users may save the source of an image added by hand as provenance.
    try:
        provenance = record.load_json("provenance")
    except ArtifactNotFoundError:
        return None
    path = provenance.get("original_path") if isinstance(provenance, dict) else None
    return path if isinstance(path, str) else None


def source_name(path: str | None) -> str:
    """Return the file name of a source path of any system."""
    if path is None:
        return ""
    windows = "\\" in path and "/" not in path
    return PureWindowsPath(path).name if windows else PurePosixPath(path).name


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape as ``8000 x 38``."""
    return " x ".join(map(str, shape))


def axes_text(axes: Sequence[Mapping[str, Any]]) -> str:
    """Return axes with their steps, as ``y 1.17 ms, x 0.284 µm``."""
    return ", ".join(f"{axis['name']} {_step_text(axis)}".rstrip() for axis in axes)


def _step_text(axis: Mapping[str, Any]) -> str:
    step, unit = axis["step"], axis["unit"]
    if step is None or axis.get("quantity") == "channel":
        return ""
    if unit == "second" and step < 0.1:
        step, unit = step * 1000, "millisecond"
    return f"{step:.4g} {_UNITS.get(unit, unit) or 'px'}"


def local_minute(utc: str) -> str:
    """Return a UTC time in this machine's time zone, to the minute."""
    moment = dt.datetime.fromisoformat(utc)
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
