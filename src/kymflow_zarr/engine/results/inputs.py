"""The state of what results can be made of: pixels, regions, metadata, artifacts, curation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import load, load_image
from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
from kymflow_zarr.engine.results.lineage import KEY, Lineage
from kymflow_zarr.errors import ArgumentError, KymflowZarrError, UnsupportedDataError
from kymflow_zarr.formats.canonical_json import canonical_json
from kymflow_zarr.schema.artifacts.lineage import InputDocument, InputKind
from kymflow_zarr.schema.base import FORMAT
from kymflow_zarr.schema.rois import upgrade_roi
from kymflow_zarr.storage.interface import Storage

if TYPE_CHECKING:
    from kymflow_zarr.schema.image import ImageDocument

# The value of an input is stored beside its digest up to this length of its JSON.
_SMALL_VALUE: Final = 512
_MISSING: Final = object()
_RESULT_PARTS: Final = ("program", "version", "params_sha256", "status", "sha256", "counts")
PROPERTIES: Final = (
    "axes",
    "channel_names",
    "created_utc",
    "document",
    "dtype",
    "earlier_artifacts",
    "shape",
    "source_files",
    "updated_utc",
)


class State(NamedTuple):
    """Digest of an input, None where it does not exist, and its value where it is small."""

    sha256: str | None
    value: Any = None


ABSENT: Final = State(None)


def state_of(value: Any) -> State:
    """Return the state of an input that is a JSON value."""
    try:
        text = canonical_json(value, where="input")
    except UnsupportedDataError:
        text = json.dumps(value, sort_keys=True)  # A NaN that another program wrote.
        return State(hashlib.sha256(text.encode(errors="replace")).hexdigest())
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return State(sha256, value if len(text) <= _SMALL_VALUE else None)


class ImageState:
    """The documents of one image that its results can be made of, each read when it is needed.

    Parameters
    ----------
    storage : Storage
    image_id : str
    lineage : Lineage, optional
        The results of the image, read when they are needed if left out.
    """

    def __init__(self, storage: Storage, image_id: str, lineage: Lineage | None = None) -> None:
        self.storage = storage
        self.image_id = image_id
        self.prefix = layout.image_prefix(image_id)
        self._lineage = lineage

    @cached_property
    def lineage(self) -> Lineage:
        """The results of the image."""
        return self._lineage or Lineage(self.storage, self.prefix)

    @cached_property
    def results(self) -> Mapping[str, Mapping[str, Any]]:
        """The results as plain values, by the name that their value has as an artifact."""
        return self.lineage.by_label()

    @cached_property
    def document(self) -> ImageDocument:
        """The document of the image."""
        return load_image(self.storage, self.image_id)

    @cached_property
    def payload(self) -> Any:
        """The metadata payload as JSON, without its tags decoded; None if there is none."""
        return self._json(layout.METADATA)

    @cached_property
    def curation(self) -> Mapping[str, Any]:
        """The curation document, empty if there is none."""
        raw = self._json(layout.CURATION)
        return raw if isinstance(raw, Mapping) and raw.get("format") == FORMAT else {}

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """The SHA-256 of each file of the image, by its key below the image."""
        return listed_digests(self.storage, f"{self.prefix}/{layout.CHECKSUMS}")

    def _json(self, name: str) -> Any:
        return load(self.storage, f"{self.prefix}/{layout.artifact_key('json', name)}")

    def of(self, kind: InputKind, key: str) -> State:
        """Return the current state of an input.

        Raises
        ------
        ArgumentError
            If there are no inputs of that kind, or none with such a key.
        """
        find = _FINDERS.get(kind)
        if find is None:
            raise ArgumentError(
                f"there is no kind of input {kind!r}",
                where="inputs",
                hint=f"There are {', '.join(sorted(_FINDERS))}.",
            )
        state: State = find(self, key)
        return state

    def region(self, roi_id: str) -> Mapping[str, Any] | None:
        """Return the first region with an id, in its current form; None if there is none."""
        for raw in self._regions():
            if isinstance(raw, Mapping) and str(raw.get("roi_id", raw.get("id"))) == roi_id:
                return region_form(raw)
        return None

    def _regions(self) -> list[Any]:
        payload = self.payload
        rois = payload.get("rois") if isinstance(payload, Mapping) else None
        return rois if isinstance(rois, list) else []

    def region_ids(self) -> list[Any]:
        """Return the ids of the regions, in their order."""
        return [
            raw.get("roi_id", raw.get("id")) if isinstance(raw, Mapping) else None
            for raw in self._regions()
        ]

    def artifact(self, key: str) -> str | None:
        """Return the digest of an artifact by its key below the image, None if there is none."""
        from kymflow_zarr.engine.images.update import digest_of_artifact

        known = self.digests.get(key)
        return known or digest_of_artifact(self.storage, self.prefix, key)

    def plain_artifacts(self) -> list[str]:
        """Return the keys of the artifacts that are no results, sorted."""
        of_results = {KEY, *(result.artifact for result in self.lineage.all())}
        keys = [key for key in self.digests if layout.parse_artifact_key(key) is not None]
        folder = f"{self.prefix}/{layout.ANALYSIS_ARRAYS}"
        names = map(layout.parse_array_artifact, self.storage.children(folder))
        keys += [layout.array_artifact_prefix(name) for name in names if name is not None]
        labels = ArrayArtifacts(self.storage, self.prefix).label_names()
        keys += map(layout.array_artifact_prefix, labels)
        analysis = f"{layout.ANALYSIS}/", f"{layout.ANALYSIS_ARRAYS}/"
        return sorted(key for key in keys if key.startswith(analysis) and key not in of_results)


def listed_digests(storage: Storage, where: str) -> dict[str, str]:
    """Return the SHA-256 of each file in a list of checksums, none if there is no list."""
    from kymflow_zarr.schema.checksums import parse_checksums

    data = storage.read(where)
    listed = {} if data is None else parse_checksums(data, where=where)
    return {key: file_sum.sha256 for key, file_sum in listed.items()}


def table_digests(storage: Storage) -> dict[str, str]:
    """Return the SHA-256 of each table, by its name."""
    listed = listed_digests(storage, layout.CHECKSUMS)
    names = {key: layout.parse_table_key(key) for key in listed if key.startswith(layout.TABLES)}
    return {name: listed[key] for key, name in names.items() if name is not None}


def region_form(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a region in the form of the current version, so that its digest does not depend on it.

    A region that cannot be read is returned as it is.
    """
    try:
        upgraded: Any = upgrade_roi(raw)
    except (KymflowZarrError, KeyError, TypeError, ValueError, AttributeError):
        return raw
    return upgraded if isinstance(upgraded, Mapping) else raw


def at_pointer(value: Any, pointer: str) -> Any:
    """Return the part of a JSON value that a JSON Pointer (RFC 6901) names, or ``MISSING``."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(value, Mapping) or key not in value:
            return _MISSING
        value = value[key]
    return value


def pointer_to(*keys: str) -> str:
    """Return the JSON Pointer (RFC 6901) to a value in nested mappings."""
    return "".join(f"/{key.replace('~', '~0').replace('/', '~1')}" for key in keys)


def result_state(result: Mapping[str, Any] | None) -> State:
    """Return the state of a result: what it was made by, and its value."""
    if result is None:
        return ABSENT
    return State(state_of([result.get(part) for part in _RESULT_PARTS]).sha256)


def property_state(document: ImageDocument, name: str) -> State:
    """Return the state of a property of the image's document."""
    import msgspec

    if name not in PROPERTIES:
        raise ArgumentError(
            f"an image has no property {name!r}",
            where="inputs",
            hint=f"There are {', '.join(PROPERTIES)}.",
        )
    if name == "document":
        value: Any = msgspec.to_builtins(document)
    elif name in ("shape", "dtype"):
        value = getattr(document.pixels, name)
    else:
        value = msgspec.to_builtins(getattr(document, name))
    return state_of(value)


def _region(state: ImageState, key: str) -> State:
    region = state.region(key)
    return ABSENT if region is None else state_of(region)


def _regions(state: ImageState, key: str) -> State:
    ids = state.region_ids()
    if key == "ids":
        return state_of(ids)
    try:
        place = int(key)
    except ValueError:
        raise ArgumentError(f"{key!r} is no place in the list of regions", where="inputs") from None
    return state_of(ids[place]) if place < len(ids) else ABSENT


def _metadata(state: ImageState, key: str) -> State:
    payload = state.payload
    if payload is None:
        return ABSENT
    value = at_pointer(payload, key)
    return ABSENT if value is _MISSING else state_of(value)


def _curation(state: ImageState, key: str) -> State:
    if key not in ("verdict", "note", "history"):
        raise ArgumentError(f"curation has no part {key!r}", where="inputs")
    empty: dict[str, Any] = {"verdict": None, "note": "", "history": []}
    return state_of(state.curation.get(key, empty[key]))


def _table(state: ImageState, key: str) -> State:
    return State(table_digests(state.storage).get(key))


_FINDERS: Final[dict[InputKind, Any]] = {
    "pixels": lambda state, _: State(state.document.pixels.sha256),
    "property": lambda state, key: property_state(state.document, key),
    "region": _region,
    "regions": _regions,
    "metadata": _metadata,
    "artifact": lambda state, key: State(state.artifact(key)),
    "artifacts": lambda state, _: state_of(state.plain_artifacts()),
    "curation": _curation,
    "result": lambda state, key: result_state(state.results.get(key)),
    "table": _table,
}


def input_document(
    kind: InputKind, key: str, state: State, selection: str | None = None
) -> InputDocument:
    """Return the document of an input in a state."""
    return InputDocument(
        kind=kind, key=key, sha256=state.sha256, value=state.value, selection=selection
    )
