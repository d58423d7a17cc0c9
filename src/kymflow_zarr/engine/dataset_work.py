"""Long work on a whole dataset, as methods of it: ingest, export, validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from kymflow_zarr.engine import seam
from kymflow_zarr.types import ExportLayout, Progress, RefreshMode, StrPath

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.engine.record import StoredImage
    from kymflow_zarr.engine.reports import (
        ExportReport,
        IngestReport,
        Problem,
        RefreshResult,
        ValidationReport,
    )
    from kymflow_zarr.engine.verify_reports import RepairReport, VerifyLevel, VerifyReport


class DatasetWork:
    """What the rooms below do to a dataset; a base of :class:`OpenDataset`."""

    @property
    def _whole(self) -> OpenDataset:
        return cast("OpenDataset", self)

    def ingest_image(self, source: object, *, image_id: str | None = None) -> StoredImage:
        """Add the image that another program's object holds.

        Parameters
        ----------
        source : object
            Offers ``getChannelData(channel)`` or ``get_channel(channel)``, channels counted
            from 1; all that ``channels_available()`` names, or the first. If it has them,
            ``getHeader()/header``, ``getExperimentMetadata()/experiment_metadata`` and
            ``rois()/rois`` make up the metadata payload.
        image_id : str, optional

        Raises
        ------
        ArgumentTypeError
            If it offers no channel.
        """
        return seam.ingest().ingest_object(self._whole, source, image_id=image_id)

    def ingest_tiff(
        self,
        path: StrPath,
        *,
        series: int = 0,
        include_sidecars: bool = True,
        image_id: str | None = None,
        verify: bool = False,
    ) -> StoredImage:
        """Add the image of a TIFF file, with all that the file says of it.

        Parameters
        ----------
        path : str or Path
            Anything that tifffile reads.
        series : int
            Which image of a file that holds several.
        include_sidecars : bool
            Whether the files beside the TIFF become metadata and artifacts.
        image_id : str, optional
        verify : bool
            Whether the pixels are read back and compared with the file's before the image is
            added.

        Returns
        -------
        StoredImage
            Where the file was ingested before and has not changed, the record of then.

        Raises
        ------
        SourceFileError
            If it is not a readable TIFF (a ValueError).
        RecordExistsError
            If the file was ingested before and has changed since, and no `image_id` is given.
        FileNotFoundError
            If there is no such file.
        CorruptDataError
            If `verify` finds other pixels than those of the file; nothing is added.
        """
        return seam.ingest().ingest_tiff(
            self._whole,
            path,
            series=series,
            include_sidecars=include_sidecars,
            image_id=image_id,
            verify=verify,
        )

    def ingest_legacy_folder(
        self,
        folder: StrPath,
        *,
        pattern: str = "*.tif",
        include_sidecars: bool = True,
        verify: bool = False,
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> IngestReport:
        """Add the TIFFs of a folder and of all folders below it, with their sidecars.

        Parameters
        ----------
        folder : str or Path
        pattern : str
            File names to take; case does not matter, and ``*.tif`` takes ``.tiff`` too.
        include_sidecars : bool
            Whether the files beside a TIFF become metadata and artifacts.
        verify : bool
            Whether the pixels of each image are read back and compared with the file's before
            it is added; one that differs has failed.
        progress : callable, optional
            Called as ``progress(done, total, label)``.
        executor : concurrent.futures.Executor, optional
            What reads and packs the images; threads if left out. Any will do, as one of
            processes or of a cluster that sees the folder and the dataset.

        Returns
        -------
        IngestReport
            One item for each file. A file that cannot be read is named there with its
            reason and does not stop the others; a file that is in already is left alone.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        concurrent.futures.BrokenExecutor
            If the executor cannot go on. What was added before stays.
        """
        return seam.ingest().ingest_folder(
            self._whole,
            folder,
            pattern=pattern,
            include_sidecars=include_sidecars,
            verify=verify,
            progress=progress,
            executor=executor,
        )

    def refresh_from_folder(
        self,
        folder: StrPath,
        pattern: str = "*.tif",
        mode: RefreshMode = "skip",
        *,
        include_sidecars: bool = True,
        dry_run: bool = False,
        overwrite_edits: bool = False,
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> RefreshResult:
        """Scan a folder again: add what is new, find what has moved, update what has changed.

        Where nothing has changed, no file is opened and nothing is written. A file whose
        content is found under another path, and not under its own any more, has moved; one
        beside its original is a copy and an image of its own. A deleted file is reported and
        its image stays.

        Parameters
        ----------
        folder : str or Path
        pattern : str
            As for :meth:`ingest_legacy_folder`.
        mode : {"skip", "reingest_if_changed"}
            Whether an image is left alone whose files have changed, or updated in place: its
            id and its artifacts stay; those made from the earlier pixels are listed by
            :meth:`StoredImage.list_earlier_artifacts`.
        include_sidecars : bool
            Whether what lies beside the TIFFs counts.
        dry_run : bool
            Say what would be done, and do nothing.
        overwrite_edits : bool
            Whether what was edited in the dataset gives way to a file that has changed. By
            default it stays and the report names the conflict.
        progress : callable, optional
            Called as ``progress(done, total, label)``.
        executor : concurrent.futures.Executor, optional
            As for :meth:`ingest_legacy_folder`.

        Returns
        -------
        RefreshResult
            The list of the ids that were added or updated; its ``report`` has everything.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        ArgumentError
            If the mode is unknown.
        concurrent.futures.BrokenExecutor
            If the executor cannot go on. What was added and updated before stays.
        """
        return seam.ingest().refresh_folder(
            self._whole,
            folder,
            pattern=pattern,
            mode=mode,
            include_sidecars=include_sidecars,
            dry_run=dry_run,
            overwrite_edits=overwrite_edits,
            progress=progress,
            executor=executor,
        )

    def export_legacy_folder(
        self,
        folder: StrPath,
        *,
        include_tiff: bool = True,
        include_tables: bool = True,
        layout: ExportLayout = "dataset",
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> ExportReport:
        """Write the dataset as a folder of TIFF, JSON, CSV and NumPy files.

        Parameters
        ----------
        folder : str or Path
            Files of an earlier export of this dataset are replaced, stale ones removed;
            everything else in it stays as it is.
        include_tiff, include_tables : bool
            False leaves TIFFs or tables out; those of an earlier export are stale then.
        layout : {"dataset", "kymflow"}
            ``"dataset"``: a folder for each image, from which an equal dataset can be made.
            ``"kymflow"``: the folders that the dataset was ingested from, with the same files in
            the same places. Those that are not byte for byte the same, because something was
            edited since or the pixels of a TIFF were compressed, are named in ``differences`` of
            the report. Nothing in the folder is overwritten or removed.
        progress : callable, optional
            Called as ``progress(done, total, label)``.
        executor : concurrent.futures.Executor, optional
            What makes the files; threads if left out. Processes, or those of a cluster, must
            see the dataset and the folder.

        Raises
        ------
        TargetExistsError
            If a file of somebody else is in the way (a FileExistsError); nothing is written.
        ArgumentError
            If the folder lies inside the dataset, or the layout is unknown.
        CorruptDataError
            If something in the dataset is damaged; names it.
        LockTimeoutError
            If another export is writing to the folder.
        concurrent.futures.BrokenExecutor
            If the executor cannot go on. What was written before stays, and the next call goes
            on from there.
        """
        return seam.export().export_folder(
            self._whole,
            folder,
            include_tiff=include_tiff,
            include_tables=include_tables,
            layout=layout,
            progress=progress,
            executor=executor,
        )

    def validate(
        self, *, progress: Progress | None = None, executor: Executor | None = None
    ) -> ValidationReport:
        """Hold every document of the dataset against the format; reads no pixels.

        Parameters
        ----------
        progress : callable, optional
            Called as ``progress(done, total, image_id)``; raising from it ends the work.
        executor : concurrent.futures.Executor, optional
            What looks at the images; this thread if left out, since threads would be no faster.
        """
        return seam.check().validate_dataset(self._whole, progress=progress, executor=executor)

    def validate_image(self, image_id: str) -> tuple[Problem, ...]:
        """Hold the documents of one image against the format.

        Raises
        ------
        RecordNotFoundError
            If there is no such image.
        """
        return seam.check().validate_image(self._whole, image_id)

    def verify(
        self,
        *,
        level: VerifyLevel = "full",
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> VerifyReport:
        """Hold every file of the dataset against its checksum; writes nothing.

        Whoever writes meanwhile is not in the way, and makes no false alarm.

        Parameters
        ----------
        level : {"full", "fast"}
            ``"full"`` reads every byte. ``"fast"`` looks at presence and size of the files, and
            so does not find a flipped bit.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``; raising from it ends the work.
        executor : concurrent.futures.Executor, optional
            What reads the files; eight threads if left out.

        Returns
        -------
        VerifyReport

        Raises
        ------
        ArgumentError
            If the level is unknown.
        FormatVersionError
            If the dataset is of format version 1, which keeps no checksums.
        """
        return seam.check().verify_dataset(
            self._whole, level=level, progress=progress, executor=executor
        )

    def repair(
        self,
        *,
        dry_run: bool = False,
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> RepairReport:
        """Mend what `verify` finds: sweep, make anew, restore, or put aside; delete nothing.

        What was made of files that are still there, unchanged, is made of them again, and
        counts as restored if that gives the very bytes that were written. What is broken
        otherwise goes to the folder ``quarantine`` of the dataset, so that the rest works: an
        artifact or a table alone, an image as a whole if its document or its pixels are broken.

        It can be called while others write, and again after a crash.

        Parameters
        ----------
        dry_run : bool
            Say what would be done, and do nothing. What would be restored is not tried.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``; raising from it ends the work.
        executor : concurrent.futures.Executor, optional
            What reads the files, as for :meth:`verify`.

        Returns
        -------
        RepairReport

        Raises
        ------
        ReadOnlyError
            In mode ``"r"``, unless it is a dry run.
        FormatVersionError
            If the dataset is of format version 1.
        """
        return seam.check().repair_dataset(
            self._whole, dry_run=dry_run, progress=progress, executor=executor
        )
