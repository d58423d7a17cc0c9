"""The derived index: what every image is, without reading every document again.

A row is trusted while the version of its record's folder is the one it was made from. Each
write of ours goes through that folder and so changes its version. Where versions come from a
clock, a folder that changed just before the scan might change again within the same tick, so
its row is not written ("racily clean", as in git's index).

Nothing is ever only here: the index may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr import layout
from kymflow_zarr.engine.documents import require_dataset
from kymflow_zarr.engine.index.columns import INDEX, NEVER_TRUSTED, Row, read_row
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import MissingPlacement

if TYPE_CHECKING:
    import pyarrow as pa

    from kymflow_zarr.engine.index.file import Places

_RACY_S: Final = 2.0
# To write the index costs what some dozens of documents cost to read, and grows with it.
_WORTHWHILE: Final = 64
_WORTHWHILE_SHARE: Final = 0.02
_THREADS: Final = 4
# The one document that people edit with a text editor.
_EDITED: Final = layout.artifact_key("json", layout.METADATA)


class Index:
    """The index of one dataset.

    Parameters
    ----------
    storage : Storage
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._unwritten_rows = UnwrittenRows()
        # What only names can change: the last listing with its ids, and their places in the file.
        self._listing: tuple[list[str], list[str]] = ([], [])
        self._places: Places | None = None

    def image_ids(self) -> list[str]:
        """Return the ids of the images, sorted, from the folders themselves."""
        folders = self._storage.children(layout.IMAGES)
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

        from kymflow_zarr.engine.index.file import values

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
        from kymflow_zarr.engine.index.file import entries_of

        return entries_of(self.columns(list(INDEX)))

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Return ``image_id``, ``changed_ns``, ``error`` and other columns; never stale.

        Parameters
        ----------
        names : sequence of str
            Of the other columns, out of ``INDEX``.

        Returns
        -------
        pyarrow.Table
            A row for each image, in the order of their ids.
        """
        from kymflow_zarr.engine.index import file

        wanted = list(dict.fromkeys(["image_id", "changed_ns", "error", *names]))
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
        new = keep(fresh)
        if self._is_worthwhile(len(new) + gone, len(found)):
            saved = None if data is None else file.from_bytes(data, list(INDEX))
            old = file.compare(saved, found)[0]
            with contextlib.suppress(KymflowZarrError, OSError):
                self._write(file.merged(old, new))
        return file.merged(current, fresh.select(wanted))

    def rebuild(self) -> dict[str, dict[str, Any]]:
        """Rebuild the index from the documents, write it, and return its entries."""
        from kymflow_zarr.engine.index import file

        found = self._found()
        keep = self._keeper(found, 0, len(found))
        fresh = file.table_of(self._read(found))
        if keep is not None:
            self._write(keep(fresh))
        return file.entries_of(fresh)

    def _unwritten(self, stale: Mapping[str, int]) -> pa.Table:
        """Return the rows of images that the index does not hold and is not to get now."""
        from kymflow_zarr.engine.index import file

        kept, missing = self._unwritten_rows.current(stale)
        if not missing and kept is not None:
            return kept
        try:
            doubtful: Container[str] = self._unfinished()
        except (KymflowZarrError, OSError):
            doubtful = missing
        keep = self._unwritten_rows.keeper(missing, doubtful)
        fresh = file.table_of(self._read(missing))
        keep(fresh)
        return fresh if kept is None else file.merged(kept, fresh)

    def _unfinished(self) -> set[str]:
        """Return the images that a journal speaks of: their time may say nothing of them."""
        names = self._storage.unfinished(layout.IMAGES)
        return {i for i in map(layout.parse_image_folder, names) if i is not None}

    def _found(self) -> dict[str, int]:
        """Return the images that are there, by id, and the versions of their folders."""
        versions = self._storage.versions(layout.IMAGES, _EDITED)
        if not versions:
            require_dataset(self._storage)
        folders = list(versions)
        ids = layout.parse_image_folders(folders)
        if ids is folders:
            return versions
        pairs = zip(ids, versions.values(), strict=True)
        return {image_id: version for image_id, version in pairs if image_id is not None}

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

    @staticmethod
    def _is_worthwhile(changes: int, images: int) -> bool:
        """Return True if so many changes are worth a new index file."""
        return changes >= max(_WORTHWHILE, images * _WORTHWHILE_SHARE) or not images

    def _keeper(
        self, stale: Mapping[str, int], images: int, gone: int
    ) -> Callable[[pa.Table], pa.Table] | None:
        """Return a filter for the rows to write, None if writing them is not worth it.

        Call it before the documents are read: a change after that shows in the time.
        """
        if not self._storage.writable:
            return None
        if not self._is_worthwhile(len(stale) + gone, images):
            return None
        try:
            settled = self._storage.settled()
            doubtful = self._unfinished()
        except (KymflowZarrError, OSError):
            return None

        def keep(rows: pa.Table) -> pa.Table:
            import pyarrow as pa

            from kymflow_zarr.engine.index.file import values

            pairs = zip(values(rows, "image_id"), values(rows, "changed_ns"), strict=True)
            good = [
                name not in doubtful and version != NEVER_TRUSTED and settled(version)
                for name, version in pairs
            ]
            return rows.filter(pa.array(good, pa.bool_()))

        return keep

    def _write(self, table: pa.Table) -> None:
        from kymflow_zarr.engine.index.file import to_bytes

        data = to_bytes(table)
        with self._storage.lock("index"), self._storage.transaction("") as transaction:
            transaction.put(layout.MANIFEST, data)
            transaction.remove(layout.EARLIER_MANIFEST)


class UnwrittenRows:
    """The rows that are not in the index file, cached for one open dataset.

    A reader that may not write cannot ask for the time by the clock of the file system. So a
    row is trusted if its documents were read two seconds after the time of its folder was first
    seen: whatever is written later has another time.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}
        self._rows: pa.Table | None = None

    def current(self, stale: Mapping[str, int]) -> tuple[pa.Table | None, dict[str, int]]:
        """Return the rows that are current of some images, and the images that have none."""
        from kymflow_zarr.engine.index import file

        rows = self._rows
        if rows is None:
            return None, dict(stale)
        return file.compare(rows, stale)

    def keeper(
        self, stale: Mapping[str, int], doubtful: Container[str]
    ) -> Callable[[pa.Table], None]:
        """Return a function that caches the rows of images; call this before they are read.

        Parameters
        ----------
        stale : mapping of str to int
            The images and the times of their folders.
        doubtful : container of str
            Those whose rows are not to be kept.
        """
        now = time.monotonic()
        before = self._seen
        seen = {image_id: (time_ns, now) for image_id, time_ns in stale.items()}
        for image_id, (time_ns, _) in seen.items():
            known = before.get(image_id)
            if known is not None and known[0] == time_ns:
                seen[image_id] = known
        self._seen = seen
        ripe = {
            image_id
            for image_id, (time_ns, first) in seen.items()
            if now - first >= _RACY_S and time_ns >= 0 and image_id not in doubtful
        }

        def keep(rows: pa.Table) -> None:
            self._keep(rows, ripe)

        return keep

    def _keep(self, rows: pa.Table, ripe: set[str]) -> None:
        import pyarrow as pa

        from kymflow_zarr.engine.index import file

        pairs = zip(rows["image_id"].to_pylist(), rows["changed_ns"].to_pylist(), strict=True)
        trusted = [image_id in ripe and time_ns != NEVER_TRUSTED for image_id, time_ns in pairs]
        good = rows.filter(pa.array(trusted, pa.bool_()))
        if not len(good):
            return
        old = self._rows
        if old is not None:
            new = set(good["image_id"].to_pylist())
            others = [image_id not in new for image_id in old["image_id"].to_pylist()]
            good = file.merged(old.filter(pa.array(others, pa.bool_())), good)
        self._rows = good.select(list(INDEX))
