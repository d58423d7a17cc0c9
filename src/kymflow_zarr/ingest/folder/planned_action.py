"""The planned action for each acquisition of a folder, and the workers that carry it out.

Several workers (threads or processes) read, compress and digest new images into staging. The caller
commits them in batches, so that the fsyncs are paid once per batch.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.images.draft import RecordDraft, commit_drafts
from kymflow_zarr.errors import KymflowZarrError, RecordExistsError, StorageError
from kymflow_zarr.ingest.folder.changes import FileChange, compare
from kymflow_zarr.ingest.folder.convention import Acquisition
from kymflow_zarr.ingest.folder.source_index import KnownImage
from kymflow_zarr.ingest.image import image_id_of, stage_image
from kymflow_zarr.ingest.recipe import StillChangingError, listed
from kymflow_zarr.ingest.report import IngestItem
from kymflow_zarr.ingest.update import move_image, note_times, update_image
from kymflow_zarr.runtime.parallel import process_token
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import RefreshMode

# Images per commit. Twice as many may be staged, so that workers continue during a commit. Staged
# images are on the disk and take no memory.
BATCH_IMAGES: Final = 16
_BATCH_BYTES: Final = 128 << 20


@contextmanager
def staging_area(dataset: OpenDataset) -> Iterator[str]:
    """Yield a folder where workers, in other processes too, stage images for this process.

    This process holds the session's lock meanwhile. It deletes the leftovers of a dead worker; if
    this process dies too, the next writer deletes them.
    """
    with dataset.storage.stage() as tree, tree.in_use():
        yield tree.area


@dataclass(slots=True)
class StagedImages:
    """The images of one new file, ready to be committed.

    Parameters
    ----------
    drafts : list of (RecordDraft, tuple of str, int)
        Each with its notes and its number of results for the report.
    error : Exception, optional
        The error that stopped the staging; the drafts staged before it are valid.
    sha256 : str, optional
        Digest of the first TIFF, if there are drafts.
    outcomes : list of RecordExistsError or None
        After the commit: an error for each image that another writer added in the meantime.
    """

    drafts: list[tuple[RecordDraft, tuple[str, ...], int]] = field(default_factory=list)
    error: Exception | None = None
    sha256: str | None = None
    outcomes: list[RecordExistsError | None] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Size of its files."""
        return sum(draft.size_bytes for draft, _, _ in self.drafts)

    def drop(self) -> None:
        """Delete the drafts that were not committed."""
        for draft, _, _ in self.drafts:
            draft.__exit__(None, None, None)


def stage_images(
    dataset: OpenDataset,
    acquisition: Acquisition,
    taken: Container[int],
    area: str,
    *,
    verify: bool = False,
    keep_original: bool = False,
) -> StagedImages:
    """Read an acquisition into drafts, one for each image of its file.

    Parameters
    ----------
    dataset : OpenDataset
    acquisition : Acquisition
    taken : container of int
        Series of the file that are already in the dataset.
    area : str
        Of :func:`staging_area`.
    verify : bool
        Whether the pixels are read back and compared with the file's.
    keep_original : bool
        Whether the image files are kept byte by byte.
    """
    staged = StagedImages()
    series, count = 0, 1
    try:
        while series < count:
            if series not in taken:
                with ExitStack() as stack:
                    image_id = image_id_of(dataset, acquisition, series)
                    draft = stack.enter_context(RecordDraft(dataset.storage, image_id, area=area))
                    notes, results, count = stage_image(
                        draft,
                        acquisition,
                        series=series,
                        verify=verify,
                        keep_original=keep_original,
                    )
                    stack.pop_all()
                staged.drafts.append((draft, notes, results))
                staged.sha256 = acquisition.primary.sha256()
            series += 1
    except Exception as error:  # noqa: BLE001 - reported by the caller, with the file
        staged.error = error
    except BaseException:
        staged.drop()
        raise
    return staged


class Batch:
    """Staged images that are committed together; a context manager.

    On exit it commits the rest, even after an error, since each staged image is complete.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._waiting: list[tuple[StagedImages, Callable[[StagedImages], object]]] = []

    def add(self, staged: StagedImages, then: Callable[[StagedImages], object]) -> None:
        """Add staged images; call `then` with them when they are committed."""
        self._waiting.append((staged, then))
        size = sum(waiting.size_bytes for waiting, _ in self._waiting)
        if len(self._waiting) >= BATCH_IMAGES or size >= _BATCH_BYTES:
            self.commit()

    def commit(self) -> None:
        """Commit all staged images."""
        waiting, self._waiting = self._waiting, []
        try:
            drafts = [draft for staged, _ in waiting for draft, _, _ in staged.drafts]
            outcomes = iter(commit_drafts(self._storage, drafts))
            for staged, then in waiting:
                staged.outcomes = [next(outcomes) for _ in staged.drafts]
                then(staged)
        finally:
            for staged, _ in waiting:
                staged.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.commit()


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """Options of adding and updating images."""

    mode: RefreshMode
    overwrite_edits: bool
    verify: bool
    keep_original: bool = False


@dataclass
class PlannedAction:
    """The planned action for one acquisition; it can be sent to another process.

    Parameters
    ----------
    dataset : OpenDataset
    acquisition : Acquisition
    change : FileChange
    taken : mapping of int to str
        Ids of the file's images that are already in the dataset, by series.
    """

    dataset: OpenDataset
    acquisition: Acquisition
    change: FileChange
    taken: Mapping[int, str]

    def name(self) -> str:
        """Return the name of the file."""
        return self.acquisition.primary.path.name

    @property
    def _path(self) -> str:
        return self.acquisition.primary.full_path

    @property
    def _image_id(self) -> str | None:
        known = self.change.known
        return None if known is None else known.image_id

    def planned(self, mode: RefreshMode) -> IngestItem:
        """Return the items that a dry run reports."""
        status, changed = self.change.status, ", ".join(self.change.changed)
        if status in ("new", "copy"):
            return IngestItem("ingested", self._path, None, self._copied())
        if status == "moved":
            return IngestItem("moved", self._path, self._image_id, self._moved())
        if status in ("unchanged", "touched"):
            return IngestItem("unchanged", self._path, self._image_id)
        if mode == "skip":
            return self._skipped()
        return IngestItem("updated", self._path, self._image_id, f"changed: {changed}")

    @property
    def is_new(self) -> bool:
        """Whether the action adds images."""
        return self.change.status in ("new", "copy") or self.change.known is None

    def changes_something(self, mode: RefreshMode) -> bool:
        """Return True if the action changes the dataset."""
        status = self.change.status
        changed = status in ("files", "pixels") and mode != "skip"
        return self.is_new or changed or status in ("moved", "touched")

    def done(self, options: IngestOptions, area: str) -> StagedImages | list[IngestItem]:
        """Stage the images of a new file, or update a known image and return the report's items."""
        if self.is_new:
            return stage_images(
                self.dataset, self.acquisition, self.taken.keys(), area,
                verify=options.verify, keep_original=options.keep_original,
            )  # fmt: skip
        return self.report(options)

    def report(self, options: IngestOptions) -> list[IngestItem]:
        """Update a known image if needed, and return the report's items."""
        return list(self._carried_out(options.mode, overwrite_edits=options.overwrite_edits))

    def added(self, staged: StagedImages) -> Iterator[IngestItem]:
        """Yield the report's items of images that were committed."""
        for (draft, notes, results), taken in zip(staged.drafts, staged.outcomes, strict=True):
            if taken is not None:
                yield self._of_another(draft.image_id)
                continue
            remarks = [note for note in (self._copied(), *notes) if note is not None]
            reason = "; ".join(remarks) or None
            yield IngestItem("ingested", self._path, draft.image_id, reason, results)
        for series, image_id in self.taken.items():
            if series:
                yield IngestItem("unchanged", self._path, image_id)
        if isinstance(staged.error, RecordExistsError):
            yield self._of_another(None)
        elif staged.error is not None:
            yield self.failed(staged.error)

    def failed(self, error: Exception) -> IngestItem:
        """Return the item of an error; raise it again if it would fail every other action too."""
        if isinstance(error, StorageError):
            # A full disk has nothing to do with this file, and every later one would fail too.
            raise error
        if isinstance(error, StillChangingError):
            return IngestItem("skipped", self._path, self._image_id, f"{error}")
        reason = str(error) if isinstance(error, KymflowZarrError) else repr(error)
        others = (*self.acquisition.images[1:], *self.acquisition.members)
        names = [scanned.path.name for scanned in others]
        if self.is_new and names:
            reason = f"{reason.removesuffix('.')}. Left out with it: {listed(names)}"
        return IngestItem("failed", self._path, self._image_id, reason)

    def _of_another(self, image_id: str | None) -> IngestItem:
        reason = "another program has added it meanwhile"
        return IngestItem("unchanged", self._path, image_id, reason)

    def _carried_out(self, mode: RefreshMode, *, overwrite_edits: bool) -> Iterator[IngestItem]:
        status, known = self.change.status, self.change.known
        assert known is not None
        if status == "moved":
            now = move_image(self.dataset, self.acquisition, known)
            here = compare(self.dataset, now, self.acquisition)
            if here.status not in ("files", "pixels"):
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
        elif status == "touched":
            note_times(self.dataset, self.acquisition, known)
            yield IngestItem("unchanged", self._path, self._image_id)
        elif status == "unchanged":
            yield IngestItem("unchanged", self._path, self._image_id)
        elif mode == "skip":
            yield self._skipped()
        else:
            notes = self._update(known, self.change, overwrite_edits=overwrite_edits)
            reason = "; ".join([f"changed: {', '.join(self.change.changed)}", *notes])
            yield IngestItem("updated", self._path, self._image_id, reason)

    def _update(
        self, known: KnownImage, change: FileChange, *, overwrite_edits: bool
    ) -> tuple[str, ...]:
        return update_image(
            self.dataset,
            self.acquisition,
            known,
            changed=change.changed,
            pixels=change.status == "pixels",
            overwrite_edits=overwrite_edits,
        )

    def _copied(self) -> str | None:
        copied = self.change.copy_of
        return None if copied is None else f"a copy of {copied}"

    def _moved(self) -> str:
        known = self.change.known
        return "" if known is None else f"it was {known.file.path}"

    def _skipped(self) -> IngestItem:
        known = self.change.known
        if self.change.status == "files" and known is not None and known.is_unread:
            reason = (
                f"not read yet: {', '.join(self.change.changed)}. "
                'refresh_from_folder(folder, mode="reingest_if_changed") reads it'
            )
            return IngestItem("unchanged", self._path, self._image_id, reason)
        reason = (
            f"changed since it was ingested: {', '.join(self.change.changed)}; the image was "
            'left as it is. refresh_from_folder(folder, mode="reingest_if_changed") updates it'
        )
        return IngestItem("skipped", self._path, self._image_id, reason)


def do_action(
    action: PlannedAction, *, options: IngestOptions, area: str, caller: str
) -> StagedImages | list[IngestItem]:
    """Carry out an action, in this process or in a worker.

    Parameters
    ----------
    action : PlannedAction
    options : IngestOptions
    area : str
        Of :func:`staging_area`.
    caller : str
        Token of the process that made the area.

    Returns
    -------
    StagedImages or list of IngestItem
        New images, which the caller commits; else the report's items.
    """
    try:
        return action.done(options, area)
    finally:
        if process_token() != caller:
            # A worker process exits without cleanup, so release its resources now.
            action.dataset.close()
