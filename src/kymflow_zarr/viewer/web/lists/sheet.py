"""Endpoints for the metadata of many images as a sheet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.api.internals import import_cells, is_metadata_column, sheet_of_text
from kymflow_zarr.errors import ArgumentError, SourceFileError
from kymflow_zarr.viewer.web.answers import answer
from kymflow_zarr.viewer.web.lists.gallery import NAME
from kymflow_zarr.viewer.web.lists.rows import Asked
from kymflow_zarr.viewer.web.site import number_of, posted, site_of

if TYPE_CHECKING:
    import pandas as pd
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["metadata", "save_metadata"]

_MAX_ROWS: Final = 500
# As many images as are judged at once, with as many cells as a page can show.
_MAX_IMAGES: Final = 5000
_MAX_CELLS: Final = 200_000
_PREFIX: Final = "experiment_metadata."


def metadata(request: Request) -> Response:
    """Answer ``GET /api/metadata``: the fields, and their values in the images of a query."""
    site = site_of(request)
    limit = number_of(request, "limit", _MAX_ROWS, most=_MAX_ROWS)
    asked = Asked.of(request.query_params, offset=number_of(request, "offset", 0), limit=limit)
    agreed = site.dataset.load_metadata_fields()
    rows = site.gallery.rows()
    positions = rows.find(asked)
    columns = {
        column.removeprefix(_PREFIX): column
        for column in rows.columns
        if column != NAME and is_metadata_column(column)
    }
    page = positions[asked.offset : asked.offset + limit]
    names = ["image_id", NAME, "error", *columns.values()]
    listed = []
    for image_id, name, error, *values in rows.rows(page, names):
        cells = dict(zip(columns, values, strict=True))
        listed.append({"image_id": image_id, "name": name, "damaged": bool(error), "values": cells})
    fields = [
        {
            "name": name,
            "type": field.type,
            "choices": list(field.choices),
            "unit": field.unit,
            "required": field.required,
            "description": field.description,
        }
        for name, field in agreed.items()
    ]
    fields += [{"name": name} for name in columns if name not in agreed]
    return answer(
        {"total": len(positions), "offset": asked.offset, "fields": fields, "rows": listed}
    )


async def save_metadata(request: Request) -> Response:
    """Answer ``POST /api/metadata/save``: refuse by cell what is wrong, and commit the rest."""
    return await posted(request, _save)


def _save(request: Request, asked: dict[str, Any]) -> Response:
    site = site_of(request)
    if "text" in asked:
        report = site.dataset.import_metadata(_sheet(asked["text"]), who=site.who)
    else:
        cells, seen = (_by_image(asked, name) for name in ("cells", "seen"))
        _check_size(len(cells), sum(map(len, cells.values())))
        report = import_cells(site.dataset, cells, who=site.who, seen=seen)
    site.gallery.forget()
    facts = ("row", "image_id", "column", "value", "reason")
    return answer(
        {
            "edit_id": report.edit_id,
            "n_values": report.n_values,
            "ids": report.image_ids,
            "refused": [{name: getattr(cell, name) for name in facts} for cell in report.refused],
        }
    )


def _sheet(text: Any) -> pd.DataFrame:
    if not isinstance(text, str):
        raise ArgumentError("the sheet is no text", where="text")
    try:
        sheet = sheet_of_text(text, where="the pasted rows")
    except SourceFileError as error:
        # It is what the page has sent, and no file of the server.
        raise ArgumentError(error.what, where=error.where) from None
    _check_size(len(sheet), sheet.size)
    return sheet


def _by_image(asked: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    values = asked.get(name)
    if not isinstance(values, dict) or not all(
        isinstance(row, dict) and all(map(_is_plain, row.values())) for row in values.values()
    ):
        raise ArgumentError(f"the request has no {name}: values by image and field", where=name)
    return values


def _check_size(n_images: int, n_cells: int) -> None:
    if not 0 < n_images <= _MAX_IMAGES or n_cells > _MAX_CELLS:
        raise ArgumentError(
            f"from 1 to {_MAX_IMAGES} images with at most {_MAX_CELLS} values are changed at once",
            where="sheet",
        )


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
