"""The curation of an image: its document, and the values that represent it."""

from __future__ import annotations

import copy
import getpass
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from msgspec.structs import asdict

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import dump, load
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.errors import ArgumentTypeError, ArtifactNotFoundError, SchemaValidationError
from kymflow_zarr.schema.artifacts.curation import (
    CurationDocument,
    new_curation,
    read_curation_document,
)
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import FrameKind, Verdict

EditWhat: TypeAlias = Literal["verdict", "note", "roi", "event_type", "event", "metadata"]

# By kind of change: the fields that locate it, besides before and after.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "verdict": (),
    "note": (),
    "roi": ("roi_id", "position"),
    "event_type": ("artifact_kind", "name", "row", "column", "row_sha256"),
    "event": ("artifact_kind", "name", "event_id", "position"),
    "metadata": ("key",),
}


@dataclass(frozen=True, kw_only=True)
class EditChange:
    """One value that an edit changed.

    Parameters
    ----------
    what : {"verdict", "note", "roi", "event_type", "event", "metadata"}
    before, after : object
        The values. A region is its mapping in the metadata payload, an event a mapping of its
        cells; either is None if absent.
    roi_id : int, optional
        The region.
    position : int, optional
        Its previous position in the list of regions or events, from 0.
    artifact_kind : {"parquet", "csv_gz"}, optional
    name : str, optional
        The data frame of events.
    row : int, optional
        Position of the event in it, from 0.
    column : str, optional
    row_sha256 : str, optional
        Digest of the other cells of the row, which identifies the event.
    event_id : str, optional
        The event that was added, changed or removed.
    key : str, optional
        The key of the experiment's metadata.
    """

    what: EditWhat
    before: Any
    after: Any
    roi_id: int | None = None
    position: int | None = None
    artifact_kind: FrameKind | None = None
    name: str | None = None
    row: int | None = None
    column: str | None = None
    row_sha256: str | None = None
    event_id: str | None = None
    key: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it in the document's form."""
        place = {key: getattr(self, key) for key in FIELDS[self.what]}
        values = copy.deepcopy({"before": self.before, "after": self.after})
        return {"what": self.what, **place, **values}

    def __str__(self) -> str:
        if self.what == "roi":
            return f"region {self.roi_id}"
        if self.what == "event_type":
            return f"{self.column} of row {self.row} of {self.name!r}"
        if self.what == "event":
            return f"event {self.event_id} of {self.name!r}"
        if self.what == "metadata":
            return f"metadata {self.key!r}"
        return self.what


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One entry of the history of an image.

    Parameters
    ----------
    edit_id : str
    who : str
    when_utc : str
        ISO 8601, UTC.
    changes : tuple of EditChange
    undoes : str, optional
        Id of the edit that this one undid.
    undone_by : str, optional
        Id of the edit that undid this one; None if that one was undone itself.
    n_images : int
        Number of images that were edited together, each with an entry of this id.
    blind : tuple of str
        Columns that were hidden from the editor.
    """

    edit_id: str
    who: str
    when_utc: str
    changes: tuple[EditChange, ...]
    undoes: str | None = None
    undone_by: str | None = None
    n_images: int = 1
    blind: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, with `undone_by`; `n_images` and `blind` if they say more."""
        return {
            "edit_id": self.edit_id,
            "who": self.who,
            "when_utc": self.when_utc,
            "changes": [change.to_dict() for change in self.changes],
            "undoes": self.undoes,
            "undone_by": self.undone_by,
            **({"n_images": self.n_images} if self.n_images > 1 else {}),
            **({"blind": list(self.blind)} if self.blind else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Curation:
    """The curation of an image: verdict, note and history of edits.

    Parameters
    ----------
    verdict : {"accepted", "rejected"}, optional
        None if the image has no verdict.
    note : str
    history : tuple of Edit
        Oldest first.
    """

    verdict: Verdict | None = None
    note: str = ""
    history: tuple[Edit, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "verdict": self.verdict,
            "note": self.note,
            "history": [edit.to_dict() for edit in self.history],
        }


def verdicts_in(history: Iterable[Edit]) -> dict[str, Verdict | None]:
    """Return the verdict that each person gave last, by name; edits that were undone do not count.

    A person who cleared a verdict has None.
    """
    given: dict[str, Verdict | None] = {}
    for edit in history:
        if edit.undoes is None and edit.undone_by is None:
            for change in edit.changes:
                if change.what == "verdict":
                    given[edit.who] = change.after
    return given


def curation_key(prefix: str) -> str:
    """Return the key of the document of the image at `prefix`."""
    return f"{prefix}/{layout.artifact_key('json', layout.CURATION)}"


def load_curation(storage: Storage, prefix: str) -> Curation:
    """Return the curation of the image at `prefix`.

    Raises
    ------
    SchemaValidationError, FormatVersionError
        If the document is damaged, not one of ours, or of a newer version.
    """
    try:
        raw = artifacts.load(storage, prefix, "json", layout.CURATION)
    except ArtifactNotFoundError:
        raw = new_curation()
    return curation_of(read_curation_document(raw, where=curation_key(prefix)))


def load_plain(storage: Storage, prefix: str) -> tuple[dict[str, Any], CurationDocument]:
    """Return the document as stored, with the tags of JSON artifacts, and its model.

    The history grows with each edit; decoding and encoding it again would dominate the cost.
    """
    key = curation_key(prefix)
    plain: Any = load(storage, key)
    plain = new_curation() if plain is None else plain
    return plain, read_curation_document(plain, where=key)


def with_entry(plain: Mapping[str, Any], entry: Edit, *, where: str) -> dict[str, Any]:
    """Return a document with an entry appended to its history.

    Raises
    ------
    UnsupportedDataError
        If a value in the entry cannot be stored.
    """
    from kymflow_zarr.formats.json import encode_json

    saved = {key: value for key, value in entry.to_dict().items() if key != "undone_by"}
    # Readers of earlier versions refuse kinds of changes that they do not know.
    changes = saved["changes"]
    for what, where_saved in (("event", "events"), ("metadata", "metadata")):
        apart = [each for each in changes if each["what"] == what]
        if apart:
            changes = [each for each in changes if each["what"] != what]
            saved[where_saved] = [{k: v for k, v in e.items() if k != "what"} for e in apart]
    saved["changes"] = changes
    # On-disk format: "A writer MUST keep the entries that are there."
    return {**plain, "history": [*plain["history"], json.loads(encode_json(saved, where=where))]}


def dump_plain(plain: Mapping[str, Any], *, where: str) -> bytes:
    """Return the bytes of a document.

    Raises
    ------
    SchemaValidationError
        If another program has put in a value that JSON does not have.
    """
    try:
        return dump(plain)
    except ValueError as error:
        raise SchemaValidationError(f"the document is not JSON: {error}", where=where) from error


def name_of(who: str | None) -> str:
    """Return the name of the editor, by default that of the operating system's user.

    Raises
    ------
    ArgumentTypeError
        If it is not a str.
    """
    if who is None:
        try:
            return getpass.getuser()
        except (OSError, KeyError, ImportError):  # A user without a name, as in some containers.
            return "unknown"
    if not isinstance(who, str):
        raise ArgumentTypeError(f"who is a name, not {type(who).__qualname__}", where="who")
    return who


def curation_of(document: CurationDocument) -> Curation:
    """Return the value of a document."""
    undone_by: dict[str, str] = {}
    # Backwards: later edits decide whether an edit is undone.
    for edit in reversed(document.history):
        if edit.undoes is not None and edit.edit_id not in undone_by:
            undone_by.setdefault(edit.undoes, edit.edit_id)
    history = []
    for edit in document.history:
        changes = []
        for change in edit.changes:
            what: Any = change.__struct_config__.tag
            known = {key: getattr(change, key) for key in ("before", "after", *FIELDS[what])}
            changes.append(EditChange(what=what, **known))
        changes += [EditChange(what="event", **asdict(event)) for event in edit.events]
        changes += [EditChange(what="metadata", **asdict(each)) for each in edit.metadata]
        history.append(
            Edit(
                edit_id=edit.edit_id, who=edit.who, when_utc=edit.when_utc, changes=tuple(changes),
                undoes=edit.undoes, undone_by=undone_by.get(edit.edit_id),
                n_images=edit.n_images, blind=tuple(edit.blind),
            )
        )  # fmt: skip
    return Curation(verdict=document.verdict, note=document.note, history=tuple(history))
