"""Plan and write each part of a dataset (image, table, source file); report damaged ones."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from kymflow_zarr import layout
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import is_no_image, load
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.engine.source_files import SourceFiles
from kymflow_zarr.errors import (
    DatasetNotFoundError,
    KymflowZarrError,
    MissingDependencyError,
    StorageError,
    TargetExistsError,
)
from kymflow_zarr.export.dataset_layout.files import ImagePlan, SourceFilePlan, TablePlan
from kymflow_zarr.export.dataset_layout.places import SOURCES, source_places
from kymflow_zarr.export.report import ExportFailure, ExportKind
from kymflow_zarr.export.staging_area import StagingArea, TargetStorageError
from kymflow_zarr.export.target import ManifestTarget
from kymflow_zarr.runtime.parallel import THREADS, in_order
from kymflow_zarr.schema.base import read_dataset_document
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import Progress

__all__ = ["STOPPING", "ExportPlan", "require_dataset"]

Plan: TypeAlias = ImagePlan | TablePlan | SourceFilePlan

# These errors are not specific to one part: the next would fail as well.
STOPPING: Final = (
    DatasetNotFoundError,
    MissingDependencyError,
    TargetExistsError,
    TargetStorageError,
)


@dataclass(frozen=True, slots=True)
class _Task:
    """One part, to be written in this process or a worker.

    Parameters
    ----------
    plan : Plan
    area : StagingArea
    broken : Exception, optional
        The error that prevented planning its files.
    """

    plan: Plan
    area: StagingArea
    broken: Exception | None

    def made(self) -> tuple[StagingArea, dict[str, Any]]:
        """Write the files; return the staging area and the part's entry for the manifest."""
        if self.broken is not None:
            raise self.broken
        try:
            return self.area, self.plan.write(self.area)
        except BaseException:
            self.area.discard()
            raise


class ExportPlan:
    """The parts of a dataset and the files they become.

    Parameters
    ----------
    dataset : OpenDataset
    records : sequence of StoredImage
        The images to write.
    include_tiff, include_tables : bool

    Raises
    ------
    DatasetNotFoundError
        If the dataset does not exist any more.
    """

    def __init__(
        self,
        dataset: OpenDataset,
        records: Sequence[StoredImage],
        *,
        include_tiff: bool,
        include_tables: bool,
    ) -> None:
        self._dataset = dataset
        self._storage = dataset.storage.reader()
        self.require_dataset()
        self.failed: list[ExportFailure] = []
        self.described: dict[str, Any] = {"images": {}, "tables": [], "source_files": []}
        """What the manifest says of each part that was written."""
        names = dataset.list_table_names() if include_tables else []
        reading = Reading(self._storage)
        plans: list[Plan] = [
            *(ImagePlan(reading, record, include_tiff) for record in records),
            *(TablePlan(reading, name) for name in names),
        ]
        self._sources_known = True
        try:
            documents = SourceFiles(self._storage).documents().values()
        except (KymflowZarrError, OSError) as error:
            self._sources_known = False
            self._fail("source_file", layout.SOURCE_FILES, error)
        else:
            plans += [SourceFilePlan(reading, *each) for each in source_places("", documents)]
        self._plans = plans
        self._paths: list[list[str]] = []
        self._broken: dict[int, Exception] = {}
        for number, plan in enumerate(plans):
            try:
                self._paths.append(plan.paths)
            except (KymflowZarrError, OSError) as error:
                self._paths.append([])
                self._broken[number] = error

    @property
    def paths(self) -> list[str]:
        """Paths of all files that the export may write."""
        return [path for paths in self._paths for path in paths]

    def require_dataset(self) -> None:
        """Raise DatasetNotFoundError unless the same dataset still exists."""
        require_dataset(self._dataset, self._storage)

    def write(
        self,
        target: ManifestTarget,
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> None:
        """Write all parts; add unreadable ones to `failed`.

        The executor writes the files to staging; this thread publishes them, part by part.

        Raises
        ------
        DatasetNotFoundError
            If the dataset disappears during the export.
        StorageError, TargetExistsError
            If the target refuses.
        """
        if not self._sources_known:
            self._leave_sources(target)
        tasks = [
            _Task(plan, target.staging_area(paths), self._broken.get(number))
            for number, (plan, paths) in enumerate(zip(self._plans, self._paths, strict=True))
        ]
        results = in_order(
            _Task.made,
            tasks,
            executor=executor,
            progress=progress,
            label=lambda task: task.plan.label,
            threads=THREADS,
            here=lambda task: task.broken is not None,
            drop=lambda staged: staged[0].discard(),
        )
        with closing(results):
            for task, staged, error in results:
                self._write(task.plan, target, staged, error)

    def _write(
        self,
        plan: Plan,
        target: ManifestTarget,
        staged: tuple[StagingArea, dict[str, Any]] | None,
        error: Exception | None,
    ) -> None:
        try:
            if staged is None:
                raise error or AssertionError
            target.take(staged[0])
            # Publish all files of a part together.
            target.commit()
            self._put(plan, staged[1])
        except STOPPING as error:
            raise _naming(plan, error) from error.__cause__ or error
        except (KymflowZarrError, OSError) as error:
            self.require_dataset()
            if isinstance(plan, ImagePlan) and is_no_image(self._storage, plan.label):
                target.discard()
                return  # Another process deleted it, or another program made the folder.
            self._fail(plan.kind, plan.label, error)
            target.discard()
            if target.leave(plan.owns):
                self._put_earlier(plan, target)

    def _fail(self, kind: ExportKind, name: str, error: Exception) -> None:
        self.failed.append(ExportFailure(kind, name, str(error)))

    def _put(self, plan: Plan, described: dict[str, Any]) -> None:
        self.failed += [
            ExportFailure(plan.kind, plan.label, why) for why in described.pop("left_out", ())
        ]
        if isinstance(plan, ImagePlan):
            self.described["images"][plan.label] = described
        else:
            self.described["tables" if plan.kind == "table" else "source_files"].append(described)

    def _put_earlier(self, plan: Plan, target: ManifestTarget) -> None:
        """Keep the earlier manifest entry of a damaged part."""
        # The manifest is not trusted: another program may have edited it.
        if isinstance(plan, ImagePlan):
            match target.earlier.get("images"):
                case {plan.label: dict(described)}:
                    self._put(plan, described)
            return
        key, name = ("tables", "name") if plan.kind == "table" else ("source_files", "path")
        for described in _dicts(target.earlier.get(key)):
            if described.get(name) == plan.label:
                self._put(plan, described)

    def _leave_sources(self, target: ManifestTarget) -> None:
        if target.leave(lambda path: path.startswith(f"{SOURCES}/")):
            self.described["source_files"] += _dicts(target.earlier.get("source_files"))


def require_dataset(dataset: OpenDataset, storage: Storage) -> None:
    """Raise DatasetNotFoundError unless the same dataset still exists.

    A renamed or unmounted folder lists as empty: an export would treat every file as stale.
    """
    place = dataset.location
    document = load(storage, layout.GROUP)
    missing = (
        layout.GROUP
        if document is None
        else None
        if storage.is_folder(layout.IMAGES)
        else layout.IMAGES
    )
    if missing is not None:
        raise DatasetNotFoundError(
            f"the dataset is not there any more: {missing} is missing",
            where=place,
            hint="Was it renamed, or its disk unmounted? Nothing was removed.",
        )
    dataset_id = read_dataset_document(document, where=f"{place}/{layout.GROUP}").dataset_id
    if dataset_id != dataset.dataset_id:
        raise DatasetNotFoundError(
            f"the dataset is not there any more; another one, {dataset_id}, is in its place",
            where=place,
            hint="Open it again. Nothing was removed.",
        )


def _dicts(values: Any) -> list[dict[str, Any]]:
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []


def _naming(plan: Plan, error: KymflowZarrError) -> KymflowZarrError:
    kind = StorageError if isinstance(error, TargetStorageError) else type(error)
    what = f"the {plan.kind.replace('_', ' ')} {plan.label!r} cannot be exported: {error.what}"
    return kind(what, where=error.where, hint=error.hint)
