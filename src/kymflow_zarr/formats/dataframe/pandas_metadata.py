"""The metadata by which pandas recognizes its own dtypes and index in an Arrow table.

Source: "Storing pandas DataFrame objects in Apache Parquet format",
https://pandas.pydata.org/docs/development/developer.html. Written by hand, since
pyarrow derives it from a data frame, and a replace of rows never builds one.
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pyarrow as pa

from kymflow_zarr.formats.dataframe.objects import Marker

__all__ = ["pandas_metadata"]

_CELLS = {
    "str": "unicode",
    "bool": "bool",
    "int": "int64",
    "float": "float64",
    "bytes": "bytes",
    "date": "date",
    "time": "time",
    "decimal": "decimal",
    "null": "empty",
}


def pandas_metadata(schema: pa.Schema, note: Marker) -> bytes:
    """Return the value of the schema metadata key ``pandas``."""
    index = note["index"]
    level_fields = index.get("fields", [])
    names = dict(zip(level_fields, index.get("names", []), strict=True))
    columns = [
        {
            "name": names.get(field.name, field.name),
            "field_name": field.name,
            **_column(note["columns"][field.name], field.type),
        }
        for field in schema
    ]
    if index["kind"] == "range":
        index_columns: list[Any] = [
            {key: index[key] for key in ("kind", "name", "start", "stop", "step")}
        ]
    else:
        index_columns = level_fields
    labels = note["labels"]
    levels = [
        {"name": name, "field_name": name, **_label_level(level)}
        for name, level in zip(labels["names"], labels["levels"], strict=True)
    ]
    metadata = {
        "index_columns": index_columns,
        "column_indexes": levels,
        "columns": columns,
        "attributes": note.get("attrs", {}),
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": pd.__version__,
    }
    return json.dumps(metadata, ensure_ascii=False).encode()


def _column(marker: Marker, arrow_type: Any) -> Marker:
    kind = marker["kind"]
    pandas_type, numpy_type, extra = "object", "object", None
    if kind == "numpy":
        pandas_type = numpy_type = str(pd.api.types.pandas_dtype(marker["dtype"]).name)
    elif kind == "datetime":
        pandas_type, numpy_type = "datetime", f"datetime64[{marker['unit']}]"
        if "zone" in marker:
            pandas_type, extra = "datetimetz", {"timezone": arrow_type.tz}
    elif kind == "timedelta":
        pandas_type, numpy_type = "timedelta", f"timedelta64[{marker['unit']}]"
    elif kind in ("nullable", "period"):
        numpy_type = marker["dtype"]
        pandas_type = "object" if kind == "period" else str(arrow_type)
    elif kind == "string":
        pandas_type, numpy_type = "unicode", "string" if marker["missing"] == "NA" else "str"
    elif kind == "interval":
        numpy_type = "object"
    elif kind == "arrow":
        numpy_type = _arrow_name(arrow_type)
    elif kind == "category":
        pandas_type, numpy_type = "categorical", "int8"
        labels = marker["categories"]
        extra = {"num_categories": _length(labels), "ordered": marker["ordered"]}
    elif "form" not in marker:
        pandas_type = _CELLS.get(marker["cells"], "object")
    return {"pandas_type": pandas_type, "numpy_type": numpy_type, "metadata": extra}


def _arrow_name(arrow_type: Any) -> str:
    name = str(pd.ArrowDtype(arrow_type))
    try:
        pd.api.types.pandas_dtype(name)
    except (TypeError, NotImplementedError):
        # pandas writes names that it cannot read, and then fails on its own files.
        return "object"
    return name


def _length(labels: Marker) -> int:
    if labels["kind"] == "range":
        return len(range(labels["start"], labels["stop"], labels["step"]))
    values = labels["values"]
    return len(values["left"] if isinstance(values, dict) else values)


def _label_level(level: Marker) -> Marker:
    kind = level["kind"]
    if kind in ("string", "object"):
        numpy_type = "str" if kind == "string" else "object"
        return {
            "pandas_type": "unicode",
            "numpy_type": numpy_type,
            "metadata": {"encoding": "UTF-8"},
        }
    name = "int64" if kind == "range" else level.get("dtype", "object")
    plain = kind in ("range", "numpy")
    return {
        "pandas_type": name if plain else "unicode",
        "numpy_type": name if plain else "object",
        "metadata": None,
    }
