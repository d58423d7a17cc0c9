"""The results of one image: save, find, choose and accept them."""

from __future__ import annotations

import dataclasses
import itertools
import platform
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr import layout
from kymflow_zarr._version import __version__
from kymflow_zarr.engine.documents import utc_now
from kymflow_zarr.engine.hints import did_you_mean
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
from kymflow_zarr.engine.results.inputs import ImageState, State, input_document, table_digests
from kymflow_zarr.engine.results.lineage import Lineage, Params, ResultId
from kymflow_zarr.engine.results.result import Result, ResultInput, result_of
from kymflow_zarr.engine.results.staleness import (
    compared_tables,
    is_edited,
    own_reasons,
    results_read,
    spread,
    table_reason,
)
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, ArtifactNotFoundError
from kymflow_zarr.schema.artifacts.lineage import InputDocument, ResultDocument
from kymflow_zarr.types import ArtifactKind

if TYPE_CHECKING:
    from kymflow_zarr.engine.change import Change
    from kymflow_zarr.engine.image import StoredImage
    from kymflow_zarr.storage.interface import Storage

_HISTORY: Final = "@replaced="
SAVED_BY: Final = f"kymflow_zarr {__version__}"


class Value:
    """A value that becomes an artifact of an image.

    Parameters
    ----------
    storage : Storage
    prefix : str
        Key of the image.
    label : str
        Name of the artifact.
    value : object
        A data frame, an array, or what JSON artifacts can hold; None for no artifact.

    Raises
    ------
    UnsupportedDataError, ArgumentTypeError
        If it cannot be stored.
    """

    def __init__(self, storage: Storage, prefix: str, label: str, value: Any) -> None:
        self._arrays = ArrayArtifacts(storage, prefix)
        self._label = label
        self._array: Any = None
        self._data: bytes | None = None
        self.key: str | None = None
        pandas, numpy = sys.modules.get("pandas"), sys.modules.get("numpy")
        if value is None:
            self.is_empty = True
            return
        if pandas is not None and isinstance(value, pandas.Series):
            raise ArgumentTypeError(
                "a result is a data frame, not a Series", hint="Use .to_frame() to make it one."
            )
        if numpy is not None and isinstance(value, numpy.ndarray):
            self._array, _ = self._arrays.check(label, value, axes=None)
            self.key = layout.array_artifact_prefix(label)
            self.is_empty = value.size == 0
            return
        is_frame = pandas is not None and isinstance(value, pandas.DataFrame)
        kind: ArtifactKind = "parquet" if is_frame else "json"
        self.key = layout.artifact_key(kind, label)
        self._data = artifacts.encode(kind, value, where=f"{prefix}/{self.key}")
        self.is_empty = (
            len(value) == 0 if is_frame or isinstance(value, str | list | dict) else False
        )

    def save(self, change: Change) -> str | None:
        """Add the artifact to a change of the image; return its SHA-256."""
        from kymflow_zarr.storage.local.files import digest_of_bytes

        if self.key is None:
            return None
        if self._data is None:
            return self._arrays.save(change, self._label, self._array, axes=None, chunks=None)
        change.write(self.key, self._data)
        return digest_of_bytes(self._data)


def machine() -> str:
    """Return the name of this computer, its system and the version of Python."""
    return f"{platform.node()}, {platform.system()}, Python {platform.python_version()}"


class ImageResults:
    """The results of one image.

    Parameters
    ----------
    image : StoredImage
    """

    def __init__(self, image: StoredImage) -> None:
        self._image = image
        self._storage = image.storage
        self._prefix = image.prefix

    def lineage(self) -> Lineage:
        """Return the lineage document, read now."""
        return Lineage(self._storage, self._prefix)

    def state(self, lineage: Lineage | None = None) -> ImageState:
        """Return the current state of what results are made of."""
        lineage = self.lineage() if lineage is None else lineage
        return ImageState(self._storage, self._image.image_id, lineage)

    # Saving

    def save(
        self,
        change: Change,
        result_id: ResultId,
        value: Value,
        inputs: Iterable[InputDocument],
        params: Params,
        *,
        keep: int = 0,
        error: str | None = None,
        **facts: Any,
    ) -> ResultDocument:
        """Add a result and its value to a change of the image, whose lock the caller holds.

        Parameters
        ----------
        change : Change
        result_id : ResultId
        value : Value
        inputs : iterable of InputDocument
        params : Params
        keep : int
            Number of replaced results to keep in the history.
        error : str, optional
            Why there is no value.
        **facts
            `program`, `version`, `seconds`, `machine`, `computed_utc`.
        """
        lineage = self.lineage()
        old = lineage.get(result_id)
        failed = error is not None
        sha256 = None if failed else value.save(change)
        document = ResultDocument(
            name=result_id.name, variant=result_id.variant, channel=result_id.channel,
            roi_id=result_id.roi_id,
            counts=old.counts if old else not any(r.counts for r in lineage.variants(result_id)),
            status="failed" if failed else "empty" if value.is_empty else "ok", error=error,
            artifact=None if failed else value.key, sha256=sha256, params=params.values,
            params_sha256=params.sha256, inputs=list(inputs),
            saved_by=SAVED_BY, **{"computed_utc": utc_now(), **facts},
        )  # fmt: skip
        if old is not None:
            # The value of an earlier success is never deleted by a later failure.
            self._replace(change, lineage, old, document, max(keep, 1 if failed else 0))
        for other in [*lineage]:
            # Results of regions that another program left may share the artifact.
            if document.artifact == other.artifact is not None and other is not old:
                if keep:
                    lineage.put_in_history(other, self._move(change, other))
                else:
                    lineage.remove(other)
        lineage.put(document)
        lineage.save(change)
        return document

    def _replace(
        self, change: Change, lineage: Lineage, old: ResultDocument, new: ResultDocument, keep: int
    ) -> None:
        result_id = ResultId.of(old)
        if keep and old.status != "failed":
            lineage.put_in_history(old, self._move(change, old))
        history = lineage.history(result_id)
        if keep:
            for earlier in history[: max(len(history) - keep, 0)]:
                lineage.remove(earlier)
                if earlier.artifact is not None:
                    change.remove(earlier.artifact)
        others = [r.artifact for r in lineage.all() if ResultId.of(r) != result_id]
        if old.artifact is not None and old.artifact not in (new.artifact, *others):
            change.remove(old.artifact)

    def _move(self, change: Change, old: ResultDocument) -> str | None:
        """Copy the value of a result to its place in the history; return its key there."""
        if old.artifact is None:
            return None
        parsed = layout.parse_artifact_key(old.artifact)
        taken = {result.artifact for result in self.lineage().all()}
        for number in itertools.count(1):
            label = f"{ResultId.of(old).label}{_HISTORY}{number}"
            if parsed is None:
                key = layout.array_artifact_prefix(label)
            else:
                key = layout.artifact_key(parsed[0], label)
            if key not in taken:
                break
        if parsed is None:
            arrays = ArrayArtifacts(self._storage, self._prefix)
            folder = old.artifact.removeprefix(f"{layout.ANALYSIS_ARRAYS}/")
            name = layout.parse_array_artifact(folder) or folder
            arrays.save(change, label, arrays.load(name), axes=None, chunks=None)
            return key
        data = self._storage.read(f"{self._prefix}/{old.artifact}")
        if data is None:
            return None  # Deleted by hand.
        change.write(key, data)
        return key

    # Finding

    def all(self, name: str | None = None) -> list[Result]:
        """Return the results, of one name or all, in the order in which they were first saved."""
        lineage = self.lineage()
        state = self.state(lineage)
        documents = {ResultId.of(r).label: r for r in lineage}
        reasons = {
            label: [*own_reasons(state, document), *self._table_reasons(document)]
            for label, document in documents.items()
        }
        spread(reasons, results_read(documents))
        return [
            result_of(
                self._image, document, edited=is_edited(state, document), reasons=reasons[label]
            )
            for label, document in documents.items()
            if name is None or document.name == name
        ]  # fmt: skip

    def _table_reasons(self, document: ResultDocument) -> list[str]:
        tables = compared_tables(document)
        if not tables:
            return []
        now = table_digests(self._storage)
        return [
            table_reason(i.key, i.sha256, now.get(i.key))
            for i in tables
            if now.get(i.key) != i.sha256
        ]

    def find(
        self, name: str, roi_id: int | None, channel: int | None, variant: str | None
    ) -> Result:
        """Return one result: of its variants the one that counts, unless one is named."""
        everything = self.all()
        matches = [
            r
            for r in everything
            if r.name == name
            and (roi_id is None or r.roi_id == roi_id)
            and (channel is None or r.channel == channel)
            and (variant is None or r.variant == variant)
        ]
        if variant is None and any(r.counts for r in matches):
            matches = [r for r in matches if r.counts]
        if len(matches) > 1:
            keys = [f"roi={r.roi_id}, channel={r.channel}, variant={r.variant!r}" for r in matches]
            raise ArgumentError(
                f"the image has {len(matches)} results {name!r}",
                where=self._prefix,
                hint=f"Name one: {'; '.join(keys[:5])}.",
            )
        if not matches:
            raise self._missing(name, [r.name for r in everything])
        return matches[0]

    def _missing(self, name: str, names: list[str]) -> ArtifactNotFoundError:
        other = " of that region, channel and variant" if name in names else ""
        return ArtifactNotFoundError(
            f"the image has no result {name!r}{other}",
            where=self._prefix,
            hint=f"{did_you_mean(name, names)}results() tells which there are.",
        )

    def delete(self, change: Change, result: Result) -> None:
        """Delete a result with its value and its history."""
        lineage = self.lineage()
        documents = [r for r in lineage.all() if ResultId.of(r) == result.result_id]
        for document in documents:
            lineage.remove(document)
        others = {other.artifact for other in lineage.all()}
        for document in documents:
            if document.artifact is not None and document.artifact not in others:
                change.remove(document.artifact)
        lineage.save(change)

    # Judging

    def choose(self, change: Change, chosen: ResultId) -> None:
        """Mark a result as the one that counts among its variants."""
        lineage = self.lineage()
        if lineage.get(chosen) is None:
            raise self._missing(chosen.name, [r.name for r in lineage])
        for other in lineage.variants(chosen):
            other.counts = ResultId.of(other) == chosen
            lineage.put(other)
        lineage.save(change)

    def accept(self, change: Change, result: Result, who: str) -> None:
        """Take a result as it is: it is out of date only if something changes from now on."""
        lineage = self.lineage()
        document = lineage.get(result.result_id)
        if document is None or document.status == "failed":
            raise ArgumentError(
                f"the result {result.name!r} has no value that can be accepted",
                where=self._prefix,
            )
        state = self.state(lineage)
        document.inputs = [
            input_document(i.kind, i.key, state.of(i.kind, i.key), i.selection)
            for i in document.inputs
        ]
        document.status = "accepted by hand"
        document.accepted_by, document.accepted_utc = who, utc_now()
        if document.artifact is not None:
            document.sha256 = state.artifact(document.artifact)
        lineage.put(document)
        lineage.save(change)


def declared_inputs(
    state: ImageState, inputs: Iterable[Any] | None, roi_id: int | None
) -> list[InputDocument]:
    """Return the inputs that a caller names, in their current state unless a digest is given.

    Parameters
    ----------
    state : ImageState
    inputs : iterable, optional
        What a reading record has remembered; texts ``"kind"`` or ``"kind:key"``; or mappings
        with `kind`, `key` and `sha256`. The pixels if left out.
    roi_id : int, optional
        The region of the result, which is an input, too.
    """
    if inputs is None:
        inputs = ["pixels"]
    documents: dict[tuple[str, str], InputDocument] = {}
    given: list[Any] = [*inputs] if roi_id is None else [f"region:{roi_id}", *inputs]
    for item in given:
        if isinstance(item, ResultInput):
            documents[item.kind, item.key] = InputDocument(**dataclasses.asdict(item))
            continue
        if isinstance(item, Mapping):
            kind, key = item.get("kind", ""), str(item.get("key", ""))
        elif isinstance(item, str):
            kind, _, key = item.partition(":")
        else:
            raise ArgumentTypeError(
                f"an input is text such as 'pixels' or 'region:2', not {type(item).__qualname__}",
                where="inputs",
            )
        if kind == "artifact":
            key = _artifact_key(state, key)
        known: Any = kind
        now = state.of(known, key)
        if isinstance(item, Mapping) and "sha256" in item:
            digest = item["sha256"]
            now = now if digest == now.sha256 else State(digest)
        documents[kind, key] = input_document(known, key, now)
    return list(documents.values())


def _artifact_key(state: ImageState, name: str) -> str:
    """Return the key of an artifact that is given by its key or its name."""
    if name.startswith((f"{layout.ANALYSIS}/", f"{layout.ANALYSIS_ARRAYS}/")):
        return name
    kinds: tuple[ArtifactKind, ...] = ("parquet", "csv_gz", "json")
    keys = [layout.artifact_key(kind, name) for kind in kinds]
    keys.append(layout.array_artifact_prefix(name))
    there = [key for key in keys if state.artifact(key) is not None]
    if not there:
        raise ArtifactNotFoundError(f"the image has no artifact {name!r}", where="inputs")
    return there[0]
