"""Migrate datasets of format version 1 to version 2."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import numpy as np

from kymflow_zarr import layout
from kymflow_zarr._version import __version__
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import load_image
from kymflow_zarr.engine.images import artifacts
from kymflow_zarr.engine.images import artifacts as artifacts_module
from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
from kymflow_zarr.engine.images.draft import RecordDraft
from kymflow_zarr.engine.images.pixels import open_pixels
from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.engine.opening import create_dataset, open_storage
from kymflow_zarr.engine.tables import Tables
from kymflow_zarr.errors import (
    ArgumentError,
    CorruptDataError,
    DatasetExistsError,
    KymflowZarrError,
    StorageError,
    TargetExistsError,
    UnsupportedDataError,
)
from kymflow_zarr.ingest.folder.scan import sha256_of_file
from kymflow_zarr.legacy_v1.documents import V1_FORMAT, unknown_v1_attributes
from kymflow_zarr.legacy_v1.storage import V1Storage, is_v1, open_v1
from kymflow_zarr.runtime.report import Report
from kymflow_zarr.schema.base import DatasetDocument
from kymflow_zarr.schema.image import ImageDocument, SourceFileDocument
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.files import os_errors, rename_folder, sync_folder
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.types import ArrayLike, Progress, StrPath

TABLE: Final = "sources"
_COLUMNS: Final = (
    "image_id",
    "source_primary_path",
    "source_size_bytes",
    "source_mtime_ns",
    "ingested_epoch_ns",
)
_PROVENANCE: Final = layout.artifact_key("json", "provenance")


@dataclass(frozen=True, slots=True)
class OldSources:
    """The content of version 1's table of sources.

    Parameters
    ----------
    rows : mapping of str to (str, int, int)
        Path, size in bytes and time in nanoseconds of the TIFF of each image, by its id.
    note : str, optional
        Why the table could not be used.
    """

    rows: Mapping[str, tuple[str, int, int]]
    note: str | None = None

    def file_of(self, image_id: str, files: Mapping[str, bytes]) -> SourceFileDocument | None:
        """Return the document of the TIFF of an image, None if no TIFF is recorded.

        Parameters
        ----------
        image_id : str
        files : mapping of str to bytes
            The artifacts of the image, by key below it: ``provenance`` may name a TIFF that is not
            in the table.
        """
        # 0 means "not recorded".
        path, size_bytes, mtime_ns = self.rows.get(image_id, (_provenance_path(files), 0, 0))
        if not path:
            return None
        sha256, place = "", Path(path)
        try:
            if place.is_absolute() and place.is_file():
                place = place.resolve()  # Use the same path as a later scan.
                stat = place.stat()
                if (stat.st_size, stat.st_mtime_ns) == (size_bytes, mtime_ns):
                    sha256 = sha256_of_file(place)
        except (OSError, ValueError):
            place = Path(path)  # The TIFF is not readable here: its digest stays unknown.
        return SourceFileDocument(
            path=str(place) if place.is_absolute() else path,
            rel_path=PureWindowsPath(path).name,
            role="image",
            size_bytes=size_bytes,
            mtime_ns=mtime_ns,
            sha256=sha256,
        )


def read_sources(storage: V1Storage) -> OldSources:
    """Read the table of sources; of several rows of an image, use the last ingest's."""
    tables = Tables(storage)
    if TABLE not in tables.names():
        return OldSources({})
    try:
        frame = tables.load(TABLE)
        missing = [name for name in _COLUMNS if name not in frame.columns]
        if missing:
            return OldSources(
                {}, f"it has no column {', '.join(missing)}: no source is taken of it"
            )
        frame = frame.dropna(subset=list(_COLUMNS)).sort_values("ingested_epoch_ns", kind="stable")
        rows = {
            str(image_id): (str(path), int(size), int(mtime_ns))
            for image_id, path, size, mtime_ns, _ in frame[list(_COLUMNS)].itertuples(index=False)
        }
    except (KymflowZarrError, TypeError, ValueError) as error:
        return OldSources({}, f"no source is taken of it: {error}")
    return OldSources(rows)


def _provenance_path(files: Mapping[str, bytes]) -> str:
    data = files.get(_PROVENANCE)
    provenance: Any = None if data is None else artifacts.decode("json", data, where=_PROVENANCE)
    if not isinstance(provenance, Mapping):
        return ""
    paths = (provenance.get("source_primary_path"), provenance.get("original_path"))
    return next((path for path in paths if isinstance(path, str) and path), "")


KEPT_FILES: Final = "v1_files"
"""Folder, of an image or of the dataset, for files that version 2 has no place for."""
_KEPT_ATTRIBUTES: Final = "v1_attributes"
_BLOCK_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class OldImage:
    """An image of version 1 with lazily read arrays.

    Parameters
    ----------
    image_id : str
    document : ImageDocument
    pixels : ArrayLike
    files : dict of str to bytes
        Content of its record in version 2 apart from arrays, by keys below the record.
    arrays : ArrayArtifacts
    source : SourceFileDocument, optional
        The TIFF that it came from.
    notes : tuple of str
        Notes on content that is stored in another place.
    """

    image_id: str
    document: ImageDocument
    pixels: ArrayLike
    files: dict[str, bytes]
    arrays: ArrayArtifacts
    source: SourceFileDocument | None
    notes: tuple[str, ...]


def read_image(storage: V1Storage, image_id: str, sources: OldSources) -> OldImage:
    """Read an image of version 1.

    Raises
    ------
    KymflowZarrError
        If one of its documents is broken, or a file cannot be read.
    """
    prefix = layout.image_prefix(image_id)
    document = load_image(storage, image_id)
    files: dict[str, bytes] = {}
    notes = []
    foreign = storage.foreign_files(image_id)
    for info in artifacts_module.listing(storage, prefix):
        try:
            files[info.key.removeprefix(f"{prefix}/")] = _artifact(storage, info.key)
        except (CorruptDataError, UnsupportedDataError) as error:
            foreign.append(storage.place(info.key))
            notes.append(f"the {info.kind} artifact {info.name!r} is not readable: {error.what}")
    folder = storage.place(prefix)
    for place in foreign:
        data = storage.files.read(place)
        if data is not None:
            files[f"{KEPT_FILES}/{place.removeprefix(f'{folder}/')}"] = data
    if foreign:
        notes.append(f"{len(foreign)} files without a place in version 2 kept below {KEPT_FILES}/")
    unknown = {
        place: attributes
        for place, attributes in storage.attributes(image_id).items()
        if unknown_v1_attributes(attributes)
    }
    if unknown:
        name = _KEPT_ATTRIBUTES
        while (key := layout.artifact_key("json", name)) in files:
            name += "_"
        files[key] = artifacts_module.encode("json", unknown, where=f"{prefix}/{key}")
        notes.append(f"attributes without a place in version 2 kept as the JSON artifact {name}")
    pixels = _Readable(open_pixels(storage, prefix, document.pixels), where=f"{folder}/data")
    arrays = ArrayArtifacts(storage, prefix)
    source = sources.file_of(image_id, files)
    return OldImage(image_id, document, pixels, files, arrays, source, tuple(notes))


def carry(old: OldImage, storage: Storage) -> None:
    """Add an image to a dataset of version 2.

    Raises
    ------
    KymflowZarrError
        If an array cannot be read, or version 2 does not hold its like.
    """
    document = old.document
    with RecordDraft(storage, old.image_id) as draft:
        draft.set_pixels(old.pixels, axes=document.axis_values())
        draft.set_times(created_utc=document.created_utc, updated_utc=document.updated_utc)
        draft.set_source_files([] if old.source is None else [old.source])
        for key, data in old.files.items():
            draft.write(key, data)
        for name in old.arrays.names():
            array_document = old.arrays.document(name)
            draft.save_array(
                name,
                old.arrays.load(name),
                axes=array_document.axes,
                updated_utc=array_document.updated_utc,
            )
        draft.commit()


def difference(old: OldImage, storage: Storage) -> str | None:
    """Compare an image with the image of the same id in a dataset of version 2.

    Returns
    -------
    str or None
        The first difference, bit by bit; None if they are equal.

    Raises
    ------
    KymflowZarrError
        If one of them cannot be read.
    """
    prefix = layout.image_prefix(old.image_id)
    document = load_image(storage, old.image_id)
    for name in ("axes", "created_utc", "updated_utc"):
        before, now = getattr(old.document, name), getattr(document, name)
        if before != now:
            return f"{name}: {now} instead of {before}"
    if not _same(old.pixels, open_pixels(storage, prefix, document.pixels)):
        return "pixels"
    keys = {key for key, _ in storage.walk(f"{prefix}/{layout.ANALYSIS}")}
    artifacts = {info.key for info in artifacts_module.listing(storage, prefix)}
    for key in sorted(artifacts | keys | {f"{prefix}/{key}" for key in old.files}):
        if storage.read(key) != old.files.get(key.removeprefix(f"{prefix}/")):
            return key.removeprefix(f"{prefix}/")
    return _array_difference(old.arrays, ArrayArtifacts(storage, prefix))


def source_differs(old: OldImage, storage: Storage) -> bool:
    """Return True if the image came from another TIFF, or another version of it, than recorded."""
    now = load_image(storage, old.image_id).source
    if now is None or old.source is None:
        return now is not old.source
    return any(
        getattr(now, name) != getattr(old.source, name)
        for name in ("path", "size_bytes", "mtime_ns")
    )


def _array_difference(old: ArrayArtifacts, new: ArrayArtifacts) -> str | None:
    if old.names() != new.names():
        return f"array artifacts: {new.names()} instead of {old.names()}"
    for name in old.names():
        before, now = old.document(name), new.document(name)
        if (before.axes, before.updated_utc) != (now.axes, now.updated_utc):
            return f"axes or time of the array artifact {name!r}"
        if not _same(old.load(name), new.load(name)):
            return f"array artifact {name!r}"
    return None


def _artifact(storage: Storage, key: str) -> bytes:
    data = storage.read(key)
    if data is None:
        raise CorruptDataError("the file has gone", where=key)
    return data if not key.endswith(".json") else _strict_json(data, key)


def _strict_json(data: bytes, key: str) -> bytes:
    """Return a JSON document, re-encoded if it is not strict JSON in UTF-8."""
    value = artifacts_module.decode("json", data, where=key)
    try:
        json.loads(data.decode(), parse_constant=_refuse)
    except ValueError:
        return artifacts_module.encode("json", value, where=key)
    return data


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # Python reads and writes NaN, which is not JSON.


class _Readable:
    """An array of version 1 that raises our errors for unreadable chunks."""

    def __init__(self, array: Any, *, where: str) -> None:
        self._array = array
        self._where = where
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype: np.dtype[Any] = array.dtype

    def __getitem__(self, key: Any, /) -> Any:
        try:
            return self._array[key]
        except KymflowZarrError:
            raise
        except (OSError, RuntimeError, ValueError, TypeError) as error:
            raise CorruptDataError(
                f"the pixels cannot be read: {error}",
                where=self._where,
                hint="Restore them from a copy of the dataset.",
            ) from error


def _same(one: ArrayLike, other: ArrayLike) -> bool:
    """Return True if two arrays hold the same bits, whatever their byte order."""
    native = one.dtype.newbyteorder("=")
    if (tuple(one.shape), native) != (tuple(other.shape), other.dtype.newbyteorder("=")):
        return False
    blocks = _blocks(tuple(one.shape), native.itemsize)
    return all(_bits(one[block], native) == _bits(other[block], native) for block in blocks)


def _bits(block: Any, native: np.dtype[Any]) -> bytes:
    return np.asarray(block).astype(native, copy=False).tobytes()


def _blocks(shape: tuple[int, ...], item_size: int) -> Iterator[Any]:
    if not shape:
        yield ()
        return
    row_bytes = max(1, math.prod(shape[1:]) * item_size)
    rows = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)


MigrationStatus: TypeAlias = Literal["migrated", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class MigrationItem:
    """The outcome for one image, table or file.

    Parameters
    ----------
    status : {"migrated", "unchanged", "failed"}
        ``migrated``: migrated by this call and verified. ``unchanged``: migrated by an earlier call
        and verified. ``failed``: unreadable, or different in the new dataset.
    kind : {"image", "table", "file"}
    name : str
        Id of the image, name of the table, or path of the file below the old dataset.
    reason : str, optional
        Why it failed, or which content is stored in another place.
    """

    status: MigrationStatus
    kind: Literal["image", "table", "file"]
    name: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class MigrationReport(Report[MigrationItem]):
    """The outcome of a migration.

    Parameters
    ----------
    old, new : str
        Paths of the old and of the new dataset.
    items : tuple of MigrationItem
        Images, tables, then other files.
    backup : str, optional
        Path of the old dataset after a migration in place.
    """

    ENTRIES: ClassVar[str] = "items"
    ENTRY: ClassVar[type] = MigrationItem

    old: str
    new: str
    items: tuple[MigrationItem, ...]
    backup: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the new dataset holds everything of the old one, unchanged."""
        return not self.failed

    @property
    def migrated(self) -> tuple[MigrationItem, ...]:
        """Items that this call migrated."""
        return self._with(status="migrated")

    @property
    def unchanged(self) -> tuple[MigrationItem, ...]:
        """Items that an earlier call migrated."""
        return self._with(status="unchanged")

    @property
    def failed(self) -> tuple[MigrationItem, ...]:
        """Items that are missing or different in the new dataset, with the reason."""
        return self._with(status="failed")

    def _summary(self) -> dict[str, Any]:
        statuses = get_args(MigrationStatus)
        counts = {s: len(self._with(status=s)) for s in statuses}
        return {"ok": self.ok, "counts": counts}

    def __str__(self) -> str:
        head = (
            f"{len(self.migrated)} migrated, {len(self.unchanged)} unchanged, "
            f"{len(self.failed)} failed: {self.old} -> {self.new}"
        )
        backup = [] if self.backup is None else [f"the old dataset is kept as {self.backup}"]
        notes = [
            f"{item.status} {item.kind} {item.name}: {item.reason}"
            for item in self.items
            if item.reason is not None
        ]
        return self._text(head, *backup, *notes)


_ROOT_ATTRIBUTES: Final = "kymflow_zarr_v1"
_BUILDING: Final = ".migrating"
_BACKUP: Final = ".v1-backup"


def migrate_dataset(
    old: StrPath, new: StrPath, *, progress: Progress | None = None
) -> MigrationReport:
    """Migrate a dataset of format version 1 to a new dataset of version 2.

    The old dataset is only read. Each image is migrated in one transaction and then compared with
    the old one, bit by bit. A second call resumes an interrupted one, and never changes existing
    content of the new dataset.

    Parameters
    ----------
    old : str or Path
        A dataset of version 1. No program may write to it during the migration.
    new : str or Path
        Path of the new dataset; it may hold the result of an earlier call for the same `old`.
    progress : callable, optional
        Called as ``progress(done, total, name)``.

    Returns
    -------
    MigrationReport
        ``ok`` if `new` holds everything of `old`, unchanged. An unreadable image is reported and
        does not stop the others.

    Raises
    ------
    DatasetNotFoundError
        If there is no dataset at `old`.
    ArgumentError
        If `old` already has version 2, or one path lies in the other.
    DatasetExistsError
        If there is another dataset at `new` (a FileExistsError).
    SchemaValidationError
        If there is something else at `new`, which is left unchanged.
    StorageError
        If `new` cannot be written to; the images already migrated are complete.
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
    """Migrate a dataset of format version 1 in place.

    The new dataset is written beside the old one, as ``<name>.migrating``. After everything was
    verified, the old one is renamed to ``<name>.v1-backup`` and kept, and the new one takes its
    name. If something could not be migrated, or the call is interrupted, the old one stays in its
    place; a second call resumes.

    Parameters
    ----------
    path : str or Path
        A dataset of version 1. No program may write to it during the migration.
    progress : callable, optional
        As for :func:`migrate_dataset`.

    Returns
    -------
    MigrationReport
        With `backup` if the new dataset has replaced the old one.

    Raises
    ------
    TargetExistsError
        If something else exists under one of the two names (a FileExistsError).
    DatasetNotFoundError, ArgumentError, StorageError
        As for :func:`migrate_dataset`.
    """
    place = Path(path).expanduser().resolve()
    building = place.with_name(place.name + _BUILDING)
    backup = place.with_name(place.name + _BACKUP)
    # Interrupted between the two renames: the old dataset is already renamed.
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
    # Keep all attributes of the old root.
    attributes = {_ROOT_ATTRIBUTES: old.attributes()[".zattrs"]}
    create_dataset(path, new, attributes=attributes, durability="full")
    storage, dataset_document = open_storage(path, "r+", "full")
    if dataset_document.dataset_id != document.dataset_id:
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
    """The migration of one dataset.

    Parameters
    ----------
    old : V1Storage
    new : Storage
    sources : OldSources
    overwrite : bool
        Whether only migrations write to the new dataset, so that differences are outdated content.
    """

    old: V1Storage
    new: Storage
    sources: OldSources
    overwrite: bool

    def remove_others(self, image_ids: list[str], tables: list[str]) -> None:
        """Remove items that the old dataset does not have, or no longer has."""
        for image_id in set(Index(self.new).image_ids()) - set(image_ids):
            _delete(self.new, layout.image_prefix(image_id))
        for name in set(Tables(self.new).names()) - set(tables):
            Tables(self.new).delete(name)

    def image(self, image_id: str) -> MigrationItem:
        """Migrate an image unless it exists, and compare it."""
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
            raise  # A full disk has nothing to do with this image: stop.
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
            # A dataset in use may have been scanned since, and have more information.
            if differs is None and self.overwrite and source_differs(image, self.new):
                return "source_files"
            return differs
        except KymflowZarrError as error:
            return str(error)

    def table(self, name: str) -> MigrationItem:
        """Migrate a table, byte by byte."""
        key = layout.table_key(name)
        note = self.sources.note if name == TABLE else None
        return self._bytes("table", name, self.old.place(key), key, note=note)

    def file(self, place: str) -> MigrationItem:
        """Migrate a file that is not part of version 2's format."""
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
