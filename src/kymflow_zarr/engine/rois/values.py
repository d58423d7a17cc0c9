"""Values for regions in the plane of an image: rectangles, lines, areas, points and masks.

Points are ``(x, y)``, column and row, in pixels: ``(0, 0)`` is the center of the first pixel, as
in scikit-image and napari, so that a pixel reaches half a pixel to each side.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Self, TypeAlias, get_args

from kymflow_zarr.errors import ArgumentError, ArgumentTypeError
from kymflow_zarr.schema.payload import roi_deviations
from kymflow_zarr.schema.rois import ROI_VERSION, upgrade_roi

_KNOWN: Final = frozenset({"roi_id", "roi_type", "name", "note", "channel", "z", "meta"})
_ELLIPSE_POINTS: Final = 72


@dataclass(frozen=True, kw_only=True)
class _Roi:
    roi_id: int
    name: str = ""
    note: str = ""
    channel: int = 1
    z: int = 0
    revision: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)

    roi_type: ClassVar[str]
    _coordinates: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        for key, least in (("roi_id", None), ("channel", 1), ("z", 0), ("revision", None)):
            self._set_whole(key, least)
        for key in ("name", "note"):
            if not isinstance(getattr(self, key), str):
                raise self._type_error(key, "text")
        for key in ("meta", "extra"):
            value = getattr(self, key)
            if not isinstance(value, Mapping):
                raise self._type_error(key, "a mapping")
            # A copy, so that the value stays immutable.
            object.__setattr__(self, key, copy.deepcopy(dict(value)))
        taken = [*sorted(_KNOWN & set(self.extra))]
        inner = self.extra.get("data", {})
        if not isinstance(inner, Mapping):
            raise self._type_error("extra['data']", "a mapping")
        taken += [f"data.{key}" for key in self._coordinates if key in inner]
        taken += ["meta.revision"] * ("revision" in self.meta)
        if taken:
            raise ArgumentError(
                f"{taken[0]!r} is a field of its own", where=f"roi {self.roi_id}: extra or meta"
            )

    def _set_whole(self, key: str, least: int | None) -> None:
        value = getattr(self, key)
        try:
            if isinstance(value, bool):
                raise TypeError
            number = operator.index(value)
        except TypeError:
            raise self._type_error(key, "a whole number") from None
        if least is not None and number < least:
            raise ArgumentError(
                f"{key} is {number}, less than {least}", where=f"roi {self.roi_id}: {key}"
            )
        object.__setattr__(self, key, number)

    def _type_error(self, key: str, wanted: str) -> ArgumentTypeError:
        name = key.partition("[")[0]
        return ArgumentTypeError(
            f"{key} is {getattr(self, name)!r}, not {wanted}", where=f"roi {self.roi_id}: {key}"
        )

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Return the region of a dictionary, in the current or an older form.

        Raises
        ------
        ArgumentError
            If it is a region of another kind, or a key is missing or has an invalid value;
            names the key.
        """
        roi = roi_from_dict(raw)
        if not isinstance(roi, cls):
            raise ArgumentError(
                f"the region is a {roi.roi_type}, not a {cls.roi_type}",
                where=f"roi {roi.roi_id}: roi_type",
                hint=f"{type(roi).__name__}.from_dict() reads it.",
            )
        return roi

    def to_dict(self) -> dict[str, Any]:
        """Return the region in the form of the metadata payload, with unknown keys."""
        extra = copy.deepcopy(dict(self.extra))
        data = self._data() | extra.pop("data", {})
        return {
            "roi_id": self.roi_id,
            "roi_type": self.roi_type,
            "version": ROI_VERSION,
            "name": self.name,
            "note": self.note,
            "channel": self.channel,
            "z": self.z,
            "data": data,
            "meta": {"revision": self.revision, **copy.deepcopy(dict(self.meta))},
            **extra,
        }

    def _data(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in self._coordinates}

    def check(self, bounds: Mapping[str, int], *, channels: int | None = None) -> None:
        """Check that the region lies in an image.

        Parameters
        ----------
        bounds : mapping
            ``width``, ``height`` and ``num_slices``, as of
            :meth:`StoredImage.get_image_bounds`.
        channels : int, optional
            Number of channels; None does not check the channel.

        Raises
        ------
        ArgumentError
            If it lies outside; names the field.
        """
        if self.z >= bounds["num_slices"]:
            raise self._outside("z", self.z, f"{bounds['num_slices']} planes, counted from 0")
        if channels is not None and self.channel > channels:
            raise self._outside("channel", self.channel, f"{channels} channels, counted from 1")

    def _outside(self, key: str, value: float, extent: str) -> ArgumentError:
        return ArgumentError(
            f"{key} is {value}, outside of the image, which has {extent}",
            where=f"roi {self.roi_id}: {key}",
        )


@dataclass(frozen=True, kw_only=True)
class RectRoi(_Roi):
    """A region that is a rectangle in the plane of an image.

    Parameters
    ----------
    roi_id : int
        Unique in the image.
    x0, x1 : int
        First column and the column after the last: dimension 1 of the plane, in pixels.
    y0, y1 : int
        First row (line) and the row after the last: dimension 0 of the plane, in pixels.
    name, note : str
    channel : int
        Channel, from 1.
    z : int
        Plane along ``z``, from 0.
    revision : int
        By convention incremented with each change.
    meta : mapping
        Notes of programs about the region, such as ``img_mean``.
    extra : mapping
        Keys that this code does not know; those in ``data`` are below the key ``"data"``.

    Raises
    ------
    ArgumentError
        If a coordinate is negative or a stop lies before its start; names the field.
    ArgumentTypeError
        If a field has a wrong type.
    """

    x0: int
    x1: int
    y0: int
    y1: int

    roi_type: ClassVar[str] = "rect"
    _coordinates: ClassVar[tuple[str, ...]] = ("x0", "x1", "y0", "y1")

    def __post_init__(self) -> None:
        for key in self._coordinates:
            self._set_whole(key, 0)
        for start, stop in (("x0", "x1"), ("y0", "y1")):
            if getattr(self, stop) < getattr(self, start):
                raise ArgumentError(
                    f"{stop} is {getattr(self, stop)}, before {start}, {getattr(self, start)}",
                    where=f"roi {self.roi_id}: {stop}",
                )
        super().__post_init__()

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return self.y1 - self.y0, self.x1 - self.x0

    def check(self, bounds: Mapping[str, int], *, channels: int | None = None) -> None:
        """Check that the rectangle lies in an image: as :meth:`MaskRoi.check`, and its extent."""
        if self.x1 > bounds["width"]:
            raise self._outside("x1", self.x1, f"{bounds['width']} columns")
        if self.y1 > bounds["height"]:
            raise self._outside("y1", self.y1, f"{bounds['height']} rows")
        super().check(bounds, channels=channels)


@dataclass(frozen=True, kw_only=True)
class MaskRoi(_Roi):
    """A region that is a mask: an array artifact with the shape of the plane, true inside.

    Parameters
    ----------
    roi_id : int
        Unique in the image.
    mask_ref : str
        Name of the array artifact.
    name, note, channel, z, revision, meta, extra
        As for :class:`RectRoi`.

    Raises
    ------
    ArgumentTypeError
        If a field has a wrong type.
    """

    mask_ref: str

    roi_type: ClassVar[str] = "mask"
    _coordinates: ClassVar[tuple[str, ...]] = ("mask_ref",)

    def __post_init__(self) -> None:
        if not isinstance(self.mask_ref, str):
            raise self._type_error("mask_ref", "text")
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class _PathRoi(_Roi):
    points: Sequence[tuple[float, float]]

    is_closed: ClassVar[bool] = False
    _coordinates: ClassVar[tuple[str, ...]] = ("points",)
    _least: ClassVar[int]
    _most: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        try:
            points = tuple((float(x), float(y)) for x, y in self.points)
        except (TypeError, ValueError):
            raise self._type_error("points", "pairs of x and y") from None
        if not all(math.isfinite(value) for point in points for value in point):
            raise ArgumentError("a point is not finite", where=f"roi {self.roi_id}: points")
        if len(points) < self._least or (self._most is not None and len(points) > self._most):
            wanted = f"{self._least}" if self._most == self._least else f"at least {self._least}"
            raise ArgumentError(
                f"a {self.roi_type} has {wanted} points, not {len(points)}",
                where=f"roi {self.roi_id}: points",
            )
        object.__setattr__(self, "points", points)
        super().__post_init__()

    def _data(self) -> dict[str, Any]:
        return {"points": [list(point) for point in self.points]}

    @property
    def outline(self) -> Sequence[tuple[float, float]]:
        """The points to draw; those of an area are joined at the end."""
        return self.points

    def check(self, bounds: Mapping[str, int], *, channels: int | None = None) -> None:
        """Check that all points lie in an image, its channel and its plane too."""
        for x, y in self.points:
            if not -0.5 <= x <= bounds["width"] - 0.5:
                raise self._outside("points", x, f"{bounds['width']} columns")
            if not -0.5 <= y <= bounds["height"] - 0.5:
                raise self._outside("points", y, f"{bounds['height']} rows")
        super().check(bounds, channels=channels)


@dataclass(frozen=True, kw_only=True)
class LineRoi(_PathRoi):
    """A region that is a straight line from its first point to its second.

    Parameters
    ----------
    roi_id : int
        Unique in the image.
    points : sequence of (float, float)
        Start and end as ``(x, y)`` in pixels, both included; ``(0, 0)`` is the center of the
        first pixel. The line is directed, and may run towards smaller rows.
    name, note, channel, z, revision, meta, extra
        As for :class:`RectRoi`.

    Raises
    ------
    ArgumentError
        If there are not two points, or one is not finite.
    ArgumentTypeError
        If a field has a wrong type.
    """

    roi_type: ClassVar[str] = "line"
    _least: ClassVar[int] = 2
    _most: ClassVar[int | None] = 2


@dataclass(frozen=True, kw_only=True)
class PolylineRoi(_PathRoi):
    """A region that is a line with bends, such as the path of a line scan.

    Parameters
    ----------
    roi_id : int
        Unique in the image.
    points : sequence of (float, float)
        At least two, as ``(x, y)`` in pixels; ``(0, 0)`` is the center of the first pixel.
    name, note, channel, z, revision, meta, extra
        As for :class:`RectRoi`.

    Raises
    ------
    ArgumentError
        If there are fewer points, or one is not finite.
    ArgumentTypeError
        If a field has a wrong type.
    """

    roi_type: ClassVar[str] = "polyline"
    _least: ClassVar[int] = 2


@dataclass(frozen=True, kw_only=True)
class PolygonRoi(_PathRoi):
    """A region that is a polygon; its pixels are those whose center is inside (even-odd rule).

    Parameters
    ----------
    roi_id : int
        Unique in the image.
    points : sequence of (float, float)
        At least three, as ``(x, y)`` in pixels; ``(0, 0)`` is the center of the first pixel.
        The last is joined to the first.
    name, note, channel, z, revision, meta, extra
        As for :class:`RectRoi`.

    Raises
    ------
    ArgumentError
        If there are fewer points, or one is not finite.
    ArgumentTypeError
        If a field has a wrong type.
    """

    roi_type: ClassVar[str] = "polygon"
    is_closed: ClassVar[bool] = True
    _least: ClassVar[int] = 3


@dataclass(frozen=True, kw_only=True)
class PointsRoi(_PathRoi):
    """A region of single points.

    Parameters
    ----------
    roi_id : int
        Unique in the image.
    points : sequence of (float, float)
        At least one, as ``(x, y)`` in pixels; ``(0, 0)`` is the center of the first pixel.
    name, note, channel, z, revision, meta, extra
        As for :class:`RectRoi`.

    Raises
    ------
    ArgumentError
        If there is no point, or one is not finite.
    ArgumentTypeError
        If a field has a wrong type.
    """

    roi_type: ClassVar[str] = "points"
    _least: ClassVar[int] = 1


@dataclass(frozen=True, kw_only=True)
class EllipseRoi(_Roi):
    """A region that is an ellipse; its pixels are those whose center is inside.

    Parameters
    ----------
    roi_id : int
        Unique in the image.
    x, y : float
        Center, column and row in pixels; ``(0, 0)`` is the center of the first pixel.
    radius_x, radius_y : float
        Half diameters in pixels, along x and y if `angle_deg` is 0.
    angle_deg : float
        Rotation from x towards y (clockwise on the screen), in degrees.
    name, note, channel, z, revision, meta, extra
        As for :class:`RectRoi`.

    Raises
    ------
    ArgumentError
        If a number is not finite, or a radius is not positive.
    ArgumentTypeError
        If a field has a wrong type.
    """

    x: float
    y: float
    radius_x: float
    radius_y: float
    angle_deg: float = 0.0

    roi_type: ClassVar[str] = "ellipse"
    is_closed: ClassVar[bool] = True
    _coordinates: ClassVar[tuple[str, ...]] = ("x", "y", "radius_x", "radius_y", "angle_deg")

    def __post_init__(self) -> None:
        for key in self._coordinates:
            value = getattr(self, key)
            try:
                if isinstance(value, bool | str):
                    raise TypeError
                number = float(value)
            except (TypeError, ValueError):
                raise self._type_error(key, "a number") from None
            if not math.isfinite(number) or (key.startswith("radius") and number <= 0):
                raise ArgumentError(
                    f"{key} is {number}, not a size", where=f"roi {self.roi_id}: {key}"
                )
            object.__setattr__(self, key, number)
        super().__post_init__()

    @property
    def outline(self) -> Sequence[tuple[float, float]]:
        """Points of the edge to draw, joined at the end."""
        angle = math.radians(self.angle_deg)
        points = []
        for turn in (2 * math.pi * i / _ELLIPSE_POINTS for i in range(_ELLIPSE_POINTS)):
            along, across = self.radius_x * math.cos(turn), self.radius_y * math.sin(turn)
            x = self.x + along * math.cos(angle) - across * math.sin(angle)
            y = self.y + along * math.sin(angle) + across * math.cos(angle)
            points.append((x, y))
        return points

    def check(self, bounds: Mapping[str, int], *, channels: int | None = None) -> None:
        """Check that the center lies in an image, its channel and its plane too."""
        if not -0.5 <= self.x <= bounds["width"] - 0.5:
            raise self._outside("x", self.x, f"{bounds['width']} columns")
        if not -0.5 <= self.y <= bounds["height"] - 0.5:
            raise self._outside("y", self.y, f"{bounds['height']} rows")
        super().check(bounds, channels=channels)


@dataclass(frozen=True)
class UnknownRoi:
    """A region that cannot be read: of an unknown kind, or damaged.

    :meth:`~kymflow_zarr.ZarrImageRecord.save_rois` writes it back as it was.

    Parameters
    ----------
    raw : object
        Its value in the metadata payload.
    error : str
        Why it cannot be read.
    """

    raw: Any
    error: str

    roi_type: ClassVar[str] = "unknown"

    @property
    def roi_id(self) -> Any:
        """The id in `raw`, None if it has none."""
        return self.raw.get("roi_id", self.raw.get("id")) if isinstance(self.raw, Mapping) else None

    @property
    def name(self) -> str:
        """The name in `raw`, empty if it has none."""
        name = self.raw.get("name") if isinstance(self.raw, Mapping) else None
        return name if isinstance(name, str) else ""

    def to_dict(self) -> Any:
        """Return the region in the form of the metadata payload."""
        return copy.deepcopy(self.raw)

    def check(self, bounds: Mapping[str, int], *, channels: int | None = None) -> None:
        """Check nothing: the position of the region is not known."""


KnownRoi: TypeAlias = (
    RectRoi | MaskRoi | LineRoi | PolylineRoi | PolygonRoi | EllipseRoi | PointsRoi
)
Roi: TypeAlias = KnownRoi | UnknownRoi
ROI_CLASSES: Final[Mapping[str, type[KnownRoi]]] = {cls.roi_type: cls for cls in get_args(KnownRoi)}


def roi_from_dict(raw: Mapping[str, Any]) -> KnownRoi:
    """Return the region of a dictionary, in the current or an older form.

    Raises
    ------
    ArgumentError
        If it is not a region, or a key is missing or has an invalid value; names the key.
    """
    if not isinstance(raw, Mapping):
        raise ArgumentTypeError(f"a region is a mapping, not {type(raw).__qualname__}")
    roi_id = raw.get("roi_id", raw.get("id"))
    for deviation in roi_deviations(raw):
        if not deviation.readable:
            raise ArgumentError(str(deviation), where=f"roi {roi_id}")
    upgraded: Any = upgrade_roi(raw)
    roi = copy.deepcopy(dict(upgraded))
    data, meta = dict(roi.pop("data")), dict(roi.pop("meta"))
    cls = ROI_CLASSES[roi.pop("roi_type")]
    if roi.get("version") == ROI_VERSION:
        del roi["version"]
    known = {key: roi.pop(key) for key in ("roi_id", "name", "note", "channel", "z")}
    revision = meta.pop("revision", None)
    coordinates = {key: data.pop(key) for key in cls._coordinates if key in data}
    extra = roi | ({"data": data} if data else {})
    return cls(
        **known, **coordinates, revision=0 if revision is None else revision, meta=meta, extra=extra
    )


def roi_text(roi: KnownRoi) -> str:
    """Return where a region is, in words."""
    if isinstance(roi, RectRoi):
        return f"rows {roi.y0}:{roi.y1}, columns {roi.x0}:{roi.x1}"
    if isinstance(roi, MaskRoi):
        return f"mask {roi.mask_ref}"
    if isinstance(roi, EllipseRoi):
        return f"ellipse around row {roi.y:g}, column {roi.x:g}"
    if isinstance(roi, LineRoi):
        (x0, y0), (x1, y1) = roi.points
        return f"line from row {y0:g}, column {x0:g} to row {y1:g}, column {x1:g}"
    return f"{roi.roi_type} with {len(roi.points)} points"


def known_rois(rois: Iterable[Roi]) -> list[KnownRoi]:
    """Return the regions that can be read."""
    return [roi for roi in rois if not isinstance(roi, UnknownRoi)]


def check_rois(rois: Iterable[object]) -> list[Roi]:
    """Return regions as a list, after checking their types and that their ids are unique.

    Raises
    ------
    ArgumentTypeError
        If one is not a region of ours.
    ArgumentError
        If two have the same id.
    """
    checked: list[Roi] = []
    for number, roi in enumerate(rois):
        if isinstance(roi, UnknownRoi):
            checked.append(roi)
            continue
        if not isinstance(roi, KnownRoi):
            raise ArgumentTypeError(
                f"a region is of type {type(roi).__qualname__}",
                where=f"rois[{number}]",
                hint="RectRoi.from_dict() and MaskRoi.from_dict() make values of dictionaries.",
            )
        if any(roi.roi_id == other.roi_id for other in known_rois(checked)):
            raise ArgumentError(
                f"two regions have the id {roi.roi_id}",
                where=f"rois[{number}]: roi_id",
                hint="Each region of an image has an id of its own.",
            )
        checked.append(roi)
    return checked
