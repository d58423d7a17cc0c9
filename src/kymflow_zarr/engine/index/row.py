"""What the index holds of one image: a row, read from its documents.

Nested values are JSON text, which is read back a hundred times faster than nested columns of
Arrow are.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import load, load_image
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.runtime.limits import check_json
from kymflow_zarr.schema.base import FORMAT
from kymflow_zarr.schema.image import ImageDocument, read_image_document
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.types import Verdict

Row = dict[str, Any]

# Name and type of each column.
COLUMNS: Final = {
    "image_id": "string",
    "changed_ns": "int64",
    "error": "string",
    "shape": "json",
    "dtype": "string",
    "chunks": "json",
    "axes": "json",
    "channel_names": "json",
    "created_utc": "string",
    "updated_utc": "string",
    "acquired_local_epoch_ns": "int64",
    "source_path": "string",
    "rel_path": "string",
    "experiment_metadata": "json",
    "n_rois": "int64",
    "artifacts": "json",
    "source_files": "json",
    "verdict": "string",
}
_INT64: Final = range(-(2**63), 2**63)


def read_row(storage: LocalStorage, image_id: str, changed_ns: int) -> Row | None:
    """Return the row of an image; None if it was deleted meanwhile."""
    # Whoever lists ids needs neither these nor what they import.
    from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
    from kymflow_zarr.engine.images.payload import acquired_local_epoch_ns

    prefix = layout.image_prefix(image_id)
    row: Row = dict.fromkeys(COLUMNS)
    row |= {"image_id": image_id, "changed_ns": changed_ns, "n_rois": 0, "artifacts": "[]"}
    try:
        document = _document(storage, image_id, f"{prefix}/{layout.GROUP}")
        keys = [info.key.removeprefix(f"{prefix}/") for info in artifacts.listing(storage, prefix)]
        arrays = ArrayArtifacts(storage, prefix).names()
    except KymflowZarrError as error:
        if not storage.is_folder(prefix):
            return None
        # One broken image must not hide the others; validate() says more.
        return row | {"error": str(error).encode(errors="replace").decode()}
    payload: Mapping[str, Any] = {}
    if layout.artifact_key("json", layout.METADATA) in keys:
        payload = _mapping(storage, prefix, layout.METADATA)
    rois, experiment = payload.get("rois"), payload.get("experiment_metadata")
    acquired = acquired_local_epoch_ns(payload)
    path, rel_path = _source(storage, prefix, document, keys)
    if not _is_unicode([document.pixels.dtype, document.created_utc, document.updated_utc]):
        return row | {"error": "the document holds text that is not valid Unicode"}
    return row | {
        "shape": _text(document.pixels.shape),
        "dtype": document.pixels.dtype,
        "chunks": _text(document.pixels.chunks),
        "axes": _text([[a.name, a.quantity, a.unit, a.step] for a in document.axes]),
        "channel_names": None if document.channel_names is None else _text(document.channel_names),
        "created_utc": document.created_utc,
        "updated_utc": document.updated_utc,
        # None in a range would be looked for number by number, for ever.
        "acquired_local_epoch_ns": acquired
        if isinstance(acquired, int) and acquired in _INT64
        else None,
        "source_path": path,
        "rel_path": rel_path,
        "experiment_metadata": _text(experiment)
        if isinstance(experiment, Mapping) and experiment
        else None,
        "n_rois": len(rois) if isinstance(rois, list) else 0,
        "artifacts": _text([*keys, *map(layout.array_artifact_prefix, arrays)]),
        "source_files": _text(document.source_files),
        "verdict": _verdict(storage, prefix, keys),
    }


def _document(storage: LocalStorage, image_id: str, key: str) -> ImageDocument:
    raw = _fast(storage, key)
    return load_image(storage, image_id) if raw is None else read_image_document(raw, where=key)


def _mapping(storage: LocalStorage, prefix: str, name: str) -> Mapping[str, Any]:
    key = f"{prefix}/{layout.artifact_key('json', name)}"
    with contextlib.suppress(KymflowZarrError):
        raw = _fast(storage, key)
        found = load(storage, key) if raw is None else raw
        if isinstance(found, Mapping):
            return found
    return {}


def _fast(storage: LocalStorage, key: str) -> Any | None:
    """Return a document; None where there is none, or one for a more patient parser."""
    data = storage.read(key)
    if data is None:
        return None
    check_json(data, where=key)
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None


def _source(
    storage: LocalStorage, prefix: str, document: ImageDocument, keys: list[str]
) -> tuple[str | None, str | None]:
    """Return the path of the file that the pixels came from, whole and below its folder."""
    told: Mapping[str, Any] = {}
    if document.source is not None:
        told = {"original_path": document.source.path, "rel_path": document.source.rel_path}
    elif layout.artifact_key("json", layout.PROVENANCE) in keys:
        told = _mapping(storage, prefix, layout.PROVENANCE)
    path = told.get("source_primary_path", told.get("original_path"))
    rel_path = told.get("rel_path")
    return (
        path if isinstance(path, str) and _is_unicode([path]) else None,
        rel_path if isinstance(rel_path, str) and _is_unicode([rel_path]) else None,
    )


def _verdict(storage: LocalStorage, prefix: str, keys: list[str]) -> str | None:
    if layout.artifact_key("json", layout.CURATION) not in keys:
        return None
    told = _mapping(storage, prefix, layout.CURATION)
    # Another artifact may have the name; curation() says so.
    found = told.get("verdict") if told.get("format") == FORMAT else None
    return found if found in get_args(Verdict) else None


def _is_unicode(texts: Iterable[str]) -> bool:
    """Tell whether texts hold no half of a surrogate pair, which JSON can and Arrow cannot."""
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (UnicodeError, OverflowError):
        return json.dumps(value)  # Halves of surrogate pairs, and integers of any size.
