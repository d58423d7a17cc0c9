"""Images, datasets and reports of ingest as HTML for notebooks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.engine.rois.values import UnknownRoi, known_rois, roi_text
from kymflow_zarr.errors import ArtifactNotFoundError
from kymflow_zarr.views.figure import figure, thumbnail
from kymflow_zarr.views.markup import (
    error_box,
    guarded,
    is_blank,
    page,
    pairs,
    section,
    table,
    text,
)
from kymflow_zarr.views.picture import Preview, preview

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.engine.image import StoredImage
    from kymflow_zarr.engine.rois.values import KnownRoi

__all__ = ["axes_text", "dataset_html", "record_html", "report_html"]

_MAX_FACTS: Final = 40


def record_html(record: StoredImage) -> str:
    """Return the picture with calibrated axes, and metadata, regions and artifacts."""
    return page(
        f"<div><strong>{text(record.image_id)}</strong></div>",
        guarded(lambda: _facts(record)),
        guarded(lambda: _picture(record)),
        section("Metadata", guarded(lambda: _metadata(record))),
        section("Regions", guarded(lambda: _regions(record))),
        section("Results", guarded(lambda: _results(record))),
        section("Artifacts", guarded(lambda: _artifacts(record))),
    )


def axes_text(record: StoredImage) -> str:
    """Return the axes with their steps."""
    parts = []
    for axis in record.axes:
        name = f"{axis.name} ({axis.quantity})" if axis.name != axis.quantity else axis.name
        parts.append(name if axis.step is None else f"{name} {axis.step:.6g} {axis.unit or 'px'}")
    return ", ".join(parts)


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
    rois: list[KnownRoi] = []
    trouble = ""
    try:
        listed = record.load_rois()
        rois = known_rois(listed)
        unknown = [roi.error for roi in listed if isinstance(roi, UnknownRoi)]
        if unknown:
            trouble = _not_drawn("; ".join(unknown))
        picture = figure(seen, rois, record.load_array_artifact, f"image {record.image_id}")
    except Exception as error:  # noqa: BLE001 - draw the picture without its regions
        trouble = _not_drawn(error)
        picture = figure(seen, [], record.load_array_artifact, f"image {record.image_id}")
    which = _which(seen)
    note = f'<div style="opacity:.7">{text(which)}</div>' if which else ""
    return f'<div style="margin-top:6px">{picture}</div>{note}{trouble}'


def _not_drawn(why: object) -> str:
    return f'<div style="opacity:.7">regions not drawn: {text(why)}</div>'


def _which(seen: Preview) -> str:
    """Return a caption with the plane and the part of it that are shown, if there are more."""
    parts = []
    plane = seen.plane
    for axis, size, position in zip(plane.axes, plane.shape, seen.index, strict=True):
        if isinstance(position, slice) or size == 1:
            continue
        if axis.quantity == "channel":
            names = plane.channel_names
            parts.append(f"channel {names[position] if names else position + 1}")
        else:
            parts.append(f"{axis.name} = {position}")
    if not seen.is_whole:
        taken, whole = seen.pixels.shape, (plane.vertical.size, plane.horizontal.size)
        parts.append(f"a part: {taken[1]} of {whole[1]} across, {taken[0]} of {whole[0]} down")
    return ", ".join(parts)


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
        rows.append((roi.roi_id, roi.name, roi_text(roi), roi.channel, roi.z, roi.note))
    return table(["id", "name", "where", "channel", "z", "note"], rows, most=20)


def _artifacts(record: StoredImage) -> str:
    rows: list[tuple[object, ...]] = [
        (info.name, info.kind, f"{info.size_bytes / 1000:.1f} kB")
        for info in record.list_artifacts()
    ]
    rows += [(name, "array", None) for name in record.list_array_artifacts()]
    return table(["name", "kind", "size"], rows, most=40)


def _results(record: StoredImage) -> str:
    rows: list[tuple[object, ...]] = [
        (
            result.result_id.label,
            result.status if result.error is None else f"{result.status}: {result.error}",
            result.made_by,
            result.computed_utc,
            "; ".join(result.reasons),
        )
        for result in record.results()
    ]
    return table(["result", "status", "made by", "computed", "out of date"], rows, most=40)


_MAX_THUMBNAILS: Final = 8
_MAX_TABLES: Final = 30


def dataset_html(dataset: OpenDataset) -> str:
    """Return a summary, thumbnails of the first images, and the tables with their rows.

    Parameters
    ----------
    dataset : OpenDataset
    count_rows : callable
        Returns the number of rows of a table.
    """
    return page(
        guarded(lambda: _summary(dataset)),
        guarded(lambda: _thumbnails(dataset)),
        section("Images by kind", guarded(lambda: _kinds(dataset))),
        section("Results", guarded(lambda: _results_of_all(dataset))),
        section("Tables", guarded(lambda: _tables(dataset))),
    )


def _summary(dataset: OpenDataset) -> str:
    facts = pairs(
        [
            ("images", f"{len(dataset):,}"),
            ("dataset id", dataset.dataset_id),
            ("created", dataset.created_utc),
            ("mode", dataset.mode),
        ]
    )
    return f"<div><strong>{text(dataset.location)}</strong></div>{facts}"


def _thumbnails(dataset: OpenDataset) -> str:
    ids = list(itertools.islice(dataset, _MAX_THUMBNAILS))
    if not ids:
        return ""
    shown = "".join(_thumbnail(dataset, image_id) for image_id in ids)
    more = len(dataset) - len(ids)
    note = f'<div style="opacity:.7">and {more:,} more images</div>' if more > 0 else ""
    return f'<div style="display:flex;flex-wrap:wrap;gap:10px;margin-top:8px">{shown}</div>{note}'


def _thumbnail(dataset: OpenDataset, image_id: str) -> str:
    def picture() -> str:
        return thumbnail(preview(dataset.record(image_id)), image_id)

    def facts() -> str:
        record = dataset.record(image_id)
        shape = " x ".join(map(str, record.shape))
        return f"<div>{text(shape)} {text(record.dtype)}</div><div>{text(axes_text(record))}</div>"

    caption = f'<div style="font-weight:600">{text(image_id, 60)}</div>'
    small = "font-size:11px;margin-top:3px;overflow-wrap:anywhere"
    try:
        body = f'{picture()}<div style="{small}">{caption}{facts()}</div>'
    except Exception as error:  # noqa: BLE001 - one broken image among many
        body = f'<div style="{small}">{caption}{error_box(error)}</div>'
    return f'<div style="width:168px">{body}</div>'


def _kinds(dataset: OpenDataset) -> str:
    """Return the number of images for each set of axes, from the index alone."""
    images = dataset.images(["axes", "dtype", "shape", "error"])
    if not len(images):
        return ""
    rows: list[tuple[object, ...]] = []
    whole = images[images["axes"].notna()]
    groups: Any = whole.groupby(["axes", "dtype"], sort=False)
    for (axes, dtype), part in groups:
        shapes = list(dict.fromkeys(part["shape"]))
        lows, highs = (map(pick, zip(*shapes, strict=True)) for pick in (min, max))
        spans = (
            f"{low}" if low == high else f"{low} to {high}"
            for low, high in zip(lows, highs, strict=True)
        )
        rows.append((len(part), " ".join(axes), dtype, " x ".join(spans)))
    broken = int(images["error"].notna().sum())
    if broken:
        rows.append((broken, "", "", "cannot be read"))
    return table(["images", "axes", "dtype", "size"], rows, most=20)


def _results_of_all(dataset: OpenDataset) -> str:
    """Return the number of results of each name and variant, from the index alone."""
    results = dataset.results()
    if not len(results):
        return ""
    rows: list[tuple[object, ...]] = []
    results["variant"] = results["variant"].fillna("")
    groups: Any = results.groupby(["name", "variant"], sort=False)
    for (name, variant), part in groups:
        failed, stale = int((part["status"] == "failed").sum()), int(part["out_of_date"].sum())
        rows.append((name, variant, len(part), failed, stale))
    return table(["result", "variant", "results", "failed", "out of date"], rows, most=20)


def _tables(dataset: OpenDataset) -> str:
    names = dataset.list_table_names()
    rows = [(name, _rows_text(dataset, name)) for name in names[:_MAX_TABLES]]
    rows += [(name, "") for name in names[_MAX_TABLES:]]
    return table(["table", "rows"], rows, most=_MAX_TABLES)


def _rows_text(dataset: OpenDataset, name: str) -> str:
    try:
        return f"{dataset.number_of_rows(name):,}"
    except Exception as error:  # noqa: BLE001 - one broken table among many
        return f"{type(error).__name__}: {error}"


# Order of the rows: files with problems first, unchanged files last.
_ORDER = (
    "failed", "skipped", "missing", "unmatched", "updated", "moved", "ingested", "pooled",
    "unchanged",
)  # fmt: skip


def report_html(folder: str, items: Iterable[tuple[str, str, str | None, str | None]]) -> str:
    """Return counts and a table of the files, those with problems first.

    Parameters
    ----------
    folder : str
    items : iterable of tuple
        Status, path, image id and reason of each file.
    """
    return page(guarded(lambda: _report(folder, list(items))))


def _report(folder: str, items: list[tuple[str, str, str | None, str | None]]) -> str:
    counts: dict[str, int] = dict.fromkeys(_ORDER, 0)
    for status, *_ in items:
        counts[status] = counts.get(status, 0) + 1
    summary = ", ".join(f"{n} {status}" for status, n in counts.items() if n) or "no files"
    order = {status: number for number, status in enumerate(counts)}
    rows = sorted(items, key=lambda item: order[item[0]])
    listing = table(["status", "path", "image", "reason"], rows)
    head = f"<div><strong>{text(folder)}</strong></div><div>{text(summary)}</div>"
    return head + section("Files", listing)
