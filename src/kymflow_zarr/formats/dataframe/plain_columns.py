"""Columns without categories: pandas values to Arrow arrays and back."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kymflow_zarr.errors import UnsupportedDataError
from kymflow_zarr.formats.dataframe.objects import (
    NOT_TEXT_HINT,
    Marker,
    as_storage,
    decode_objects,
    encode_objects,
)
from kymflow_zarr.formats.dataframe.times import decode_times, encode_times, encode_zoned

__all__ = ["decode_plain", "encode_plain", "whole"]

_NULLABLE = (
    pd.BooleanDtype,
    pd.Int8Dtype,
    pd.Int16Dtype,
    pd.Int32Dtype,
    pd.Int64Dtype,
    pd.UInt8Dtype,
    pd.UInt16Dtype,
    pd.UInt32Dtype,
    pd.UInt64Dtype,
    pd.Float32Dtype,
    pd.Float64Dtype,
)

_NOT_IN_PARQUET = (
    pa.types.is_string_view,
    pa.types.is_binary_view,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
    pa.types.is_run_end_encoded,
    pa.types.is_union,
    pa.types.is_interval,
)


def encode_plain(values: Any, what: str) -> tuple[Any, Marker]:
    """As `encode_column`, for every dtype but categories."""
    dtype = values.dtype
    try:
        if isinstance(dtype, np.dtype):
            return _encode_numpy(values, dtype, what)
        if isinstance(dtype, pd.DatetimeTZDtype):
            return encode_zoned(values, dtype, what)
        marker = _extension_marker(dtype)
        if marker is None:
            raise UnsupportedDataError(
                f"{what} has the dtype {dtype}, which cannot be kept",
                hint="Convert it to an ordinary dtype first",
            )
        if isinstance(dtype, pd.IntervalDtype):
            return _encode_interval(values, marker, what)
        return pa.array(values.array), marker
    except (pa.ArrowException, UnicodeError, OverflowError) as error:
        raise UnsupportedDataError(
            f"{what} holds values that Arrow cannot: {error}",
            hint=NOT_TEXT_HINT if isinstance(error, UnicodeError) else None,
        ) from error


def decode_plain(array: Any, marker: Marker) -> Any:
    """Undo `encode_plain`."""
    kind = marker["kind"]
    if kind == "object":
        return decode_objects(array, marker)
    array = whole(as_storage(array))
    if kind == "numpy":
        return _decode_numpy(array, np.dtype(marker["dtype"]))
    if kind in ("datetime", "timedelta"):
        return decode_times(array, marker)
    if kind == "interval":
        return _decode_interval(array, marker)
    if kind == "string":
        return _decode_string(array, marker)
    if kind == "arrow":
        return pd.arrays.ArrowExtensionArray(array.cast(_unpack_type(marker["type"])))
    dtype: Any = pd.api.types.pandas_dtype(marker["dtype"])
    return dtype.__from_arrow__(array)


def whole(array: Any) -> Any:
    """Join the chunks of an array, as far as Arrow can."""
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _encode_numpy(values: Any, dtype: np.dtype[Any], what: str) -> tuple[Any, Marker]:
    if dtype.kind == "O":
        return encode_objects(np.asarray(values, dtype=object), what)
    plain = values.to_numpy()
    if dtype.kind in "Mm":
        return encode_times(plain)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        hint = "Store the real and the imaginary part as two columns" if dtype.kind == "c" else None
        raise UnsupportedDataError(f"{what} has the dtype {dtype}, which cannot be kept", hint=hint)
    # As pandas does, NaN is written as null: other programs then skip it in means.
    array = pa.array(plain.astype(dtype.newbyteorder("="), copy=False), from_pandas=True)
    return array, {"kind": "numpy", "dtype": dtype.name if dtype.isnative else dtype.str}


def _decode_numpy(array: Any, dtype: np.dtype[Any]) -> np.ndarray:
    if array.null_count and dtype.kind != "f":
        raise ValueError(f"nulls in a column of dtype {dtype}")
    plain = array.to_numpy(zero_copy_only=False)
    if plain.dtype.kind != dtype.kind:
        raise ValueError(f"{array.type} in a column of dtype {dtype}")
    return np.array(plain, dtype=dtype)


def _extension_marker(dtype: Any) -> Marker | None:
    if isinstance(dtype, pd.StringDtype):
        missing = "NA" if dtype.na_value is pd.NA else "nan"
        storage = "pyarrow" if dtype.storage.startswith("pyarrow") else dtype.storage
        return {"kind": "string", "storage": storage, "missing": missing}
    if isinstance(dtype, pd.ArrowDtype):
        if _has_layout_of_memory(dtype.pyarrow_dtype):
            return None
        return {"kind": "arrow", "type": _pack_type(dtype.pyarrow_dtype)}
    if isinstance(dtype, pd.IntervalDtype):
        return {"kind": "interval", "closed": dtype.closed}
    if isinstance(dtype, pd.PeriodDtype):
        return {"kind": "period", "dtype": str(dtype)}
    if isinstance(dtype, _NULLABLE):
        return {"kind": "nullable", "dtype": str(dtype)}
    return None


def _has_layout_of_memory(arrow_type: Any) -> bool:
    """Return True if a type, or one inside it, is one that Parquet does not have."""
    if any(is_a(arrow_type) for is_a in _NOT_IN_PARQUET):
        return True
    if pa.types.is_dictionary(arrow_type):
        return _has_layout_of_memory(arrow_type.value_type)
    inner = range(arrow_type.num_fields) if pa.types.is_nested(arrow_type) else ()
    return any(_has_layout_of_memory(arrow_type.field(i).type) for i in inner)


def _decode_string(array: Any, marker: Marker) -> Any:
    if isinstance(array.type, pa.DictionaryType):
        array = array.dictionary_decode()
    if marker["missing"] == "NA":
        dtype: Any = pd.StringDtype(marker["storage"])
        return dtype.__from_arrow__(array)
    try:
        dtype = pd.StringDtype(marker["storage"], na_value=np.nan)
    except TypeError:
        # pandas before 2.3 has no such dtype; its own strings are objects.
        return decode_objects(array, {"cells": "str", "null": "nan"})
    return dtype.__from_arrow__(array)


def _pack_type(arrow_type: Any) -> str:
    schema = pa.schema([pa.field("type", arrow_type)])
    return base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")


def _unpack_type(text: str) -> Any:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text))).field("type").type


def _encode_interval(values: Any, marker: Marker, what: str) -> tuple[Any, Marker]:
    intervals = values.array
    left, ends = encode_plain(pd.Index(intervals.left), what)
    marker = {**marker, "ends": ends}
    if "zone" not in ends:
        return pa.array(intervals), marker
    # pandas' own Arrow type does not know ends with a time zone; a plain struct does.
    right, _ = encode_plain(pd.Index(intervals.right), what)
    mask = pa.array(intervals.isna())
    return pa.StructArray.from_arrays([left, right], ["left", "right"], mask=mask), marker


def _decode_interval(array: Any, marker: Marker) -> Any:
    left, right = (
        pd.Index(decode_plain(array.field(name), marker["ends"])) for name in ("left", "right")
    )
    made = pd.arrays.IntervalArray.from_arrays(left, right, closed=marker["closed"])
    if array.null_count:
        made[array.is_null().to_numpy(zero_copy_only=False)] = None
    return made
