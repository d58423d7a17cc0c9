"""Convert object columns (Python values) to Arrow arrays and back.

A pandas column of dtype ``object`` may hold anything. One kind of value per column is
supported; the column's marker stores it as ``cells``, and the positions of each of
pandas' four nulls, since Arrow has only one.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kymflow_zarr.errors import UnsupportedDataError

__all__ = [
    "NOT_TEXT_HINT",
    "Marker",
    "as_storage",
    "decode_objects",
    "encode_objects",
    "null_marker",
    "null_positions",
    "same_value",
]

Marker = dict[str, Any]
"""Facts about a column that Arrow cannot express, as JSON."""

NOT_TEXT_HINT = (
    "Names of files that are not UTF-8 hold bytes, not text; decode them first, for example with "
    "os.fsencode(name).decode('latin-1')"
)

_NULLS: dict[str, Any] = {"None": None, "nan": math.nan, "NA": pd.NA, "NaT": pd.NaT}

_INT64 = range(-(2**63), 2**63)
_UINT64 = range(2**64)
_FLAT: dict[type, tuple[str, Any]] = {
    str: ("str", pa.string()),
    bool: ("bool", pa.bool_()),
    float: ("float", pa.float64()),
    bytes: ("bytes", pa.binary()),
    dt.date: ("date", pa.date32()),
    dt.time: ("time", pa.time64("us")),
    decimal.Decimal: ("decimal", None),
}
_HINTS: dict[type, str] = {
    complex: "Store the real and the imaginary part as two columns",
    dt.datetime: "Convert the column with pandas.to_datetime",
    pd.Timestamp: "Convert the column with pandas.to_datetime",
    dt.timedelta: "Convert the column with pandas.to_timedelta",
    pd.Timedelta: "Convert the column with pandas.to_timedelta",
    set: "Turn the sets into sorted lists",
}


def encode_objects(values: np.ndarray, what: str) -> tuple[Any, Marker]:
    """Convert an object array to an Arrow array and the marker that decodes it.

    Parameters
    ----------
    values : numpy.ndarray
        One-dimensional, dtype object.
    what : str
        Name of the column for errors.

    Raises
    ------
    UnsupportedDataError
        If the values have several types, or one that cannot be stored.
    """
    nulls = _find_nulls(values)
    present = [value for value in values if _null_name(value) is None]
    types = set(map(type, present))
    marker: Marker = {"kind": "object"}
    if len(types) == 1 and issubclass(only := next(iter(types)), np.generic):
        marker["scalar"] = np.dtype(only).name if only is not np.str_ else "str"
        present = [value.item() for value in present]
        types = set(map(type, present))
    if types == {float}:
        nulls.pop("nan", None)
    cells = _with_none(values, nulls, unwrap="scalar" in marker)
    marker |= null_marker(nulls)
    if not types:
        return pa.nulls(len(values)), {"cells": "null", **marker}
    if len(types) > 1:
        names = sorted(kind.__name__ for kind in types)
        raise UnsupportedDataError(
            f"{what} mixes values of the types {', '.join(names)}",
            hint="Give the column one type, or split it into several",
        )
    array, extra = _encode_cells(next(iter(types)), cells, what)
    return array, {**marker, **extra}


def decode_objects(array: Any, marker: Marker) -> np.ndarray:
    """Undo `encode_objects`; `array` may have been stored in a file meanwhile."""
    array = as_storage(array)
    null = _NULLS[marker.get("null", "None")]
    out = np.empty(len(array), dtype=object)
    back = _decoder(marker)
    for position, value in enumerate(_cell_values(array, marker)):
        out[position] = null if value is None else back(value)
    for name, positions in marker.get("nulls", {}).items():
        for position in positions:
            out[position] = _NULLS[name]
    return out


def null_positions(array: Any, marker: Marker) -> dict[str, np.ndarray]:
    """Undo `null_marker`: return the positions of an object column's nulls, by name."""
    missing = np.asarray(array.is_null())
    places = {}
    for name, positions in marker.get("nulls", {}).items():
        places[name] = np.array(positions, dtype=np.int64)
        missing[places[name]] = False
    usual = np.flatnonzero(missing)
    return {marker.get("null", "None"): usual, **places} if len(usual) else places


def same_value(a: Any, b: Any) -> bool:
    """Return True if two cells are equal in value and type; NaN equals NaN."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return (
            isinstance(a, np.ndarray)
            and isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        )
    a = a.item() if isinstance(a, np.generic) else a
    b = b.item() if isinstance(b, np.generic) else b
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return len(a) == len(b) and all(key in b and same_value(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_value, a, b))
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    return a is b or bool(a == b)


def as_storage(array: Any) -> Any:
    """Return the storage of an Arrow extension array, whose type may not be registered."""
    if not isinstance(array.type, pa.BaseExtensionType):
        return array
    storage_type: Any = array.type.storage_type
    if isinstance(array, pa.ChunkedArray):
        chunks: list[Any] = array.chunks
        return pa.chunked_array([chunk.storage for chunk in chunks], type=storage_type)
    return array.storage


def _null_name(value: Any) -> str | None:
    if value is None:
        return "None"
    if value is pd.NA:
        return "NA"
    if value is pd.NaT:
        return "NaT"
    return "nan" if isinstance(value, float) and value != value else None


def _find_nulls(values: np.ndarray) -> dict[str, list[int]]:
    positions: dict[str, list[int]] = {}
    for position in np.flatnonzero(pd.isna(values)).tolist():
        name = _null_name(values[position])
        if name is not None:
            positions.setdefault(name, []).append(position)
    return positions


def null_marker(nulls: Mapping[str, Sequence[int] | np.ndarray]) -> Marker:
    """Return a marker of which null stood where; `nulls` holds positions by name."""
    if not nulls:
        return {}
    usual = max(sorted(nulls), key=lambda name: len(nulls[name]))
    marker: Marker = {} if usual == "None" else {"null": usual}
    others = {name: [int(at) for at in nulls[name]] for name in sorted(nulls) if name != usual}
    return {**marker, "nulls": others} if others else marker


def _with_none(values: np.ndarray, nulls: dict[str, list[int]], *, unwrap: bool) -> list[Any]:
    cells: list[Any] = list(values)
    if unwrap:
        cells = [value.item() if isinstance(value, np.generic) else value for value in cells]
    for positions in nulls.values():
        for position in positions:
            cells[position] = None
    return cells


def _encode_cells(kind: type, cells: list[Any], what: str) -> tuple[Any, Marker]:
    if kind in _FLAT:
        name, arrow_type = _FLAT[kind]
        if name == "time" and any(cell is not None and cell.tzinfo for cell in cells):
            raise UnsupportedDataError(f"{what} holds times of day with a time zone")
        return _arrow(cells, arrow_type, what), {"cells": name}
    if kind is int:
        present = [cell for cell in cells if cell is not None]
        low, high = min(present), max(present)
        if low in _INT64 and high in _INT64:
            return pa.array(cells, pa.int64()), {"cells": "int"}
        if low in _UINT64 and high in _UINT64:
            return pa.array(cells, pa.uint64()), {"cells": "int"}
        raise UnsupportedDataError(
            f"{what} holds integers of more than 64 bit", hint="Store them as text"
        )
    if kind in (list, tuple, dict):
        return _encode_nested(kind, cells, what)
    if kind is np.ndarray:
        return _encode_arrays(cells, what)
    raise UnsupportedDataError(
        f"{what} holds objects of the type {kind.__module__}.{kind.__qualname__}",
        hint=_HINTS.get(kind, "Convert them to numbers, text, lists or dicts"),
    )


def _arrow(cells: list[Any], arrow_type: Any, what: str) -> Any:
    try:
        return pa.array(cells, type=arrow_type)
    except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise UnsupportedDataError(
            f"{what} holds values that Arrow cannot: {error}",
            hint=NOT_TEXT_HINT if isinstance(error, UnicodeError) else None,
        ) from error


def _encode_nested(kind: type, cells: list[Any], what: str) -> tuple[Any, Marker]:
    """Use the simplest form that decodes equal: Arrow's own, a map, or JSON text."""
    for name, encode in _nested_forms(kind):
        marker: Marker = {"cells": kind.__name__} | ({"form": name} if name else {})
        try:
            array = encode(cells)
            back = decode_objects(array, {"kind": "object", **marker})
        except (pa.ArrowException, ValueError, OverflowError, TypeError):
            continue
        if _storable(as_storage(array).type) and all(map(same_value, cells, back)):
            return array, marker
    raise UnsupportedDataError(
        f"{what} holds {kind.__name__}s with parts that could not be given back equal",
        hint="Use numbers, text, None, lists, and dicts whose keys are text",
    )


def _nested_forms(kind: type) -> Iterator[tuple[str, Callable[[list[Any]], Any]]]:
    yield "", pa.array
    if kind is dict:
        yield "map", _encode_maps
    yield "json", _encode_json


def _storable(arrow_type: Any) -> bool:
    # Parquet does not support a struct without fields.
    if pa.types.is_struct(arrow_type):
        fields = [arrow_type.field(i).type for i in range(arrow_type.num_fields)]
        return bool(fields) and all(map(_storable, fields))
    if pa.types.is_map(arrow_type):
        return _storable(arrow_type.item_type)
    return not pa.types.is_list(arrow_type) or _storable(arrow_type.value_type)


def _encode_maps(cells: list[Any]) -> Any:
    pairs = [list(cell.items()) for cell in cells if cell is not None]
    keys = pa.array([key for cell in pairs for key, _ in cell])
    items = pa.array([item for cell in pairs for _, item in cell])
    rows = [None if cell is None else list(cell.items()) for cell in cells]
    return pa.array(rows, type=pa.map_(keys.type, items.type))


def _encode_json(cells: list[Any]) -> Any:
    texts = [
        None
        if cell is None
        else json.dumps(_to_json(cell), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        for cell in cells
    ]
    array = pa.array(texts, pa.string())
    # Parquet's JSON type; pyarrow writes it from version 19 on.
    return pa.ExtensionArray.from_storage(pa.json_(), array) if hasattr(pa, "json_") else array


def _to_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, dict):
        return {_json_key(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(type(value).__name__)


def _json_key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError("keys that are not text")
    return key


def _from_json(pairs: list[tuple[str, Any]]) -> Any:
    if len(pairs) == 1 and pairs[0][0] == "$float":
        return float(pairs[0][1])
    return dict(pairs)


def _encode_arrays(cells: list[Any], what: str) -> tuple[Any, Marker]:
    arrays = [cell for cell in cells if cell is not None]
    dtype, ndim = arrays[0].dtype, arrays[0].ndim
    if any(array.dtype != dtype or array.ndim != ndim for array in arrays):
        raise UnsupportedDataError(
            f"{what} holds NumPy arrays of different dtypes or numbers of dimensions"
        )
    if dtype.kind not in "biuf" or dtype.itemsize > 8 or ndim == 0:
        raise UnsupportedDataError(
            f"{what} holds NumPy arrays of the dtype {dtype} with {ndim} dimensions",
            hint="Store them as an array artifact, or as lists",
        )
    flat = np.concatenate([array.ravel() for array in arrays]).astype(dtype.newbyteorder("="))
    nested = pa.array(flat)
    for depth in range(ndim - 1, 0, -1):
        lengths = [
            np.full(math.prod(array.shape[:depth]), array.shape[depth], dtype=np.int64)
            for array in arrays
        ]
        nested = pa.ListArray.from_arrays(_offsets(np.concatenate(lengths)), nested)
    outer = np.array([0 if cell is None else cell.shape[0] for cell in cells], dtype=np.int64)
    mask = pa.array([cell is None for cell in cells], pa.bool_())
    nested = pa.ListArray.from_arrays(_offsets(outer), nested, mask=mask)
    return nested, {"cells": "ndarray", "dtype": dtype.str, "ndim": ndim}


def _offsets(lengths: np.ndarray) -> Any:
    # A checked cast: more than 2**31 elements would overflow int32.
    return pa.array(np.concatenate([[0], np.cumsum(lengths)])).cast(pa.int32())


def _cell_values(array: Any, marker: Marker) -> Sequence[Any]:
    if marker["cells"] == "ndarray" and marker["ndim"] == 1:
        return [None if not cell.is_valid else cell.values for cell in array]
    values: Sequence[Any] = array.to_pylist()
    return values


def _decoder(marker: Marker) -> Callable[[Any], Any]:
    cells = marker["cells"]
    if cells == "ndarray":
        dtype = np.dtype(marker["dtype"])
        if marker["ndim"] == 1:
            return lambda cell: np.array(cell.to_numpy(zero_copy_only=False), dtype=dtype)
        return lambda cell: np.array(cell, dtype=dtype)
    if "scalar" in marker:
        scalar = np.dtype(marker["scalar"]).type
        return lambda cell: scalar(cell)
    if marker.get("form") == "json":
        return lambda cell: json.loads(cell, object_pairs_hook=_from_json)
    return {"tuple": tuple, "dict": dict}.get(cells, lambda cell: cell)
