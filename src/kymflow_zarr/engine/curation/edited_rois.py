"""The regions of a metadata payload while an edit changes some of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from kymflow_zarr.engine.curation.values import EditChange
from kymflow_zarr.engine.images.payload import payload_of
from kymflow_zarr.engine.rois.planes import ImagePlanes
from kymflow_zarr.engine.rois.values import MaskRoi, RectRoi, roi_from_dict
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, SchemaValidationError

_STATISTICS = "img_"


class EditedRois:
    """Regions as they are in the payload: those that are not touched stay as they were written.

    Parameters
    ----------
    payload : dict, optional
        None where the image has none.
    where : str
        Its key, for errors.
    """

    def __init__(self, payload: Any, *, where: str) -> None:
        if payload is not None and not isinstance(payload, dict):
            raise SchemaValidationError(
                f"the metadata payload is of type {type(payload).__name__}, not a mapping",
                where=where,
                hint="save_metadata_payload() replaces it.",
            )
        self._payload = payload_of(None, None, None) if payload is None else payload
        listed = self._payload.get("rois")
        if listed is not None and not isinstance(listed, list):
            raise SchemaValidationError(
                f"the regions are {type(listed).__name__}, not a list",
                where=f"{where}: rois",
                hint="save_rois() replaces them.",
            )
        self._rois: list[Any] = list(listed or ())
        self._at_first = copy.deepcopy(self._rois)
        self._touched: dict[int, None] = {}

    def save(self, roi: RectRoi | Mapping[str, Any], planes: ImagePlanes) -> RectRoi:
        """Put a rectangle in; see :meth:`RecordEdit.save_roi`."""
        given = roi.to_dict() if isinstance(roi, RectRoi) else roi
        if not isinstance(given, Mapping):
            raise ArgumentTypeError(
                f"a region is a RectRoi or a mapping, not {type(roi).__qualname__}", where="roi"
            )
        if "id" in given and "roi_id" not in given:
            raise ArgumentError(
                "the region is of an older form, with an id", where="roi",
                hint="RectRoi.from_dict() reads it.",
            )  # fmt: skip
        roi_id = given.get("roi_id")
        place = None if roi_id is None else self._place(roi_id)
        if roi_id is None:
            # Not one that this edit has freed: the history would take it for the region before.
            listed = [*self._at_first, *self._rois]
            ids = [known for known in map(_id_of, listed) if isinstance(known, int)]
            given = {**given, "roi_id": 1 + max(ids, default=0)}
        elif place is not None:
            old = roi_from_dict(self._rois[place])
            _require_rectangle(old)
            if not isinstance(roi, RectRoi):
                given = _laid_over(old.to_dict(), given)
            given = _moved(old.to_dict(), given)
            revision = {"revision": old.revision + 1}
            given = {**given, "meta": {**_mapping(given.get("meta")), **revision}}
        new = roi_from_dict({"roi_type": RectRoi.roi_type, **given})
        new.check(planes.bounds, channels=planes.channels)
        self.put(new.roi_id, _require_rectangle(new).to_dict())
        return _require_rectangle(new)

    def remove(self, roi_id: int) -> None:
        """Take a region out."""
        if isinstance(roi_id, bool) or not isinstance(roi_id, int):
            raise ArgumentTypeError(f"roi_id is {roi_id!r}, not a whole number", where="roi_id")
        if self._place(roi_id) is None:
            known = ", ".join(str(_id_of(roi)) for roi in self._rois) or "none"
            raise ArgumentError(
                f"the image has no region {roi_id!r}",
                where="roi_id",
                hint=f"Its regions are: {known}.",
            )
        self.put(roi_id, None)

    def now(self, roi_id: int) -> Any:
        """Return a region as it is, None if it is not there."""
        place = self._place(roi_id)
        return None if place is None else self._rois[place]

    def put(self, roi_id: int, roi: Mapping[str, Any] | None, position: int | None = None) -> None:
        """Replace a region, add it at a position or at the end, or take it out for None.

        One that was there at first comes back to its place.
        """
        place = self._place(roi_id)
        self._touched[roi_id] = None
        if place is not None:
            self._rois[place : place + 1] = [] if roi is None else [dict(roi)]
        elif roi is not None:
            self._rois.insert(self._earlier(roi_id) if position is None else position, dict(roi))

    def _earlier(self, roi_id: int) -> int:
        """Return where a region belongs by those that were before it at first; else the end."""
        at_first = [_id_of(roi) for roi in self._at_first]
        if roi_id not in at_first:
            return len(self._rois)
        before = at_first[: at_first.index(roi_id)]
        return sum(_id_of(roi) in before for roi in self._rois)

    def changes(self) -> list[EditChange]:
        """Return what is another one than before, in the order of the places before."""
        found = []
        for roi_id in self._touched:
            was = self._place(roi_id, self._at_first)
            before = None if was is None else self._at_first[was]
            after = copy.deepcopy(self.now(roi_id))
            found.append(
                EditChange(what="roi", roi_id=roi_id, position=was, before=before, after=after)
            )
        last = len(self._at_first)
        return sorted(found, key=lambda c: last if c.position is None else c.position)

    def payload(self) -> dict[str, Any]:
        """Return the payload with the regions as they are."""
        return {**self._payload, "rois": self._rois}

    def _place(self, roi_id: object, rois: list[Any] | None = None) -> int | None:
        listed = self._rois if rois is None else rois
        places = [i for i, roi in enumerate(listed) if _id_of(roi) == roi_id]
        if len(places) > 1:
            raise ArgumentError(
                f"{len(places)} regions have the id {roi_id!r}",
                where="roi_id",
                hint="save_rois() gives each an id of its own.",
            )
        return places[0] if places else None


def _id_of(roi: object) -> object:
    # Older forms call it id.
    return roi.get("roi_id", roi.get("id")) if isinstance(roi, Mapping) else None


def _require_rectangle(roi: RectRoi | MaskRoi) -> RectRoi:
    if not isinstance(roi, RectRoi):
        raise ArgumentError(
            f"region {roi.roi_id} is a mask",
            where=f"roi {roi.roi_id}: roi_type",
            hint="save_mask() replaces it.",
        )
    return roi


def _laid_over(old: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a region with what is given, and of the rest what is there."""
    parts = {
        key: {**_mapping(old.get(key)), **given[key]}
        for key in ("data", "meta")
        if isinstance(given.get(key), Mapping)
    }
    return {**old, **given, **parts}


def _moved(old: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a region without the statistics of the pixels where it lay before."""
    if all(old.get(key) == given.get(key) for key in ("data", "channel", "z")):
        return given
    before, meta = _mapping(old.get("meta")), _mapping(given.get("meta"))
    kept = {
        key: value
        for key, value in meta.items()
        if not (str(key).startswith(_STATISTICS) and before.get(key) == value)
    }
    return {**given, "meta": kept}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
