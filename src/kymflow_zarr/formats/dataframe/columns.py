"""Convert a pandas column or index to an Arrow array with a marker, and back.

First times with their zones and plain columns, then labels as JSON (the names of columns, and
categories), then categorical columns.
"""

from __future__ import annotations

import base64
import datetime as dt
import importlib
import math
import zoneinfo
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

__all__ = [
    "decode_column",
    "decode_labels",
    "encode_column",
    "encode_freq",
    "encode_labels",
    "whole",
    "with_freq",
]


_NAT = np.iinfo(np.int64).min


def encode_times(plain: np.ndarray) -> tuple[Any, Marker]:
    """Encode a NumPy array of datetime64 or timedelta64."""
    unit = np.datetime_data(plain.dtype)[0]
    if plain.dtype.kind == "m":
        return _ticks(plain, pa.duration(unit)), {"kind": "timedelta", "unit": unit}
    return _ticks(plain, pa.timestamp(unit)), {"kind": "datetime", "unit": unit}


def encode_zoned(values: Any, dtype: pd.DatetimeTZDtype, what: str) -> tuple[Any, Marker]:
    """Encode times with a zone: the instants, and exactly the given zone."""
    zone, name = _encode_zone(dtype.tz, what)
    instants = values.array.tz_convert(None).to_numpy()
    array = _ticks(instants, pa.timestamp(dtype.unit, tz=name))
    return array, {"kind": "datetime", "unit": dtype.unit, "zone": zone}


def decode_times(array: Any, marker: Marker) -> Any:
    """Undo `encode_times` and `encode_zoned`."""
    unit = marker["unit"]
    zone = marker.get("zone")
    letter: str = "m"
    arrow_type: Any = pa.duration(unit)
    if marker["kind"] == "datetime":
        letter, arrow_type = "M", pa.timestamp(unit, tz=None if zone is None else array.type.tz)
    # Parquet has no unit of seconds: they are stored as milliseconds.
    ticks = array.cast(arrow_type).cast(pa.int64()).fill_null(_NAT)
    plain = np.array(ticks.to_numpy(zero_copy_only=False)).view(f"{letter}8[{unit}]")
    if zone is None:
        return plain
    return pd.DatetimeIndex(plain).tz_localize("UTC").tz_convert(_decode_zone(zone)).array


def _ticks(plain: np.ndarray, arrow_type: Any) -> Any:
    ticks = plain.view(np.int64)
    return pa.array(ticks, mask=ticks == _NAT).cast(arrow_type)


def _encode_zone(zone: Any, what: str) -> tuple[Marker, str]:
    """Return the marker of a time zone, and its name for Arrow and Parquet readers."""
    if isinstance(zone, zoneinfo.ZoneInfo) and zone.key:
        return {"name": zone.key}, zone.key
    if getattr(zone, "zone", None):
        return {"name": zone.zone, "library": "pytz"}, zone.zone
    if zone == dt.UTC:
        return {"name": "UTC"}, "UTC"
    offset = zone.utcoffset(None)
    if offset is None:
        raise UnsupportedDataError(
            f"{what} has a time zone without a name: {zone}",
            hint="Convert it with dt.tz_convert('Area/City')",
        )
    minutes, rest = divmod(offset, dt.timedelta(minutes=1))
    sign = "-" if minutes < 0 else "+"
    name = "UTC" if rest else f"{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    return {"offset_us": offset // dt.timedelta(microseconds=1)}, name


def _decode_zone(zone: Marker) -> dt.tzinfo:
    if "offset_us" in zone:
        return dt.timezone(dt.timedelta(microseconds=zone["offset_us"]))
    if zone["name"] == "UTC":
        return dt.UTC
    if zone.get("library") == "pytz":
        try:
            library: Any = importlib.import_module("pytz")
        except ImportError:
            # pandas 3 does not need pytz: fall back to the same zone of the standard library.
            return zoneinfo.ZoneInfo(zone["name"])
        zone_info: dt.tzinfo = library.timezone(zone["name"])
        return zone_info
    return zoneinfo.ZoneInfo(zone["name"])


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
    """Encode a column as `encode_column` does, for every dtype but categories."""
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
    if kind == "numpy":
        return _decode_numpy(as_storage(array), np.dtype(marker["dtype"]))
    array = whole(as_storage(array))
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
    # NaN becomes null, as in pandas' own files, so that other programs skip it in means.
    array = pa.array(plain.astype(dtype.newbyteorder("="), copy=False), from_pandas=True)
    return array, {"kind": "numpy", "dtype": dtype.name if dtype.isnative else dtype.str}


def _decode_numpy(array: Any, dtype: np.dtype[Any]) -> np.ndarray:
    if array.null_count and dtype.kind != "f":
        raise ValueError(f"nulls in a column of dtype {dtype}")
    # With several chunks, this is a copy already.
    plain = array.to_numpy(zero_copy_only=False)
    if plain.dtype.kind != dtype.kind:
        raise ValueError(f"{array.type} in a column of dtype {dtype}")
    return plain if plain.flags.writeable and plain.dtype == dtype else np.array(plain, dtype=dtype)


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
    """Return True if a type, or a nested one, is one that Parquet does not have."""
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
        # pandas before 2.3 has no such dtype and keeps strings as objects.
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
    # pandas' Arrow type does not support bounds with a time zone; a plain struct does.
    right, _ = encode_plain(pd.Index(intervals.right), what)
    mask = pa.array(intervals.isna())
    return pa.StructArray.from_arrays([left, right], ["left", "right"], mask=mask), marker


def _decode_interval(array: Any, marker: Marker) -> Any:
    left, right = (
        pd.Index(decode_plain(array.field(name), marker["ends"])) for name in ("left", "right")
    )
    intervals = pd.arrays.IntervalArray.from_arrays(left, right, closed=marker["closed"])
    if array.null_count:
        intervals[array.is_null().to_numpy(zero_copy_only=False)] = None
    return intervals


def encode_labels(index: pd.Index, what: str) -> Marker:
    """Encode an Index (column labels, categories) as JSON only.

    Raises
    ------
    UnsupportedDataError
        If a label cannot be written as JSON.
    """
    if isinstance(index, pd.RangeIndex):
        return {"kind": "range", "start": index.start, "stop": index.stop, "step": index.step}
    if isinstance(index, pd.CategoricalIndex):
        labels = encode_labels(index.categories, what)
        codes = index.codes.tolist()
        return {"kind": "category", "ordered": index.ordered, "categories": labels, "codes": codes}
    if index.dtype == object:
        return {"kind": "object", "values": [_json_label(label, what) for label in index]}
    array, marker = encode_plain(index, what)
    if marker["kind"] == "arrow":
        raise UnsupportedDataError(f"{what} have the dtype {index.dtype}, which cannot be kept")
    return {**marker, **encode_freq(index, what), "values": _json_values(as_storage(array))}


def decode_labels(marker: Marker) -> pd.Index:
    """Undo `encode_labels`."""
    if marker["kind"] == "range":
        return pd.RangeIndex(marker["start"], marker["stop"], marker["step"])
    if marker["kind"] == "object":
        labels: pd.Index = pd.Index(
            [_from_json_label(label) for label in marker["values"]], dtype=object
        )
        return labels
    if marker["kind"] == "category":
        dtype = pd.CategoricalDtype(decode_labels(marker["categories"]), marker["ordered"])
        return pd.CategoricalIndex(pd.Categorical.from_codes(marker["codes"], dtype=dtype))
    index = pd.Index(decode_plain(_from_json_values(marker["values"], marker), marker))
    return with_freq(index, marker.get("freq"))


def encode_freq(index: pd.Index, what: str) -> Marker:
    """Encode the frequency of a time index; return an empty marker if it has none.

    Raises
    ------
    UnsupportedDataError
        If its name does not give the same frequency in pandas: a calendar with holidays, an
        offset of several units.
    """
    freq = getattr(index, "freq", None)
    if freq is None or not isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        return {}
    try:
        back = pd.tseries.frequencies.to_offset(freq.freqstr)
    except ValueError:
        back = None
    if back != freq:
        raise UnsupportedDataError(
            f"{what} has a frequency that would not come back: {freq}",
            hint="Set its freq to None",
        )
    return {"freq": freq.freqstr}


def with_freq(index: pd.Index, freq: str | None) -> pd.Index:
    """Return a time index with the given frequency."""
    if freq is not None and isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        timed: Any = index
        timed.freq = freq
    return index


def _json_label(label: Any, what: str) -> Any:
    value = label.item() if isinstance(label, np.generic) else label
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise UnsupportedDataError(
        f"{what} hold a label of the type {type(value).__name__}: {value!r}",
        hint="Use text or numbers as labels",
    )


def _from_json_label(label: Any) -> Any:
    return float(label["$float"]) if isinstance(label, dict) else label


def _json_values(array: Any) -> Any:
    if pa.types.is_struct(array.type):
        return {name: _json_values(array.field(name)) for name in ("left", "right")}
    if pa.types.is_temporal(array.type):
        array = array.cast(pa.int64())
    return [_json_label(value, "the labels") for value in array.to_pylist()]


def _from_json_values(values: Any, marker: Marker) -> Any:
    if marker["kind"] == "interval":
        ends = [_from_json_values(values[name], marker["ends"]) for name in ("left", "right")]
        return pa.StructArray.from_arrays(ends, ["left", "right"])
    return pa.array([_from_json_label(value) for value in values], type=_label_type(marker))


def _label_type(marker: Marker) -> Any:
    kind = marker["kind"]
    if kind == "numpy":
        return pa.from_numpy_dtype(np.dtype(marker["dtype"]).newbyteorder("="))
    if kind == "datetime":
        return pa.timestamp(marker["unit"], tz="UTC" if "zone" in marker else None)
    if kind == "timedelta":
        return pa.duration(marker["unit"])
    if kind == "string":
        return pa.string()
    if kind == "period":
        return pa.int64()
    return pa.from_numpy_dtype(np.dtype(pd.api.types.pandas_dtype(marker["dtype"]).type))


def encode_column(values: Any, what: str) -> tuple[Any, Marker]:
    """Convert the values of one column to an Arrow array and its marker.

    Parameters
    ----------
    values : pandas.Series or pandas.Index
        One-dimensional.
    what : str
        Name of the column for errors.

    Raises
    ------
    UnsupportedDataError
        If the dtype, or a value in an object column, cannot be stored.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _encode_category(values, values.dtype, what)
    return encode_plain(values, what)


def decode_column(array: Any, marker: Marker) -> Any:
    """Undo `encode_column`: return a NumPy or pandas extension array with its own memory."""
    if marker["kind"] == "category":
        return _decode_category(whole(as_storage(array)), marker)
    return decode_plain(array, marker)


def _encode_category(values: Any, dtype: pd.CategoricalDtype, what: str) -> tuple[Any, Marker]:
    codes = np.asarray(values.cat.codes if isinstance(values, pd.Series) else values.codes)
    dictionary, inner = encode_plain(dtype.categories, what)
    dictionary = whole(dictionary)
    indices = pa.array(codes, mask=codes == -1)
    if pa.types.is_string(dictionary.type) or pa.types.is_large_string(dictionary.type):
        array = pa.DictionaryArray.from_arrays(indices, dictionary)
    else:
        # Parquet stores dictionaries of text only; expand all others.
        array = dictionary.take(indices)
    labels = encode_labels(dtype.categories, f"{what}, whose categories")
    return array, {
        "kind": "category",
        "ordered": bool(dtype.ordered),
        "categories": labels,
        "cells": inner,
    }


def _decode_category(array: Any, marker: Marker) -> Any:
    categories = decode_labels(marker["categories"])
    dtype = pd.CategoricalDtype(categories, ordered=marker["ordered"])
    if not isinstance(array.type, pa.DictionaryType):
        array = array if pa.types.is_nested(array.type) else array.dictionary_encode()
    if isinstance(array.type, pa.DictionaryType):
        positions = _positions(array.dictionary, marker["cells"], categories)
        if not array.null_count and np.array_equal(positions, np.arange(len(categories))):
            # The usual case, without a pass over the rows.
            return pd.Categorical.from_codes(array.indices.to_numpy(), dtype=dtype)
        indices = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        codes = np.append(positions, -1)[indices]
    else:
        codes = _positions(array, marker["cells"], categories)
        codes[array.is_null().to_numpy(zero_copy_only=False)] = -1
    if np.any((codes < 0) & array.is_valid().to_numpy(zero_copy_only=False)):
        raise ValueError("a value that is none of the column's categories")
    return pd.Categorical.from_codes(codes, dtype=dtype)


def _positions(array: Any, marker: Marker, categories: pd.Index) -> np.ndarray:
    values = decode_plain(array, marker)
    labels = pd.Index(values, dtype=getattr(values, "dtype", None))
    if isinstance(categories, pd.IntervalIndex):
        # Objects are looked up by equality, so the intervals may overlap.
        categories, labels = categories.astype(object), labels.astype(object)
    return np.array(categories.get_indexer(labels))
