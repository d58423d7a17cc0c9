"""Dataset-level tables: one Parquet file each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from kymflow_zarr import layout
from kymflow_zarr.engine.change import Change
from kymflow_zarr.engine.documents import require_dataset
from kymflow_zarr.engine.hints import did_you_mean
from kymflow_zarr.errors import TableNotFoundError
from kymflow_zarr.storage.interface import Storage, retried

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr.engine.query.sql import FileCache, FileSource


class Tables:
    """The tables of one dataset.

    Parameters
    ----------
    storage : Storage
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._sql_files: FileCache | None = None

    @retried
    def save(self, name: str, df: pd.DataFrame) -> str:
        """Write a table and return its key."""
        from kymflow_zarr.formats.dataframe.parquet import encode_parquet

        self.storage.require_writable()
        key = layout.table_key(name)
        data = encode_parquet(df)
        with self._lock(name), self.storage.lock("top"), Change(self.storage, "") as change:
            change.write(key, data)
        return key

    def load(self, name: str) -> pd.DataFrame:
        """Return a table."""
        from kymflow_zarr.formats.dataframe.parquet import decode_parquet

        data, key = self.read(name)
        return decode_parquet(data, where=key)

    def read(self, name: str) -> tuple[bytes, str]:
        """Return the bytes of a table and its key."""
        key = layout.table_key(name)
        data = self.storage.read(key)
        if data is None:
            raise self._missing(name)
        return data, key

    def source(self, name: str) -> FileSource:
        """Return a table as a source for SQL queries."""
        from kymflow_zarr.engine.query.sql import FileCache, FileSource

        if self._sql_files is None:
            self._sql_files = FileCache()
        stat = partial(self.storage.stat, layout.table_key(name))
        return FileSource(name, partial(self.read, name), stat, self._sql_files)

    def names(self) -> list[str]:
        """Return the names of the tables, sorted."""
        keys = (key for key, _ in self.storage.walk(layout.TABLES))
        names = sorted(name for name in map(layout.parse_table_key, keys) if name is not None)
        if not names:
            require_dataset(self.storage)
        return names

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each table, by its name, from the list of checksums."""
        from kymflow_zarr.engine.results.inputs import table_digests

        return table_digests(self.storage)

    def count_rows(self, name: str) -> dict[str, int] | None:
        """Return the number of rows of each image in a table; None if it has no image ids."""
        from kymflow_zarr.formats.rows.replace import count_rows

        key = layout.table_key(name)
        data = self.storage.read(key)
        return None if data is None else count_rows(data, where=key)

    @retried
    def delete(self, name: str) -> None:
        """Delete a table."""
        self.storage.require_writable()
        with self._lock(name):
            key = layout.table_key(name)
            if not self.exists(name):
                raise self._missing(name)
            with self.storage.lock("top"), Change(self.storage, "") as change:
                change.remove(key)

    @retried
    def replace_rows(
        self, name: str, rows: Mapping[str, pd.DataFrame], *, image_id_col: str
    ) -> None:
        """Replace the rows of some images in one rewrite; create the table if necessary."""
        from kymflow_zarr.formats.rows.replace import replace_rows

        self.storage.require_writable()
        key = layout.table_key(name)
        with self._lock(name):
            old = self.storage.read(key)
            new = replace_rows(old, rows, image_id_col=image_id_col, where=key)
            if new != old:
                with self.storage.lock("top"), Change(self.storage, "") as change:
                    change.write(key, new)

    def exists(self, name: str) -> bool:
        """Return True if there is a table of a name."""
        return self.storage.stat(layout.table_key(name)) is not None

    def scopes(self, names: Iterable[str] | None = None) -> list[str]:
        """Return the scopes to lock for a change of some tables, by default of all."""
        return [f"table:{name}" for name in (self.names() if names is None else names)]

    def remove_image(self, change: Change, image_id: str) -> int:
        """Add the removal of an image's rows from every table to a change; return their number.

        The caller holds the locks of :meth:`scopes`.
        """
        from kymflow_zarr.formats.rows.replace import names_image, remove_rows

        self.storage.require_writable()
        total = 0
        for name in self.names():
            key = layout.table_key(name)
            old = self.storage.read(key)
            if old is None or not names_image(old, image_id, where=key):
                continue
            new, removed = remove_rows(old, [image_id], where=key)
            change.write(key, new)
            total += removed
        return total

    def _lock(self, name: str) -> AbstractContextManager[None]:
        return self.storage.lock(f"table:{name}")

    def _missing(self, name: str) -> TableNotFoundError:
        return TableNotFoundError(
            f"there is no table {name!r} in the dataset",
            where=self.storage.location,
            hint=f"{did_you_mean(name, self.names())}list_table_names() tells which there are.",
        )
