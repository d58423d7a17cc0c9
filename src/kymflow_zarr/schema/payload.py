"""The metadata payload of an image: its model, upgrades, deviations, and how it is composed.

Source: payloads written by kymflow, version "1.0" beside TIFFs and "2.0" in datasets.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from kymflow_zarr.errors import ArgumentTypeError
from kymflow_zarr.schema.axes import normalize_unit
from kymflow_zarr.schema.rois import (
    ROI_MODELS,
    RoiDocument,
    is_flat_roi,
    old_key,
    upgrade_roi,
)
from kymflow_zarr.types import Axis, Quantity

PAYLOAD_VERSION: Final = "2.0"
# Spellings of the versions 1.0 and 2.0; any other version is unknown.
_READ_VERSIONS: Final = ("1.0", "2.0", "1", "2", 1, 2, "", None)
_Text: TypeAlias = str | None


class HeaderDocument(msgspec.Struct, kw_only=True):
    """Metadata of the acquisition; lists have one entry per axis."""

    shape: (
        Annotated[list[Annotated[int, Meta(ge=0)]] | None, Meta(description="Of the pixels.")]
        | UnsetType
    ) = UNSET
    ndim: Annotated[int | None, Meta(description="Number of dimensions.")] | UnsetType = UNSET
    voxels: (
        Annotated[list[float | None] | None, Meta(description="Step of each axis, in its unit.")]
        | UnsetType
    ) = UNSET
    voxels_units: (
        Annotated[list[str | None] | None, Meta(description='"s", "um", "px" or another.')]
        | UnsetType
    ) = UNSET
    labels: (
        Annotated[list[str | None] | None, Meta(description='Such as "time (s)".')] | UnsetType
    ) = UNSET
    physical_size: (
        Annotated[list[float | None] | None, Meta(description="Extent along each axis.")]
        | UnsetType
    ) = UNSET
    date_str: Annotated[str | None, Meta(description="Day, as it was read.")] | UnsetType = UNSET
    time_str: Annotated[str | None, Meta(description="Time, as it was read.")] | UnsetType = UNSET
    acquired_local_epoch_ns: (
        Annotated[
            int | None,
            Meta(
                description="The wall clock at the microscope, in nanoseconds since "
                "1970-01-01T00:00:00 of that same clock."
            ),
        ]
        | UnsetType
    ) = UNSET


class ExperimentDocument(msgspec.Struct, kw_only=True):
    """Metadata of specimen and conditions; an empty string and null both mean unknown."""

    species: _Text | UnsetType = UNSET
    region: _Text | UnsetType = UNSET
    cell_type: _Text | UnsetType = UNSET
    depth: (
        Annotated[
            float | Literal[""] | None,
            Meta(description='Micrometers below the surface; older programs write "" for null.'),
        ]
        | UnsetType
    ) = UNSET
    branch_order: (
        Annotated[int | str | None, Meta(description="Branches since the penetrating vessel.")]
        | UnsetType
    ) = UNSET
    direction: _Text | UnsetType = UNSET
    sex: _Text | UnsetType = UNSET
    genotype: _Text | UnsetType = UNSET
    condition: _Text | UnsetType = UNSET
    condition2: _Text | UnsetType = UNSET
    treatment: _Text | UnsetType = UNSET
    treatment2: _Text | UnsetType = UNSET
    date: _Text | UnsetType = UNSET
    note: _Text | UnsetType = UNSET
    acq_date: (
        Annotated[str | None, Meta(description="Of older files: header.date_str.")] | UnsetType
    ) = UNSET
    acq_time: (
        Annotated[str | None, Meta(description="Of older files: header.time_str.")] | UnsetType
    ) = UNSET


class PayloadDocument(msgspec.Struct, kw_only=True):
    """The metadata of one image. Unknown keys are kept at every level."""

    version: Literal["2.0"]
    header: HeaderDocument
    experiment_metadata: ExperimentDocument
    rois: list[RoiDocument]


class Deviation(NamedTuple):
    """One place of a payload that deviates from the model.

    Parameters
    ----------
    key : str
        The place, such as ``rois[1].data.x0``; empty for the payload itself.
    what : str
        What is wrong with it.
    readable : bool
        True if it is an older form, which :func:`upgrade_payload` converts.
    """

    key: str
    what: str
    readable: bool = False

    def __str__(self) -> str:
        return f"{self.key or 'the payload'} {self.what}"


def upgrade_payload(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a payload of any version converted to version "2.0"; `raw` is not modified.

    Missing or null sections become empty; regions get the current form
    (:func:`upgrade_roi`); ``acq_date`` and ``acq_time`` also become the header's ``date_str``
    and ``time_str`` if it has none. Unknown keys, values of unknown form and an unknown version
    are kept.
    """
    payload = dict(raw)
    if not _is_unknown_version(payload.get("version")):
        payload["version"] = PAYLOAD_VERSION
    for key in ("header", "experiment_metadata"):
        section = payload.get(key)
        payload[key] = dict(section or {}) if isinstance(section, Mapping | None) else section
    header, experiment = payload["header"], payload["experiment_metadata"]
    if isinstance(header, dict) and isinstance(experiment, dict):
        for key, old in (("date_str", "acq_date"), ("time_str", "acq_time")):
            if experiment.get(old) and not header.get(key):
                header[key] = experiment[old]
    rois = payload.get("rois")
    payload["rois"] = [] if rois is None else rois
    if isinstance(rois, list | tuple):
        payload["rois"] = [upgrade_roi(roi) for roi in rois]
    return payload


def _is_unknown_version(version: object) -> bool:
    plain = isinstance(version, str | int | float | None) and not isinstance(version, bool)
    return not plain or version not in _READ_VERSIONS


# What deviates -----------------------------------------------------------------------------


def payload_deviations(payload: object) -> Iterator[Deviation]:
    """Yield the deviations of a payload from the model; unknown keys are none.

    Parameters
    ----------
    payload : object
        Decoded JSON.
    """
    if not isinstance(payload, Mapping):
        yield Deviation("", f"is {type(payload).__name__}, not a mapping")
        return
    for deviation in _deviations(payload, PayloadDocument, skip="rois"):
        version = payload.get("version")
        if deviation.key == "version" and not _is_unknown_version(version) and version:
            what = f"is {version!r}, which is an older form than {PAYLOAD_VERSION!r}"
            deviation = Deviation("version", what, readable=True)
        yield deviation
    rois = payload.get("rois", [])
    if "rois" not in payload:
        yield Deviation("rois", "is missing")
    elif not isinstance(rois, list | tuple):
        yield Deviation("rois", f"is {type(rois).__name__}, not a list")
    else:
        for number, roi in enumerate(rois):
            for deviation in roi_deviations(roi):
                key = ".".join(filter(None, (f"rois[{number}]", deviation.key)))
                yield deviation._replace(key=key)


def roi_deviations(roi: object) -> Iterator[Deviation]:
    """Yield the deviations of a region from the model, as `payload_deviations` does."""
    if not isinstance(roi, Mapping):
        yield Deviation("", f"is {type(roi).__name__}, not a mapping")
        return
    if not list(_typed_deviations(roi)):
        return
    deviations = list(_typed_deviations(upgrade_roi(roi)))
    if not deviations:
        yield Deviation("", "has an older form", readable=True)
    for deviation in deviations:
        yield deviation._replace(key=old_key(deviation.key)) if is_flat_roi(roi) else deviation


def _typed_deviations(roi: Any) -> Iterator[Deviation]:
    kind = roi.get("roi_type")
    model = ROI_MODELS.get(kind) if isinstance(kind, str) else None
    if model is not None:
        yield from _deviations(roi, model)
    elif "roi_type" in roi:
        yield Deviation("roi_type", f"is {kind!r}, not one of {', '.join(ROI_MODELS)}")
    else:
        yield Deviation("roi_type", "is missing")


def _deviations(
    section: Mapping[Any, Any], model: type[msgspec.Struct], *, skip: str | None = None
) -> Iterator[Deviation]:
    # Convert key by key, since msgspec stops at the first error.
    for field in _fields(model):
        key = field.encode_name
        if key == skip:
            continue
        if key not in section:
            if field.required:
                yield Deviation(key, "is missing")
            continue
        value = section[key]
        inner = _struct_of(field.type)
        if inner is not None and isinstance(value, Mapping):
            for deviation in _deviations(value, inner):
                yield deviation._replace(key=f"{key}.{deviation.key}")
            continue
        try:
            msgspec.convert(value, field.type, strict=True)
        except msgspec.ValidationError as error:
            reason, _, place = str(error).partition(" - at `$")
            message = reason.replace("`", "").replace("Expected", "should be", 1)
            message = message.replace("object", "mapping").replace("array", "list")
            yield Deviation(key + place.rstrip("`"), f"is {_short(value)}: {message}")


@functools.cache
def _fields(model: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    # msgspec compiles the annotations again at each call: a third of a millisecond.
    return msgspec.structs.fields(model)


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct type of a field, with or without UNSET beside it; None if it has none."""
    for candidate in (kind, *getattr(kind, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            model: type[msgspec.Struct] = candidate
            return model
    return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


_TIME_UNITS: Final = frozenset({"second", "millisecond", "microsecond", "minute", "hour"})


def stated_axes(axes: Sequence[Axis], shape: Sequence[int], payload: Any) -> tuple[Axis, ...]:
    """Return the axes with the steps and units in a payload's header.

    If the unit of the rows is a time, they are the lines of a scan: their axis gets the quantity
    ``"time"``.

    Parameters
    ----------
    axes : sequence of Axis
    shape : sequence of int
        Shape of the pixels; a header with another shape is ignored.
    payload : object
        A metadata payload; anything else is ignored.
    """
    header = payload.get("header") if isinstance(payload, Mapping) else None
    if not isinstance(header, Mapping):
        return tuple(axes)
    steps, units, stated = (header.get(key) for key in ("voxels", "voxels_units", "shape"))
    if not (isinstance(steps, list) and isinstance(units, list)):
        return tuple(axes)
    if not len(steps) == len(units) == len(axes) or stated not in (None, [], list(shape)):
        return tuple(axes)
    return tuple(
        _stated(axis, step, unit) for axis, step, unit in zip(axes, steps, units, strict=True)
    )


def _stated(axis: Axis, step: object, unit: object) -> Axis:
    if not isinstance(unit, str) or isinstance(step, bool) or not isinstance(step, int | float):
        return axis
    name = normalize_unit(unit)
    # An int may be larger than any float.
    if name is None or not 0 < step < 1e300 or axis.quantity == "channel":
        return axis
    quantity: Quantity = "time" if name in _TIME_UNITS else "space"
    if quantity == "time" and axis.name not in ("y", "t"):
        return axis
    return Axis(axis.name, quantity, name, float(step))


# Composing --------------------------------------------------------------------------------


def _to_mapping(value: object, *, what: str) -> dict[str, Any]:
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


def _to_list(value: object, *, what: str) -> list[dict[str, Any]]:
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
    return [_to_mapping(item, what=f"{what}[{i}]") for i, item in enumerate(value)]


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
    payload["header"] = {**_section(payload, "header"), **_to_mapping(header, what="header")}
    payload["experiment_metadata"] = {
        **_section(payload, "experiment_metadata"),
        **_to_mapping(experiment, what="experiment"),
    }
    payload["rois"] = payload.get("rois", []) if rois is None else _to_list(rois, what="rois")
    return payload


def _section(payload: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    section = payload.get(key)
    return section if isinstance(section, Mapping) else {}


def acquired_local_epoch_ns(payload: object) -> int | None:
    """Return the acquisition time of a payload, None if it has none."""
    header = payload.get("header") if isinstance(payload, Mapping) else None
    value = header.get("acquired_local_epoch_ns") if isinstance(header, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
