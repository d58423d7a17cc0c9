"""Make results of what other programs have left beside an image, with what it says of itself."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr import layout
from kymflow_zarr.engine.results.image_results import Value
from kymflow_zarr.engine.results.inputs import ImageState, State, input_document
from kymflow_zarr.engine.results.lineage import Params, ResultId
from kymflow_zarr.errors import ArtifactNotFoundError, KymflowZarrError

if TYPE_CHECKING:
    from kymflow_zarr.engine.change import Change
    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.engine.image import StoredImage
    from kymflow_zarr.schema.artifacts.lineage import InputDocument

# Source of the run markers: files that kymflow 0.2 wrote into datasets of version 1.
_MARKERS: Final = {"radon": "radon_run", "velocity_events": "velocity_events/summary"}
_PARAMS: Final = {"radon": "radon/params", "velocity_events": "velocity_events/params"}
_VALUES: Final = {"radon": "radon/results", "velocity_events": "velocity_events/events"}
_VELOCITY: Final = "velocity"
_VELOCITY_ANALYSIS: Final = "velocity_analysis"
# Of the analysis of a region; the other keys say which region, when, and of which revision.
_PARAMETERS: Final = ("algorithm", "window_size")


@dataclass
class _Found:
    """A result that another program has left."""

    result_id: ResultId
    artifact: str | None
    inputs: list[InputDocument]
    params: Mapping[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    is_empty: bool = False


class _Present(Value):
    """The value of a result that is there already."""

    def __init__(self, key: str | None, sha256: str | None, *, is_empty: bool) -> None:
        self.key = key
        self.is_empty = is_empty
        self._sha256 = sha256

    def save(self, change: Change) -> str | None:  # noqa: ARG002
        """Write nothing; return the SHA-256 of the artifact."""
        return self._sha256


def adopt_results(dataset: OpenDataset) -> int:
    """Make results of run markers and analysis metadata; see :meth:`ZarrDataset.adopt_results`."""
    dataset.require_writable()
    count = 0
    for image_id in dataset.list_image_ids():
        image = dataset.record(image_id)
        state = ImageState(dataset.storage, image_id)
        for found in [*_run_markers(image, state), *_velocity(image, state)]:
            if found.result_id.label in state.results:
                continue
            sha256 = None if found.artifact is None else state.artifact(found.artifact)
            value = _Present(found.artifact, sha256, is_empty=found.is_empty)
            image.put_result(
                found.result_id, value, found.inputs, Params.of(found.params), **found.facts
            )
            count += 1
    return count


def _json(image: StoredImage, name: str) -> Any:
    try:
        return image.load_json(name)
    except (ArtifactNotFoundError, KymflowZarrError):
        return None


def _existing(state: ImageState, name: str) -> str | None:
    """Return the key of a data frame if there is one of that name."""
    key = layout.artifact_key("parquet", name)
    return key if state.artifact(key) is not None else None


def _run_markers(image: StoredImage, state: ImageState) -> Iterator[_Found]:
    for name, place in _MARKERS.items():
        marker = _json(image, place)
        rows = marker.get("n_rows", marker.get("n_events")) if isinstance(marker, dict) else None
        ran = (
            marker.get("ran_utc_epoch_ns", marker.get("computed_utc_epoch_ns"))
            if isinstance(marker, dict)
            else None
        )
        if not isinstance(rows, int) or rows < 0 or not isinstance(ran, int) or ran <= 0:
            continue
        params = _json(image, _PARAMS[name])
        params = params if isinstance(params, dict) else {}
        inputs = [("artifact", layout.artifact_key("json", _PARAMS[name]))]
        hashed: Any = params
        if name == "radon":
            rois = state.payload.get("rois") if isinstance(state.payload, Mapping) else None
            hashed = {"params": params, "rois": rois or []}
            inputs.append(("metadata", "/rois"))
        # With another hash, the parameters or the regions were others when the program ran.
        is_same = _hash_of_kymflow(hashed) == marker.get("params_hash")
        documents = []
        for kind, key in inputs:
            known: Any = kind
            now = state.of(known, key)
            documents.append(
                input_document(known, key, now if is_same else State(marker.get("params_hash")))
            )
        yield _Found(
            ResultId(name), None if rows == 0 else _existing(state, _VALUES[name]), documents,
            params, {"program": "kymflow", "version": str(marker.get("analysis_version", "")),
                     "computed_utc": _utc(ran)}, is_empty=rows == 0,
        )  # fmt: skip


def _velocity(image: StoredImage, state: ImageState) -> Iterator[_Found]:
    """Yield the velocity of each region, of the analysis metadata of kymflow."""
    analysis = _json(image, _VELOCITY_ANALYSIS)
    artifact = _existing(state, _VELOCITY)
    entries = analysis.get("regions") if isinstance(analysis, Mapping) else None
    if not isinstance(entries, list) or artifact is None:
        return
    for entry in entries:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("roi_id"), int):
            continue
        roi_id, revision = entry["roi_id"], entry.get("roi_revision_at_analysis")
        region = state.region(str(roi_id))
        now = state.of("region", str(roi_id))
        meta = region.get("meta") if region is not None else None
        current = (meta.get("revision") or 0) if isinstance(meta, Mapping) else 0
        if revision is not None and current != revision:
            now = State("0" * 64, {"meta": {"revision": revision}})  # Its digest is not known.
        told = {key: value for key, value in entry.items() if key in _PARAMETERS}
        channel = entry.get("channel")
        yield _Found(
            ResultId(_VELOCITY, roi_id, channel if isinstance(channel, int) else None), artifact,
            [
                input_document("pixels", "", state.of("pixels", "")),
                input_document("region", str(roi_id), now),
            ],
            told,
            {"program": f"kymflow {told.get('algorithm', '')}".strip()}
            | ({"computed_utc": _iso(entry["analyzed_at"])} if "analyzed_at" in entry else {}),
        )  # fmt: skip


def _hash_of_kymflow(value: Any) -> str:
    """Return the hash of parameters as kymflow 0.2 made it: not that of this format."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _utc(epoch_ns: int) -> str:
    moment = dt.datetime.fromtimestamp(epoch_ns // 10**9, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{epoch_ns % 10**9 // 1000:06d}Z"


def _iso(value: Any) -> str:
    try:
        moment = dt.datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
    text = moment.astimezone(dt.UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")
