"""The document that keeps what people have judged of an image."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from typing import Any

from kymflow_zarr import layout
from kymflow_zarr.engine.curation.values import FIELDS, Curation, Edit, EditChange
from kymflow_zarr.engine.documents import dump, load
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.errors import ArgumentTypeError, ArtifactNotFoundError, SchemaValidationError
from kymflow_zarr.schema.curation import CurationDocument, new_curation, read_curation_document
from kymflow_zarr.storage.interface import Storage


def curation_key(prefix: str) -> str:
    """Return the key of the document of the image at `prefix`."""
    return f"{prefix}/{layout.artifact_key('json', layout.CURATION)}"


def load_curation(storage: Storage, prefix: str) -> Curation:
    """Return what has been judged of the image at `prefix`.

    Raises
    ------
    SchemaValidationError, FormatVersionError
        If the document is damaged, none of ours, or of a newer version.
    """
    try:
        raw = artifacts.load(storage, prefix, "json", layout.CURATION)
    except ArtifactNotFoundError:
        raw = new_curation()
    return _curation_of(read_curation_document(raw, where=curation_key(prefix)))


def load_plain(storage: Storage, prefix: str) -> tuple[dict[str, Any], CurationDocument]:
    """Return the document as it is written, tags of JSON artifacts and all, and its model.

    A history grows with each edit; decoding and encoding it each time would cost most of the edit.
    """
    key = curation_key(prefix)
    plain: Any = load(storage, key)
    plain = new_curation() if plain is None else plain
    return plain, read_curation_document(plain, where=key)


def with_entry(plain: Mapping[str, Any], entry: Edit, *, where: str) -> dict[str, Any]:
    """Return a document with one more entry of its history.

    Raises
    ------
    UnsupportedDataError
        If something in the entry cannot be kept.
    """
    from kymflow_zarr.formats.json import encode_json

    saved = {key: value for key, value in entry.to_dict().items() if key != "undone_by"}
    # On-disk format: "A writer MUST keep the entries that are there."
    return {**plain, "history": [*plain["history"], json.loads(encode_json(saved, where=where))]}


def dump_plain(plain: Mapping[str, Any], *, where: str) -> bytes:
    """Return the bytes of a document.

    Raises
    ------
    SchemaValidationError
        If another program has put in what is no JSON.
    """
    try:
        return dump(plain)
    except ValueError as error:
        raise SchemaValidationError(f"the document is not JSON: {error}", where=where) from error


def name_of(who: str | None) -> str:
    """Return who edits: by default the user of the operating system.

    Raises
    ------
    ArgumentTypeError
        If it is not text.
    """
    if who is None:
        try:
            return getpass.getuser()
        except (OSError, KeyError, ImportError):  # A user without a name, as in some containers.
            return "unknown"
    if not isinstance(who, str):
        raise ArgumentTypeError(f"who is a name, not {type(who).__qualname__}", where="who")
    return who


def _curation_of(document: CurationDocument) -> Curation:
    """Return the value of a document."""
    undone_by: dict[str, str] = {}
    # From the end: whether an edit holds is decided by those after it.
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
        history.append(
            Edit(
                edit_id=edit.edit_id, who=edit.who, when_utc=edit.when_utc, changes=tuple(changes),
                undoes=edit.undoes, undone_by=undone_by.get(edit.edit_id),
            )
        )  # fmt: skip
    return Curation(verdict=document.verdict, note=document.note, history=tuple(history))
