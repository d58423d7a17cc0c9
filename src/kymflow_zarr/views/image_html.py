"""An image as HTML: its picture, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.engine.rois.values import MaskRoi, UnknownRoi, known_rois
from kymflow_zarr.errors import ArtifactNotFoundError
from kymflow_zarr.views.figure import figure
from kymflow_zarr.views.markup import guarded, is_blank, page, pairs, section, table, text
from kymflow_zarr.views.picture import Preview, preview

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage
    from kymflow_zarr.engine.rois.values import RectRoi

__all__ = ["axes_text", "record_html"]

_MAX_FACTS: Final = 40


def record_html(record: StoredImage) -> str:
    """Return the picture with calibrated axes, and metadata, regions and artifacts."""
    return page(
        f"<div><strong>{text(record.image_id)}</strong></div>",
        guarded(lambda: _facts(record)),
        guarded(lambda: _picture(record)),
        section("Metadata", guarded(lambda: _metadata(record))),
        section("Regions", guarded(lambda: _regions(record))),
        section("Artifacts", guarded(lambda: _artifacts(record))),
    )


def axes_text(record: StoredImage) -> str:
    """Return the axes with their steps."""
    said = []
    for axis in record.axes:
        name = f"{axis.name} ({axis.quantity})" if axis.name != axis.quantity else axis.name
        said.append(name if axis.step is None else f"{name} {axis.step:.6g} {axis.unit or 'px'}")
    return ", ".join(said)


def _facts(record: StoredImage) -> str:
    source = record.source
    return pairs(
        [
            ("shape", f"{' x '.join(map(str, record.shape))}  {record.dtype}"),
            ("axes", axes_text(record)),
            ("channels", ", ".join(record.channel_names or ())),
            ("created", record.created_utc),
            ("source", None if source is None else source.path),
        ]
    )


def _picture(record: StoredImage) -> str:
    seen = preview(record)
    rois: list[RectRoi | MaskRoi] = []
    trouble = ""
    try:
        listed = record.load_rois()
        rois = known_rois(listed)
        unknown = [roi.error for roi in listed if isinstance(roi, UnknownRoi)]
        if unknown:
            trouble = _not_drawn("; ".join(unknown))
        picture = figure(seen, rois, record.load_array_artifact, f"image {record.image_id}")
    except Exception as error:  # noqa: BLE001 - without its regions, but drawn
        trouble = _not_drawn(error)
        picture = figure(seen, [], record.load_array_artifact, f"image {record.image_id}")
    said = _which(seen)
    note = f'<div style="opacity:.7">{text(said)}</div>' if said else ""
    return f'<div style="margin-top:6px">{picture}</div>{note}{trouble}'


def _not_drawn(why: object) -> str:
    return f'<div style="opacity:.7">regions not drawn: {text(why)}</div>'


def _which(seen: Preview) -> str:
    """Say which plane it is, and which part of it, where there is more."""
    said = []
    plane = seen.plane
    for axis, size, position in zip(plane.axes, plane.shape, seen.index, strict=True):
        if isinstance(position, slice) or size == 1:
            continue
        if axis.quantity == "channel":
            names = plane.channel_names
            said.append(f"channel {names[position] if names else position + 1}")
        else:
            said.append(f"{axis.name} = {position}")
    if not seen.is_whole:
        taken, whole = seen.pixels.shape, (plane.vertical.size, plane.horizontal.size)
        said.append(f"a part: {taken[1]} of {whole[1]} across, {taken[0]} of {whole[0]} down")
    return ", ".join(said)


def _metadata(record: StoredImage) -> str:
    try:
        payload = record.load_json("metadata")
    except ArtifactNotFoundError:
        return ""
    facts = list(_told(payload, "experiment_metadata")) + list(_told(payload, "header"))
    return pairs(facts[:_MAX_FACTS])


def _told(payload: Any, key: str) -> Iterator[tuple[object, object]]:
    part = payload.get(key) if isinstance(payload, Mapping) else None
    for name, value in part.items() if isinstance(part, Mapping) else ():
        if not is_blank(value):
            yield name, value


def _regions(record: StoredImage) -> str:
    rows: list[tuple[object, ...]] = []
    for roi in record.load_rois():
        if isinstance(roi, UnknownRoi):
            rows.append((roi.roi_id, roi.name, f"cannot be read: {roi.error}", "", "", ""))
            continue
        if isinstance(roi, MaskRoi):
            where = f"mask {roi.mask_ref}"
        else:
            where = f"rows {roi.y0}:{roi.y1}, columns {roi.x0}:{roi.x1}"
        rows.append((roi.roi_id, roi.name, where, roi.channel, roi.z, roi.note))
    return table(["id", "name", "where", "channel", "z", "note"], rows, most=20)


def _artifacts(record: StoredImage) -> str:
    rows: list[tuple[object, ...]] = [
        (info.name, info.kind, f"{info.size_bytes / 1000:.1f} kB")
        for info in record.list_artifacts()
    ]
    rows += [(name, "array", None) for name in record.list_array_artifacts()]
    return table(["name", "kind", "size"], rows, most=40)
