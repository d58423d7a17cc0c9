"""Tables as encoded Arrow columns, concatenated without decoding them to pandas.

Appending rows changes no value and no dtype: two columns are joined in a type that holds both
unchanged, or refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.formats.dataframe.arrow_table import (
    NOTE_KEY,
    from_arrow_table,
    index_field,
    note_of_rows,
    parse_note,
    require_unique,
    table_of,
    to_arrow_table,
)
from kymflow_zarr.formats.dataframe.columns import (
    decode_column,
    decode_labels,
    encode_column,
    encode_labels,
    whole,
)
from kymflow_zarr.formats.dataframe.objects import Marker, null_marker, null_positions
from kymflow_zarr.formats.dataframe.parquet import decode_parquet, open_table, table_to_bytes

__all__ = [
    "Column",
    "Rows",
    "append_column",
    "append_missing",
    "keep_rows",
    "missing_before",
    "names_any",
    "note_of",
    "repeated",
    "same_form",
    "united_labels",
    "without_nulls",
]


_ORDER = ["s", "ms", "us", "ns"]


@dataclass(frozen=True, slots=True)
class Column:
    """An encoded column: its values and the marker that decodes them."""

    name: str
    array: Any
    marker: Marker

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.array)

    @property
    def all_null(self) -> bool:
        """True if no row has a value."""
        return bool(self.array.null_count == len(self.array))

    def renamed(self, name: str) -> Column:
        """Return the column under another name."""
        return self if name == self.name else replace(self, name=name)

    @property
    def family(self) -> str:
        """The kind of its values: ``int``, ``float``, ``bool``, ``text`` or others."""
        return _family(self.marker)


def _family(marker: Marker) -> str:
    kind = marker["kind"]
    if kind == "object":
        cells = str(marker["cells"])
        return {"str": "text"}.get(cells, cells)
    if kind == "string":
        return "text"
    if kind in ("numpy", "nullable"):
        letter = np.dtype(_number_type(marker)).kind
        return {"i": "int", "u": "int", "f": "float", "b": "bool"}[letter]
    return str(kind)


def repeated(name: str, value: int | str, rows: int) -> Column:
    """Return a column with the same value in each row."""
    array, marker = encode_column(pd.Series([value]), f"column {name!r}")
    return Column(name, pa.repeat(whole(array)[0], rows), marker)


class _CannotJoinError(Exception):
    """Raised if two types have no common one; the message says why."""


def append_missing(column: Column, rows: int) -> Column:
    """Append `rows` missing values; integers become pandas' nullable integers."""
    if rows == 0:
        return column
    nullable = _nullable(column)
    nulls = pa.chunked_array([_nulls(rows, nullable.array.type)])
    return _stack(nullable, Column(nullable.name, nulls, without_nulls(nullable.marker)))


def missing_before(column: Column, rows: int) -> Column:
    """Put `rows` missing values before the column's own."""
    if rows == 0:
        return column
    nullable = _nullable(column)
    nulls = pa.chunked_array([_nulls(rows, nullable.array.type)])
    return _stack(Column(nullable.name, nulls, without_nulls(nullable.marker)), nullable)


def append_column(old: Column, new: Column) -> Column:
    """Append the rows of `new` to `old`.

    Raises
    ------
    ArgumentError
        If no dtype holds the values of both unchanged; names the column and both types.
    """
    try:
        return _append(old, new)
    except (_CannotJoinError, pa.ArrowException) as error:
        raise ArgumentError(
            f"column {old.name!r} holds {_describe(old)} in the table and {_describe(new)} "
            f"in the new rows: {error}",
            hint="Convert the new rows to the table's type, or save the whole table again",
        ) from error


def _append(old: Column, new: Column) -> Column:
    if same_form(old, new):
        return _stack(old, new)
    # A column without values does not determine the common type.
    for empty, other in ((new, old), (old, new)):
        if empty.all_null and _says_nothing(empty.marker, other.marker):
            return _with_nulls(old, new, empty, other)
    try:
        return _join(old, new)
    except (_CannotJoinError, pa.ArrowException):
        for empty, other in ((new, old), (old, new)):
            if empty.all_null:
                return _with_nulls(old, new, empty, other)
        raise


def _with_nulls(old: Column, new: Column, empty: Column, other: Column) -> Column:
    if empty is new:
        return append_missing(other, new.rows)
    return missing_before(other, old.rows)


def _says_nothing(empty: Marker, other: Marker) -> bool:
    # pandas gives a column without values the dtype object, or float with NaN.
    if empty["kind"] == "object":
        return bool(empty["cells"] == "null")
    return empty["kind"] == "numpy" and _family(empty) == "float" != _family(other)


def same_form(old: Column, new: Column) -> bool:
    """Return True if the rows of both can be concatenated unchanged."""
    same = without_nulls(old.marker) == without_nulls(new.marker)
    return same and old.array.type == new.array.type


def without_nulls(marker: Marker) -> Marker:
    """Return a marker without positions of nulls."""
    return {key: value for key, value in marker.items() if key not in ("null", "nulls")}


def _stack(old: Column, new: Column) -> Column:
    chunks = [*old.array.chunks, *new.array.chunks]
    array = pa.chunked_array(chunks, type=old.array.type)
    if pa.types.is_dictionary(array.type):
        array = array.unify_dictionaries()
    marker = without_nulls(old.marker)
    if marker["kind"] == "object":
        places = null_positions(old.array, old.marker)
        for name, positions in null_positions(new.array, new.marker).items():
            before = places.get(name, np.array([], dtype=np.int64))
            places[name] = np.concatenate([before, positions + old.rows])
        marker = {**marker, **null_marker(places)}
    return Column(old.name, array, marker)


def _nulls(rows: int, arrow_type: Any) -> Any:
    plain: Any = pa.nulls
    if isinstance(arrow_type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(arrow_type, plain(rows, arrow_type.storage_type))
    return plain(rows, arrow_type)


def _nullable(column: Column) -> Column:
    marker = column.marker
    if marker["kind"] == "numpy" and (kind := np.dtype(marker["dtype"]).kind) != "f":
        nullable = {"kind": "nullable", "dtype": _nullable_name(np.dtype(marker["dtype"]))}
        return Column(column.name, column.array, nullable if kind in "iub" else marker)
    if marker["kind"] == "interval" and marker["ends"].get("dtype", "float")[:3] in ("int", "uin"):
        raise ArgumentError(
            f"column {column.name!r} holds intervals of integers, which cannot be missing",
            hint="Make their ends floating-point numbers",
        )
    return column


def _nullable_name(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "b":
        return "boolean"
    name = dtype.name
    return name.replace("uint", "UInt") if dtype.kind == "u" else name.capitalize()


def _join(old: Column, new: Column) -> Column:
    kinds = {old.marker["kind"], new.marker["kind"]}
    families = {_family(old.marker), _family(new.marker)}
    if families <= {"int", "float"} or families == {"bool"}:
        return _join_numbers(old, new)
    if families == {"text"}:
        return _join_text(old, new)
    if "category" in kinds:
        return _join_categories(old, new)
    if len(kinds) > 1:
        raise _CannotJoinError("there is no type for both")
    kind = kinds.pop()
    if kind in ("datetime", "timedelta"):
        return _join_times(old, new)
    if kind == "object" and old.marker["cells"] == new.marker["cells"]:
        return _join_objects(old, new)
    raise _CannotJoinError("there is no type for both")


def _number_type(marker: Marker) -> str:
    if marker["kind"] == "object":
        return {"int": "int64", "float": "float64", "bool": "bool"}[marker["cells"]]
    dtype = pd.api.types.pandas_dtype(marker["dtype"])
    return np.dtype(dtype.type).name


def _join_numbers(old: Column, new: Column) -> Column:
    types = [np.dtype(column.array.type.to_pandas_dtype()) for column in (old, new)]
    plain = old.marker["kind"] == new.marker["kind"] == "numpy"
    letters = {dtype.kind for dtype in types}
    if letters == {"b"}:
        targets: list[np.dtype[Any]] = [np.dtype(bool)]
    elif letters == {"i", "u"} and np.result_type(*types).kind == "f":
        targets = [np.dtype(np.int64), np.dtype(np.uint64)]
    elif "f" in letters and len(letters) > 1:
        # Arrow has no checked cast from integers to float16.
        targets = [np.result_type(*types, np.float32)]
    else:
        targets = [np.result_type(*types)]
    for target in targets:
        try:
            arrays = [_cast_numbers(column.array, target) for column in (old, new)]
        except pa.ArrowException:
            continue
        name = target.name if plain else _nullable_name(target)
        marker = {"kind": "numpy" if plain else "nullable", "dtype": name}
        return _stack(*(Column(old.name, array, marker) for array in arrays))
    raise _CannotJoinError(f"not every integer fits {targets[0].name}")


def _cast_numbers(array: Any, target: np.dtype[Any]) -> Any:
    if target == np.float16:
        return array
    return array.cast(pa.from_numpy_dtype(target), safe=True)


def _join_text(old: Column, new: Column) -> Column:
    target = old.array.type
    if new.array.type != target:
        target = pa.large_string()
    joined, added = old.marker, old.marker
    if old.marker["kind"] == "object":
        plain: Marker = {"kind": "object", "cells": "str"}
        joined = plain | _nulls_of(old.marker)
        given = new.marker
        added = plain | (
            _nulls_of(given) if given["kind"] == "object" else {"null": given["missing"]}
        )
    return _stack(
        Column(old.name, old.array.cast(target), joined),
        Column(new.name, new.array.cast(target), added),
    )


def _nulls_of(marker: Marker) -> Marker:
    return {key: marker[key] for key in ("null", "nulls") if key in marker}


def _join_times(old: Column, new: Column) -> Column:
    if _zone(old.marker) != _zone(new.marker):
        raise _CannotJoinError("convert one of them with dt.tz_convert or dt.tz_localize")
    unit = max(old.marker["unit"], new.marker["unit"], key=_ORDER.index)
    if old.marker["kind"] == "timedelta":
        target: Any = pa.duration(unit)
    else:
        target = pa.timestamp(unit, tz=old.array.type.tz)
    marker = {**old.marker, "unit": unit}
    return _stack(*(Column(old.name, c.array.cast(target), marker) for c in (old, new)))


def _zone(marker: Marker) -> Marker:
    # pandas 2 and 3 take the same zone from different libraries.
    return {key: value for key, value in marker.get("zone", {}).items() if key != "library"}


def _join_objects(old: Column, new: Column) -> Column:
    """Join nested cells of different Arrow types by encoding them together."""
    values = np.concatenate([decode_column(c.array, c.marker) for c in (old, new)])
    array, marker = encode_column(
        pd.Series(values, dtype=object, copy=False), f"column {old.name!r}"
    )
    return Column(old.name, pa.chunked_array([array]), marker)


def _join_categories(old: Column, new: Column) -> Column:
    if old.marker["kind"] != "category":
        if _family(old.marker) == "text" and pa.types.is_dictionary(new.array.type):
            plain = new.array.cast(old.array.type)
            return _join_text(old, Column(new.name, plain, {"kind": "string", "missing": "nan"}))
        raise _CannotJoinError("there is no type for both")
    if new.marker["kind"] != "category":
        if _family(new.marker) != "text" or not pa.types.is_dictionary(old.array.type):
            raise _CannotJoinError("there is no type for both")
        new = _as_category(new, old)
    elif old.marker["ordered"] != new.marker["ordered"]:
        raise _CannotJoinError("only one of them is ordered")
    before, after = (decode_labels(c.marker["categories"]) for c in (old, new))
    if len(after) and len(before) and before.dtype != after.dtype:
        if not (_textual(before) and _textual(after)):
            raise _CannotJoinError("their categories are of different types")
        after = after.astype(before.dtype)
    fresh = after[~after.isin(before)]
    if old.marker["ordered"] and (len(fresh) or _reordered(before, after, new)):
        raise _CannotJoinError("their ordered categories differ")
    leading = old if len(before) else new
    categories = (
        before.append(fresh) if len(before) and len(fresh) else (before if len(before) else after)
    )
    marker = {**leading.marker, "categories": encode_labels(categories, "the categories")}
    target = leading.array.type
    if pa.types.is_dictionary(target):
        target = pa.dictionary(pa.int32(), target.value_type)
    return _stack(*(Column(old.name, c.array.cast(target), marker) for c in (old, new)))


def _as_category(column: Column, model: Column) -> Column:
    array = column.array.cast(model.array.type.value_type).dictionary_encode()
    known = decode_labels(model.marker["categories"])
    values: list[str] = array.cast(model.array.type.value_type).unique().drop_null().to_pylist()
    labels = [*known, *sorted(set(values) - set(known))]
    index = pd.Index(labels, dtype=known.dtype) if labels else known
    marker = {**model.marker, "categories": encode_labels(index, "the categories")}
    return Column(column.name, array, marker)


def _reordered(before: pd.Index, after: pd.Index, new: Column) -> bool:
    return bool(new.rows) and not before.equals(after)


def _textual(labels: pd.Index) -> bool:
    return pd.api.types.infer_dtype(labels) in ("string", "empty")


def _describe(column: Column) -> str:
    marker = column.marker
    kind = marker["kind"]
    if kind == "object":
        return f"objects ({marker['cells']})"
    if kind == "category":
        return "ordered categories" if marker["ordered"] else "categories"
    if kind == "datetime":
        return f"times ({column.array.type})"
    if kind == "string":
        return "text"
    return str(marker.get("dtype", column.array.type))


def keep_rows(column: Column, mask: Any) -> Column:
    """Keep the rows where the Boolean Arrow array `mask` is true."""
    array = column.array.filter(mask)
    marker = column.marker
    if "nulls" in marker:
        keep = np.asarray(mask)
        moved = np.cumsum(keep) - 1
        places = null_positions(column.array, marker)
        left = {name: moved[where[keep[where]]] for name, where in places.items()}
        marker = without_nulls(marker) | null_marker({k: v for k, v in left.items() if len(v)})
    return Column(column.name, array, marker)


class Rows:
    """An encoded table, column by column."""

    def __init__(self, columns: dict[str, Column], note: Marker, rows: int) -> None:
        self.columns = columns
        self.note = note
        self.rows = rows

    @property
    def nbytes(self) -> int:
        """What the values take in memory."""
        return sum(column.array.nbytes for column in self.columns.values())

    @classmethod
    def of_table(cls, table: pa.Table, note: Marker) -> Rows:
        """Return the rows of an Arrow table, given its note."""
        columns = {
            name: Column(name, table[name], note["columns"][name]) for name in table.column_names
        }
        index = note["index"]
        if columns and index["kind"] == "range" and index["name"] is not None:
            # A named range index, such as frame numbers, belongs to its rows.
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
    def of_columns(cls, columns: Iterable[Column]) -> Rows:
        """Return the rows of columns of one length, numbered from 0.

        Raises
        ------
        UnsupportedDataError
            If two of them have the same name.
        """
        columns = list(columns)
        require_unique([column.name for column in columns])
        # One chunk each: the pages of the written file follow the chunks.
        named = {
            column.name: replace(column, array=pa.chunked_array([whole(column.array)]))
            for column in columns
        }
        count = next((column.rows for column in named.values()), 0)
        note = note_of_rows(pd.Index(list(named)), count, {n: c.marker for n, c in named.items()})
        return cls(named, note, count)

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
            # Written by another program: let pandas choose the dtypes once.
            return cls.of_dataframe(decode_parquet(data, where=where))
        return cls.of_table(table, note)

    def without(
        self, image_ids: Collection[str], image_id_col: str, *, where: str
    ) -> tuple[Rows, int]:
        """Return the rows without those of some images, and the number of rows removed."""
        level_fields = self.note["index"].get("fields", [])
        column = self.columns.get(image_id_col)
        if column is None or image_id_col in level_fields:
            raise ArgumentError(
                f"the table has no column {image_id_col!r}",
                where=where,
                hint="Name the column that holds the image ids with image_id_col",
            )
        mask = pc.invert(names_any(column, image_ids))
        columns = {name: keep_rows(each, mask) for name, each in self.columns.items()}
        left = int(pc.sum(mask).as_py() or 0)
        note = {**self.note, "index": _without_freq(self.note["index"])}
        return Rows(columns, note, left), self.rows - left

    def followed_by(self, more: Rows) -> Rows:
        """Return these rows followed by others."""
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

    def to_dataframe(self) -> pd.DataFrame:
        """Return the rows as a data frame."""
        table = self.to_table()
        note = parse_note(table.schema.metadata[NOTE_KEY], where="the rows")
        assert note is not None
        return from_arrow_table(table, note)

    def to_bytes(self) -> bytes:
        """Return the rows as an encoded table."""
        return table_to_bytes(self.to_table())


def note_of(note: Marker, markers: Mapping[str, Marker], rows: int) -> Marker:
    """Return a note for other rows, with the same labels and ``attrs``."""
    index = _without_freq(note["index"])
    if index["kind"] == "range":
        index = {**index, "start": 0, "stop": rows, "step": 1}
    return {**note, "rows": rows, "index": index, "columns": dict(markers)}


def _without_freq(index: Marker) -> Marker:
    return {key: value for key, value in index.items() if key != "freq"}


def names_any(column: Column, image_ids: Collection[str]) -> Any:
    """Return a mask of the rows of the given images; ids are compared as text."""
    array = column.array
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return pc.is_in(array, value_set=pa.array(list(image_ids), array.type))
    distinct = array.unique().drop_null()
    marker = {key: value for key, value in column.marker.items() if key != "nulls"}
    if marker["kind"] == "category":
        marker = marker["cells"]
    named = [str(value) in image_ids for value in decode_column(distinct, marker)]
    return pc.is_in(array, value_set=distinct.filter(pa.array(named, pa.bool_())))


def united_labels(old: Marker, new: Marker) -> Marker:
    """Return the united column labels of two tables, as a note."""
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
