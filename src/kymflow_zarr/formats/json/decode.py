"""Reading the JSON artifacts that :mod:`kymflow_zarr.formats.json.encode` writes."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Callable
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.formats.json.encode import (
    ARRAY_KINDS,
    MAX_ITEM_BYTES,
    TYPE_KEY,
    map_leaves,
    on_own_stack,
)
from kymflow_zarr.runtime.limits import check_json

_NON_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def decode_json(data: bytes, *, where: str) -> Any:
    """Return the value of the bytes of :func:`encode_json`, or of any JSON document.

    Raises
    ------
    CorruptDataError
        If they are not JSON.
    LimitExceededError
        If the document is too large or too deep.
    """
    check_json(data, where=where)
    try:
        try:
            return _decode(json.loads(data))
        except RecursionError:
            return on_own_stack(_decode_alone, data)
    except ValueError as error:
        raise CorruptDataError(
            f"the document is not readable JSON: {error}",
            where=where,
            hint="Restore it from a copy, or save it anew.",
        ) from error


def _decode_alone(data: bytes) -> Any:
    try:
        return _decode(json.loads(data))
    except RecursionError:
        raise ValueError("it is nested deeper than Python can follow") from None


def _decode(plain: Any) -> Any:
    if isinstance(plain, list):
        return [_decode(item) for item in plain]
    if not isinstance(plain, dict):
        return plain
    tag = plain.get(TYPE_KEY)
    decode = _DECODERS.get(tag) if isinstance(tag, str) else None
    if decode is None:
        return {key: _decode(item) for key, item in plain.items()}
    try:
        return decode(plain)
    except (RecursionError, ValueError):
        raise
    except Exception as error:  # NumPy, for one, parses dtypes as Python does expressions.
        raise ValueError(f"{TYPE_KEY} {tag!r} without a valid value") from error


def _decode_datetime(plain: dict[str, Any]) -> dt.datetime:
    if plain.get("precision") == "ns":
        import pandas as pd

        stamp = pd.Timestamp(plain["value"])
        try:
            return stamp if "zone" not in plain else stamp.tz_convert(plain["zone"])
        except ZoneInfoNotFoundError:
            return stamp
    value = dt.datetime.fromisoformat(plain["value"]).replace(fold=plain.get("fold", 0))
    if "zone" in plain:
        # A machine without that zone's rules still knows the offset.
        try:
            return value.replace(tzinfo=ZoneInfo(plain["zone"]))
        except ZoneInfoNotFoundError:
            return value
    return value


def _decode_timedelta(plain: dict[str, Any]) -> dt.timedelta:
    if plain.get("precision") == "ns":
        import pandas as pd

        return pd.Timedelta(int(plain["value"]), unit="ns")
    days, seconds, microseconds = plain["value"]
    return dt.timedelta(days=days, seconds=seconds, microseconds=microseconds)


def _time_dtype(plain: dict[str, Any]) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(plain["dtype"])
    if dtype.kind not in "mM":
        raise ValueError(f"a point in time of {dtype}")
    return dtype


def _not_a_time(_: dict[str, Any]) -> object:
    import pandas as pd

    return pd.NaT


def _decode_path(plain: dict[str, Any]) -> PurePath:
    flavor = PureWindowsPath if plain.get("flavor") == "windows" else PurePosixPath
    # A path of this kind of system is one that can be opened.
    return Path(plain["value"]) if isinstance(Path(), flavor) else flavor(plain["value"])


def _decode_array(plain: dict[str, Any]) -> np.ndarray[Any, Any]:
    dtype = np.dtype(plain["dtype"])
    shape = tuple(plain["shape"])
    if dtype.kind not in ARRAY_KINDS or dtype.itemsize > MAX_ITEM_BYTES:
        raise ValueError(f"an array of {dtype}")
    values = plain["value"]
    if dtype.kind in "fc":
        values = map_leaves(values, lambda x: _NON_FINITE[x] if isinstance(x, str) else x)
    if dtype.kind == "c":
        pairs = np.asarray(values, dtype=np.float64).reshape(*shape, 2)
        array = np.empty(shape, dtype)
        array.real, array.imag = pairs[..., 0], pairs[..., 1]  # i * inf would be NaN
        return array
    if dtype.kind in "Mm":
        return np.asarray(values, dtype=np.int64).reshape(shape).astype(dtype)
    return np.asarray(values, dtype=dtype).reshape(shape)


def _decode_int_keys(plain: dict[str, Any]) -> dict[int, Any]:
    return {int(key): _decode(item) for key, item in plain["value"].items()}


_DECODERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "float": lambda plain: _NON_FINITE[plain["value"]],
    "complex": lambda plain: complex(*(_decode(part) for part in plain["value"])),
    "bytes": lambda plain: bytes.fromhex(plain["value"]),
    "date": lambda plain: dt.date.fromisoformat(plain["value"]),
    "time": lambda plain: dt.time.fromisoformat(plain["value"]),
    "timedelta": _decode_timedelta,
    "m8": lambda plain: np.int64(plain["value"]).astype(_time_dtype(plain)),
    "M8": lambda plain: np.int64(plain["value"]).astype(_time_dtype(plain)),
    "NaT": _not_a_time,
    "datetime": _decode_datetime,
    "path": _decode_path,
    "ndarray": _decode_array,
    "int_keys": _decode_int_keys,
    "object": lambda plain: {key: _decode(item) for key, item in plain["value"].items()},
}
