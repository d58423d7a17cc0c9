"""Make results of what other programs have left beside an image, with what it says of itself."""

from __future__ import annotations

import codecs
import datetime as dt
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import dump, utc_now
from kymflow_zarr.engine.images.artifacts import decode
from kymflow_zarr.engine.images.update import RecordUpdate
from kymflow_zarr.engine.results.inputs import ImageState, State, input_document
from kymflow_zarr.engine.results.lineage import KEY, Lineage, Params, ResultId, checked_id
from kymflow_zarr.engine.source_files import read_source_file
from kymflow_zarr.errors import (
    FormatVersionError,
    KymflowZarrError,
    SchemaValidationError,
    UnsupportedDataError,
)
from kymflow_zarr.formats.acqstore import PROGRAM
from kymflow_zarr.ingest.sidecars import acqstore
from kymflow_zarr.ingest.sidecars.artifacts import AGES, ANALYSIS, EVENTS, VELOCITY
from kymflow_zarr.runtime.limits import loads_json
from kymflow_zarr.schema.artifacts.lineage import BY_INGEST, InputDocument, ResultDocument

if TYPE_CHECKING:
    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.engine.images.draft import RecordDraft
    from kymflow_zarr.schema.image import SourceFileDocument

# Source of the run markers: files that kymflow 0.2 wrote into datasets of version 1.
_MARKERS: Final = {"radon": "radon_run", "velocity_events": "velocity_events/summary"}
_PARAMS: Final = {"radon": "radon/params", "velocity_events": "velocity_events/params"}
_VALUES: Final = {"radon": "radon/results", "velocity_events": EVENTS}
_POOLED: Final = "kym_{}"
# Of the analysis of a region; the other keys say which region, when, and of which revision.
_PARAMETERS: Final = ("algorithm", "window_size")
_SUFFIXES: Final = ("", *(f"_{age}" for age, _ in AGES))

_Rows = Mapping[str, tuple[int, set[tuple[Any, Any]]]]
"""Of the images in a pooled table: number of rows, and their hashes and versions."""


@dataclass
class _Found:
    """A result that another program has left."""

    result_id: ResultId
    artifact: str | None
    inputs: list[InputDocument]
    params: Mapping[str, Any] | None
    program: str
    computed_utc: str | None
    version: str = ""
    is_empty: bool = False
    # Keys of the artifacts that tell of it, besides its value.
    told_by: tuple[str, ...] = ()
    part: Mapping[str, Any] | None = None


class _Written:
    """The documents of an image that is being written, for those that read a storage."""

    def __init__(self, record: RecordDraft | RecordUpdate) -> None:
        self._record = record

    def read(self, key: str) -> bytes | None:
        return self._record.find(key.removeprefix(f"{self._record.prefix}/"))


def adopt_results(dataset: OpenDataset, ids: Iterable[str] | None = None) -> int:
    """Make results of run markers and analysis metadata; see :meth:`ZarrDataset.adopt_results`.

    Parameters
    ----------
    dataset : OpenDataset
    ids : iterable of str, optional
        Only of these images.
    """
    dataset.require_writable()
    pooled = {name: _pooled_rows(dataset, _POOLED.format(name)) for name in _MARKERS}
    count = 0
    for image_id in dataset.list_image_ids() if ids is None else ids:
        with dataset.image_lock(image_id), RecordUpdate(dataset.storage, image_id) as update:
            adopted = adopt(update, image_id, pooled=pooled)
            if adopted:
                update.commit(update.document.source_files)
            count += adopted
    return count


def adopt(
    record: RecordDraft | RecordUpdate,
    image_id: str,
    events: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    rewritten: Collection[str] = (),
    pooled: Mapping[str, _Rows | None] | None = None,
) -> int:
    """Add the results that other programs have left to the lineage of an image.

    Parameters
    ----------
    record : RecordDraft or RecordUpdate
        Has its pixels, artifacts and source files; the caller commits it.
    image_id : str
    events : mapping, optional
        Events by region, of each source file that lists some, by its ``rel_path``; read from the
        files that the dataset keeps if left out.
    rewritten : collection of str
        Keys of the artifacts that were read from their files again: results that these tell of
        are replaced. Others that are there stay as they are.
    pooled : mapping, optional
        Rows of each image in the pooled table of each kind of run marker, None for no table.

    Returns
    -------
    int
        Number of results that were added or replaced.
    """
    storage: Any = _Written(record)
    state = ImageState(storage, image_id)
    try:
        is_old = record.find(KEY) is not None and bool(state.lineage.all())
    except (SchemaValidationError, FormatVersionError):
        return 0  # It is damaged, or another artifact has its name: leave it as it is.
    state.document = record.document
    state.digests = {key: file_sum.sha256 for key, file_sum in record.sums.items()}
    lineage: Lineage | None = None
    remaining: set[ResultId] = set()
    count = 0
    for adopted in _all_found(state, events, pooled or {}):
        lineage = state.lineage if lineage is None else lineage
        remaining.add(adopted.result_id)
        old = lineage.get(adopted.result_id)
        places = {adopted.artifact, *adopted.told_by}
        if old is not None and not (old.artifact in {None, *places} and places & {*rewritten}):
            continue
        lineage.put(_document(adopted, state, lineage))
        state.__dict__.pop("results", None)  # Later ones may be made of this one.
        count += 1
    if rewritten and is_old:
        lineage = state.lineage
        for result in [*lineage]:
            is_told = _teller(result) in rewritten or result.artifact in rewritten
            if is_told and ResultId.of(result) not in remaining:
                lineage.remove(result)  # Its file tells nothing of it any more.
                count += 1
    if count and lineage is not None:
        record.write(KEY, dump(lineage.raw))
    return count


def _teller(result: ResultDocument) -> str | None:
    """Return the key of the artifact that tells of an adopted result, None of others."""
    if not result.saved_by.endswith(BY_INGEST):
        return None
    name = result.name
    if name.startswith(f"{PROGRAM}/"):
        return layout.artifact_key("json", acqstore.ANALYSIS)
    return layout.artifact_key("json", f"{ANALYSIS}{name.removeprefix(VELOCITY)}")


def _document(adopted: _Found, state: ImageState, lineage: Lineage) -> ResultDocument:
    from kymflow_zarr.engine.results.image_results import SAVED_BY

    params = Params.of(None)
    with suppress(UnsupportedDataError):  # Such as NaN: it stays in the artifact that tells of it.
        params = Params.of(adopted.params)
    old = lineage.get(adopted.result_id)
    others = lineage.variants(adopted.result_id)
    return ResultDocument(
        name=adopted.result_id.name, channel=adopted.result_id.channel,
        roi_id=adopted.result_id.roi_id,
        counts=old.counts if old is not None else not any(r.counts for r in others),
        status="empty" if adopted.is_empty else "ok", artifact=adopted.artifact,
        sha256=None if adopted.artifact is None else state.artifact(adopted.artifact),
        part=None if adopted.part is None else dict(adopted.part),
        params=params.values, params_sha256=params.sha256, inputs=adopted.inputs,
        program=adopted.program, version=adopted.version, saved_by=f"{SAVED_BY}{BY_INGEST}",
        computed_utc=adopted.computed_utc or utc_now(),
    )  # fmt: skip


def _all_found(
    state: ImageState,
    events: Mapping[str, Mapping[str, Any]] | None,
    pooled: Mapping[str, _Rows | None],
) -> Iterator[_Found]:
    yield from _run_markers(state, pooled)
    for suffix in _SUFFIXES:
        yield from _velocity(state, suffix)
        yield from _events(state, events, suffix)
    yield from _runs_of_acqstore(state)


def _json(state: ImageState, name: str) -> Any:
    where = f"{state.prefix}/{layout.artifact_key('json', name)}"
    with suppress(KymflowZarrError):
        data = state.storage.read(where)
        return None if data is None else decode("json", data, where=where)
    return None


def _existing(state: ImageState, name: str) -> str | None:
    """Return the key of a data frame if there is one of that name."""
    key = layout.artifact_key("parquet", name)
    return key if state.artifact(key) is not None else None


# Run markers of format version 1


def _run_markers(state: ImageState, pooled: Mapping[str, _Rows | None]) -> Iterator[_Found]:
    for name, place in _MARKERS.items():
        marker = _json(state, place)
        rows = marker.get("n_rows", marker.get("n_events")) if isinstance(marker, dict) else None
        ran = (
            marker.get("ran_utc_epoch_ns", marker.get("computed_utc_epoch_ns"))
            if isinstance(marker, dict)
            else None
        )
        if not isinstance(rows, int) or rows < 0 or not isinstance(ran, int) or ran <= 0:
            continue
        params = _json(state, _PARAMS[name])
        params = params if isinstance(params, dict) else {}
        inputs = [("artifact", layout.artifact_key("json", _PARAMS[name]))]
        hashed: Any = params
        if name == "radon":
            rois = state.payload.get("rois") if isinstance(state.payload, Mapping) else None
            hashed = {"params": params, "rois": rois or []}
            inputs.append(("metadata", "/rois"))
        # With another hash, the parameters or the regions were others when the program ran.
        params_hash, version = marker.get("params_hash"), str(marker.get("analysis_version", ""))
        is_same = _hash_of_kymflow(hashed) == params_hash
        documents = []
        for kind, key in inputs:
            known: Any = kind
            now = state.of(known, key)
            documents.append(input_document(known, key, now if is_same else State(params_hash)))
        table = pooled.get(name)
        if table is not None:
            in_table = table.get(state.image_id, (0, set()))
            disagrees = _disagrees(_POOLED.format(name), rows, (params_hash, version), in_table)
            if disagrees is not None:
                state_of_pool = State(None, disagrees)
                documents.append(input_document("table", _POOLED.format(name), state_of_pool))
        yield _Found(
            ResultId(name), None if rows == 0 else _existing(state, _VALUES[name]), documents,
            params, "kymflow", _utc(ran), version=version, is_empty=rows == 0,
        )  # fmt: skip


def _disagrees(
    table: str, marked: int, run: tuple[Any, str], stored: tuple[int, set[tuple[Any, Any]]]
) -> str | None:
    """Return in words how the rows of a table disagree with a run marker, as kymflow judges."""
    count, runs = stored
    if bool(count) != bool(marked):
        has = f"{count} rows" if count else "no rows"
        return f'table "{table}" has {has} of the image, but its run marker says {marked}'
    if count and runs != {run}:
        return f'table "{table}" has rows of another run than the one of the run marker'
    return None


def _pooled_rows(dataset: OpenDataset, name: str) -> _Rows | None:
    """Return the rows of each image in a pooled table, None if there is no such table."""
    if name not in dataset.tables.names():
        return None
    columns = ["image_id", "params_hash", "analysis_version"]
    frame = dataset.load_table(name)
    if not {*columns} <= {*frame.columns}:
        return None
    groups = frame.groupby("image_id", sort=False)[columns[1:]]
    return {
        str(image_id): (len(rows), {*rows.itertuples(index=False, name=None)})
        for image_id, rows in groups
    }


# Files of kymflow


def _velocity(state: ImageState, suffix: str) -> Iterator[_Found]:
    """Yield the velocity of each region, of the analysis metadata of kymflow."""
    analysis = _json(state, f"{ANALYSIS}{suffix}")
    artifact = None if analysis is None else _existing(state, f"{VELOCITY}{suffix}")
    entries = analysis.get("regions") if isinstance(analysis, Mapping) else None
    if not isinstance(entries, list) or artifact is None:
        return
    told_by = layout.artifact_key("json", f"{ANALYSIS}{suffix}")
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
        params = {key: value for key, value in entry.items() if key in _PARAMETERS}
        channel = _channel(entry.get("channel"))
        yield _Found(
            ResultId(f"{VELOCITY}{suffix}", roi_id, channel), artifact,
            [
                input_document("pixels", "", state.of("pixels", "")),
                input_document("region", str(roi_id), now),
            ],
            params, f"kymflow {params.get('algorithm', '')}".strip(),
            _iso(entry["analyzed_at"]) if "analyzed_at" in entry
            else _time_of(state, told_by, artifact),
            told_by=(told_by,), part=_part(roi_id, channel) if len(entries) > 1 else None,
        )  # fmt: skip


def _events(
    state: ImageState, given: Mapping[str, Mapping[str, Any]] | None, suffix: str
) -> Iterator[_Found]:
    """Yield the events of each region that a file of kymflow lists, also where there are none."""
    folder, _, name = EVENTS.partition("/")
    artifact = layout.artifact_key("parquet", f"{folder}{suffix}/{name}")
    for file in state.document.source_files:
        if artifact not in file.feeds or state.artifact(artifact) is None:
            continue
        if given is None:
            listed = _kept(state, file).get("velocity_events")
        else:
            listed = given.get(file.rel_path)
        if not isinstance(listed, Mapping):
            continue
        several = len(listed) > 1
        for key, events in listed.items():
            roi_id, _, channel = str(key).partition(":")
            if not roi_id.isdecimal() or not (channel or "1").isdecimal():
                continue
            place = int(roi_id), _channel(int(channel or 1))
            velocity = ResultId(f"{VELOCITY}{suffix}", *place)
            inputs: list[tuple[Any, str]] = [("region", roi_id)]
            if velocity.label in state.results:
                inputs.append(("result", velocity.label))
            else:
                inputs.append(("artifact", layout.artifact_key("parquet", velocity.name)))
            yield _Found(
                ResultId(f"{folder}{suffix}", *place), artifact if events else None,
                [input_document(kind, key, state.of(kind, key)) for kind, key in inputs],
                None, "kymflow", _time_of_file(file), is_empty=not events, told_by=(artifact,),
                part=_part(*place) if events and several else None,
            )  # fmt: skip


# Runs of acqstore


def _runs_of_acqstore(state: ImageState) -> Iterator[_Found]:
    """Yield what the sidecar of acqstore lists, with the tables beside it.

    Source: files written by acqstore 0.2.0 and by CloudScope of May 2026.
    """
    runs = _json(state, acqstore.ANALYSIS)
    told_by = layout.artifact_key("json", acqstore.ANALYSIS)
    for run in runs if isinstance(runs, list) else ():
        if not isinstance(run, Mapping) or run.get("program") != PROGRAM:
            continue
        analysis, roi_id, channel = (run.get(k) for k in ("analysis_name", "roi_id", "channel"))
        if not isinstance(analysis, str) or not isinstance(roi_id, int):
            continue
        name = acqstore.TABLE.format(name=analysis)
        with suppress(KymflowZarrError):
            result_id = checked_id(name, roi_id, _channel(channel), None)
            part = _part(roi_id, result_id.channel)
            artifact = _existing(state, name)
            if artifact is None:  # Its values stand in the sidecar only.
                artifact, part = told_by, {"analysis_name": analysis, **part}
            summary, params = run.get("summary"), run.get("detection_params")
            summary = summary if isinstance(summary, Mapping) else {}
            yield _Found(
                result_id, artifact, _inputs_of_run(state, result_id, analysis),
                params if isinstance(params, Mapping) else None, PROGRAM,
                _local_time(summary) or _time_of(state, told_by),
                version=str(summary.get("analysis_version", "")),
                is_empty=_found_nothing(analysis, summary), told_by=(told_by,), part=part,
            )  # fmt: skip


def _inputs_of_run(state: ImageState, result_id: ResultId, analysis: str) -> list[InputDocument]:
    inputs: list[tuple[Any, str]] = [("region", str(result_id.roi_id))]
    velocity = result_id._replace(name=acqstore.TABLE.format(name="radon_velocity")).label
    if analysis not in ("event", "heart_rate"):
        inputs.insert(0, ("pixels", ""))
    elif velocity in state.results:
        inputs.append(("result", velocity))
    return [input_document(kind, key, state.of(kind, key)) for kind, key in inputs]


def _found_nothing(analysis: str, summary: Mapping[str, Any]) -> bool:
    """Return True if a run has looked and found nothing."""
    if analysis == "event":
        return not summary.get("events")
    methods = (summary.get("lomb"), summary.get("welch"))
    rates = [each.get("bpm") for each in methods if isinstance(each, Mapping)]
    return analysis == "heart_rate" and all(rate is None for rate in rates)


def _local_time(summary: Mapping[str, Any]) -> str | None:
    """Return when a run was made; its time zone is not written, and taken as UTC."""
    text = f"{summary.get('analysis_date')} {summary.get('analysis_time')}"
    with suppress(ValueError):
        return _iso(dt.datetime.strptime(text, "%y%m%d %H:%M:%S.%f"))
    return None


def _part(roi_id: int, channel: int | None) -> dict[str, Any]:
    return {"roi_id": roi_id} | ({} if channel is None else {"channel": channel})


def _channel(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _kept(state: ImageState, file: SourceFileDocument) -> Mapping[str, Any]:
    """Return the content of a JSON file that the dataset keeps, empty if it has none."""
    if file.kept_as is None:
        return {}
    with suppress(KymflowZarrError, ValueError):
        data = read_source_file(state.storage, f"{state.prefix}/{file.kept_as}")
        value = loads_json(data.removeprefix(codecs.BOM_UTF8), where=None)
        return value if isinstance(value, Mapping) else {}
    return {}


def _time_of(state: ImageState, *keys: str) -> str | None:
    """Return when a file was last changed that one of these artifacts was made of."""
    files = state.document.source_files
    return next((_time_of_file(f) for key in keys for f in files if key in f.feeds), None)


def _time_of_file(file: SourceFileDocument) -> str:
    return _utc(file.mtime_ns)


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
