"""Judging an image: the only requests that change something."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.concurrency import run_in_threadpool

from kymflow_zarr.errors import ArgumentError, ReadOnlyError
from kymflow_zarr.viewer.web.answers import answer
from kymflow_zarr.viewer.web.image.facts import image_facts
from kymflow_zarr.viewer.web.site import Site, image_of, site_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from kymflow_zarr import ZarrImageRecord

__all__ = ["edit", "undo"]

_MAX_CHANGES: Final = 1000


async def edit(request: Request) -> Response:
    """Answer ``POST /api/images/{id}/edit``."""
    body = await request.body()
    return await run_in_threadpool(_answered, request, body, _edit)


async def undo(request: Request) -> Response:
    """Answer ``POST /api/images/{id}/undo``."""
    body = await request.body()
    return await run_in_threadpool(_answered, request, body, _undo)


def _answered(
    request: Request, body: bytes, do: Callable[[Site, ZarrImageRecord, dict[str, Any]], str | None]
) -> Response:
    site = site_of(request)
    if not site.editable:
        raise ReadOnlyError(
            "the page was opened for looking only", hint="kymflow-zarr view --edit opens it so."
        )
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ArgumentError(f"the request is no JSON: {error}") from None
    if not isinstance(said, dict) or not isinstance(said.get("expect"), str):
        raise ArgumentError("the request names no revision", where="expect")
    record = site.dataset.record(image_of(request))
    edit_id = do(site, record, said)
    site.gallery.forget()
    facts = image_facts(site, record.image_id, request.query_params)
    return answer({"revision": facts.get("revision"), "edit_id": edit_id, "image": facts})


def _edit(site: Site, record: ZarrImageRecord, said: dict[str, Any]) -> str | None:
    changes = said.get("changes")
    if not isinstance(changes, list) or not all(isinstance(c, dict) for c in changes):
        raise ArgumentError("changes are a list of objects", where="changes")
    if len(changes) > _MAX_CHANGES:
        raise ArgumentError(f"more than {_MAX_CHANGES} changes at once", where="changes")
    with record.edit(who=site.who, expect=said["expect"]) as editing:
        for change in changes:
            _apply(editing, change)
    return editing.edit_id


def _apply(editing: Any, change: dict[str, Any]) -> None:
    kind = change.get("kind")
    if kind == "verdict":
        editing.set_verdict(_of(change, "value", str, None))
    elif kind == "note":
        editing.set_note(_of(change, "value", str))
    elif kind == "roi":
        editing.save_roi(_of(change, "roi", dict))
    elif kind == "remove_roi":
        editing.remove_roi(_of(change, "roi_id", int))
    elif kind == "event_type":
        editing.set_event_type(
            _of(change, "name", str),
            _of(change, "row", int),
            _of(change, "value", str, None),
            kind=_of(change, "artifact_kind", str),
        )
    else:
        raise ArgumentError(f"there is no change {kind!r}", where="kind")


def _of(change: dict[str, Any], key: str, *kinds: type | None) -> Any:
    value = change.get(key)
    # True is a number in Python, and in no request.
    fits = isinstance(value, tuple(kind for kind in kinds if kind is not None))
    if (fits and not isinstance(value, bool)) or (value is None and None in kinds):
        return value
    raise ArgumentError(f"{key} is {value!r}", where=f"changes: {change.get('kind')}: {key}")


def _undo(site: Site, record: ZarrImageRecord, said: dict[str, Any]) -> str | None:
    edit_id = _of(said, "edit_id", str, None)
    return record.undo(edit_id, who=site.who, expect=said["expect"]).edit_id
