"""Endpoints for the facts about the dataset and one image, and for edits of an image."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from kymflow_zarr import Curation, MaskRoi, RectRoi, UnknownRoi
from kymflow_zarr._version import __version__
from kymflow_zarr.api.internals import stored_image_of
from kymflow_zarr.errors import (
    ArgumentError,
    ArtifactNotFoundError,
    KymflowZarrError,
    RecordNotFoundError,
)
from kymflow_zarr.viewer.web.answers import answer
from kymflow_zarr.viewer.web.image.artifacts import describe_frames, forms_of
from kymflow_zarr.viewer.web.image.pixels import open_pixels, version_of
from kymflow_zarr.viewer.web.image.windows import intensities
from kymflow_zarr.viewer.web.lists.gallery import thumbnail_address
from kymflow_zarr.viewer.web.site import Site, image_of, posted, site_of
from kymflow_zarr.views.markup import local_iso
from kymflow_zarr.views.overview import MAX_TINTS, is_rgb

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.responses import Response

    from kymflow_zarr import ZarrImageRecord
    from kymflow_zarr.viewer.web.blinding import Blinding
    from kymflow_zarr.views.plane import Drawn, Plane


def dataset(request: Request) -> Response:
    """Answer ``GET /api/dataset``."""
    site = site_of(request)
    rows = site.gallery.rows()
    facts = {
        "dataset_id": site.dataset.dataset_id,
        "editable": site.editable,
        "who": site.who,
        "n_images": len(rows),
        "columns": [{"name": n, "kind": kind} for n, kind in rows.kinds().items()],
        "version": __version__,
    }
    if site.blind is not None:
        hidden = {"blind": list(site.blind.hidden), "name": "blind", "created_utc": None}
        return answer({**facts, **hidden, "tables": []})
    return answer(
        {
            **facts,
            "blind": None,
            "name": site.dataset.location.replace("\\", "/").rpartition("/")[2],
            "created_utc": site.dataset.created_utc,
            "tables": site.tables.described(),
        }
    )


def image(request: Request) -> Response:
    """Answer ``GET /api/images/{id}``."""
    site = site_of(request)
    return answer(image_facts(site, image_of(request), request.query_params))


def image_facts(site: Site, image_id: str, query: QueryParams) -> dict[str, Any]:
    """Return all facts about an image, with unreadable parts in ``error``.

    Parameters
    ----------
    site : Site
    image_id : str
    query : QueryParams
        Query of the list in which its neighbors are looked up.

    Raises
    ------
    RecordNotFoundError
        If there is no such image.
    """
    shown_id = image_id if site.blind is None else site.blind.code_of(image_id)
    around = site.gallery.neighbors(shown_id, query)
    name = site.gallery.name_of(shown_id)
    try:
        record = site.dataset.record(image_id)
    except RecordNotFoundError as error:
        if not around["n_listed"]:
            raise
        # The list has it, so its document was lost: it must not be the end of the way.
        why = str(error) if site.blind is None else "The image is damaged."
        return {"image_id": shown_id, "name": name, **around, "error": why}
    facts: dict[str, Any] = {
        "image_id": image_id,
        "name": name,
        **around,
        "ome_zarr": _ome_zarr(site, record),
        "error": None,
    }
    for part in (_identity, _pixels, _payload, _rois, _origin, _artifacts, _curation):
        try:
            of_part = part(site, record)
            facts |= {**of_part, "error": facts["error"] or of_part.get("error")}
        except KymflowZarrError as error:
            # A damaged part must not hide the others.
            if facts["error"] is None:
                facts["error"] = str(error)
    if site.blind is None:
        return facts
    try:
        curation = record.curation()
    except KymflowZarrError:
        curation = Curation()
    return site.blind.facts(facts, image_id, curation)


def _ome_zarr(site: Site, record: ZarrImageRecord) -> str | None:
    """Return the OME-Zarr path for other viewers; None for format version 1."""
    try:
        stored_image_of(record).file_sum("zarr.json")
    except KymflowZarrError:
        return None
    return site.rules.ome_zarr_path(record.image_id)


def _identity(_site: Site, record: ZarrImageRecord) -> dict[str, Any]:
    return {
        "revision": record.revision,
        "pixels": version_of(stored_image_of(record)),
        "shape": record.shape,
        "dtype": str(record.dtype),
        "axes": [
            {"name": a.name, "quantity": a.quantity, "unit": a.unit, "step": a.step}
            for a in record.axes
        ],
        "channel_names": record.channel_names,
        "created_utc": record.created_utc,
        "updated_utc": record.updated_utc,
        "thumbnail": thumbnail_address(
            record.image_id,
            {
                "updated_utc": record.updated_utc,
                "shape": record.shape,
                "dtype": str(record.dtype),
                "axes": tuple(record.get_axes()),
            },
        ),
    }


def _pixels(site: Site, record: ZarrImageRecord) -> dict[str, Any]:
    pixels = open_pixels(site, record.image_id)
    plane = pixels.plane
    facts: dict[str, Any] = {"plane": _plane(plane, pixels.dtype), "sliders": _sliders(plane)}
    if 0 in plane.shape:
        return {**facts, "contrast": None}
    start = {slider["axis"]: slider["at"] for slider in facts["sliders"]}
    measured = intensities(site, pixels, start)
    return {**facts, "contrast": {key: measured[key] for key in ("low", "high", "min", "max")}}


def _plane(plane: Plane, dtype: np.dtype[Any]) -> dict[str, Any]:
    pairs = zip(plane.axes, plane.shape, strict=True)
    channels = next((size for axis, size in pairs if axis.quantity == "channel"), 1)
    several = "tints" if 1 < channels <= MAX_TINTS else None
    return {
        "composite": "rgb" if is_rgb(dtype, channels, plane.channel_names) else several,
        "rows": plane.rows,
        "columns": plane.columns,
        "turned": plane.turned,
        "kymograph": plane.is_kymograph,
        "true_to_scale": plane.is_true_to_scale,
        "horizontal": _drawn(plane.horizontal),
        "vertical": _drawn(plane.vertical),
    }


def _drawn(axis: Drawn) -> dict[str, Any]:
    names = ("name", "size", "step", "unit", "calibrated", "label")
    drawn: dict[str, Any] = {name: getattr(axis, name) for name in names}
    if axis.edges is not None:
        # The page interpolates between them: exact up to this many samples.
        count = min(axis.size + 1, _MAX_KNOTS)
        positions = np.linspace(0, axis.size, count).round().astype(int)
        values = axis.edges[positions].tolist()
        drawn["knots"] = {"positions": positions.tolist(), "values": values}
    return drawn


def _sliders(plane: Plane) -> list[dict[str, Any]]:
    """Return the axes other than the plane's; the initial position of a stack is its middle."""
    titles = {"channel": "channel", "time": "time"}
    sliders = []
    for position, (axis, size) in enumerate(zip(plane.axes, plane.shape, strict=True)):
        if position in (plane.rows, plane.columns):
            continue
        names = list(plane.channel_names) if axis.quantity == "channel" else []
        sliders.append(
            {
                "axis": axis.name,
                "name": titles.get(axis.quantity, axis.name),
                "size": size,
                "labels": names if len(names) == size else None,
                "at": size // 2 if axis.name == "z" else 0,
                "unit": axis.unit,
                "step": axis.step,
            }
        )
    return sliders


def _payload(_site: Site, record: ZarrImageRecord) -> dict[str, Any]:
    payload = _json_or_none(record, "metadata")
    document = payload if isinstance(payload, dict) else {}
    header = document.get("header")
    stated = header.get("acquired_local_epoch_ns") if isinstance(header, dict) else None
    return {
        "metadata": {key: value for key, value in document.items() if key != "rois"},
        "provenance": _json_or_none(record, "provenance"),
        "acquired": local_iso(stated),
    }


def _rois(_site: Site, record: ZarrImageRecord) -> dict[str, Any]:
    # Older forms of regions are converted; regions of unknown kinds are not drawn.
    rois = record.load_rois()
    unknown = [roi.error for roi in rois if isinstance(roi, UnknownRoi)]
    drawn = []
    for roi in rois:
        if isinstance(roi, UnknownRoi):
            continue
        if isinstance(roi, RectRoi | MaskRoi):
            drawn.append(roi.to_dict())
        else:
            shape = {"outline": roi.outline, "closed": roi.is_closed}
            drawn.append({**roi.to_dict(), **shape})
    return {
        "rois": drawn,
        **({"error": "; ".join(unknown)} if unknown else {}),
    }


def _json_or_none(record: ZarrImageRecord, name: str) -> Any:
    try:
        return record.load_json(name)
    except ArtifactNotFoundError:
        return None


def _origin(_site: Site, record: ZarrImageRecord) -> dict[str, Any]:
    def present(file: Any) -> dict[str, Any]:
        return {
            key: value for key, value in msgspec.structs.asdict(file).items() if value is not None
        }

    source = record.source
    return {
        "source": None if source is None else present(source),
        "source_files": [present(file) for file in record.source_files],
    }


def _artifacts(site: Site, record: ZarrImageRecord) -> dict[str, Any]:
    infos = record.list_artifacts()
    facts: dict[str, Any] = {"results": []}
    stale = dict.fromkeys(record.list_earlier_artifacts(), "it was computed from earlier pixels")
    try:
        facts["results"] = [
            {**result.to_dict(), "label": result.result_id.label} for result in record.results()
        ]
    except KymflowZarrError as error:
        facts["error"] = str(error)
    for result in facts["results"]:
        if result["artifact"] and result["reasons"]:
            # One artifact may hold the results of several regions.
            known = [stale[result["artifact"]]] if result["artifact"] in stale else []
            stale[result["artifact"]] = "; ".join(dict.fromkeys([*known, *result["reasons"]]))
    traces, marks, damaged = describe_frames(site, record, infos)
    arrays = [
        {"kind": "array", "name": name, "key": None, "size_bytes": None, "forms": ["npy"]}
        for name in record.list_array_artifacts()
    ]
    return {
        "artifacts": [
            *(
                {
                    **dataclasses.asdict(i),
                    "forms": forms_of(i),
                    "stale": stale.get(i.key),
                    **damaged.get(i.key, {}),
                }
                for i in infos
            ),
            *arrays,
        ],
        "series": traces,
        "events": marks,
        "tables": _table_rows(site, record.image_id),
        **facts,
    }


def _table_rows(site: Site, image_id: str) -> list[dict[str, Any]]:
    rows = site.gallery.rows()
    ids = list(rows.columns["image_id"].objects)
    counted = [name for name in rows.columns if name.startswith("n_rows:")]
    if image_id not in ids:
        return []
    (values,) = rows.rows([ids.index(image_id)], counted)
    pairs = zip(counted, values, strict=True)
    return [{"name": name.removeprefix("n_rows:"), "n_rows": n} for name, n in pairs if n]


def _curation(_site: Site, record: ZarrImageRecord) -> dict[str, Any]:
    return {"curation": record.curation().to_dict()}


_MAX_CHANGES: Final = 1000
_MAX_KNOTS: Final = 4097


async def edit(request: Request) -> Response:
    """Answer ``POST /api/images/{id}/edit``."""
    return await posted(request, _edit)


async def undo(request: Request) -> Response:
    """Answer ``POST /api/images/{id}/undo``."""
    return await posted(request, _undo)


def _record_of(request: Request, asked: dict[str, Any]) -> ZarrImageRecord:
    if not isinstance(asked.get("expect"), str):
        raise ArgumentError("the request names no revision", where="expect")
    return site_of(request).dataset.record(image_of(request))


def _changed(request: Request, image_id: str, edit_id: str | None) -> Response:
    site = site_of(request)
    site.gallery.forget()
    facts = image_facts(site, image_id, request.query_params)
    return answer({"revision": facts.get("revision"), "edit_id": edit_id, "image": facts})


def _edit(request: Request, request_body: dict[str, Any]) -> Response:
    site, record = site_of(request), _record_of(request, request_body)
    changes = request_body.get("changes")
    if not isinstance(changes, list) or not all(isinstance(c, dict) for c in changes):
        raise ArgumentError("changes are a list of objects", where="changes")
    if len(changes) > _MAX_CHANGES:
        raise ArgumentError(f"more than {_MAX_CHANGES} changes at once", where="changes")
    hidden = () if site.blind is None else site.blind.hidden
    image = stored_image_of(record)
    with image.edit(site.who, request_body["expect"], blind=hidden) as editing:
        for change in changes:
            _apply(editing, change if site.blind is None else _unhidden(site.blind, record, change))
    return _changed(request, record.image_id, editing.edit_id)


def _unhidden(blind: Blinding, record: ZarrImageRecord, change: dict[str, Any]) -> dict[str, Any]:
    """Return a change with what the page did not show left as it is."""
    if change.get("kind") == "note" and isinstance(change.get("value"), str):
        return {**change, "value": blind.joined_note(record.curation(), change["value"])}
    roi = change.get("roi")
    if change.get("kind") == "roi" and isinstance(roi, dict) and roi.get("roi_id") is not None:
        shown = {key: roi[key] for key in ("name", "note") if roi.get(key)}
        return {**change, "roi": {**{k: roi[k] for k in roi if k not in _HIDDEN}, **shown}}
    return change


_HIDDEN: Final = ("name", "note", "meta")


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
    elif kind in ("add_event", "change_event", "remove_event"):
        _apply_to_event(editing, change, kind)
    else:
        raise ArgumentError(f"there is no change {kind!r}", where="kind")


def _apply_to_event(editing: Any, change: dict[str, Any], kind: str) -> None:
    name, where = _of(change, "name", str), {"kind": _of(change, "artifact_kind", str)}
    if kind == "remove_event":
        editing.remove_event(name, _of(change, "event", str, int), **where)
        return
    cells = _of(change, "cells", dict)
    if not all(isinstance(key, str) for key in cells) or {"name", "kind", "event"} & {*cells}:
        raise ArgumentError("the cells of an event are named by columns", where="changes: cells")
    if kind == "change_event":
        editing.change_event(name, _of(change, "event", str, int), **where, **cells)
        return
    start, end = cells.pop("t_start_s", None), cells.pop("t_end_s", None)
    editing.add_event(name, start, end, type=cells.pop("user_type", None), **where, **cells)


def _of(change: dict[str, Any], key: str, *kinds: type | None) -> Any:
    value = change.get(key)
    # Exclude bools, which are ints in Python.
    fits = isinstance(value, tuple(kind for kind in kinds if kind is not None))
    if (fits and not isinstance(value, bool)) or (value is None and None in kinds):
        return value
    raise ArgumentError(f"{key} is {value!r}", where=f"changes: {change.get('kind')}: {key}")


def _undo(request: Request, request_body: dict[str, Any]) -> Response:
    site, record = site_of(request), _record_of(request, request_body)
    edit_id = _of(request_body, "edit_id", str, None)
    hidden: tuple[str, ...] = ()
    if site.blind is not None:
        hidden = site.blind.hidden
        own = [edit for edit in record.curation().history if edit.who == site.who]
        if edit_id not in [edit.edit_id for edit in own]:
            raise ArgumentError("a blind page undoes edits of its own user", where="edit_id")
    image = stored_image_of(record)
    undone = image.undo(edit_id, who=site.who, expect=request_body["expect"], blind=hidden)
    return _changed(request, record.image_id, undone.edit_id)
