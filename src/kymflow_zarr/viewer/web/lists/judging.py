"""Endpoints for judging many images of the list at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.api.internals import judge_blind, undo_blind
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.viewer.web.answers import answer
from kymflow_zarr.viewer.web.lists.rows import Asked
from kymflow_zarr.viewer.web.site import id_of, number_of, posted, site_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["ids", "judge", "undo_judging"]

# Images that are locked and written in one commit.
_MAX_IMAGES: Final = 5000


def ids(request: Request) -> Response:
    """Answer ``GET /api/ids``: id and verdict of the images of a query, without other facts."""
    rows = site_of(request).gallery.rows()
    positions = rows.find(Asked.of(request.query_params))
    first, n = number_of(request, "offset", 0), number_of(request, "limit", len(positions))
    if min(n, len(positions) - first) > _MAX_IMAGES:
        raise ArgumentError(
            f"the list has {len(positions)} images, and at most {_MAX_IMAGES} are judged at once",
            where="limit",
            hint="Filter the list, or choose a part of it.",
        )
    names = ["image_id", "verdict"]
    page = rows.rows(positions[first : first + n], names)
    return answer({"rows": [dict(zip(names, row, strict=True)) for row in page]})


async def judge(request: Request) -> Response:
    """Answer ``POST /api/judge``: one verdict for many images."""
    return await posted(request, _judge)


async def undo_judging(request: Request) -> Response:
    """Answer ``POST /api/judge/undo``: an edit of many images is undone."""
    return await posted(request, _undo)


def _judge(request: Request, asked: dict[str, Any]) -> Response:
    site = site_of(request)
    image_ids, seen = _ids_of(asked), asked.get("seen")
    if seen is not None and not isinstance(seen, dict):
        raise ArgumentError("what was seen is verdicts by image", where="seen")
    if "verdict" not in asked:
        raise ArgumentError("the request has no verdict", where="verdict")
    if site.blind is not None:
        # Whether others came to another verdict is hidden, too.
        image_ids = [site.blind.id_of(code) for code in image_ids]
        edit_id = judge_blind(
            site.dataset, image_ids, asked["verdict"], who=site.who, blind=site.blind.hidden
        )
    else:
        edit_id = site.dataset.judge(image_ids, asked["verdict"], who=site.who, seen=seen)
    site.gallery.forget()
    return answer({"edit_id": edit_id})


def _undo(request: Request, asked: dict[str, Any]) -> Response:
    site = site_of(request)
    edit_id = asked.get("edit_id")
    if not isinstance(edit_id, str):
        raise ArgumentError("the request names no edit", where="edit_id")
    hidden = () if site.blind is None else site.blind.hidden
    image_ids = [id_of(site, each) for each in _ids_of(asked)]
    undone = undo_blind(site.dataset, edit_id, image_ids, who=site.who, blind=hidden)
    site.gallery.forget()
    return answer({"edit_id": undone})


def _ids_of(asked: dict[str, Any]) -> list[str]:
    image_ids = asked.get("ids")
    if not isinstance(image_ids, list) or not all(isinstance(i, str) for i in image_ids):
        raise ArgumentError("the images are a list of ids", where="ids")
    if not 0 < len(image_ids) <= _MAX_IMAGES:
        raise ArgumentError(f"from 1 to {_MAX_IMAGES} images are judged at once", where="ids")
    return image_ids
