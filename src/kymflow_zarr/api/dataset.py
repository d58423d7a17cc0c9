"""The dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, overload

from kymflow_zarr.api.image import OfRecord, ZarrImageRecord
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import printable
from kymflow_zarr.types import (
    ArtifactKind,
    Axis,
    Durability,
    ExportLayout,
    MissingPlacement,
    Mode,
    OrderBy,
    Progress,
    RefreshMode,
    StrPath,
)

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as pads

    from kymflow_zarr.check.report import (
        Problem,
        RepairReport,
        ValidationReport,
        VerifyLevel,
        VerifyReport,
    )
    from kymflow_zarr.engine.query.map import MapResult
    from kymflow_zarr.export.report import ExportReport
    from kymflow_zarr.ingest.report import IngestReport, RefreshResult
    from kymflow_zarr.storage.interface import Storage
    from kymflow_zarr.viewer.web.serving import Viewer

R = TypeVar("R")


class ZarrDataset:
    """A whole imaging experiment in one folder of open files.

    Parameters
    ----------
    path : str or Path
        The dataset's folder, by custom named ``*.zarr``.
    mode : {"r", "r+", "a", "w", "w-"}
        As zarr has them. ``"r"`` reads only and ``"r+"`` reads and writes, both a dataset
        that is there; ``"a"`` creates one where there is none; ``"w"`` empties the dataset
        first; ``"w-"`` creates one and refuses one that is there. Opening a dataset that is
        there writes nothing, except for ``"w"``.
    durability : {"full", "relaxed"}
        ``"full"``: what a call wrote survives a power cut once it has returned.
        ``"relaxed"`` is faster and may lose the last moments, and never leaves a half.

    Raises
    ------
    DatasetNotFoundError
        Modes ``"r"`` and ``"r+"`` where there is nothing (a FileNotFoundError).
    DatasetExistsError
        Mode ``"w-"`` where there is a dataset (a FileExistsError).
    SchemaValidationError
        Where there is something that is not a dataset; nothing in it is changed.
    FormatVersionError
        Where there is a dataset of a format version this code does not know.
    ArgumentError
        An unknown mode or durability.

    Examples
    --------
    >>> import numpy as np
    >>> with ZarrDataset("experiment.zarr", mode="w") as ds:
    ...     rec = ds.add_image(np.zeros((1000, 38), "uint16"), line_period_s=0.00117)
    ...     key = rec.save_json("note", {"quality": "good"})
    """

    def __init__(self, path: StrPath, mode: Mode = "a", *, durability: Durability = "full") -> None:
        self._open = OpenDataset.open(
            path, mode, durability=durability, older_formats=_OLDER_FORMATS
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, self._open.__reduce__()

    if not TYPE_CHECKING:  # Type checkers would otherwise take any attribute for granted.

        def __getattr__(self, name: str) -> Any:
            # Methods of 0.1 that belonged to the engine; they leave with the next release.
            if name in ("change_token", "new_record", "stored_table", "update_record"):
                return getattr(self._open, name)
            if name == "kept_files":
                return lambda: self._open.source_files
            if name == "work_storage":
                return lambda: self._open.storage
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    # The dataset

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._open

    def __len__(self) -> int:
        return len(self._open)

    def __repr__(self) -> str:
        tables = self.list_table_names()
        shown = f", tables {', '.join(tables[:5])}" if tables else ""
        more = f" and {len(tables) - 5} more" if len(tables) > 5 else ""
        return printable(
            f"<ZarrDataset {str(self.path)!r} mode={self.mode!r}: {len(self)} images{shown}{more}>"
        )

    @property
    def path(self) -> Path:
        """The dataset's folder."""
        return self._open.path

    @property
    def mode(self) -> Mode:
        """The mode it was opened with."""
        return self._open.mode

    @property
    def dataset_id(self) -> str:
        """Id of the dataset, given once when it was created."""
        return self._open.dataset_id

    @property
    def created_utc(self) -> str:
        """When the dataset was created: ISO 8601, UTC."""
        return self._open.created_utc

    def require_writable(self) -> None:
        """Raise ReadOnlyError (a PermissionError) if the mode is ``"r"``."""
        return self._open.require_writable()

    def close(self) -> None:
        """Leave the work folder; every call leaves the dataset complete on disk anyway."""
        return self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __bool__(self) -> bool:
        # An empty dataset is there all the same.
        return True

    def __getitem__(self, image_id: str) -> ZarrImageRecord:
        return self.record(image_id)

    def record(self, image_id: str) -> ZarrImageRecord:
        """Return the record of an image.

        Raises
        ------
        RecordNotFoundError
            If there is no such image (a KeyError).
        """
        return ZarrImageRecord(self._open.record(image_id))

    def list_image_ids(self) -> list[str]:
        """Return the ids of all images, sorted."""
        return self._open.list_image_ids()

    def iter_records(
        self, order_by: OrderBy = "image_id", missing: MissingPlacement = "last"
    ) -> Iterator[ZarrImageRecord]:
        """Yield the record of each image.

        Parameters
        ----------
        order_by : {"image_id", "created_utc", "acquired_local_epoch_ns"}
            Images that are equal in it come in the order of their ids.
        missing : {"last", "first"}
            Where images without that value come.

        Raises
        ------
        ArgumentError
            If one of them is something else.
        """
        return map(ZarrImageRecord, self._open.iter_records(order_by, missing))

    def add_image(
        self,
        arr: object,
        *,
        axes: str | Sequence[str | Axis] | None = None,
        chunks: int | Sequence[int] | None = None,
        image_id: str | None = None,
        channel_names: Sequence[str] | None = None,
        line_period_s: float | None = None,
        pixel_size_um: float | None = None,
    ) -> ZarrImageRecord:
        """Add an image; it becomes visible in one step, complete.

        Parameters
        ----------
        arr : array_like
            2-D to 5-D; bool, (u)int8-64, float16-64 or complex64-128. NumPy, memory-mapped,
            dask and zarr arrays are read block by block. Of an xarray.DataArray, dimensions,
            even coordinates with their ``units`` and names of channels are taken, unless
            `axes` says otherwise.
        axes : str or sequence of str or Axis, optional
            One for each dimension, such as ``"tyx"``; :class:`~kymflow_zarr.Axis` values
            carry calibration. The default is ``yx``, ``zyx``, ``czyx`` or ``tczyx``.
        chunks : int or sequence of int, optional
            Shape of a chunk; chosen by size and axes if left out.
        image_id : str, optional
            A new UUID if left out.
        channel_names : sequence of str, optional
            One for each channel.
        line_period_s : float, optional
            Seconds from line to line. Makes the rows the time axis of a kymograph where no
            other axis is time.
        pixel_size_um : float, optional
            Micrometers from pixel to pixel along ``x``, and ``y`` where it is space.

        Returns
        -------
        ZarrImageRecord

        Raises
        ------
        UnsupportedDataError
            If the pixels have a dtype that Zarr has not (objects, structures, long double).
        ArgumentError
            If dimensions, axes, chunks or calibration do not fit.
        RecordExistsError
            If there is an image of that id (a ValueError).
        ReadOnlyError
            In mode ``"r"`` (a PermissionError).
        """
        return ZarrImageRecord(
            self._open.add_image(
                arr,
                axes=axes,
                chunks=chunks,
                image_id=image_id,
                channel_names=channel_names,
                line_period_s=line_period_s,
                pixel_size_um=pixel_size_um,
            )
        )

    def delete_image(self, image_id: str) -> int:
        """Delete an image with all its artifacts, and its rows in all tables.

        Returns
        -------
        int
            How many table rows went with it.

        Raises
        ------
        RecordNotFoundError
            If there is no such image.
        CorruptDataError
            If a table cannot be read; nothing is deleted.
        """
        return self._open.delete_image(image_id)

    def load_sources_index(self) -> pd.DataFrame:
        """Return which file each image came from.

        Returns
        -------
        DataFrame
            One row for each TIFF: ``source_primary_path`` (absolute), ``image_id``,
            ``source_mtime_ns``, ``source_size_bytes``, ``ingested_epoch_ns`` (UTC, when the
            pixels were last read from it).
        """
        return self._open.load_sources_index()

    def load_manifest(self) -> dict[str, Any]:
        """Return what the index says of every image; never stale, and nothing is written.

        Returns
        -------
        dict
            ``format``, ``schema_version``, ``dataset_id``, ``created_utc`` and ``images``: for
            each image its ``image_id, shape, dtype, chunks, axes, created_utc, updated_utc,
            acquired_local_epoch_ns, analysis_keys``.
        """
        return self._open.load_manifest()

    def update_manifest(self) -> dict[str, Any]:
        """Make the index anew from the documents, write it, and return the manifest."""
        return self._open.update_manifest()

    # Tables

    def save_table(self, name: str, df: pd.DataFrame) -> str:
        """Save a dataset-level table, replacing one of that name, and return its key.

        Raises
        ------
        UnsupportedDataError
            As for :meth:`ZarrImageRecord.save_df_parquet`.
        """
        return self._open.save_table(name, df)

    def load_table(self, name: str) -> pd.DataFrame:
        """Return a table.

        Raises
        ------
        TableNotFoundError
            If there is none of that name (a FileNotFoundError).
        """
        return self._open.load_table(name)

    def list_table_names(self) -> list[str]:
        """Return the names of the tables, sorted."""
        return self._open.list_table_names()

    def delete_table(self, name: str) -> None:
        """Delete a table; TableNotFoundError if there is none of that name."""
        return self._open.delete_table(name)

    def replace_rows_for_image_id(
        self, name: str, image_id: str, rows: pd.DataFrame, *, image_id_col: str = "image_id"
    ) -> None:
        """Replace the rows of one image in a table.

        Parameters
        ----------
        name : str
            The table; it is created if it is not there.
        image_id : str
        rows : DataFrame
            The new rows, each naming `image_id`; none removes the image's rows. Columns are
            united; where one side lacks a column, integers stay integers.
        image_id_col : str
            The column that names the image.

        Raises
        ------
        ArgumentError
            If a row names another image, or columns do not go together (a ValueError);
            nothing is written.
        """
        return self._open.replace_rows_for_image_id(name, image_id, rows, image_id_col=image_id_col)

    def replace_rows_for_image_ids(
        self, name: str, rows: Mapping[str, pd.DataFrame], *, image_id_col: str = "image_id"
    ) -> None:
        """Replace the rows of many images in one rewrite of a table.

        Parameters
        ----------
        name, image_id_col
            As for :meth:`replace_rows_for_image_id`.
        rows : mapping of str to DataFrame
            For each image its new rows.
        """
        return self._open.replace_rows_for_image_ids(name, rows, image_id_col=image_id_col)

    # Questions about all images

    def images(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return what is known of each image, without reading a pixel.

        Parameters
        ----------
        columns : sequence of str, optional
            Only these, in this order; all if left out.

        Returns
        -------
        DataFrame
            One row for each image, in the order of their ids:

            - ``image_id``, ``shape`` (tuple of int, pixels), ``dtype``, ``axes`` (tuple of str)
            - ``line_period_s`` and ``pixel_size_um`` (float, NaN where unknown), and for each
              axis ``<axis>_step`` (float, in ``<axis>_unit``)
            - ``channel_names`` (tuple of str, or None)
            - ``acquired`` (datetime64[ns], the clock at the microscope) and
              ``acquired_local_epoch_ns`` (Int64); ``created_utc``, ``updated_utc`` (ISO 8601)
            - ``source_path``, ``rel_path``, ``parent_folder``, ``grandparent_folder`` of the
              file that it was ingested from
            - ``verdict``: ``"accepted"``, ``"rejected"`` or missing
            - ``n_rois``, ``artifacts`` (tuple of names), ``n_artifacts``
            - ``error``: why an image cannot be read; None for all others
            - a column for each key of the experiment's metadata
              (``experiment_metadata.<key>`` where a column of that name is there already)
            - ``n_rows:<table>`` for each table that names images; all missing where the table is
              damaged, and ``attrs["errors"]`` says why, text by key of the table

        Raises
        ------
        ArgumentError
            If there is no such column.
        """
        return self._open.images(columns)

    @overload
    def gather(
        self,
        name: str,
        kind: ArtifactKind | None = ...,
        ids: Iterable[str] | None = ...,
        *,
        as_: Literal["pandas"] = ...,
        missing: Literal["skip", "raise"] = ...,
        on_error: Literal["raise", "report"] = ...,
        executor: Executor | None = ...,
        progress: Progress | None = ...,
    ) -> pd.DataFrame: ...

    @overload
    def gather(
        self,
        name: str,
        kind: ArtifactKind | None = ...,
        ids: Iterable[str] | None = ...,
        *,
        as_: Literal["arrow"],
        missing: Literal["skip", "raise"] = ...,
        on_error: Literal["raise", "report"] = ...,
        executor: Executor | None = ...,
        progress: Progress | None = ...,
    ) -> pa.Table: ...

    @overload
    def gather(
        self,
        name: str,
        kind: ArtifactKind | None = ...,
        ids: Iterable[str] | None = ...,
        *,
        as_: Literal["dataset"],
        missing: Literal["skip", "raise"] = ...,
        on_error: Literal["raise", "report"] = ...,
        executor: Executor | None = ...,
        progress: Progress | None = ...,
    ) -> pads.Dataset: ...

    def gather(
        self,
        name: str,
        kind: ArtifactKind | None = None,
        ids: Iterable[str] | None = None,
        *,
        as_: Literal["pandas", "arrow", "dataset"] = "pandas",
        missing: Literal["skip", "raise"] = "skip",
        on_error: Literal["raise", "report"] = "raise",
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> pd.DataFrame | pa.Table | pads.Dataset:
        """Return one data-frame artifact of all images as one data frame.

        Parameters
        ----------
        name : str
            Name of the artifact, as ``"velocity_events/events"``.
        kind : {"parquet", "csv_gz", "json"}, optional
            How it was saved; of JSON artifacts, lists of objects are data frames. The first
            of them that an image has, if left out.
        ids : iterable of str, or str, optional
            Of these images, in this order, or of one; of all if left out.
        as_ : {"pandas", "arrow", "dataset"}
            What is returned. ``"dataset"`` decodes nothing yet: Arrow, Polars or DuckDB take
            from it the columns and rows that they are asked for.
        missing : {"skip", "raise"}
            What becomes of images that have no such artifact.
        on_error : {"raise", "report"}
            What becomes of an artifact that cannot be read. ``"report"`` leaves it out and
            lists it in ``attrs["errors"]``, text by image id (in Arrow in the schema's
            metadata, as JSON under ``errors``).
        executor : concurrent.futures.Executor, optional
            Threads if left out.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``.

        Returns
        -------
        DataFrame, pyarrow.Table or pyarrow.dataset.Dataset
            ``image_id``, then the columns of the artifact. Row labels that are more than
            numbers become columns. Columns are united as by
            :meth:`replace_rows_for_image_ids`; in a dataset, as by ``pyarrow.unify_schemas``,
            text is plain text, and all of the files' bytes are in memory, not decoded.

        Raises
        ------
        ArtifactNotFoundError
            If no image has it (a KeyError).
        CorruptDataError
            If a file is damaged; names it.
        ArgumentError
            If columns of two images do not go together, or an argument is unknown.
        """
        gathered: pd.DataFrame | pa.Table | pads.Dataset = self._open.gather(
            name,
            kind,
            ids,
            as_=as_,
            missing=missing,
            on_error=on_error,
            executor=executor,
            progress=progress,
        )
        return gathered

    def save_table_from(
        self,
        name: str,
        artifact: str,
        kind: ArtifactKind | None = None,
        *,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Save a table of one data-frame artifact of all images, and return its key.

        A table of that name is replaced. Parameters and errors as for :meth:`gather`.

        Parameters
        ----------
        name : str
            The table.
        artifact : str
            Name of the artifact.
        """
        return self._open.save_table_from(
            name, artifact, kind, executor=executor, progress=progress
        )

    @overload
    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = ...,
        *,
        as_: Literal["pandas"] = ...,
    ) -> pd.DataFrame: ...

    @overload
    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = ...,
        *,
        as_: Literal["arrow"],
    ) -> pa.Table: ...

    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        as_: Literal["pandas", "arrow"] = "pandas",
    ) -> pd.DataFrame | pa.Table:
        """Answer a question in the SQL of DuckDB.

        A query sees every table of the dataset by its name, ``images`` (what :meth:`images`
        returns), and every data-frame artifact by its name (what :meth:`gather` returns), the
        first of these where they have the same. Names that are not plain words go into double
        quotes: ``"velocity_events/events"``. It reads nothing else, and writes nothing.

        Parameters
        ----------
        query : str
            One statement.
        params : sequence or mapping, optional
            Values of ``?``, or of ``$name``.
        as_ : {"pandas", "arrow"}
            What is returned. Integers stay exact beside missing values (Int64), sums of
            integers are int64 where they fit, and times with a zone are in UTC.

        Raises
        ------
        ArgumentError
            If DuckDB refuses the query, or it does more than read.
        LimitExceededError
            If it takes longer than the limit ``sql_seconds``.
        MissingDependencyError
            If DuckDB is not installed; names the extra (an ImportError).
        CorruptDataError
            If a table or an artifact in the query is damaged.
        """
        answer: pd.DataFrame | pa.Table = self._open.sql(query, params, as_=as_)
        return answer

    def map(
        self,
        fn: Callable[[ZarrImageRecord], R],
        ids: Iterable[str] | None = None,
        *,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> MapResult[R]:
        """Call a function for the record of each image, several at a time.

        Parameters
        ----------
        fn : callable
            Called as ``fn(record)``. For processes it must be one that pickles, as functions
            of a module are.
        ids : iterable of str, or str, optional
            For these images, in this order, or for one; for all if left out.
        executor : concurrent.futures.Executor, optional
            Threads if left out. Any other does, as one of processes or of a cluster: datasets
            and records pickle as a path and an id.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``. What it raises cancels what has not
            begun, as ``KeyboardInterrupt`` does.

        Returns
        -------
        MapResult
            What `fn` returned, by image id in the order of `ids`. An image that failed is in
            its ``errors``, and the others went on.

        Raises
        ------
        concurrent.futures.BrokenExecutor
            If the executor cannot go on, as when one of its processes was killed.
        """
        return self._open.map(OfRecord(fn), ids, executor=executor, progress=progress)

    # Ingest, export, checks

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
        from kymflow_zarr.ingest.sources.objects import ingest_object

        return ZarrImageRecord(ingest_object(self._open, source, image_id=image_id))

    def ingest_tiff(
        self,
        path: StrPath,
        *,
        series: int = 0,
        include_sidecars: bool = True,
        image_id: str | None = None,
        verify: bool = False,
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
        verify : bool
            Whether the pixels are read back and compared with the file's before the image is
            added.

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
        CorruptDataError
            If `verify` finds other pixels than those of the file; nothing is added.
        """
        from kymflow_zarr.ingest.image import ingest_tiff

        return ZarrImageRecord(
            ingest_tiff(
                self._open,
                path,
                series=series,
                include_sidecars=include_sidecars,
                image_id=image_id,
                verify=verify,
            )
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
        from kymflow_zarr.ingest.folder.folder import ingest_folder

        return ingest_folder(
            self._open,
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
        from kymflow_zarr.ingest.folder.folder import refresh_folder

        return refresh_folder(
            self._open,
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
        from kymflow_zarr.export.folder import export_folder

        return export_folder(
            self._open,
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
        from kymflow_zarr.check.validate.dataset import validate_dataset

        return validate_dataset(self._open, progress=progress, executor=executor)

    def validate_image(self, image_id: str) -> tuple[Problem, ...]:
        """Hold the documents of one image against the format.

        Raises
        ------
        RecordNotFoundError
            If there is no such image.
        """
        from kymflow_zarr.check.validate.dataset import validate_image

        return validate_image(self._open, image_id)

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
        from kymflow_zarr.check.verify.dataset import verify_dataset

        return verify_dataset(self._open, level=level, progress=progress, executor=executor)

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
        from kymflow_zarr.check.repair.dataset import repair_dataset

        return repair_dataset(self._open, dry_run=dry_run, progress=progress, executor=executor)

    # Views

    def view(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        edit: bool = False,
        who: str | None = None,
        token: str | None = None,
        open_browser: bool = False,
    ) -> Viewer:
        """Serve a page that shows the dataset in a browser, and return at once.

        Parameters
        ----------
        host : str
            Where it listens. Any other than this machine itself asks for a token.
        port : int
            0 takes a free one.
        edit : bool
            Whether images can be judged and regions changed.
        who : str, optional
            Who edits; the user of the operating system if left out.
        token : str, optional
            What the address has to tell. One is made where it is needed and left out.
        open_browser : bool
            Whether the page is opened.

        Returns
        -------
        Viewer
            Its ``url`` is the address; ``close()`` ends it.

        Raises
        ------
        ReadOnlyError
            If `edit` is asked for and the mode is ``"r"``.
        StorageError
            If it cannot listen there.
        MissingDependencyError
            If the packages for it are not installed; names the extra (an ImportError).

        Notes
        -----
        As a context manager it ends with the block::

            with ds.view() as viewer:
                print(viewer.url)
                viewer.wait()
        """
        from kymflow_zarr.viewer.web.serving import view

        return view(
            self, host=host, port=port, edit=edit, who=who, token=token, open_browser=open_browser
        )

    def _repr_html_(self) -> str:
        from kymflow_zarr.views.html import dataset_html

        return dataset_html(self._open)


def _open_v1(files: Storage, mode: Mode) -> Storage | None:
    from kymflow_zarr.legacy_v1.storage import open_v1

    return open_v1(files, mode)


_OLDER_FORMATS: Final = {"kymflow_zarr_v1": _open_v1}


def _reopened(reopen: Callable[..., OpenDataset], place: tuple[Any, ...]) -> ZarrDataset:
    dataset = ZarrDataset.__new__(ZarrDataset)
    dataset._open = reopen(*place)  # noqa: SLF001 - a function of this file
    return dataset
