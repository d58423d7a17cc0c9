"""Import a folder that ``export_legacy_folder`` wrote back into a dataset.

Ids, times, pixels, axes, artifacts with their types, tables and source files are restored
unchanged. Images and tables that the dataset already has are skipped, so that a second call resumes
an interrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from kymflow_zarr import layout
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import KymflowZarrError, SourceFileError, StorageError
from kymflow_zarr.ingest.folder.scan import scan_folder
from kymflow_zarr.ingest.from_export.files import (
    ExportedFiles,
    ImageEntry,
    Manifest,
    TableEntry,
    read_manifest,
)
from kymflow_zarr.ingest.from_export.image import ExportedImage, csv_note, source_bytes
from kymflow_zarr.ingest.report import IngestItem, IngestReport
from kymflow_zarr.runtime.parallel import THREADS, in_order, process_token
from kymflow_zarr.schema.base import decodable
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.types import Progress

__all__ = ["ExportedFolder", "find_export"]

_TableStatus: TypeAlias = Literal["pooled", "unchanged", "failed"]
_THERE: Final = "the dataset holds another table of that name, which is left alone"


def find_export(dataset: OpenDataset, root: Path) -> ExportedFolder | None:
    """Return the export in a folder, None if the folder is not an export.

    Raises
    ------
    FormatVersionError
        If a newer version wrote it.
    SourceFileError
        If its manifest cannot be read.
    """
    manifest = read_manifest(root)
    return None if manifest is None else ExportedFolder(dataset, root.resolve(), manifest)


@dataclass
class ExportedFolder:
    """The import of an exported folder into a dataset.

    Parameters
    ----------
    dataset : OpenDataset
    root : Path
    manifest : Manifest
    """

    dataset: OpenDataset
    root: Path
    manifest: Manifest
    _files: ExportedFiles = field(init=False)

    def __post_init__(self) -> None:
        self._files = ExportedFiles(self.root, self.manifest.files)

    def run(
        self,
        *,
        dry_run: bool,
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> IngestReport:
        """Import everything, or report what would be imported.

        Parameters
        ----------
        dry_run : bool
        progress : callable, optional
            Called as ``progress(done, total, image_id)``.
        executor : concurrent.futures.Executor, optional
            Runs the imports of images; threads if left out.

        Returns
        -------
        IngestReport
            An item for each image (``ingested``, ``unchanged`` where the dataset has that id,
            ``failed``) and each table (``pooled``, ``unchanged``, ``failed``), and one for
            each file that could not be taken in or that the export did not write.

        Raises
        ------
        StorageError
            If the dataset cannot be written to.
        """
        items: list[IngestItem] = []
        known = set(self.dataset.list_image_ids())
        images = self.manifest.images
        entries = [
            self._image(image_id, planned, there=image_id in known, dry_run=dry_run)
            for image_id, planned in images.items()
        ]
        if progress is not None and images:
            progress(0, len(images), entries[0][0])
        added = in_order(
            partial(_added, caller=process_token()),
            entries,
            executor=executor,
            label=lambda image: image[0],
            threads=THREADS,
            here=lambda image: not isinstance(image[1], ExportedImage),
            drop=lambda _: None,
            leased=self.dataset.storage.lease,
        )
        with closing(added):
            for done, ((image_id, planned), image, error) in enumerate(added):
                if progress is not None and done:
                    progress(done, len(images), image_id)
                items.extend(self._told(image_id, planned, image, error))
        if progress is not None:
            progress(len(images), len(images), "")
        items.extend(self._table(table, dry_run=dry_run) for table in self.manifest.tables)
        items.extend(self._kept(dry_run=dry_run))
        items.extend(self._not_exported())
        items.extend(self._foreign())
        return IngestReport(str(self.root), tuple(items))

    def _path(self, path: str) -> str:
        return str(self.root.joinpath(*path.split("/")))

    # Images ----------------------------------------------------------------------------

    def _image(
        self, image_id: str, planned: object, *, there: bool, dry_run: bool
    ) -> tuple[str, ExportedImage | IngestItem]:
        """Return an image to import, or the report's item if there is nothing to import."""
        path = self._path(layout.EXPORT_MANIFEST)
        try:
            entry = msgspec.convert(planned, decodable(ImageEntry))
        except msgspec.ValidationError as error:
            why = f"the manifest is not valid: {error}"
            return image_id, IngestItem("failed", path, image_id, why)
        if entry.pixels is not None:
            path = self._path(entry.pixels.file)
        if there:
            return image_id, IngestItem("unchanged", path, image_id)
        if entry.pixels is None:
            return image_id, IngestItem("failed", path, image_id, "exported without TIFFs")
        if dry_run:
            return image_id, IngestItem("ingested", path, image_id)
        image = ExportedImage(self.dataset, self._files, image_id, entry, entry.pixels)
        image.files = self._files.of(image.paths)
        return image_id, image

    def _told(
        self,
        image_id: str,
        planned: ExportedImage | IngestItem,
        image: ExportedImage | None,
        error: Exception | None,
    ) -> Iterator[IngestItem]:
        if isinstance(planned, IngestItem):
            yield planned
            return
        path = self._path(planned.pixels.file)
        if isinstance(error, StorageError):
            raise error  # On a full disk every later image would fail too.
        if image is None:
            assert error is not None
            yield IngestItem("failed", path, image_id, _reason(error))
            return
        yield IngestItem("ingested", path, image_id, "; ".join(image.notes) or None)
        for file, reason in image.left_out:
            yield IngestItem("failed", self._path(file), image_id, reason)

    # Tables ----------------------------------------------------------------------------

    def _table(self, table: TableEntry, *, dry_run: bool) -> IngestItem:
        path = self._path(table.file)
        try:
            status, reason = self._put_table(table, dry_run=dry_run)
        except StorageError:
            raise
        except Exception as error:  # noqa: BLE001 - as for images
            return IngestItem("failed", path, None, _reason(error))
        return IngestItem(status, path, None, reason)

    def _put_table(self, table: TableEntry, *, dry_run: bool) -> tuple[_TableStatus, str | None]:
        from kymflow_zarr.formats.dataframe.parquet import encode_parquet
        from kymflow_zarr.ingest.from_export.image import read_frame

        data, intact = self._files.read(table.file)
        frame = read_frame(data, where=table.file)
        if table.name in self.dataset.list_table_names():
            now = self.dataset.load_table(table.name)
            same = encode_parquet(now) == encode_parquet(frame)
            return ("unchanged", None) if same else ("failed", _THERE)
        if not dry_run:
            self.dataset.save_table(table.name, frame)
        notes = [f"table {table.name!r}"]
        if not intact:
            notes.append("the file was changed since the export and is taken as it is now")
        if table.csv is not None and table.csv != table.file:
            note = csv_note(self._files, table.csv, table.file)
            notes.extend(() if note is None else (note,))
        return "pooled", "; ".join(notes)

    # Files of no single image ---------------------------------------------------

    def _kept(self, *, dry_run: bool) -> Iterator[IngestItem]:
        source_files = self.dataset.source_files
        there = source_files.documents()
        contents: dict[str, tuple[SourceFileDocument, bytes]] = {}
        for entry in self.manifest.source_files:
            if entry.path in there:
                if there[entry.path].sha256 != entry.sha256:
                    reason = "the dataset keeps another file of that path, which is left alone"
                    yield IngestItem("failed", entry.path, None, reason)
                continue
            try:
                contents[entry.path] = (entry.document(), source_bytes(self._files, entry))
            except SourceFileError as error:
                yield IngestItem("failed", self._path(entry.file or ""), None, str(error))
        if not dry_run:
            source_files.keep(contents)

    def _not_exported(self) -> Iterator[IngestItem]:
        """Report the parts that the export itself could not write."""
        for part in self.manifest.failed:
            image_id = part.name if part.kind == "image" else None
            reason = f"the export could not read the {part.kind} {part.name!r}: {part.reason}"
            yield IngestItem("failed", self._path(layout.EXPORT_MANIFEST), image_id, reason)

    def _foreign(self) -> Iterator[IngestItem]:
        scan = scan_folder(self.root)
        known = {*self.manifest.files, layout.EXPORT_MANIFEST}
        for file in scan.files:
            if file.rel_path not in known:
                reason = "it is not part of the export, which the folder is taken for"
                yield IngestItem("unmatched", str(file.path), None, reason)
        for path, why in scan.unreadable:
            yield IngestItem("failed", path, None, why)


def _added(item: tuple[str, ExportedImage | IngestItem], *, caller: str) -> ExportedImage | None:
    """Import an image, in this process or a worker, and return it with its notes."""
    _, image = item
    if not isinstance(image, ExportedImage):
        return None
    try:
        image.add()
    finally:
        if process_token() != caller:
            # A worker process exits without cleanup, so release its resources now.
            image.dataset.close()
    return image


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, KymflowZarrError) else repr(error)
