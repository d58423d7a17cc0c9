"""A folder of TIFFs into a dataset, and again whenever it has changed.

First everything is looked at and a decision made for each image; a dry run ends there. Then
the decisions are carried out one by one: each is a commit of its own, so that work which was
interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from kymflow_zarr._core import IngestItem, IngestReport, RefreshResult, ZarrDataset
from kymflow_zarr._types import Progress, RefreshMode, StrPath
from kymflow_zarr.errors import (
    ArgumentError,
    KymflowZarrError,
    RecordExistsError,
    SourceNotFoundError,
    StorageError,
)
from kymflow_zarr.ingest._adding import Group, Ready, ahead, make_ready
from kymflow_zarr.ingest._apply import move_image, note_times, update_image
from kymflow_zarr.ingest._changes import Decider, Decision
from kymflow_zarr.ingest._convention import Acquisition, FolderPlan, matches, plan_folder
from kymflow_zarr.ingest._exported import find_export
from kymflow_zarr.ingest._image import StillChangingError
from kymflow_zarr.ingest._known import KnownImage, KnownSources
from kymflow_zarr.ingest._loose import LooseFiles
from kymflow_zarr.ingest._scan import Found, scan_folder


def ingest_folder(
    dataset: ZarrDataset,
    folder: StrPath,
    *,
    pattern: str = "*.tif",
    include_sidecars: bool = True,
    progress: Progress | None = None,
) -> IngestReport:
    """Add the TIFFs of a folder; see :meth:`kymflow_zarr.ZarrDataset.ingest_legacy_folder`."""
    work = _FolderWork(dataset, folder, pattern, include_sidecars, progress)
    return work.run(mode="skip", dry_run=False, overwrite_edits=False)


def refresh_folder(
    dataset: ZarrDataset,
    folder: StrPath,
    *,
    pattern: str = "*.tif",
    mode: RefreshMode = "skip",
    include_sidecars: bool = True,
    dry_run: bool = False,
    overwrite_edits: bool = False,
    progress: Progress | None = None,
) -> RefreshResult:
    """Scan a folder again; see :meth:`kymflow_zarr.ZarrDataset.refresh_from_folder`."""
    if mode not in ("skip", "reingest_if_changed"):
        raise ArgumentError(
            f"the mode {mode!r} is not 'skip' or 'reingest_if_changed'", where="mode"
        )
    work = _FolderWork(dataset, folder, pattern, include_sidecars, progress)
    return RefreshResult(work.run(mode=mode, dry_run=dry_run, overwrite_edits=overwrite_edits))


def find_tiffs(folder: StrPath, pattern: str) -> list[Path]:
    """Return the files below a folder that an ingest with `pattern` would take, sorted."""
    return [
        found.path for found in scan_folder(Path(folder)).files if matches(found.path.name, pattern)
    ]


@dataclass
class _FolderWork:
    """One scan of one folder."""

    dataset: ZarrDataset
    folder: StrPath
    pattern: str
    include_sidecars: bool
    progress: Progress | None
    items: list[IngestItem] = field(default_factory=list)

    def run(self, *, mode: RefreshMode, dry_run: bool, overwrite_edits: bool) -> IngestReport:
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
            return export.run(dry_run=dry_run, progress=self.progress)
        scan = scan_folder(root)
        plan = plan_folder(
            scan.files,
            lambda found: matches(found.path.name, self.pattern),
            include_sidecars=self.include_sidecars,
        )
        self.items.extend(IngestItem("failed", path, None, why) for path, why in scan.unreadable)
        known = KnownSources(self.dataset)
        decider = Decider(known)
        decider.digest_ahead(plan.acquisitions)
        steps = list(self._steps(plan, decider, known))
        if dry_run:
            self.items.extend(step.planned(mode) for step in steps)
        else:
            self._carry_out(steps, mode, overwrite_edits=overwrite_edits)
            plan.unmatched += _left_over(plan, self.items)
        if self.progress is not None:
            self.progress(len(steps), len(steps), "")
        self.items.extend(_missing(root, plan, known, decider))
        loose = LooseFiles(self.dataset, plan, root.resolve())
        self.items.extend(
            loose.planned() if dry_run else loose.carried_out(mode, overwrite_edits=overwrite_edits)
        )
        return IngestReport(str(root), tuple(self.items))

    def _carry_out(self, steps: list[_Step], mode: RefreshMode, *, overwrite_edits: bool) -> None:
        found: list[list[IngestItem]] = [[] for _ in steps]
        self._tell(0, steps)
        try:
            work = [step.work if step.is_new else None for step in steps]
            with Group() as group, closing(ahead(work)) as results:
                for done, (step, ready) in enumerate(zip(steps, results, strict=True)):
                    if done:
                        self._tell(done, steps)
                    if ready is None:
                        found[done] += step.carried_out(mode, overwrite_edits=overwrite_edits)
                    else:
                        group.add(ready, partial(_note, step, found[done]))
        finally:
            self.items.extend(item for items in found for item in items)

    def _tell(self, done: int, steps: list[_Step]) -> None:
        if self.progress is not None and done < len(steps):
            self.progress(done, len(steps), steps[done].acquisition.primary.path.name)

    def _steps(self, plan: FolderPlan, decider: Decider, known: KnownSources) -> Iterator[_Step]:
        for acquisition in plan.acquisitions:
            try:
                decisions = _decisions(acquisition, decider, known)
            except OSError as error:
                reason = f"the file cannot be read: {error.strerror or error}"
                path = str(error.filename or acquisition.primary.path)
                self.items.append(IngestItem("failed", path, None, reason))
            else:
                for decision in decisions:
                    yield _Step(self.dataset, acquisition, decision, known)


def _decisions(acquisition: Acquisition, decider: Decider, known: KnownSources) -> list[Decision]:
    """Return what is to be done with each image of a file, or with a new file at once."""
    first = decider.decide(acquisition)
    if first.known is None:
        return [first]
    others = sorted(known.series_at(first.known.file.path).keys() - {first.known.file.series})
    return [first, *(decider.decide(acquisition, series) for series in others)]


@dataclass
class _Step:
    """One acquisition and what is to be done with it."""

    dataset: ZarrDataset
    acquisition: Acquisition
    decision: Decision
    known: KnownSources

    @property
    def _path(self) -> str:
        return str(self.acquisition.primary.path)

    @property
    def _image_id(self) -> str | None:
        known = self.decision.known
        return None if known is None else known.image_id

    def planned(self, mode: RefreshMode) -> IngestItem:
        """Return what would be reported."""
        verdict, changed = self.decision.verdict, ", ".join(self.decision.changed)
        if verdict in ("new", "copy"):
            return IngestItem("ingested", self._path, None, self._copied())
        if verdict == "moved":
            return IngestItem("moved", self._path, self._image_id, self._moved())
        if verdict in ("unchanged", "touched"):
            return IngestItem("unchanged", self._path, self._image_id)
        if mode == "skip":
            return self._skipped()
        return IngestItem("updated", self._path, self._image_id, f"changed: {changed}")

    @property
    def is_new(self) -> bool:
        """Whether images are to be added."""
        return self.decision.verdict in ("new", "copy") or self.decision.known is None

    def work(self) -> Ready:
        """Read the images of a new file, of which there may be several."""
        taken = self.known.series_of(self.acquisition.primary)
        return make_ready(self.dataset, self.acquisition, taken.keys())

    def added(self, ready: Ready) -> Iterator[IngestItem]:
        """Yield what came of adding them."""
        for (draft, notes), taken in zip(ready.drafts, ready.outcomes, strict=True):
            if taken is not None:
                yield self._of_another(draft.image_id)
                continue
            said = [note for note in (self._copied(), *notes) if note is not None]
            yield IngestItem("ingested", self._path, draft.image_id, "; ".join(said) or None)
        for series, image_id in self.known.series_of(self.acquisition.primary).items():
            if series:
                yield IngestItem("unchanged", self._path, image_id)
        if isinstance(ready.error, RecordExistsError):
            yield self._of_another(None)
        elif ready.error is not None:
            yield self._failed(ready.error)

    def carried_out(self, mode: RefreshMode, *, overwrite_edits: bool) -> Iterator[IngestItem]:
        """Do what is to be done with an image that is known, and yield what came of it."""
        try:
            yield from self._carried_out(mode, overwrite_edits=overwrite_edits)
        except Exception as error:  # noqa: BLE001 - whatever a bad file does, the others go in
            yield self._failed(error)

    def _failed(self, error: Exception) -> IngestItem:
        if isinstance(error, StorageError):
            # Not the source's fault: a full disk would fail for every file after it too.
            raise error
        if isinstance(error, StillChangingError):
            return IngestItem("skipped", self._path, self._image_id, f"{error}")
        reason = str(error) if isinstance(error, KymflowZarrError) else repr(error)
        return IngestItem("failed", self._path, self._image_id, reason)

    def _of_another(self, image_id: str | None) -> IngestItem:
        reason = "another program has added it meanwhile"
        return IngestItem("unchanged", self._path, image_id, reason)

    def _carried_out(self, mode: RefreshMode, *, overwrite_edits: bool) -> Iterator[IngestItem]:
        verdict, known = self.decision.verdict, self.decision.known
        assert known is not None
        if verdict == "moved":
            now = move_image(self.dataset, self.acquisition, known)
            here = Decider(self.known).compare(now, self.acquisition)
            if here.verdict not in ("files", "pixels"):
                yield IngestItem("moved", self._path, self._image_id, self._moved())
                return
            names = ", ".join(here.changed)
            if mode == "skip":
                what = "not read yet" if now.is_unread else "changed, and left as it was"
                reason = f"{self._moved()}; {what}: {names}"
                yield IngestItem("moved", self._path, self._image_id, reason)
                return
            notes = self._update(now, here, overwrite_edits=overwrite_edits)
            reason = "; ".join([self._moved(), f"changed: {names}", *notes])
            yield IngestItem("updated", self._path, self._image_id, reason)
        elif verdict == "touched":
            note_times(self.dataset, self.acquisition, known)
            yield IngestItem("unchanged", self._path, self._image_id)
        elif verdict == "unchanged":
            yield IngestItem("unchanged", self._path, self._image_id)
        elif mode == "skip":
            yield self._skipped()
        else:
            notes = self._update(known, self.decision, overwrite_edits=overwrite_edits)
            reason = "; ".join([f"changed: {', '.join(self.decision.changed)}", *notes])
            yield IngestItem("updated", self._path, self._image_id, reason)

    def _update(
        self, known: KnownImage, decision: Decision, *, overwrite_edits: bool
    ) -> tuple[str, ...]:
        return update_image(
            self.dataset,
            self.acquisition,
            known,
            changed=decision.changed,
            pixels=decision.verdict == "pixels",
            overwrite_edits=overwrite_edits,
        )

    def _copied(self) -> str | None:
        copied = self.decision.copy_of
        return None if copied is None else f"a copy of {copied}"

    def _moved(self) -> str:
        known = self.decision.known
        return "" if known is None else f"it was {known.file.path}"

    def _skipped(self) -> IngestItem:
        known = self.decision.known
        if self.decision.verdict == "files" and known is not None and known.is_unread:
            reason = (
                f"not read yet: {', '.join(self.decision.changed)}. "
                'refresh_from_folder(folder, mode="reingest_if_changed") reads it'
            )
            return IngestItem("unchanged", self._path, self._image_id, reason)
        reason = (
            f"changed since it was ingested: {', '.join(self.decision.changed)}; the image was "
            'left as it is. refresh_from_folder(folder, mode="reingest_if_changed") updates it'
        )
        return IngestItem("skipped", self._path, self._image_id, reason)


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


def _note(step: _Step, items: list[IngestItem], ready: Ready) -> None:
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
        if not path.exists():
            reason = "the file is gone; the image stays in the dataset"
            yield IngestItem("missing", str(path), image.image_id, reason)
