"""The derived index: what every image is, without reading every document again.

A row is trusted while the time of its record's folder is the one it was made from. Each
write of ours goes through that folder and so changes its time. A folder that changed within
two seconds of the scan might change again within the resolution of its clock, so its row
is not kept ("racily clean", as in git's index).

Nothing is ever only here: the index may be deleted at any time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import require_dataset
from kymflow_zarr.engine.index.manifest import entries_of, values
from kymflow_zarr.engine.index.rest import Rest
from kymflow_zarr.engine.index.row import COLUMNS, Row, read_row
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.storage.local.storage import LocalStorage
from kymflow_zarr.types import MissingPlacement

if TYPE_CHECKING:
    import pyarrow as pa

    from kymflow_zarr.engine.index.file import Places

_RACY_NS: Final = 2_000_000_000
# To write the index costs what some dozens of documents cost to read, and grows with it.
_WORTHWHILE: Final = 64
_WORTHWHILE_SHARE: Final = 0.02
_THREADS: Final = 4


class Index:
    """The index of one dataset.

    Parameters
    ----------
    storage : LocalStorage
    """

    def __init__(self, storage: LocalStorage) -> None:
        self._storage = storage
        self._rest = Rest()
        # What only names can change: the last listing with its ids, and their places in the file.
        self._listing: tuple[list[str], list[str]] = ([], [])
        self._places: Places | None = None

    def image_ids(self) -> list[str]:
        """Return the ids of the images, sorted, from the folders themselves."""
        folders = self._storage.list_folders(layout.IMAGES)
        if not folders:
            require_dataset(self._storage)
        before, ids = self._listing
        if folders != before:
            parsed = layout.parse_image_folders(folders)
            ids = sorted([image_id for image_id in parsed if image_id is not None])
            self._listing = folders, ids
        return ids.copy()

    def ordered_ids(self, column: str, missing: MissingPlacement) -> list[str]:
        """Return the ids in the order of a column, and where that is equal, of the ids."""
        import pyarrow.compute as pc

        table = self.columns([column])
        by: Any = table[column].combine_chunks()
        # The rows are in the order of ids, and Arrow's sorting is stable, nulls last.
        ordered = values(table.select(["image_id"]).take(pc.sort_indices(by)), "image_id")
        if missing == "last":
            return ordered
        valid = len(by) - by.null_count
        return ordered[valid:] + ordered[:valid]

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return what the manifest says of each image, by id in order; never stale."""
        return entries_of(self.columns(list(COLUMNS)))

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Return ``image_id``, ``changed_ns`` and other columns of all images; never stale.

        Parameters
        ----------
        names : sequence of str
            Of the other columns, out of ``COLUMNS``.

        Returns
        -------
        pyarrow.Table
            A row for each image, in the order of their ids.
        """
        from kymflow_zarr.engine.index import file

        wanted = list(dict.fromkeys(["image_id", "changed_ns", *names]))
        data = self._storage.read(layout.MANIFEST)
        with ThreadPoolExecutor(1) as other:
            # Arrow unpacks the file while this thread asks for times.
            unpacked = None if data is None else other.submit(file.from_bytes, data, wanted)
            found = self._found()
            known = None if unpacked is None else unpacked.result()
        if self._places is None:
            self._places = file.Places()
        current, stale = file.compare(known, found, self._places)
        if not stale:
            return current
        gone = 0 if known is None else len(known) - len(current)
        keep = self._keeper(stale, len(found), gone)
        if keep is None:
            return file.merged(current, self._unwritten(stale).select(wanted))
        fresh = file.table_of(self._read(stale))
        kept = None if data is None else file.from_bytes(data, list(COLUMNS))
        old = file.compare(kept, found)[0]
        with contextlib.suppress(KymflowZarrError, OSError):
            self._write(file.merged(old, keep(fresh)))
        return file.merged(current, fresh.select(wanted))

    def rebuild(self) -> dict[str, dict[str, Any]]:
        """Make the index anew from the documents, write it, and return its entries."""
        from kymflow_zarr.engine.index import file

        found = self._found()
        keep = self._keeper(found, 0, len(found))
        fresh = file.table_of(self._read(found))
        if keep is not None:
            self._write(keep(fresh))
        return entries_of(fresh)

    def _unwritten(self, stale: Mapping[str, int]) -> pa.Table:
        """Return the rows of images that the index does not hold and is not to get now."""
        from kymflow_zarr.engine.index import file

        kept, missing = self._rest.current(stale)
        if not missing and kept is not None:
            return kept
        try:
            doubtful: Container[str] = self._unfinished()
        except (KymflowZarrError, OSError):
            doubtful = missing
        keep = self._rest.keeper(missing, doubtful)
        fresh = file.table_of(self._read(missing))
        keep(fresh)
        return fresh if kept is None else file.merged(kept, fresh)

    def _unfinished(self) -> set[str]:
        """Return the images that a journal speaks of: their time may say nothing of them."""
        names = self._storage.unfinished(layout.IMAGES)
        return {i for i in map(layout.parse_image_folder, names) if i is not None}

    def _found(self) -> dict[str, int]:
        """Return the images that are there, by id, and the times of their folders."""
        times = self._storage.folder_times(layout.IMAGES)
        if not times:
            require_dataset(self._storage)
        folders = list(times)
        ids = layout.parse_image_folders(folders)
        if ids is folders:
            return times
        pairs = zip(ids, times.values(), strict=True)
        return {image_id: time_ns for image_id, time_ns in pairs if image_id is not None}

    def _read(self, images: Mapping[str, int]) -> list[Row]:
        def read(image: tuple[str, int]) -> Row | None:
            return read_row(self._storage, *image)

        rows: Iterable[Row | None]
        ordered = sorted(images.items())
        if len(ordered) < _WORTHWHILE:
            rows = map(read, ordered)
        else:
            with ThreadPoolExecutor(_THREADS) as pool:
                rows = list(pool.map(read, ordered))
        return [row for row in rows if row is not None]

    def _keeper(
        self, stale: Mapping[str, int], images: int, gone: int
    ) -> Callable[[pa.Table], pa.Table] | None:
        """Return what picks the rows that may be kept, None if writing them is not worth it.

        To be called before the documents are read: a change after that shows in the time.
        """
        if not self._storage.writable:
            return None
        if len(stale) + gone < max(_WORTHWHILE, images * _WORTHWHILE_SHARE) and images:
            return None
        try:
            before_ns = self._storage.now_ns() - _RACY_NS
            doubtful = self._unfinished()
        except (KymflowZarrError, OSError):
            return None

        def keep(rows: pa.Table) -> pa.Table:
            import pyarrow as pa

            pairs = zip(values(rows, "image_id"), values(rows, "changed_ns"), strict=True)
            good = [name not in doubtful and time_ns < before_ns for name, time_ns in pairs]
            return rows.filter(pa.array(good, pa.bool_()))

        return keep

    def _write(self, table: pa.Table) -> None:
        from kymflow_zarr.engine.index.file import to_bytes

        data = to_bytes(table)
        with self._storage.lock("index"):
            self._storage.write(layout.MANIFEST, data, anchor="")
            self._storage.delete(layout.EARLIER_MANIFEST, anchor="")
