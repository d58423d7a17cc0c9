"""Heads: the small objects that hold the state of an image, and of the top of a dataset.

A head lists the files of its scope, each with size, digest and the immutable object that has its
bytes. It changes by conditional put alone.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.errors import FormatVersionError, SchemaValidationError
from kymflow_zarr.schema.base import FORMAT, decodable
from kymflow_zarr.schema.checksums import FileSum, dump_checksums

OBJECTS_VERSION: Final = 3
HEADS: Final = "heads"
TOP: Final = "top"
CHANGES: Final = "changes"
RECENT: Final = 32
"""How many commits a head remembers, so that a writer finds its own after a lost answer."""
# A list of objects shows sizes, so the sizes of heads tell deleted ones and those in a change of
# several heads from the others, without a request for each.
_UNIT: Final = 512
_DELETED: Final = 0
_PENDING: Final = 1


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One file: where its bytes are, their number and their digest.

    Parameters
    ----------
    size : int
    sha256 : str
    object : str, optional
        Name of the object below the dataset.
    text : str, optional
        The content, of a short document. At least one of both is given.
    """

    size: int
    sha256: str
    object: str | None = None
    text: str | None = None

    @property
    def version(self) -> int:
        """A number that differs for other content."""
        return number_of(f"{self.object}|{self.sha256}")


Files = dict[str, FileEntry]


class State(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The files of a scope by their keys below it; None if the image is deleted."""

    files: Files | None = None


class Pending(msgspec.Struct, kw_only=True):
    """The state that the head takes if the change of several heads is committed."""

    change: str
    then: State


class Head(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The content of a head.

    Parameters
    ----------
    seq : int
        Number of changes of this head.
    commit : str
        A new id for each change, so that an entity tag never recurs.
    recent : list of str
        The last commits before this one.
    state : State
    pending : Pending, optional
        While a change of several heads is under way.
    """

    format: str = FORMAT
    format_version: int = OBJECTS_VERSION
    document: str = "head"
    seq: int
    commit: str
    recent: list[str]
    state: State
    pending: Pending | None = None


def next_head(before: Head | None, state: State, pending: Pending | None = None) -> Head:
    """Return the head that follows another."""
    commit = uuid.uuid4().hex
    if before is None:
        return Head(seq=1, commit=commit, recent=[], state=state, pending=pending)
    recent = [*before.recent, before.commit][-RECENT:]
    return Head(seq=before.seq + 1, commit=commit, recent=recent, state=state, pending=pending)


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def encode_head(head: Head) -> bytes:
    """Return the bytes of a head, padded so that their number tells its kind."""
    document = msgspec.to_builtins(head)
    # They have defaults, but other readers need them.
    document |= {"format": head.format, "format_version": head.format_version, "document": "head"}
    data = _ENCODER.encode(document) + b"\n"
    if head.pending is not None:
        return data.ljust(len(data) + (_PENDING - len(data)) % _UNIT)
    if head.state.files is None:
        return data.ljust(len(data) + (_DELETED - len(data)) % _UNIT)
    while len(data) % _UNIT in (_DELETED, _PENDING):
        data += b" "
    return data


def is_deleted(size: int) -> bool:
    """Return True if a head of this size is that of a deleted image."""
    return size % _UNIT == _DELETED


def is_pending(size: int) -> bool:
    """Return True if a head of this size waits for the outcome of a change."""
    return size % _UNIT == _PENDING


def decode_head(data: bytes, *, where: str) -> Head:
    """Return a head.

    Raises
    ------
    FormatVersionError
        If it has a version that this code does not know.
    SchemaValidationError
        If it is damaged, or names an object outside of the dataset.
    """
    try:
        raw: Any = msgspec.json.decode(data)
        version = raw.get("format_version") if isinstance(raw, Mapping) else None
        if version is not None and version != OBJECTS_VERSION:
            raise FormatVersionError(
                f"format version {version!r} is not known to this kymflow_zarr",
                where=where,
                hint="Upgrade kymflow_zarr to open it.",
            )
        head = msgspec.convert(raw, decodable(Head), strict=True)
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise SchemaValidationError(f"the head is not valid: {error}", where=where) from error
    states = [head.state, *([] if head.pending is None else [head.pending.then])]
    for state in states:
        for key, entry in (state.files or {}).items():
            _check_entry(key, entry, where)
    return head


def _check_entry(key: str, entry: FileEntry, where: str) -> None:
    name = entry.object
    if layout.leads_out(key) or (name is not None and layout.leads_out(name)):
        raise SchemaValidationError(f"the head names {key!r} or {name!r}, which leads out of the "
                                    "dataset", where=where)  # fmt: skip
    if name is None and entry.text is None:
        raise SchemaValidationError(f"the head has no content for {key!r}", where=where)


def head_name(scope: str) -> str:
    """Return the name of the head of a scope: ``top``, or ``images/`` and a folder."""
    return f"{HEADS}/{scope}.json"


def scope_of(key: str) -> tuple[str, str]:
    """Return the scope of a file, and its key below the scope."""
    parts = key.split("/", 2)
    if len(parts) == 3 and parts[0] == layout.IMAGES:
        return f"{parts[0]}/{parts[1]}", parts[2]
    return TOP, key


def checksums_of(files: Files) -> bytes:
    """Return the list of checksums of the files of a scope."""
    listed = {
        key: FileSum(entry.size, entry.sha256)
        for key, entry in files.items()
        if not key.startswith(f"{layout.QUARANTINE}/")
    }
    return dump_checksums(listed)


def number_of(text: str) -> int:
    """Return a number that differs for different texts."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
