"""Find out whether results are out of date, and say why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kymflow_zarr import layout
from kymflow_zarr.engine.results.inputs import ImageState, State
from kymflow_zarr.engine.results.lineage import Params
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.schema.artifacts.lineage import InputDocument, ResultDocument


def spread(reasons: Mapping[str, list[str]], made_of: Mapping[str, Sequence[str]]) -> None:
    """Add reasons to the results that were made of results that are out of date.

    Parameters
    ----------
    reasons : mapping of str to list of str
        Why each result of an image is out of date, by its label; it is changed.
    made_of : mapping of str to sequence of str
        The labels of the results that each result was made of.
    """
    changed = True
    while changed:  # Results may be listed in any order.
        changed = False
        for label, sources in made_of.items():
            for source in sources:
                reason = f'made from "{source}", which is out of date'
                if source != label and reasons.get(source) and reason not in reasons[label]:
                    reasons[label].append(reason)
                    changed = True


def results_read(results: Mapping[str, ResultDocument]) -> dict[str, list[str]]:
    """Return the labels of the results that each result of an image was made of."""
    labels: dict[str, list[str]] = {}  # The results of several regions may share an artifact.
    for label, result in results.items():
        if result.artifact:
            labels.setdefault(result.artifact, []).append(label)
    read: dict[str, list[str]] = {}
    for label, result in results.items():
        sources = [
            source
            for i in result.inputs
            # Of a shared artifact, results whose values were read are inputs themselves.
            if i.kind == "result" or (i.kind == "artifact" and i.selection is None)
            for source in (labels.get(i.key, ()) if i.kind == "artifact" else (i.key,))
        ]
        read[label] = [*dict.fromkeys(sources)]
    return read


def compared_tables(result: ResultDocument) -> list[InputDocument]:
    """Return the tables that a result was made of, and whose digests are compared."""
    return [i for i in result.inputs if i.kind == "table" and not isinstance(i.value, str)]


def own_reasons(state: ImageState, result: ResultDocument) -> list[str]:
    """Return why a result is out of date by what lies in its image; nothing of tables."""
    reasons: list[str] = []
    for result_input in result.inputs:
        if result_input.kind == "table":
            # On-disk format: "a reader MUST take such a result for out of date".
            reasons += [result_input.value] if isinstance(result_input.value, str) else []
            continue
        try:
            now = state.of(result_input.kind, result_input.key)
        except ArgumentError:
            reasons.append(
                f"input {result_input.kind} {result_input.key!r} is not known to this version"
            )
            continue
        if now.sha256 != result_input.sha256:
            reasons.append(_in_words(state, result_input, now))
    if result.artifact is not None and state.artifact(result.artifact) is None:
        reasons.append("its value was deleted")
    return list(dict.fromkeys(reasons))


def is_edited(state: ImageState, result: ResultDocument) -> bool:
    """Return True if the value of a result was changed after it was saved."""
    if result.artifact is None:
        return False
    now = state.artifact(result.artifact)
    return now is not None and now != result.sha256


def _in_words(state: ImageState, before: InputDocument, now: State) -> str:
    key = before.key
    match before.kind:
        case "pixels":
            return "made from earlier pixels"
        case "property":
            return f"the {key.replace('_', ' ')} of the image changed{_values(before, now)}"
        case "region":
            return _region_in_words(state, before, now)
        case "regions":
            return "regions were added, deleted or put in another order"
        case "metadata":
            what = key.strip("/").replace("/", ".") or "the metadata"
            return f"{what} changed{_values(before, now)}"
        case "curation":
            return f"the {key} of the image changed{_values(before, now)}"
        case "artifacts":
            return "artifacts were added or deleted"
        case "result":
            return f'result "{key}" was computed again' if now.sha256 else f'no result "{key}"'
    return f"{_what(before)} {_happened(before.sha256, now.sha256, 'replaced')}"


def _what(before: InputDocument) -> str:
    if before.kind == "table":
        return f'table "{before.key}"'
    parsed = layout.parse_artifact_key(before.key)
    array = before.key.removeprefix(f"{layout.ANALYSIS_ARRAYS}/")
    name = parsed[1] if parsed is not None else layout.parse_array_artifact(array) or before.key
    return f'input "{name}"'


def _happened(before: str | None, now: str | None, otherwise: str) -> str:
    if before is None:
        return "was added"
    return "was deleted" if now is None else f"was {otherwise}"


def table_reason(name: str, before: str | None, now: str | None) -> str:
    """Return why a result is out of date that was made of a table in another state."""
    return f'table "{name}" {_happened(before, now, "changed")}'


def _region_in_words(state: ImageState, before: InputDocument, now: State) -> str:
    then = before.value.get("data") if isinstance(before.value, Mapping) else None
    region = state.region(before.key)
    moved = then is not None and region is not None and region.get("data") != then
    if region is not None and isinstance(before.value, Mapping) and then is None:
        # The program that made the result has told the revision only.
        revisions = [
            (value.get("meta") or {}).get("revision", 0) for value in (before.value, region)
        ]
        return f"region {before.key} changed: revision {revisions[0]} -> {revisions[1]}"
    what = _happened(before.sha256, now.sha256, "moved" if moved else "changed")
    for edit in reversed(state.curation.get("history", [])):
        for change in edit.get("changes", ()):
            if change.get("what") == "roi" and str(change.get("roi_id")) == before.key:
                return f"region {before.key} {what} on {edit['when_utc'][:10]} by {edit['who']}"
    return f"region {before.key} {what}"


def _values(before: InputDocument, now: State) -> str:
    if before.value is None and now.value is None:
        return ""
    texts = [json.dumps(value, ensure_ascii=False) for value in (before.value, now.value)]
    return "" if max(map(len, texts)) > 80 else f": {texts[0]} -> {texts[1]}"


def program_reasons(version: str, params: Params, wanted_version: str, wanted: Params) -> list[str]:
    """Return why a result is out of date that another version, or other parameters, made.

    What is not known, parameters that are None or an empty version, is not compared.
    """
    reasons = []
    if None not in (params.sha256, wanted.sha256) and params.sha256 != wanted.sha256:
        old, new = params.values or {}, wanted.values or {}
        differ = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
        changes = ", ".join(f"{key} {_shown(old, key)} -> {_shown(new, key)}" for key in differ[:5])
        more = f" and {len(differ) - 5} more" if len(differ) > 5 else ""
        reasons.append(f"parameters differ: {changes or 'not known'}{more}")
    if version and wanted_version and version != wanted_version:
        reasons.append(f"made by version {version}, not {wanted_version}")
    return reasons


def _shown(params: Mapping[str, Any], key: str) -> str:
    return json.dumps(params[key], ensure_ascii=False)[:60] if key in params else "none"
