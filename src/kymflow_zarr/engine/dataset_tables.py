"""The tables of a dataset, as methods of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from kymflow_zarr.engine.tables import Tables
from kymflow_zarr.storage.local.storage import LocalStorage

if TYPE_CHECKING:
    import pandas as pd


class DatasetTables:
    """Dataset-level tables; the base of :class:`OpenDataset`."""

    def __init__(self, storage: LocalStorage) -> None:
        self._storage = storage
        self._tables = Tables(storage)

    def save_table(self, name: str, df: pd.DataFrame) -> str:
        """Save a dataset-level table, replacing one of that name, and return its key.

        Raises
        ------
        UnsupportedDataError
            As for :meth:`StoredImage.save_df_parquet`.
        """
        return self._tables.save(name, df)

    def load_table(self, name: str) -> pd.DataFrame:
        """Return a table.

        Raises
        ------
        TableNotFoundError
            If there is none of that name (a FileNotFoundError).
        """
        return self._tables.load(name)

    def list_table_names(self) -> list[str]:
        """Return the names of the tables, sorted."""
        return self._tables.names()

    def delete_table(self, name: str) -> None:
        """Delete a table; TableNotFoundError if there is none of that name."""
        self._tables.delete(name)

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
        self._tables.replace_rows(name, {image_id: rows}, image_id_col=image_id_col)

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
        self._tables.replace_rows(name, rows, image_id_col=image_id_col)
