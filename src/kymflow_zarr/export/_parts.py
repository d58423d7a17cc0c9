"""All parts of a dataset, each written or, where it is damaged, reported."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from kymflow_zarr import _layout
from kymflow_zarr._core import ExportFailure, ZarrDataset
from kymflow_zarr._core._documents import load
from kymflow_zarr._core._kept import KeptFiles
from kymflow_zarr._core._reports import ExportKind
from kymflow_zarr._schema import read_dataset_document
from kymflow_zarr._storage import LocalStorage, reading_storage
from kymflow_zarr._types import Progress
from kymflow_zarr.errors import (
    DatasetNotFoundError,
    KymflowZarrError,
    MissingDependencyError,
    StorageError,
    TargetExistsError,
)
from kymflow_zarr.export._errors import TargetStorageError
from kymflow_zarr.export._image import ImagePlan
from kymflow_zarr.export._places import SOURCES, source_places
from kymflow_zarr.export._sources import SourceFilePlan
from kymflow_zarr.export._table import TablePlan
from kymflow_zarr.export._target import ExportTarget

__all__ = ["STOPPING", "Parts", "require_dataset"]

Plan: TypeAlias = ImagePlan | TablePlan | SourceFilePlan

# These say nothing of one part: the next would fail as well.
STOPPING: Final = (
    DatasetNotFoundError,
    MissingDependencyError,
    TargetExistsError,
    TargetStorageError,
)


class Parts:
    """The images, tables and kept source files of a dataset.

    Parameters
    ----------
    dataset : ZarrDataset
    include_tiff, include_tables : bool

    Raises
    ------
    DatasetNotFoundError
        If the dataset is not there any more.
    """

    def __init__(self, dataset: ZarrDataset, *, include_tiff: bool, include_tables: bool) -> None:
        self._dataset = dataset
        self._storage = reading_storage(dataset.path)
        self.require_dataset()
        self.failed: list[ExportFailure] = []
        self.described: dict[str, Any] = {"images": {}, "tables": [], "source_files": []}
        """What the manifest says of each part that was written."""
        self.paths: list[str] = []
        """All files that the parts may need."""
        names = dataset.list_table_names() if include_tables else []
        plans: list[Plan] = [
            *(ImagePlan(self._storage, r, include_tiff) for r in dataset.iter_records()),
            *(TablePlan(self._storage, name) for name in names),
        ]
        self._sources_known = True
        try:
            documents = KeptFiles(self._storage).documents().values()
        except (KymflowZarrError, OSError) as error:
            self._sources_known = False
            self._fail("source_file", _layout.SOURCE_FILES, error)
        else:
            plans += [SourceFilePlan(self._storage, *each) for each in source_places("", documents)]
        self._plans = plans
        self._broken: dict[int, Exception] = {}
        for number, plan in enumerate(plans):
            try:
                self.paths += plan.paths
            except (KymflowZarrError, OSError) as error:
                self._broken[number] = error

    def require_dataset(self) -> None:
        """Raise DatasetNotFoundError unless the dataset is there, and is the one it was."""
        require_dataset(self._dataset, self._storage)

    def write(self, target: ExportTarget, progress: Progress | None) -> None:
        """Write all parts; those that cannot be read are added to `failed`.

        Raises
        ------
        DatasetNotFoundError
            If the dataset has gone meanwhile.
        StorageError, TargetExistsError
            If the target refuses.
        """
        if not self._sources_known:
            self._leave_sources(target)
        for number, plan in enumerate(self._plans):
            try:
                if number in self._broken:
                    raise self._broken[number]
                self._put(plan, plan.write(target))
            except STOPPING as error:
                raise _naming(plan, error) from error.__cause__ or error
            except (KymflowZarrError, OSError) as error:
                self.require_dataset()
                self._fail(plan.kind, plan.label, error)
                target.discard()
                if target.leave(plan.owns):
                    self._put_earlier(plan, target)
            if progress is not None:
                progress(number + 1, len(self._plans), plan.label)

    def _fail(self, kind: ExportKind, name: str, error: Exception) -> None:
        self.failed.append(ExportFailure(kind, name, str(error)))

    def _put(self, plan: Plan, described: dict[str, Any]) -> None:
        if isinstance(plan, ImagePlan):
            self.described["images"][plan.label] = described
        else:
            self.described["tables" if plan.kind == "table" else "source_files"].append(described)

    def _put_earlier(self, plan: Plan, target: ExportTarget) -> None:
        """Let the manifest say of a damaged part what it said before."""
        # Others may have edited the manifest.
        if isinstance(plan, ImagePlan):
            match target.earlier.get("images"):
                case {plan.label: dict(described)}:
                    self._put(plan, described)
            return
        key, name = ("tables", "name") if plan.kind == "table" else ("source_files", "path")
        for described in _dicts(target.earlier.get(key)):
            if described.get(name) == plan.label:
                self._put(plan, described)

    def _leave_sources(self, target: ExportTarget) -> None:
        if target.leave(lambda path: path.startswith(f"{SOURCES}/")):
            self.described["source_files"] += _dicts(target.earlier.get("source_files"))


def require_dataset(dataset: ZarrDataset, storage: LocalStorage) -> None:
    """Raise DatasetNotFoundError unless the dataset is there, and is the one it was.

    A folder that was renamed or unmounted lists as empty: an export of it would take
    everything for stale.
    """
    path = dataset.path
    document = load(storage, _layout.GROUP)
    missing = (
        _layout.GROUP
        if document is None
        else None
        if storage.is_folder(_layout.IMAGES)
        else _layout.IMAGES
    )
    if missing is not None:
        raise DatasetNotFoundError(
            f"the dataset is not there any more: {missing} is missing",
            where=str(path),
            hint="Was it renamed, or its disk unmounted? Nothing was removed.",
        )
    found = read_dataset_document(document, where=str(path / _layout.GROUP)).dataset_id
    if found != dataset.dataset_id:
        raise DatasetNotFoundError(
            f"the dataset is not there any more; another one, {found}, is in its place",
            where=str(path),
            hint="Open it anew. Nothing was removed.",
        )


def _dicts(found: Any) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _naming(plan: Plan, error: KymflowZarrError) -> KymflowZarrError:
    kind = StorageError if isinstance(error, TargetStorageError) else type(error)
    what = f"the {plan.kind.replace('_', ' ')} {plan.label!r} cannot be exported: {error.what}"
    return kind(what, where=error.where, hint=error.hint)
