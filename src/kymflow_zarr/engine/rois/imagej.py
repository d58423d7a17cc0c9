"""Regions in the files of ImageJ: ``.roi`` holds one, ``.zip`` many.

ImageJ counts areas from the corner of the first pixel, and lines and points from its center
(source: ``ij.gui.Roi.useLineSubpixelConvention``), so that areas are moved by half a pixel here. A
kind that has no counterpart, such as a composite, becomes a region of type ``"imagej"`` with the
bytes of the file, which is an ``UnknownRoi`` for this package and is written back unchanged.
"""

from __future__ import annotations

import base64
import contextlib
import io
import math
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr.engine.rois.values import (
    EllipseRoi,
    KnownRoi,
    LineRoi,
    MaskRoi,
    PointsRoi,
    PolygonRoi,
    PolylineRoi,
    RectRoi,
    Roi,
    UnknownRoi,
)
from kymflow_zarr.errors import (
    ArgumentError,
    SourceFileError,
    UnsupportedDataError,
    extra_module,
)
from kymflow_zarr.runtime.limits import check_limit

if TYPE_CHECKING:
    from roifile import ImagejRoi

UNSUPPORTED: Final = "imagej"
_HALF: Final = 0.5


def _roifile() -> Any:
    needs = "regions of ImageJ need the package roifile"
    return extra_module("roifile", extra="rois", needs=needs)


def decode_rois(data: bytes, *, where: str, first_id: int) -> list[Roi]:
    """Return the regions of a file of ImageJ, with ids from `first_id` on.

    Parameters
    ----------
    data : bytes
        Of a ``.roi`` or ``.zip`` file.
    where : str
        The file, for errors.
    first_id : int

    Raises
    ------
    SourceFileError
        If it is no such file, or a damaged one.
    """
    roifile = _roifile()
    rois: list[Roi] = []
    try:
        for name, content in _entries(data):
            read = roifile.ImagejRoi.frombytes(content)
            rois.append(_region(read, content, first_id + len(rois), name))
    except (ValueError, OSError, zipfile.BadZipFile, IndexError, TypeError, struct.error) as error:
        raise SourceFileError(f"is no readable file of regions: {error}", where=where) from error
    if not rois:
        raise SourceFileError("holds no regions", where=where)
    return rois


def _entries(data: bytes) -> Iterator[tuple[str, bytes]]:
    if not data.startswith(b"PK"):
        yield "", data
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        listed = [info for info in archive.infolist() if info.filename.endswith(".roi")]
        size = sum(info.file_size for info in listed)
        check_limit("gzip_bytes", size, "the archive unpacks to", where=None)
        for info in listed:
            yield info.filename.rpartition("/")[2].removesuffix(".roi"), archive.read(info)


def _region(read: ImagejRoi, content: bytes, roi_id: int, name: str) -> Roi:
    common: dict[str, Any] = {
        "roi_id": roi_id,
        "name": read.name or name,
        "channel": max(1, read.c_position),
        "z": max(0, read.z_position - 1),
    }
    try:
        value = _value(read, common)
    except ArgumentError:
        value = None
    if value is not None:
        return value
    raw = {
        "roi_type": UNSUPPORTED,
        **common,
        "data": {"roi": base64.b64encode(content).decode("ascii")},
    }
    kind = read.roitype.name.lower()
    return UnknownRoi(raw, f"a region of ImageJ of the kind {kind}, which has no counterpart here")


def _value(read: ImagejRoi, common: dict[str, Any]) -> KnownRoi | None:
    import roifile

    kind, kinds = read.roitype, roifile.ROI_TYPE
    composite = read.shape_roi_size > 0
    styled = read.subtype in (roifile.ROI_SUBTYPE.TEXT, roifile.ROI_SUBTYPE.IMAGE)
    if composite or styled or kind in (kinds.NOROI, kinds.ANGLE):
        return None
    if kind in (kinds.RECT, kinds.OVAL):
        return _box(read, common, oval=kind == kinds.OVAL)
    if kind == kinds.LINE:
        return LineRoi(points=[(read.x1, read.y1), (read.x2, read.y2)], **common)
    if read.subtype == roifile.ROI_SUBTYPE.ELLIPSE:
        return _turned_ellipse(read, common)
    points = np.asarray(read.coordinates(), float)
    if kind == kinds.POINT:
        return PointsRoi(points=points.tolist(), **common)
    if kind in (kinds.POLYLINE, kinds.FREELINE):
        return PolylineRoi(points=points.tolist(), **common)
    return PolygonRoi(points=(points - _HALF).tolist(), **common)


def _box(read: ImagejRoi, common: dict[str, Any], *, oval: bool) -> KnownRoi:
    left, top = float(read.left), float(read.top)
    width, height = float(read.right) - left, float(read.bottom) - top
    if read.subpixelresolution and read.widthd > 0 and read.heightd > 0:
        left, top, width, height = read.xd, read.yd, read.widthd, read.heightd
    if oval:
        return EllipseRoi(
            x=left + width / 2 - _HALF, y=top + height / 2 - _HALF,
            radius_x=width / 2, radius_y=height / 2, **common,
        )  # fmt: skip
    sides = (left, left + width, top, top + height)
    if all(side.is_integer() for side in sides):
        x0, x1, y0, y1 = map(int, sides)
        return RectRoi(x0=x0, x1=x1, y0=y0, y1=y1, **common)
    west, east, north, south = (side - _HALF for side in sides)
    corners = [(west, north), (east, north), (east, south), (west, south)]
    return PolygonRoi(points=corners, **common)


def _turned_ellipse(read: ImagejRoi, common: dict[str, Any]) -> EllipseRoi:
    # ImageJ stores the ends of the long axis, and the ratio of the axes.
    shared = (read.arrow_style_or_aspect_ratio, read.arrow_head_size, read.rounded_rect_arc_size)
    (ratio,) = struct.unpack(f"{read.byteorder}f", struct.pack(f"{read.byteorder}BBh", *shared))
    dx, dy = read.x2 - read.x1, read.y2 - read.y1
    radius = math.hypot(dx, dy) / 2
    return EllipseRoi(
        x=(read.x1 + read.x2) / 2 - _HALF, y=(read.y1 + read.y2) / 2 - _HALF,
        radius_x=radius, radius_y=radius * ratio, angle_deg=math.degrees(math.atan2(dy, dx)),
        **common,
    )  # fmt: skip


def encode_rois(
    rois: Sequence[Roi], load_mask: Callable[[str], np.ndarray[Any, Any]], *, where: str
) -> bytes:
    """Return regions as a ``.zip`` of ImageJ, in their order.

    Parameters
    ----------
    rois : sequence of regions
        Masks become composites.
    load_mask : callable
        Returns an array artifact by name.
    where : str
        The image, for errors.

    Raises
    ------
    UnsupportedDataError
        If a region is of an unknown kind that is not from ImageJ.
    """
    _roifile()
    target = io.BytesIO()
    taken: set[str] = set()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for roi in rois:
            if isinstance(roi, UnknownRoi):
                content = _original_bytes(roi, where)
            else:
                content = _written(roi, load_mask).tobytes()
            name = (roi.name or f"ROI {roi.roi_id}").replace("/", "_").replace("\\", "_")
            name = f"{name} {roi.roi_id}" if name in taken else name
            taken.add(name)
            archive.writestr(zipfile.ZipInfo(f"{name}.roi"), content)
    return target.getvalue()


def _original_bytes(roi: UnknownRoi, where: str) -> bytes:
    raw = roi.raw
    if isinstance(raw, dict) and raw.get("roi_type") == UNSUPPORTED:
        with contextlib.suppress(KeyError, TypeError, ValueError):  # Damaged: refused below.
            return base64.b64decode(raw["data"]["roi"], validate=True)
    raise UnsupportedDataError(
        f"region {roi.roi_id!r} has no counterpart in ImageJ: {roi.error}",
        where=where,
        hint="Leave it out: export_rois(path, rois=[...]).",
    )


def _written(roi: KnownRoi, load_mask: Callable[[str], np.ndarray[Any, Any]]) -> ImagejRoi:
    from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

    if isinstance(roi, PolygonRoi | PolylineRoi | PointsRoi):
        is_area = isinstance(roi, PolygonRoi)
        written = ImagejRoi.frompoints(np.array(roi.points) + (_HALF if is_area else 0))
        kinds = {"polygon": ROI_TYPE.POLYGON, "polyline": ROI_TYPE.POLYLINE}
        written.roitype = kinds.get(roi.roi_type, ROI_TYPE.POINT)
    elif isinstance(roi, RectRoi):
        written = ImagejRoi()
        written.roitype = ROI_TYPE.RECT
        written.left, written.right, written.top, written.bottom = roi.x0, roi.x1, roi.y0, roi.y1
    elif isinstance(roi, LineRoi):
        written = ImagejRoi()
        written.roitype = ROI_TYPE.LINE
        written.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        (written.x1, written.y1), (written.x2, written.y2) = roi.points
        _bound(written, np.array(roi.points))
    elif isinstance(roi, EllipseRoi):
        written = _written_ellipse(roi)
    else:
        written = _composite(roi, load_mask)
    written.name = roi.name or f"ROI {roi.roi_id}"
    written.c_position, written.z_position, written.t_position = roi.channel, roi.z + 1, 0
    return written


def _bound(written: ImagejRoi, points: np.ndarray[Any, Any]) -> None:
    """Set the box around points."""
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    written.left, written.top = map(int, low)
    written.right, written.bottom = map(int, high)


def _written_ellipse(roi: EllipseRoi) -> ImagejRoi:
    from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi

    left, top = roi.x + _HALF - roi.radius_x, roi.y + _HALF - roi.radius_y
    sides = (left, left + 2 * roi.radius_x, top, top + 2 * roi.radius_y)
    if roi.angle_deg == 0:
        written = ImagejRoi()
        written.roitype = ROI_TYPE.OVAL
        _bound(written, np.array(sides).reshape(2, 2).T)
        if not all(side.is_integer() for side in sides):
            written.options |= ROI_OPTIONS.SUB_PIXEL_RESOLUTION
            written.xd, written.yd = left, top
            written.widthd, written.heightd = 2 * roi.radius_x, 2 * roi.radius_y
        return written
    written = ImagejRoi.frompoints(np.array(roi.outline) + _HALF)
    written.roitype, written.subtype = ROI_TYPE.FREEHAND, ROI_SUBTYPE.ELLIPSE
    angle = math.radians(roi.angle_deg)
    dx, dy = roi.radius_x * math.cos(angle), roi.radius_x * math.sin(angle)
    x, y = roi.x + _HALF, roi.y + _HALF
    written.x1, written.y1, written.x2, written.y2 = x - dx, y - dy, x + dx, y + dy
    # The ratio, a float, lies where other kinds have three settings.
    ratio = struct.pack(f"{written.byteorder}f", roi.radius_y / roi.radius_x)
    (
        written.arrow_style_or_aspect_ratio,
        written.arrow_head_size,
        written.rounded_rect_arc_size,
    ) = struct.unpack(f"{written.byteorder}BBh", ratio)
    return written


def _composite(roi: MaskRoi, load_mask: Callable[[str], np.ndarray[Any, Any]]) -> ImagejRoi:
    """Return a mask as the composite of the runs of its rows."""
    from roifile import ROI_TYPE, ImagejRoi

    inside = np.pad(load_mask(roi.mask_ref) != 0, ((0, 0), (1, 1))).astype(np.int8)
    rows, starts = np.nonzero(np.diff(inside, axis=1) == 1)
    _, stops = np.nonzero(np.diff(inside, axis=1) == -1)
    path: list[float] = []
    for y, x0, x1 in zip(rows.tolist(), starts.tolist(), stops.tolist(), strict=True):
        # 0 moves to a point, 1 draws a line to it, 4 closes the path.
        path += [0, x0, y, 1, x1, y, 1, x1, y + 1, 1, x0, y + 1, 4]
    written = ImagejRoi()
    written.roitype = ROI_TYPE.RECT
    written.multi_coordinates = np.array(path, np.float32)
    written.shape_roi_size = len(path)
    if path:
        corners = [[starts.min(), rows.min()], [stops.max(), rows.max() + 1]]
        _bound(written, np.array(corners))
    return written
