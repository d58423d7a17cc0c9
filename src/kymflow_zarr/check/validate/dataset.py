"""Validate a whole dataset, or one image of it."""

from __future__ import annotations

from concurrent.futures import Executor

from kymflow_zarr import layout
from kymflow_zarr.check.files import (
    check_foreign,
    check_group,
    check_quarantine,
    check_source_files,
    check_temporary,
    check_timestamp,
    check_work,
    damaged_index_files,
    is_temporary,
    list_files,
    list_names,
    stat_of,
)
from kymflow_zarr.check.report import Problem, ValidationReport
from kymflow_zarr.check.validate.artifacts import check_tables
from kymflow_zarr.check.validate.findings import Findings
from kymflow_zarr.check.validate.images import check_each, check_image
from kymflow_zarr.check.validate.legacy_v1 import validate_v1, validate_v1_image
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import is_no_image, load
from kymflow_zarr.errors import ArgumentError, SchemaValidationError
from kymflow_zarr.legacy_v1.storage import V1Storage
from kymflow_zarr.schema.base import read_dataset_document
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import Progress


def validate_dataset(
    dataset: OpenDataset, *, progress: Progress | None = None, executor: Executor | None = None
) -> ValidationReport:
    """Check every document of a dataset against the format.

    Chunks of arrays are not read; only their existence and sizes are checked.

    Parameters
    ----------
    dataset : OpenDataset
    progress : callable, optional
        Called as ``progress(done, total, image_id)`` after each image.
    executor : concurrent.futures.Executor, optional
        Runs the checks of images; this thread if left out.

    Returns
    -------
    ValidationReport
    """
    storage = dataset.storage.reader()
    if isinstance(storage, V1Storage):
        return validate_v1(storage, progress=progress, executor=executor)
    storage.recover()
    findings = Findings()
    _check_root(findings, storage)
    image_ids = _image_ids(findings, storage)
    check_each(findings, check_image, storage, image_ids, progress, executor)
    check_tables(findings, storage, frozenset(image_ids))
    _check_kept(findings, dataset, storage)
    _check_index(findings, storage)
    return ValidationReport(findings.problems, images_checked=len(image_ids))


def validate_image(dataset: OpenDataset, image_id: str) -> tuple[Problem, ...]:
    """Check the documents of one image against the format.

    Raises
    ------
    RecordNotFoundError
        If no image has that id, not even a damaged one.
    """
    storage = dataset.storage.reader()
    if isinstance(storage, V1Storage):
        return validate_v1_image(dataset, storage, image_id)
    storage.recover()
    if image_id not in dataset and not _has_folder(storage, image_id):
        dataset.record(image_id)  # Says so.
    findings = Findings()
    check_image(findings, storage, image_id)
    return findings.problems


def _has_folder(storage: Storage, image_id: str) -> bool:
    try:
        return storage.is_folder(layout.image_prefix(image_id))
    except ArgumentError:
        return False


def _check_root(findings: Findings, storage: Storage) -> None:
    # On-disk format: "The root MUST be a Zarr v3 group with attributes.kymflow_zarr."
    with findings.reading("root-document", layout.GROUP):
        raw = load(storage, layout.GROUP)
        document = read_dataset_document(raw, where=layout.GROUP)
        check_timestamp(findings, layout.GROUP, "created_utc", document.created_utc)
    check_group(findings, storage, f"{layout.IMAGES}/{layout.GROUP}")
    names: list[str] = []
    with findings.reading("unreadable", ""):
        names = list_names(storage, "")
    check_temporary(findings, "", sum(map(is_temporary, names)))
    known = set(layout.OWN_NAMES)
    if stat_of(storage, layout.PUBLISHED) is not None:
        known.add(layout.PUBLISHED_HTML)
    for name in names:
        if name not in known and not is_temporary(name):
            check_foreign(findings, name)
    with findings.reading("unreadable", layout.WORK):
        check_work(findings, storage)
    check_quarantine(findings, storage)
    for key in storage.links():
        findings.add(
            "foreign-file",
            key,
            "this is a link, through which nothing is read or written. Move what it leads to into "
            "the dataset, in place of the link, or delete it.",
        )


def _check_kept(findings: Findings, dataset: OpenDataset, storage: Storage) -> None:
    where = f"{layout.SOURCE_FILES}/files.json"
    with findings.reading("source-file", where):
        documents = dataset.source_files.documents().values()
        present = list_files(storage, layout.SOURCE_FILES)
        check_source_files(findings, where, "", documents, present)


def _image_ids(findings: Findings, storage: Storage) -> list[str]:
    """Return the sorted ids of the images, and report other entries of their folder."""
    names: list[str] = []
    with findings.reading("unreadable", layout.IMAGES):
        names = list_names(storage, layout.IMAGES)
    image_ids = []
    for name in names:
        key = f"{layout.IMAGES}/{name}"
        if name == layout.GROUP:
            continue
        image_id = layout.decode_name(name)
        is_ours = image_id is not None and storage.is_folder(key) and _is_prefix(image_id, key)
        if is_ours and image_id is not None and not is_no_image(storage, image_id):
            image_ids.append(image_id)
            continue
        if stat_of(storage, f"{key}/{layout.GROUP}") is None:
            check_foreign(findings, key)
            continue
        # On-disk format: "The name of an image's folder MUST be that which its id encodes to."
        findings.add(
            "image-folder",
            key,
            "no image has a folder of this name, so that none can be read from it. "
            "Rename it to what attributes.kymflow_zarr.image_id encodes to, or ingest it again.",
        )
    return sorted(image_ids)


def _is_prefix(image_id: str, key: str) -> bool:
    try:
        return layout.image_prefix(image_id) == key
    except ArgumentError:
        return False


def _check_index(findings: Findings, storage: Storage) -> None:
    # On-disk format: "The index MAY be deleted at any time", and nothing is ever only there.
    with findings.reading("index", layout.MANIFEST):
        if damaged_index_files(storage):
            raise SchemaValidationError(
                "the index is damaged or of another version, and not used",
                hint="update_manifest() rebuilds it.",
            )
