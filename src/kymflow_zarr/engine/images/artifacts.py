"""Encode, decode, load and list the JSON and data-frame artifacts of one image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kymflow_zarr import layout
from kymflow_zarr.engine.hints import did_you_mean
from kymflow_zarr.errors import ArgumentError, ArtifactNotFoundError
from kymflow_zarr.formats.kinds import KINDS
from kymflow_zarr.storage.interface import UNKNOWN_VERSION, Stat, Storage
from kymflow_zarr.types import ArtifactInfo, ArtifactKind


def require_kind(kind: ArtifactKind) -> ArtifactKind:
    """Return a kind of artifacts; raise ArgumentError if there is no such kind."""
    if kind not in KINDS:
        raise ArgumentError(
            f"there is no kind {kind!r} of artifacts",
            where="kind",
            hint=f"Use one of {', '.join(map(repr, KINDS))}.",
        )
    return kind


def encode(kind: ArtifactKind, value: Any, *, where: str) -> bytes:
    """Return the bytes of an artifact.

    Raises
    ------
    UnsupportedDataError
        If the value would not come back equal.
    """
    return KINDS[kind].encode(value, where=where)


def decode(kind: ArtifactKind, data: bytes, *, where: str) -> Any:
    """Return the value of the bytes of an artifact.

    Raises
    ------
    CorruptDataError
        If they are not valid output of :func:`encode`.
    """
    return KINDS[kind].decode(data, where=where)


def load(storage: Storage, prefix: str, kind: ArtifactKind, name: str) -> Any:
    """Return an artifact of the record at `prefix`.

    Raises
    ------
    ArtifactNotFoundError
        If there is none of that kind and name.
    """
    key = f"{prefix}/{layout.artifact_key(kind, name)}"
    data = storage.read(key)
    if data is None:
        there = list(listing(storage, prefix))
        others = [i for i in there if i.name == name]
        meant = did_you_mean(name, [i.name for i in there])
        hint = (
            f"It was saved as {others[0].kind}: use {KINDS[others[0].kind].loader}()."
            if others
            else f"{meant}list_artifacts() tells which there are."
        )
        raise ArtifactNotFoundError(
            f"the image has no {kind} artifact {name!r}", where=key, hint=hint
        )
    return decode(kind, data, where=key)


def kind_of(storage: Storage, prefix: str, name: str) -> ArtifactKind:
    """Return the kind of the only artifact of a name in the record at `prefix`.

    Raises
    ------
    ArtifactNotFoundError
        If there is none.
    ArgumentError
        If there are several.
    """
    infos = list(listing(storage, prefix))
    kinds = [info.kind for info in infos if info.name == name]
    if not kinds:
        raise ArtifactNotFoundError(
            f"the image has no artifact {name!r}",
            where=prefix,
            hint=f"{did_you_mean(name, [i.name for i in infos])}list_artifacts() lists them.",
        )
    if len(kinds) > 1:
        raise ArgumentError(
            f"the image has {len(kinds)} artifacts {name!r}: {', '.join(kinds)}",
            where="kind",
            hint="Name the kind of one of them.",
        )
    return kinds[0]


def listing(
    storage: Storage, prefix: str, *, links: list[str] | None = None
) -> Iterator[ArtifactInfo]:
    """Yield the JSON and data-frame artifacts of the record at `prefix`, sorted by key.

    Parameters
    ----------
    storage : Storage
    prefix : str
    links : list of str, optional
        Receives the keys of links that may stand for folders of artifacts.
    """
    for key, stat in storage.walk(f"{prefix}/{layout.ANALYSIS}"):
        parsed = layout.parse_artifact_key(key.removeprefix(f"{prefix}/"))
        if parsed is not None:
            kind, name = parsed
            yield ArtifactInfo(name, kind, key, stat.size)
        elif key == f"{prefix}/{layout.ANALYSIS}":
            storage.read(key)  # A link in the place of the folder: an error, not no artifacts.
        elif links is not None and _is_link(storage, key, stat):
            links.append(key)


def _is_link(storage: Storage, key: str, stat: Stat) -> bool:
    """Return True if a key that a walk yields is a link to a folder, or one that leads nowhere."""
    return storage.is_folder(key) or (stat.version == UNKNOWN_VERSION and not stat.size)


def is_named(info: ArtifactInfo, suffix: str) -> bool:
    """Return True if a suffix, as of :meth:`StoredImage.delete_analysis`, matches an artifact.

    Metadata, provenance, curation and lineage match only their full name.
    """
    by_name = info.name == suffix or info.name.endswith(f"/{suffix}")
    if info.name in (layout.METADATA, layout.PROVENANCE, layout.CURATION, layout.LINEAGE):
        return by_name or (info.key.endswith(suffix) and info.name in suffix)
    return by_name or info.key.endswith(suffix)
