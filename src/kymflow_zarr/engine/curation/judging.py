"""Many images edited in one commit: one verdict for all, or what else is to be set."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.curation.document import load_curation, name_of
from kymflow_zarr.engine.curation.editing import EditedImage
from kymflow_zarr.errors import ArgumentError, EditConflictError
from kymflow_zarr.storage.interface import without_conflict
from kymflow_zarr.types import Verdict

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset

# Names that a message about many images spells out.
_NAMED = 5


def judge(
    dataset: OpenDataset,
    ids: Iterable[str],
    verdict: Verdict | None,
    *,
    who: str | None,
    seen: Mapping[str, Verdict | None] | None,
    blind: Sequence[str] = (),
) -> str | None:
    """Give images one verdict; see :meth:`kymflow_zarr.ZarrDataset.judge`."""

    def each(images: Mapping[str, EditedImage]) -> None:
        if seen is not None:
            other = [i for i in images if i in seen and images[i].verdict != seen[i]]
            if other:
                named = [f"{i} is {images[i].verdict or 'undecided'}" for i in other[:_NAMED]]
                more = [f"{len(other) - _NAMED} more"] if len(other) > _NAMED else []
                raise EditConflictError(
                    f"{len(other)} of {len(images)} images were judged meanwhile: "
                    + ", ".join([*named, *more]),
                    where="seen",
                    hint="Look at them, and decide again. Nothing was written.",
                )
        for image in images.values():
            image.set_verdict(verdict)

    return edited(dataset, list(dict.fromkeys(ids)), who, blind, each)


def undo(
    dataset: OpenDataset,
    edit_id: str,
    ids: Iterable[str] | None,
    *,
    who: str | None,
    blind: Sequence[str] = (),
) -> str:
    """Undo an edit of many images; see :meth:`kymflow_zarr.ZarrDataset.undo`."""
    among = dataset.list_image_ids() if ids is None else list(dict.fromkeys(ids))
    of_edit = [image_id for image_id in among if _has(dataset, image_id, edit_id)]
    if not of_edit:
        raise ArgumentError(
            f"none of {len(among)} images has an edit {edit_id!r} that could be taken back",
            where="edit_id",
            hint="curation().history of an image tells which there are.",
        )

    def each(images: Mapping[str, EditedImage]) -> None:
        for image in images.values():
            image.take_back(edit_id)

    undone = edited(dataset, of_edit, who, blind, each)
    assert undone is not None
    return undone


def _has(dataset: OpenDataset, image_id: str, edit_id: str) -> bool:
    image = dataset.record(image_id)
    history = load_curation(image.storage, image.prefix).history
    return any(edit.edit_id == edit_id and edit.undone_by is None for edit in history)


def edited(
    dataset: OpenDataset,
    ids: Sequence[str],
    who: str | None,
    blind: Sequence[str],
    change_all: Callable[[Mapping[str, EditedImage]], None],
) -> str | None:
    """Change images in one commit; return the id that the entries of their histories share."""
    storage, name, edit_id = dataset.storage, name_of(who), uuid.uuid4().hex
    storage.require_writable()

    def once() -> str | None:
        with storage.lock(*(f"image:{image_id}" for image_id in ids)), ExitStack() as stack:
            images = {}
            for image_id in ids:
                dataset.record(image_id).require_present()
                images[image_id] = EditedImage(
                    storage, image_id, who=name, edit_id=edit_id, blind=blind
                )
                stack.callback(images[image_id].close)
            change_all(images)
            changed = {key: image for key, image in images.items() if image.has_changes}
            changes = []
            for image_id, image in changed.items():
                image.n_images = len(changed)
                change = Change(storage, layout.image_prefix(image_id))
                image.finish(change)
                changes.append(change)
            if changes:
                with storage.transaction("") as transaction:
                    for change in changes:
                        change.put_into(transaction)
            return edit_id if changes else None

    return without_conflict(storage, once)
