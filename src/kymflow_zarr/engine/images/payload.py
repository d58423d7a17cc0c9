"""The canonical metadata payload, and conversion of other programs' objects to plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kymflow_zarr.errors import ArgumentTypeError
from kymflow_zarr.schema.payload import PAYLOAD_VERSION


def to_mapping(value: object, *, what: str) -> dict[str, Any]:
    """Return an object as a mapping: `to_dict()`, a dataclass's fields, or itself.

    Raises
    ------
    ArgumentTypeError
        If it has none.
    """
    if value is None:
        return {}
    convert = getattr(value, "to_dict", None)
    if callable(convert):
        value = convert()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if not isinstance(value, Mapping):
        raise ArgumentTypeError(
            f"the {what} is of type {type(value).__qualname__}",
            hint="Give a mapping, a dataclass, or an object with to_dict().",
        )
    return dict(value)


def to_list(value: object, *, what: str) -> list[dict[str, Any]]:
    """Return a collection as a list of mappings: `to_list()`, or one mapping per item.

    Raises
    ------
    ArgumentTypeError
        If it is not a collection, or an item has no mapping.
    """
    if value is None:
        return []
    convert = getattr(value, "to_list", None)
    if callable(convert):
        value = convert()
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise ArgumentTypeError(
            f"the {what} are of type {type(value).__qualname__}",
            hint="Give a list of mappings, or an object with to_list().",
        )
    return [to_mapping(item, what=f"{what}[{i}]") for i, item in enumerate(value)]


def payload_of(
    header: object, experiment: object, rois: object, *, old: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the payload composed of three objects, each of which may be None.

    Parameters
    ----------
    header, experiment, rois : object
    old : mapping, optional
        A payload whose other keys are kept.
    """
    payload = dict(old or {})
    payload["version"] = PAYLOAD_VERSION
    payload["header"] = {**_section(payload, "header"), **to_mapping(header, what="header")}
    payload["experiment_metadata"] = {
        **_section(payload, "experiment_metadata"),
        **to_mapping(experiment, what="experiment"),
    }
    payload["rois"] = payload.get("rois", []) if rois is None else to_list(rois, what="rois")
    return payload


def _section(payload: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = payload.get(key)
    return section if isinstance(section, Mapping) else {}


def acquired_local_epoch_ns(payload: object) -> int | None:
    """Return the acquisition time of a payload, None if it has none."""
    header = payload.get("header") if isinstance(payload, Mapping) else None
    value = header.get("acquired_local_epoch_ns") if isinstance(header, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
