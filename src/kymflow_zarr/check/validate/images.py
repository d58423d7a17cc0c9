"""One image: its document, its pixels, and everything beside them."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from kymflow_zarr import layout
from kymflow_zarr.check.files import (
    check_foreign,
    check_group,
    check_source_files,
    check_temporary,
    check_timestamp,
    is_temporary,
    list_names,
    list_tree,
)
from kymflow_zarr.check.validate.arrays import check_array
from kymflow_zarr.check.validate.artifacts import check_artifacts
from kymflow_zarr.check.validate.findings import RESTORE, Findings
from kymflow_zarr.check.validate.ome import check_ome
from kymflow_zarr.engine.documents import load
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.schema.axes import array_dimension_names, channel_count
from kymflow_zarr.schema.image import (
    ImageDocument,
    read_array_artifact_document,
    read_image_document,
)
from kymflow_zarr.storage.interface import Storage

_WAITS_S = (0.0, 0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


def check_image(findings: Findings, storage: Storage, image_id: str) -> None:
    """Check an image.

    A writer may be at work, so that the documents and the files come from before and after a
    change: what does not fit is looked at again until it is found twice alike. An image that
    has gone was deleted.
    """
    prefix = layout.image_prefix(image_id)
    found = Findings()
    for wait_s in _WAITS_S:
        time.sleep(wait_s)
        storage.recover()
        before = found.problems
        found = Findings()
        _check(found, storage, prefix, image_id)
        if found.problems in ((), before):
            break
    else:
        # A writer without pause: what was not there a moment ago is no damage.
        found.retain(before)
    if storage.is_folder(prefix):
        findings.extend(found)


def _check(findings: Findings, storage: Storage, prefix: str, image_id: str) -> None:
    where = f"{prefix}/{layout.GROUP}"
    document, ome = None, None
    with findings.reading("image-document", where):
        raw: Any = load(storage, where)
        # On-disk format: "Each folder below images/ MUST be an image."
        if raw is None:
            findings.add(
                "image-document-missing",
                where,
                "the document of the image is missing, so that nothing in the folder can be read. "
                "Restore it from a copy of the dataset, or move the folder out of images/.",
            )
        else:
            document = read_image_document(raw, where=where)
            ome = raw["attributes"].get("ome")
    names: list[str] = []
    folders: dict[str, dict[str, int]] = {}
    with findings.reading("unreadable", prefix):
        names = list_names(storage, prefix)
        check_temporary(findings, prefix, sum(map(is_temporary, names)))
        names = [name for name in names if not is_temporary(name)]
        folders = list_tree(storage, prefix, (n for n in names if n != layout.ANALYSIS_ARRAYS))
    if not folders:
        return
    if document is not None:
        _check_document(findings, where, document, image_id)
        check_ome(findings, where, ome, document, folders)
        names_told = array_dimension_names(document.axis_values())
        check_array(findings, storage, prefix, document.pixels, folders, names_told)
        _check_generations(findings, prefix, document.pixels.path, folders)
    artifacts = folders.get(layout.ANALYSIS, {})
    check_artifacts(findings, storage, f"{prefix}/{layout.ANALYSIS}", artifacts, document)
    if layout.ANALYSIS_ARRAYS in names:
        _check_array_artifacts(findings, storage, f"{prefix}/{layout.ANALYSIS_ARRAYS}")
    known = {
        layout.GROUP,
        layout.CHECKSUMS,
        layout.ANALYSIS,
        layout.ANALYSIS_ARRAYS,
        *_levels(ome),
    }
    if document is not None:
        known |= {document.pixels.path, layout.SOURCE_FILES}
        kept = folders.get(layout.SOURCE_FILES, {})
        check_source_files(findings, where, prefix, document.source_files, kept)
    _check_others(findings, prefix, names, known)


def _check_document(findings: Findings, where: str, document: ImageDocument, image_id: str) -> None:
    # On-disk format: "image_id MUST be the id that the folder's name encodes."
    if document.image_id != image_id:
        findings.add(
            "image-id",
            where,
            f"the document is that of the image {document.image_id!r}: the folder was copied or "
            "renamed by hand. Give it its name back, or ingest the image anew.",
        )
    check_timestamp(findings, where, "created_utc", document.created_utc)
    check_timestamp(findings, where, "updated_utc", document.updated_utc)
    # On-disk format: "An image MUST have 2 to 5 dimensions."
    if not 2 <= len(document.axes) <= 5:
        findings.add(
            "dimensions",
            where,
            f"the image has {len(document.axes)} dimensions, where 2 to 5 can be. "
            "Keep such an array with save_array_artifact().",
        )
    names = [axis.name for axis in document.axes]
    # OME-Zarr 0.5: "The values [of 'name'] MUST be unique across all 'name' fields."
    if len(set(names)) != len(names) or "" in names:
        findings.add(
            "axis-name",
            where,
            f"the axes {names} are not each named, differently. {RESTORE}",
        )
    for axis in document.axes:
        # On-disk format: "A step MUST be a positive finite number, or null."
        if axis.step is not None and not (math.isfinite(axis.step) and axis.step > 0):
            findings.add(
                "axis-step",
                where,
                f"the step of the axis {axis.name!r} is {axis.step}, not a positive number. "
                "save_array(load_array(), axes=...) sets it.",
            )
    count = channel_count(document.axes, document.pixels.shape)
    # On-disk format: "channel_names MUST have one entry for each channel, or be null."
    if document.channel_names is not None and len(document.channel_names) != count:
        findings.add(
            "channel-names",
            where,
            f"{len(document.channel_names)} channel names for {count} channels. "
            "save_array(load_array(), channel_names=...) sets them.",
        )


def _check_generations(
    findings: Findings, prefix: str, current: str, folders: Mapping[str, Mapping[str, int]]
) -> None:
    others = [
        name for name in folders if name != current and layout.parse_pixels_path(name) is not None
    ]
    # On-disk format: "A writer keeps at most one array before the current one."
    if len(others) > 1:
        size = sum(sum(folders[name].values()) for name in others)
        findings.add(
            "leftover-pixels",
            prefix,
            f"besides the current pixels ({current}) there are {', '.join(others)}: {size} bytes "
            "that nothing reads. The next save_array() removes them.",
        )


def _levels(ome: Any) -> set[str]:
    """Return the folders that the OME-Zarr metadata speak of: pyramid levels are at home."""
    try:
        levels = [level["path"] for scale in ome["multiscales"] for level in scale["datasets"]]
    except (TypeError, KeyError):
        return set()
    return {level.partition("/")[0] for level in levels if isinstance(level, str)}


def _check_array_artifacts(findings: Findings, storage: Storage, prefix: str) -> None:
    check_group(findings, storage, f"{prefix}/{layout.GROUP}")
    folders: list[str] = []
    with findings.reading("unreadable", prefix):
        folders = list_names(storage, prefix)
    for folder in folders:
        if folder == layout.GROUP:
            continue
        key = f"{prefix}/{folder}"
        with findings.reading("array-artifact-document", f"{key}/{layout.GROUP}"):
            raw = load(storage, f"{key}/{layout.GROUP}")
            if raw is None:
                check_foreign(findings, key)
            else:
                _check_array_artifact(findings, storage, key, folder, raw)


def _check_array_artifact(
    findings: Findings, storage: Storage, key: str, folder: str, raw: Any
) -> None:
    where = f"{key}/{layout.GROUP}"
    document = read_array_artifact_document(raw, where=where)
    # On-disk format: "name MUST be the name that the folder's name encodes."
    if not _is_folder_of(document.name, folder):
        findings.add(
            "array-artifact-name",
            where,
            f"the document is that of the array {document.name!r}: the folder was copied or "
            "renamed by hand. Give it its name back.",
        )
    check_timestamp(findings, where, "updated_utc", document.updated_utc)
    folders = list_tree(storage, key, list_names(storage, key))
    check_array(findings, storage, key, document.pixels, folders, document.axes)
    _check_generations(findings, key, document.pixels.path, folders)
    _check_others(findings, key, folders, {layout.GROUP, document.pixels.path})


def _is_folder_of(name: str, folder: str) -> bool:
    try:
        return layout.array_artifact_prefix(name) == f"{layout.ANALYSIS_ARRAYS}/{folder}"
    except ArgumentError:
        return False


def _check_others(
    findings: Findings, key: str, names: Iterable[str], known: Collection[str]
) -> None:
    for name in names:
        if name not in known and layout.parse_pixels_path(name) is None:
            check_foreign(findings, f"{key}/{name}")
