"""Long work on a whole dataset, as methods of it: ingest, export, validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from kymflow_zarr._core import _seam
from kymflow_zarr._core._record import ZarrImageRecord
from kymflow_zarr._core._reports import (
    ExportReport,
    IngestReport,
    Problem,
    RefreshResult,
    ValidationReport,
)
from kymflow_zarr._types import Progress, RefreshMode, StrPath

if TYPE_CHECKING:
    from kymflow_zarr._core._dataset import ZarrDataset


class DatasetWork:
    """What the rooms below do to a dataset; a base of :class:`ZarrDataset`."""

    @property
    def _whole(self) -> ZarrDataset:
        return cast("ZarrDataset", self)

    def ingest_image(self, source: object, *, image_id: str | None = None) -> ZarrImageRecord:
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
        return _seam.ingest().ingest_object(self._whole, source, image_id=image_id)

    def ingest_tiff(
        self,
        path: StrPath,
        *,
        series: int = 0,
        include_sidecars: bool = True,
        image_id: str | None = None,
    ) -> ZarrImageRecord:
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

        Returns
        -------
        ZarrImageRecord
            Where the file was ingested before and has not changed, the record of then.

        Raises
        ------
        SourceFileError
            If it is not a readable TIFF (a ValueError).
        RecordExistsError
            If the file was ingested before and has changed since, and no `image_id` is given.
        FileNotFoundError
            If there is no such file.
        """
        return _seam.ingest().ingest_tiff(
            self._whole, path, series=series, include_sidecars=include_sidecars, image_id=image_id
        )

    def ingest_legacy_folder(
        self,
        folder: StrPath,
        *,
        pattern: str = "*.tif",
        include_sidecars: bool = True,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Add the TIFFs of a folder and of all folders below it, with their sidecars.

        Parameters
        ----------
        folder : str or Path
        pattern : str
            File names to take; case does not matter, and ``*.tif`` takes ``.tiff`` too.
        include_sidecars : bool
            Whether the files beside a TIFF become metadata and artifacts.
        progress : callable, optional
            Called as ``progress(done, total, label)``.

        Returns
        -------
        IngestReport
            One item for each file. A file that cannot be read is named there with its
            reason and does not stop the others; a file that is in already is left alone.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        """
        return _seam.ingest().ingest_folder(
            self._whole,
            folder,
            pattern=pattern,
            include_sidecars=include_sidecars,
            progress=progress,
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
            :meth:`ZarrImageRecord.list_earlier_artifacts`.
        include_sidecars : bool
            Whether what lies beside the TIFFs counts.
        dry_run : bool
            Say what would be done, and do nothing.
        overwrite_edits : bool
            Whether what was edited in the dataset gives way to a file that has changed. By
            default it stays and the report names the conflict.
        progress : callable, optional
            Called as ``progress(done, total, label)``.

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
        """
        return _seam.ingest().refresh_folder(
            self._whole,
            folder,
            pattern=pattern,
            mode=mode,
            include_sidecars=include_sidecars,
            dry_run=dry_run,
            overwrite_edits=overwrite_edits,
            progress=progress,
        )

    def export_legacy_folder(
        self,
        folder: StrPath,
        *,
        include_tiff: bool = True,
        include_tables: bool = True,
        progress: Progress | None = None,
    ) -> ExportReport:
        """Write the dataset as a folder of TIFF, JSON, CSV and NumPy files.

        Parameters
        ----------
        folder : str or Path
            Files of an earlier export of this dataset are replaced, stale ones removed;
            everything else in it stays as it is.
        include_tiff, include_tables : bool
            False leaves TIFFs or tables out; those of an earlier export are stale then.
        progress : callable, optional
            Called as ``progress(done, total, label)``.

        Raises
        ------
        TargetExistsError
            If a file of somebody else is in the way (a FileExistsError); nothing is written.
        ArgumentError
            If the folder lies inside the dataset.
        CorruptDataError
            If something in the dataset is damaged; names it.
        LockTimeoutError
            If another export is writing to the folder.
        """
        return _seam.export().export_folder(
            self._whole,
            folder,
            include_tiff=include_tiff,
            include_tables=include_tables,
            progress=progress,
        )

    def validate(self, *, progress: Progress | None = None) -> ValidationReport:
        """Hold every document of the dataset against the format; reads no pixels."""
        return _seam.check().validate_dataset(self._whole, progress=progress)

    def validate_image(self, image_id: str) -> tuple[Problem, ...]:
        """Hold the documents of one image against the format.

        Raises
        ------
        RecordNotFoundError
            If there is no such image.
        """
        return _seam.check().validate_image(self._whole, image_id)
