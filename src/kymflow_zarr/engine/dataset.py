"""An open dataset: its storage, document, index and tables."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar

from kymflow_zarr import layout
from kymflow_zarr.engine.addresses import is_address, open_address, open_shared
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.hints import did_you_mean
from kymflow_zarr.engine.image import StoredImage
from kymflow_zarr.engine.index.index import EDITED, Index
from kymflow_zarr.engine.opening import (
    NONE_OLDER,
    OlderFormats,
    dataset_path,
    open_on,
    open_storage,
    read_document,
)
from kymflow_zarr.engine.tables import Tables
from kymflow_zarr.errors import (
    ArgumentError,
    KymflowZarrError,
    RecordNotFoundError,
    StorageError,
)
from kymflow_zarr.schema.base import FORMAT, FORMAT_VERSION
from kymflow_zarr.storage.interface import Storage, retried
from kymflow_zarr.storage.read_only import readable_file
from kymflow_zarr.storage.shares.detect import is_shared_dataset
from kymflow_zarr.types import (
    ArtifactKind,
    Axis,
    Durability,
    MissingPlacement,
    Mode,
    OrderBy,
    Progress,
    StrPath,
)

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas as pd

    from kymflow_zarr.engine.images.draft import RecordDraft
    from kymflow_zarr.engine.images.update import RecordUpdate
    from kymflow_zarr.engine.index.names import Named
    from kymflow_zarr.engine.query.gather import PartCache
    from kymflow_zarr.engine.query.map import MapResult
    from kymflow_zarr.engine.results.compute import Computation, ComputeReport, Each, Only
    from kymflow_zarr.engine.results.questions import AllResults
    from kymflow_zarr.engine.source_files import SourceFiles
    from kymflow_zarr.formats.dataframe.parquet_columns import ParquetColumns
    from kymflow_zarr.formats.rows.gather import Part
    from kymflow_zarr.schema.base import DatasetDocument
    from kymflow_zarr.storage.traffic import Traffic

R = TypeVar("R")

# Of rows that were gathered, so that the next question about them reads only what has changed.
_CACHED_BYTES: Final = 128 << 20


class OpenDataset:
    """An open dataset; :class:`~kymflow_zarr.ZarrDataset` forwards to it and documents it.

    Parameters
    ----------
    storage : Storage
    document : DatasetDocument
    mode : {"r", "r+", "a", "w", "w-"}

    Attributes
    ----------
    storage : Storage
    mode : str
    index : Index
        Shared by all listings of this dataset.
    tables : Tables
    """

    def __init__(self, storage: Storage, document: DatasetDocument, mode: Mode) -> None:
        self.storage = storage
        self.mode = mode
        self.index = Index(storage)
        self.tables = Tables(storage)
        self._document = document
        self._parts: PartCache | None = None

    @classmethod
    def open(
        cls,
        path: StrPath,
        mode: Mode = "a",
        *,
        durability: Durability = "full",
        older_formats: OlderFormats = NONE_OLDER,
        storage_options: Mapping[str, Any] | None = None,
        shared: bool = False,
    ) -> Self:
        """Open, or create, the dataset in a folder or at an address."""
        if is_address(path):
            if shared:
                raise ArgumentError(
                    "shared is for folders; any number of hosts write to a bucket anyway",
                    where="shared",
                )
            storage, document = open_address(str(path), mode, storage_options)
            return cls(storage, document, mode)
        if storage_options is not None:
            raise ArgumentError(
                "storage_options are for addresses, and this is the path of a folder",
                where="storage_options",
            )
        folder = dataset_path(path)
        if shared or is_shared_dataset(folder):
            storage, document = open_shared(folder, mode, durability)
            return cls(storage, document, mode)
        storage, document = open_storage(folder, mode, durability, older_formats)
        # The default mode opens a dataset of unknown origin for reading only.
        return cls(storage, document, mode if storage.writable else "r")

    @classmethod
    def on(cls, storage: Storage) -> Self:
        """Open the dataset of a storage; create it if there is none and the storage is writable."""
        return cls(storage, open_on(storage), "r+" if storage.writable else "r")

    @property
    def path(self) -> Path:
        """The dataset's folder.

        Raises
        ------
        StorageError
            If the dataset is at an address.
        """
        if is_address(self.location):
            raise StorageError(
                "the dataset is not in a folder", where=self.location, hint="Use location."
            )
        return Path(self.location)

    @property
    def location(self) -> str:
        """Where the dataset is: the path of its folder, or its address."""
        return self.storage.location

    def chosen_ids(self, image_ids: Iterable[str] | None) -> list[str]:
        """Return ids, each once, all of the dataset by default; refuse one text, a likely slip."""
        if isinstance(image_ids, str):
            raise ArgumentError(
                "image_ids is one text, not a list of ids",
                where="image_ids",
                hint="Put it into [ ].",
            )
        return self.list_image_ids() if image_ids is None else list(dict.fromkeys(image_ids))

    def traffic(self) -> Traffic | None:
        """Return the requests to the store or host of the dataset; None of a folder."""
        return self.storage.traffic()

    @property
    def dataset_id(self) -> str:
        """Id of the dataset, set once when it is created."""
        return self._document.dataset_id

    @property
    def created_utc(self) -> str:
        """When the dataset was created: ISO 8601, UTC."""
        return self._document.created_utc

    def require_writable(self) -> None:
        """Raise ReadOnlyError (a PermissionError) if the mode is ``"r"``."""
        self.storage.require_writable()

    def close(self) -> None:
        """Release the session; the dataset is complete on disk after every call anyway."""
        self.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.index.image_ids())

    def __bool__(self) -> bool:
        # An empty dataset is still a dataset.
        return True

    def __contains__(self, image_id: object) -> bool:
        if not isinstance(image_id, str):
            return False
        try:
            prefix = layout.image_prefix(image_id)
        except ArgumentError:
            return False
        return self.storage.stat(f"{prefix}/{layout.GROUP}") is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.index.image_ids())

    def __getitem__(self, image_id: str) -> StoredImage:
        return self.record(image_id)

    def record(self, image_id: str) -> StoredImage:
        """Return the record of an image."""
        if image_id not in self:
            meant = did_you_mean(image_id, self.list_image_ids())
            raise RecordNotFoundError(
                f"there is no image {image_id!r} in the dataset",
                where=self.location,
                hint=f"{meant}list_image_ids() tells which there are.",
            )
        return StoredImage(self.storage, image_id)

    def list_image_ids(self) -> list[str]:
        """Return the ids of all images, sorted."""
        return self.index.image_ids()

    def iter_records(
        self, order_by: OrderBy = "image_id", missing: MissingPlacement = "last"
    ) -> Iterator[StoredImage]:
        """Yield the record of each image."""
        if order_by not in ("image_id", "created_utc", "acquired_local_epoch_ns"):
            raise ArgumentError(
                f"cannot order images by {order_by!r}",
                where="order_by",
                hint='Use "image_id", "created_utc" or "acquired_local_epoch_ns".',
            )
        if missing not in ("last", "first"):
            raise ArgumentError(f"{missing!r} is not 'last' or 'first'", where="missing")
        if order_by == "image_id":
            ids = self.index.image_ids()
        else:
            ids = self.index.ordered_ids(order_by, missing)
        return (StoredImage(self.storage, image_id) for image_id in ids)

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
        """Add an image; it becomes visible in one step, complete."""
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
        return StoredImage(self.storage, draft.image_id)

    def new_record(self, image_id: str | None = None) -> RecordDraft:
        """Return a draft of a record, to be committed with its artifacts in one step."""
        from kymflow_zarr.engine.images.draft import RecordDraft

        return RecordDraft(self.storage, image_id)

    @contextmanager
    def update_record(self, image_id: str) -> Iterator[RecordUpdate]:
        """Lock an image and yield an update of it: a former public name."""
        from kymflow_zarr.engine.images.update import RecordUpdate

        with self.image_lock(image_id), RecordUpdate(self.storage, image_id) as update:
            yield update

    def image_lock(self, image_id: str) -> AbstractContextManager[None]:
        """Return the lock of an image, for a ``with`` statement of the caller."""
        self.storage.require_writable()
        return self.storage.lock(f"image:{image_id}")

    @property
    def source_files(self) -> SourceFiles:
        """The source files that belong to no single image."""
        from kymflow_zarr.engine.source_files import SourceFiles

        return SourceFiles(self.storage)

    @retried
    def delete_image(self, image_id: str) -> int:
        """Delete an image with all its artifacts, and its rows in all tables."""
        from kymflow_zarr.engine.images.thumbnails import forget_one

        self.storage.require_writable()
        record = self.record(image_id)
        with (
            self.storage.lock(f"image:{record.image_id}", *self.tables.scopes()),
            self.storage.lock("top"),
            Change(self.storage, "") as change,
        ):
            removed = self.tables.remove_image(change, image_id)
            change.remove(layout.image_prefix(image_id))
        forget_one(self.storage, record.image_id)
        return removed

    def load_sources_index(self) -> pd.DataFrame:
        """Return the source file of each image."""
        from kymflow_zarr.engine.index.images_dataframe import sources_index

        return sources_index(self.index.entries().values())

    def load_manifest(self) -> dict[str, Any]:
        """Return the index entry of every image; never stale, and nothing is written."""
        return self._manifest(self.index.entries())

    def update_manifest(self) -> dict[str, Any]:
        """Rebuild the index from the documents, write it, and return the manifest."""
        from kymflow_zarr.engine.images.thumbnails import forget

        self.storage.require_writable()
        entries = self.index.rebuild()
        forget(self.storage, entries)
        return self._manifest(entries)

    def _manifest(self, entries: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "schema_version": FORMAT_VERSION,
            "dataset_id": self.dataset_id,
            "created_utc": self.created_utc,
            "images": list(entries.values()),
        }

    # Tables

    def save_table(self, name: str, df: pd.DataFrame) -> str:
        """Save a dataset-level table, replacing one of that name, and return its key."""
        return self.tables.save(name, df)

    def load_table(self, name: str) -> pd.DataFrame:
        """Return a table."""
        return self.tables.load(name)

    def list_table_names(self) -> list[str]:
        """Return the names of the tables, sorted."""
        return self.tables.names()

    def delete_table(self, name: str) -> None:
        """Delete a table; raise TableNotFoundError if there is none of that name."""
        self.tables.delete(name)

    def replace_rows_for_image_id(
        self, name: str, image_id: str, rows: pd.DataFrame, *, image_id_col: str = "image_id"
    ) -> None:
        """Replace the rows of one image in a table."""
        self.tables.replace_rows(name, {image_id: rows}, image_id_col=image_id_col)

    def replace_rows_for_image_ids(
        self, name: str, rows: Mapping[str, pd.DataFrame], *, image_id_col: str = "image_id"
    ) -> None:
        """Replace the rows of many images in one rewrite of a table."""
        self.tables.replace_rows(name, rows, image_id_col=image_id_col)

    # Questions about all images

    def images(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return a data frame with a row for each image, without reading pixels."""
        from kymflow_zarr.engine.index.images_dataframe import images_frame

        if isinstance(columns, str):
            columns = [columns]
        return images_frame(self.index, self.tables, columns)

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
    ) -> Any:
        """Return one data-frame artifact of all images as one data frame."""
        from kymflow_zarr.engine.query.gather import (
            Gatherer,
            PartCache,
            cached_parts,
            gather,
            read_part,
            report_of,
        )
        from kymflow_zarr.formats.rows.gather import gather_arrow, gather_dataframe

        _check_form(as_, "dataset")
        gatherer = Gatherer(self.storage, name, kind)
        options: Any = {
            "missing": missing,
            "on_error": on_error,
            "executor": executor,
            "progress": progress,
        }
        chosen = None if ids is None else _several(ids)
        if as_ == "dataset":
            from kymflow_zarr.formats.rows.gather import dataset_of

            read_lazily = functools.partial(self._lazy_part, gatherer.keys)
            files, errors = gather(self.index, gatherer, read_lazily, chosen, **options)
            return dataset_of(files, report_of(errors))
        if executor is None:
            if self._parts is None:
                self._parts = PartCache(self.storage, _CACHED_BYTES)
            read = functools.partial(read_part, self.storage, gatherer.keys, self._parts)
            options["cached"] = functools.partial(
                cached_parts, self.storage, gatherer.keys, self._parts
            )
        else:
            read = functools.partial(self._part, gatherer.keys)
        parts, errors = gather(self.index, gatherer, read, chosen, **options)
        if as_ == "arrow":
            return gather_arrow(parts).replace_schema_metadata(report_of(errors))
        frame = gather_dataframe(parts)
        if errors:
            frame.attrs["errors"] = {image_id: str(error) for image_id, error in errors.items()}
        return frame

    def _part(self, keys: Mapping[ArtifactKind, str], image_id: str) -> Part | None:
        # A method, because datasets pickle and storages do not.
        from kymflow_zarr.engine.query.gather import read_part

        return read_part(self.storage, keys, None, image_id)

    def _lazy_part(self, keys: Mapping[ArtifactKind, str], image_id: str) -> bytes | None:
        from kymflow_zarr.engine.query.gather import read_lazy_part

        return read_lazy_part(self.storage, keys, image_id)

    def save_table_from(
        self,
        name: str,
        artifact: str,
        kind: ArtifactKind | None = None,
        *,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ) -> str:
        """Save a table of one data-frame artifact of all images, and return its key."""
        self.storage.require_writable()
        rows = self.gather(artifact, kind, executor=executor, progress=progress)
        return self.tables.save(name, rows)

    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        as_: Literal["pandas", "arrow"] = "pandas",
    ) -> Any:
        """Return the result of a query in DuckDB's SQL."""
        from kymflow_zarr.engine.query.sql import artifact_sources, ask, table_sources, to_pandas

        _check_form(as_)
        if not isinstance(query, str):
            raise ArgumentError(f"a query is text, not {type(query).__name__}", where="query")
        table = ask(
            query,
            table_sources(self, self.tables),
            lambda: artifact_sources(self, self.index),
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
        """Call a function for the record of each image, in parallel."""
        from kymflow_zarr.engine.query.map import map_images

        chosen = self.index.image_ids() if ids is None else list(dict.fromkeys(_several(ids)))
        return map_images(self, fn, chosen, executor=executor, progress=progress)

    # Results

    def results(self, name: str | None = None) -> pd.DataFrame:
        """Return a row for each result of each image."""
        return self._all_results().frame(name)

    def stale(self, name: str | None = None) -> pd.DataFrame:
        """Return a row for each result that is out of date, with the reason."""
        return self._all_results().stale(name)

    def compare_results(
        self, name: str, variant: str | None, other: str | None, on: Sequence[str] | None
    ) -> pd.DataFrame:
        """Return the values of two variants of a result, side by side."""
        from kymflow_zarr.engine.results.questions import compare

        rows = functools.partial(self._rows_of_results, self._all_results(), name)
        return compare(rows(variant), rows(other), (variant, other), on)

    def _rows_of_results(
        self, everything: AllResults, name: str, variant: str | None
    ) -> dict[str, pd.DataFrame]:
        from kymflow_zarr.engine.results.compute import rows_of

        by_image = everything.of_variant(name, variant)
        return {
            image_id: rows_of(self, image_id, results) for image_id, results in by_image.items()
        }

    def _all_results(self) -> AllResults:
        from kymflow_zarr.engine.results.questions import AllResults

        return AllResults(self.index.columns(["results"]), self.tables.digests)

    def compute(
        self,
        computation: Computation,
        *,
        ids: Iterable[str] | None,
        only: Only,
        roi: Each,
        channel: Each,
        executor: Executor | None,
        progress: Progress | None,
        table: str | None,
    ) -> ComputeReport:
        """Compute a result of many images: what is missing or out of date."""
        from kymflow_zarr.engine.results.compute import compute

        return compute(
            self, computation, ids=None if ids is None else _several(ids), only=only, roi=roi,
            channel=channel, executor=executor, progress=progress, table=table,
        )  # fmt: skip

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.storage,)

    # Files as they are

    @contextmanager
    def open_table(self, name: str) -> Iterator[io.BufferedReader]:
        """Open the Parquet file of a table."""
        with self.storage.open(layout.table_key(name)) as file:
            if file is None:
                self.tables.read(name)  # Its error lists the tables that exist.
            yield readable_file(file)

    def images_edited_since(self, table: str) -> list[str]:
        """Return the images whose events were edited after a table that holds events was saved.

        A table holds events if it has the columns ``image_id`` and ``user_type``. When a table was
        saved is known for datasets in folders only; for others the list is empty.
        """
        from kymflow_zarr.storage.local.storage import LocalStorage

        if not isinstance(self.storage, LocalStorage):
            return []
        names = self.table_columns(table).fields
        if "image_id" not in names or "user_type" not in names:
            return []
        saved = self.storage.path(layout.table_key(table)).stat().st_mtime
        ids = set(self.table_columns(table).read(["image_id"])[0].dropna())
        versions = self.storage.versions(layout.IMAGES)
        # Nanoseconds, give or take the resolution of the file system's clock.
        late = [image_id for image_id in sorted(ids & versions.keys())
                if versions[image_id] >= (saved - 2) * 1e9]  # fmt: skip
        return [image_id for image_id in late if self._has_events_edited(image_id, saved)]

    def _has_events_edited(self, image_id: str, since: float) -> bool:
        try:
            history = self.record(image_id).curation().history
        except KymflowZarrError:
            return False
        return any(
            dt.datetime.fromisoformat(edit.when_utc).timestamp() > since
            and any(change.what in ("event", "event_type") for change in edit.changes)
            for edit in history
        )

    def named_images(self) -> list[Named]:
        """Return what each image is called by, in the order of the ids."""
        from kymflow_zarr.engine.index.names import Named

        table = self.index.columns(["rel_path", "source_path", "source_image"])
        listed = (table[name].to_pylist() for name in
                  ("image_id", "rel_path", "source_path", "source_image"))  # fmt: skip
        return [
            Named(image_id, rel_path or source_path or "", part or "")
            for image_id, rel_path, source_path, part in zip(*listed, strict=True)
        ]

    def image_names(self) -> dict[str, str]:
        """Return the name of each image by id."""
        from kymflow_zarr.engine.index.names import names_of

        return names_of(self.named_images())

    def find(self, text: str) -> StoredImage:
        """Return the image of a name."""
        from kymflow_zarr.engine.index.names import find_one

        return self.record(find_one(text, self.named_images(), where=self.storage.location))

    def table_columns(self, name: str) -> ParquetColumns:
        """Open a table to read it by column and by row group."""
        from kymflow_zarr.formats.dataframe.parquet_columns import ParquetColumns

        return ParquetColumns(lambda: self.open_table(name), where=layout.table_key(name))

    def change_token(self, table: str | None = None) -> str:
        """Return a token that changes when any image, or the given table, changes."""
        seen: list[tuple[str, int, int]] = []
        if table is None:
            times = self.storage.versions(layout.IMAGES, EDITED)
            seen += [(name, time_ns, 0) for name, time_ns in sorted(times.items())]
            tables = self.tables.names()
        else:
            tables = [table]
        for key in map(layout.table_key, tables):
            stat = self.storage.stat(key)
            seen.append((key, *((0, -1) if stat is None else (stat.version, stat.size))))
        return hashlib.sha256(repr(seen).encode()).hexdigest()

    def number_of_rows(self, table: str) -> int:
        """Return the number of rows of a table, from its footer."""
        import pyarrow.parquet as pq

        key = layout.table_key(table)
        with self.storage.open(key) as file:
            rows: int = pq.read_metadata(readable_file(file)).num_rows
            return rows


def _check_form(as_: str, *more: str) -> None:
    known = ("pandas", "arrow", *more)
    if as_ not in known:
        raise ArgumentError(f"{as_!r} is not one of {', '.join(map(repr, known))}", where="as_")


def _several(ids: Iterable[str]) -> list[str]:
    # A str is a sequence too, of its characters.
    return [ids] if isinstance(ids, str) else list(ids)


@functools.lru_cache(maxsize=8)
def _reopened(storage: Storage) -> OpenDataset:
    """Return the unpickled dataset, one per process and storage.

    Otherwise each task would load the index again, which costs more than most images. The mode
    is never one that creates or empties.
    """
    mode: Mode = "r+" if storage.writable else "r"
    return OpenDataset(storage, read_document(storage), mode)
