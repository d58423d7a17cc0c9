"""Export a dataset as the folders that it was ingested from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from kymflow_zarr import layout
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.engine.documents import is_no_image, load_image
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.engine.query.map import Reading
from kymflow_zarr.engine.source_files import SourceFiles
from kymflow_zarr.errors import CorruptDataError, KymflowZarrError
from kymflow_zarr.export.dataset_layout.files import source_file_bytes
from kymflow_zarr.export.dataset_layout.places import source_segment
from kymflow_zarr.export.dataset_layout.plan import STOPPING, require_dataset
from kymflow_zarr.export.lab_layout.analysis import TreeTables
from kymflow_zarr.export.lab_layout.image import ImageTree
from kymflow_zarr.export.lab_layout.plan import Roots, TreePlan, root_of, stem_of
from kymflow_zarr.export.report import ExportDifference, ExportKind, ExportReport
from kymflow_zarr.export.target import OriginalFile, OriginalTarget, make_file
from kymflow_zarr.export.tiff.source import SourceTiff, channel_place
from kymflow_zarr.runtime.parallel import THREADS, in_order
from kymflow_zarr.schema.image import ImageDocument, SourceFileDocument
from kymflow_zarr.types import Progress

__all__ = ["export_tree"]

# Number of files that are synced and published together.
_AT_ONCE: Final = 256
_NEW: Final = "made in the dataset; there was no such file"


def export_tree(
    dataset: OpenDataset,
    records: Sequence[StoredImage],
    root: Path,
    keep_off: Callable[[list[str]], None],
    *,
    acqstore: bool,
    include_tiff: bool,
    include_tables: bool,
    progress: Progress | None,
    executor: Executor | None,
) -> ExportReport:
    """Write the folders that a dataset came from; see :func:`export_folder`.

    Parameters
    ----------
    dataset : OpenDataset
    records : sequence of StoredImage
        The images to write.
    root : Path
        The target, absolute, without links.
    keep_off : callable
        Called with paths; raises if one of them lies in the dataset.
    acqstore : bool
        Whether images get sidecars of acqstore.
    include_tiff, include_tables : bool
    progress : callable, optional
    executor : concurrent.futures.Executor, optional
    """
    storage = dataset.storage.reader()
    require_dataset(dataset, storage)
    work = _Planner(
        dataset,
        records,
        acqstore=acqstore,
        include_tiff=include_tiff,
        include_tables=include_tables,
    )
    plan = work.planned()
    keep_off(list(plan.files))
    files = sorted(plan.files.values(), key=lambda file: file.path)
    broken: dict[str, None] = {}

    def failed(file: OriginalFile, error: Exception) -> None:
        if isinstance(error, STOPPING) or not isinstance(error, KymflowZarrError | OSError):
            raise error
        require_dataset(dataset, storage)
        plan.fail(file.kind, file.name, f"{file.path}: {error}")
        broken[file.path] = None

    with OriginalTarget(root) as target:
        target.check(files, failed)
        written = in_order(
            make_file,
            [(file, target.temporary(file, broken)) for file in files],
            executor=executor,
            progress=progress,
            label=_path_of,
            threads=THREADS,
            # Own threads take all files; another executor only those that are worth the way.
            here=lambda task: task[1] is None or not (executor is None or task[0].apart),
            drop=lambda _: None,  # Its temporary file is in the work folder, which is cleaned up.
        )
        unsynced: list[tuple[OriginalFile, Path | None, str | None]] = []

        def place() -> None:
            """Publish the written files together, which needs fewer fsyncs."""
            target.sync([temporary for _, temporary, _ in unsynced])
            for file, temporary, reason in unsynced:
                try:
                    differs = target.place(file, temporary, reason)
                except (KymflowZarrError, OSError) as error:
                    failed(file, error)
                else:
                    if differs is not None:
                        plan.note(file.path, differs)
            unsynced.clear()
            target.sync_folders()

        try:
            with closing(written):
                for (file, temporary), reason, error in written:
                    if error is not None and file.path not in broken:
                        failed(file, error)
                    elif file.path not in broken:
                        unsynced.append((file, temporary, reason))
                    if len(unsynced) == _AT_ONCE:
                        place()
        finally:
            place()  # Files that were finished before a cancellation stay.
    require_dataset(dataset, storage)
    return ExportReport(
        str(root),
        tuple(file.path for file in files if file.path not in broken),
        written=tuple(sorted(target.written)),
        failed=tuple(plan.failed),
        differences=tuple(sorted(set(plan.differences), key=_by_path)),
    )


def _path_of(task: tuple[OriginalFile, Path | None]) -> str:
    return task[0].path


def _by_path(difference: ExportDifference) -> tuple[str, str]:
    return difference.path, difference.reason


@dataclass
class _Image:
    record: StoredImage
    document: ImageDocument
    tiffs: list[SourceFileDocument] = field(default_factory=list)

    @property
    def order(self) -> tuple[int, str]:
        """Return the sort key: of several images of one TIFF the first keeps its name."""
        return min((file.series for file in self.tiffs), default=0), self.record.image_id


class _Planner:
    """Plans every file of the dataset.

    Parameters
    ----------
    dataset : OpenDataset
    records : sequence of StoredImage
    acqstore, include_tiff, include_tables : bool
    """

    def __init__(
        self,
        dataset: OpenDataset,
        records: Sequence[StoredImage],
        *,
        acqstore: bool,
        include_tiff: bool,
        include_tables: bool,
    ) -> None:
        self._dataset = dataset
        self._acqstore = acqstore
        self._storage = dataset.storage.reader()
        self._reading = Reading(self._storage)
        self._include_tiff = include_tiff
        self._include_tables = include_tables
        unread: list[tuple[str, Exception]] = []
        self._images: list[_Image] = []
        for record in records:
            try:
                document = load_image(self._storage, record.image_id)
            except (KymflowZarrError, OSError) as error:
                if not is_no_image(self._storage, record.image_id):
                    unread.append((record.image_id, error))
                continue
            tiffs = [file for file in document.source_files if file.role == "image"]
            self._images.append(_Image(record, document, tiffs))
        self._images.sort(key=lambda image: image.order)
        broken: Exception | None = None
        self._kept: list[SourceFileDocument] = []
        self._loose: list[SourceFileDocument] = []
        try:
            self._kept = list(SourceFiles(self._storage).documents().values())
            self._loose = self._of_this_place(self._kept)
        except (KymflowZarrError, OSError) as error:
            broken = error
        every = [file for image in self._images for file in image.document.source_files]
        self._plan = TreePlan(Roots([*every, *self._loose]))
        pooled = [file for file in self._kept if file.role == "pooled"]
        self._tables = TreeTables(self._plan, self._storage, dataset, pooled)
        for image_id, why in unread:
            self._plan.fail("image", image_id, str(why))
        if broken is not None:
            self._plan.fail("source_file", layout.SOURCE_FILES, str(broken))
        for file in [*every, *self._loose]:
            self._plan.place(file)

    def _of_this_place(self, files: list[SourceFileDocument]) -> list[SourceFileDocument]:
        """Return the loose files without earlier paths of a folder that was moved as a whole."""
        roots = {root_of(f) for image in self._images for f in image.document.source_files}
        here = {(f.rel_path, f.sha256) for f in files if root_of(f) in roots}
        return [f for f in files if root_of(f) in roots or (f.rel_path, f.sha256) not in here]

    def planned(self) -> TreePlan:
        """Return the plan of everything."""
        trees: list[tuple[ImageTree, str, bool]] = []
        owners: dict[str, str] = {}
        shared = self._shared()
        for image in self._images:
            with _Reporting(self._plan, "image", image.record.image_id):
                tree = ImageTree(self._plan, self._storage, image.record, image.document)
                stem, filed = self._tiffs(image, owners)
                tree.original_files(shared=shared)
                trees.append((tree, stem, filed))
        for file in self._loose:
            self._loose_file(file)
        # Use the paths that the original files left free.
        alone = [self._plan.claim_stem(stem) for _, stem, _ in trees]
        for (tree, stem, filed), own in zip(trees, alone, strict=True):
            with _Reporting(self._plan, "image", tree.record.image_id):
                tree.extra_files(stem, alone=own, whole=not filed, acqstore=self._acqstore)
        if self._include_tables:
            for name in self._dataset.list_table_names():
                with _Reporting(self._plan, "table", name):
                    self._tables.other(name)
        return self._plan

    def _shared(self) -> set[str]:
        """Return the paths of source files that several images share."""
        images: dict[str | None, set[str]] = defaultdict(set)
        for image in self._images:
            for file in image.document.source_files:
                images[self._plan.place(file)].add(image.record.image_id)
        return {place for place, ids in images.items() if place is not None and len(ids) > 1}

    # TIFFs -----------------------------------------------------------------------------

    def _tiffs(self, image: _Image, owners: dict[str, str]) -> tuple[str, bool]:
        """Plan the TIFFs of an image; return their stem, and True if it is the original one."""
        placed = [self._plan.place(file) for file in image.tiffs]
        places = [place for place in placed if place is not None]
        image_id = image.record.image_id
        if not places or None in placed:
            place = self._plan.names.take(source_segment(image_id), suffix=".tif")
            self._tiff(image, place, None, _NEW)
            return stem_of(place), False
        first = places[0]
        owner = next((owners[p] for p in places if p in owners), None)
        if owner is not None:
            series = image.tiffs[0].series
            stem = f"{stem_of(first)}_series{series}" if series else stem_of(first)
            place = self._plan.names.take(stem, suffix=".tif")
            self._tiff(image, place, None, f"it came from {first} as the image {owner!r} does")
            return stem_of(place), False
        for place in places:
            owners[place] = image_id
        try:
            channels = [channel_place(image.document, file) for file in image.tiffs]
        except CorruptDataError as error:
            self._tiff(image, first, None, f"{error.what}; all that it has is here")
            for place in places[1:]:
                self._plan.note(place, f"not written: {error.what}")
            return stem_of(first), True
        for place, file, channel in zip(places, image.tiffs, channels, strict=True):
            if file.kept_as is not None and self._include_tiff:
                key = f"{layout.image_prefix(image_id)}/{file.kept_as}"
                read = partial(source_file_bytes, self._storage, key, file)
                self._plan.verbatim(image_id, file, place, read)
            elif place.casefold().endswith((".tif", ".tiff")):
                self._tiff(image, place, file, None, channel)
            else:
                reason = f"instead of {place}, whose format is not written"
                self._tiff(image, self._plan.names.take(place, suffix=".tif"), None, reason)
        return stem_of(first), True

    def _tiff(
        self,
        image: _Image,
        place: str,
        file: SourceFileDocument | None,
        reason: str | None,
        channel: tuple[int, int] | None = None,
    ) -> None:
        if not self._include_tiff:
            return
        if 0 in image.document.pixels.shape:
            self._plan.note(place, "not written: the image has no pixels")
            return
        tiff = SourceTiff(self._reading, image.record, file, channel, reason)
        mtime_ns = None if file is None else file.mtime_ns
        self._plan.made(image.record.image_id, place, tiff.write, mtime_ns, apart=True)

    # Files of no image -----------------------------------------------------------------

    def _loose_file(self, file: SourceFileDocument) -> None:
        place = self._plan.place(file)
        if place is None or (file.role == "pooled" and not self._include_tables):
            return
        with _Reporting(self._plan, "source_file", file.path):
            if file.role == "pooled":
                self._tables.pooled(file, place)
            else:
                read = partial(source_file_bytes, self._storage, file.kept_as or "", file)
                self._plan.verbatim(file.path, file, place, read, "source_file")


@dataclass
class _Reporting:
    """Report the errors of one part instead of raising them."""

    plan: TreePlan
    kind: ExportKind
    name: str

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> bool:
        if not isinstance(error, KymflowZarrError | OSError) or isinstance(error, STOPPING):
            return False
        self.plan.fail(self.kind, self.name, str(error))
        return True
