"""Regions in the metadata payload: their model, and the upgrade of older forms.

Source of both forms: files written by kymflow in 2025 and 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

ROI_VERSION: Final = "1.0"

_Text: TypeAlias = str | None
_Pixel: TypeAlias = Annotated[int, Meta(ge=0)]
_Intensity: TypeAlias = Annotated[float | None, Meta(description="Of the pixels of the region.")]


class RectDataDocument(msgspec.Struct, kw_only=True):
    """A rectangle in pixels; stops are exclusive."""

    x0: Annotated[_Pixel, Meta(description="First column: dimension 1 of the plane.")]
    x1: Annotated[_Pixel, Meta(description="Column after the last.")]
    y0: Annotated[_Pixel, Meta(description="First row (line): dimension 0 of the plane.")]
    y1: Annotated[_Pixel, Meta(description="Row after the last.")]


class MaskDataDocument(msgspec.Struct, kw_only=True):
    """A mask beside the image."""

    mask_ref: Annotated[str, Meta(description="Name of an array artifact, shaped as the plane.")]


_Number: TypeAlias = Annotated[float, Meta(description="In pixels, as points are.")]
_Point: TypeAlias = Annotated[
    list[float],
    Meta(min_length=2, max_length=2, description="Column and row; (0, 0) is a pixel's center."),
]


class LineDataDocument(msgspec.Struct, kw_only=True):
    """A straight line, directed."""

    points: Annotated[
        list[_Point], Meta(min_length=2, max_length=2, description="Start and end, both included.")
    ]


class PolylineDataDocument(msgspec.Struct, kw_only=True):
    """A line with bends, directed."""

    points: Annotated[list[_Point], Meta(min_length=2)]


class PolygonDataDocument(msgspec.Struct, kw_only=True):
    """A polygon; its last point is joined to the first."""

    points: Annotated[list[_Point], Meta(min_length=3)]


class PointsDataDocument(msgspec.Struct, kw_only=True):
    """Single points."""

    points: Annotated[list[_Point], Meta(min_length=1)]


class EllipseDataDocument(msgspec.Struct, kw_only=True):
    """An ellipse."""

    x: Annotated[_Number, Meta(description="Column of the center.")]
    y: Annotated[_Number, Meta(description="Row of the center.")]
    radius_x: Annotated[_Number, Meta(gt=0, description="Half the first diameter.")]
    radius_y: Annotated[_Number, Meta(gt=0, description="Half the second diameter.")]
    angle_deg: (
        Annotated[float, Meta(description="Of the first diameter, from x towards y.")] | UnsetType
    ) = UNSET


class RoiMetaDocument(msgspec.Struct, kw_only=True):
    """Notes of programs about a region."""

    revision: Annotated[int | None, Meta(description="One more with each change.")] | UnsetType = (
        UNSET
    )
    img_min: _Intensity | UnsetType = UNSET
    img_max: _Intensity | UnsetType = UNSET
    img_mean: _Intensity | UnsetType = UNSET
    img_std: _Intensity | UnsetType = UNSET
    mask_ref: _Text | UnsetType = UNSET


class _RoiDocument(msgspec.Struct, kw_only=True, tag_field="roi_type"):
    roi_id: Annotated[int, Meta(description="Unique in the image.")]
    version: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    note: str | UnsetType = UNSET
    channel: (
        Annotated[int, Meta(ge=1, description="Channel, from 1; 1 if left out.")] | UnsetType
    ) = UNSET
    z: Annotated[int, Meta(ge=0, description="Plane along z, from 0.")] | UnsetType = UNSET
    meta: RoiMetaDocument | UnsetType = UNSET


class RectRoiDocument(_RoiDocument, kw_only=True, tag="rect"):
    """A region that is a rectangle."""

    data: RectDataDocument


class MaskRoiDocument(_RoiDocument, kw_only=True, tag="mask"):
    """A region that is a mask."""

    data: MaskDataDocument


class LineRoiDocument(_RoiDocument, kw_only=True, tag="line"):
    """A region that is a straight line."""

    data: LineDataDocument


class PolylineRoiDocument(_RoiDocument, kw_only=True, tag="polyline"):
    """A region that is a line with bends."""

    data: PolylineDataDocument


class PolygonRoiDocument(_RoiDocument, kw_only=True, tag="polygon"):
    """A region that is a polygon."""

    data: PolygonDataDocument


class EllipseRoiDocument(_RoiDocument, kw_only=True, tag="ellipse"):
    """A region that is an ellipse."""

    data: EllipseDataDocument


class PointsRoiDocument(_RoiDocument, kw_only=True, tag="points"):
    """A region of single points."""

    data: PointsDataDocument


RoiDocument: TypeAlias = (
    RectRoiDocument
    | MaskRoiDocument
    | LineRoiDocument
    | PolylineRoiDocument
    | PolygonRoiDocument
    | EllipseRoiDocument
    | PointsRoiDocument
)
ROI_MODELS: Final[dict[str, type[msgspec.Struct]]] = {
    str(model.__struct_config__.tag): model for model in get_args(RoiDocument)
}

_META: Final = ("revision", "img_min", "img_max", "img_mean", "img_std", "mask_ref")
# Current coordinates and their older flat keys: x is dimension 1, y is dimension 0.
_FLAT_DATA: Final = {
    "x0": "dim1_start",
    "x1": "dim1_stop",
    "y0": "dim0_start",
    "y1": "dim0_stop",
}
_FLAT: Final = frozenset({"id", *_META, *_FLAT_DATA.values()})


def is_flat_roi(roi: object) -> bool:
    """Return True if a region has the older form, without ``roi_type`` and ``data``."""
    return (
        isinstance(roi, Mapping)
        and "data" not in roi
        and (all(key in roi for key in _FLAT_DATA.values()) or ("id" in roi and "mask_ref" in roi))
    )


def old_key(key: str) -> str:
    """Return the older flat key of a current key, such as ``dim1_stop`` for ``data.x1``."""
    section, _, name = key.partition(".")
    if section == "roi_id":
        return "id"
    return _FLAT_DATA.get(name, name) if name else key


def upgrade_roi(roi: object) -> object:
    """Return a region converted to the current form, with all unknown keys.

    Flat regions become nested; a missing or null name, note, channel, plane or meta becomes the
    default; a missing type is derived from ``data``. A value of unknown form, and a region of an
    unknown kind, are returned unchanged.

    Parameters
    ----------
    roi : object
        A region of any version.
    """
    if not isinstance(roi, Mapping):
        return roi
    kind = roi.get("roi_type")
    if isinstance(kind, str) and kind not in ROI_MODELS:
        return dict(roi)
    today = _nested(roi) if is_flat_roi(roi) else dict(roi)
    meta = today.get("meta")
    data = today.get("data")
    if isinstance(data, Mapping):
        data = {key: _whole(value) if key in _FLAT_DATA else value for key, value in data.items()}
    reference = meta.get("mask_ref") if isinstance(meta, Mapping) else None
    if today.get("roi_type") == "mask" and isinstance(reference, str):
        # Some files name the mask in only one of the two places.
        data = {"mask_ref": reference, **(data or {})} if isinstance(data, Mapping | None) else data
    if not isinstance(data, Mapping):
        return today
    if "roi_type" not in today:
        today["roi_type"] = "mask" if "mask_ref" in data and "x0" not in data else "rect"
    defaults = {"version": ROI_VERSION, "name": "", "note": "", "channel": 1, "z": 0, "meta": {}}
    given = {key: value for key, value in today.items() if value is not None}
    return {**today, **defaults, **given, "data": data}


def _nested(roi: Mapping[Any, Any]) -> dict[Any, Any]:
    rectangle = _FLAT_DATA["x0"] in roi
    given = roi.get("meta")
    return {
        "roi_id": roi["id"] if "id" in roi else roi.get("roi_id"),
        "roi_type": "rect" if rectangle else "mask",
        **{key: value for key, value in roi.items() if key not in _FLAT and key != "roi_id"},
        "data": {new: roi[old] for new, old in _FLAT_DATA.items()}
        if rectangle
        else {"mask_ref": roi["mask_ref"]},
        "meta": (dict(given) if isinstance(given, Mapping) else {})
        | {key: roi[key] for key in _META if key in roi},
    }


def _whole(value: object) -> object:
    """Return an integral float as int: some programs write every number with a decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
