"""The list of images, cached between requests."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import numpy as np

from kymflow_zarr.api.internals import is_metadata_column, open_dataset_of
from kymflow_zarr.viewer.web.answers import answer
from kymflow_zarr.viewer.web.lists.rows import Asked, Rows
from kymflow_zarr.viewer.web.site import number_of, site_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from starlette.datastructures import QueryParams
    from starlette.requests import Request
    from starlette.responses import Response

    from kymflow_zarr import ZarrDataset, ZarrImageRecord
    from kymflow_zarr.viewer.web.blinding import Blinding

__all__ = ["NAME", "Gallery", "images", "picture_version", "thumbnail_address"]

# Typing into the search field sends several requests per second.
_TRUSTED_S: Final = 1.0
_MAX_ROWS: Final = 1000
_TIMES: Final = frozenset({"created_utc", "updated_utc"})
# What people call an image, beside the columns of `images()`.
NAME: Final = "image_name"
# Searched columns that every image has; all metadata columns are searched too.
_SEARCHED: Final = (
    "image_id", "rel_path", "parent_folder", "grandparent_folder", "channel_names", "verdict",
    "curation_note", NAME,
)  # fmt: skip


class Gallery:
    """A snapshot of the list of images, read again when the dataset has changed.

    Parameters
    ----------
    dataset : ZarrDataset
    blind : Blinding, optional
        The list has codes then, and hardly any facts.
    only : sequence of str, optional
        The images that are listed, in this order.
    """

    def __init__(
        self,
        dataset: ZarrDataset,
        blind: Blinding | None = None,
        only: Sequence[str] | None = None,
    ) -> None:
        self._dataset = dataset
        self._blind = blind
        self._only = None if only is None else {image_id: at for at, image_id in enumerate(only)}
        self._guard = threading.Lock()
        self._rows: Rows | None = None
        self._places: dict[str, int] = {}
        self._token = ""
        self._asked_s = 0.0

    def rows(self) -> Rows:
        """Return the list, at most one second old."""
        with self._guard:
            now_s = time.monotonic()
            if self._rows is None or now_s - self._asked_s > _TRUSTED_S:
                token = open_dataset_of(self._dataset).change_token()
                if self._rows is None or token != self._token:
                    images = self._dataset.images()
                    if self._only is not None:
                        images = images[images["image_id"].isin(list(self._only))]
                        images = images.reset_index(drop=True)
                    self._rows = (
                        _rows_of(images, self._dataset.image_names(), self._only)
                        if self._blind is None
                        else self._blind.rows(images)
                    )
                    ids = self._rows.columns["image_id"].objects
                    self._places = {image_id: place for place, image_id in enumerate(ids)}
                    self._token = token
                self._asked_s = now_s
            return self._rows

    def name_of(self, image_id: str) -> str:
        """Return what people call an image; its id if the list does not have it."""
        rows = self.rows()
        place = self._places.get(image_id)
        if place is None or NAME not in rows.columns:
            return image_id
        return str(rows.columns[NAME].objects[place])

    def version(self) -> str:
        """Return a text that changes with the list; at most one second old."""
        self.rows()
        return self._token

    def forget(self) -> None:
        """Invalidate the list after a change."""
        with self._guard:
            self._asked_s = float("-inf")

    def neighbors(self, image_id: str, query: QueryParams) -> dict[str, Any]:
        """Return the ids before and after an image in the list of a query.

        An image that is not in the list gets the neighbors of its would-be position.
        """
        rows = self.rows()
        ids = rows.columns["image_id"].objects
        at = self._places.get(image_id, len(ids))
        if at >= len(ids) or ids[at] != image_id:
            return {"previous": None, "next": None, "position": None, "n_listed": 0}
        asked = Asked.of(query)
        listed = rows.mask(asked)
        order = rows.find(Asked(sort=asked.sort, descending=asked.descending))
        is_listed, n_listed = bool(listed[at]), int(listed.sum())
        order = order[listed[order] | (order == at)]
        (here,) = np.flatnonzero(order == at).tolist()
        return {
            "previous": ids[order[here - 1]] if here else None,
            "next": ids[order[here + 1]] if here + 1 < len(order) else None,
            "position": here + 1 if is_listed else None,
            "n_listed": n_listed,
        }


def _rows_of(
    frame: pd.DataFrame, names: Mapping[str, str], places: Mapping[str, int] | None
) -> Rows:
    """Return the list in the order of folders and file names, as people count: 2 before 10.

    With `places` it is in the order of a worklist.
    """
    called = [names.get(image_id, image_id) for image_id in frame["image_id"]]
    paths = zip(frame["rel_path"], frame["source_path"], called, strict=True)
    keys: list[Any] = [
        _natural_key(next((path for path in among if isinstance(path, str)), ""))
        for among in paths
    ]  # fmt: skip
    if places is not None:
        keys = [places[image_id] for image_id in frame["image_id"]]
    if NAME not in frame:
        frame = frame.assign(**{NAME: called})
    frame = frame.iloc[sorted(range(len(frame)), key=keys.__getitem__)].reset_index(drop=True)
    for name in ("verdict", "curation_note"):
        if name not in frame:
            frame = frame.assign(**{name: None})
    metadata = [n for n in map(str, frame.columns) if n != NAME and is_metadata_column(n)]
    return Rows(frame, searched=[*_SEARCHED, *metadata], times=_TIMES)


def _natural_key(text: str) -> list[tuple[int, int, str]]:
    """Return a sort key by which ``f2`` comes before ``f10``."""
    parts = filter(None, re.split(r"([0-9]{1,18})", text.casefold()))
    return [
        (0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts
    ]


def images(request: Request) -> Response:
    """Answer ``GET /api/images``."""
    site = site_of(request)
    limit = number_of(request, "limit", 100, most=_MAX_ROWS)
    asked = Asked.of(request.query_params, offset=number_of(request, "offset", 0), limit=limit)
    rows = site.gallery.rows()
    positions = rows.find(asked)
    names = list(rows.columns)
    page = rows.rows(positions[asked.offset : asked.offset + limit], names)
    listed = [dict(zip(names, row, strict=True)) for row in page]
    for row in listed:
        row["thumbnail"] = None if row["error"] else thumbnail_address(row["image_id"], row)
    return answer({"total": len(positions), "offset": asked.offset, "rows": listed})


def thumbnail_address(image_id: str, facts: Mapping[str, Any]) -> str:
    """Return the URL of the thumbnail of an image, which changes with its pixels."""
    return f"/api/images/{quote(image_id, safe='')}/thumbnail?v={picture_version(facts)}"


def picture_version(facts: Mapping[str, Any] | ZarrImageRecord) -> str:
    """Return the version of an image's thumbnail, from a row of the list or the image."""
    if not isinstance(facts, dict):
        record: Any = facts
        facts = {
            "updated_utc": record.updated_utc,
            "shape": record.shape,
            "dtype": str(record.dtype),
            "axes": tuple(record.get_axes()),
        }
    drawn_from = repr([_flat(facts[key]) for key in ("updated_utc", "shape", "dtype", "axes")])
    return hashlib.sha256(drawn_from.encode(errors="replace")).hexdigest()[:16]


def _flat(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
