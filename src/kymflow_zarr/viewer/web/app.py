"""The ASGI application and its routes."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from kymflow_zarr.api.internals import open_dataset_of
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.viewer.web.answers import asset, error_answer, failed, ome_zarr, page
from kymflow_zarr.viewer.web.blinding import Blinding
from kymflow_zarr.viewer.web.downloads import download_artifact, download_image, download_table
from kymflow_zarr.viewer.web.figures import download_figure, download_values, values
from kymflow_zarr.viewer.web.image.artifacts import artifact, events, series
from kymflow_zarr.viewer.web.image.facts import dataset as about_dataset
from kymflow_zarr.viewer.web.image.facts import edit, image, undo
from kymflow_zarr.viewer.web.image.windows import histogram, thumbnail, window
from kymflow_zarr.viewer.web.lists.gallery import Gallery, images
from kymflow_zarr.viewer.web.lists.judging import ids, judge, undo_judging
from kymflow_zarr.viewer.web.lists.live import Live, changes, live
from kymflow_zarr.viewer.web.lists.sheet import metadata, save_metadata
from kymflow_zarr.viewer.web.lists.tables import Tables, table
from kymflow_zarr.viewer.web.security import Guard, Rules
from kymflow_zarr.viewer.web.site import Cache, Site

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from kymflow_zarr import ZarrDataset

__all__ = ["make_app"]

_ROUTES = (
    Route("/api/dataset", about_dataset),
    Route("/api/changes", changes),
    Route("/api/live", live),
    Route("/api/images", images),
    Route("/api/ids", ids),
    Route("/api/judge", judge, methods=["POST"]),
    Route("/api/judge/undo", undo_judging, methods=["POST"]),
    Route("/api/metadata", metadata),
    Route("/api/metadata/save", save_metadata, methods=["POST"]),
    Route("/api/images/{image_id}", image),
    Route("/api/images/{image_id}/thumbnail", thumbnail),
    Route("/api/images/{image_id}/window", window),
    Route("/api/images/{image_id}/histogram", histogram),
    Route("/api/images/{image_id}/series", series),
    Route("/api/images/{image_id}/events", events),
    Route("/api/images/{image_id}/artifact", artifact),
    Route("/api/images/{image_id}/edit", edit, methods=["POST"]),
    Route("/api/images/{image_id}/undo", undo, methods=["POST"]),
    Route("/api/tables/{rest:path}", table),
    Route("/api/values/{rest:path}", values),
    Route("/download/figure/{image_id}", download_figure),
    Route("/download/values/{rest:path}", download_values),
    Route("/download/image/{image_id}", download_image),
    Route("/download/artifact/{image_id}", download_artifact),
    Route("/download/table/{rest:path}", download_table),
    Route("/zarr/{rest:path}", ome_zarr),
    Route("/", page),
    Route("/image/{rest:path}", page),
    Route("/tables", page),
    Route("/tables/{rest:path}", page),
    Route("/about", page),
    Route("/compare", page),
    Route("/sheet", page),
    Route("/assets/{rest:path}", asset),
    Route("/{name}", asset),
)


# All that a blind page asks for. Tables, artifacts, downloads and files name what is hidden.
_BLIND: Final = frozenset(
    {
        about_dataset, changes, live, images, ids, judge, undo_judging, image, thumbnail, window,
        histogram, series, events, edit, undo, page, asset,
    }
)  # fmt: skip


def make_app(
    dataset: ZarrDataset,
    rules: Rules,
    *,
    edit: bool = False,
    who: str | None = None,
    blind: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
) -> Starlette:
    """Return the ASGI application for a dataset.

    Parameters
    ----------
    dataset : ZarrDataset
    rules : Rules
        The access rules for requests.
    edit : bool
        Whether requests may change the dataset.
    who : str, optional
        Name of the person who edits; the user of the operating system by default.
    blind : sequence of str, optional
        Columns that are hidden. The page then shows nothing but pixels, shapes, curves and events
        under codes, and what its user has said.
    only : sequence of str, optional
        Ids of the images that the gallery lists, in its order.

    Raises
    ------
    ArgumentError
        If there is no such column.
    """
    opened, name = open_dataset_of(dataset), (who or _user()) if edit else None
    hiding = None if blind is None else Blinding(dataset, blind, name)
    app = Starlette(
        routes=[r for r in _ROUTES if hiding is None or r.endpoint in _BLIND],
        middleware=[Middleware(Guard, rules=rules)],
        exception_handlers={
            KymflowZarrError: lambda _, error: failed(error, brief=hiding is not None),
            404: _nothing_there,
            405: _nothing_there,
        },
    )
    gallery = Gallery(dataset, hiding, only)
    app.state.site = Site(
        dataset=dataset,
        opened=opened,
        rules=rules,
        gallery=gallery,
        live=Live(dataset, gallery),
        tables=Tables(dataset),
        cache=Cache(),
        editable=edit,
        who=name,
        blind=hiding,
    )
    return app


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _nothing_there(_request: Request, _error: Exception) -> Response:
    return error_answer(404, "NotFoundError", "there is nothing at this address")
