"""JSON artifacts: encode Python, NumPy and pandas values as JSON, and decode them equal."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import numpy as np

from kymflow_zarr.errors import CorruptDataError, UnsupportedDataError
from kymflow_zarr.runtime.limits import check_json

TYPE_KEY: Final = "__type__"
MAX_DEPTH: Final = 200
ARRAY_KINDS: Final = "biufcMmU"
# A document of a few bytes must not allocate gigabytes through the width of a text dtype.
MAX_ITEM_BYTES: Final = 1 << 20
# Python parses integers of at most 4300 digits.
_MAX_INT_BITS: Final = 14_280
_MAX_DAYS: Final = dt.timedelta.max.days
_MAX_PLACE: Final = 200

T = TypeVar("T")


def encode_json(value: object, *, where: str) -> bytes:
    """Return the UTF-8 bytes of a value.

    Parameters
    ----------
    value : object
        Nested mappings and sequences of None, bool, int, float, str, bytes, date and time
        types, paths, dataclasses, enums, NumPy scalars and arrays.
    where : str
        Name of the artifact, for the error.

    Raises
    ------
    UnsupportedDataError
        If a part of it would not come back equal; names the place inside `value`.
    """
    try:
        return _encode(value, where)
    except RecursionError:
        return on_own_stack(_encode, value, where)


def on_own_stack(work: Callable[..., T], *args: Any) -> T:
    """Return ``work(*args)``, called in a thread with a fresh stack."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(work, *args).result()


def _encode(value: object, where: str) -> bytes:
    encoder = _Encoder(where)
    plain = encoder.plain(value, "$", 0)
    line = json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()
    # Indented for readability, unless that would put each number of an array on a line. With an
    # indent, json uses its pure Python encoder, which is ten times slower.
    text = line if encoder.holds_array else msgspec.json.format(line, indent=2)
    return text + b"\n"


class _Encoder:
    """Converts values to plain ones that :mod:`json` writes; errors name the place."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._open: set[int] = set()
        self.holds_array = False

    def plain(self, value: object, place: str, depth: int) -> object:
        # Nearly all values are of these types exactly.
        if type(value) is dict or type(value) is list:
            return self._container(value, place, depth)
        if type(value) is float:
            return _float(value)
        if type(value) is str:
            return self._text(value, place)
        while isinstance(value, enum.Enum):
            value = value.value
        if value is None or isinstance(value, bool):
            return value
        # A subclass may override its text form; store its value.
        if isinstance(value, int):
            return self._int(int.__int__(value), place)
        if isinstance(value, float):
            return _float(float.__float__(value))
        if isinstance(value, str):
            return self._text(str.__str__(value), place)
        if isinstance(value, np.ndarray):
            return self._array(value, place)
        if isinstance(value, np.generic):
            return self._scalar(value, place, depth)
        for kind, encode in _SPECIAL.items():
            if isinstance(value, kind):
                return self._special(value, encode, place)
        return self._container(value, place, depth)

    def _container(self, value: object, place: str, depth: int) -> object:
        if id(value) in self._open:
            raise self._error("refers to itself", place)
        if depth > MAX_DEPTH:
            raise self._error(f"is nested more than {MAX_DEPTH} levels deep", place)
        self._open.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, place, depth)
            if isinstance(value, list | tuple):
                return [
                    self.plain(item, f"{place}[{i}]", depth + 1) for i, item in enumerate(value)
                ]
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                return self._mapping(self._fields(value, place), place, depth)
        finally:
            self._open.remove(id(value))
        raise self._error(f"is of type {type(value).__qualname__}, which JSON cannot keep", place)

    def _fields(self, value: Any, place: str) -> dict[str, object]:
        try:
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        except AttributeError as error:
            raise self._error(f"lacks a field: {error}", place) from None

    def _special(self, value: Any, encode: Callable[[Any], object], place: str) -> object:
        if isinstance(value, dt.time) and value.tzinfo is not None and value.utcoffset() is None:
            raise self._error("is a time of day in a zone whose offset needs a date", place)
        # The range of pandas' times exceeds that of Python's.
        if isinstance(value, dt.datetime) and not (_is_nat(value) or 1 <= value.year <= 9999):
            raise self._error(
                "is outside of the years 1 to 9999",
                place,
                hint="Convert it with .to_numpy() first.",
            )
        if isinstance(value, dt.timedelta) and not -_MAX_DAYS <= value.days <= _MAX_DAYS:
            raise self._error(
                "is longer than 999999999 days", place, hint="Convert it with .to_numpy() first."
            )
        if isinstance(value, PurePath):
            self._text(str(value), place)
        return encode(value)

    def _error(self, problem: str, place: str, *, hint: str | None = None) -> UnsupportedDataError:
        shown = place if len(place) <= _MAX_PLACE else f"{place[:_MAX_PLACE]}..."
        return UnsupportedDataError(
            f"{shown} {problem}; nothing was written",
            where=self._where,
            hint=hint or "Convert it to numbers, text, lists or dicts first.",
        )

    def _int(self, value: int, place: str) -> int:
        if value.bit_length() > _MAX_INT_BITS:
            raise self._error("is an integer of more digits than Python reads, 4300", place)
        return value

    def _text(self, text: str, place: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self._error("is not valid Unicode text", place) from None
        return text

    def _mapping(self, value: Mapping[Any, Any], place: str, depth: int) -> object:
        pairs = [(_key(key), item) for key, item in value.items()]
        # A bool is an int in Python, but would not come back as a bool key.
        numbered = bool(pairs) and all(type(key) is int for key, _ in pairs)
        plain: dict[str, object] = {}
        for key, item in pairs:
            if numbered and isinstance(key, int):
                text = str(self._int(key, f"a key of {place}"))
                inner = f"{place}[{text}]"
            elif isinstance(key, str):
                text = self._text(key, place)
                inner = f"{place}.{key}" if key.isidentifier() else f"{place}[{key!r}]"
            else:
                raise self._error(
                    f"has the key {_shown(key)}; the keys of a mapping are all str or all int",
                    place,
                )
            if text in plain:
                raise self._error(f"has two keys that are both written {text!r}", place)
            plain[text] = self.plain(item, inner, depth + 1)
        if numbered:
            return {TYPE_KEY: "int_keys", "value": plain}
        return {TYPE_KEY: "object", "value": plain} if TYPE_KEY in plain else plain

    def _scalar(self, value: np.generic, place: str, depth: int) -> object:
        if isinstance(value, np.datetime64 | np.timedelta64):
            unit = value.dtype.str.lstrip("<>|=")
            return {TYPE_KEY: unit[:2], "dtype": unit, "value": int(value.astype(np.int64))}
        if isinstance(value, np.void):
            raise self._error(
                f"is a value of the dtype {value.dtype}, which JSON cannot keep", place
            )
        item = value.item()
        # A long double has more digits than JSON readers keep.
        if isinstance(item, np.generic) or (value == value and item != value):
            raise self._error(f"is a {value.dtype}, which JSON cannot keep exactly", place)
        return self.plain(item, place, depth)

    def _array(self, array: np.ndarray[Any, Any], place: str) -> object:
        if isinstance(array, np.ma.MaskedArray):
            raise self._error(
                "is a masked array, whose mask would be lost",
                place,
                hint="Save .filled(...) and the mask as two arrays.",
            )
        if array.dtype.kind not in ARRAY_KINDS or array.dtype.name in {"float128", "complex256"}:
            raise self._error(f"is an array of {array.dtype}, which JSON cannot keep", place)
        if array.dtype.itemsize > MAX_ITEM_BYTES:
            raise self._error(
                f"is an array of texts of {array.dtype.itemsize} bytes each; "
                f"at most {MAX_ITEM_BYTES} can be kept",
                place,
                hint="Convert it with .tolist() first.",
            )
        self.holds_array = True
        if array.dtype.kind == "U":
            for text in array.ravel():
                self._text(str(text), place)
        return {
            TYPE_KEY: "ndarray",
            "dtype": array.dtype.newbyteorder("=").str.lstrip("<>|=")
            if array.dtype.kind in "MmU"
            else array.dtype.name,
            "shape": list(array.shape),
            "value": _nested(array),
        }


def _key(key: object) -> object:
    """Return a mapping's key as a plain str or int, anything else unchanged."""
    while isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str.__str__(key)
    return int(key) if isinstance(key, np.integer) else key


def _shown(key: object) -> str:
    try:
        return repr(key)
    except ValueError:  # It contains an integer with too many digits.
        return f"of type {type(key).__qualname__}"


def _float(value: float) -> object:
    if math.isfinite(value):
        return value
    return {TYPE_KEY: "float", "value": _non_finite(value)}


def _non_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _nested(array: np.ndarray[Any, Any]) -> object:
    kind = array.dtype.kind
    if kind == "c":
        return _nested(np.stack([array.real, array.imag], axis=-1))
    if kind in "Mm":
        array = array.astype(np.int64)
    if kind == "f" and not np.isfinite(array).all():
        return map_leaves(
            array.astype(np.float64).tolist(),
            lambda x: x if math.isfinite(x) else _non_finite(x),
        )
    return array.tolist()


def map_leaves(nested: Any, convert: Callable[[Any], Any]) -> Any:
    """Return nested lists with each value converted."""
    if isinstance(nested, list):
        return [map_leaves(item, convert) for item in nested]
    return convert(nested)


def _is_nat(value: object) -> bool:
    return type(value).__name__ == "NaTType"


def _datetime(value: dt.datetime) -> object:
    if _is_nat(value):
        return {TYPE_KEY: "NaT"}
    encoded: dict[str, object] = {TYPE_KEY: "datetime", "value": value.isoformat()}
    if isinstance(value.tzinfo, ZoneInfo) and value.tzinfo.key:
        encoded["zone"] = value.tzinfo.key
    if value.fold:
        encoded["fold"] = 1
    # pandas.Timestamp is a datetime whose ISO form includes its nanoseconds.
    if getattr(value, "nanosecond", None):
        encoded["precision"] = "ns"
    return encoded


def _timedelta(value: Any) -> object:
    nanoseconds = getattr(value, "nanoseconds", None)  # pandas.Timedelta
    if nanoseconds:
        return {
            TYPE_KEY: "timedelta",
            "precision": "ns",
            "value": str(value.to_numpy().astype(np.int64)),
        }
    parts = [value.days, value.seconds, value.microseconds]
    return {TYPE_KEY: "timedelta", "value": parts}


def _path(value: PurePath) -> object:
    flavor = "windows" if isinstance(value, PureWindowsPath) else "posix"
    return {TYPE_KEY: "path", "value": str(value), "flavor": flavor}


# The order matters: a datetime is a date, too.
_SPECIAL: Final[dict[type, Callable[[Any], object]]] = {
    dt.datetime: _datetime,
    dt.date: lambda value: {TYPE_KEY: "date", "value": value.isoformat()},
    dt.time: lambda value: {TYPE_KEY: "time", "value": value.isoformat()},
    dt.timedelta: _timedelta,
    PurePath: _path,
    bytes: lambda value: {TYPE_KEY: "bytes", "value": value.hex()},
    complex: lambda value: {TYPE_KEY: "complex", "value": [_float(value.real), _float(value.imag)]},
}


_NON_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def decode_json(data: bytes, *, where: str) -> Any:
    """Decode the bytes of :func:`encode_json`, or of any JSON document.

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
            hint="Restore it from a copy, or save it again.",
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
    except Exception as error:  # For example, NumPy parses dtypes as Python expressions.
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
        # A machine without the time zone's rules falls back to the offset.
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
    # A path of this operating system becomes a Path, which can be opened.
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
