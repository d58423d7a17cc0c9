"""Mend what is at the top of a dataset: tables, kept source files, group documents."""

from __future__ import annotations

import contextlib

from kymflow_zarr import layout
from kymflow_zarr.check.repair.image import FROM_SOURCE
from kymflow_zarr.check.repair.plan import Mending
from kymflow_zarr.check.repair.sources import kept_again
from kymflow_zarr.check.verify.decoding import decodes, is_kept
from kymflow_zarr.check.verify.group import Group, examine
from kymflow_zarr.check.verify.hashing import Hasher
from kymflow_zarr.check.verify.parts import name_of
from kymflow_zarr.engine.documents import dump, load
from kymflow_zarr.engine.source_files import KeptFiles
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.schema.base import plain_group_document
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.interface import Storage

_ROUNDS = 4
_IMAGES_GROUP = f"{layout.IMAGES}/{layout.GROUP}"
_KEPT_LIST = f"{layout.SOURCE_FILES}/files.json"


def mend_top(storage: Storage, mending: Mending, hasher: Hasher) -> None:
    """Mend the top; the caller holds all of its locks."""
    for _ in range(_ROUNDS):
        group = examine(storage, "", None, hasher)
        if not group.errors or any(d.code == "unreadable" for d in group.errors):
            return
        _mend(storage, mending, group, hasher)
        mending.commit()
        if mending.dry_run:
            return


def _mend(storage: Storage, mending: Mending, group: Group, hasher: Hasher) -> None:
    listed, broken, foreign = dict(group.listed or {}), {}, {}
    kept = _kept(storage)
    if group.listed is None:
        paths = {below: below for below in group.found}
        hashed = hasher.hash(paths)
        listed = {key: found for key, found in hashed if isinstance(found, FileSum)}
        for below in listed:
            what = _unreadable(storage, below, kept)
            if what is not None:
                broken[below] = what
        mending.note(
            "relist",
            layout.CHECKSUMS,
            f"{group.errors[0].what}; kept files are held against their digests; of the rest it "
            "is only known that it can be read today",
        )
    for damage in group.errors:
        if damage.code == "file-unlisted":
            foreign[damage.where] = damage.what
        elif damage.where != layout.CHECKSUMS:
            broken[damage.where] = damage.what
    for file in kept:
        if file.kept_as is not None and file.kept_as not in listed:
            broken.setdefault(file.kept_as, "it is missing")
    for key in list(broken):
        if _mended(storage, mending, key, broken[key], listed, kept):
            del broken[key]
    for key, what in (broken | foreign).items():
        part = name_of("", key, None)
        if storage.stat(key) is not None:
            mending.quarantine(key, f"{part}: {what}")
        else:
            mending.lose(key, f"{part}: {what}")
        listed.pop(key, None)
    _forget(mending, kept, listed)
    mending.relist(listed)


def _mended(
    storage: Storage,
    mending: Mending,
    key: str,
    what: str,
    listed: dict[str, FileSum],
    kept: list[SourceFileDocument],
) -> bool:
    if key == _IMAGES_GROUP:
        mending.write(key, dump(plain_group_document()))
        mending.note("rebuild", key, what)
        return True
    if key == layout.GROUP:
        # Without it there is no dataset; it could be read, or nobody would be here.
        data = storage.read(key)
        if data is not None:
            listed[key] = FileSum.of(data)
            mending.note("relist", key, f"{what}; it can be read, and is taken as it is")
        return data is not None
    data = kept_again(kept, key)
    if data is None or storage.is_folder(key):
        return False
    mending.restore(key, data, f"{what}; {FROM_SOURCE}")
    listed[key] = FileSum.of(data)
    return True


def _kept(storage: Storage) -> list[SourceFileDocument]:
    with contextlib.suppress(KymflowZarrError):
        return list(KeptFiles(storage).documents().values())
    return []


def _unreadable(storage: Storage, below: str, kept: list[SourceFileDocument]) -> str | None:
    if layout.parse_table_key(below) is not None and below.startswith(f"{layout.TABLES}/"):
        return decodes(storage, below, below)
    if below == _KEPT_LIST:
        try:
            KeptFiles(storage).documents()
        except KymflowZarrError as error:
            return error.what
    elif below.startswith(f"{layout.SOURCE_FILES}/"):
        return is_kept(storage, "", below, kept)
    elif below == _IMAGES_GROUP and load_or_none(storage, below) != plain_group_document():
        return "it is no plain group document"
    return None


def load_or_none(storage: Storage, key: str) -> object:
    """Return a document, None if it cannot be read."""
    with contextlib.suppress(KymflowZarrError):
        return load(storage, key)
    return None


def _forget(mending: Mending, kept: list[SourceFileDocument], listed: dict[str, FileSum]) -> None:
    if _KEPT_LIST not in listed:
        return
    gone = [file for file in kept if file.kept_as is not None and file.kept_as not in listed]
    if not gone:
        return
    for file in gone:
        file.kept_as = None
    mending.write(_KEPT_LIST, dump(KeptFiles.document_of(kept)))
