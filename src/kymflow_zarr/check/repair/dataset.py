"""Repair a dataset: leftovers, derived files, images, and the top."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from functools import partial

from kymflow_zarr import layout
from kymflow_zarr.check.files import damaged_index_files, is_temporary, list_names
from kymflow_zarr.check.repair.image import FROM_SOURCE, RepairPlan, repair_image
from kymflow_zarr.check.repair.sources import decodes, is_kept, kept_again
from kymflow_zarr.check.report import Damage, RepairAction, RepairReport
from kymflow_zarr.check.verify.checksum_scope import (
    ChecksumScope,
    Hasher,
    examine,
    hashing,
    name_of,
)
from kymflow_zarr.check.verify.dataset import settled, verify_images
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import dump, is_no_image, load, require_dataset
from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.engine.results.lineage import KEY as LINEAGE
from kymflow_zarr.engine.source_files import SourceFiles
from kymflow_zarr.engine.tables import Tables
from kymflow_zarr.errors import FormatVersionError, KymflowZarrError, StorageError
from kymflow_zarr.ingest.adopt import adopt_results
from kymflow_zarr.legacy_v1.storage import V1Storage
from kymflow_zarr.schema.base import plain_group_document
from kymflow_zarr.schema.checksums import FileSum
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.interface import Storage, without_conflict
from kymflow_zarr.types import Progress

_ROUNDS = 4
_IMAGES_GROUP = f"{layout.IMAGES}/{layout.GROUP}"
_KEPT_LIST = f"{layout.SOURCE_FILES}/files.json"


def repair_top(storage: Storage, plan: RepairPlan, hasher: Hasher) -> None:
    """Repair the top; the caller holds all of its locks."""
    for _ in range(_ROUNDS):
        scope = examine(storage, "", None, hasher)
        if not scope.errors or any(d.code == "unreadable" for d in scope.errors):
            return
        _mend(storage, plan, scope, hasher)
        plan.commit()
        if plan.dry_run:
            return


def _mend(storage: Storage, plan: RepairPlan, scope: ChecksumScope, hasher: Hasher) -> None:
    listed, broken, foreign = dict(scope.listed or {}), {}, {}
    documents = _kept(storage)
    if scope.listed is None:
        paths = {below: below for below in scope.present}
        hashed = hasher.hash(paths)
        listed = {key: file_sum for key, file_sum in hashed if isinstance(file_sum, FileSum)}
        for below in listed:
            what = _unreadable(storage, below, documents)
            if what is not None:
                broken[below] = what
        plan.note(
            "relist",
            layout.CHECKSUMS,
            f"{scope.errors[0].what}; kept files are held against their digests; of the rest it "
            "is only known that it can be read today",
        )
    for damage in scope.errors:
        if damage.code == "file-unlisted":
            foreign[damage.where] = damage.what
        elif damage.where != layout.CHECKSUMS:
            broken[damage.where] = damage.what
    for file in documents:
        if file.kept_as is not None and file.kept_as not in listed:
            broken.setdefault(file.kept_as, "it is missing")
    for key in list(broken):
        if _mended(storage, plan, key, broken[key], listed, documents):
            del broken[key]
    for key, what in (broken | foreign).items():
        part = name_of("", key, None)
        if storage.stat(key) is not None:
            plan.quarantine(key, f"{part}: {what}")
        else:
            plan.lose(key, f"{part}: {what}")
        listed.pop(key, None)
    _forget(plan, documents, listed)
    plan.relist(listed)


def _mended(
    storage: Storage,
    plan: RepairPlan,
    key: str,
    what: str,
    listed: dict[str, FileSum],
    documents: list[SourceFileDocument],
) -> bool:
    if key == _IMAGES_GROUP:
        plan.write(key, dump(plain_group_document()))
        plan.note("rebuild", key, what)
        return True
    if key == layout.GROUP:
        # Without this document there is no dataset; opening the dataset has read it.
        data = storage.read(key)
        if data is not None:
            listed[key] = FileSum.of(data)
            plan.note("relist", key, f"{what}; it can be read, and is taken as it is")
        return data is not None
    data = kept_again(documents, key)
    if data is None or storage.is_folder(key):
        return False
    plan.restore(key, data, f"{what}; {FROM_SOURCE}")
    listed[key] = FileSum.of(data)
    return True


def _kept(storage: Storage) -> list[SourceFileDocument]:
    with contextlib.suppress(KymflowZarrError):
        return list(SourceFiles(storage).documents().values())
    return []


def _unreadable(storage: Storage, below: str, documents: list[SourceFileDocument]) -> str | None:
    if layout.parse_table_key(below) is not None and below.startswith(f"{layout.TABLES}/"):
        return decodes(storage, below, below)
    if below == _KEPT_LIST:
        try:
            SourceFiles(storage).documents()
        except KymflowZarrError as error:
            return error.what
    elif below.startswith(f"{layout.SOURCE_FILES}/"):
        return is_kept(storage, "", below, documents)
    elif below == _IMAGES_GROUP and load_or_none(storage, below) != plain_group_document():
        return "it is no plain group document"
    return None


def load_or_none(storage: Storage, key: str) -> object:
    """Return a document, None if it cannot be read."""
    with contextlib.suppress(KymflowZarrError):
        return load(storage, key)
    return None


def _forget(
    plan: RepairPlan, documents: list[SourceFileDocument], listed: dict[str, FileSum]
) -> None:
    if _KEPT_LIST not in listed:
        return
    gone = [file for file in documents if file.kept_as is not None and file.kept_as not in listed]
    if not gone:
        return
    for file in gone:
        file.kept_as = None
    plan.write(_KEPT_LIST, dump(SourceFiles.document_of(documents)))


def repair_dataset(
    dataset: OpenDataset,
    *,
    dry_run: bool,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> RepairReport:
    """Repair a dataset; see :meth:`kymflow_zarr.OpenDataset.repair`."""
    reading = dataset.storage.reader()
    if isinstance(reading, V1Storage):
        raise FormatVersionError(
            "a dataset of format version 1 can only be read",
            where=dataset.location,
            hint="kymflow-zarr migrate carries it over to version 2.",
        )
    if not dry_run:
        dataset.require_writable()
    storage = reading if dry_run else dataset.storage
    require_dataset(storage)
    actions = _sweep(storage, dry_run=dry_run)
    image_ids = [i for i in Index(storage).image_ids() if not is_no_image(storage, i)]
    links = storage.links()
    without_lineage: list[str] = []
    with hashing(storage, None) as hasher:
        # Do not lock intact images, so that writers need not wait.
        reports = verify_images(storage, image_ids, True, progress, executor)
        with closing(reports):
            for image_id, verified in reports:
                if left := _behind(links, verified.damages, image_id):
                    actions += left
                elif not verified.is_whole:
                    repaired = _repair_image(storage, image_id, hasher, dry_run=dry_run)
                    actions += repaired
                    if _has_no_lineage(repaired) and not dry_run:
                        without_lineage.append(image_id)
        top = settled(storage, "", None, hasher).errors
        if left := _behind(links, top, None):
            actions += left
        elif top:
            actions += _repair_top(storage, hasher, dry_run=dry_run)
    # The last step, as it asks the pooled tables too.
    actions += _adopted_again(dataset, without_lineage)
    actions += _drop_index(storage, dry_run=dry_run)
    return RepairReport(dry_run, tuple(actions))


def _has_no_lineage(actions: Iterable[RepairAction]) -> bool:
    """Return True if a repair has put away what an image's results were made of."""
    return any(
        action.kind in ("quarantine", "lost") and action.where.endswith(f"/{LINEAGE}")
        for action in actions
    )


def _adopted_again(dataset: OpenDataset, image_ids: Iterable[str]) -> list[RepairAction]:
    """Make results once more of what other programs have left beside the images."""
    actions = []
    for image_id in image_ids:
        count = without_conflict(dataset.storage, partial(adopt_results, dataset, [image_id]))
        if count:
            where = f"{layout.image_prefix(image_id)}/{LINEAGE}"
            why = f"{count} results of other programs are known by what lies beside the image"
            actions.append(RepairAction("rebuild", image_id, where, why))
    return actions


def _behind(
    links: Sequence[str], damages: Iterable[Damage], image_id: str | None
) -> list[RepairAction]:
    """Return the links at or above what is damaged: it may be whole where they lead."""
    keys = [damage.where for damage in damages if damage.severity == "error"]
    why = (
        "this is a link, behind which nothing is repaired. Move what it leads to into the dataset, "
        "in place of the link, or delete the link, and repair again"
    )
    return [
        RepairAction("link", image_id, link, why)
        for link in links
        if any(f"{key}/".startswith(f"{link}/") for key in keys)
    ]


def _repair_image(
    storage: Storage, image_id: str, hasher: Hasher, *, dry_run: bool
) -> list[RepairAction]:
    def repair() -> list[RepairAction]:
        plan = RepairPlan(storage, layout.image_prefix(image_id), image_id, dry_run=dry_run)
        if dry_run:
            repair_image(storage, plan, image_id, hasher)
        else:
            with storage.lock(f"image:{image_id}"), storage.lock("top"):
                repair_image(storage, plan, image_id, hasher)
        return plan.actions

    return without_conflict(storage, repair)


def _repair_top(storage: Storage, hasher: Hasher, *, dry_run: bool) -> list[RepairAction]:
    def repair() -> list[RepairAction]:
        plan = RepairPlan(storage, "", None, dry_run=dry_run)
        if dry_run:
            repair_top(storage, plan, hasher)
        else:
            tables = Tables(storage).scopes()
            with storage.lock("source_files", *tables), storage.lock("top"):
                repair_top(storage, plan, hasher)
        return plan.actions

    return without_conflict(storage, repair)


def _sweep(storage: Storage, *, dry_run: bool) -> list[RepairAction]:
    actions = [
        RepairAction("sweep", None, f"{layout.WORK}/{name}", f"{len(paths)} of writers that died")
        for name, paths in storage.leftovers().items()
        if paths
    ]
    storage.recover()
    actions += [
        RepairAction("sweep", None, name, "named by nothing for a week")
        for name in storage.collect(dry_run=dry_run)
    ]
    folders = ["", *(layout.image_prefix(image_id) for image_id in Index(storage).image_ids())]
    for folder in folders:
        names: list[str] = []
        with contextlib.suppress(StorageError):  # Another process deleted the image.
            names = list_names(storage, folder)
        for name in names:
            key = f"{folder}/{name}".lstrip("/")
            if is_temporary(name) and not storage.is_folder(key):
                actions.append(RepairAction("sweep", None, key, "of a write that did not finish"))
                if not dry_run:
                    storage.put_derived(key, None)
    return actions


def _drop_index(storage: Storage, *, dry_run: bool) -> list[RepairAction]:
    try:
        damaged = damaged_index_files(storage)
    except StorageError:
        return []  # An unreadable file may be intact: do not repair it.
    if not dry_run and damaged:
        with storage.lock("index"), storage.transaction("") as transaction:
            for key in damaged:
                transaction.remove(key)
    why = "it is damaged or of another version; it is rebuilt when it is asked for"
    return [RepairAction("rebuild", None, key, why) for key in damaged]
