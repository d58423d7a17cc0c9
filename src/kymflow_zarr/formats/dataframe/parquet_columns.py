"""Columns of a large Parquet file as pandas decodes them, read one by one and by row group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.formats.dataframe.arrow_table import NOTE_KEY, parse_note, series_of
from kymflow_zarr.formats.dataframe.objects import Marker
from kymflow_zarr.formats.dataframe.parquet import register_pandas_types

__all__ = ["ParquetColumns"]

_NULLABLE: Final[dict[Any, Any]] = {pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype()}


class ParquetColumns:
    """The columns of a Parquet file; those of the index come first, as in a data frame.

    Parameters
    ----------
    opened : callable
        Opens the file, seekable. It is closed after each read: an open file cannot be replaced
        on Windows.
    where : str
        Name of the file for errors.

    Attributes
    ----------
    fields : mapping of str to str
        The field in the file of each column.
    starts : ndarray of int64, shape (row groups + 1,)
        First row of each row group, and the number of rows.

    Raises
    ------
    CorruptDataError
        If the file is damaged; `read` raises it too.
    """

    def __init__(
        self, opened: Callable[[], AbstractContextManager[BinaryIO]], *, where: str
    ) -> None:
        register_pandas_types()
        self._opened = opened
        self._where = where
        try:
            with opened() as file:
                self._footer = pq.read_metadata(file)
                self._schema = self._footer.schema.to_arrow_schema()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(error) from error
        schema = self._schema
        note = parse_note((schema.metadata or {}).get(NOTE_KEY), where=where)
        fits = note is not None and list(note["columns"]) == schema.names
        self._note: Marker | None = note if fits else None
        groups = [self._footer.row_group(i) for i in range(self._footer.num_row_groups)]
        self.starts = np.cumsum([0, *(group.num_rows for group in groups)])
        self.fields: Mapping[str, str] = self._named(schema.names)

    def _named(self, fields: Sequence[str]) -> dict[str, str]:
        note: Marker = {} if self._note is None else self._note["index"]
        index: list[str] = note.get("fields", [])
        names = [str("index" if name is None else name) for name in note.get("names", [])]
        named = dict(zip(names, index, strict=False))
        for field in fields:
            if field not in index:
                free = field
                while free in named:
                    free += "'"
                named[free] = field
        return named

    def kind_of(self, name: str) -> str | None:
        """Return "number", "time" or "text"; None if the values of the column have to tell."""
        field = self.fields[name]
        marker = None if self._note is None else self._note["columns"][field]
        if marker is not None and marker["kind"] not in ("numpy", "datetime", "string"):
            return None
        arrow_type = self._schema.field(field).type
        is_a = pa.types
        if is_a.is_integer(arrow_type) or is_a.is_floating(arrow_type):
            return "number"
        if is_a.is_timestamp(arrow_type):
            return "time"
        return "text" if is_a.is_string(arrow_type) or is_a.is_large_string(arrow_type) else None

    def read(
        self, names: Sequence[str], groups: Iterable[int] | None = None, rows: Any = None
    ) -> list[pd.Series[Any]]:
        """Read columns.

        Parameters
        ----------
        names : sequence of str
        groups : iterable of int, optional
            The row groups to read; all if left out.
        rows : ndarray of int, optional
            Positions among the rows of these row groups; all if left out.
        """
        groups = range(self._footer.num_row_groups) if groups is None else groups
        fields = [self.fields[name] for name in names]
        try:
            with self._opened() as file:
                parquet = pq.ParquetFile(
                    file, metadata=self._footer, page_checksum_verification=True
                )
                table = parquet.read_row_groups(list(groups), columns=fields)
        except Exception as error:  # pyarrow raises many exception types on corrupt input.
            raise self._damaged(error) from error
        if rows is not None:
            table = table.take(pa.array(rows))
        return [self._decoded(table, name) for name in names]

    def _decoded(self, table: pa.Table, name: str) -> pd.Series[Any]:
        field = self.fields[name]
        values: pd.Series[Any]
        if self._note is None:
            values = table[field].to_pandas(types_mapper=_NULLABLE.get)
        else:
            values = series_of(table, field, self._note, None)
        return values.rename(name)

    def _damaged(self, error: Exception) -> CorruptDataError:
        return CorruptDataError(f"not a readable Parquet file: {error}", where=self._where)
