"""One pandas column to an Arrow array with a marker, and back with its dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kymflow_zarr.formats.dataframe.labels import decode_labels, encode_labels
from kymflow_zarr.formats.dataframe.objects import Marker, as_storage
from kymflow_zarr.formats.dataframe.plain_columns import decode_plain, encode_plain, whole

__all__ = ["decode_column", "encode_column"]


def encode_column(values: Any, what: str) -> tuple[Any, Marker]:
    """Turn the values of one column into an Arrow array and its marker.

    Parameters
    ----------
    values : pandas.Series or pandas.Index
        One-dimensional.
    what : str
        How an error message calls the column.

    Raises
    ------
    UnsupportedDataError
        If the dtype, or a value in an object column, cannot be kept.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _encode_category(values, values.dtype, what)
    return encode_plain(values, what)


def decode_column(array: Any, marker: Marker) -> Any:
    """Undo `encode_column`: a NumPy array, or a pandas extension array, of its own memory."""
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
        # Parquet keeps dictionaries of text only; anything else is written out.
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
        indices = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        positions = _positions(array.dictionary, marker["cells"], categories)
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
        # As objects they are looked up one by one, and so they may overlap.
        categories, labels = categories.astype(object), labels.astype(object)
    return np.array(categories.get_indexer(labels))
