"""The model of ``curation.json``: verdict and note about an image, and the history of edits."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from kymflow_zarr.errors import SchemaValidationError
from kymflow_zarr.schema.base import FORMAT, read_artifact_document
from kymflow_zarr.types import FrameKind, Verdict

CURATION_VERSION: Final = "1.0"
_DOCUMENT: Final = "curation"


class _ChangeDocument(msgspec.Struct, kw_only=True, tag_field="what"):
    """One value that an edit changed."""


class VerdictChangeDocument(_ChangeDocument, kw_only=True, tag="verdict"):
    """A change of the verdict."""

    before: Verdict | None
    after: Verdict | None


class NoteChangeDocument(_ChangeDocument, kw_only=True, tag="note"):
    """A change of the note."""

    before: str
    after: str


class RoiChangeDocument(_ChangeDocument, kw_only=True, tag="roi"):
    """A region of the metadata payload that was added, changed or removed."""

    roi_id: int
    before: Annotated[dict[str, Any] | None, Meta(description="Null where it was not there.")]
    after: Annotated[dict[str, Any] | None, Meta(description="Null where it is gone.")]
    position: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Where in the list it was; null where it was not there."),
    ]


class EventTypeChangeDocument(_ChangeDocument, kw_only=True, tag="event_type"):
    """A change of the type of an event, which is a row of a data-frame artifact."""

    artifact_kind: FrameKind
    name: Annotated[str, Meta(description="Of the artifact.")]
    row: Annotated[int, Meta(ge=0, description="Position, from 0.")]
    column: str
    row_sha256: Annotated[
        str, Meta(description="Of the other cells of the row, to know the event again.")
    ]
    before: Any
    after: Any


ChangeDocument: TypeAlias = (
    VerdictChangeDocument | NoteChangeDocument | RoiChangeDocument | EventTypeChangeDocument
)


class EventChangeDocument(msgspec.Struct, kw_only=True):
    """An event that was added, changed or removed by hand."""

    artifact_kind: FrameKind
    name: Annotated[str, Meta(description="Of the artifact.")]
    event_id: Annotated[str, Meta(min_length=1, description="Of its column event_id.")]
    position: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Its row before; null where it was not there."),
    ]
    before: Annotated[dict[str, Any] | None, Meta(description="Its cells; null: not there.")]
    after: Annotated[dict[str, Any] | None, Meta(description="Its cells; null: it is gone.")]


class MetadataChangeDocument(msgspec.Struct, kw_only=True):
    """A value of the experiment's metadata that was set or removed."""

    key: Annotated[str, Meta(description="Of experiment_metadata.")]
    before: Annotated[Any, Meta(description="Null where it was not there.")]
    after: Annotated[Any, Meta(description="Null where it is gone.")]


class EditDocument(msgspec.Struct, kw_only=True):
    """One entry of the history: the editor, the time and the changes."""

    edit_id: Annotated[str, Meta(min_length=1, description="Unique in the image.")]
    who: str
    when_utc: Annotated[str, Meta(description="ISO 8601, UTC.")]
    changes: list[ChangeDocument]
    undoes: Annotated[str | None, Meta(description="Id of the edit that it took back.")] = None
    events: Annotated[
        list[EventChangeDocument],
        Meta(description="Apart from changes, as readers of earlier versions know none of them."),
    ] = msgspec.field(default_factory=list)
    metadata: Annotated[
        list[MetadataChangeDocument],
        Meta(description="Apart from changes, as readers of earlier versions know none of them."),
    ] = msgspec.field(default_factory=list)
    n_images: Annotated[
        int, Meta(ge=1, description="Of how many images the edit with this id is.")
    ] = 1
    blind: Annotated[
        list[str], Meta(description="The columns that were hidden from the editor.")
    ] = msgspec.field(default_factory=list)


class CurationDocument(msgspec.Struct, kw_only=True):
    """Verdict, note and history of an image. Unknown keys are kept at every level."""

    format: Literal["kymflow_zarr"]
    document: Literal["curation"]
    version: Literal["1.0"]
    verdict: Verdict | None
    note: str
    history: Annotated[list[EditDocument], Meta(description="Oldest first.")]


def new_curation() -> dict[str, Any]:
    """Return an empty curation document."""
    return {
        "format": FORMAT,
        "document": _DOCUMENT,
        "version": CURATION_VERSION,
        "verdict": None,
        "note": "",
        "history": [],
    }


def read_curation_document(raw: Any, *, where: str) -> CurationDocument:
    """Convert decoded JSON to a curation document.

    Raises
    ------
    SchemaValidationError
        If it is damaged, or not one of ours; names the key.
    FormatVersionError
        If it has a version that this code does not know.
    """
    document = read_artifact_document(
        CurationDocument, raw, document=_DOCUMENT, version=CURATION_VERSION,
        fails="is not the record of what was judged of the image", purpose="curate the image",
        where=where,
    )  # fmt: skip
    ids: set[str | None] = {None}
    for number, edit in enumerate(document.history):
        # On-disk format: "Each entry MUST have an edit_id of its own."
        # On-disk format: "undoes MUST name an earlier entry."
        if edit.edit_id in ids or edit.undoes not in ids:
            raise SchemaValidationError(
                f"the document is not valid: {edit.edit_id!r} is there twice"
                if edit.edit_id in ids
                else f"the document is not valid: undoes is {edit.undoes!r}, no earlier edit",
                where=f"{where}: history[{number}]",
            )
        ids.add(edit.edit_id)
    return document
