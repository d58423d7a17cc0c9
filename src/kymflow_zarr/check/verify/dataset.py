"""Verify that every byte of a dataset is unchanged since it was written."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from kymflow_zarr import layout
from kymflow_zarr.check.files import damaged_index_files, warn_of_lost
from kymflow_zarr.check.report import Damage, VerifyLevel, VerifyReport
from kymflow_zarr.check.verify.checksum_scope import (
    DAMAGES,
    ChecksumScope,
    Hasher,
    examine,
    hashing,
)
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import is_no_image, load_image, require_dataset
from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.errors import ArgumentError, FormatVersionError, StorageError
from kymflow_zarr.legacy_v1.storage import V1Storage
from kymflow_zarr.runtime.parallel import in_order
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import Progress

# A writer publishes several files by consecutive renames, which take a moment.
_WAITS_S: Final = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8)


def verify_dataset(
    dataset: OpenDataset,
    *,
    level: VerifyLevel,
    progress: Progress | None,
    executor: Executor | None,
) -> VerifyReport:
    """Check every file against its checksum; see :meth:`kymflow_zarr.OpenDataset.verify`."""
    storage = _storage_of(dataset.storage, level)
    image_ids = [i for i in Index(storage).image_ids() if not is_no_image(storage, i)]
    full = level == "full"
    with hashing(storage, executor) as hasher:
        top = _verified(storage, None, hasher if full else None)
    reports = [
        top,
        *(each for _, each in verify_images(storage, image_ids, full, progress, executor)),
    ]
    damages = [damage for each in reports for damage in each.damages]
    _check_derived(storage, damages)
    return VerifyReport(
        level,
        tuple(damages),
        len(image_ids),
        sum(each.files for each in reports),
        sum(each.size_bytes for each in reports),
    )


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of verifying one checksum scope; it can be pickled.

    Parameters
    ----------
    damages : tuple of Damage
    files : int
        Number of files.
    size_bytes : int
        Number of bytes read.
    """

    damages: tuple[Damage, ...]
    files: int
    size_bytes: int

    @property
    def is_whole(self) -> bool:
        """Whether every file is unchanged since it was written."""
        return not any(damage.severity == "error" for damage in self.damages)


def verify_images(
    storage: Storage,
    image_ids: Sequence[str],
    full: bool,
    progress: Progress | None,
    executor: Executor | None,
) -> Generator[tuple[str, Verified]]:
    """Yield each image with its result, in order; an executor gets one task per image.

    An image whose task the executor lost is verified in this process, with a warning at the end.
    """
    lost: list[str] = []
    with hashing(storage, None) as hasher:
        used = hasher if full else None
        if executor is None:
            for done, image_id in enumerate(image_ids, start=1):
                yield image_id, _verified(storage, image_id, used)
                if progress is not None:
                    progress(done, len(image_ids), image_id)
            return
        call = functools.partial(_verified_there, Reading(storage), full)
        results = in_order(call, image_ids, executor=executor, progress=progress)
        with closing(results):
            for image_id, report, error in results:
                if report is None:
                    lost.append(f"{image_id}: {error}")
                    report = _verified(storage, image_id, used)
                yield image_id, report
    warn_of_lost(lost, len(image_ids))


def _verified_there(reading: Reading, full: bool, image_id: str) -> Verified:
    storage = reading.storage
    return _verified(storage, image_id, Hasher(storage) if full else None)


def _verified(storage: Storage, image_id: str | None, hasher: Hasher | None) -> Verified:
    before = 0 if hasher is None else hasher.size_bytes
    prefix = "" if image_id is None else layout.image_prefix(image_id)
    scope = settled(storage, prefix, image_id, hasher)
    size_bytes = 0 if hasher is None else hasher.size_bytes - before
    return Verified(tuple(scope.damages), len(scope.present), size_bytes)


def verify_image(
    dataset_storage: Storage, image_id: str, *, level: VerifyLevel, executor: Executor | None
) -> VerifyReport:
    """Check the files of one image against their checksums."""
    storage = _storage_of(dataset_storage, level)
    prefix = layout.image_prefix(image_id)
    if not storage.is_folder(prefix):
        load_image(storage, image_id)  # Says that there is none.
    with hashing(storage, executor) as hasher:
        used = hasher if level == "full" else None
        scope = settled(storage, prefix, image_id, used)
        n_files = len(scope.present)
        return VerifyReport(level, tuple(scope.damages), 1, n_files, hasher.size_bytes)


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
    # A link or device in place of the dataset's document is a damage, which the report names.
    with contextlib.suppress(StorageError):
        require_dataset(storage)
    return storage


def settled(
    storage: Storage, prefix: str, image_id: str | None, hasher: Hasher | None
) -> ChecksumScope:
    """Examine a scope until its damages cannot be a concurrent change.

    A writer renames a file and the list of checksums one after the other. Damage persists: report
    it if list and files are the same in two examinations.
    """
    scope = examine(storage, prefix, image_id, hasher)
    for wait_s in _WAITS_S:
        if not scope.damages:
            break
        if wait_s:
            time.sleep(wait_s)
        # Read files of a committed but unfinished transaction from staging.
        storage.recover()
        before, scope = scope, examine(storage, prefix, image_id, hasher, scope)
        if (before.data, before.present, before.damages) == (
            scope.data,
            scope.present,
            scope.damages,
        ):
            break
    else:
        # The scope keeps changing: keep only damages that the previous examination had too.
        scope.damages = [damage for damage in scope.damages if damage in before.damages]
    if scope.prefix and not storage.is_folder(scope.prefix):
        scope.damages.clear()  # Deleted meanwhile.
    return scope


def _check_derived(storage: Storage, damages: list[Damage]) -> None:
    try:
        why = "it is not as it was written" if damaged_index_files(storage) else None
    except StorageError as error:
        why = error.what
    if why is not None:
        damages.append(
            Damage(
                DAMAGES["index"], "index", None, "index", layout.MANIFEST,
                f"{why}; it is derived, and not used",
                "update_manifest() rebuilds it.",
            )
        )  # fmt: skip
    count = len(storage.children(layout.QUARANTINE))
    if count:
        damages.append(
            Damage(
                DAMAGES["quarantine"], "quarantine", None, "quarantine", layout.QUARANTINE,
                f"{count} repairs have quarantined here what was broken",
                "Each says why in why.json. Move the folder elsewhere when you are done with it.",
            )
        )  # fmt: skip
