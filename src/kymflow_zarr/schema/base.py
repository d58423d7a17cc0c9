"""The base of all documents (format, version, strict reading), and the root document."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from kymflow_zarr.errors import FormatVersionError, SchemaValidationError

FORMAT: Final = "kymflow_zarr"
FORMAT_VERSION: Final = 2
ATTRIBUTES_KEY: Final = "kymflow_zarr"
_KEYS_ARE_DATA: Final = frozenset({"feeds", "earlier_artifacts"})

D = TypeVar("D", bound=msgspec.Struct)
T = TypeVar("T")


class Document(msgspec.Struct, kw_only=True, omit_defaults=False):
    """Base of the documents that live under ``attributes.kymflow_zarr`` of a Zarr group."""

    format: str = FORMAT
    format_version: int = FORMAT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Return the document as plain JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def own_attributes(group: Any, *, where: str) -> Mapping[str, Any]:
    """Return ``attributes.kymflow_zarr`` of a Zarr v3 group document, after checking its version.

    Parameters
    ----------
    group : object
        The parsed ``zarr.json``.
    where : str
        Key of the document, for the error.

    Raises
    ------
    SchemaValidationError
        If the document is not a Zarr v3 group, or not one of ours.
    FormatVersionError
        If it has a version that this code does not know.
    """
    # Zarr v3: "zarr_format ... MUST be 3", "node_type ... MUST be 'group'".
    if not (
        isinstance(group, Mapping)
        and group.get("zarr_format") == 3
        and group.get("node_type") == "group"
    ):
        raise SchemaValidationError("this is not a Zarr v3 group document", where=where)
    attributes = group.get("attributes")
    own = attributes.get(ATTRIBUTES_KEY) if isinstance(attributes, Mapping) else None
    if not isinstance(own, Mapping) or own.get("format") != FORMAT:
        raise SchemaValidationError(
            f"the group carries no attributes.{ATTRIBUTES_KEY} with format {FORMAT!r}",
            where=where,
            hint="It was not written by kymflow_zarr, or was damaged since.",
        )
    # On-disk format: "A reader MUST refuse a format_version it does not know, by name."
    version = own.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise FormatVersionError(
            f"format version {version!r} is not known to this kymflow_zarr, "
            f"which reads version {FORMAT_VERSION}",
            where=where,
            hint="Upgrade kymflow_zarr to open it.",
        )
    return own


_decodable: set[Any] = set()
_decodable_lock: Final = threading.Lock()


def decodable(cls: T) -> T:
    """Return a type once msgspec has the description that it decodes by.

    msgspec makes it when a type is first decoded, and two threads that make the description of
    one class at the same time end the process. So one thread at a time makes it here. Every type
    with a class of documents in it MUST go through this function before it is decoded.
    """
    if cls not in _decodable:
        with _decodable_lock:
            msgspec.json.Decoder(cls)
            _decodable.add(cls)
    return cls


def read_document(cls: type[D], raw: Mapping[str, Any], *, where: str) -> D:
    """Convert plain values to a document; errors name the key that does not fit."""
    try:
        return msgspec.convert(raw, decodable(cls), strict=True)
    except msgspec.ValidationError as error:
        raise SchemaValidationError(f"the document is not valid: {error}", where=where) from error


def is_artifact_document(raw: Any, document: str) -> bool:
    """Return True if decoded JSON is a document of ours in a JSON artifact, of any version."""
    return (
        isinstance(raw, Mapping) and raw.get("format") == FORMAT and raw.get("document") == document
    )


def read_artifact_document(
    cls: type[D], raw: Any, *, document: str, version: str, fails: str, purpose: str, where: str
) -> D:
    """Convert the decoded JSON of an artifact to a document of ours.

    Parameters
    ----------
    fails : str
        What an artifact of this name that is not ours does not do, for the error.
    purpose : str
        What it is in the way of.

    Raises
    ------
    SchemaValidationError
        If it is damaged, or not one of ours; names the key.
    FormatVersionError
        If it has a version that this code does not know.
    """
    if not is_artifact_document(raw, document):
        raise SchemaValidationError(
            f"the JSON artifact {document!r} {fails}",
            where=where,
            hint="load_json() returns it. Save it under another name and delete it here to "
            f"{purpose}.",
        )
    # On-disk format: "A reader MUST refuse a curation document of a version it does not know."
    # On-disk format: "A reader MUST refuse a lineage document of a version it does not know."
    if raw.get("version") != version:
        raise FormatVersionError(
            f"version {raw.get('version')!r} of {document} is not known to this kymflow_zarr, "
            f"which reads version {version!r}",
            where=where,
            hint="Upgrade kymflow_zarr to read it.",
        )
    return read_document(cls, raw, where=where)


def group_document(own: Document, *, ome: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the Zarr v3 group document that contains a document of ours."""
    attributes: dict[str, Any] = {} if ome is None else {"ome": dict(ome)}
    attributes[ATTRIBUTES_KEY] = own.to_dict()
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def is_own_group(raw: Any) -> bool:
    """Return True if a decoded group document is one of ours, of any version."""
    attributes = raw.get("attributes") if isinstance(raw, Mapping) else None
    return isinstance(attributes, Mapping) and ATTRIBUTES_KEY in attributes


def plain_group_document() -> dict[str, Any]:
    """Return the document of a Zarr v3 group without attributes."""
    return {"zarr_format": 3, "node_type": "group", "attributes": {}}


def preserve_unknown(old: Any, new: Any) -> Any:
    """Return `new` with the keys of `old` that `new` does not have.

    On-disk format: "A writer MUST preserve keys it does not know." Mappings are merged
    key by key and lists of equal length item by item; everything else is taken from `new`,
    including mappings whose keys are data, so that removed entries do not come back.
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        merged = {key: value for key, value in old.items() if key not in new}
        return merged | {
            key: value if key in _KEYS_ARE_DATA else preserve_unknown(old.get(key), value)
            for key, value in new.items()
        }
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = zip(old, new, strict=True)
        return [preserve_unknown(b, a) if _is_same_entry(b, a) else a for b, a in pairs]
    return new


def _is_same_entry(before: Any, after: Any) -> bool:
    # Entries of source files are identified by their path, not by their position.
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return bool(before.get("path") == after.get("path"))
    return True


def updated_group(old: Any, new: Mapping[str, Any]) -> Any:
    """Return a new group document, preserving what other programs added to the old one.

    The ``ome`` attribute is replaced as a whole, because it describes the pixels.
    """
    attributes = old.get("attributes") if isinstance(old, Mapping) else None
    if isinstance(attributes, Mapping):
        others = {key: value for key, value in attributes.items() if key != "ome"}
        old = {**old, "attributes": others}
    return preserve_unknown(old, new)


class DatasetDocument(Document, kw_only=True):
    """``attributes.kymflow_zarr`` of the root group."""

    dataset_id: str
    created_utc: str
    created_by: str
    document: str = "dataset"

    def to_group(self) -> dict[str, Any]:
        """Return the whole ``zarr.json``."""
        return group_document(self)


def read_dataset_document(group: Any, *, where: str) -> DatasetDocument:
    """Read the root ``zarr.json`` of a dataset.

    Raises
    ------
    SchemaValidationError, FormatVersionError
        If it is not one of ours, or has a version that this code does not know.
    """
    own = own_attributes(group, where=where)
    if own.get("document", "dataset") != "dataset":
        raise SchemaValidationError(
            f"this is one {str(own['document']).replace('_', ' ')} of a dataset, not a dataset",
            where=where,
            hint="Open the dataset's own folder, further up.",
        )
    return read_document(DatasetDocument, own, where=where)
