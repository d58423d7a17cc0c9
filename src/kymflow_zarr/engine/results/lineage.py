"""The results of an image on disk: ``analysis/lineage.json``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import dump, load, utc_now
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError
from kymflow_zarr.formats.canonical_json import canonical_json, sha256_of_json
from kymflow_zarr.schema.artifacts.lineage import (
    ResultDocument,
    new_lineage,
    read_lineage_document,
)
from kymflow_zarr.storage.interface import Storage

KEY: Final = layout.artifact_key("json", layout.LINEAGE)
_VARIANT: Final = re.compile(r"[A-Za-z0-9_.+-]{1,100}")


class ResultId(NamedTuple):
    """What tells the results of an image apart."""

    name: str
    roi_id: int | None = None
    channel: int | None = None
    variant: str | None = None

    @classmethod
    def of(cls, result: ResultDocument) -> ResultId:
        """Return the id of a result."""
        return cls(result.name, result.roi_id, result.channel, result.variant)

    @property
    def label(self) -> str:
        """Name of the artifact that holds the value; it is unique in the image."""
        parts = {"roi": self.roi_id, "channel": self.channel, "variant": self.variant}
        described = [f"{key}={value}" for key, value in parts.items() if value is not None]
        return f"{self.name}@{','.join(described)}" if described else self.name


def checked_id(name: str, roi_id: int | None, channel: int | None, variant: str | None) -> ResultId:
    """Return the id of a result; raise ArgumentError if a part of it cannot be stored."""
    for what, number in (("roi", roi_id), ("channel", channel)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise ArgumentTypeError(f"{number!r} is not a whole number", where=what)
    if variant is not None and not _VARIANT.fullmatch(variant):
        raise ArgumentError(
            f"{variant!r} is not the name of a variant",
            where="variant",
            hint="Use letters, digits and _ . + - only.",
        )
    result_id = ResultId(layout.check_name(name, what="name of a result"), roi_id, channel, variant)
    if result_id.name in (layout.METADATA, layout.PROVENANCE, layout.CURATION, layout.LINEAGE):
        raise ArgumentError(
            f"{result_id.name!r} is the name of a document of the format", where="name"
        )
    layout.artifact_key("parquet", result_id.label)  # Checks its length.
    return result_id


class Params(NamedTuple):
    """Parameters as they are stored, and the SHA-256 of their canonical JSON."""

    values: dict[str, Any] | None
    sha256: str | None

    @classmethod
    def of(cls, params: Mapping[str, Any] | None) -> Params:
        """Return checked parameters; None stands for unknown ones.

        Raises
        ------
        UnsupportedDataError
            If a parameter has no canonical JSON; names it.
        """
        if params is None:
            return cls(None, None)
        if not isinstance(params, Mapping):
            raise ArgumentTypeError(
                f"params is a mapping of names to values, not {type(params).__qualname__}",
                where="params",
            )
        text = canonical_json(params, where="params")
        return cls(json.loads(text), sha256_of_json(params, where="params"))


class Lineage:
    """The lineage document of one image, with the keys that this code does not know.

    Parameters
    ----------
    storage : Storage
    prefix : str
        Key of the image.

    Raises
    ------
    SchemaValidationError, FormatVersionError
        If the document is damaged, not one of ours, or of a newer version.
    """

    def __init__(self, storage: Storage, prefix: str) -> None:
        where = f"{prefix}/{KEY}"
        raw = load(storage, where)
        self._raw: dict[str, Any] = new_lineage() if raw is None else raw
        self._results = read_lineage_document(self._raw, where=where).results

    def __iter__(self) -> Iterator[ResultDocument]:
        return (result for result in self._results if result.replaced_utc is None)

    @property
    def raw(self) -> dict[str, Any]:
        """The document as JSON."""
        return self._raw

    def all(self) -> list[ResultDocument]:
        """Return the results, those in the history too."""
        return list(self._results)

    def history(self, result_id: ResultId) -> list[ResultDocument]:
        """Return the results that the one of an id has replaced, oldest first."""
        return [r for r in self._results if r.replaced_utc and ResultId.of(r) == result_id]

    def get(self, result_id: ResultId) -> ResultDocument | None:
        """Return the result of an id, None if there is none."""
        return next((result for result in self if ResultId.of(result) == result_id), None)

    def variants(self, result_id: ResultId) -> list[ResultDocument]:
        """Return the results that differ from an id in the variant only."""
        return [r for r in self if ResultId.of(r)._replace(variant=result_id.variant) == result_id]

    def by_label(self) -> dict[str, Mapping[str, Any]]:
        """Return the results as plain values, by the label of their id."""
        return {ResultId.of(r).label: msgspec.to_builtins(r) for r in self}

    def put(self, result: ResultDocument) -> None:
        """Add a result, in the place of the one of its id."""
        plain = msgspec.to_builtins(result)
        for number, other in enumerate(self._results):
            if other.replaced_utc is None and ResultId.of(other) == ResultId.of(result):
                self._results[number] = result
                self._raw["results"][number] = {**self._raw["results"][number], **plain}
                return
        self._results.append(result)
        self._raw["results"].append(plain)

    def put_in_history(self, result: ResultDocument, artifact: str | None) -> None:
        """Mark a result as replaced, with its value at another key."""
        number = self._results.index(result)
        replaced = msgspec.structs.replace(result, artifact=artifact, replaced_utc=utc_now())
        self._results[number] = replaced
        self._raw["results"][number] |= msgspec.to_builtins(replaced)

    def remove(self, result: ResultDocument) -> None:
        """Remove a result."""
        number = self._results.index(result)
        del self._results[number], self._raw["results"][number]

    def save(self, change: Change) -> None:
        """Add the document to a change of the image; an empty one is removed."""
        if self._results:
            change.write(KEY, dump(self._raw))
        else:
            change.remove(KEY)


def forget_values(storage: Storage, change: Change, keys: set[str]) -> None:
    """Remove the results whose values a change removes, by their keys below the image."""
    if storage.stat(f"{change.prefix}/{KEY}") is None:
        return
    lineage = Lineage(storage, change.prefix)
    gone = [r for r in lineage.all() if r.artifact in keys]
    for result in gone:
        lineage.remove(result)
    if gone and KEY not in keys:
        lineage.save(change)
