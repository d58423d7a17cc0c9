"""The dataset as users see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, overload

from kymflow_zarr.api.image import OfRecord, ZarrImageRecord
from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import ArgumentTypeError, printable
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
    Verdict,
    WorklistLayout,
)

if TYPE_CHECKING:
    import threading
    from concurrent.futures import Executor

    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as pads
    from matplotlib.axes import Axes

    from kymflow_zarr.check.report import (
        Problem,
        RepairReport,
        ValidationReport,
        VerifyLevel,
        VerifyReport,
    )
    from kymflow_zarr.engine.curation.fields import MetadataField
    from kymflow_zarr.engine.curation.merging import MergeReport
    from kymflow_zarr.engine.curation.sheet import SheetReport
    from kymflow_zarr.engine.query.map import MapResult
    from kymflow_zarr.engine.query.watch import DatasetChange
    from kymflow_zarr.engine.results.compute import ComputeReport
    from kymflow_zarr.export.archives.report import ArchiveReport
    from kymflow_zarr.export.publishing.report import PublishReport
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
        The dataset's folder, by convention named ``*.zarr``; or, as a str, an address:
        ``s3://bucket/x.zarr``, ``gs://``, ``az://``, ``https://`` (read only), ``memory://name``.
    mode : {"r", "r+", "a", "w", "w-"}
        The modes of zarr. ``"r"`` opens an existing dataset for reading, ``"r+"`` for reading
        and writing; ``"a"`` creates it if it does not exist; ``"w"`` empties it first;
        ``"w-"`` creates it and fails if it exists. Opening an existing dataset writes nothing,
        except in mode ``"w"``.
    durability : {"full", "relaxed"}
        ``"full"``: data survives a power cut once the call that wrote it has returned.
        ``"relaxed"`` is faster; a power cut may lose the last writes, but never leaves a
        partial one.
    storage_options : mapping, optional
        Where and how to reach an object store, by the names of obstore: ``region``,
        ``endpoint``, ``access_key_id``, ..., and ``client_options`` and ``retry_config``. What
        is missing comes from the environment. Credentials are never pickled.
    shared : bool
        Create the dataset for a folder to which several hosts write, without relying on locks
        (format version 3). A dataset that was created so is found to be without this.

    Raises
    ------
    DatasetNotFoundError
        If there is no dataset, in modes ``"r"`` and ``"r+"`` (a FileNotFoundError).
    DatasetExistsError
        If the dataset exists, in mode ``"w-"`` (a FileExistsError).
    SchemaValidationError
        If the path holds something else than a dataset; it is not changed.
    FormatVersionError
        If the dataset has a format version that this code does not know.
    ArgumentError
        If the mode or durability is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> with ZarrDataset("experiment.zarr", mode="w") as ds:
    ...     rec = ds.add_image(np.zeros((1000, 38), "uint16"), line_period_s=0.00117)
    ...     key = rec.save_json("note", {"quality": "good"})
    """

    def __init__(
        self,
        path: StrPath,
        mode: Mode = "a",
        *,
        durability: Durability = "full",
        storage_options: Mapping[str, Any] | None = None,
        shared: bool = False,
    ) -> None:
        self._open = OpenDataset.open(
            path, mode, durability=durability, older_formats=_OLDER_FORMATS,
            storage_options=storage_options, shared=shared,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, self._open.__reduce__()

    if not TYPE_CHECKING:  # Otherwise type checkers would accept any attribute.

        def __getattr__(self, name: str) -> Any:
            # Methods of 0.1 that belong to the engine; the next release removes them.
            if name == "stored_table":
                from kymflow_zarr.layout import table_key
                from kymflow_zarr.storage.local.storage import local_path

                return lambda table: local_path(self._open.storage, table_key(table))
            if name in ("change_token", "new_record", "update_record"):
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
            f"<ZarrDataset {self.location!r} mode={self.mode!r}: {len(self)} images{shown}{more}>"
        )

    @property
    def path(self) -> Path:
        """The dataset's folder; a StorageError for a dataset at an address."""
        return self._open.path

    @property
    def location(self) -> str:
        """Where the dataset is: the path of its folder, or its address."""
        return self._open.location

    @property
    def mode(self) -> Mode:
        """The mode it was opened with."""
        return self._open.mode

    @property
    def dataset_id(self) -> str:
        """Id of the dataset, set once when it is created."""
        return self._open.dataset_id

    @property
    def created_utc(self) -> str:
        """When the dataset was created: ISO 8601, UTC."""
        return self._open.created_utc

    def require_writable(self) -> None:
        """Raise ReadOnlyError (a PermissionError) if the mode is ``"r"``."""
        return self._open.require_writable()

    def close(self) -> None:
        """Release the session; the dataset is complete on disk after every call anyway."""
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
        # An empty dataset is still a dataset.
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

    def find(self, text: str) -> ZarrImageRecord:
        """Return the record of the image that people call so.

        Parameters
        ----------
        text : str
            The name of its source file, with or without suffix and with as many folders as it
            takes to tell it from others; or the beginning of its id, or all of it.

        Raises
        ------
        RecordNotFoundError
            If no image is called so (a KeyError).
        ArgumentError
            If several are; the message names some.
        """
        return ZarrImageRecord(self._open.find(text))

    def image_names(self) -> dict[str, str]:
        """Return a name for each image, by id: what lists, titles and downloads call it.

        It is the name of its source file; with folders where several files have that name; with the
        part of the file, or the beginning of the id, where several images are from one file. An
        image that is from no file is called by its id. The names are distinct.
        """
        return self._open.image_names()

    def list_image_ids(self) -> list[str]:
        """Return the ids of all images, sorted.

        Only the names in ``images/`` are read: a folder that another program made there is among
        them. :meth:`images` has a row for each image, and no row for such a folder.
        """
        return self._open.list_image_ids()

    def iter_records(
        self, order_by: OrderBy = "image_id", missing: MissingPlacement = "last"
    ) -> Iterator[ZarrImageRecord]:
        """Yield the record of each image.

        Parameters
        ----------
        order_by : {"image_id", "created_utc", "acquired_local_epoch_ns"}
            The value to sort by; ties are sorted by id.
        missing : {"last", "first"}
            The position of images without that value.

        Raises
        ------
        ArgumentError
            If an argument is none of these.
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
            dask and zarr arrays are read block by block. An xarray.DataArray supplies
            dimensions, evenly spaced coordinates with their ``units``, and channel names,
            unless `axes` is given.
        axes : str or sequence of str or Axis, optional
            One axis per dimension, such as ``"tyx"``; :class:`~kymflow_zarr.Axis` values
            carry calibration. The default is ``yx``, ``zyx``, ``czyx`` or ``tczyx``.
        chunks : int or sequence of int, optional
            Shape of a chunk; chosen by size and axes if left out.
        image_id : str, optional
            A new UUID if left out.
        channel_names : sequence of str, optional
            One name per channel.
        line_period_s : float, optional
            Seconds from line to line. Makes the rows the time axis of a kymograph if no
            other axis is time.
        pixel_size_um : float, optional
            Micrometers from pixel to pixel along ``x``, and along ``y`` if it is space.

        Returns
        -------
        ZarrImageRecord

        Raises
        ------
        UnsupportedDataError
            If Zarr does not support the dtype (objects, structured, long double).
        ArgumentError
            If dimensions, axes, chunks or calibration do not fit.
        RecordExistsError
            If an image of that id exists (a ValueError).
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
            The number of table rows deleted with it.

        Raises
        ------
        RecordNotFoundError
            If there is no such image.
        CorruptDataError
            If a table cannot be read; nothing is deleted.
        """
        return self._open.delete_image(image_id)

    def load_sources_index(self) -> pd.DataFrame:
        """Return the source file of each image.

        Returns
        -------
        DataFrame
            One row per TIFF: ``source_primary_path`` (absolute), ``image_id``,
            ``source_mtime_ns``, ``source_size_bytes``, ``ingested_epoch_ns`` (UTC, when the
            pixels were last read from it).
        """
        return self._open.load_sources_index()

    def load_manifest(self) -> dict[str, Any]:
        """Return the index entry of every image; never stale, and nothing is written.

        Returns
        -------
        dict
            ``format``, ``schema_version``, ``dataset_id``, ``created_utc`` and ``images``: for
            each image its ``image_id, shape, dtype, chunks, axes, created_utc, updated_utc,
            acquired_local_epoch_ns, analysis_keys``.
        """
        return self._open.load_manifest()

    def update_manifest(self) -> dict[str, Any]:
        """Rebuild the index from the documents, write it, and return the manifest."""
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
        """Delete a table; raise TableNotFoundError if there is none of that name."""
        return self._open.delete_table(name)

    def replace_rows_for_image_id(
        self, name: str, image_id: str, rows: pd.DataFrame, *, image_id_col: str = "image_id"
    ) -> None:
        """Replace the rows of one image in a table.

        Parameters
        ----------
        name : str
            The table; it is created if it does not exist.
        image_id : str
        rows : DataFrame
            The new rows, each with `image_id`; an empty data frame removes the image's rows.
            Columns are united; missing values leave integer columns integer.
        image_id_col : str
            The column with the image id.

        Raises
        ------
        ArgumentError
            If a row names another image, or columns have no common type (a ValueError);
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
            The new rows by image id.
        """
        return self._open.replace_rows_for_image_ids(name, rows, image_id_col=image_id_col)

    # Questions about all images

    def images(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a data frame with a row for each image, without reading pixels.

        Parameters
        ----------
        columns : sequence of str, optional
            Only these columns, in this order; all if left out.

        Returns
        -------
        DataFrame
            One row per image, sorted by id:

            - ``image_id``, ``shape`` (tuple of int, pixels), ``dtype``, ``axes`` (tuple of str)
            - ``line_period_s`` and ``pixel_size_um`` (float, NaN if unknown), and for each
              axis ``<axis>_step`` (float, in ``<axis>_unit``)
            - ``channel_names`` (tuple of str, or None)
            - ``acquired`` (datetime64[ns], local time of the microscope) and
              ``acquired_local_epoch_ns`` (Int64); ``created_utc``, ``updated_utc`` (ISO 8601)
            - ``source_path``, ``rel_path``, ``parent_folder``, ``grandparent_folder`` of the
              file that it was ingested from
            - ``verdict``: ``"accepted"``, ``"rejected"`` or missing
            - ``n_rois``, ``artifacts`` (tuple of names), ``n_artifacts``
            - ``error``: why the image cannot be read; None if it can
            - a column for each key of the experiment's metadata
              (``experiment_metadata.<key>`` if that column name is taken)
            - ``n_rows:<table>`` for each table with image ids; missing for a damaged table, whose
              error is in ``attrs["errors"]``, by key of the table

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
            Name of the artifact, such as ``"velocity_events/events"``.
        kind : {"parquet", "csv_gz", "json"}, optional
            Kind of the artifact; a JSON artifact counts if it is a list of objects. If left
            out, the first of these kinds that an image has.
        ids : iterable of str, or str, optional
            Only these images, in this order, or a single one; all if left out.
        as_ : {"pandas", "arrow", "dataset"}
            The type of the result. ``"dataset"`` is lazy: Arrow, Polars or DuckDB decode only
            the columns and rows that they need.
        missing : {"skip", "raise"}
            How to treat images without the artifact.
        on_error : {"raise", "report"}
            How to treat an artifact that cannot be read. ``"report"`` leaves it out and lists
            its error in ``attrs["errors"]``, by image id (in Arrow in the schema's metadata, as
            JSON under ``errors``).
        executor : concurrent.futures.Executor, optional
            Threads if left out.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``.

        Returns
        -------
        DataFrame, pyarrow.Table or pyarrow.dataset.Dataset
            ``image_id``, then the columns of the artifact. An index that does not just number
            the rows becomes columns. Columns are united as in
            :meth:`replace_rows_for_image_ids`. In a dataset they are united as by
            ``pyarrow.unify_schemas``, text is plain text, and the bytes of all files are in
            memory, not decoded.

        Raises
        ------
        ArtifactNotFoundError
            If no image has it (a KeyError).
        CorruptDataError
            If a file is damaged; names it.
        ArgumentError
            If columns of two images have no common type, or an argument is unknown.
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
        """Return the result of a query in DuckDB's SQL.

        A query sees every table of the dataset by name, ``images`` (as :meth:`images` returns
        it), and every data-frame artifact by name (as :meth:`gather` returns it); of equal
        names, the first in this order. Quote names that are not identifiers:
        ``"velocity_events/events"``. A query can read nothing else and cannot write.

        Parameters
        ----------
        query : str
            One statement.
        params : sequence or mapping, optional
            Values of ``?``, or of ``$name``.
        as_ : {"pandas", "arrow"}
            The type of the result. Integers stay exact beside missing values (Int64), sums of
            integers are int64 if they fit, and times with a zone are in UTC.

        Raises
        ------
        ArgumentError
            If DuckDB refuses the query, or the query is not read-only.
        LimitExceededError
            If it exceeds the time limit ``sql_seconds``.
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
        """Call a function for the record of each image, in parallel.

        Parameters
        ----------
        fn : callable
            Called as ``fn(record)``. For processes it must pickle, as module-level functions
            do.
        ids : iterable of str, or str, optional
            Only these images, in this order, or a single one; all if left out.
        executor : concurrent.futures.Executor, optional
            Threads if left out. Process pools and clusters work, too: datasets and records
            pickle as a path and an id.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``. Raising from it cancels the calls
            that have not started, as ``KeyboardInterrupt`` does.

        Returns
        -------
        MapResult
            The results of `fn`, by image id, in the order of `ids`. Images that failed are in
            its ``errors`` and do not stop the others.

        Raises
        ------
        ArgumentTypeError
            If `fn` is no function.
        concurrent.futures.BrokenExecutor
            If the executor fails, for example because one of its processes was killed.
        """
        return self._open.map(OfRecord(fn), ids, executor=executor, progress=progress)

    # Results

    def compute(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        params: Mapping[str, Any] | None = None,
        version: str = "",
        ids: Iterable[str] | None = None,
        only: Literal["stale", "missing", "all"] = "stale",
        channel: int | Literal["all"] | None = None,
        roi: int | Literal["all"] | None = None,
        variant: str | None = None,
        executor: Executor | None = None,
        progress: Progress | None = None,
        table: str | None = None,
        keep: int = 0,
    ) -> ComputeReport:
        """Compute a result of each image: what is missing or out of date, and nothing else.

        `fn` is given a record that remembers what is read of it, and what it returns is saved
        with that. So a later call knows whether pixels, regions, metadata, artifacts, other
        results, tables or the curation have changed that the result was made of.

        Parameters
        ----------
        name : str
            Name of the result.
        fn : callable
            Called as ``fn(record, **params)``; also with ``roi=``, the region, and
            ``channel=``, if those are given here. It returns a data frame, an array, a value
            for JSON, or None where there is nothing. An error that it raises becomes a result
            with the status ``"failed"``. For processes it must pickle, as module-level
            functions do.
        params : mapping, optional
            Keywords of `fn`, stored with the result. Values are JSON or NumPy scalars.
        version : str
            Version of the program. Change it when the function changes; results of another
            version are out of date, unless one of the two is empty.
        ids : iterable of str, or str, optional
            Only these images, or a single one; all if left out.
        only : {"stale", "missing", "all"}
            ``"stale"`` computes what is missing or out of date, or was made by other parameters
            or another version. A failed result is computed again when one of these changes.
            Values that were changed by hand are left alone, except by ``"all"``.
        channel : int or "all", optional
            Compute a result of this channel, or of each, from 1.
        roi : int or "all", optional
            Compute a result of the region with this id, or of each region.
        variant : str, optional
            Keep this result beside others of its name, such as one of other parameters.
        executor : concurrent.futures.Executor, optional
            Threads if left out. Process pools and clusters work, too.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``. Raising from it cancels the calls
            that have not started; what was computed stays.
        table : str, optional
            A table that holds the rows of all results, with columns for the image, the region,
            the channel, and ``result_sha256``. Only rows of results that changed are replaced.
        keep : int
            Number of replaced results to keep in the history of each.

        Returns
        -------
        ComputeReport
            What was computed, up to date, failed, and left alone.

        Raises
        ------
        UnsupportedDataError
            If a parameter has no canonical JSON; names it (a ValueError).
        ArgumentTypeError
            If `fn` is no function.
        concurrent.futures.BrokenExecutor
            If the executor fails, for example because one of its processes was killed. What was
            computed stays; the same call goes on from there.
        """
        from kymflow_zarr.engine.results.compute import Computation

        function = OfRecord(fn)
        computation = Computation(
            fn=function, name=name, program=function.program, version=version,
            params=dict(params or {}), variant=variant, with_roi=roi is not None,
            with_channel=channel is not None, keep=keep,
        )  # fmt: skip
        return self._open.compute(
            computation, ids=ids, only=only, roi=roi, channel=channel, executor=executor,
            progress=progress, table=table,
        )  # fmt: skip

    def results(self, name: str | None = None) -> pd.DataFrame:
        """Return a data frame with a row for each result of each image, or those of one name.

        Returns
        -------
        DataFrame
            ``image_id``, ``name``, ``roi_id``, ``channel``, ``variant``, ``counts``, ``status``,
            ``error``, ``program``, ``version``, ``params``, ``params_sha256``,
            ``computed_utc``, ``seconds``, ``artifact``, ``edited``, ``out_of_date``. No pixel
            and no artifact is read.
        """
        return self._open.results(name)

    def stale(self, name: str | None = None) -> pd.DataFrame:
        """Return a data frame with a row for each result that is out of date, and why.

        A result is out of date if something it was made of has changed, if it was made of one
        that is out of date, if its value was deleted, or if it was made by other parameters or
        another version than the latest result of its name and variant. No pixel and no artifact
        is read.

        Parameters
        ----------
        name : str, optional
            Only results of this name.

        Returns
        -------
        DataFrame
            ``image_id``, ``name``, ``roi_id``, ``channel``, ``variant``, ``status`` and
            ``reason``, in words.
        """
        return self._open.stale(name)

    def adopt_results(self) -> int:
        """Make results of what other programs have left beside the images; return their number.

        Ingest does so by itself; this is for images that earlier versions have ingested, and for
        the run markers of datasets of format version 1 that were migrated. Taken are the
        velocities of regions, of ``_kymanalysis`` and ``_radon`` files, with algorithm,
        parameters, date and the revision of the region; the events of ``_events`` files; the runs
        that a sidecar of acqstore lists; and run markers. A region that has another revision now
        than when it was analyzed, parameters with another hash, and a pooled table whose rows are
        not those of the marker make such a result out of date. Values are not copied, and results
        that are there are left alone.
        """
        from kymflow_zarr.ingest.adopt import adopt_results

        return adopt_results(self._open)

    def compare_results(
        self,
        name: str,
        variant: str | None,
        other: str | None = None,
        *,
        on: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return the rows of two variants of a result side by side.

        Parameters
        ----------
        name : str
            Name of the result.
        variant, other : str, optional
            The two variants; None is the one without a name.
        on : sequence of str, optional
            Columns by which rows are joined, beside image, region and channel; those whose
            names begin with ``time`` if left out, or else the number of the row.

        Returns
        -------
        DataFrame
            ``image_id``, ``roi_id`` and ``channel`` where results have them, the columns of
            `on`, and each other column of both with the variant behind its name: ``v_window32``
            and ``v_usual``. A row that only one of them has is there, with missing values.

        Raises
        ------
        ArgumentError
            If no image has one of the variants, or a column of `on` is not in both.
        ArgumentTypeError
            If a result is not a data frame.
        """
        return self._open.compare_results(name, variant, other, on)

    # Ingest, export, checks

    def ingest_image(self, source: object, *, image_id: str | None = None) -> ZarrImageRecord:
        """Add the image in another program's object.

        Parameters
        ----------
        source : object
            Has ``getChannelData(channel)`` or ``get_channel(channel)``, channels counted from
            1. Takes the channels that ``channels_available()`` lists, or else the first. If
            present, ``getHeader()/header``, ``getExperimentMetadata()/experiment_metadata``
            and ``rois()/rois`` become the metadata payload.
        image_id : str, optional

        Raises
        ------
        ArgumentTypeError
            If it has no such method.
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
        keep_original: bool = False,
    ) -> ZarrImageRecord:
        """Add the image of a TIFF or microscope file, with its axes, calibration and metadata.

        Parameters
        ----------
        path : str or Path
            Any file that tifffile reads; with the extras ``vendor`` and ``nd2`` also ``.czi``,
            ``.lif``, ``.oib``, ``.oif``, ``.oir`` and ``.nd2``.
        series : int
            Index of the image in a file with several.
        include_sidecars : bool
            Add the files beside the TIFF as metadata and artifacts.
        image_id : str, optional
        verify : bool
            Read the pixels back and compare them with the file before adding the image.
        keep_original : bool
            Keep the file itself in the dataset, byte by byte; else only its path and digest.

        Returns
        -------
        ZarrImageRecord
            If the file was ingested before and has not changed, its existing record.

        Raises
        ------
        SourceFileError
            If it is not a readable TIFF (a ValueError).
        RecordExistsError
            If the file was ingested before and has changed since, and no `image_id` is given.
        FileNotFoundError
            If there is no such file.
        MissingDependencyError
            If the file needs a library that is not installed (an ImportError).
        CorruptDataError
            If `verify` finds that pixels differ from the file; nothing is added.
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
                keep_original=keep_original,
            )
        )

    def ingest_ome_zarr(self, path: StrPath, *, progress: Progress | None = None) -> IngestReport:
        """Add the images of an OME-Zarr that another program wrote, version 0.4 or 0.5.

        Parameters
        ----------
        path : str or Path
            The folder of an image, of a plate, or of a collection; all images in it are added.
            Axes, calibration and channel names are taken; labels become array artifacts
            ``labels/<name>``, tables data frames ``tables/<name>``, and all attributes of the
            image the JSON artifact ``ome_zarr``. Each level of a pyramid is checked against
            the first, which is the one that is stored.
        progress : callable, optional
            Called as ``progress(done, total, label)``.

        Returns
        -------
        IngestReport
            One item per image; an image that is in the dataset already is ``unchanged``.

        Raises
        ------
        SourceFileError
            If it is no OME-Zarr, or holds no image (a ValueError).
        FileNotFoundError
            If there is no such folder.
        """
        from kymflow_zarr.ingest.ome_zarr.ingest import ingest_ome_zarr

        return ingest_ome_zarr(self._open, path, progress=progress)

    def ingest_legacy_folder(
        self,
        folder: StrPath,
        *,
        pattern: str = "*.tif",
        include_sidecars: bool = True,
        verify: bool = False,
        keep_original: bool = False,
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> IngestReport:
        """Add the TIFFs of a folder and all its subfolders, with their sidecars.

        Parameters
        ----------
        folder : str or Path
        pattern : str
            File names to match; case-insensitive, and ``*.tif`` matches ``.tiff``, too. ``*``
            takes the image files of all formats that can be read.
        include_sidecars : bool
            Add the files beside a TIFF as metadata and artifacts.
        verify : bool
            Read the pixels of each image back and compare them with the file before adding
            it; an image that differs counts as failed.
        keep_original : bool
            Keep the image files themselves in the dataset, byte by byte; else only their paths
            and digests.
        progress : callable, optional
            Called as ``progress(done, total, label)``.
        executor : concurrent.futures.Executor, optional
            Reads and encodes the images; threads if left out. Process pools work, too, and
            clusters with access to the folder and the dataset.

        Returns
        -------
        IngestReport
            One item per file. A file that cannot be read is listed there with the reason
            and does not stop the others; a file that was ingested before is skipped.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        concurrent.futures.BrokenExecutor
            If the executor fails. Images that were added before stay.
        """
        from kymflow_zarr.ingest.folder.folder import ingest_folder

        return ingest_folder(
            self._open,
            folder,
            pattern=pattern,
            include_sidecars=include_sidecars,
            verify=verify,
            keep_original=keep_original,
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
        """Scan a folder again: add new files, follow moved ones, update changed ones.

        If nothing has changed, no file is opened and nothing is written. A file whose content
        is found at another path, and no longer at its own, was moved; a copy beside its
        original becomes an image of its own. A deleted file is reported and its image stays.

        Parameters
        ----------
        folder : str or Path
        pattern : str
            As for :meth:`ingest_legacy_folder`.
        mode : {"skip", "reingest_if_changed"}
            Skip an image whose files have changed, or update it in place: it keeps its id and
            its artifacts, and :meth:`ZarrImageRecord.list_earlier_artifacts` lists those
            computed from the earlier pixels.
        include_sidecars : bool
            Include the files beside the TIFFs.
        dry_run : bool
            Report what would be done, without doing it.
        overwrite_edits : bool
            Let changed files overwrite what was edited in the dataset. By default edits stay
            and the report names the conflict.
        progress : callable, optional
            Called as ``progress(done, total, label)``.
        executor : concurrent.futures.Executor, optional
            As for :meth:`ingest_legacy_folder`.

        Returns
        -------
        RefreshResult
            The list of ids that were added or updated; its ``report`` has all details.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        ArgumentError
            If the mode is unknown.
        concurrent.futures.BrokenExecutor
            If the executor fails. Images that were added or updated before stay.
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

    def summary(
        self,
        table: str | pd.DataFrame,
        value: str,
        *,
        by: str | Iterable[str] = (),
        unit: str | None = None,
        ids: Iterable[str] | None = None,
    ) -> pd.DataFrame:
        """Summarize a column by groups, each image and each animal counted once.

        Rows are averaged within their image, images within their unit, and the statistics are
        those of the units: an animal with a hundred events weighs no more than one with ten.

        Parameters
        ----------
        table : str or DataFrame
            Name of a table, or what :meth:`gather` returns; with a column ``image_id``.
        value : str
            Its column of numbers; rows without one are left out.
        by : str or iterable of str
            Columns of the table, or of :meth:`images`, that make the groups, such as
            ``"condition"``; all rows are one group if left out.
        unit : str, optional
            Column of the unit that counts, such as ``"animal"``; the image if left out.
        ids : iterable of str, optional
            Of these images only.

        Returns
        -------
        DataFrame
            A row for each group, sorted: the columns of `by`, ``n_rows``, ``n_images``,
            ``n_units``, and of the units' means ``mean``, ``sd`` (with n - 1), ``sem`` (sd by the
            square root of n_units), ``median``, ``min`` and ``max``.

        Raises
        ------
        ArgumentError
            If a column does not exist, or `value` holds no numbers.
        TableNotFoundError
            If there is no such table (a FileNotFoundError).
        """
        from kymflow_zarr.engine.query.summary import GroupedValues

        return GroupedValues(self._open, table, value, by, unit, ids).statistics()

    def unit_values(
        self,
        table: str | pd.DataFrame,
        value: str,
        *,
        by: str | Iterable[str] = (),
        unit: str | None = None,
        ids: Iterable[str] | None = None,
    ) -> pd.DataFrame:
        """Return the values that :meth:`summary` counts: a row for each unit of each group.

        Parameters and errors are those of :meth:`summary`.

        Returns
        -------
        DataFrame
            The columns of `by`, that of the unit (``image_id`` if it is left out), `value` (the
            mean of the unit), ``n_images`` and ``n_rows``; sorted.
        """
        from kymflow_zarr.engine.query.summary import GroupedValues

        return GroupedValues(self._open, table, value, by, unit, ids).units

    def group_columns(
        self,
        table: str | pd.DataFrame,
        value: str,
        *,
        by: str | Iterable[str] = (),
        unit: str | None = None,
        ids: Iterable[str] | None = None,
        paired: bool = False,
        order: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return the values of :meth:`unit_values` with a column for each group, as Prism has it.

        Parameters
        ----------
        table, value, by, unit, ids
            As for :meth:`summary`.
        paired : bool
            A row for each unit that is in several groups, such as an animal before and after;
            the first column names it. Without, values stand below each other in no order.
        order : sequence of str, optional
            These groups only, in this order, such as ``["before", "after"]``; sorted if left out.

        Returns
        -------
        DataFrame
            float64; NaN where a group has fewer values, or a unit none.

        Raises
        ------
        ArgumentError
            As for :meth:`summary`; or if `order` names no group, or `paired` no unit.
        """
        from kymflow_zarr.engine.query.summary import group_columns

        values = self.unit_values(table, value, by=by, unit=unit, ids=ids)
        return group_columns(values, value, by, unit, paired=paired, order=order)

    def export_values(
        self,
        path: StrPath,
        table: str | pd.DataFrame,
        value: str,
        *,
        by: str | Iterable[str] = (),
        unit: str | None = None,
        ids: Iterable[str] | None = None,
        layout: Literal["tidy", "columns"] = "tidy",
        paired: bool = False,
        order: Sequence[str] | None = None,
    ) -> None:
        """Write values by groups to a new file, for a spreadsheet or a statistics program.

        Parameters
        ----------
        path : str or Path
            A name that ends in ``.csv``, or in ``.xlsx`` for a workbook with the sheets
            ``summary``, ``values`` and ``columns``.
        table, value, by, unit, ids
            As for :meth:`summary`.
        layout : {"tidy", "columns"}
            Of a CSV file: as :meth:`unit_values` returns it, or as :meth:`group_columns`, which
            Prism takes when it is pasted.
        paired, order
            As for :meth:`group_columns`.

        Raises
        ------
        TargetExistsError
            If the file exists (a FileExistsError).
        ArgumentError
            If the name has another suffix, or as for :meth:`group_columns`.
        MissingDependencyError
            If XlsxWriter is not installed; names the extra (an ImportError).
        """
        from kymflow_zarr.export.sheets.values import export_values

        export_values(
            self._open, path, table, value, by, unit, ids, layout=layout, paired=paired,
            order=order,
        )  # fmt: skip

    def plot(
        self,
        table: str | pd.DataFrame,
        value: str,
        *,
        by: str | Iterable[str] = (),
        unit: str | None = None,
        ids: Iterable[str] | None = None,
        kind: Literal["swarm", "strip", "box"] = "swarm",
        paired: bool = False,
        order: Sequence[str] | None = None,
        ax: Axes | None = None,
        viewer: Viewer | None = None,
    ) -> Axes:
        """Plot a column by groups with matplotlib: a point for each image or animal.

        Parameters
        ----------
        table, value, by, unit, ids
            As for :meth:`summary`.
        kind : {"swarm", "strip", "box"}
            Points side by side where their values are near, or spread evenly, with mean and SEM;
            or points over a box of the quartiles, with whiskers to the smallest and largest.
        paired : bool
            Join the values of each unit that is in several groups, such as an animal before and
            after.
        order : sequence of str, optional
            These groups only, in this order; sorted if left out.
        ax : matplotlib.axes.Axes, optional
            The axes to plot into; a new figure if left out.
        viewer : Viewer, optional
            A page that :meth:`view` has started. In a figure that is saved or shown as SVG, a
            click on a point opens its image there, or the gallery of the animal's images.

        Returns
        -------
        matplotlib.axes.Axes
            ``ax.figure.savefig("x.svg")``, ``.pdf`` or ``.png`` saves it.

        Raises
        ------
        ArgumentError
            As for :meth:`group_columns`, or if the kind is unknown.
        MissingDependencyError
            If matplotlib is not installed; names the extra (an ImportError).
        """
        from kymflow_zarr.views.groups import plot_groups
        from kymflow_zarr.views.plot import drawn_axes

        values = self.unit_values(table, value, by=by, unit=unit, ids=ids)
        address = None
        if viewer is not None:

            def address(row: dict[str, Any]) -> str:
                assert viewer is not None
                if "image_id" in row:
                    return viewer.address_of(row["image_id"])
                return viewer.address_of_images(str(unit), str(row[str(unit)]))

        with drawn_axes(ax) as axes:
            plot_groups(
                axes, values, value, by, unit, kind=kind, paired=paired, order=order,
                address=address,
            )  # fmt: skip
        return axes

    def worklist(
        self,
        n: int,
        *,
        balance: str | Iterable[str] = (),
        seed: int = 0,
        ids: Iterable[str] | None = None,
    ) -> list[str]:
        """Choose images at random, such as those that a person judges.

        The same arguments choose the same images in the same order, on every machine, as long as
        the images and the columns of `balance` are the same.

        Parameters
        ----------
        n : int
            How many.
        balance : str or iterable of str
            Columns of :meth:`images`, such as ``"condition"``: as many images of each group as
            there are, up to a difference of one, as long as a group has some left.
        seed : int
        ids : iterable of str, optional
            Among these images only; damaged images are never chosen.

        Returns
        -------
        list of str
            Ids of images, in random order, so that their order does not tell their group.

        Raises
        ------
        ArgumentError
            If there are fewer images, or a column does not exist.
        """
        from kymflow_zarr.engine.query.worklist import worklist

        return worklist(self._open, n, balance, seed, ids)

    def info(self) -> dict[str, Any]:
        """Return what the dataset holds, how large it is, since when, and who judged it.

        Returns
        -------
        dict
            ``location``, ``dataset_id``, ``created_utc`` (ISO 8601, UTC), ``images``,
            ``damaged``, ``shapes`` (the five most frequent, with their numbers), ``acquired``
            (first and last, local time of the microscope), ``verdicts``, ``judged_by`` (number of
            edits by person), ``last_edit_utc``, ``artifacts`` (number of images by name),
            ``tables`` (number of rows by name), ``files`` and ``size_mb`` (10^6 bytes on disk).
            Of a dataset in a store or on a web host also ``requests`` (by kind), ``bytes_read``
            and ``bytes_written``, since it was opened.
        """
        from kymflow_zarr.engine.query.info import info

        return info(self._open)

    def history(
        self,
        ids: Iterable[str] | None = None,
        *,
        who: str | None = None,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> pd.DataFrame:
        """Return who changed what when, in all images: a row for each value that was changed.

        Parameters
        ----------
        ids : iterable of str, optional
            These images only.
        who : str, optional
            Edits of this person only.
        executor : concurrent.futures.Executor, optional
            Threads if left out.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``.

        Returns
        -------
        DataFrame
            ``when_utc`` (ISO 8601, UTC), ``who``, ``image_id``, ``name`` (of the image), ``what``
            in words, ``before``, ``after``, ``edit_id``, ``undoes``, ``undone_by``; oldest first.
            Errors of histories that cannot be read are in ``attrs["errors"]``, by image id.
        """
        from kymflow_zarr.engine.curation.all_edits import all_edits

        return all_edits(self._open, ids, who, executor=executor, progress=progress)

    def watch(
        self, *, interval_s: float = 1.0, stop: threading.Event | None = None
    ) -> Iterator[DatasetChange]:
        """Yield what is added, changed and deleted from now on, by this program or another.

        The dataset is looked at every `interval_s` seconds; several changes of an image between
        two looks are one. A look costs about as much as listing the folder of images.

        Parameters
        ----------
        interval_s : float
        stop : threading.Event, optional
            Set it, from another thread, to end the iteration.

        Yields
        ------
        DatasetChange
            Its ``what`` is ``"added"``, ``"changed"`` or ``"deleted"``; ``image_id`` or
            ``table`` names what.

        Raises
        ------
        ArgumentError
            If `interval_s` is no time.

        Examples
        --------
        ::

            for change in ds.watch():
                if change.image_id and change.what != "deleted":
                    print(change.image_id, ds[change.image_id].curation().verdict)
        """
        from kymflow_zarr.engine.query.watch import watch

        return watch(self._open, interval_s, stop)

    def merge_edits(self, other: ZarrDataset, *, progress: Progress | None = None) -> MergeReport:
        """Take over the edits of another copy of this dataset, which was edited apart.

        Of each image that both have, the two histories become one: verdicts, notes, regions,
        metadata and events that only the other copy changed are taken over. Where both changed
        the same value, the later edit is kept and the conflict is named; of two notes both texts
        are kept, and two regions that got the same id become two. No entry of a history is lost.
        The order does not matter: after ``a.merge_edits(b)`` and ``b.merge_edits(a)`` both are
        equal. What was changed without an edit, such as by :meth:`ZarrImageRecord.save_rois`, is
        left as it is in each copy. Each image is one commit; a call that was interrupted can be
        repeated.

        Parameters
        ----------
        other : ZarrDataset
            May be read-only, or packed.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``.

        Returns
        -------
        MergeReport
            Its ``conflicts`` name each value that both had changed.

        Raises
        ------
        ArgumentTypeError
            If `other` is no dataset, such as a path.
        EditConflictError
            If two histories have the same edits in another order.
        ReadOnlyError
            In mode ``"r"`` (a PermissionError).
        """
        from kymflow_zarr.engine.curation.merging import merge_edits

        return merge_edits(self._open, _opened(other), progress=progress)

    def save_worklist(self, name: str, ids: Iterable[str]) -> str:
        """Save a list of images, in its order, as the table ``worklists/<name>``.

        Parameters
        ----------
        name : str
            An existing list of that name is replaced.
        ids : iterable of str
            Ids of images; each counts once.

        Returns
        -------
        str
            The key of the table.

        Raises
        ------
        ArgumentError
            If there is no such image. Nothing is written.
        """
        from kymflow_zarr.engine.query.worklist import save_worklist

        return save_worklist(self._open, name, ids)

    def load_worklist(self, name: str) -> list[str]:
        """Return the ids of a saved list, in its order, without images that were deleted.

        Raises
        ------
        TableNotFoundError
            If there is none of that name; names those that there are (a FileNotFoundError).
        SchemaValidationError
            If the table is no list of images.
        """
        from kymflow_zarr.engine.query.worklist import load_worklist

        return load_worklist(self._open, name)

    def read_worklist(self, path: StrPath, *, skip_missing: bool = False) -> list[str]:
        """Read a list of files that acqstore or kymflow wrote, or :meth:`write_worklist`.

        Parameters
        ----------
        path : path-like
            A CSV file with a column ``_rel_path`` (acqstore) or ``rel_path`` (kymflow): paths
            below the folder that was ingested, with ``/``. A path that is no image's is also
            looked for as the end of one, as a list may lie in a folder below.
        skip_missing : bool
            Leave out paths of which there is no image.

        Returns
        -------
        list of str
            Ids of images in the order of the file; all images of a file that holds several.

        Raises
        ------
        SourceFileError
            If the file cannot be read, or has no such column.
        ArgumentError
            If a path is no image's, and `skip_missing` is False.
        """
        from kymflow_zarr.engine.query.worklist import read_worklist

        return read_worklist(self._open, path, skip_missing=skip_missing)

    def write_worklist(
        self,
        path: StrPath,
        ids: Iterable[str],
        *,
        layout: WorklistLayout = "acqstore",
        by: str | None = None,
    ) -> None:
        """Write a list of files that acqstore or kymflow reads.

        Parameters
        ----------
        path : path-like
            A CSV file, which is replaced. kymflow looks for the files below its folder.
        ids : iterable of str
            Ids of images that come from files of a folder.
        layout : {"acqstore", "kymflow"}
            Which name the column of paths has.
        by : str, optional
            A column of :meth:`images`: the list is then written group after group, with
            ``_group``, ``_random_order`` (place in the group, from 0) and ``_source_index`` (place
            among all files of the dataset sorted by path, from 0).

        Raises
        ------
        ArgumentError
            If an image comes from no file, or has no value in that column. Nothing is written.
        """
        from kymflow_zarr.engine.query.worklist import write_worklist

        write_worklist(self._open, path, ids, layout=layout, by=by)

    # Metadata of many images

    def import_metadata(
        self,
        sheet: StrPath | pd.DataFrame,
        *,
        key: str | None = None,
        who: str | None = None,
        dry_run: bool = False,
    ) -> SheetReport:
        """Set metadata of many images from a sheet: a row for each image, a column for each field.

        What is wrong is refused by cell: a row that names no image, or several; a value that is
        none of its field's choices, or of another type; two rows that disagree. All the rest is
        one commit, which :meth:`undo` takes back. Empty cells leave values as they are.

        Parameters
        ----------
        sheet : str, Path or DataFrame
            A CSV file with commas, semicolons or tabs, in UTF-8, or the first sheet of an Excel
            workbook (``.xlsx``), with the names of the columns in its first row; or a data frame
            such as :meth:`folder_sheet` returns.
        key : str, optional
            The column that names the images, as :meth:`find` takes them; the first if left out.
        who : str, optional
            Name of the editor; the user of the operating system if left out.
        dry_run : bool
            Report what would be done, without doing it.

        Returns
        -------
        SheetReport
            Its ``refused`` names row, column and reason of each cell that was refused; its
            ``edit_id`` is for :meth:`undo`.

        Raises
        ------
        ArgumentError
            If there is no such column, or two have one name; nothing is written.
        SourceFileError
            If the sheet cannot be read.
        MissingDependencyError
            If it is an Excel file, and openpyxl is not installed (an ImportError).

        Notes
        -----
        A column that is no field of :meth:`save_metadata_fields` holds text, or numbers if all its
        cells are plain numbers: ``007`` is text.
        """
        from kymflow_zarr.engine.curation.sheet import import_metadata

        return import_metadata(self._open, sheet, key, who=who, dry_run=dry_run)

    def folder_sheet(self, names: Sequence[str]) -> pd.DataFrame:
        """Return a sheet for :meth:`import_metadata` of the folders that the images came from.

        Parameters
        ----------
        names : sequence of str
            What the folders mean, the innermost last: ``["condition", "animal"]`` for files such
            as ``Control/A87/0001.tif``.

        Returns
        -------
        DataFrame
            ``image_id`` and a column for each name; None where there is no such folder.
        """
        from kymflow_zarr.engine.curation.sheet import folder_sheet

        return folder_sheet(self._open, names)

    def save_metadata_fields(self, fields: Mapping[str, Mapping[str, Any]]) -> None:
        """Save the fields that the lab has agreed on, in the table ``metadata_fields``.

        Parameters
        ----------
        fields : mapping of str to mapping
            By name: ``type`` (``"text"``, ``"number"``, ``"date"`` or ``"flag"``), ``choices``,
            ``unit``, ``required`` and ``description``, all of which may be left out.

        Raises
        ------
        ArgumentError
            If a key or a type is unknown, or a choice is not of the type; nothing is saved.
        """
        from kymflow_zarr.engine.curation.fields import save_fields

        save_fields(self._open, fields)

    def load_metadata_fields(self) -> dict[str, MetadataField]:
        """Return the fields of :meth:`save_metadata_fields`, by name; none if none were saved."""
        from kymflow_zarr.engine.curation.fields import load_fields

        return load_fields(self._open)

    def check_metadata(self) -> pd.DataFrame:
        """Return what deviates from the fields of :meth:`save_metadata_fields`.

        Returns
        -------
        DataFrame
            ``image_id``, ``field``, ``value`` and ``reason``, a row for each deviation.
        """
        from kymflow_zarr.engine.curation.sheet import check_metadata

        return check_metadata(self._open)

    # Judging

    def judge(
        self,
        ids: Iterable[str],
        verdict: Verdict | None,
        *,
        who: str | None = None,
        seen: Mapping[str, Verdict | None] | None = None,
    ) -> str | None:
        """Give many images one verdict, in one commit: all of them, or none.

        Parameters
        ----------
        ids : iterable of str
            Ids of images.
        verdict : {"accepted", "rejected"} or None
            None clears the verdict.
        who : str, optional
            Name of the editor; the user of the operating system if left out.
        seen : mapping of str to verdict, optional
            The verdicts that the editor saw, by image id: nothing is written if one of them is
            another one by now.

        Returns
        -------
        str or None
            The id of the edit, which the entries of all histories share; None if `who` had given
            all of them that verdict before.

        Raises
        ------
        RecordNotFoundError
            If an image does not exist (a KeyError). Nothing is written.
        ArgumentError
            If the verdict is none of these.
        EditConflictError
            If the verdict of an image is not the one that was seen; names some. Nothing is
            written.

        """
        from kymflow_zarr.engine.curation.judging import judge

        return judge(self._open, ids, verdict, who=who, seen=seen)

    def undo(
        self, edit_id: str, ids: Iterable[str] | None = None, *, who: str | None = None
    ) -> str:
        """Undo an edit in all images that it changed, in one commit.

        Parameters
        ----------
        edit_id : str
            As :meth:`judge` returns it.
        ids : iterable of str, optional
            Images to look into; all if left out, which reads the history of each.
        who : str, optional
            Name of the editor; the user of the operating system if left out.

        Returns
        -------
        str
            The id of the new edit.

        Raises
        ------
        ArgumentError
            If no image has such an edit, or all of them undid it already.
        EditConflictError
            If a value that it changed has changed since. Nothing is written.
        """
        from kymflow_zarr.engine.curation.judging import undo

        return undo(self._open, edit_id, ids, who=who)

    def agreement(
        self, raters: Iterable[str] | None = None, *, ids: Iterable[str] | None = None
    ) -> pd.DataFrame:
        """Compare the verdicts that people gave the same images, pair by pair.

        The verdict of a person is the last one in the history of the image that was not undone.

        Parameters
        ----------
        raters : iterable of str, optional
            Names as given by `who`; everybody who judged an image if left out.
        ids : iterable of str, optional
            Of these images only.

        Returns
        -------
        DataFrame
            A row for each pair: ``rater_1``, ``rater_2``, ``n_images`` that both judged,
            ``n_equal`` and ``share_equal`` of equal verdicts, and Cohen's ``kappa``. Kappa is NaN
            where both gave one and the same verdict to all images, or judged none in common.

        Raises
        ------
        ArgumentError
            If one of the raters has judged none of the images.

        Notes
        -----
        kappa = (p_o - p_e) / (1 - p_e), with the share p_o of equal verdicts and the share p_e
        that chance would give: J. Cohen, Educational and Psychological Measurement 20 (1960)
        37-46.
        """
        from kymflow_zarr.engine.curation.agreement import agreement

        return agreement(self._open, raters, ids)

    def event_agreement(
        self,
        one: str,
        other: str,
        *,
        of: str | None = None,
        by: str = "rater",
        ids: Iterable[str] | None = None,
    ) -> pd.DataFrame:
        """Compare the events of two people, or of two methods, image by image.

        Parameters
        ----------
        one, other : str
            Names of data-frame artifacts with ``t_start_s`` and, where events last, ``t_end_s``;
            with `of`, two values of its column `by`, such as names of people.
        of : str, optional
            Name of the one data-frame artifact that holds the events of both.
        by : str
            Its column that says whose each event is.
        ids : iterable of str, optional
            Of these images only. Images that lack one of the data frames are left out; with `of`,
            an image where one of the two has no event counts, as they had the chance to see it.

        Returns
        -------
        DataFrame
            A row for each image: ``image_id``; ``n_1`` and ``n_2`` events; ``n_matched`` pairs of
            events that overlap, each event in one pair at most and as many pairs as possible;
            ``f1``, which is 2 n_matched / (n_1 + n_2); ``overlap``, the time in both divided by
            the time in one of them (Jaccard index). NaN where nothing can be divided.

        Raises
        ------
        ArgumentError
            If a data frame has no column ``t_start_s`` or `by`, or no image has an event of
            `one` or `other`.
        """
        from kymflow_zarr.engine.curation.agreement import event_agreement

        return event_agreement(self._open, one, other, ids, of=of, by=by)

    def unblind(self, who: str | None = None) -> pd.DataFrame:
        """End the blinding of a person, and say what was hidden from them.

        The table ``blinding`` gets a row: who was told, and when.

        Parameters
        ----------
        who : str, optional
            As in :meth:`view`; the user of the operating system if left out.

        Returns
        -------
        DataFrame
            Each image that the person has judged: ``image_id``, the columns that were hidden,
            and ``verdict``.

        Raises
        ------
        ArgumentError
            If nothing is hidden from that person.
        """
        from kymflow_zarr.engine.curation.blind_log import unblind

        return unblind(self._open, who)

    def pack(
        self,
        path: StrPath,
        *,
        image_ids: Iterable[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Write the dataset into one file that opens as it is, for reading only.

        The file is a ZIP without compression, as RFC-9 of OME-Zarr asks, which Zarr and
        OME-Zarr programs read too. ``ZarrDataset("all.ozx")`` opens it without unpacking.

        Parameters
        ----------
        path : str or Path
            A new file whose name ends in ``.ozx``. It appears when it is complete.
        image_ids : iterable of str, optional
            Images to pack, with what belongs to them; all by default.
        progress : callable, optional
            Called as ``progress(done, total, label)``.

        Raises
        ------
        TargetExistsError
            If the file exists (a FileExistsError).
        RecordNotFoundError
            If there is no image of an id (a KeyError).
        StorageError
            If it cannot be written, or the dataset changes meanwhile; no file is left.
        """
        from kymflow_zarr.export.pack import pack

        pack(self._open, path, image_ids=image_ids, progress=progress)

    def subset(
        self, image_ids: Iterable[str], path: StrPath, *, progress: Progress | None = None
    ) -> None:
        """Create a smaller dataset of some images, with everything that belongs to them.

        Images are copied byte by byte, with their ids, artifacts, curation and kept source
        files. Of each table the rows of these images are copied; tables without a column
        ``image_id`` are copied whole. The new dataset says where it is from.

        Parameters
        ----------
        image_ids : iterable of str
        path : str or Path
            A folder that does not exist, or is empty.
        progress : callable, optional
            Called as ``progress(done, total, label)``.

        Raises
        ------
        RecordNotFoundError
            If there is no image of an id (a KeyError); nothing is written.
        DatasetExistsError
            If there is something at the path (a FileExistsError).
        """
        from kymflow_zarr.export.subsets import subset

        subset(self._open, image_ids, path, progress=progress)

    def merge(self, other: ZarrDataset, *, progress: Progress | None = None) -> list[str]:
        """Add copies of all images of another dataset, with everything that belongs to them.

        Rows of its tables are added to the tables of the same names; a table without a column
        ``image_id`` is copied if there is none of its name.

        Parameters
        ----------
        other : ZarrDataset
            May be read-only, or packed.
        progress : callable, optional
            Called as ``progress(done, total, label)``.

        Returns
        -------
        list of str
            Ids of the images that were added.

        Raises
        ------
        ArgumentTypeError
            If `other` is no dataset, such as a path.
        RecordExistsError
            If both have an image of the same id; nothing is added.
        """
        from kymflow_zarr.export.subsets import merge

        return merge(self._open, _opened(other), progress=progress)

    def export_legacy_folder(
        self,
        folder: StrPath,
        *,
        include_tiff: bool = True,
        include_tables: bool = True,
        layout: ExportLayout = "dataset",
        image_ids: Collection[str] | None = None,
        progress: Progress | None = None,
        executor: Executor | None = None,
    ) -> ExportReport:
        """Write the dataset as a folder of TIFF, JSON, CSV and NumPy files.

        Parameters
        ----------
        folder : str or Path
            Files of an earlier export of this dataset are replaced, and stale ones removed;
            everything else in it is left alone.
        include_tiff, include_tables : bool
            False leaves TIFFs or tables out; those of an earlier export are then stale.
        layout : {"dataset", "kymflow", "acqstore"}
            ``"dataset"``: a folder for each image, from which an equal dataset can be created.
            ``"kymflow"``: the folders that the dataset was ingested from, with the same files
            at the same paths. Files that are not identical byte for byte, because something was
            edited since or the pixels of a TIFF were compressed, are listed in ``differences``
            of the report. Nothing in the folder is overwritten or removed. ``"acqstore"``: the
            same, with metadata and regions in the sidecars of acqstore (``<file>.<ext>.json``)
            beside all images.
        image_ids : collection of str, optional
            These images only; tables are written whole. Files of other images from an earlier
            export are then stale.
        progress : callable, optional
            Called as ``progress(done, total, label)``.
        executor : concurrent.futures.Executor, optional
            Writes the files; threads if left out. The workers of a process pool or cluster
            need access to the dataset and the folder.

        Raises
        ------
        TargetExistsError
            If it would overwrite a foreign file (a FileExistsError); nothing is written.
        ArgumentError
            If the folder lies inside the dataset, or the layout is unknown.
        CorruptDataError
            If something in the dataset is damaged; names it.
        LockTimeoutError
            If another export is writing to the folder.
        concurrent.futures.BrokenExecutor
            If the executor fails. Files that were written before stay, and the next call
            resumes from there.
        """
        from kymflow_zarr.export.folder import export_folder

        return export_folder(
            self._open,
            folder,
            include_tiff=include_tiff,
            include_tables=include_tables,
            layout=layout,
            image_ids=image_ids,
            progress=progress,
            executor=executor,
        )

    def export_nwb(
        self,
        folder: StrPath,
        *,
        metadata: Mapping[str, Any] | None = None,
        image_ids: Collection[str] | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> ArchiveReport:
        """Write images, velocities and events as NWB files, as DANDI and other archives take them.

        There is a file for each session of a subject,
        ``sub-<subject>/sub-<subject>_ses-<session>.nwb``; an image without ``session_id`` is a
        session of its own. A kymograph is a series of its lines with their rate or their times;
        velocities and other measured curves are time series, events are intervals, and each data
        frame is a table, too. See ``docs/archives.md``.

        Parameters
        ----------
        folder : str or Path
            Files that exist are never overwritten.
        metadata : mapping, optional
            Values for all images that have none of their own in ``experiment_metadata``, or none
            that is understood: ``timezone`` of the microscope (required), ``subject_id``,
            ``species``, ``sex``, ``age`` or ``date_of_birth`` (required), ``genotype``,
            ``strain``, ``session_id``, ``session_start_time``; and of the files
            ``session_description``,
            ``experiment_description``, ``institution``, ``lab``, ``experimenter``, ``keywords``,
            ``related_publications``.
        image_ids : collection of str, optional
            These images only; all by default.
        dry_run : bool
            If True, nothing is written; the report lists what is missing.
        progress : callable, optional
            Called as ``progress(done, total, label)``.

        Raises
        ------
        MissingDependencyError
            If pynwb is not installed; names the extra (an ImportError).
        ArgumentError
            If required values are missing or not understood: lists all of them with where to type
            them, and nothing is written. Also if a key of `metadata` is unknown.
        TargetExistsError
            If one of the files exists (a FileExistsError); nothing is written.
        """
        from kymflow_zarr.export.archives.nwb import export_nwb

        return export_nwb(
            self._open,
            folder,
            metadata=metadata,
            image_ids=image_ids,
            dry_run=dry_run,
            progress=progress,
        )

    def export_acq_collection(
        self,
        path: StrPath,
        *,
        image_ids: Collection[str] | None = None,
        progress: Progress | None = None,
    ) -> ExportReport:
        """Write images as a collection of acqstore: one OME-Zarr with sidecars and analyses.

        Sidecars, tables of runs, peaks and the two pools are those that acqstore writes, from the
        sidecar that an image came with and what was edited since.

        Parameters
        ----------
        path : str or Path
            A folder that does not exist, by convention named ``*.ome.zarr``.
        image_ids : collection of str, optional
            These images only; all by default, in the order of their names.
        progress : callable, optional
            Called as ``progress(done, total, label)``.

        Returns
        -------
        ExportReport
            ``differences`` names what acqstore has no place for, such as regions of other kinds.

        Raises
        ------
        TargetExistsError
            If there is something at the path (a FileExistsError).
        """
        from kymflow_zarr.export.acqstore.collection import export_acq_collection

        return export_acq_collection(self._open, path, image_ids=image_ids, progress=progress)

    def export_scene(self, path: StrPath, scan_id: str, picture_id: str | None = None) -> None:
        """Write a line scan in the picture of its line, as a scene of OME-Zarr 0.6.

        The folder holds both images (``scan``, ``picture``) with their levels, and says where in
        the picture each pixel of the line lies. Images of the dataset itself stay OME-Zarr 0.5.

        Parameters
        ----------
        path : str or Path
            A folder that does not exist, by convention named ``*.zarr``.
        scan_id : str
            Id of the line scan, whose pixels lie evenly along the line.
        picture_id : str, optional
            Id of the image that has the line as its only region that is a line. By default the
            other image of the same file, as the files of microscopes have it.

        Raises
        ------
        RecordNotFoundError
            If there is no such image (a KeyError).
        ArgumentError
            If no picture is found, or it has no line or several.
        UnsupportedDataError
            If the first image is no line scan, or OME-Zarr cannot express one of the two.
        TargetExistsError
            If there is something at the path (a FileExistsError).

        Notes
        -----
        Source: OME-Zarr 0.6, "scene" metadata, https://ngff.openmicroscopy.org/0.6/.
        """
        from kymflow_zarr.export.ome_zarr.scene import export_scene

        export_scene(self._open, path, scan_id, picture_id)

    def export_ro_crate(
        self,
        folder: StrPath,
        *,
        metadata: Mapping[str, Any] | None = None,
        image_ids: Collection[str] | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> ArchiveReport:
        """Write the dataset as one packed file with a description for a repository (RO-Crate 1.1).

        The description has the modules of REMBI: study, biosample, specimen, image acquisition,
        image data and analyzed data. See ``docs/archives.md``.

        Parameters
        ----------
        folder : str or Path
            Gets ``ro-crate-metadata.json`` and a file ``<title>.ozx``. Files that exist are never
            overwritten.
        metadata : mapping, optional
            Of the study ``title``, ``description``, ``license`` and ``authors`` (required),
            ``keywords``, ``institution``, ``funding``, ``related_publications``. For all images
            that have none of their own in ``experiment_metadata``: ``species``,
            ``sample_preparation``, ``imaging_method`` and ``instrument`` (required), and ``sex``,
            ``age``, ``genotype``, ``strain``, ``cell_type``, ``region``, ``condition``, ....
        image_ids : collection of str, optional
            These images only; all by default.
        dry_run : bool
            If True, nothing is written; the report lists what is missing.
        progress : callable, optional
            Called as ``progress(done, total, label)``.

        Raises
        ------
        ArgumentError
            If required values are missing or not understood: lists all of them with where to type
            them, and nothing is written. Also if a key of `metadata` is unknown.
        TargetExistsError
            If one of the files exists (a FileExistsError); nothing is written.
        """
        from kymflow_zarr.export.archives.ro_crate import export_ro_crate

        return export_ro_crate(
            self._open,
            folder,
            metadata=metadata,
            image_ids=image_ids,
            dry_run=dry_run,
            progress=progress,
        )

    def validate(
        self, *, progress: Progress | None = None, executor: Executor | None = None
    ) -> ValidationReport:
        """Check every document against the on-disk format, without reading pixels.

        Parameters
        ----------
        progress : callable, optional
            Called as ``progress(done, total, image_id)``; raising from it cancels the call.
        executor : concurrent.futures.Executor, optional
            Checks the images; this thread if left out, since threads would be no faster.
        """
        from kymflow_zarr.check.validate.dataset import validate_dataset

        return validate_dataset(self._open, progress=progress, executor=executor)

    def validate_image(self, image_id: str) -> tuple[Problem, ...]:
        """Check the documents of one image against the on-disk format.

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
        """Check every file of the dataset against its checksum, without writing.

        Concurrent writers are not blocked and cause no false alarms.

        Parameters
        ----------
        level : {"full", "fast"}
            ``"full"`` reads every byte. ``"fast"`` checks only presence and size of the files,
            and so does not detect a flipped bit.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``; raising from it cancels the call.
        executor : concurrent.futures.Executor, optional
            Reads the files; eight threads if left out.

        Returns
        -------
        VerifyReport

        Raises
        ------
        ArgumentError
            If the level is unknown.
        FormatVersionError
            If the dataset has format version 1, which has no checksums.
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
        """Repair what `verify` finds: sweep, rebuild, restore or quarantine; delete no data.

        Damaged files are rebuilt from their source files if those still exist unchanged, and
        count as restored if that gives the original bytes. Other damaged data is moved to the
        folder ``quarantine`` of the dataset, so that the rest works: a single artifact or table,
        or a whole image if its document or its pixels are damaged.

        It can run while other programs write, and again after a crash.

        Parameters
        ----------
        dry_run : bool
            Report what would be done, without doing it; rebuilding is not tried.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``; raising from it cancels the call.
        executor : concurrent.futures.Executor, optional
            Reads the files, as for :meth:`verify`.

        Returns
        -------
        RepairReport

        Raises
        ------
        ReadOnlyError
            In mode ``"r"``, unless it is a dry run.
        FormatVersionError
            If the dataset has format version 1.
        """
        from kymflow_zarr.check.repair.dataset import repair_dataset

        return repair_dataset(self._open, dry_run=dry_run, progress=progress, executor=executor)

    def build_pyramids(
        self, image_ids: Iterable[str] | None = None, *, progress: Progress | None = None
    ) -> list[str]:
        """Add the :attr:`~ZarrImageRecord.levels` of large images that have none.

        Images get theirs when they are added; this is for those of earlier versions, and of other
        programs. Pixels, artifacts and times stay, and each image is changed in one step.

        Parameters
        ----------
        image_ids : iterable of str, optional
            All images if left out.
        progress : callable, optional
            Called as ``progress(done, total, image_id)``; raising from it cancels the call.

        Returns
        -------
        list of str
            The ids of the images that got levels.

        Raises
        ------
        ReadOnlyError
            In mode ``"r"``.
        RecordNotFoundError
            If there is no such image.
        CorruptDataError
            If the pixels of an image are damaged.
        """
        from kymflow_zarr.engine.images.pyramid import build_pyramids

        return build_pyramids(self._open, image_ids, progress=progress)

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
        blind: Sequence[str] | bool = False,
        inline: str | bool = False,
        worklist: str | Sequence[str] | None = None,
    ) -> Viewer:
        """Start a web viewer of the dataset, and return immediately.

        Parameters
        ----------
        host : str
            The address to listen on. Any other than the local machine requires a token.
        port : int
            0 takes a free port.
        edit : bool
            Allow verdicts, notes and regions to be edited.
        who : str, optional
            Name of the editor; the user of the operating system if left out.
        token : str, optional
            The secret that the URL must contain. If required and left out, one is generated.
        open_browser : bool
            Open the page in a browser.
        blind : sequence of str or bool
            Columns of :meth:`images`, such as ``["condition"]``, that nothing in the page tells;
            True hides all metadata. Images have codes, in the order of which they are listed, and
            the page shows their pixels, calibration, the shapes of regions, curves, events, and
            what `who` has said, but no names, paths, dates, texts of others, tables or downloads.
            With `edit`, the histories name what was hidden, and the table ``blinding`` says who
            opened a blind page, and who opened one that was not blind afterwards.
        inline : str or bool
            In a notebook, show the page in it: as the last value of a cell. No page but those of
            this notebook may frame it. True finds the Jupyter server that started the kernel; an
            address such as ``"http://localhost:8888"`` names another one.
        worklist : str or sequence of str, optional
            The gallery shows these images only, in this order (with `blind` in that of the codes):
            the name of a list of :meth:`save_worklist`, or ids.

        Returns
        -------
        Viewer
            Its ``url`` is the address; ``close()`` stops it.

        Raises
        ------
        ReadOnlyError
            If `edit` is True and the mode is ``"r"``.
        ArgumentError
            If a column to hide does not exist.
        StorageError
            If it cannot listen on that address.
        MissingDependencyError
            If the packages for it are not installed; names the extra (an ImportError).

        Notes
        -----
        As a context manager it stops at the end of the block::

            with ds.view() as viewer:
                print(viewer.url)
                viewer.wait()
        """
        from kymflow_zarr.viewer.web.serving import view

        return view(
            self, host=host, port=port, edit=edit, who=who, token=token,
            open_browser=open_browser, blind=blind, inline=inline, worklist=worklist,
        )  # fmt: skip

    def publish(
        self,
        target: StrPath,
        *,
        storage_options: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> PublishReport:
        """Write the dataset, with its page, as files that any static web host serves.

        The target then holds a copy of the dataset that ``ZarrDataset("https://...", mode="r")``
        reads, and ``index.html``, which shows it in a browser without a server: gallery, images
        in all resolutions, curves, events, tables. Publishing again writes only what differs, and
        an interrupted run is continued by calling again.

        Parameters
        ----------
        target : str or Path
            A folder, or an address such as ``s3://bucket/x.zarr``, at which nothing is, or where
            this dataset was published before.
        storage_options : mapping, optional
            Configuration of a bucket; see :class:`ZarrDataset`.
        dry_run : bool
            Write nothing, and say what would be done.
        progress : callable, optional
            Called as ``progress(done, total, label)``.

        Returns
        -------
        PublishReport
            An image that cannot be read is reported as failed; the others are published.

        Raises
        ------
        ArgumentError
            If nothing can be published there, or the dataset has format version 1.
        SchemaValidationError
            If something else is there.
        MissingDependencyError
            If the packages for it are not installed; names the extra (an ImportError).
        """
        from kymflow_zarr.export.publishing.publication import publish
        from kymflow_zarr.viewer.web.publishing.page import StaticPage

        return publish(
            self._open,
            StaticPage(self),
            target,
            storage_options=storage_options,
            dry_run=dry_run,
            progress=progress,
        )

    def asgi_app(
        self,
        hosts: Sequence[str],
        *,
        edit: bool = False,
        who: str | None = None,
        token: str | None = None,
        blind: Sequence[str] | None = None,
    ) -> Any:
        """Return the page of :meth:`view` as an ASGI application, which other programs mount.

        Parameters
        ----------
        hosts : sequence of str
            What stands in the ``Host`` of requests, such as ``"localhost:8000"``. Others are
            refused, as a page of another site could have pointed its own name here.
        edit : bool
            Allow verdicts, notes and regions to be edited by everybody who reaches it.
        who : str, optional
            Name of the editor; the user of the operating system if left out.
        token : str, optional
            The secret that the URL must contain; left out, the mounting program decides who may
            ask.
        blind : sequence of str, optional
            As for :meth:`view`, but nothing is logged.

        Returns
        -------
        ASGI application
            At a path of its own, such as ``Mount("/images", app=ds.asgi_app(["localhost:8000"]))``
            with Starlette. The mounting program sets ``root_path``, as ASGI says.

        Raises
        ------
        ArgumentError
            If `hosts` is empty or a str.
        ReadOnlyError
            If `edit` is True and the mode is ``"r"``.
        MissingDependencyError
            If Starlette is not installed; names the extra (an ImportError).
        """
        from kymflow_zarr.viewer.web.serving import asgi_app

        return asgi_app(self, hosts, edit=edit, who=who, token=token, blind=blind)

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


def _opened(other: object) -> OpenDataset:
    """Return the engine object of a dataset that a call was given."""
    if not isinstance(other, ZarrDataset):
        raise ArgumentTypeError(
            f"{other!r} is no ZarrDataset",
            where="other",
            hint='Open it: ZarrDataset(path, mode="r").',
        )
    return other._open  # noqa: SLF001 - a function of this file
