"""A folder of TIFFs into a dataset, and again whenever it has changed.

First everything is looked at and a decision made for each image; a dry run ends there. Then
the decisions are carried out one by one: each is a commit of its own, so that work which was
interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from kymflow_zarr._core import IngestItem, IngestReport, RefreshResult, ZarrDataset
from kymflow_zarr._types import Progress, RefreshMode, StrPath
from kymflow_zarr.errors import (
    ArgumentError,
    KymflowZarrError,
    SourceNotFoundError,
    StorageError,
)
from kymflow_zarr.ingest._apply import move_image, note_times, update_image
from kymflow_zarr.ingest._changes import Decider, Decision
from kymflow_zarr.ingest._convention import Acquisition, FolderPlan, matches, plan_folder
from kymflow_zarr.ingest._exported import find_export
from kymflow_zarr.ingest._image import Added, StillChangingError, add_acquisition
from kymflow_zarr.ingest._known import KnownSources
from kymflow_zarr.ingest._loose import LooseFiles
from kymflow_zarr.ingest._scan import scan_folder


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
        steps = [
            _Step(self.dataset, acquisition, decider.decide(acquisition), known)
            for acquisition in plan.acquisitions
        ]
        for done, step in enumerate(steps):
            if self.progress is not None:
                self.progress(done, len(steps), step.acquisition.primary.path.name)
            if dry_run:
                self.items.append(step.planned(mode))
            else:
                self.items.extend(step.carried_out(mode, overwrite_edits=overwrite_edits))
        if self.progress is not None:
            self.progress(len(steps), len(steps), "")
        self.items.extend(_missing(root, plan, known, decider))
        loose = LooseFiles(self.dataset, plan, root.resolve())
        self.items.extend(loose.planned() if dry_run else loose.carried_out(mode))
        return IngestReport(str(root), tuple(self.items))


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

    def carried_out(self, mode: RefreshMode, *, overwrite_edits: bool) -> Iterator[IngestItem]:
        """Do it and yield what came of it, an item for each image of the file."""
        try:
            yield from self._carried_out(mode, overwrite_edits=overwrite_edits)
        except StorageError:
            # Not the source's fault: a full disk would fail for every file after it too.
            raise
        except StillChangingError as error:
            yield IngestItem("skipped", self._path, self._image_id, f"{error}")
        except Exception as error:  # noqa: BLE001 - whatever a bad file does, the others go in
            reason = str(error) if isinstance(error, KymflowZarrError) else repr(error)
            yield IngestItem("failed", self._path, self._image_id, reason)

    def _carried_out(self, mode: RefreshMode, *, overwrite_edits: bool) -> Iterator[IngestItem]:
        verdict, known = self.decision.verdict, self.decision.known
        if verdict in ("new", "copy") or known is None:
            yield from self._added()
            return
        if verdict == "moved":
            move_image(self.dataset, self.acquisition, known)
            yield IngestItem("moved", self._path, self._image_id, self._moved())
        elif verdict == "touched":
            note_times(self.dataset, self.acquisition, known)
            yield IngestItem("unchanged", self._path, self._image_id)
        elif verdict == "unchanged":
            yield IngestItem("unchanged", self._path, self._image_id)
        elif mode == "skip":
            yield self._skipped()
        else:
            notes = update_image(
                self.dataset,
                self.acquisition,
                known,
                changed=self.decision.changed,
                pixels=verdict == "pixels",
                overwrite_edits=overwrite_edits,
            )
            reason = "; ".join([f"changed: {', '.join(self.decision.changed)}", *notes])
            yield IngestItem("updated", self._path, self._image_id, reason)

    def _added(self) -> Iterator[IngestItem]:
        """Add the images of a new file, of which there may be several."""
        series, count = 0, 1
        while series < count:
            entry = self.known.image_of(self.acquisition.primary, series)
            if entry is not None:
                yield IngestItem("unchanged", self._path, entry.image_id)
                series += 1
                continue
            added: Added = add_acquisition(self.dataset, self.acquisition, series=series)
            count = added.series_count
            notes = [note for note in (self._copied(), *added.notes) if note is not None]
            reason = "; ".join(notes) or None
            yield IngestItem("ingested", self._path, added.record.image_id, reason)
            series += 1

    def _copied(self) -> str | None:
        copied = self.decision.copy_of
        return None if copied is None else f"a copy of {copied}"

    def _moved(self) -> str:
        known = self.decision.known
        return "" if known is None else f"it was {known.file.path}"

    def _skipped(self) -> IngestItem:
        reason = (
            f"changed since it was ingested: {', '.join(self.decision.changed)}; the image was "
            'left as it is. refresh_from_folder(folder, mode="reingest_if_changed") updates it'
        )
        return IngestItem("skipped", self._path, self._image_id, reason)


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
