"""One image, or the top of a dataset, held against its list of checksums."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from kymflow_zarr import layout
from kymflow_zarr.check.files import is_temporary, list_names, stat_of
from kymflow_zarr.check.report import Damage
from kymflow_zarr.check.verify.agreement import disagreements
from kymflow_zarr.check.verify.hashing import Hasher
from kymflow_zarr.check.verify.parts import is_read, name_of
from kymflow_zarr.engine.documents import load_image
from kymflow_zarr.errors import KymflowZarrError, SchemaValidationError, StorageError
from kymflow_zarr.schema.checksums import FileSum, parse_checksums
from kymflow_zarr.storage.interface import Stat, Storage
from kymflow_zarr.types import Severity

DAMAGES: Final[dict[str, Severity]] = {
    "file-missing": "error",
    "file-size": "error",
    "file-changed": "error",
    "file-unlisted": "error",
    "unreadable": "error",
    "checksums-missing": "error",
    "checksums-damaged": "error",
    "document-missing": "error",
    "contradiction": "error",
    "foreign-file": "warning",
    "index": "warning",
    "quarantine": "warning",
}
"""Severity of each code of `verify`."""

REPAIR: Final = "kymflow-zarr repair restores it from its source file, or puts it aside."
_RELIST: Final = "kymflow-zarr repair makes the list anew of what can be told to be whole."
_LIST: Final = "list of checksums"


@dataclass(slots=True)
class Group:
    """What is known of the files of a group.

    Attributes
    ----------
    prefix : str
        Key of the image; empty for the top of the dataset.
    image_id : str, optional
    data : bytes, optional
        The list of checksums as it is on the disk.
    listed : dict of str to FileSum, optional
        What it says, by the key below the group; None if it cannot be read.
    found : dict of str to Stat
        The files there are.
    damages : list of Damage
    """

    prefix: str
    image_id: str | None
    data: bytes | None = None
    listed: dict[str, FileSum] | None = None
    found: dict[str, Stat] = field(default_factory=dict)
    damages: list[Damage] = field(default_factory=list)
    current: str | None = None

    def key(self, below: str) -> str:
        """Return the key in the dataset of a key below the group."""
        return "/".join(part for part in (self.prefix, below) if part)

    def below(self, key: str) -> str:
        """Return the key below the group of a key in the dataset."""
        return key[len(self.prefix) + 1 :] if self.prefix else key

    @property
    def errors(self) -> list[Damage]:
        """What is not as it was written."""
        return [damage for damage in self.damages if damage.severity == "error"]

    def add(self, code: str, below: str, what: str, advice: str, part: str | None = None) -> None:
        """Note a damage."""
        part = part or name_of(self.prefix, below, self.current)
        self.damages.append(
            Damage(DAMAGES[code], code, self.image_id, part, self.key(below), what, advice)
        )


def examine(
    storage: Storage,
    prefix: str,
    image_id: str | None,
    hasher: Hasher | None,
    before: Group | None = None,
) -> Group:
    """Hold a group against its list.

    Parameters
    ----------
    storage : Storage
    prefix : str
    image_id : str, optional
    hasher : Hasher, optional
        Without one, files are not read: sizes and presence only.
    before : Group, optional
        The same, a moment ago: what was good and has not changed is not read again.
    """
    group = Group(prefix, image_id)
    if image_id is not None:
        with contextlib.suppress(KymflowZarrError):
            group.current = load_image(storage, image_id).pixels.path
    _read_list(storage, group)
    try:
        group.found = dict(_files(storage, prefix))
    except StorageError as error:
        group.add("unreadable", "", error.what, error.hint or "Check the disk.", "folder")
        return group
    if not prefix:
        _note_foreign(storage, group)
    if group.listed is None:
        if prefix and layout.GROUP not in group.found:
            _note_no_document(group)
        return group
    _compare(storage, group, group.listed, hasher, _known(before, group))
    if hasher is not None and not group.errors:
        for below, what in disagreements(storage, prefix, image_id, group.listed):
            group.add("contradiction", below, what, REPAIR)
    return group


def _read_list(storage: Storage, group: Group) -> None:
    where = group.key(layout.CHECKSUMS)
    try:
        group.data = storage.read(where)
        if group.data is None:
            if storage.stat(where) is not None:
                raise SchemaValidationError("something that is no file is in its place")
            what = "it is missing, so that nothing can be told of the files here"
            group.add("checksums-missing", layout.CHECKSUMS, what, _RELIST, _LIST)
            return
        group.listed = parse_checksums(group.data, where=where)
    except StorageError as error:
        advice = error.hint or "Check the disk."
        group.add("unreadable", layout.CHECKSUMS, error.what, advice, _LIST)
    except SchemaValidationError as error:
        group.add("checksums-damaged", layout.CHECKSUMS, error.what, _RELIST, _LIST)


def _note_no_document(group: Group) -> None:
    group.add(
        "document-missing",
        layout.GROUP,
        "it is missing, so that nothing in the folder can be read",
        "Restore it from a copy of the dataset; kymflow-zarr repair puts the folder aside.",
    )


def _files(storage: Storage, prefix: str) -> Iterator[tuple[str, Stat]]:
    """Yield key below the group, size and time of each file of a group."""
    if prefix:
        folders = [prefix]
    else:
        folders = [layout.TABLES, layout.SOURCE_FILES]
        for key in (layout.GROUP, f"{layout.IMAGES}/{layout.GROUP}"):
            stat = storage.stat(key)
            if stat is not None:
                yield key, stat
    cut = len(prefix) + 1 if prefix else 0
    for folder in folders:
        for key, stat in storage.walk(folder):
            if key[cut:] != layout.CHECKSUMS and key.rpartition("/")[2] not in layout.LITTER:
                yield key[cut:], stat


def _note_foreign(storage: Storage, group: Group) -> None:
    for name in list_names(storage, ""):
        if name not in layout.OWN_NAMES and not is_temporary(name):
            _foreign(group, name)
    try:
        names = list_names(storage, layout.IMAGES)
    except StorageError:
        return  # All that is missing in it is noted.
    for name in names:
        key = f"{layout.IMAGES}/{name}"
        is_image = layout.parse_image_folder(name) is not None and storage.is_folder(key)
        # By name alone one is seen whose removal is committed and under way.
        is_there = storage.stat(key) is not None
        if name != layout.GROUP and not is_temporary(name) and is_there and not is_image:
            _foreign(group, key)


def _foreign(group: Group, below: str) -> None:
    group.add(
        "foreign-file",
        below,
        "it is none of the files that were written, and nothing reads it",
        "Keep it outside the dataset, or save it as an artifact.",
        "file",
    )


def _known(before: Group | None, group: Group) -> set[str]:
    if before is None or before.listed is None or before.data != group.data:
        return set()
    bad = {before.below(damage.where) for damage in before.damages}
    same = before.found.items() & group.found.items()
    return {below for below, _ in same if below not in bad}


def _compare(
    storage: Storage,
    group: Group,
    listed: Mapping[str, FileSum],
    hasher: Hasher | None,
    known: Collection[str],
) -> None:
    same_size = {}
    for below, said in listed.items():
        stat = group.found.get(below)
        if stat is None:
            there = stat_of(storage, group.key(below)) is not None
            what = "something that is no file is in its place" if there else "it is missing"
            group.add("file-missing", below, what, REPAIR)
        elif stat.size != said.size_bytes:
            what = f"it has {stat.size} bytes, where {said.size_bytes} were written"
            group.add("file-size", below, what, REPAIR)
        elif below not in known:
            same_size[below] = group.key(below)
    if hasher is not None:
        for below, found in hasher.hash(same_size):
            if isinstance(found, str):
                advice = "Check the permissions and the disk."
                group.add("unreadable", below, f"it cannot be read: {found}", advice)
            elif found is None:
                group.add("file-missing", below, "it is missing", REPAIR)
            elif found != listed[below]:
                what = "its bytes are not those that were written"
                group.add("file-changed", below, what, REPAIR)
    for below in group.found:
        if below not in listed and is_read(group.prefix, below, listed):
            group.add(
                "file-unlisted",
                below,
                "it is none of the files that were written, and readers take it for one",
                "Keep it outside the dataset, or save it as an artifact; kymflow-zarr repair "
                "puts it aside.",
            )
        elif below not in listed:
            _foreign(group, below)
