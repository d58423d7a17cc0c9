"""Print what a result was made of, as a tree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kymflow_zarr.engine.results.result import Result, ResultInput
from kymflow_zarr.errors import printable

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage


class Explanation(str):
    """A text that a notebook or a prompt shows with its line breaks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def explain(image: StoredImage, result: Result) -> Explanation:
    """Return what a result was made by and made of, down to source files, a line for each."""
    results = {each.result_id.label: each for each in image.results()}
    lines = _result_lines(image, result, results, set())
    return Explanation("\n".join(printable(line) for line in lines))


def _result_lines(
    image: StoredImage, result: Result, results: Mapping[str, Result], shown: set[str]
) -> list[str]:
    """Return the lines of a result; a result that was shown before is not shown in full again."""
    label = result.result_id.label
    state = "; ".join(result.reasons)
    head = f"{label}: {result.status}" + (f", out of date: {state}" if state else ", up to date")
    if result.edited:
        head += ", changed by hand since"
    if label in shown:
        return [head, "  (see above)"]
    shown.add(label)
    lines = [head]
    if result.error is not None:
        lines.append(f"  failed: {result.error}")
    lines.append(f"  made by {result.made_by}")
    took = "" if result.seconds is None else f" in {result.seconds:.3g} s"
    lines.append(
        f"  computed {result.computed_utc}{took} on {result.machine or 'an unknown machine'}"
    )
    for result_input in result.inputs:
        lines += [f"  {line}" for line in _input_lines(image, result_input, results, shown)]
    return lines


def _input_lines(
    image: StoredImage, result_input: ResultInput, results: Mapping[str, Result], shown: set[str]
) -> list[str]:
    digest = "not there" if result_input.sha256 is None else f"sha256 {result_input.sha256[:16]}"
    value = (
        ""
        if result_input.value is None
        else f" = {json.dumps(result_input.value, ensure_ascii=False)}"
    )
    lines = [f"- {result_input}{value if len(value) <= 100 else ''} ({digest})"]
    if result_input.kind == "pixels":
        lines += [
            f"    from {file.path} (sha256 {file.sha256[:16] or 'not known'})"
            for file in image.source_files
            if file.role in ("image", "member")
        ]
    source = next(
        (
            other
            for label, other in results.items()
            if (result_input.kind == "result" and label == result_input.key)
            or (
                result_input.kind == "artifact"
                and result_input.selection is None
                and other.artifact == f"{image.prefix}/{result_input.key}"
            )
        ),
        None,
    )
    if source is not None:
        lines += [f"    {line}" for line in _result_lines(image, source, results, shown)]
    return lines
