"""Times and durations: exact ticks, and the time zone they were shown in."""

from __future__ import annotations

import datetime as dt
import importlib
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kymflow_zarr.errors import UnsupportedDataError
from kymflow_zarr.formats.dataframe.objects import Marker

__all__ = ["decode_times", "encode_times", "encode_zoned"]

_NAT = np.iinfo(np.int64).min


def encode_times(plain: np.ndarray) -> tuple[Any, Marker]:
    """Encode a NumPy array of datetime64 or timedelta64."""
    unit = np.datetime_data(plain.dtype)[0]
    if plain.dtype.kind == "m":
        return _ticks(plain, pa.duration(unit)), {"kind": "timedelta", "unit": unit}
    return _ticks(plain, pa.timestamp(unit)), {"kind": "datetime", "unit": unit}


def encode_zoned(values: Any, dtype: pd.DatetimeTZDtype, what: str) -> tuple[Any, Marker]:
    """Encode times with a zone: the instants, and the zone as exactly as it was given."""
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
    # Parquet has no seconds: they come back as milliseconds.
    ticks = array.cast(arrow_type).cast(pa.int64()).fill_null(_NAT)
    plain = np.array(ticks.to_numpy(zero_copy_only=False)).view(f"{letter}8[{unit}]")
    if zone is None:
        return plain
    return pd.DatetimeIndex(plain).tz_localize("UTC").tz_convert(_decode_zone(zone)).array


def _ticks(plain: np.ndarray, arrow_type: Any) -> Any:
    ticks = plain.view(np.int64)
    return pa.array(ticks, mask=ticks == _NAT).cast(arrow_type)


def _encode_zone(zone: Any, what: str) -> tuple[Marker, str]:
    """Return the marker of a time zone, and the name Arrow and Parquet readers see."""
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
            # The same zone of the standard library: pandas 3 does without pytz.
            return zoneinfo.ZoneInfo(zone["name"])
        found: dt.tzinfo = library.timezone(zone["name"])
        return found
    return zoneinfo.ZoneInfo(zone["name"])
