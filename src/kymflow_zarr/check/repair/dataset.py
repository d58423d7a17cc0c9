"""Mend a dataset: leftovers, derived files, images, and what is at the top."""

from __future__ import annotations

from concurrent.futures import Executor

from kymflow_zarr import layout
from kymflow_zarr.check.files import is_index_usable, is_temporary, list_names
from kymflow_zarr.check.repair.image import mend_image
from kymflow_zarr.check.repair.plan import Mending
from kymflow_zarr.check.repair.top import mend_top
from kymflow_zarr.check.report import RepairAction, RepairReport
from kymflow_zarr.check.verify.dataset import settled
from kymflow_zarr.check.verify.hashing import Hasher, hashing
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import require_dataset
from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.engine.tables import Tables
from kymflow_zarr.errors import FormatVersionError
from kymflow_zarr.legacy_v1.storage import V1Storage
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import Progress


def repair_dataset(
    dataset: OpenDataset,
    *,
    dry_run: bool,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> RepairReport:
    """Mend a dataset; see :meth:`kymflow_zarr.OpenDataset.repair`."""
    reading = dataset.storage.reader()
    if isinstance(reading, V1Storage):
        raise FormatVersionError(
            "a dataset of format version 1 can only be read",
            where=str(dataset.path),
            hint="kymflow-zarr migrate carries it over to version 2.",
        )
    if not dry_run:
        dataset.require_writable()
    storage = reading if dry_run else dataset.storage
    require_dataset(storage)
    actions = _sweep(storage, dry_run=dry_run)
    with hashing(storage, executor) as hasher:
        image_ids = Index(storage).image_ids()
        for done, image_id in enumerate(image_ids, start=1):
            prefix = layout.image_prefix(image_id)
            # Nobody is kept waiting for an image that is whole.
            if settled(storage, prefix, image_id, hasher).errors:
                actions += _mend_image(storage, image_id, hasher, dry_run=dry_run)
            if progress is not None:
                progress(done, len(image_ids), image_id)
        if settled(storage, "", None, hasher).errors:
            actions += _mend_top(storage, hasher, dry_run=dry_run)
    actions += _drop_index(storage, dry_run=dry_run)
    return RepairReport(dry_run, tuple(actions))


def _mend_image(
    storage: Storage, image_id: str, hasher: Hasher, *, dry_run: bool
) -> list[RepairAction]:
    mending = Mending(storage, layout.image_prefix(image_id), image_id, dry_run=dry_run)
    if dry_run:
        mend_image(storage, mending, image_id, hasher)
    else:
        with storage.lock(f"image:{image_id}"), storage.lock("top"):
            mend_image(storage, mending, image_id, hasher)
    return mending.actions


def _mend_top(storage: Storage, hasher: Hasher, *, dry_run: bool) -> list[RepairAction]:
    mending = Mending(storage, "", None, dry_run=dry_run)
    if dry_run:
        mend_top(storage, mending, hasher)
    else:
        tables = Tables(storage).scopes()
        with storage.lock("source_files", *tables), storage.lock("top"):
            mend_top(storage, mending, hasher)
    return mending.actions


def _sweep(storage: Storage, *, dry_run: bool) -> list[RepairAction]:
    actions = [
        RepairAction("sweep", None, f"{layout.WORK}/{name}", f"{len(paths)} of writers that died")
        for name, paths in storage.leftovers().items()
        if paths
    ]
    storage.recover()
    folders = ["", *(layout.image_prefix(image_id) for image_id in Index(storage).image_ids())]
    for folder in folders:
        for name in list_names(storage, folder):
            key = f"{folder}/{name}".lstrip("/")
            if is_temporary(name) and not storage.is_folder(key):
                actions.append(RepairAction("sweep", None, key, "of a write that did not finish"))
                if not dry_run:
                    storage.put_derived(key, None)
    return actions


def _drop_index(storage: Storage, *, dry_run: bool) -> list[RepairAction]:
    if is_index_usable(storage):
        return []
    if not dry_run:
        with storage.lock("index"), storage.transaction("") as transaction:
            transaction.remove(layout.MANIFEST)
    why = "it is damaged or of another version; it is made anew when it is asked for"
    return [RepairAction("rebuild", None, layout.MANIFEST, why)]
