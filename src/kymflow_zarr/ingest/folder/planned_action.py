"""What is to be done with one acquisition, done by whoever an executor gives it to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import KymflowZarrError, RecordExistsError, StorageError
from kymflow_zarr.ingest.folder.adding import Ready, make_ready
from kymflow_zarr.ingest.folder.changes import Decision, compare
from kymflow_zarr.ingest.folder.convention import Acquisition
from kymflow_zarr.ingest.folder.source_index import KnownImage
from kymflow_zarr.ingest.recipe import StillChangingError
from kymflow_zarr.ingest.report import IngestItem
from kymflow_zarr.ingest.update import move_image, note_times, update_image
from kymflow_zarr.runtime.parallel import process_token
from kymflow_zarr.types import RefreshMode

__all__ = ["How", "Step", "do_step"]


@dataclass(frozen=True, slots=True)
class How:
    """In which way images are added and updated."""

    mode: RefreshMode
    overwrite_edits: bool
    verify: bool


@dataclass
class Step:
    """One acquisition and what is to be done with it; it may be done in another process.

    Parameters
    ----------
    dataset : OpenDataset
    acquisition : Acquisition
    decision : Decision
    taken : mapping of int to str
        The images of the file that are in the dataset already, by their number.
    """

    dataset: OpenDataset
    acquisition: Acquisition
    decision: Decision
    taken: Mapping[int, str]

    def name(self) -> str:
        """Return the name of the file."""
        return self.acquisition.primary.path.name

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

    def is_work(self, mode: RefreshMode) -> bool:
        """Tell whether anything is to be done but to say so."""
        verdict = self.decision.verdict
        changed = verdict in ("files", "pixels") and mode != "skip"
        return self.is_new or changed or verdict in ("moved", "touched")

    def done(self, how: How, area: str) -> Ready | list[IngestItem]:
        """Make the images of a new file ready; update one that is known, and say so."""
        if self.is_new:
            return make_ready(
                self.dataset, self.acquisition, self.taken.keys(), area, verify=how.verify
            )
        return list(self._carried_out(how.mode, overwrite_edits=how.overwrite_edits))

    def added(self, ready: Ready) -> Iterator[IngestItem]:
        """Yield what came of adding them."""
        for (draft, notes), taken in zip(ready.drafts, ready.outcomes, strict=True):
            if taken is not None:
                yield self._of_another(draft.image_id)
                continue
            said = [note for note in (self._copied(), *notes) if note is not None]
            yield IngestItem("ingested", self._path, draft.image_id, "; ".join(said) or None)
        for series, image_id in self.taken.items():
            if series:
                yield IngestItem("unchanged", self._path, image_id)
        if isinstance(ready.error, RecordExistsError):
            yield self._of_another(None)
        elif ready.error is not None:
            yield self.failed(ready.error)

    def failed(self, error: Exception) -> IngestItem:
        """Return what is to be reported of an error; raise it if it would strike all others."""
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
            here = compare(self.dataset, now, self.acquisition)
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


def do_step(step: Step, *, how: How, area: str, caller: str) -> Ready | list[IngestItem]:
    """Do a step, in whatever process.

    Parameters
    ----------
    step : Step
    how : How
    area : str
        Of :func:`kymflow_zarr.ingest.folder.adding.staging_area`.
    caller : int
        Token of the process that made the area.

    Returns
    -------
    Ready or list of IngestItem
        New images, which the caller commits; else what there is to report.
    """
    try:
        return step.done(how, area)
    finally:
        if process_token() != caller:
            # A worker that ends does not tidy up, so nothing of its own is left to it.
            step.dataset.close()
