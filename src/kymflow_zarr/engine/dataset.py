"""The dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.dataset_query import DatasetQuery
from kymflow_zarr.engine.dataset_tables import DatasetTables
from kymflow_zarr.engine.dataset_work import DatasetWork
from kymflow_zarr.engine.hints import did_you_mean
from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.engine.opening.modes import dataset_path, open_storage
from kymflow_zarr.engine.record import StoredImage
from kymflow_zarr.engine.record_views import DatasetViews
from kymflow_zarr.errors import ArgumentError, RecordNotFoundError
from kymflow_zarr.schema.base import FORMAT, FORMAT_VERSION
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.types import Axis, Durability, MissingPlacement, Mode, OrderBy, StrPath

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr.engine.images.draft import RecordDraft
    from kymflow_zarr.engine.images.update import RecordUpdate
    from kymflow_zarr.engine.source_files import KeptFiles


class OpenDataset(DatasetTables, DatasetQuery, DatasetWork, DatasetViews):
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
    >>> with OpenDataset("experiment.zarr", mode="w") as ds:
    ...     rec = ds.add_image(np.zeros((1000, 38), "uint16"), line_period_s=0.00117)
    ...     key = rec.save_json("note", {"quality": "good"})
    """

    def __init__(self, path: StrPath, mode: Mode = "a", *, durability: Durability = "full") -> None:
        storage, self._document = open_storage(dataset_path(path), mode, durability)
        super().__init__(storage)
        self._mode = mode
        self._index = Index(self._storage)

    @property
    def path(self) -> Path:
        """The dataset's folder."""
        return self._storage.root

    @property
    def mode(self) -> Mode:
        """The mode it was opened with."""
        return self._mode

    @property
    def dataset_id(self) -> str:
        """Id of the dataset, given once when it was created."""
        return self._document.dataset_id

    @property
    def created_utc(self) -> str:
        """When the dataset was created: ISO 8601, UTC."""
        return self._document.created_utc

    def require_writable(self) -> None:
        """Raise ReadOnlyError (a PermissionError) if the mode is ``"r"``."""
        self._storage.require_writable()

    def close(self) -> None:
        """Leave the work folder; every call leaves the dataset complete on disk anyway."""
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        tables = self.list_table_names()
        shown = f", tables {', '.join(tables[:5])}" if tables else ""
        more = f" and {len(tables) - 5} more" if len(tables) > 5 else ""
        return (
            f"<OpenDataset {str(self.path)!r} mode={self._mode!r}: {len(self)} images{shown}{more}>"
        )

    # Records ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._index.image_ids())

    def __bool__(self) -> bool:
        # An empty dataset is there all the same.
        return True

    def __contains__(self, image_id: object) -> bool:
        if not isinstance(image_id, str):
            return False
        try:
            prefix = layout.image_prefix(image_id)
        except ArgumentError:
            return False
        return self._storage.stat(f"{prefix}/{layout.GROUP}") is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._index.image_ids())

    def __getitem__(self, image_id: str) -> StoredImage:
        return self.record(image_id)

    def record(self, image_id: str) -> StoredImage:
        """Return the record of an image.

        Raises
        ------
        RecordNotFoundError
            If there is no such image (a KeyError).
        """
        if image_id not in self:
            meant = did_you_mean(image_id, self.list_image_ids())
            raise RecordNotFoundError(
                f"there is no image {image_id!r} in the dataset",
                where=str(self.path),
                hint=f"{meant}list_image_ids() tells which there are.",
            )
        return StoredImage(self._storage, image_id)

    def list_image_ids(self) -> list[str]:
        """Return the ids of all images, sorted."""
        return self._index.image_ids()

    def iter_records(
        self, order_by: OrderBy = "image_id", missing: MissingPlacement = "last"
    ) -> Iterator[StoredImage]:
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
        if order_by not in ("image_id", "created_utc", "acquired_local_epoch_ns"):
            raise ArgumentError(
                f"cannot order images by {order_by!r}",
                where="order_by",
                hint='Use "image_id", "created_utc" or "acquired_local_epoch_ns".',
            )
        if missing not in ("last", "first"):
            raise ArgumentError(f"{missing!r} is not 'last' or 'first'", where="missing")
        if order_by == "image_id":
            ids = self._index.image_ids()
        else:
            ids = self._index.ordered_ids(order_by, missing)
        return (StoredImage(self._storage, image_id) for image_id in ids)

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
    ) -> StoredImage:
        """Add an image; it becomes visible in one step, complete.

        Parameters
        ----------
        arr : array_like
            2-D to 5-D; bool, (u)int8-64, float16-64 or complex64-128. NumPy, memory-mapped,
            dask and zarr arrays are read block by block.
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
        StoredImage

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
        with self.new_record(image_id) as draft:
            draft.set_pixels(
                arr,
                axes=axes,
                chunks=chunks,
                channel_names=channel_names,
                line_period_s=line_period_s,
                pixel_size_um=pixel_size_um,
            )
            draft.commit()
        return StoredImage(self._storage, draft.image_id)

    def new_record(self, image_id: str | None = None) -> RecordDraft:
        """Return a record to be put together with its artifacts and committed in one step.

        Use it as a context manager; what is not committed when the block ends is dropped::

            with ds.new_record() as draft:
                draft.set_pixels(arr, axes="tyx")
                draft.save("json", "provenance", {"original_path": "/data/example.tif"})
                draft.commit()

        Raises
        ------
        RecordExistsError
            If there is an image of that id.
        """
        from kymflow_zarr.engine.images.draft import RecordDraft

        return RecordDraft(self._storage, image_id)

    @contextmanager
    def update_record(self, image_id: str) -> Iterator[RecordUpdate]:
        """Hold the lock of an image and give the means to change it, for ingest."""
        from kymflow_zarr.engine.images.update import RecordUpdate

        self._storage.require_writable()
        with (
            self._storage.lock(f"image:{image_id}"),
            Change(self._storage, layout.image_prefix(image_id)) as change,
        ):
            yield RecordUpdate(self._storage, image_id, change)

    def work_storage(self) -> LocalStorage:
        """Return what holds the bytes, for repair."""
        return self._storage

    def kept_files(self) -> KeptFiles:
        """Return the source files that belong to no single image, for ingest."""
        from kymflow_zarr.engine.source_files import KeptFiles

        return KeptFiles(self._storage)

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
        from kymflow_zarr.engine.images.thumbnails import forget_one

        self._storage.require_writable()
        record = self.record(image_id)
        with (
            self._storage.lock(f"image:{record.image_id}", *self._tables.scopes()),
            self._storage.lock("top"),
            Change(self._storage, "") as change,
        ):
            removed = self._tables.remove_image(change, image_id)
            change.remove(layout.image_prefix(image_id))
        forget_one(self._storage, record.image_id)
        return removed

    def load_sources_index(self) -> pd.DataFrame:
        """Return which file each image came from.

        Returns
        -------
        DataFrame
            One row for each TIFF: ``source_primary_path`` (absolute), ``image_id``,
            ``source_mtime_ns``, ``source_size_bytes``, ``ingested_epoch_ns`` (UTC, when the
            pixels were last read from it).
        """
        from kymflow_zarr.engine.index.images_dataframe import sources_index

        return sources_index(self._index.entries().values())

    # Index -----------------------------------------------------------------------------

    def load_manifest(self) -> dict[str, Any]:
        """Return what the index says of every image; never stale, and nothing is written.

        Returns
        -------
        dict
            ``format``, ``schema_version``, ``dataset_id``, ``created_utc`` and ``images``: for
            each image its ``image_id, shape, dtype, chunks, axes, created_utc, updated_utc,
            acquired_local_epoch_ns, analysis_keys``.
        """
        return self._manifest(self._index.entries())

    def update_manifest(self) -> dict[str, Any]:
        """Make the index anew from the documents, write it, and return the manifest."""
        from kymflow_zarr.engine.images.thumbnails import forget

        self._storage.require_writable()
        entries = self._index.rebuild()
        forget(self._storage, entries)
        return self._manifest(entries)

    def _manifest(self, entries: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "schema_version": FORMAT_VERSION,
            "dataset_id": self.dataset_id,
            "created_utc": self.created_utc,
            "images": list(entries.values()),
        }
