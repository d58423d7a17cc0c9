"""Validate a dataset of format version 1, and advise to migrate it.

Version 1 has no digests and may omit chunks of the fill value, so fewer damages can be detected
than in version 2.
"""

from __future__ import annotations

from concurrent.futures import Executor

from kymflow_zarr import layout
from kymflow_zarr.check.files import check_foreign, check_timestamp, list_files
from kymflow_zarr.check.report import Problem, ValidationReport
from kymflow_zarr.check.validate.artifacts import check_artifacts, check_tables
from kymflow_zarr.check.validate.findings import Findings
from kymflow_zarr.check.validate.images import check_each
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import load_image
from kymflow_zarr.engine.images.array_artifacts import ArrayArtifacts
from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.legacy_v1.storage import V1Storage
from kymflow_zarr.schema.image import ImageDocument
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.zarr_arrays import open_zarr_array
from kymflow_zarr.types import Progress


def validate_v1(
    storage: V1Storage, *, progress: Progress | None, executor: Executor | None
) -> ValidationReport:
    """Check the parts that version 1 shares with version 2: documents, artifacts, tables."""
    findings = Findings()
    # On-disk format: "A dataset of version 1 SHOULD be migrated."
    findings.add(
        "format-version-1",
        "",
        "the dataset is in format version 1, which is read-only here and keeps no digests. "
        f"Carry it over to version 2: kymflow-zarr migrate {storage.location} NEW.",
    )
    for name in storage.refused_images():
        check_foreign(findings, f"{layout.IMAGES}/{name}")
    for place in storage.foreign_files():
        check_foreign(findings, place)
    image_ids = Index(storage).image_ids()
    check_each(findings, _check_image, storage, image_ids, progress, executor)
    check_tables(findings, storage, frozenset(image_ids))
    return ValidationReport(findings.problems, images_checked=len(image_ids))


def validate_v1_image(
    dataset: OpenDataset, storage: V1Storage, image_id: str
) -> tuple[Problem, ...]:
    """Check one image.

    Raises
    ------
    RecordNotFoundError
        If there is no such image.
    """
    dataset.record(image_id)
    findings = Findings()
    _check_image(findings, storage, image_id)
    return findings.problems


def _check_image(findings: Findings, storage: Storage, image_id: str) -> None:
    assert isinstance(storage, V1Storage)
    prefix = layout.image_prefix(image_id)
    folder = storage.place(prefix)
    document: ImageDocument | None = None
    with findings.reading("image-document", folder):
        document = load_image(storage, image_id)
        check_timestamp(findings, folder, "created_utc", document.created_utc)
        check_timestamp(findings, folder, "updated_utc", document.updated_utc)
    with findings.reading("array-document", f"{folder}/{layout.LEVEL_0}"):
        open_zarr_array(storage, f"{prefix}/{layout.LEVEL_0}")
    with findings.reading("unreadable", folder):
        files = list_files(storage, f"{prefix}/{layout.ANALYSIS}")
        check_artifacts(findings, storage, f"{prefix}/{layout.ANALYSIS}", files, document)
        for place in storage.foreign_files(image_id):
            check_foreign(findings, place)
    arrays = ArrayArtifacts(storage, prefix)
    for name in arrays.names():
        place = f"{folder}/{layout.ANALYSIS_ARRAYS}/{name}"
        with findings.reading("array-artifact-document", place):
            document_of_array = arrays.document(name)
            check_timestamp(findings, place, "updated_utc", document_of_array.updated_utc)
            array = layout.array_artifact_prefix(name)
            open_zarr_array(storage, f"{prefix}/{array}/{document_of_array.pixels.path}")
