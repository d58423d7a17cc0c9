"""Labels as JSON: the names of columns, and the categories of a column."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kymflow_zarr.errors import UnsupportedDataError
from kymflow_zarr.formats.dataframe.objects import Marker, as_storage
from kymflow_zarr.formats.dataframe.plain_columns import decode_plain, encode_plain

__all__ = ["decode_labels", "encode_freq", "encode_labels", "with_freq"]


def encode_labels(index: pd.Index, what: str) -> Marker:
    """Describe an Index (column labels, categories) as JSON alone.

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
    """Describe the frequency of an index of times; nothing if it has none.

    Raises
    ------
    UnsupportedDataError
        If pandas would not make the same frequency of its name: a calendar with holidays, an
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
    """Give an index of times the frequency it had."""
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
