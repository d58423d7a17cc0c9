"""Questions about all images at once, as methods of the dataset."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.types import ArtifactKind, Progress

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas as pd
    import pyarrow as pa
    import pyarrow.dataset as pads

    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.engine.index.index import Index
    from kymflow_zarr.engine.query.map import MapResult
    from kymflow_zarr.engine.record import StoredImage
    from kymflow_zarr.engine.tables import Tables
    from kymflow_zarr.formats.rows.gather import Part
    from kymflow_zarr.storage.local.storage import LocalStorage

R = TypeVar("R")


class DatasetQuery:
    """Lists, gathered artifacts, SQL and parallel calls; a base of :class:`OpenDataset`."""

    if TYPE_CHECKING:
        _storage: LocalStorage
        _index: Index
        _tables: Tables

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
        from kymflow_zarr.engine.index.images_dataframe import images_frame

        if isinstance(columns, str):
            columns = [columns]
        return images_frame(self._index, self._tables, columns)

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
        from kymflow_zarr.engine.query.gather import Gatherer, gather, report_of
        from kymflow_zarr.formats.rows.gather import gather_arrow, gather_frame

        _check_form(as_, "dataset")
        gatherer = Gatherer(self._storage, name, kind)
        options: Any = {
            "missing": missing,
            "on_error": on_error,
            "executor": executor,
            "progress": progress,
        }
        chosen = None if ids is None else _several(ids)
        if as_ == "dataset":
            from kymflow_zarr.formats.rows.lazy import dataset_of

            read_lazily = functools.partial(self._lazy_part, gatherer.keys)
            files, errors = gather(self._index, gatherer, read_lazily, chosen, **options)
            return dataset_of(files, report_of(errors))
        read = functools.partial(self._part, gatherer.keys)
        parts, errors = gather(self._index, gatherer, read, chosen, **options)
        if as_ == "arrow":
            return gather_arrow(parts).replace_schema_metadata(report_of(errors))
        frame = gather_frame(parts)
        if errors:
            frame.attrs["errors"] = {image_id: str(error) for image_id, error in errors.items()}
        return frame

    def _part(self, keys: Mapping[ArtifactKind, str], image_id: str) -> Part | None:
        # A method, because datasets pickle and storages do not.
        from kymflow_zarr.engine.query.gather import read_part

        return read_part(self._storage, keys, image_id)

    def _lazy_part(self, keys: Mapping[ArtifactKind, str], image_id: str) -> bytes | None:
        from kymflow_zarr.engine.query.gather import read_lazy_part

        return read_lazy_part(self._storage, keys, image_id)

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
        self._storage.require_writable()
        rows = self.gather(artifact, kind, executor=executor, progress=progress)
        return self._tables.save(name, rows)

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
        from kymflow_zarr.engine.query.sql import artifact_sources, ask, table_sources, to_pandas

        _check_form(as_)
        if not isinstance(query, str):
            raise ArgumentError(f"a query is text, not {type(query).__name__}", where="query")
        table = ask(
            query,
            table_sources(self._whole_dataset, self._tables),
            lambda: artifact_sources(self._whole_dataset, self._index),
            params,
        )
        return table if as_ == "arrow" else to_pandas(table)

    def map(
        self,
        fn: Callable[[StoredImage], R],
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
        from kymflow_zarr.engine.query.map import map_images

        chosen = self._index.image_ids() if ids is None else list(dict.fromkeys(_several(ids)))
        return map_images(self._whole_dataset, fn, chosen, executor=executor, progress=progress)

    @property
    def _whole_dataset(self) -> OpenDataset:
        return cast("OpenDataset", self)

    def __reduce__(self) -> tuple[Any, ...]:
        # Never in a mode that creates or empties.
        from kymflow_zarr.engine.query.map import place_of, reopened

        return reopened, place_of(self._storage)


def _check_form(as_: str, *more: str) -> None:
    known = ("pandas", "arrow", *more)
    if as_ not in known:
        raise ArgumentError(f"{as_!r} is not one of {', '.join(map(repr, known))}", where="as_")


def _several(ids: Iterable[str]) -> list[str]:
    # A text is a sequence too, of its letters.
    return [ids] if isinstance(ids, str) else list(ids)
