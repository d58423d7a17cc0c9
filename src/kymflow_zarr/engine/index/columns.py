"""The columns of the index and of `images()`, one row each in the tables of this file.

A new column of `images()` is a row in `IMAGES`, and a row in `INDEX` if it is read from the
documents of an image; `docs/questions.md` and `docs/format.md` list them, and a test compares.

Nested values are JSON text in the index, which is read back a hundred times faster than nested
columns of Arrow are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import is_no_image, load, load_image, require_image_id
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.runtime.limits import check_json
from kymflow_zarr.schema.base import FORMAT
from kymflow_zarr.schema.image import ImageDocument, read_image_document
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import Verdict

if TYPE_CHECKING:
    from kymflow_zarr.engine.results.indexed import IndexedResult

Row = dict[str, Any]

# A folder time that no folder has, so that a row with it is never trusted.
NEVER_TRUSTED: Final = -1
_INT64: Final = range(-(2**63), 2**63)


@dataclass(slots=True)
class ImageFacts:
    """The documents of one image that the index draws on."""

    image_id: str
    document: ImageDocument
    artifact_keys: list[str]
    payload: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    curation: Mapping[str, Any] = field(default_factory=dict)
    results: Sequence[IndexedResult] = ()


class IndexColumn(NamedTuple):
    """A column of the index: its type, and how its value is read from the documents.

    `unread` is the value for an image whose documents cannot be read.
    """

    kind: Literal["string", "int64", "json"]
    read: Callable[[ImageFacts], Any]
    unread: str | int | None = None


class ImagesColumn(NamedTuple):
    """A column of `images()`: the column of the index that it is made from."""

    source: str


def _acquired(facts: ImageFacts) -> int | None:
    from kymflow_zarr.schema.payload import acquired_local_epoch_ns

    return acquired_local_epoch_ns(facts.payload)


def _experiment(facts: ImageFacts) -> Mapping[str, Any] | None:
    experiment = facts.payload.get("experiment_metadata")
    return experiment if isinstance(experiment, Mapping) and experiment else None


def _n_rois(facts: ImageFacts) -> int:
    rois = facts.payload.get("rois")
    return len(rois) if isinstance(rois, list) else 0


def _origin(facts: ImageFacts) -> Mapping[str, Any]:
    """Return the source file of the pixels."""
    if facts.document.source is None:
        return facts.provenance
    source = facts.document.source
    return {"original_path": source.path, "rel_path": source.rel_path}


def _source_path(facts: ImageFacts) -> Any:
    origin = _origin(facts)
    return origin.get("source_primary_path", origin.get("original_path"))


def _source_image(facts: ImageFacts) -> str | None:
    """Return the name or number of this image in a source file of several images."""
    source = facts.document.source
    if source is None:
        return None
    name = source.series_name
    return name if isinstance(name, str) else str(source.series) if source.series else None


def _verdict(facts: ImageFacts) -> str | None:
    # Another artifact may have that name; curation() raises an error for it.
    verdict = facts.curation.get("verdict") if facts.curation.get("format") == FORMAT else None
    return verdict if verdict in get_args(Verdict) else None


def _note(facts: ImageFacts) -> str | None:
    note = facts.curation.get("note") if facts.curation.get("format") == FORMAT else None
    return note or None


def _roi_ids(facts: ImageFacts) -> list[int] | None:
    rois = facts.payload.get("rois")
    if not isinstance(rois, list) or not rois:
        return None
    ids = [raw.get("roi_id", raw.get("id")) for raw in rois if isinstance(raw, Mapping)]
    return [roi_id for roi_id in ids if isinstance(roi_id, int)]


INDEX: Final[dict[str, IndexColumn]] = {
    "image_id": IndexColumn("string", lambda facts: facts.image_id),
    "changed_ns": IndexColumn("int64", lambda _: NEVER_TRUSTED),
    "error": IndexColumn("string", lambda _: None),
    "shape": IndexColumn("json", lambda facts: facts.document.pixels.shape),
    "dtype": IndexColumn("string", lambda facts: facts.document.pixels.dtype),
    "chunks": IndexColumn("json", lambda facts: facts.document.pixels.chunks),
    "axes": IndexColumn(
        "json", lambda facts: [[a.name, a.quantity, a.unit, a.step] for a in facts.document.axes]
    ),
    "channel_names": IndexColumn("json", lambda facts: facts.document.channel_names),
    "created_utc": IndexColumn("string", lambda facts: facts.document.created_utc),
    "updated_utc": IndexColumn("string", lambda facts: facts.document.updated_utc),
    "acquired_local_epoch_ns": IndexColumn("int64", _acquired),
    "source_path": IndexColumn("string", _source_path),
    "rel_path": IndexColumn("string", lambda facts: _origin(facts).get("rel_path")),
    "source_image": IndexColumn("string", _source_image),
    "experiment_metadata": IndexColumn("json", _experiment),
    "n_rois": IndexColumn("int64", _n_rois, unread=0),
    "artifacts": IndexColumn("json", lambda facts: facts.artifact_keys, unread="[]"),
    "source_files": IndexColumn("json", lambda facts: facts.document.source_files),
    "verdict": IndexColumn("string", _verdict),
    "curation_note": IndexColumn("string", _note),
    "roi_ids": IndexColumn("json", _roi_ids),
    "results": IndexColumn("json", lambda facts: facts.results or None),
}

IMAGES: Final[dict[str, ImagesColumn]] = {
    "image_id": ImagesColumn("image_id"),
    "shape": ImagesColumn("shape"),
    "dtype": ImagesColumn("dtype"),
    "axes": ImagesColumn("axes"),
    "line_period_s": ImagesColumn("axes"),
    "pixel_size_um": ImagesColumn("axes"),
    "channel_names": ImagesColumn("channel_names"),
    "acquired": ImagesColumn("acquired_local_epoch_ns"),
    "acquired_local_epoch_ns": ImagesColumn("acquired_local_epoch_ns"),
    "created_utc": ImagesColumn("created_utc"),
    "updated_utc": ImagesColumn("updated_utc"),
    "source_path": ImagesColumn("source_path"),
    "rel_path": ImagesColumn("rel_path"),
    "source_image": ImagesColumn("source_image"),
    "parent_folder": ImagesColumn("source_path"),
    "grandparent_folder": ImagesColumn("source_path"),
    "verdict": ImagesColumn("verdict"),
    "curation_note": ImagesColumn("curation_note"),
    "out_of_date": ImagesColumn("results"),
    "n_rois": ImagesColumn("n_rois"),
    "artifacts": ImagesColumn("artifacts"),
    "n_artifacts": ImagesColumn("artifacts"),
    "error": ImagesColumn("error"),
}


def read_row(storage: Storage, image_id: str, changed_ns: int) -> Row | None:
    """Return the row of an image, None if it was deleted meanwhile; see :func:`_read_row`."""
    with storage.one_state():
        return _read_row(storage, image_id, changed_ns)


def _read_row(storage: Storage, image_id: str, changed_ns: int) -> Row | None:
    """Return the row of an image, None if it was deleted meanwhile.

    A row of an image that could not be read completely is never trusted, so it is read again.
    """
    # Needed by callers that read documents, not by callers that list ids.
    from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts

    prefix = layout.image_prefix(image_id)
    try:
        document = _document(storage, image_id, f"{prefix}/{layout.GROUP}")
        require_image_id(document, image_id)
        links: list[str] = []
        listed = artifacts.listing(storage, prefix, links=links)
        keys = [info.key.removeprefix(f"{prefix}/") for info in listed]
        arrays = ArrayArtifacts(storage, prefix).names(labels=False)
    except KymflowZarrError as error:
        if is_no_image(storage, image_id):
            return None
        # One damaged image must not hide the others; validate() reports details.
        return _broken(image_id, str(error))
    facts = ImageFacts(image_id, document, [*keys, *map(layout.array_artifact_prefix, arrays)])
    if not _is_unicode([document.pixels.dtype, document.created_utc, document.updated_utc]):
        return _broken(image_id, "the document holds text that is not valid Unicode")
    try:
        if layout.artifact_key("json", layout.METADATA) in keys:
            facts.payload = _mapping(storage, prefix, layout.METADATA)
        if document.source is None and layout.artifact_key("json", layout.PROVENANCE) in keys:
            facts.provenance = _mapping(storage, prefix, layout.PROVENANCE)
        if layout.artifact_key("json", layout.CURATION) in keys:
            facts.curation = _mapping(storage, prefix, layout.CURATION)
        if layout.artifact_key("json", layout.LINEAGE) in keys:
            from kymflow_zarr.engine.results.indexed import indexed_results

            facts.results = indexed_results(storage, image_id)
    except KymflowZarrError:
        changed_ns = NEVER_TRUSTED
    row = {name: _cell(column, facts) for name, column in INDEX.items()}
    if links:  # There may be artifacts behind them.
        changed_ns = NEVER_TRUSTED
        row["error"] = f"a part of the image is a link, through which nothing is read: {links[0]!r}"
    return row | {"changed_ns": changed_ns}


def _broken(image_id: str, error: str) -> Row:
    row: Row = {name: column.unread for name, column in INDEX.items()}
    error = error.encode(errors="replace").decode()
    return row | {"image_id": image_id, "changed_ns": NEVER_TRUSTED, "error": error}


def _cell(column: IndexColumn, facts: ImageFacts) -> Any:
    """Return the value of a column, None where the column's type cannot hold it."""
    value = column.read(facts)
    if value is None:
        return None
    if column.kind == "json":
        return _text(value)
    if column.kind == "int64":
        # `in range` compares any non-int with each number, which would never end.
        return value if isinstance(value, int) and value in _INT64 else None
    return value if isinstance(value, str) and _is_unicode([value]) else None


def _document(storage: Storage, image_id: str, key: str) -> ImageDocument:
    raw = _fast(storage, key)
    return load_image(storage, image_id) if raw is None else read_image_document(raw, where=key)


def _mapping(storage: Storage, prefix: str, name: str) -> Mapping[str, Any]:
    key = f"{prefix}/{layout.artifact_key('json', name)}"
    raw = _fast(storage, key)
    value = load(storage, key) if raw is None else raw
    return value if isinstance(value, Mapping) else {}


def _fast(storage: Storage, key: str) -> Any | None:
    """Return a document; None if there is none, or if it needs the full JSON parser."""
    data = storage.read(key)
    if data is None:
        return None
    check_json(data, where=key)
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def _is_unicode(texts: Iterable[str]) -> bool:
    """Return True if no text has a lone surrogate, which JSON can store and Arrow cannot."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeError, OverflowError):
        return json.dumps(value)  # Lone surrogates, and integers of any size.
