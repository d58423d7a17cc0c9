"""A dataset as HTML: what is in it, a few thumbnails, and the tables."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.views.figure import thumbnail
from kymflow_zarr.views.image_html import axes_text
from kymflow_zarr.views.markup import error_box, guarded, page, pairs, section, table, text
from kymflow_zarr.views.picture import preview

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset

__all__ = ["dataset_html"]

_MAX_THUMBNAILS: Final = 8
_MAX_TABLES: Final = 30


def dataset_html(dataset: OpenDataset) -> str:
    """Return a summary, thumbnails of the first images, and the tables with their rows.

    Parameters
    ----------
    dataset : OpenDataset
    count_rows : callable
        Returns how many rows a table has.
    """
    return page(
        guarded(lambda: _summary(dataset)),
        guarded(lambda: _thumbnails(dataset)),
        section("Images by kind", guarded(lambda: _kinds(dataset))),
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
    return f"<div><strong>{text(dataset.path)}</strong></div>{facts}"


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
    """Return how many images there are of each set of axes; from the index alone."""
    found = dataset.images(["axes", "dtype", "shape", "error"])
    if not len(found):
        return ""
    rows: list[tuple[object, ...]] = []
    whole = found[found["axes"].notna()]
    groups: Any = whole.groupby(["axes", "dtype"], sort=False)
    for (axes, dtype), part in groups:
        shapes = list(dict.fromkeys(part["shape"]))
        lows, highs = (map(pick, zip(*shapes, strict=True)) for pick in (min, max))
        spans = (
            f"{low}" if low == high else f"{low} to {high}"
            for low, high in zip(lows, highs, strict=True)
        )
        rows.append((len(part), " ".join(axes), dtype, " x ".join(spans)))
    broken = int(found["error"].notna().sum())
    if broken:
        rows.append((broken, "", "", "cannot be read"))
    return table(["images", "axes", "dtype", "size"], rows, most=20)


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
