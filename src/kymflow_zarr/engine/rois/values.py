"""Values for regions: rectangles and masks in the plane of an image."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Self, TypeAlias

from kymflow_zarr.errors import ArgumentError, ArgumentTypeError
from kymflow_zarr.schema.payload import roi_deviations
from kymflow_zarr.schema.rois import ROI_VERSION, upgrade_roi

_KNOWN: Final = frozenset({"roi_id", "roi_type", "name", "note", "channel", "z", "meta"})


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
        data = {key: getattr(self, key) for key in self._coordinates} | extra.pop("data", {})
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

    def _outside(self, key: str, value: int, extent: str) -> ArgumentError:
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


KnownRoi: TypeAlias = RectRoi | MaskRoi
Roi: TypeAlias = KnownRoi | UnknownRoi


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
    kind: Literal["rect", "mask"] = roi.pop("roi_type")
    if roi.get("version") == ROI_VERSION:
        del roi["version"]
    known = {key: roi.pop(key) for key in ("roi_id", "name", "note", "channel", "z")}
    revision = meta.pop("revision", None)
    cls = RectRoi if kind == "rect" else MaskRoi
    coordinates = {key: data.pop(key) for key in cls._coordinates}
    extra = roi | ({"data": data} if data else {})
    return cls(
        **known, **coordinates, revision=0 if revision is None else revision, meta=meta, extra=extra
    )


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
        if not isinstance(roi, RectRoi | MaskRoi):
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
