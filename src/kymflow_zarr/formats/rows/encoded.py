"""A table as its encoded columns, between the file and pandas."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.formats.dataframe.arrow_table import (
    NOTE_KEY,
    index_field,
    parse_note,
    table_of,
    to_arrow_table,
)
from kymflow_zarr.formats.dataframe.columns import decode_column, decode_labels, encode_labels
from kymflow_zarr.formats.dataframe.objects import Marker
from kymflow_zarr.formats.dataframe.parquet import decode_parquet, open_table, table_to_bytes
from kymflow_zarr.formats.rows.unite import (
    Column,
    append_column,
    append_missing,
    keep_rows,
    missing_before,
)

__all__ = ["Rows", "names_any", "note_of", "united_labels"]


class Rows:
    """An encoded table, column by column."""

    def __init__(self, columns: dict[str, Column], note: Marker, rows: int) -> None:
        self.columns = columns
        self.note = note
        self.rows = rows

    @classmethod
    def of_table(cls, table: pa.Table, note: Marker) -> Rows:
        """Return the rows of an Arrow table, given its note."""
        columns = {
            name: Column(name, table[name], note["columns"][name]) for name in table.column_names
        }
        index = note["index"]
        if columns and index["kind"] == "range" and index["name"] is not None:
            # Numbers with a name, such as those of frames, belong to their rows.
            level = index_field(index["name"], 0, columns)
            labels = np.arange(index["start"], index["stop"], index["step"], dtype=np.int64)
            marker = {"kind": "numpy", "dtype": "int64"}
            columns[level] = Column(level, pa.chunked_array([labels]), marker)
            note = {
                **note,
                "index": {"kind": "single", "names": [index["name"]], "fields": [level]},
                "columns": {**note["columns"], level: marker},
            }
        return cls(columns, note, table.num_rows)

    @classmethod
    def of_dataframe(cls, df: pd.DataFrame) -> Rows:
        """Return the rows of a data frame."""
        table = to_arrow_table(df)
        note = parse_note(table.schema.metadata[NOTE_KEY], where="the new rows")
        assert note is not None
        return cls.of_table(table, note)

    @classmethod
    def of_bytes(cls, data: bytes, *, where: str) -> Rows:
        """Return the rows of an encoded table."""
        table, note = open_table(data, where=where)
        if note is None:
            # Of another program: pandas decides once what its dtypes are.
            return cls.of_dataframe(decode_parquet(data, where=where))
        return cls.of_table(table, note)

    def without(
        self, image_ids: Collection[str], image_id_col: str, *, where: str
    ) -> tuple[Rows, int]:
        """Return the rows that are not of some images, and how many are."""
        level_fields = self.note["index"].get("fields", [])
        column = self.columns.get(image_id_col)
        if column is None or image_id_col in level_fields:
            raise ArgumentError(
                f"the table has no column {image_id_col!r}",
                where=where,
                hint="Name the column that holds the image ids with image_id_col",
            )
        mask = pc.invert(names_any(column, image_ids))
        kept = {name: keep_rows(each, mask) for name, each in self.columns.items()}
        left = int(pc.sum(mask).as_py() or 0)
        note = {**self.note, "index": _without_freq(self.note["index"])}
        return Rows(kept, note, left), self.rows - left

    def followed_by(self, more: Rows) -> Rows:
        """Return these rows with others below them."""
        columns = {}
        for name in [*self.columns, *(name for name in more.columns if name not in self.columns)]:
            if name not in more.columns:
                columns[name] = append_missing(self.columns[name], more.rows)
            elif name not in self.columns:
                columns[name] = missing_before(more.columns[name], self.rows)
            else:
                columns[name] = append_column(self.columns[name], more.columns[name])
        levels = self.note["index"].get("fields", [])
        ordered = {name: column for name, column in columns.items() if name not in levels}
        ordered |= {name: columns[name] for name in levels}
        labels = united_labels(self.note["labels"], more.note["labels"])
        note = {**self.note, "labels": labels, "index": _without_freq(self.note["index"])}
        return Rows(ordered, note, self.rows + more.rows)

    def to_table(self) -> pa.Table:
        """Return the rows as an Arrow table."""
        markers = {name: column.marker for name, column in self.columns.items()}
        arrays = [column.array for column in self.columns.values()]
        return table_of(arrays, list(self.columns), note_of(self.note, markers, self.rows))

    def to_bytes(self) -> bytes:
        """Return the rows as an encoded table."""
        return table_to_bytes(self.to_table())


def note_of(note: Marker, markers: Mapping[str, Marker], rows: int) -> Marker:
    """Return the note of a table of other rows: its labels and ``attrs`` stay."""
    index = _without_freq(note["index"])
    if index["kind"] == "range":
        index = {**index, "start": 0, "stop": rows, "step": 1}
    return {**note, "rows": rows, "index": index, "columns": dict(markers)}


def _without_freq(index: Marker) -> Marker:
    return {key: value for key, value in index.items() if key != "freq"}


def names_any(column: Column, image_ids: Collection[str]) -> Any:
    """Return, for each row, whether it is about one of the images; ids compare as text."""
    array = column.array
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return pc.is_in(array, value_set=pa.array(list(image_ids), array.type))
    found = array.unique().drop_null()
    marker = {key: value for key, value in column.marker.items() if key != "nulls"}
    if marker["kind"] == "category":
        marker = marker["cells"]
    named = [str(value) in image_ids for value in decode_column(found, marker)]
    return pc.is_in(array, value_set=found.filter(pa.array(named, pa.bool_())))


def united_labels(old: Marker, new: Marker) -> Marker:
    """Return the note of the column labels of two tables together."""
    if old["multi"] or new["multi"]:
        raise ArgumentError("tables with several levels of column labels cannot get other rows")
    before, after = (decode_labels(labels["levels"][0]) for labels in (old, new))
    texts = {str(label): label for label in before}
    added = []
    for label in after:
        if str(label) not in texts:
            added.append(label)
        elif texts[str(label)] != label:
            raise ArgumentError(
                f"column {texts[str(label)]!r} of the table is called {label!r} in the new rows"
            )
    if not added:
        return old
    united = before.append(pd.Index(added, dtype=after.dtype))
    return {**old, "levels": [encode_labels(united, "the column labels")]}
