"""Merge the edits of two copies of a dataset: both histories, and the values that follow."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.curation.document import Edit, EditChange, curation_of, load_plain
from kymflow_zarr.engine.curation.editing import EditedImage, same
from kymflow_zarr.errors import ArgumentError, EditConflictError
from kymflow_zarr.runtime.report import Report
from kymflow_zarr.storage.interface import without_conflict
from kymflow_zarr.types import Progress

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset

# What a change is about: two changes of one place may be in conflict.
Place: TypeAlias = tuple[Any, ...]
Latest: TypeAlias = dict[Place, tuple[Edit, EditChange]]


@dataclass(frozen=True, kw_only=True)
class MergeConflict:
    """One value that both copies had changed, to different values, or that could not be merged.

    Parameters
    ----------
    image_id : str
    what : str
        The value in words, such as ``"verdict"`` or ``"region 3"``.
    earlier, later : object
        The values of the two copies, by the time of the edits.
    earlier_who, later_who : str
        Who set them.
    kept : object
        The value now.
    reason : str
        What was done, in words.
    """

    image_id: str
    what: str
    earlier: Any
    later: Any
    earlier_who: str
    later_who: str
    kept: Any
    reason: str

    def __str__(self) -> str:
        return (
            f"{self.image_id}: {self.what}: {self.earlier_who} has {self.earlier!r}, "
            f"{self.later_who} has {self.later!r}: {self.reason}"
        )


@dataclass(frozen=True, kw_only=True)
class MergeReport(Report[MergeConflict]):
    """What a merge of edits has done.

    Parameters
    ----------
    n_images : int
        Number of images that have edits of the other copy now.
    n_edits : int
        Number of those edits.
    unknown : tuple of str
        Ids of edited images of the other copy that are not in this one.
    conflicts : tuple of MergeConflict
    """

    ENTRIES: ClassVar[str] = "conflicts"
    ENTRY: ClassVar[type] = MergeConflict

    n_images: int
    n_edits: int
    unknown: tuple[str, ...]
    conflicts: tuple[MergeConflict, ...]

    def __str__(self) -> str:
        head = f"{self.n_edits} edits of {self.n_images} images, {len(self.conflicts)} conflicts"
        missing = [f"not here: image {image_id}" for image_id in self.unknown]
        return self._text(head, *self.conflicts, *missing)


def merge_edits(
    dataset: OpenDataset, other: OpenDataset, *, progress: Progress | None = None
) -> MergeReport:
    """Take over the edits of another copy; see :meth:`kymflow_zarr.ZarrDataset.merge_edits`."""
    dataset.require_writable()
    n_images = n_edits = 0
    unknown: list[str] = []
    conflicts: list[MergeConflict] = []
    ids = other.list_image_ids()
    for done, image_id in enumerate(ids):
        if progress is not None:
            progress(done, len(ids), image_id)
        plain, document = load_plain(other.storage, layout.image_prefix(image_id))
        if not document.history:
            continue
        if image_id not in dataset:
            unknown.append(image_id)
            continue
        theirs = _History(plain["history"], curation_of(document).history)
        n_new, named = _merged(dataset, image_id, theirs)
        n_images += n_new > 0
        n_edits += n_new
        conflicts += named
    if progress is not None:
        progress(len(ids), len(ids), "")
    return MergeReport(
        n_images=n_images, n_edits=n_edits, unknown=tuple(unknown), conflicts=tuple(conflicts)
    )


@dataclass(frozen=True)
class _History:
    """The entries of a history: as stored, and as values."""

    stored: Sequence[Mapping[str, Any]]
    edits: Sequence[Edit]

    def by_id(self) -> dict[str, Mapping[str, Any]]:
        return {edit.edit_id: raw for edit, raw in zip(self.edits, self.stored, strict=True)}


def _merged(
    dataset: OpenDataset, image_id: str, theirs: _History
) -> tuple[int, list[MergeConflict]]:
    """Merge the history of one image in one commit; return the number of new edits."""
    storage = dataset.storage

    def once() -> tuple[int, list[MergeConflict]]:
        with storage.lock(f"image:{image_id}"):
            dataset.record(image_id).require_present()
            plain, document = load_plain(storage, layout.image_prefix(image_id))
            ours = _History(plain["history"], curation_of(document).history)
            known = {edit.edit_id for edit in ours.edits}
            new = [edit for edit in theirs.edits if edit.edit_id not in known]
            if not new:
                return 0, []
            merge = _Merge(image_id, ours.edits, theirs.edits)
            image = EditedImage(storage, image_id, who=_BY)
            merge.apply(image)
            stored = {**theirs.by_id(), **ours.by_id()}
            change = Change(storage, layout.image_prefix(image_id))
            image.finish_merge(
                change, [stored[edit.edit_id] for edit in merge.edits], merge.resolution
            )
            image.close()
            change.commit()
            return len(new), merge.conflicts

    return without_conflict(storage, once)


_BY = "merge"


class _Merge:
    """Two histories as one, and what is to be changed so that the values follow it.

    The result is the same whichever of the two is called ours.
    """

    def __init__(self, image_id: str, ours: Sequence[Edit], theirs: Sequence[Edit]) -> None:
        self.image_id = image_id
        self.edits = merged_order(ours, theirs)
        self.conflicts: list[MergeConflict] = []
        self.resolution: Edit | None = None
        ids = {edit.edit_id for edit in ours}, {edit.edit_id for edit in theirs}
        self._only_ours = [edit for edit in ours if edit.edit_id not in ids[1]]
        self._only_theirs = [edit for edit in theirs if edit.edit_id not in ids[0]]
        self._order = {edit.edit_id: at for at, edit in enumerate(self.edits)}

    def apply(self, image: EditedImage) -> None:
        """Change the values of an image of ours."""
        latest = _latest(self.edits)
        by_us, by_them = _latest(self._only_ours), _latest(self._only_theirs)
        for place in by_them:
            edit, change = latest[place]
            try:
                if not same(image.now(change), change.after):
                    image.put(change, change.after)
            except ArgumentError as error:
                self._name(change, (edit, change), (edit, change), None, error.what)
        resolved: list[EditChange] = []
        for place in sorted(by_us.keys() & by_them.keys(), key=repr):
            one, other = sorted((by_us[place], by_them[place]), key=self._at)
            if same(one[1].after, other[1].after):
                continue
            resolved += self._resolve(image, place, one, other)
        if resolved:
            self.resolution = self._entry(resolved)

    def _at(self, entry: tuple[Edit, EditChange]) -> int:
        return self._order[entry[0].edit_id]

    def _resolve(
        self,
        image: EditedImage,
        place: Place,
        one: tuple[Edit, EditChange],
        other: tuple[Edit, EditChange],
    ) -> list[EditChange]:
        """Name a conflict; return what the merge itself changes, so that nothing is lost."""
        earlier, later = one[1].after, other[1].after
        if place == ("note",):
            # In the order of the edits, so that both copies get the same text.
            text = "\n".join(filter(None, (earlier, later)))
            image.set_note(text)
            self._name(other[1], one, other, text, "the note holds both texts")
            return [EditChange(what="note", before=later, after=text)]
        if place[0] == "roi" and self._is_added_twice(place):
            # An id that no region has or had, in either copy.
            had = [c.roi_id for edit in self.edits for c in edit.changes if c.roi_id is not None]
            roi_id = 1 + max([*image.rois().ids(), *had])
            moved = {**earlier, "roi_id": roi_id}
            change = EditChange(what="roi", roi_id=roi_id, before=None, after=moved)
            image.put(change, moved)
            reason = f"two regions had this id; the earlier one is region {roi_id} now"
            self._name(other[1], one, other, later, reason)
            return [change]
        reason = "the later one is kept, the other is in the history"
        self._name(other[1], one, other, later, reason)
        return []

    def _is_added_twice(self, place: Place) -> bool:
        """Return True if a region was added in both copies, so that it is two regions."""
        for edits in (self._only_ours, self._only_theirs):
            first = next(c for edit in edits for c in edit.changes if _place(c) == place)
            last = _latest(edits)[place][1]
            if first.before is not None or last.after is None:
                return False
        return True

    def _name(
        self,
        change: EditChange,
        one: tuple[Edit, EditChange],
        other: tuple[Edit, EditChange],
        kept: Any,
        reason: str,
    ) -> None:
        self.conflicts.append(
            MergeConflict(
                image_id=self.image_id, what=str(change), earlier=one[1].after,
                later=other[1].after, earlier_who=one[0].who, later_who=other[0].who, kept=kept,
                reason=reason,
            )
        )  # fmt: skip

    def _entry(self, changes: list[EditChange]) -> Edit:
        """Return the entry of the history for what the merge decided: the same in both copies."""
        ids = sorted(edit.edit_id for edit in (*self._only_ours, *self._only_theirs))
        return Edit(
            edit_id=hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32], who=_BY,
            when_utc=max(edit.when_utc for edit in self.edits), changes=tuple(changes),
        )  # fmt: skip


def merged_order(ours: Sequence[Edit], theirs: Sequence[Edit]) -> list[Edit]:
    """Return two histories as one: each in its own order, else by the time of the edits.

    Raises
    ------
    EditConflictError
        If entries that are in both are in another order in one of them.
    """
    places = (
        {edit.edit_id: at for at, edit in enumerate(ours)},
        {edit.edit_id: at for at, edit in enumerate(theirs)},
    )
    merged: list[Edit] = []
    i = j = 0
    while i < len(ours) and j < len(theirs):
        one, other = ours[i], theirs[j]
        if one.edit_id == other.edit_id:
            merged.append(one)
            i, j = i + 1, j + 1
            continue
        one_waits, other_waits = one.edit_id in places[1], other.edit_id in places[0]
        if one_waits and other_waits:
            raise EditConflictError(
                "two histories have the same edits in another order", where=one.edit_id,
                hint="They are no copies of one dataset. Nothing was written for this image.",
            )  # fmt: skip
        takes_ours = other_waits or (
            not one_waits and (one.when_utc, one.edit_id) < (other.when_utc, other.edit_id)
        )
        merged.append(one if takes_ours else other)
        i, j = (i + 1, j) if takes_ours else (i, j + 1)
    return [*merged, *ours[i:], *theirs[j:]]


def _latest(edits: Sequence[Edit]) -> Latest:
    """Return the last change of each place, and the edit that it is of."""
    return {_place(change): (edit, change) for edit in edits for change in edit.changes}


def _place(change: EditChange) -> Place:
    if change.what == "roi":
        return "roi", change.roi_id
    if change.what == "metadata":
        return "metadata", change.key
    if change.what == "event":
        return "event", change.artifact_kind, change.name, change.event_id
    if change.what == "event_type":
        frame = change.artifact_kind, change.name, change.row, change.column
        return "event_type", *frame, change.row_sha256
    return (change.what,)
