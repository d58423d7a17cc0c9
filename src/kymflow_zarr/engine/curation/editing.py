"""One edit of an image: what it changes is collected, and written as one commit."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.curation.document import (
    curation_key,
    dump_plain,
    load_curation,
    load_plain,
    with_entry,
)
from kymflow_zarr.engine.curation.edited_dataframes import write_frames
from kymflow_zarr.engine.curation.edited_rois import EditedRois
from kymflow_zarr.engine.curation.values import Edit, EditChange
from kymflow_zarr.engine.documents import load_image, utc_now
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.engine.rois.planes import ImagePlanes
from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    ArtifactNotFoundError,
    EditConflictError,
)
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import ArtifactKind, FrameKind, Verdict

if TYPE_CHECKING:
    from kymflow_zarr.engine.curation.edited_events import EditedEvents


class EditedImage:
    """Verdict, note, regions and events of an image, as an edit makes them.

    The caller holds the lock of the image.

    Parameters
    ----------
    storage : Storage
    image_id : str
    who : str

    Attributes
    ----------
    written : list of Edit
        The entry of the history, once there is one.
    """

    def __init__(self, storage: Storage, image_id: str, *, who: str) -> None:
        self._storage = storage
        self._image_id = image_id
        self._prefix = layout.image_prefix(image_id)
        self._who = who
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

    def set_note(self, text: str) -> None:
        """Set the note."""
        self._require_open()
        if not isinstance(text, str):
            raise ArgumentTypeError(f"a note is text, not {type(text).__qualname__}", where="note")
        self._note = text

    # What becomes of it ----------------------------------------------------------------

    def take_back(self, edit_id: str | None) -> None:
        """Set everything that an edit changed to what it was before."""
        edit = self._to_be_undone(edit_id)
        # Added regions go first, so that the others find their places.
        for change in sorted(edit.changes, key=lambda change: change.before is not None):
            if not self._is_there(change):
                raise EditConflictError(
                    f"{change} has been changed since by another edit or program",
                    where=f"image {self._image_id!r}, edit {edit.edit_id!r}",
                    hint="Take back the later edit first, or set what you want with edit().",
                )
            self._put_back(change)
        self._undoes = edit.edit_id

    def close(self) -> None:
        """Take no more changes."""
        self._over = True

    def finish(self, change: Change) -> None:
        """Put into a change what is to be written: nothing where nothing is another one."""
        changes = self._changes()
        if not changes and self._undoes is None:
            return
        kinds = {c.what for c in changes}
        if self._rois is not None and "roi" in kinds:
            change.write(*self._encoded("json", layout.METADATA, self._rois.payload()))
        edited = {(c.artifact_kind, c.name) for c in changes}
        frames = [
            self._encoded(kind, name, events.frame)
            for (kind, name), events in self._events.items()
            if (kind, name) in edited
        ]
        write_frames(self._storage, self._image_id, change, dict(frames))
        entry = Edit(
            edit_id=uuid.uuid4().hex, who=self._who, when_utc=utc_now(), changes=tuple(changes),
            undoes=self._undoes,
        )  # fmt: skip
        told = {**self._plain, "verdict": self._verdict, "note": self._note}
        where = curation_key(self._prefix)
        data = dump_plain(with_entry(told, entry, where=where), where=where)
        change.write(layout.artifact_key("json", layout.CURATION), data)
        self.written.append(entry)

    def _changes(self) -> list[EditChange]:
        found = [
            EditChange(what="verdict", before=self._before.verdict, after=self._verdict),
            EditChange(what="note", before=self._before.note, after=self._note),
        ]
        found += [] if self._rois is None else self._rois.changes()
        for events in self._events.values():
            found += events.changes()
        return [change for change in found if not _same(change.before, change.after)]

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
        """Tell whether what an edit changed is still what that edit made of it."""
        if change.what == "verdict":
            return _same(change.after, self._verdict)
        if change.what == "note":
            return _same(change.after, self._note)
        if change.what == "roi" and change.roi_id is not None:
            return _same(change.after, self.rois().now(change.roi_id))
        try:
            events = self.events(*_frame_of(change))
        except ArtifactNotFoundError:
            return False
        if not events.holds(change) or change.row is None or change.column is None:
            return False
        return _same(change.after, events.now(change.row, change.column))

    def _put_back(self, change: EditChange) -> None:
        if change.what == "verdict":
            self._verdict = change.before
        elif change.what == "note":
            self._note = change.before
        elif change.roi_id is not None:
            self.rois().put(change.roi_id, change.before, change.position)
        elif change.row is not None and change.column is not None:
            events = self.events(*_frame_of(change))
            events.put(change.row, change.column, change.before)

    # What it is about ------------------------------------------------------------------

    def _require_open(self) -> None:
        if self._over:
            raise ArgumentError(
                "the edit is over", where=f"image {self._image_id!r}", hint="Begin another one."
            )

    def rois(self) -> EditedRois:
        """Return the regions, to be changed."""
        self._require_open()
        if self._rois is None:
            try:
                payload = artifacts.load(self._storage, self._prefix, "json", layout.METADATA)
            except ArtifactNotFoundError:
                payload = None
            key = f"{self._prefix}/{layout.artifact_key('json', layout.METADATA)}"
            self._rois = EditedRois(payload, where=key)
        return self._rois

    def events(self, kind: FrameKind, name: str) -> EditedEvents:
        """Return a data frame of events, to be changed."""
        from kymflow_zarr.engine.curation.edited_events import EditedEvents

        self._require_open()
        if kind not in get_args(FrameKind):
            raise ArgumentError(
                f"the kind is {kind!r}", where="kind", hint='It is "parquet" or "csv_gz".'
            )
        if (kind, name) not in self._events:
            frame = artifacts.load(self._storage, self._prefix, kind, name)
            self._events[kind, name] = EditedEvents(frame, kind, name)
        return self._events[kind, name]

    def planes(self) -> ImagePlanes:
        """Return the extent of the image."""
        document = load_image(self._storage, self._image_id)
        return ImagePlanes(document.axis_values(), tuple(document.pixels.shape))


def _frame_of(change: EditChange) -> tuple[FrameKind, str]:
    return change.artifact_kind or "parquet", change.name or ""


def _same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are equal; a NaN equals a NaN, 1 is not True."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    return bool(one == other or (one != one and other != other))
