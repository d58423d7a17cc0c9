"""Datasets of format version 1, carried over to version 2."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from kymflow_zarr import layout
from kymflow_zarr._version import __version__
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.engine.opening.modes import create_dataset, open_storage
from kymflow_zarr.engine.tables import Tables
from kymflow_zarr.errors import (
    ArgumentError,
    DatasetExistsError,
    KymflowZarrError,
    StorageError,
    TargetExistsError,
)
from kymflow_zarr.legacy_v1.documents import V1_FORMAT
from kymflow_zarr.legacy_v1.migrate_image import (
    KEPT_FILES,
    OldImage,
    carry,
    difference,
    read_image,
    source_differs,
)
from kymflow_zarr.legacy_v1.migrate_sources import TABLE, OldSources, read_sources
from kymflow_zarr.legacy_v1.report import MigrationItem, MigrationReport
from kymflow_zarr.legacy_v1.storage import V1Storage, is_v1, open_v1
from kymflow_zarr.schema.base import DatasetDocument
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.files import os_errors, rename_folder, sync_folder
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.types import Progress, StrPath

__all__ = ["migrate_dataset", "migrate_in_place"]

_ROOT_ATTRIBUTES: Final = "kymflow_zarr_v1"
_BUILDING: Final = ".migrating"
_BACKUP: Final = ".v1-backup"


def migrate_dataset(
    old: StrPath, new: StrPath, *, progress: Progress | None = None
) -> MigrationReport:
    """Carry a dataset of format version 1 over to a new dataset of version 2.

    The old dataset is only read. Each image is carried over in one step and then compared,
    bit by bit, with the old one; a second call goes on where the first was stopped, and
    never changes what the new dataset holds already.

    Parameters
    ----------
    old : str or Path
        A dataset of version 1. Nobody may write to it meanwhile.
    new : str or Path
        Where the new one is made, or what an earlier call made of the same `old`.
    progress : callable, optional
        Called as ``progress(done, total, name)``.

    Returns
    -------
    MigrationReport
        ``ok`` if all of `old` is in `new`, equal. An image that cannot be read is named
        there and does not stop the others.

    Raises
    ------
    DatasetNotFoundError
        If there is no dataset at `old`.
    ArgumentError
        If `old` is in version 2 already, or one path lies in the other.
    DatasetExistsError
        If there is another dataset at `new` (a FileExistsError).
    SchemaValidationError
        If there is something else at `new`; nothing in it is changed.
    StorageError
        If `new` cannot be written to; what is there is complete as far as it goes.
    """
    source, target = Path(old).expanduser(), Path(new).expanduser()
    storage, document = _open_old(source)
    one, other = source.resolve(), target.resolve()
    if one.is_relative_to(other) or other.is_relative_to(one):
        raise ArgumentError(
            "the new dataset must lie beside the old one, not in its place",
            where=str(target),
            hint="migrate_in_place() puts the new one in the place of the old one.",
        )
    return _migrate(storage, document, target, overwrite=False, progress=progress)


def migrate_in_place(path: StrPath, *, progress: Progress | None = None) -> MigrationReport:
    """Put a dataset of version 2 in the place of one of format version 1.

    The new dataset is made beside the old one, as ``<name>.migrating``. When all of it was
    found equal, the old one is renamed to ``<name>.v1-backup``, where it stays, and the new
    one takes its name. If something could not be carried over, or this was stopped, the old
    one stays in its place; a second call goes on.

    Parameters
    ----------
    path : str or Path
        A dataset of version 1. Nobody may write to it meanwhile.
    progress : callable, optional
        As for :func:`migrate_dataset`.

    Returns
    -------
    MigrationReport
        With `backup` if the new dataset has taken the place of the old one.

    Raises
    ------
    TargetExistsError
        If something else has one of the two names (a FileExistsError).
    DatasetNotFoundError, ArgumentError, StorageError
        As for :func:`migrate_dataset`.
    """
    place = Path(path).expanduser().resolve()
    building = place.with_name(place.name + _BUILDING)
    backup = place.with_name(place.name + _BACKUP)
    # Stopped between the two renamings: the old one has its new name already.
    moved = not os.path.lexists(place) and backup.is_dir() and building.is_dir()
    storage, document = _open_old(backup if moved else place)
    if not moved and os.path.lexists(backup):
        raise TargetExistsError(
            "the old dataset would get this name, which is taken",
            where=str(backup),
            hint="Move it away, then call again.",
        )
    report = _migrate(storage, document, building, overwrite=True, progress=progress)
    if not report.ok:
        return replace(report, old=str(place))
    with os_errors("put the new dataset in the place of the old one", str(place)):
        if not moved:
            rename_folder(place, backup)
        try:
            rename_folder(building, place)
        except OSError:
            if not os.path.lexists(place):
                rename_folder(backup, place)
            raise
        sync_folder(place.parent)
    return replace(report, old=str(place), new=str(place), backup=str(backup))


def _open_old(path: Path) -> tuple[V1Storage, DatasetDocument]:
    storage, document = open_storage(path, "r", "full", {V1_FORMAT: open_v1})
    if not isinstance(storage, V1Storage):
        raise ArgumentError(
            "this dataset is in format version 2 already: there is nothing to migrate",
            where=str(path),
        )
    return storage, document


def _open_new(path: Path, old: V1Storage, document: DatasetDocument) -> Storage:
    if path.is_dir() and is_v1(LocalStorage(path, writable=False)):
        raise _taken(path)
    new = DatasetDocument(
        dataset_id=document.dataset_id,
        created_utc=document.created_utc,
        created_by=f"kymflow_zarr {__version__}",
    )
    # All of the old root's attributes, so that none is lost.
    attributes = {_ROOT_ATTRIBUTES: old.attributes()[".zattrs"]}
    create_dataset(path, new, attributes=attributes, durability="full")
    storage, found = open_storage(path, "r+", "full")
    if found.dataset_id != document.dataset_id:
        raise _taken(path)
    return storage


def _delete(storage: Storage, key: str) -> None:
    with storage.transaction("") as transaction:
        transaction.remove(key)


def _taken(path: Path) -> DatasetExistsError:
    return DatasetExistsError(
        "there is another dataset already", where=str(path), hint="Choose another path."
    )


def _migrate(
    old: V1Storage,
    document: DatasetDocument,
    target: Path,
    *,
    overwrite: bool,
    progress: Progress | None,
) -> MigrationReport:
    with contextlib.closing(_open_new(target, old, document)) as new:
        return _carry_over(old, new, overwrite=overwrite, progress=progress)


def _carry_over(
    old: V1Storage, new: Storage, *, overwrite: bool, progress: Progress | None
) -> MigrationReport:
    sources = read_sources(old)
    work = _Migration(old, new, sources, overwrite=overwrite)
    image_ids, tables, foreign = Index(old).image_ids(), Tables(old).names(), old.foreign_files()
    if overwrite:
        work.remove_others(image_ids, tables)
    steps = [
        *((name, work.image) for name in image_ids),
        *((name, work.table) for name in tables),
        *((place, work.file) for place in foreign),
    ]
    items = []
    for done, (name, step) in enumerate(steps, start=1):
        items.append(step(name))
        if progress is not None:
            progress(done, len(steps), name)
    items += [
        MigrationItem("failed", "image", name, "no image of version 2 can have this id")
        for name in old.refused_images()
    ]
    return MigrationReport(old.location, new.location, tuple(items))


@dataclass(frozen=True, slots=True)
class _Migration:
    """One dataset on its way.

    Parameters
    ----------
    old : V1Storage
    new : Storage
    sources : OldSources
    overwrite : bool
        Whether the new dataset is ours alone, so that what differs there is an old state.
    """

    old: V1Storage
    new: Storage
    sources: OldSources
    overwrite: bool

    def remove_others(self, image_ids: list[str], tables: list[str]) -> None:
        """Remove what the old dataset has not, or not any more."""
        for image_id in set(Index(self.new).image_ids()) - set(image_ids):
            _delete(self.new, layout.image_prefix(image_id))
        for name in set(Tables(self.new).names()) - set(tables):
            Tables(self.new).delete(name)

    def image(self, image_id: str) -> MigrationItem:
        """Carry an image over, if it is not there, and compare it."""
        prefix = layout.image_prefix(image_id)
        try:
            image = read_image(self.old, image_id, self.sources)
        except KymflowZarrError as error:
            return MigrationItem("failed", "image", image_id, str(error))
        notes = "; ".join(image.notes) or None
        if self.new.stat(prefix) is not None:
            differs = self._difference(image)
            if differs is None:
                return MigrationItem("unchanged", "image", image_id, notes)
            if not self.overwrite:
                return _differs("image", image_id, differs)
            _delete(self.new, prefix)
        try:
            carry(image, self.new)
        except StorageError:
            raise  # A full disk is no fault of this image.
        except KymflowZarrError as error:
            return MigrationItem("failed", "image", image_id, str(error))
        differs = self._difference(image)
        if differs is not None:
            _delete(self.new, prefix)
            reason = f"what was written did not come back equal: {differs}"
            return MigrationItem("failed", "image", image_id, reason)
        return MigrationItem("migrated", "image", image_id, notes)

    def _difference(self, image: OldImage) -> str | None:
        try:
            differs = difference(image, self.new)
            # A dataset that others use may have been scanned since, and know more.
            if differs is None and self.overwrite and source_differs(image, self.new):
                return "source_files"
            return differs
        except KymflowZarrError as error:
            return str(error)

    def table(self, name: str) -> MigrationItem:
        """Carry a table over, byte by byte."""
        key = layout.table_key(name)
        note = self.sources.note if name == TABLE else None
        return self._bytes("table", name, self.old.place(key), key, note=note)

    def file(self, place: str) -> MigrationItem:
        """Carry a file over that version 2 has no place for."""
        key = f"{KEPT_FILES}/{place}"
        return self._bytes("file", place, place, key, note=f"no place in version 2: kept as {key}")

    def _bytes(
        self,
        kind: Literal["table", "file"],
        name: str,
        place: str,
        key: str,
        *,
        note: str | None = None,
    ) -> MigrationItem:
        try:
            data = self.old.files.read(place)
        except StorageError as error:
            return MigrationItem("failed", kind, name, str(error))
        if data is None:
            return MigrationItem("failed", kind, name, "it has gone since it was listed")
        there = self.new.read(key)
        if there == data:
            return MigrationItem("unchanged", kind, name, note)
        if there is not None and not self.overwrite:
            return _differs(kind, name, "content")
        with self.new.lock(f"{kind}:{name}"), self.new.lock("top"), Change(self.new, "") as change:
            change.write(key, data)
        if self.new.read(key) != data:
            return MigrationItem("failed", kind, name, "what was written did not come back equal")
        return MigrationItem("migrated", kind, name, note)


def _differs(kind: Literal["image", "table", "file"], name: str, what: str) -> MigrationItem:
    reason = f"the new dataset holds another of that name, which is left alone; differs: {what}"
    return MigrationItem("failed", kind, name, reason)
