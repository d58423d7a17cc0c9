"""JSON artifacts: equal values back, standard JSON on disk, clear errors."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import inspect
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from kymflow_zarr import ZarrDataset, ZarrImageRecord
from kymflow_zarr.errors import UnsupportedDataError
from kymflow_zarr.formats.json import MAX_DEPTH, TYPE_KEY, decode_json, encode_json

FIXED = dt.timezone(dt.timedelta(hours=5, minutes=45))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.complex_numbers()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.datetimes(timezones=st.none() | st.sampled_from([FIXED, dt.UTC, ZoneInfo("Asia/Tokyo")]))
)
KEYS = st.text(max_size=5) | st.just(TYPE_KEY)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.dictionaries(st.integers(), inner, max_size=3)
    ),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Tell whether two values are equal, NaN and type included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if isinstance(a, dt.datetime):
        return bool(a == b) and a.utcoffset() == b.utcoffset() and a.fold == b.fold
    return bool(a == b)


def strict(data: bytes) -> Any:
    """Parse as RFC 8259 has it: no NaN, no infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(data, parse_constant=refuse)


@given(value=VALUES)
def test_any_value_comes_back_equal_from_standard_json(value: Any) -> None:
    data = encode_json(value, where="x")
    strict(data)
    assert same(decode_json(data, where="x"), value)


@given(value=VALUES)
def test_what_was_loaded_can_be_saved_again_to_the_same_bytes(value: Any) -> None:
    data = encode_json(value, where="x")
    assert encode_json(decode_json(data, where="x"), where="x") == data


class Kind(enum.Enum):
    STALL = "stall"


class Color(str, enum.Enum):  # noqa: UP042 - its str() is not its value
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass
class Event:
    t_start: float
    kind: Kind


@pytest.mark.parametrize(
    ("saved", "loaded"),
    [
        ({"é": ["日本", "\U0001f600", "\n\t\0"]}, None),
        (10**30, None),
        ([math.nan, math.inf, -math.inf, -0.0], None),
        (np.float32(0.1), float(np.float32(0.1))),
        (np.int8(-5), -5),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.float64("nan"), math.nan),
        ((1, (2, 3)), [1, [2, 3]]),
        (Path("/data/a b.tif"), None),
        (PureWindowsPath("D:\\Users\\x"), None),
        (Event(1.5, Kind.STALL), {"t_start": 1.5, "kind": "stall"}),
        ({Color.RED: Color.RED, "Color.RED": 2}, {"red": "red", "Color.RED": 2}),
        ({Kind.STALL: 1}, {"stall": 1}),
        ({Level.LOW: Level.LOW, 2: 3}, {1: 1, 2: 3}),
        ({np.str_("a"): np.str_("b")}, {"a": "b"}),
        ([10**4290, -(10**4290)], None),
        ({1: "a", 2: {3: "b"}}, None),
        ({np.int64(1): "a"}, {1: "a"}),
        (dt.datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")), None),
        ({TYPE_KEY: "float", "value": "NaN"}, None),
        ({TYPE_KEY: {TYPE_KEY: "object", "value": {}}}, None),
        (b"\x00\xff", None),
    ],
)
def test_values_people_save(rec: ZarrImageRecord, saved: Any, loaded: Any) -> None:
    rec.save_json("x", saved)
    assert same(rec.load_json("x"), saved if loaded is None else loaded)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32", "complex128",
                                   "datetime64[ns]", "timedelta64[ms]", "U3"])  # fmt: skip
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0), (2, 3)])
def test_arrays_come_back_with_dtype_and_shape(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(6)[: math.prod(shape)].reshape(shape).astype(dtype)
    back = decode_json(encode_json({"a": array}, where="x"), where="x")["a"]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_arrays_keep_what_is_not_finite() -> None:
    for array in (np.array([1, np.nan, np.inf, -np.inf]), np.array([complex("nan+infj"), 1])):
        back = decode_json(encode_json(array, where="x"), where="x")
        np.testing.assert_array_equal(back, array)


def test_times_of_pandas_and_numpy_keep_their_nanoseconds() -> None:
    for value in (
        pd.Timestamp("2025-01-01T00:00:00.123456789", tz="Europe/Berlin"),
        pd.Timedelta(123456789, unit="ns"),
        np.datetime64("2025-01-01T00:00:00.123456789"),
        np.timedelta64(5, "ps"),
    ):
        back = decode_json(encode_json([value], where="x"), where="x")[0]
        assert back == value
        assert type(back) is type(value)
    assert decode_json(encode_json(pd.NaT, where="x"), where="x") is pd.NaT


@given(
    value=st.datetimes().map(pd.Timestamp)
    | st.integers(-(2**62), 2**62).map(lambda n: pd.Timestamp(np.datetime64(n, "s")))
    | st.integers(-(2**62), 2**62).map(lambda n: pd.Timestamp(np.datetime64(n, "ns")))
    | st.integers(-(2**62), 2**62).map(lambda n: pd.Timedelta(np.timedelta64(n, "s")))
    | st.integers(-(2**62), 2**62).map(lambda n: pd.Timedelta(np.timedelta64(n, "ns")))
    | st.integers().map(lambda n: 2**n if 0 <= n < 20_000 else n)
    | st.dictionaries(st.sampled_from([Color.RED, "red", "Color.RED", Level.LOW, 1]), st.none())
)
def test_whatever_is_accepted_comes_back_equal(value: Any) -> None:
    try:
        data = encode_json([value], where="x")
    except UnsupportedDataError:
        return  # Refused is fine; below is what must not be.
    assert decode_json(data, where="x") == [value]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": {Color.RED: 1, Kind.STALL: 2, "stall": 3}}, r"\$\.a has two keys .* 'stall'"),
        ({"a": np.ma.array([1, 2], mask=[True, False])}, r"\$\.a is a masked array"),
        ([np.ma.masked], r"\$\[0\] is a masked array"),
        ([np.void(b"ab")], r"\$\[0\] is a value of the dtype"),
        ([np.zeros(1, dtype=[("a", "i4")])[0]], r"\$\[0\] is a value of the dtype"),
        ({"n": [10**5000]}, r"\$\.n\[0\] is an integer of more digits"),
        ({"n": {10**5000: 1}}, r"a key of \$\.n is an integer of more digits"),
        ({"n": {(10**5000,): 1}}, r"\$\.n has the key of type tuple"),
        ({"t": pd.Timestamp(np.datetime64("20000-01-01", "s"))}, r"\$\.t is outside of the years"),
        ({"t": pd.Timestamp(np.datetime64("-0100-01-01", "s"))}, r"\$\.t is outside of the years"),
        ({"t": pd.Timedelta(np.timedelta64(10**17, "s"))}, r"\$\.t is longer than"),
        ([Path("/a\udc80")], r"\$\[0\] is not valid Unicode"),
        (np.array(["a" * 300_000]), r"\$ is an array of texts of 1200000 bytes"),
        ({"a": [1, {"b c": object()}]}, r"\$\.a\[1\]\['b c'\] is of type object"),
        ({"a": {1, 2}}, r"\$\.a is of type set"),
        ({1: 2, "a": 3}, r"\$ has the key 1"),
        ({"x": {(1, 2): 3}}, r"\$\.x has the key \(1, 2\)"),
        ({1.5: 2}, "has the key 1.5"),
        ({True: 2}, "has the key True"),
        (["\ud800"], r"\$\[0\] is not valid Unicode"),
        ({"\ud800": 1}, "not valid Unicode"),
        (np.array([object()]), r"\$ is an array of object"),
        (np.zeros(2, dtype=[("a", "i4")]), r"\$ is an array of"),
        ([np.longdouble(1) / 3], r"\$\[0\] is a (float128|longdouble)"),
        (pd.DataFrame({"a": [1]}), "DataFrame"),
        (lambda: 1, "function"),
    ],
)
def test_values_that_cannot_be_stored_are_named_by_their_place(
    rec: ZarrImageRecord, value: Any, place: str
) -> None:
    with pytest.raises(ValueError, match=place):
        rec.save_json("x", value)
    assert rec.list_analysis_keys() == []


def test_endless_nesting_is_an_error_in_both_directions(
    rec: ZarrImageRecord, ds: ZarrDataset
) -> None:
    value: list[Any] = []
    value.append({"a": value})
    with pytest.raises(ValueError, match=r"\$\[0\]\.a refers to itself"):
        rec.save_json("x", value)
    key = rec.save_json("x", 1)
    (ds.path / key).write_bytes(b"[" * 100_000)
    with pytest.raises(ValueError, match="json_depth"):
        rec.load_json("x")


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda inner: [inner],
    "str_keys": lambda inner: {"a": inner},
    "int_keys": lambda inner: {1: inner},
    "type_key": lambda inner: {TYPE_KEY: inner},
}


def nested(levels: int, wrapper: str) -> Any:
    value: Any = "innermost"
    for _ in range(levels):
        value = WRAPPERS[wrapper](value)
    return value


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_nesting_has_one_limit_whatever_is_nested(wrapper: str) -> None:
    deepest = nested(MAX_DEPTH + 1, wrapper)
    assert decode_json(encode_json(deepest, where="x"), where="x") == deepest
    with pytest.raises(UnsupportedDataError, match=f"more than {MAX_DEPTH} levels"):
        encode_json(WRAPPERS[wrapper](deepest), where="x")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_caller_deep_in_its_own_stack_may_save_and_load(wrapper: str) -> None:
    value = nested(MAX_DEPTH, wrapper)
    used = len(inspect.stack(0))

    def descend(levels: int) -> Any:
        if levels:
            return descend(levels - 1)
        return decode_json(encode_json(value, where="x"), where="x")

    assert descend(sys.getrecursionlimit() - used - 100) == value


def test_something_that_stands_twice_is_not_a_cycle(rec: ZarrImageRecord) -> None:
    shared = [1]
    rec.save_json("x", [shared, shared, {"a": shared}])
    assert rec.load_json("x") == [[1], [1], {"a": [1]}]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"nope", b"\xff", b'{"__type__": "float", "value": "x"}',
        b'{"__type__": "ndarray", "dtype": "O", "shape": [1], "value": [1]}',
        b'{"__type__": "ndarray", "dtype": "f8", "shape": [1000000000000], "value": [1]}',
        b'{"__type__": "ndarray", "dtype": "U1000000000", "shape": [1], "value": ["a"]}',
        b'{"__type__": "datetime", "value": 5}', b'{"__type__": "bytes"}',
        b'{"__type__": "int_keys", "value": {"a": 1}}',
    ],
)  # fmt: skip
def test_damaged_files_are_named(rec: ZarrImageRecord, ds: ZarrDataset, data: bytes) -> None:
    key = rec.save_json("x", 1)
    (ds.path / key).write_bytes(data)
    with pytest.raises(ValueError, match="not readable JSON") as caught:
        rec.load_json("x")
    assert key in str(caught.value)


def test_json_of_other_programs_is_read_as_it_stands(rec: ZarrImageRecord, ds: ZarrDataset) -> None:
    key = rec.save_json("x", 1)
    (ds.path / key).write_text('{"a": [1, null], "__type__": "of somebody else"}')
    assert rec.load_json("x") == {"a": [1, None], "__type__": "of somebody else"}


def test_plain_values_are_plain_json(rec: ZarrImageRecord, ds: ZarrDataset) -> None:
    value = {"b": [1, 2.5, "x", None, True], "a": {}}
    key = rec.save_json("x", value)
    assert json.loads((ds.path / key).read_text()) == value
