"""One edit of an image: regions, events, verdict and note, changed in one commit."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar, get_args, overload

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.curation.document import (
    Edit,
    EditChange,
    curation_key,
    curation_of,
    dump_plain,
    load_curation,
    load_plain,
    name_of,
    verdicts_in,
    with_entry,
)
from kymflow_zarr.engine.documents import load, load_image, utc_now
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.engine.images.update import digest_of_artifact
from kymflow_zarr.engine.rois.planes import ImagePlanes
from kymflow_zarr.engine.rois.values import KnownRoi, MaskRoi, RectRoi, roi_from_dict
from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArtifactNotFoundError,
    EditConflictError,
    SchemaValidationError,
)
from kymflow_zarr.runtime.scopes import Scoped
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.schema.payload import payload_of
from kymflow_zarr.storage.interface import ConflictError, Storage
from kymflow_zarr.types import ArtifactKind, FrameKind, Verdict

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr.engine.curation.edited_events import EditedEvents
    from kymflow_zarr.engine.image import StoredImage


class EditedImage:
    """Verdict, note, regions and events of an image while they are edited.

    The caller holds the lock of the image.

    Parameters
    ----------
    storage : Storage
    image_id : str
    who : str
    edit_id : str, optional
        Id of the entry; a new one if left out.
    blind : sequence of str
        Columns that are hidden from the editor.

    Attributes
    ----------
    written : list of Edit
        The new entry of the history, once it is written.
    n_images : int
        Number of images that get an entry of this id.
    """

    def __init__(
        self,
        storage: Storage,
        image_id: str,
        *,
        who: str,
        edit_id: str | None = None,
        blind: Sequence[str] = (),
    ) -> None:
        self._storage = storage
        self._image_id = image_id
        self._prefix = layout.image_prefix(image_id)
        self._who = who
        self._edit_id = edit_id or uuid.uuid4().hex
        self.n_images = 1
        self._blind = tuple(blind)
        self._is_judged = False
        self._plain, self._before = load_plain(storage, self._prefix)
        self._verdict, self._note = self._before.verdict, self._before.note
        self._rois: EditedRois | None = None
        self._events: dict[tuple[FrameKind, str], EditedEvents] = {}
        self._undoes: str | None = None
        self._over = False
        self.written: list[Edit] = []

    def set_verdict(self, verdict: Verdict | None) -> None:
        """Set the verdict."""
        self._require_open()
        if verdict is not None and verdict not in get_args(Verdict):
            raise ArgumentError(
                f"the verdict is {verdict!r}",
                where="verdict",
                hint='It is "accepted", "rejected" or None.',
            )
        self._verdict = verdict
        self._is_judged = True

    @property
    def verdict(self) -> Verdict | None:
        """The verdict as it is now."""
        return self._verdict

    def set_note(self, text: str) -> None:
        """Set the note."""
        self._require_open()
        if not isinstance(text, str):
            raise ArgumentTypeError(f"a note is text, not {type(text).__qualname__}", where="note")
        self._note = text

    # What becomes of it ----------------------------------------------------------------

    def take_back(self, edit_id: str | None) -> None:
        """Restore everything that an edit changed."""
        edit = self._to_be_undone(edit_id)
        # Remove added regions first, so that the others return to their positions.
        for change in sorted(edit.changes, key=lambda change: change.before is not None):
            if not self._is_there(change):
                raise EditConflictError(
                    f"{change} has been changed since by another edit or program",
                    where=f"image {self._image_id!r}, edit {edit.edit_id!r}",
                    hint="Take back the later edit first, or set what you want with edit().",
                )
            self.put(change, change.before)
        self._undoes = edit.edit_id

    def close(self) -> None:
        """Refuse further changes."""
        self._over = True

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._changes()) or self._undoes is not None

    def finish(self, change: Change) -> None:
        """Add the files to write to a change; none if no value changed."""
        changes = self._changes()
        if not self.has_changes:
            return
        self._write_values(change, changes)
        entry = Edit(
            edit_id=self._edit_id, who=self._who, when_utc=utc_now(), changes=tuple(changes),
            undoes=self._undoes, n_images=self.n_images, blind=self._blind,
        )  # fmt: skip
        document = {**self._plain, "verdict": self._verdict, "note": self._note}
        where = curation_key(self._prefix)
        data = dump_plain(with_entry(document, entry, where=where), where=where)
        change.write(layout.artifact_key("json", layout.CURATION), data)
        self.written.append(entry)

    def _write_values(self, change: Change, changes: Sequence[EditChange]) -> None:
        """Add the files of edited regions, metadata and events to a change."""
        if self._rois is not None and {"roi", "metadata"} & {c.what for c in changes}:
            change.write(*self._encoded("json", layout.METADATA, self._rois.payload()))
        edited = {(c.artifact_kind, c.name) for c in changes}
        frames = [
            self._encoded(kind, name, events.frame)
            for (kind, name), events in self._events.items()
            if (kind, name) in edited
        ]
        write_dataframes(self._storage, self._image_id, change, dict(frames))

    def finish_merge(
        self, change: Change, history: Sequence[Mapping[str, Any]], resolution: Edit | None
    ) -> None:
        """Add the files to write to a change, with a history that was merged.

        Parameters
        ----------
        change : Change
        history : sequence of mapping
            The entries as stored, oldest first.
        resolution : Edit, optional
            An entry for what the merge itself decided.
        """
        self._write_values(change, self._changes())
        values = {"verdict": self._verdict, "note": self._note, "history": list(history)}
        document: Mapping[str, Any] = {**self._plain, **values}
        where = curation_key(self._prefix)
        if resolution is not None:
            document = with_entry(document, resolution, where=where)
        change.write(
            layout.artifact_key("json", layout.CURATION), dump_plain(document, where=where)
        )

    def _changes(self) -> list[EditChange]:
        verdict = EditChange(what="verdict", before=self._before.verdict, after=self._verdict)
        changes = [EditChange(what="note", before=self._before.note, after=self._note)]
        changes += [] if self._rois is None else self._rois.changes()
        for events in self._events.values():
            changes += events.changes()
        changed = [change for change in changes if not same(change.before, change.after)]
        # A second rater who agrees changes no value, and has judged the image all the same.
        agrees = self._is_judged and self._verdict != self._own_verdict()
        return [verdict, *changed] if agrees or verdict.before != verdict.after else changed

    def _own_verdict(self) -> Verdict | None:
        """Return the verdict that this editor gave last."""
        return verdicts_in(curation_of(self._before).history).get(self._who)

    def _encoded(self, kind: ArtifactKind, name: str, value: Any) -> tuple[str, bytes]:
        key = layout.artifact_key(kind, name)
        return key, artifacts.encode(kind, value, where=f"{self._prefix}/{key}")

    # Undo ------------------------------------------------------------------------------

    def _to_be_undone(self, edit_id: str | None) -> Edit:
        history = load_curation(self._storage, self._prefix).history
        if edit_id is None:
            last = [edit for edit in history if edit.undoes is None and edit.undone_by is None]
            if not last:
                raise ArgumentError(
                    "there is no edit that could be taken back", where=f"image {self._image_id!r}"
                )
            return last[-1]
        for edit in history:
            if edit.edit_id == edit_id:
                if edit.undone_by is not None:
                    raise ArgumentError(
                        f"the edit {edit_id!r} is taken back already, by {edit.undone_by!r}",
                        where="edit_id",
                        hint="Take that one back to have it again.",
                    )
                return edit
        raise ArgumentError(
            f"the image has no edit {edit_id!r}",
            where="edit_id",
            hint="curation().history tells which there are.",
        )

    def _is_there(self, change: EditChange) -> bool:
        """Return True if a value is still the one that an edit set."""
        try:
            return same(change.after, self.now(change))
        except ArgumentError:
            return False

    def put(self, change: EditChange, value: Any) -> None:
        """Set what a change is about to a value, such as the one before or after it."""
        if change.what == "verdict":
            self._verdict = value
        elif change.what == "note":
            self._note = value
        elif change.what == "metadata" and change.key is not None:
            self.rois().set_field(change.key, value)
        elif change.roi_id is not None:
            self.rois().put(change.roi_id, value, change.position)
        elif change.what == "event":
            events = self.events(*_frame_of(change), create=value is not None)
            events.put_event(change.event_id or "", value, change.position)
        elif change.row is not None and change.column is not None:
            events = self.events(*_frame_of(change))
            events.put(change.row, change.column, value)

    def now(self, change: EditChange) -> Any:
        """Return the present value of what a change is about, None where there is none.

        Raises
        ------
        ArgumentError
            If an event whose type was changed is not there, or not as it was.
        """
        if change.what == "verdict":
            return self._verdict
        if change.what == "note":
            return self._note
        if change.what == "metadata":
            return self.rois().field(change.key or "")
        if change.what == "roi" and change.roi_id is not None:
            return self.rois().now(change.roi_id)
        try:
            events = self.events(*_frame_of(change))
        except ArtifactNotFoundError:
            if change.what == "event":
                return None
            raise ArgumentError(f"{change} is not there", where=self._image_id) from None
        if change.what == "event":
            return events.event(change.event_id or "")
        if not events.holds(change) or change.row is None or change.column is None:
            raise ArgumentError(f"{change} is not there, or not as it was", where=self._image_id)
        return events.now(change.row, change.column)

    # What it is about ------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._over:
            raise ArgumentError(
                "the edit is over", where=f"image {self._image_id!r}", hint="Begin another one."
            )

    def rois(self) -> EditedRois:
        """Return the regions for editing."""
        self._require_open()
        if self._rois is None:
            try:
                payload = artifacts.load(self._storage, self._prefix, "json", layout.METADATA)
            except ArtifactNotFoundError:
                payload = None
            key = f"{self._prefix}/{layout.artifact_key('json', layout.METADATA)}"
            self._rois = EditedRois(payload, where=key)
        return self._rois

    def events(self, kind: FrameKind, name: str, *, create: bool = False) -> EditedEvents:
        """Return a data frame of events for editing; an empty one if there is none to create."""
        from kymflow_zarr.engine.curation.edited_events import EditedEvents, empty_events

        self._require_open()
        if kind not in get_args(FrameKind):
            raise ArgumentError(
                f"the kind is {kind!r}", where="kind", hint='It is "parquet" or "csv_gz".'
            )
        if (kind, name) not in self._events:
            try:
                frame = artifacts.load(self._storage, self._prefix, kind, name)
            except ArtifactNotFoundError:
                if not create:
                    raise
                frame = empty_events()
            self._events[kind, name] = EditedEvents(frame, kind, name)
        return self._events[kind, name]

    def replace_detected(self, kind: FrameKind, name: str, detected: pd.DataFrame) -> None:
        """Replace detected events; see :meth:`RecordEdit.replace_detected`."""
        by_hand: dict[str, Any] = {}
        for edit in load_curation(self._storage, self._prefix).history:
            if edit.undoes is not None or edit.undone_by is not None:
                continue
            for change in edit.changes:
                if change.what == "event" and _frame_of(change) == (kind, name):
                    by_hand[change.event_id or ""] = change.before or change.after
        self.events(kind, name, create=True).replace_detected(detected, by_hand)

    def planes(self) -> ImagePlanes:
        """Return the extent of the image."""
        document = load_image(self._storage, self._image_id)
        return ImagePlanes(document.axis_values(), tuple(document.pixels.shape))


def _frame_of(change: EditChange) -> tuple[FrameKind, str]:
    return change.artifact_kind or "parquet", change.name or ""


def same(one: Any, other: Any) -> bool:
    """Return True if two JSON values are equal; NaN equals NaN, 1 is not True."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return bool(one == other or (one != one and other != other))


USER_TYPE = "user_type"
_STATISTICS = "img_"
_R = TypeVar("_R", bound=KnownRoi)
_EXPERIMENT = "experiment_metadata"


class EditedRois:
    """The regions and fields in a payload while they are edited; others stay as written.

    Parameters
    ----------
    payload : dict, optional
        None if the image has none.
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
        self._fields_before: dict[str, Any] = {}

    def field(self, key: str) -> Any:
        """Return a value of the experiment's metadata, None where there is none."""
        return _mapping(self._payload.get(_EXPERIMENT)).get(key)

    def set_field(self, key: str, value: Any) -> None:
        """Set a value of the experiment's metadata; None removes it."""
        self._fields_before.setdefault(key, copy.deepcopy(self.field(key)))
        fields = dict(_mapping(self._payload.get(_EXPERIMENT)))
        if value is None:
            fields.pop(key, None)
        else:
            fields[key] = value
        self._payload = {**self._payload, _EXPERIMENT: fields}

    def save(self, roi: KnownRoi | Mapping[str, Any], planes: ImagePlanes) -> KnownRoi:
        """Add or replace a region; see :meth:`RecordEdit.save_roi`."""
        is_value = isinstance(roi, KnownRoi)
        given = roi.to_dict() if isinstance(roi, KnownRoi) else roi
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
            # Do not reuse an id that this edit freed: the history would confuse the two regions.
            before = [known for known in map(_id_of, self._at_first) if isinstance(known, int)]
            given = {**given, "roi_id": 1 + max([*before, *self.ids()], default=0)}
        elif place is not None:
            old = _without_mask(roi_from_dict(self._rois[place]))
            if not is_value:
                if given.get("roi_type", old.roi_type) != old.roi_type:
                    raise ArgumentError(
                        f"region {roi_id} is a {old.roi_type}, not a {given['roi_type']}",
                        where=f"roi {roi_id}: roi_type",
                        hint="Give a whole region, such as a RectRoi, to replace it.",
                    )
                given = _laid_over(old.to_dict(), given)
            given = _moved(old.to_dict(), given)
            revision = {"revision": old.revision + 1}
            given = {**given, "meta": {**_mapping(given.get("meta")), **revision}}
        new = _without_mask(roi_from_dict({"roi_type": RectRoi.roi_type, **given}))
        new.check(planes.bounds, channels=planes.channels)
        self.put(new.roi_id, new.to_dict())
        return new

    def ids(self) -> list[int]:
        """Return the ids of the regions as they are now."""
        return [known for known in map(_id_of, self._rois) if isinstance(known, int)]

    def remove(self, roi_id: int) -> None:
        """Remove a region."""
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
        """Return the current state of a region, None if absent."""
        place = self._place(roi_id)
        return None if place is None else self._rois[place]

    def put(self, roi_id: int, roi: Mapping[str, Any] | None, position: int | None = None) -> None:
        """Replace a region, insert it at a position or the end, or remove it if `roi` is None.

        A region that was there when the edit began returns to its place.
        """
        place = self._place(roi_id)
        self._touched[roi_id] = None
        if place is not None:
            self._rois[place : place + 1] = [] if roi is None else [dict(roi)]
        elif roi is not None:
            self._rois.insert(self._earlier(roi_id) if position is None else position, dict(roi))

    def _earlier(self, roi_id: int) -> int:
        """Return the position of a region after those that originally preceded it, or the end."""
        at_first = [_id_of(roi) for roi in self._at_first]
        if roi_id not in at_first:
            return len(self._rois)
        before = at_first[: at_first.index(roi_id)]
        return sum(_id_of(roi) in before for roi in self._rois)

    def changes(self) -> list[EditChange]:
        """Return the changes of regions, by their previous positions, and of fields."""
        changes = []
        for roi_id in self._touched:
            was = self._place(roi_id, self._at_first)
            before = None if was is None else self._at_first[was]
            after = copy.deepcopy(self.now(roi_id))
            changes.append(
                EditChange(what="roi", roi_id=roi_id, position=was, before=before, after=after)
            )
        last = len(self._at_first)
        changes.sort(key=lambda c: last if c.position is None else c.position)
        return changes + [
            EditChange(what="metadata", key=key, before=before, after=self.field(key))
            for key, before in self._fields_before.items()
        ]

    def payload(self) -> dict[str, Any]:
        """Return the payload with the edited regions."""
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
    # Older forms spell it "id".
    return roi.get("roi_id", roi.get("id")) if isinstance(roi, Mapping) else None


def _without_mask(roi: KnownRoi) -> KnownRoi:
    """Return a region, unless it is a mask: its pixels are an array artifact."""
    if isinstance(roi, MaskRoi):
        raise ArgumentError(
            f"region {roi.roi_id} is a mask",
            where=f"roi {roi.roi_id}: roi_type",
            hint="save_mask() replaces it.",
        )
    return roi


def _laid_over(old: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a region updated with the given keys."""
    parts = {
        key: {**_mapping(old.get(key)), **given[key]}
        for key in ("data", "meta")
        if isinstance(given.get(key), Mapping)
    }
    return {**old, **given, **parts}


def _moved(old: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a region; if it moved, without the statistics of the pixels at its previous place."""
    if all(old.get(key) == given.get(key) for key in ("data", "channel", "z")):
        return given
    before, meta = _mapping(old.get("meta")), _mapping(given.get("meta"))
    unmoved = {
        key: value
        for key, value in meta.items()
        if not (str(key).startswith(_STATISTICS) and before.get(key) == value)
    }
    return {**given, "meta": unmoved}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


class RecordEdit:
    """The edit that :meth:`StoredImage.edit` yields; its changes are saved in one step.

    Attributes
    ----------
    edit_id : str, optional
        Id of the entry of the history, once it is written; None if nothing changed.
    revision : str
        Revision of the image before the edit; after the block, the new one.
    """

    def __init__(self, image: EditedImage, *, revision: str) -> None:
        self._image = image
        self.edit_id: str | None = None
        self.revision = revision

    def set_verdict(self, verdict: Verdict | None) -> None:
        """Accept or reject the image; None clears the verdict.

        Raises
        ------
        ArgumentError
            If the verdict is none of these.
        """
        self._image.set_verdict(verdict)

    def set_note(self, text: str) -> None:
        """Set the note; an empty str clears it.

        Raises
        ------
        ArgumentTypeError
            If it is not a str.
        """
        self._image.set_note(text)

    def set_metadata(self, key: str, value: Any) -> None:
        """Set a value of the experiment's metadata, such as ``"condition"``; None removes it.

        Parameters
        ----------
        key : str
        value : object
            A value of JSON.

        Raises
        ------
        ArgumentError
            If the key is empty.
        UnsupportedDataError
            At the end of the edit, if JSON does not have the value.
        """
        if not key:
            raise ArgumentError("a key has a name", where="key")
        self._image.rois().set_field(key, value)

    @overload
    def save_roi(self, roi: _R) -> _R: ...
    @overload
    def save_roi(self, roi: Mapping[str, Any]) -> Any: ...
    def save_roi(self, roi: KnownRoi | Mapping[str, Any]) -> KnownRoi:
        """Add a region, or replace one.

        Parameters
        ----------
        roi : RectRoi, LineRoi, PolylineRoi, PolygonRoi, EllipseRoi, PointsRoi or mapping
            A mapping has the form of the metadata payload, and is a rectangle if it names no
            ``roi_type`` and replaces no other kind. Without `roi_id` it becomes a new
            region with the next free id. An existing region gets the next revision number,
            keeps keys that the mapping does not name, and loses the statistics of its pixels
            if it moves.

        Returns
        -------
        RectRoi, LineRoi, ...
            The region as it will be saved, of the same kind.

        Raises
        ------
        ArgumentError
            If it extends beyond the image, is a mask, its id is that of a mask, or a mapping is
            of another kind than the region it replaces.
        """
        return self._image.rois().save(roi, self._image.planes())

    def remove_roi(self, roi_id: int) -> None:
        """Remove a region; the array artifact of a mask stays.

        Raises
        ------
        ArgumentError
            If there is none of that id.
        """
        self._image.rois().remove(roi_id)

    def set_event_type(
        self, name: str, row: int, value: str | None, kind: FrameKind = "parquet"
    ) -> None:
        """Set the type of an event.

        Parameters
        ----------
        name : str
            Name of the data-frame artifact. Sets its column ``user_type``, or ``event_type``
            if it has no such column.
        row : int
            Position of the event, from 0.
        value : str, optional
            None for a missing value.
        kind : {"parquet", "csv_gz"}
            Kind of the artifact.

        Raises
        ------
        ArtifactNotFoundError
            If there is no such artifact.
        ArgumentError
            If it has neither column, or if the row does not exist.
        """
        self._image.events(kind, name).set_type(row, value)

    def add_event(
        self,
        name: str,
        start_s: float,
        end_s: float | None = None,
        *,
        type: str | None = None,  # noqa: A002 - what people call it
        kind: FrameKind = "parquet",
        **cells: Any,
    ) -> str:
        """Add an event by hand; a data frame of events is created if there is none.

        Parameters
        ----------
        name : str
            Name of the data-frame artifact.
        start_s, end_s : float
            Seconds; None as end for a moment.
        type : str, optional
            What the person calls it: its ``user_type``.
        kind : {"parquet", "csv_gz"}
            Kind of the artifact.
        **cells
            Other columns of the data frame, such as ``roi_id``.

        Returns
        -------
        str
            Its id, which stays: column ``event_id``. Other events of the data frame get one too.

        Raises
        ------
        ArgumentError
            If the times are not finite or in order, or the row labels of the data frame are no
            plain positions.
        """
        events = self._image.events(kind, name, create=True)
        return events.add(start_s, end_s, {USER_TYPE: type, **cells})

    def change_event(
        self, name: str, event: str | int, *, kind: FrameKind = "parquet", **cells: Any
    ) -> str:
        """Move or resize an event, or set other cells of it; return its id.

        Parameters
        ----------
        name : str
            Name of the data-frame artifact.
        event : str or int
            Its ``event_id``, or its position, from 0.
        kind : {"parquet", "csv_gz"}
            Kind of the artifact.
        **cells
            New values by column: ``t_start_s``, ``t_end_s``, ``user_type``, or others.

        Raises
        ------
        ArtifactNotFoundError
            If there is no such artifact.
        ArgumentError
            If there is no such event, or its times would not be finite or in order.
        """
        return self._image.events(kind, name).change(event, cells)

    def remove_event(self, name: str, event: str | int, *, kind: FrameKind = "parquet") -> None:
        """Remove an event.

        Parameters and errors are those of :meth:`change_event`.
        """
        self._image.events(kind, name).remove(event)

    def replace_detected(
        self, name: str, detected: pd.DataFrame, *, kind: FrameKind = "parquet"
    ) -> None:
        """Replace the events that a program detected, and keep what a person judged.

        An event stays as it is if it was added, changed or given a type by hand. A new event that
        overlaps one of those, of the same region and channel, is left out, and so is one that
        overlaps an event that was removed by hand: none is doubled, and none comes back.

        Parameters
        ----------
        name : str
            Name of the data-frame artifact; created if there is none.
        detected : DataFrame
            With ``t_start_s`` and, where they are known, ``t_end_s``, ``roi_id``, ``channel``.
        kind : {"parquet", "csv_gz"}
            Kind of the artifact.

        Raises
        ------
        ArgumentError
            If it has no column ``t_start_s``.
        """
        self._image.replace_detected(kind, name, detected)


def write_dataframes(
    storage: Storage, image_id: str, change: Change, frames: Mapping[str, bytes]
) -> None:
    """Add data frames to a change.

    A data frame that was computed from earlier pixels stays marked so: the edit changed only
    event types.

    Parameters
    ----------
    storage : Storage
    image_id : str
    change : Change
    frames : mapping of str to bytes
        By key below the image.
    """
    prefix = layout.image_prefix(image_id)
    document = load_image(storage, image_id)
    earlier = document.earlier_artifacts
    moved = {
        key: FileSum.of(data).sha256
        for key, data in frames.items()
        if key in earlier and earlier[key] == digest_of_artifact(storage, prefix, key)
    }
    for key, data in frames.items():
        change.write(key, data)
    if moved:
        document.earlier_artifacts = {**earlier, **moved}
        group = load(storage, f"{prefix}/{layout.GROUP}") or {}
        change.write_group("", document.to_group(ome=group.get("attributes", {}).get("ome")))


class Editing(Scoped):
    """The block of :meth:`StoredImage.edit`, which locks the image.

    Parameters
    ----------
    record : StoredImage
    who, expect : str, optional
    blind : sequence of str
        Columns that are hidden from the editor.
    """

    def __init__(
        self, record: StoredImage, who: str | None, expect: str | None, blind: Sequence[str] = ()
    ) -> None:
        self._record = record
        self._who, self._expect, self._blind = who, expect, blind
        self._lock: AbstractContextManager[None] | None = None
        self._image: EditedImage | None = None
        self._edit: RecordEdit | None = None

    def begin(self) -> RecordEdit:
        """Lock the image, and return the edit."""
        record, name = self._record, name_of(self._who)
        self._lock = record.lock()
        self._lock.__enter__()
        record.require_present()
        revision = record.revision
        if self._expect is not None and self._expect != revision:
            raise EditConflictError(
                "the image has been changed since it was looked at",
                where=f"image {record.image_id!r}",
                hint="Look at it as it is now, and decide again. Nothing was written.",
            )
        self._image = EditedImage(record.storage, record.image_id, who=name, blind=self._blind)
        self._edit = RecordEdit(self._image, revision=revision)
        return self._edit

    def finish(self) -> None:
        """Write the changes."""
        record, image, edit = self._record, self._image, self._edit
        assert image is not None
        assert edit is not None
        image.close()
        with record.change() as change:
            image.finish(change)
            if not image.written:
                return
            # The lock excludes other writers, but not writes in the caller's own block.
            if record.revision != edit.revision:
                raise EditConflictError(
                    "the image was written to while the edit went on",
                    where=f"image {record.image_id!r}",
                    hint="Save before or after the block of edit(), not in it.",
                )
            try:
                change.commit()
            except ConflictError as error:
                raise EditConflictError(
                    "another writer changed the image while the edit went on",
                    where=f"image {record.image_id!r}",
                    hint="Look at it as it is now, and decide again. Nothing was written.",
                ) from error
            edit.edit_id = image.written[0].edit_id
            edit.revision = record.revision

    def end(self) -> None:
        """Unlock the image; may be called again."""
        if self._image is not None:
            self._image.close()
        if self._lock is not None:
            self._lock.__exit__(None, None, None)
