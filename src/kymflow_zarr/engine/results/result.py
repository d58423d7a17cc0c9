"""A result as users see it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr import layout
from kymflow_zarr.engine.results.lineage import ResultId
from kymflow_zarr.errors import ArtifactNotFoundError, printable
from kymflow_zarr.schema.artifacts.lineage import (
    InputDocument,
    InputKind,
    ResultDocument,
    ResultStatus,
)

if TYPE_CHECKING:
    from kymflow_zarr.engine.image import StoredImage

# The column of a table that follows results: the digest of the result that a row is of.
SOURCE_COLUMN: Final = "result_sha256"


@dataclass(frozen=True, kw_only=True)
class ResultInput:
    """One thing that a result was made of.

    Parameters
    ----------
    kind : {"pixels", "property", "region", "regions", "metadata", "artifact", "artifacts", \
"curation", "result", "table"}
    key : str
        Which one of that kind: the id of a region, the JSON Pointer of a metadata key, the key
        of an artifact below the image, the name of a property, result or table.
    sha256 : str, optional
        Its digest when it was read, None if it was not there.
    value : object
        Its value as JSON, None if it was too large to be stored.
    selection : str, optional
        The part of the pixels that was read, None for all of them. Of an artifact that several
        results share, ``"results"`` where only the values of results were read that are inputs,
        too.
    """

    kind: InputKind
    key: str
    sha256: str | None
    value: Any = None
    selection: str | None = None

    def __str__(self) -> str:
        parsed = layout.parse_artifact_key(self.key) if self.kind == "artifact" else None
        what = f"{self.kind} {self.key if parsed is None else parsed[1]}".strip()
        return what if self.selection is None else f"{what} [{self.selection}]"


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result of an image: what it was made by and of, and whether it is out of date.

    Parameters
    ----------
    image_id, name : str
    roi_id : int, optional
        Region that it belongs to, None for the whole image.
    channel : int, optional
        Channel that it belongs to, from 1; None for all of them.
    variant : str, optional
        None for the usual one.
    counts : bool
        True if it is the one that counts among its variants.
    status : {"ok", "empty", "failed", "accepted by hand"}
        ``"empty"``: computed, and nothing was found.
    error : str, optional
        Of a failed result.
    program, version : str
        What computed it.
    params : dict, optional
        Its parameters, None if not known.
    params_sha256 : str, optional
        SHA-256 of their canonical JSON.
    inputs : tuple of ResultInput
    computed_utc : str
        ISO 8601, UTC.
    seconds : float, optional
        How long it took.
    machine : str
        What it was computed on.
    artifact : str, optional
        Key of the value, relative to the dataset; None if there is no value.
    sha256 : str, optional
        Digest of the artifact when it was saved.
    part : dict, optional
        Of a result that shares its artifact with others: the values that its rows have, by column.
    edited : bool
        True if the value was changed since.
    reasons : tuple of str
        Why it is out of date; empty if it is not.
    """

    image_id: str
    name: str
    roi_id: int | None
    channel: int | None
    variant: str | None
    counts: bool
    status: ResultStatus
    error: str | None
    program: str
    version: str
    params: Mapping[str, Any] | None
    params_sha256: str | None
    inputs: tuple[ResultInput, ...]
    computed_utc: str
    seconds: float | None
    machine: str
    artifact: str | None
    sha256: str | None
    part: Mapping[str, Any] | None
    edited: bool
    reasons: tuple[str, ...]
    _image: StoredImage = field(repr=False, compare=False)

    @property
    def result_id(self) -> ResultId:
        """What tells it apart from the other results of its image."""
        return ResultId(self.name, self.roi_id, self.channel, self.variant)

    def __repr__(self) -> str:
        state = f"out of date: {'; '.join(self.reasons)}" if self.reasons else "up to date"
        return printable(
            f"<Result {self.result_id.label!r} of image {self.image_id!r}: {self.status}, {state}; "
            f"made by {self.made_by}, computed {self.computed_utc}>"
        )

    @property
    def made_by(self) -> str:
        """Program, version and parameters in words, such as ``flow.velocity 1.2 (window=16)``."""
        made_by = " ".join(filter(None, (self.program, self.version))) or "an unknown program"
        parameters = (f"{key}={json.dumps(value)}" for key, value in (self.params or {}).items())
        return f"{made_by} ({', '.join(parameters)})" if self.params else made_by

    @property
    def out_of_date(self) -> bool:
        """True if an input has changed since, or the value is gone."""
        return bool(self.reasons)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the value as plain JSON values."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "_image"}
        return {
            **plain,
            "params": None if self.params is None else dict(self.params),
            "part": None if self.part is None else dict(self.part),
            "inputs": [asdict(result_input) for result_input in self.inputs],
            "reasons": list(self.reasons),
        }

    def load(self) -> Any:
        """Return the value: a data frame, an array or a JSON value; None if it is empty.

        Of an artifact that holds the values of several results, such as the velocities of all
        regions, only its own rows are returned.

        Raises
        ------
        ArtifactNotFoundError
            If the computation failed, or the value was deleted (a KeyError).
        """
        if self.status == "failed":
            raise ArtifactNotFoundError(
                f"the result {self.name!r} has no value, because computing it failed: {self.error}",
                where=self._image.prefix,
            )
        if self.artifact is None:
            return None
        key = self.artifact.removeprefix(f"{self._image.prefix}/")
        return self._image.load_result(key, self.part)


def inputs_of(documents: Iterable[InputDocument]) -> tuple[ResultInput, ...]:
    """Return the inputs of their documents."""
    return tuple(
        ResultInput(kind=i.kind, key=i.key, sha256=i.sha256, value=i.value, selection=i.selection)
        for i in documents
    )


def load_value(image: StoredImage, key: str, part: Mapping[str, Any] | None) -> Any:
    """Return the value of a result by its key below the image, and its part of that artifact."""
    value = _load(image, key)
    return value if part is None else _part_of(value, part)


def _part_of(value: Any, part: Mapping[str, Any]) -> Any:
    """Return the rows of a data frame, or the items of a JSON list, that have certain values.

    On-disk format: a column that the data frame lacks selects nothing.
    """
    if isinstance(value, list):
        return [
            item
            for item in value
            if isinstance(item, Mapping) and all(item.get(k) == v for k, v in part.items())
        ]
    for column, wanted in part.items():
        if column in value.columns:
            value = value[value[column] == wanted]
    return value.reset_index(drop=True)


def _load(image: StoredImage, key: str) -> Any:
    from kymflow_zarr.formats.kinds import KINDS

    parsed = layout.parse_artifact_key(key)
    if parsed is not None:
        return getattr(image, KINDS[parsed[0]].loader)(parsed[1])
    name = layout.parse_array_artifact(key.removeprefix(f"{layout.ANALYSIS_ARRAYS}/"))
    if name is None:
        raise ArtifactNotFoundError(f"{key!r} is no key of an artifact", where=image.prefix)
    return image.load_array_artifact(name)


def result_of(
    image: StoredImage, document: ResultDocument, *, edited: bool, reasons: list[str]
) -> Result:
    """Return the result of a document."""
    key = document.artifact
    return Result(
        image_id=image.image_id, name=document.name, roi_id=document.roi_id,
        channel=document.channel, variant=document.variant, counts=document.counts,
        status=document.status, error=document.error, program=document.program,
        version=document.version, params=document.params, params_sha256=document.params_sha256,
        inputs=inputs_of(document.inputs),
        computed_utc=document.computed_utc, seconds=document.seconds, machine=document.machine,
        artifact=None if key is None else f"{image.prefix}/{key}", sha256=document.sha256,
        part=document.part, edited=edited, reasons=tuple(reasons), _image=image,
    )  # fmt: skip
