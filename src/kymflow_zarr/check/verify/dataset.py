"""Whether every byte of a dataset is the one that was written."""

from __future__ import annotations

import time
from concurrent.futures import Executor
from typing import Final

from kymflow_zarr import layout
from kymflow_zarr.check.files import is_index_usable
from kymflow_zarr.check.report import Damage, VerifyLevel, VerifyReport
from kymflow_zarr.check.verify.checksum_scope import DAMAGES, ChecksumScope, examine
from kymflow_zarr.check.verify.hashing import Hasher, hashing
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import load_image, require_dataset
from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.errors import ArgumentError, FormatVersionError
from kymflow_zarr.legacy_v1.storage import V1Storage
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import Progress

# A writer changes several files by renaming them, one right after the other.
_WAITS_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)


def verify_dataset(
    dataset: OpenDataset,
    *,
    level: VerifyLevel,
    progress: Progress | None,
    executor: Executor | None,
) -> VerifyReport:
    """Hold every file against its checksum; see :meth:`kymflow_zarr.OpenDataset.verify`."""
    storage = _storage_of(dataset.storage, level)
    image_ids = Index(storage).image_ids()
    damages: list[Damage] = []
    files = 0
    with hashing(storage, executor) as hasher:
        used = hasher if level == "full" else None
        groups: list[tuple[str, str | None]] = [("", None)]
        groups += [(layout.image_prefix(image_id), image_id) for image_id in image_ids]
        for done, (prefix, image_id) in enumerate(groups):
            scope = settled(storage, prefix, image_id, used)
            damages += scope.damages
            files += len(scope.found)
            if progress is not None and image_id is not None:
                progress(done, len(image_ids), image_id)
        _check_derived(storage, damages)
        return VerifyReport(level, tuple(damages), len(image_ids), files, hasher.size_bytes)


def verify_image(
    dataset_storage: Storage, image_id: str, *, level: VerifyLevel, executor: Executor | None
) -> VerifyReport:
    """Hold the files of one image against their checksums."""
    storage = _storage_of(dataset_storage, level)
    prefix = layout.image_prefix(image_id)
    if not storage.is_folder(prefix):
        load_image(storage, image_id)  # Says that there is none.
    with hashing(storage, executor) as hasher:
        used = hasher if level == "full" else None
        scope = settled(storage, prefix, image_id, used)
        found = len(scope.found)
        return VerifyReport(level, tuple(scope.damages), 1, found, hasher.size_bytes)


def _storage_of(dataset_storage: Storage, level: VerifyLevel) -> Storage:
    if level not in ("full", "fast"):
        raise ArgumentError(f"the level {level!r} is not 'full' or 'fast'", where="level")
    storage = dataset_storage.reader()
    if isinstance(storage, V1Storage):
        raise FormatVersionError(
            "a dataset of format version 1 keeps no checksums to verify it by",
            where=storage.location,
            hint="kymflow-zarr migrate carries it over and compares every value; "
            "kymflow-zarr validate looks at what can be looked at.",
        )
    storage.recover()
    require_dataset(storage)
    return storage


def settled(
    storage: Storage, prefix: str, image_id: str | None, hasher: Hasher | None
) -> ChecksumScope:
    """Look at a scope until what is wrong with it is no change that is under way.

    A file and the list that speaks of it are renamed to their places one after the other.
    Damage stays: it is believed when list and files are found twice alike.
    """
    scope = examine(storage, prefix, image_id, hasher)
    for wait_s in _WAITS_S:
        if not scope.damages:
            break
        if wait_s:
            time.sleep(wait_s)
        # What was committed meanwhile and is not in its place yet is read where it is.
        storage.recover()
        before, scope = scope, examine(storage, prefix, image_id, hasher, scope)
        if (before.data, before.found, before.damages) == (scope.data, scope.found, scope.damages):
            break
    else:
        # A writer without pause: what was not there a moment ago is no damage.
        scope.damages = [damage for damage in scope.damages if damage in before.damages]
    if scope.prefix and not storage.is_folder(scope.prefix):
        scope.damages.clear()  # Deleted meanwhile.
    return scope


def _check_derived(storage: Storage, damages: list[Damage]) -> None:
    if not is_index_usable(storage):
        damages.append(
            Damage(
                DAMAGES["index"], "index", None, "index", layout.MANIFEST,
                "it is not as it was written; it is derived, and not used",
                "update_manifest() makes it anew.",
            )
        )  # fmt: skip
    count = len(storage.children(layout.QUARANTINE))
    if count:
        damages.append(
            Damage(
                DAMAGES["quarantine"], "quarantine", None, "quarantine", layout.QUARANTINE,
                f"{count} repairs have put aside here what was broken",
                "Each says why in why.json. Move the folder elsewhere when you are done with it.",
            )
        )  # fmt: skip
