"""Ingest a folder of TIFFs into a dataset, and refresh the dataset after changes.

Scan the folder, plan an action for each image (a dry run ends there), then carry out the actions in
parallel. Actions are committed as they finish, so that the next scan resumes an interrupted one.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import ArgumentError, SourceNotFoundError
from kymflow_zarr.ingest.folder.changes import ChangeDetector, FileChange
from kymflow_zarr.ingest.folder.convention import Acquisition, FolderPlan, matches, plan_folder
from kymflow_zarr.ingest.folder.last_scan import LastScan
from kymflow_zarr.ingest.folder.planned_action import (
    BATCH_IMAGES,
    Batch,
    IngestOptions,
    PlannedAction,
    StagedImages,
    do_action,
    staging_area,
)
from kymflow_zarr.ingest.folder.scan import Scan, ScannedFile, is_gone, scan_folder
from kymflow_zarr.ingest.folder.source_index import SourceIndex
from kymflow_zarr.ingest.folder.unclaimed_files import UnclaimedFiles
from kymflow_zarr.ingest.from_export.folder import find_export
from kymflow_zarr.ingest.report import IngestItem, IngestReport, RefreshResult
from kymflow_zarr.ingest.sources.registry import is_image_file
from kymflow_zarr.runtime.parallel import THREADS, in_order, process_token
from kymflow_zarr.types import Progress, RefreshMode, StrPath


def ingest_folder(
    dataset: OpenDataset,
    folder: StrPath,
    *,
    pattern: str = "*.tif",
    include_sidecars: bool = True,
    verify: bool = False,
    keep_original: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> IngestReport:
    """Add the TIFFs of a folder; see :meth:`kymflow_zarr.OpenDataset.ingest_legacy_folder`."""
    work = _FolderWork(dataset, folder, pattern, include_sidecars, progress, executor)
    options = IngestOptions(
        "skip", overwrite_edits=False, verify=verify, keep_original=keep_original
    )
    return work.run(options, dry_run=False)


def refresh_folder(
    dataset: OpenDataset,
    folder: StrPath,
    *,
    pattern: str = "*.tif",
    mode: RefreshMode = "skip",
    include_sidecars: bool = True,
    dry_run: bool = False,
    overwrite_edits: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> RefreshResult:
    """Scan a folder again; see :meth:`kymflow_zarr.OpenDataset.refresh_from_folder`."""
    if mode not in ("skip", "reingest_if_changed"):
        raise ArgumentError(
            f"the mode {mode!r} is not 'skip' or 'reingest_if_changed'", where="mode"
        )
    work = _FolderWork(dataset, folder, pattern, include_sidecars, progress, executor)
    options = IngestOptions(mode, overwrite_edits=overwrite_edits, verify=False)
    return RefreshResult(work.run(options, dry_run=dry_run))


def find_tiffs(folder: StrPath, pattern: str) -> list[Path]:
    """Return the files below a folder that an ingest with `pattern` would take, sorted."""
    return [
        scanned.path for scanned in scan_folder(Path(folder)).files if _takes(scanned.name, pattern)
    ]


def _takes(name: str, pattern: str) -> bool:
    """Return True if a file is to be ingested; a pattern that ends in ``*`` takes images only."""
    return matches(name, pattern) and (not pattern.endswith("*") or is_image_file(name))


@dataclass
class _FolderWork:
    """One scan of one folder."""

    dataset: OpenDataset
    folder: StrPath
    pattern: str
    include_sidecars: bool
    progress: Progress | None
    executor: Executor | None
    items: list[IngestItem] = field(default_factory=list)

    def run(self, options: IngestOptions, *, dry_run: bool) -> IngestReport:
        if not dry_run:
            self.dataset.require_writable()
        root = Path(self.folder)
        if not root.is_dir():
            raise SourceNotFoundError(
                "there is no such folder",
                where=str(root),
                hint="Check the path; ingest_tiff() takes a single file.",
            )
        export = find_export(self.dataset, root)
        if export is not None:
            return export.run(dry_run=dry_run, progress=self.progress, executor=self.executor)
        scan = scan_folder(root)
        last = None if dry_run else self._last_scan(root.resolve(), scan, options)
        items = None if last is None else last.items()
        if items is not None:
            self._tell_end(sum(item.status == "unchanged" for item in items))
            return IngestReport(str(root), tuple(items))
        known = SourceIndex(self.dataset)
        plan = plan_folder(
            scan.files,
            lambda scanned: _takes(scanned.name, self.pattern),
            include_sidecars=self.include_sidecars,
            known=known.image_unchanged_at,
        )
        self.items.extend(IngestItem("failed", path, None, why) for path, why in scan.unreadable)
        self.items.extend(IngestItem("unmatched", path, None, why) for path, why in scan.no_files)
        self.items.extend(self._misnamed(scan))
        detector = ChangeDetector(known, compare_new=dry_run)
        detector.prepare(plan.acquisitions, self.executor)
        actions = list(self._plan(plan, detector, known))
        is_new = any(action.changes_something(options.mode) for action in actions)
        if dry_run:
            self.items.extend(action.planned(options.mode) for action in actions)
        elif not is_new:
            for action in actions:
                self.items += action.report(options)
        else:
            self._carry_out(actions, options)
            known = SourceIndex(self.dataset)
        if not dry_run:
            plan.unmatched += _left_over(plan, self.items)
        self._tell_end(len(actions))
        self.items.extend(_missing(root, plan, known, detector))
        unclaimed = UnclaimedFiles(known, plan, root.resolve())
        self.items.extend(
            unclaimed.planned()
            if dry_run
            else unclaimed.carried_out(options.mode, overwrite_edits=options.overwrite_edits)
        )
        if last is not None and not is_new and unclaimed.is_at_rest:
            last.save(self.items, known)
        return IngestReport(str(root), tuple(self.items))

    def _last_scan(self, root: Path, scan: Scan, options: IngestOptions) -> LastScan:
        asked = (self.pattern, self.include_sidecars, options.mode, options.overwrite_edits)
        return LastScan(self.dataset, root, scan, asked)

    def _misnamed(self, scan: Scan) -> Iterator[IngestItem]:
        for path, why in scan.misnamed:
            if matches(Path(path).name, self.pattern):
                yield IngestItem("failed", path, None, why)
            elif self.include_sidecars:
                yield IngestItem("unmatched", path, None, f"{why} It was not kept.")

    def _carry_out(self, actions: list[PlannedAction], options: IngestOptions) -> None:
        items: list[list[IngestItem]] = [[] for _ in actions]
        first: dict[str, str] = {}
        self._tell(0, actions)
        try:
            with staging_area(self.dataset) as area, Batch(self.dataset.storage) as batch:
                work = in_order(
                    partial(do_action, options=options, area=area, caller=process_token()),
                    actions,
                    executor=self.executor,
                    label=PlannedAction.name,
                    threads=THREADS,
                    waiting=2 * BATCH_IMAGES,
                    here=lambda action: not action.changes_something(options.mode),
                    drop=_drop,
                    leased=self.dataset.storage.lease,
                )
                with closing(work):
                    for done, (action, result, error) in enumerate(work):
                        if done:
                            self._tell(done, actions)
                        if error is not None:
                            items[done].append(action.failed(error))
                        elif isinstance(result, StagedImages):
                            batch.add(result, partial(_note, action, items[done], first))
                        elif result is not None:
                            items[done] += result
        finally:
            self.items.extend(itertools.chain.from_iterable(items))

    def _tell(self, done: int, actions: list[PlannedAction]) -> None:
        if self.progress is not None and done < len(actions):
            self.progress(done, len(actions), actions[done].name())

    def _tell_end(self, total: int) -> None:
        if self.progress is not None:
            self.progress(total, total, "")

    def _plan(
        self, plan: FolderPlan, detector: ChangeDetector, known: SourceIndex
    ) -> Iterator[PlannedAction]:
        for acquisition in plan.acquisitions:
            try:
                changes = _changes(acquisition, detector, known)
            except OSError as error:
                reason = f"the file cannot be read: {error.strerror or error}"
                path = str(error.filename or acquisition.primary.path)
                self.items.append(IngestItem("failed", path, None, reason))
            else:
                for change in changes:
                    taken = known.series_of(acquisition.primary)
                    yield PlannedAction(self.dataset, acquisition, change, taken)


def _changes(
    acquisition: Acquisition, detector: ChangeDetector, known: SourceIndex
) -> list[FileChange]:
    """Return the change of each image of a file, or one change for a new file."""
    first = detector.detect(acquisition)
    if first.known is None:
        return [first]
    others = sorted(known.series_at(first.known.file.path).keys() - {first.known.file.series})
    return [first, *(detector.detect(acquisition, series) for series in others)]


def _left_over(plan: FolderPlan, items: list[IngestItem]) -> list[tuple[ScannedFile, str]]:
    """Return the files that lie only beside unreadable TIFFs."""
    failed = {item.path for item in items if item.status == "failed" and item.image_id is None}
    left: dict[str, ScannedFile] = {}
    for bad in (True, False) if failed else ():
        for acquisition in plan.acquisitions:
            if (acquisition.primary.full_path in failed) is not bad:
                continue
            for attached in acquisition.attached:
                if bad:
                    left[attached.scanned.rel_path] = attached.scanned
                else:
                    left.pop(attached.scanned.rel_path, None)
    return [(scanned, "the TIFF that it belongs to could not be read") for scanned in left.values()]


def _drop(result: StagedImages | list[IngestItem]) -> None:
    if isinstance(result, StagedImages):
        result.drop()


def _note(
    action: PlannedAction, items: list[IngestItem], first: dict[str, str], staged: StagedImages
) -> None:
    if staged.sha256 is not None:
        path = action.acquisition.primary.full_path
        before = first.setdefault(staged.sha256, path)
        if before != path and action.change.copy_of is None:
            action.change = FileChange("copy", copy_of=before)
    items.extend(action.added(staged))


def _missing(
    root: Path, plan: FolderPlan, known: SourceIndex, detector: ChangeDetector
) -> Iterator[IngestItem]:
    here = {scanned.full_path for acq in plan.acquisitions for scanned in acq.images}
    top = root.resolve()
    for image in known:
        path = Path(image.file.path)
        if str(path) in here or detector.claimed(image) or not path.is_relative_to(top):
            continue
        with contextlib.suppress(OSError):  # Its state is unknown, so do not report it.
            if is_gone(path):
                reason = "the file is gone; the image stays in the dataset"
                yield IngestItem("missing", str(path), image.image_id, reason)
