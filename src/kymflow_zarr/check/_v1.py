"""A dataset of format version 1: what can be read of it, and that it should be migrated.

Version 1 keeps no digests and may leave chunks out that hold nothing but the fill value, so
that less can be told than of version 2.
"""

from __future__ import annotations

from concurrent.futures import Executor

from kymflow_zarr import _layout
from kymflow_zarr._core import Problem, ValidationReport, ZarrDataset
from kymflow_zarr._core._arrays import ArrayArtifacts
from kymflow_zarr._core._documents import load_image
from kymflow_zarr._core._index import Index
from kymflow_zarr._schema import ImageDocument
from kymflow_zarr._storage import LocalStorage, V1Storage, open_zarr_array
from kymflow_zarr._types import Progress
from kymflow_zarr.check._artifacts import check_artifacts
from kymflow_zarr.check._each import check_each
from kymflow_zarr.check._files import check_foreign, check_timestamp, list_files
from kymflow_zarr.check._findings import Findings
from kymflow_zarr.check._tables import check_tables


def validate_v1(
    storage: V1Storage, *, progress: Progress | None, executor: Executor | None
) -> ValidationReport:
    """Check what version 1 has in common with version 2: documents, artifacts, tables."""
    findings = Findings()
    # On-disk format: "A dataset of version 1 SHOULD be migrated."
    findings.add(
        "format-version-1",
        "",
        "the dataset is in format version 1, which is read-only here and keeps no digests. "
        f"Carry it over to version 2: kymflow-zarr migrate {storage.root} NEW.",
    )
    for name in storage.refused_images():
        check_foreign(findings, f"{_layout.IMAGES}/{name}")
    for place in storage.foreign_files():
        check_foreign(findings, place)
    image_ids = Index(storage).image_ids()
    check_each(findings, _check_image, storage, image_ids, progress, executor)
    check_tables(findings, storage, frozenset(image_ids))
    return ValidationReport(findings.problems, images_checked=len(image_ids))


def validate_v1_image(
    dataset: ZarrDataset, storage: V1Storage, image_id: str
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


def _check_image(findings: Findings, storage: LocalStorage, image_id: str) -> None:
    assert isinstance(storage, V1Storage)
    prefix = _layout.image_prefix(image_id)
    folder = storage.place(prefix)
    document: ImageDocument | None = None
    with findings.reading("image-document", folder):
        document = load_image(storage, image_id)
        check_timestamp(findings, folder, "created_utc", document.created_utc)
        check_timestamp(findings, folder, "updated_utc", document.updated_utc)
    with findings.reading("array-document", f"{folder}/{_layout.LEVEL_0}"):
        open_zarr_array(storage.path(f"{prefix}/{_layout.LEVEL_0}"))
    with findings.reading("unreadable", folder):
        files = list_files(storage, f"{prefix}/{_layout.ANALYSIS}")
        check_artifacts(findings, storage, f"{prefix}/{_layout.ANALYSIS}", files, document)
        for place in storage.foreign_files(image_id):
            check_foreign(findings, place)
    arrays = ArrayArtifacts(storage, prefix)
    for name in arrays.names():
        place = f"{folder}/{_layout.ANALYSIS_ARRAYS}/{name}"
        with findings.reading("array-artifact-document", place):
            said = arrays.document(name)
            check_timestamp(findings, place, "updated_utc", said.updated_utc)
            array = _layout.array_artifact_prefix(name)
            open_zarr_array(storage.path(f"{prefix}/{array}/{said.pixels.path}"))
