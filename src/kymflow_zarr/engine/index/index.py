"""The derived index of all images, which avoids reading every document again.

A row is trusted while its record's folder has the version that the row was made from. Each of
our writes changes an entry of that folder, and so its version. If versions come from a clock, a
folder that changed just before the scan might change again within the same tick, so its row is
not written ("racily clean", as in git's index).

The index holds no data of its own and may be deleted at any time.
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
from kymflow_zarr.engine.index.order import COLUMNS, from_bytes, to_bytes
from kymflow_zarr.errors import KymflowZarrError
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.types import MissingPlacement

if TYPE_CHECKING:
    import pyarrow as pa

    from kymflow_zarr.engine.index.file import Places

_RACY_S: Final = 2.0
# Writing the index costs as much as reading some dozens of documents, and grows with its size.
_WORTHWHILE: Final = 64
_WORTHWHILE_SHARE: Final = 0.02
_THREADS: Final = 4
# Their documents are read without keeping anything, faster than Arrow is loaded.
_FEW: Final = 16
EDITED: Final = layout.artifact_key("json", layout.METADATA)
"""The one document that people edit with a text editor."""


class Index:
    """The index of one dataset.

    Parameters
    ----------
    storage : Storage
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._unwritten_rows = UnwrittenRows()
        # Caches: the last listing of folder names with its ids, and positions in the file.
        self._listing: tuple[list[str], list[str]] = ([], [])
        self._places: Places | None = None

    def image_ids(self) -> list[str]:
        """Return the ids of the images, sorted, from the folder names."""
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
        """Return the ids sorted by a column of the order file, ties by id."""
        by = self._order_by(column)
        if by is None:
            from kymflow_zarr.engine.index.file import values

            table = self.columns([column])
            by = dict(zip(values(table, "image_id"), values(table, column), strict=True))
        ids = sorted(by)
        known = sorted([i for i in ids if by[i] is not None], key=by.__getitem__)
        unknown = [i for i in ids if by[i] is None]
        return known + unknown if missing == "last" else unknown + known

    def _order_by(self, column: str) -> dict[str, Any] | None:
        """Return the value of a column for each image, without Arrow.

        None if there is no usable order file, or if too many images have changed since.
        """
        try:
            data = self._storage.read(layout.ORDER)
        except KymflowZarrError:
            return None  # Derived data.
        order = None if data is None else from_bytes(data)
        if order is None:
            return None
        folders = self.versions()
        rows = zip(order.image_id, order.changed_ns, getattr(order, column), strict=True)
        by = {i: value for i, version, value in rows if folders.get(i) == version >= 0}
        stale = folders.keys() - by.keys()
        if len(stale) > _FEW:
            return None
        for row in self._read({image_id: folders[image_id] for image_id in stale}):
            by[row["image_id"]] = row[column]
        return by

    def entries(self) -> dict[str, dict[str, Any]]:
        """Return the manifest entry of each image, by id, sorted; never stale."""
        from kymflow_zarr.engine.index.file import entries_of

        return entries_of(self.columns(list(INDEX)))

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Return ``image_id``, ``changed_ns``, ``error`` and other columns; never stale.

        Parameters
        ----------
        names : sequence of str
            The other columns, of those in ``INDEX``.

        Returns
        -------
        pyarrow.Table
            A row for each image, sorted by id.
        """
        from kymflow_zarr.engine.index import file

        wanted = list(dict.fromkeys(["image_id", "changed_ns", "error", *names]))
        data = self._saved()
        with ThreadPoolExecutor(1) as other:
            # Arrow decodes the file while this thread reads the versions.
            unpacked = None if data is None else other.submit(file.from_bytes, data, wanted)
            folders = self.versions()
            known = None if unpacked is None else unpacked.result()
        if self._places is None:
            self._places = file.Places()
        current, stale = file.compare(known, folders, self._places)
        if not stale:
            return current
        gone = 0 if known is None else len(known) - len(current)
        keep = self._keeper(stale, len(folders), gone)
        if keep is None:
            return file.merged(current, self._unwritten(stale).select(wanted))
        fresh = file.table_of(self._read(stale))
        new = keep(fresh)
        if self._is_worthwhile(len(new) + gone, len(folders)):
            saved = None if data is None else file.from_bytes(data, list(INDEX))
            old = file.compare(saved, folders)[0]
            with contextlib.suppress(KymflowZarrError, OSError):
                self._write(file.merged(old, new))
        return file.merged(current, fresh.select(wanted))

    def rebuild(self) -> dict[str, dict[str, Any]]:
        """Rebuild the index from the documents, write it, and return its entries."""
        from kymflow_zarr.engine.index import file

        folders = self.versions()
        keep = self._keeper(folders, 0, len(folders))
        fresh = file.table_of(self._read(folders))
        if keep is not None:
            # A host that lists no folders knows the images from this file alone, so the rows that
            # may be outdated already are written too, as such.
            self._write(file.with_all_images(keep(fresh), fresh))
        return file.entries_of(fresh)

    def _unwritten(self, stale: Mapping[str, int]) -> pa.Table:
        """Return the rows of images that are not in the index file and not worth writing now."""
        from kymflow_zarr.engine.index import file

        cached, missing = self._unwritten_rows.current(stale)
        if not missing and cached is not None:
            return cached
        try:
            doubtful: Container[str] = self._unfinished()
        except (KymflowZarrError, OSError):
            doubtful = missing
        keep = self._unwritten_rows.keeper(missing, doubtful)
        fresh = file.table_of(self._read(missing))
        keep(fresh)
        return fresh if cached is None else file.merged(cached, fresh)

    def _saved(self) -> bytes | None:
        """Return the bytes of the index file; None where it cannot be read."""
        try:
            return self._storage.read(layout.MANIFEST)
        except KymflowZarrError:
            return None  # Derived data: the documents hold the same.

    def _unfinished(self) -> set[str]:
        """Return the images with a pending journal, whose versions cannot be trusted."""
        names = self._storage.unfinished(layout.IMAGES)
        return {i for i in map(layout.parse_image_folder, names) if i is not None}

    def versions(self) -> dict[str, int]:
        """Return the versions of the folders of all images, by id."""
        versions = self._storage.versions(layout.IMAGES, EDITED)
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
        """Return True if the number of changes is worth writing the index file."""
        return changes >= max(_WORTHWHILE, images * _WORTHWHILE_SHARE) or not images

    def _keeper(
        self, stale: Mapping[str, int], images: int, gone: int
    ) -> Callable[[pa.Table], pa.Table] | None:
        """Return a filter for the rows to write, None if writing is not worth it.

        Call it before reading the documents, so that later changes show in the versions.
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
        from kymflow_zarr.engine.index import file

        data = file.to_bytes(table)
        order = to_bytes({name: file.values(table, name) for name in COLUMNS})
        with self._storage.lock("index"), self._storage.transaction("") as transaction:
            transaction.put(layout.MANIFEST, data)
            transaction.put(layout.ORDER, order)
            transaction.remove(layout.EARLIER_MANIFEST)


class UnwrittenRows:
    """A cache of the rows that are not in the index file, for one open dataset.

    A read-only reader cannot tell when versions are settled. So a row is trusted if its
    documents were read two seconds after its version was first seen: any later write
    gives another version.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}
        self._rows: pa.Table | None = None

    def current(self, stale: Mapping[str, int]) -> tuple[pa.Table | None, dict[str, int]]:
        """Return the current rows of the given images, and the images without one."""
        from kymflow_zarr.engine.index import file

        rows = self._rows
        if rows is None:
            return None, dict(stale)
        return file.compare(rows, stale)

    def keeper(
        self, stale: Mapping[str, int], doubtful: Container[str]
    ) -> Callable[[pa.Table], None]:
        """Return a function that caches the rows of images; call this before reading them.

        Parameters
        ----------
        stale : mapping of str to int
            The images and their versions.
        doubtful : container of str
            Images whose rows must not be cached.
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
