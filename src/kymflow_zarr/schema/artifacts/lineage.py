"""The model of ``lineage.json``: what each result of an image was made by and made of."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from kymflow_zarr.errors import SchemaValidationError
from kymflow_zarr.schema.base import FORMAT, is_artifact_document, read_artifact_document

LINEAGE_VERSION: Final = "1.0"
_DOCUMENT: Final = "lineage"

# Ends `saved_by` of a result that ingest has made of what the source files say.
BY_INGEST: Final = " (ingest)"

InputKind: TypeAlias = Literal[
    "pixels",
    "property",
    "region",
    "regions",
    "metadata",
    "artifact",
    "artifacts",
    "curation",
    "result",
    "table",
]
ResultStatus: TypeAlias = Literal["ok", "empty", "failed", "accepted by hand"]
_SHA256: Final = Meta(pattern="^[0-9a-f]{64}$")


class InputDocument(msgspec.Struct, kw_only=True):
    """One thing that a result was made of."""

    kind: InputKind
    key: Annotated[str, Meta(description="Which one of that kind.")]
    sha256: Annotated[
        Annotated[str, _SHA256] | None, Meta(description="Null where it was not there.")
    ]
    value: Annotated[Any, Meta(description="The value, where it is small.")] = None
    selection: Annotated[
        str | None, Meta(description="Of pixels and shared artifacts, the part that was read.")
    ] = None


class ResultDocument(msgspec.Struct, kw_only=True):
    """One result: what it is called, where its value is, and what it was made by and of."""

    name: str
    variant: str | None = None
    channel: Annotated[int | None, Meta(description="From 1.")] = None
    roi_id: int | None = None
    counts: Annotated[bool, Meta(description="Of its variants, the one that counts.")] = True
    status: ResultStatus
    error: Annotated[str | None, Meta(description="Of a failed result.")] = None
    artifact: Annotated[str | None, Meta(description="Key below the image; null: none.")] = None
    sha256: Annotated[
        Annotated[str, _SHA256] | None, Meta(description="Of the value when it was saved.")
    ] = None
    part: Annotated[
        dict[str, Any] | None,
        Meta(description="What its rows of a shared artifact have in columns; null: all rows."),
    ] = None
    program: str = ""
    version: str = ""
    params: Annotated[dict[str, Any] | None, Meta(description="Null where not known.")] = None
    params_sha256: Annotated[str, _SHA256] | None = None
    inputs: list[InputDocument] = []
    computed_utc: Annotated[str, Meta(description="ISO 8601, UTC.")]
    seconds: Annotated[
        Annotated[float, Meta(ge=0)] | None, Meta(description="How long it took.")
    ] = None
    machine: str = ""
    saved_by: Annotated[
        str, Meta(description='Ends with " (ingest)" where it repeats the source files.')
    ] = ""
    accepted_by: str | None = None
    accepted_utc: Annotated[str | None, Meta(description="ISO 8601, UTC.")] = None
    replaced_utc: Annotated[
        str | None, Meta(description="Of a result in the history; null: the current one.")
    ] = None


class LineageDocument(msgspec.Struct, kw_only=True):
    """All results of an image. Unknown keys are kept at every level."""

    format: Literal["kymflow_zarr"]
    document: Literal["lineage"]
    version: Literal["1.0"]
    results: list[ResultDocument]


def new_lineage() -> dict[str, Any]:
    """Return a lineage document without results."""
    return {"format": FORMAT, "document": _DOCUMENT, "version": LINEAGE_VERSION, "results": []}


def is_lineage(raw: Any) -> bool:
    """Return True if decoded JSON is a lineage document of any version."""
    return is_artifact_document(raw, _DOCUMENT)


def repeats_source_files(raw: Any) -> bool:
    """Return True if ingest of the source files makes an equal lineage document."""
    results = raw.get("results") if is_lineage(raw) else None
    return isinstance(results, list) and all(
        isinstance(result, dict)
        and str(result.get("saved_by")).endswith(BY_INGEST)
        and result.get("status") in ("ok", "empty")
        and result.get("replaced_utc") is None
        for result in results
    )


def read_lineage_document(raw: Any, *, where: str) -> LineageDocument:
    """Convert decoded JSON to a lineage document.

    Raises
    ------
    SchemaValidationError
        If it is damaged, or not one of ours; names the key.
    FormatVersionError
        If it has a version that this code does not know.
    """
    document = read_artifact_document(
        LineageDocument, raw, document=_DOCUMENT, version=LINEAGE_VERSION,
        fails="does not say what the results were made of", purpose="save results", where=where,
    )  # fmt: skip
    known: set[tuple[Any, ...]] = set()
    for number, result in enumerate(document.results):
        identity = (result.name, result.roi_id, result.channel, result.variant)
        # On-disk format: "No two results of an image that were not replaced MUST have the same
        # name, roi_id, channel and variant."
        if result.replaced_utc is None and identity in known:
            raise SchemaValidationError(
                f"the document is not valid: the result {result.name!r} is there twice",
                where=f"{where}: results[{number}]",
            )
        if result.replaced_utc is None:
            known.add(identity)
    return document
