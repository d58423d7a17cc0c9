"""A folder of TIFFs into a dataset, and again whenever it has changed.

First everything is looked at and a decision made for each image; a dry run ends there. Then
the decisions are carried out, several at a time: each is a commit of its own, so that work which
was interrupted goes on where it stopped.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import ArgumentError, SourceNotFoundError
from kymflow_zarr.ingest.folder.adding import GROUP, Group, Ready, staging_area
from kymflow_zarr.ingest.folder.changes import Decider, Decision
from kymflow_zarr.ingest.folder.convention import Acquisition, FolderPlan, matches, plan_folder
from kymflow_zarr.ingest.folder.planned_action import How, Step, do_step
from kymflow_zarr.ingest.folder.scan import Found, Scan, is_gone, scan_folder
from kymflow_zarr.ingest.folder.source_index import KnownSources
from kymflow_zarr.ingest.folder.unclaimed_files import LooseFiles
from kymflow_zarr.ingest.from_export.folder import find_export
from kymflow_zarr.ingest.report import IngestItem, IngestReport, RefreshResult
from kymflow_zarr.runtime.parallel import THREADS, in_order, process_token
from kymflow_zarr.types import Progress, RefreshMode, StrPath


def ingest_folder(
    dataset: OpenDataset,
    folder: StrPath,
    *,
    pattern: str = "*.tif",
    include_sidecars: bool = True,
    verify: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> IngestReport:
    """Add the TIFFs of a folder; see :meth:`kymflow_zarr.OpenDataset.ingest_legacy_folder`."""
    work = _FolderWork(dataset, folder, pattern, include_sidecars, progress, executor)
    return work.run(How("skip", overwrite_edits=False, verify=verify), dry_run=False)


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
    how = How(mode, overwrite_edits=overwrite_edits, verify=False)
    return RefreshResult(work.run(how, dry_run=dry_run))


def find_tiffs(folder: StrPath, pattern: str) -> list[Path]:
    """Return the files below a folder that an ingest with `pattern` would take, sorted."""
    return [
        found.path for found in scan_folder(Path(folder)).files if matches(found.path.name, pattern)
    ]


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

    def run(self, how: How, *, dry_run: bool) -> IngestReport:
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
        plan = plan_folder(
            scan.files,
            lambda found: matches(found.path.name, self.pattern),
            include_sidecars=self.include_sidecars,
        )
        self.items.extend(IngestItem("failed", path, None, why) for path, why in scan.unreadable)
        self.items.extend(self._misnamed(scan))
        known = KnownSources(self.dataset)
        decider = Decider(known, compare_new=dry_run)
        decider.digest_ahead(plan.acquisitions, self.executor)
        steps = list(self._steps(plan, decider, known))
        if dry_run:
            self.items.extend(step.planned(how.mode) for step in steps)
        else:
            self._carry_out(steps, how)
            plan.unmatched += _left_over(plan, self.items)
        if self.progress is not None:
            self.progress(len(steps), len(steps), "")
        self.items.extend(_missing(root, plan, known, decider))
        loose = LooseFiles(self.dataset, plan, root.resolve())
        self.items.extend(
            loose.planned()
            if dry_run
            else loose.carried_out(how.mode, overwrite_edits=how.overwrite_edits)
        )
        return IngestReport(str(root), tuple(self.items))

    def _misnamed(self, scan: Scan) -> Iterator[IngestItem]:
        for path, why in scan.misnamed:
            if matches(Path(path).name, self.pattern):
                yield IngestItem("failed", path, None, why)
            elif self.include_sidecars:
                yield IngestItem("unmatched", path, None, f"{why} It was not kept.")

    def _carry_out(self, steps: list[Step], how: How) -> None:
        found: list[list[IngestItem]] = [[] for _ in steps]
        first: dict[str, str] = {}
        self._tell(0, steps)
        try:
            with staging_area(self.dataset) as area, Group(self.dataset.storage) as group:
                work = in_order(
                    partial(do_step, how=how, area=area, caller=process_token()),
                    steps,
                    executor=self.executor,
                    label=Step.name,
                    threads=THREADS,
                    waiting=2 * GROUP,
                    here=lambda step: not step.is_work(how.mode),
                    drop=_drop,
                )
                with closing(work):
                    for done, (step, result, error) in enumerate(work):
                        if done:
                            self._tell(done, steps)
                        if error is not None:
                            found[done].append(step.failed(error))
                        elif isinstance(result, Ready):
                            group.add(result, partial(_note, step, found[done], first))
                        elif result is not None:
                            found[done] += result
        finally:
            self.items.extend(item for items in found for item in items)

    def _tell(self, done: int, steps: list[Step]) -> None:
        if self.progress is not None and done < len(steps):
            self.progress(done, len(steps), steps[done].name())

    def _steps(self, plan: FolderPlan, decider: Decider, known: KnownSources) -> Iterator[Step]:
        for acquisition in plan.acquisitions:
            try:
                decisions = _decisions(acquisition, decider, known)
            except OSError as error:
                reason = f"the file cannot be read: {error.strerror or error}"
                path = str(error.filename or acquisition.primary.path)
                self.items.append(IngestItem("failed", path, None, reason))
            else:
                for decision in decisions:
                    taken = known.series_of(acquisition.primary)
                    yield Step(self.dataset, acquisition, decision, taken)


def _decisions(acquisition: Acquisition, decider: Decider, known: KnownSources) -> list[Decision]:
    """Return what is to be done with each image of a file, or with a new file at once."""
    first = decider.decide(acquisition)
    if first.known is None:
        return [first]
    others = sorted(known.series_at(first.known.file.path).keys() - {first.known.file.series})
    return [first, *(decider.decide(acquisition, series) for series in others)]


def _left_over(plan: FolderPlan, items: list[IngestItem]) -> list[tuple[Found, str]]:
    """Return what lies beside TIFFs that could not be read, and beside no other."""
    failed = {item.path for item in items if item.status == "failed" and item.image_id is None}
    left: dict[str, Found] = {}
    for bad in (True, False) if failed else ():
        for acquisition in plan.acquisitions:
            if (str(acquisition.primary.path) in failed) is not bad:
                continue
            for attached in acquisition.attached:
                if bad:
                    left[attached.found.rel_path] = attached.found
                else:
                    left.pop(attached.found.rel_path, None)
    return [(found, "the TIFF that it belongs to could not be read") for found in left.values()]


def _drop(result: Ready | list[IngestItem]) -> None:
    if isinstance(result, Ready):
        result.drop()


def _note(step: Step, items: list[IngestItem], first: dict[str, str], ready: Ready) -> None:
    if ready.sha256 is not None:
        path = str(step.acquisition.primary.path)
        before = first.setdefault(ready.sha256, path)
        if before != path and step.decision.copy_of is None:
            step.decision = Decision("copy", copy_of=before)
    items.extend(step.added(ready))


def _missing(
    root: Path, plan: FolderPlan, known: KnownSources, decider: Decider
) -> Iterator[IngestItem]:
    here = {str(found.path) for acq in plan.acquisitions for found in acq.images}
    top = root.resolve()
    for image in known:
        path = Path(image.file.path)
        if str(path) in here or decider.claimed(image) or not path.is_relative_to(top):
            continue
        with contextlib.suppress(OSError):  # It cannot be known, so it is not reported.
            if is_gone(path):
                reason = "the file is gone; the image stays in the dataset"
                yield IngestItem("missing", str(path), image.image_id, reason)
