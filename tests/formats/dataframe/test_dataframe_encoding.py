"""A data frame that was saved comes back equal; other programs can read the file."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import gzip
import io
import json
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from kymflow_zarr.errors import (
    ArgumentTypeError,
    CorruptDataError,
    FormatVersionError,
    UnsupportedDataError,
)
from kymflow_zarr.formats.dataframe.csv_gz import decode_csv_gz, encode_csv_gz
from kymflow_zarr.formats.dataframe.parquet import decode_parquet, encode_parquet

NAN = float("nan")


def objects(*values: Any) -> Any:
    return pd.Series(list(values), dtype=object)


def categories(values: Any, **options: Any) -> Any:
    return pd.Series(pd.Categorical(values, **options))


def arrow(values: list[Any], arrow_type: Any) -> Any:
    return pd.Series(values, dtype=pd.ArrowDtype(arrow_type))


def same_cell(a: Any, b: Any) -> bool:
    """Equality as a person means it: of one type, and a NaN is a NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_cell(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_cell, a, b))
    both_nan = isinstance(a, float) and np.isnan(a) and np.isnan(b)
    return both_nan or a is b or bool(a == b)


def assert_same(given_: pd.DataFrame, back: pd.DataFrame) -> None:
    nested = [
        position for position in range(given_.shape[1]) if given_.dtypes.iloc[position].kind == "O"
    ]
    plain = [position for position in range(given_.shape[1]) if position not in nested]
    options: dict[str, Any] = {"check_exact": True, "check_freq": True}
    assert_frame_equal(given_.iloc[:, plain], back.iloc[:, plain], **options)
    assert_frame_equal(given_.iloc[:, []], back.iloc[:, []], **options)
    assert list(map(str, given_.dtypes)) == list(map(str, back.dtypes))
    assert type(given_.columns) is type(back.columns)
    assert given_.columns.identical(back.columns)
    for position in nested:
        for a, b in zip(given_.iloc[:, position], back.iloc[:, position], strict=True):
            assert same_cell(a, b), (a, b)
    assert given_.attrs == back.attrs


UNITS = ["s", "ms", "us", "ns"]
ZONES: list[Any] = [
    "UTC",
    zoneinfo.ZoneInfo("Europe/Berlin"),
    dt.timezone(-dt.timedelta(hours=5, minutes=30)),
    dt.timezone(dt.timedelta(seconds=77)),
]
SPANS: Any = pd.Series(np.array([1, -2, "NaT"], "m8[s]"))
INSTANTS: Any = pd.Series(np.array(["2024-07-01T12:00:01", "NaT", "1850-01-01"], "M8[s]"))

COLUMNS: dict[str, Any] = {
    **{
        name: pd.Series([0, np.iinfo(name).max, np.iinfo(name).min], dtype=name)
        for name in ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    },
    **{
        name: pd.Series(np.array([-0.0, NAN, -np.inf, 0.1], dtype=name))
        for name in ["float16", "float32", "float64"]
    },
    "bool": pd.Series([True, False]),
    **{
        name: pd.Series([1, None, 0], dtype=name)
        for name in [
            *["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"],
            *["Float32", "Float64", "boolean"],
        ]
    },
    **{
        f"text {name}": pd.Series(["a", "", None, "NA", 'µ\n"q", x'], dtype=name)
        for name in ["str", "string[python]", "string[pyarrow]", "object"]
    },
    **{f"datetime {unit}": INSTANTS.astype(f"M8[{unit}]") for unit in UNITS},
    **{f"timedelta {unit}": SPANS.astype(f"m8[{unit}]") for unit in UNITS},
    **{
        f"datetime {unit} {zone}": INSTANTS.astype(f"M8[{unit}]")
        .dt.tz_localize("UTC")
        .dt.tz_convert(zone)
        for unit in UNITS
        for zone in ZONES
    },
    "categories": categories(["a", None, "b"]),
    "categories ordered, unused": categories(["a", "b"], categories=["z", "b", "a"], ordered=True),
    "categories int": categories([1, 5, None], categories=[9, 5, 1]),
    "categories datetime": categories(pd.to_datetime(["2024", "NaT"]).tz_localize("UTC")),
    "categories bool": categories([True, None, False]),
    "categories none": categories([None, None]),
    "categories object": categories(objects("x", None, "y")),
    "all None": objects(None, None),
    "ints with None": objects(1, None, 2**62),
    "large ints with None": objects(2**63, None),
    "bools with None": objects(True, None, False),
    "floats with None": objects(1.5, None, NAN),
    "text, None and NaN": objects("a", None, NAN, "b"),
    "text, NA and NaT": objects(pd.NA, "a", pd.NaT, NAN),
    "only NaN": objects(NAN, NAN),
    "dates": objects(dt.date(2024, 1, 1), None),
    "times": objects(dt.time(1, 2, 3, 4), None, dt.time(0)),
    "decimals": objects(decimal.Decimal("1.10"), None, decimal.Decimal(-3)),
    "NumPy scalars": objects(np.float32(0.1), None),
    "NumPy text": objects(np.str_("x"), None),
    "Arrow int64": arrow([1, None], pa.int64()),
    "Arrow text": arrow(["a", None], pa.string()),
    "Arrow seconds": arrow([dt.datetime(2024, 1, 1), None], pa.timestamp("s")),
    "Arrow decimal": arrow([decimal.Decimal("1.5"), None], pa.decimal128(5, 2)),
}
NESTED: dict[str, Any] = {
    "bytes": objects(b"\x00\xff", None),
    "lists": objects([1, 2], None, []),
    "lists of lists": objects([[1], [2, None]], [[]], None),
    "lists of mixed numbers": objects([1, 2.5], [None], [NAN]),
    "lists of text and numbers": objects([1, "a"], []),
    "lists of huge ints": objects([2**70], None),
    "tuples": objects((1, 2), None, ()),
    "dicts of equal keys": objects({"a": 1, "b": "x"}, {"a": 2, "b": None}, None),
    "dicts of other keys": objects({"a": 1}, {"b": 2.5}, {}, None),
    "nested dicts": objects({"a": 1, "b": {"c": [1]}}, {"a": "x"}),
    "dicts with int keys": objects({1: 2.0}, {3: NAN}),
    "ragged dicts with NaN": objects({"a": NAN, "b": "s"}, {"c": -np.inf}),
    "arrays": objects(np.arange(3.0), None, np.array([NAN])),
    "arrays 2-D": objects(np.zeros((2, 3), "f2"), None, np.ones((1, 1), "f2")),
    "arrays empty": objects(np.array([], "u1"), np.array([1], "u1")),
    "periods": pd.Series(pd.PeriodIndex(["2024-01", None], freq="M")),
    "intervals": pd.Series(pd.arrays.IntervalArray.from_tuples([(0, 1), (1, 2)], closed="both")),
    "intervals of times": pd.Series(pd.interval_range(pd.Timestamp("2024", tz="UTC"), periods=2)),
    "binned": pd.cut(pd.Series([0.1, 0.5, NAN]), 3),
    "Arrow lists": arrow([[1], None], pa.list_(pa.int64())),
}


@pytest.mark.parametrize("name", COLUMNS | NESTED)
def test_a_column_comes_back_from_parquet(name: str) -> None:
    df = pd.DataFrame({"x": (COLUMNS | NESTED)[name]})
    for rows in (df, df.iloc[:0], df.iloc[1:]):
        data = encode_parquet(rows)
        assert_same(rows, decode_parquet(data, where="t"))
        assert encode_parquet(rows.copy()) == data
        assert len(pd.read_parquet(io.BytesIO(data))) == len(rows)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_back_from_csv(name: str) -> None:
    df = pd.DataFrame({"x": COLUMNS[name]})
    for frame in (df, df.iloc[:0], df.iloc[1:], df.assign(other=1)):
        data = encode_csv_gz(frame)
        assert_same(frame, decode_csv_gz(data, where="t"))
        assert encode_csv_gz(frame.copy()) == data
        assert len(pd.read_csv(io.BytesIO(data), compression="gzip")) == len(frame)


def test_big_endian_numbers_stay_so() -> None:
    df = pd.DataFrame({"x": np.array([1, 2], dtype=">i4")})
    assert decode_parquet(encode_parquet(df), where="t")["x"].dtype == ">i4"
    assert decode_csv_gz(encode_csv_gz(df), where="t")["x"].tolist() == [1, 2]


FRAMES: dict[str, pd.DataFrame] = {
    "nothing": pd.DataFrame(),
    "no columns": pd.DataFrame(index=[1, 2]),
    "no columns, counted rows": pd.DataFrame(index=range(3)),
    "no rows": pd.DataFrame({"a": pd.Series([], dtype="int8")}),
    "no rows, no types": pd.DataFrame(columns=["a"]),
    "start and step": pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 1, -2, name="q")),
    "named index": pd.DataFrame({"a": [1, 2]}, index=pd.Index([3, 4], name="time_s")),
    "index named as a column": pd.DataFrame({"a": [1]}, index=pd.Index([3], name="a")),
    "text index": pd.DataFrame({"a": [1, 2]}, index=["x", "y"]),
    "index twice the same": pd.DataFrame({"a": [1, 2]}, index=[1, 1]),
    "times with frequency": pd.DataFrame(
        {"a": [1, 2, 3]}, index=pd.date_range("2024", periods=3, freq="MS", tz="Europe/Berlin")
    ),
    "durations": pd.DataFrame({"a": [1, 2]}, index=pd.timedelta_range("0s", periods=2, freq="s")),
    "levels": pd.DataFrame(
        {"a": range(4)},
        index=pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["roi", None]),
    ),
    "categories as index": pd.DataFrame({"a": [1, 2]}, index=pd.CategoricalIndex(["b", "a"])),
    "column order": pd.DataFrame({"z": [1], "b": [2], "a": [3]}),
    "int labels": pd.DataFrame({7: [1], 3: [2]}),
    "counted labels": pd.DataFrame(np.eye(2)),
    "mixed labels": pd.DataFrame({"a": [1], 2: [2]}),
    "label levels": pd.DataFrame(
        np.eye(4), columns=pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", None])
    ),
    "date labels": pd.DataFrame(np.eye(2), columns=pd.date_range("2024", periods=2, freq="D")),
    "category labels": pd.DataFrame(np.eye(2), columns=pd.CategoricalIndex(["a", "b"])),
    "named labels": pd.DataFrame({"a": [1]}).rename_axis(columns="quantity"),
    "awkward labels": pd.DataFrame({'a "b",\nc': [1, 2], "": [3, 4], "µ": ["x", "y"]}),
}
FRAMES["attrs"] = pd.DataFrame({"a": [1]})
FRAMES["attrs"].attrs = {"unit": "mm/s", "roi": {"ids": [1, 2.5, None]}}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back_with_index_labels_and_attrs(name: str) -> None:
    df = FRAMES[name]
    assert_same(df, decode_parquet(encode_parquet(df), where="t"))
    assert_same(df, decode_csv_gz(encode_csv_gz(df), where="t"))


REFUSED: dict[str, Any] = {
    "complex": pd.Series([1j]),
    "mixed": objects(1, "a"),
    "ints and floats": objects(1, 1.5),
    "any object": objects(object()),
    "sets": objects({1}),
    "ints of more than 64 bit": objects(2**64),
    "signed and large ints": objects(-1, 2**63),
    "sparse": pd.Series(pd.arrays.SparseArray([1, 0])),
    "long double": pd.Series(np.array([1], dtype="longdouble")),
    "decimal NaN": objects(decimal.Decimal("NaN")),
    "time with zone": objects(dt.time(1, tzinfo=dt.UTC)),
    "lone surrogate": objects("\ud800"),
    "arrays of other dtypes": objects(np.zeros(1, "f4"), np.zeros(1, "f8")),
    "array shapes that collapse": objects(np.zeros((0, 3))),
    "dicts like our own marker": objects({"$float": "1.0"}, {"a": 1, "b": "x"}),
    "sets in dicts": objects({"a": {1}}),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("encode", [encode_parquet, encode_csv_gz])
def test_what_would_not_come_back_is_refused_by_name(encode: Any, name: str) -> None:
    if name == "long double" and np.dtype("longdouble").itemsize == 8:
        pytest.skip("a long double is a double here")
    with pytest.raises(UnsupportedDataError, match="column 'velocity'"):
        encode(pd.DataFrame({"ok": 1, "velocity": REFUSED[name]}))


@pytest.mark.parametrize("name", ["bytes", "lists", "dicts of equal keys", "arrays", "intervals"])
def test_csv_names_the_way_out(name: str) -> None:
    with pytest.raises(UnsupportedDataError, match=r"column 'x'.*save_df_parquet"):
        encode_csv_gz(pd.DataFrame({"x": NESTED[name]}))


def test_columns_of_one_name_are_refused() -> None:
    for columns in (["a", "b", "a"], ["1", "b", 1]):
        with pytest.raises(UnsupportedDataError, match=r"same name: '(a|1)'"):
            encode_parquet(pd.DataFrame([[1, 2, 3]], columns=columns))


def test_attrs_that_are_not_json_are_refused() -> None:
    df = pd.DataFrame({"a": [1]})
    refused: list[dict[Any, Any]] = [{"x": object()}, {"x": (1, 2)}, {1: "x"}, {"x": NAN}]
    for attrs in refused:
        df.attrs = dict(attrs)
        with pytest.raises(UnsupportedDataError, match="attrs"):
            encode_parquet(df)


@pytest.mark.parametrize("encode", [encode_parquet, encode_csv_gz])
def test_what_is_not_a_data_frame_is_refused(encode: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"DataFrame is needed, not builtins\.dict"):
        encode({"a": [1]})


def test_other_programs_read_plain_columns() -> None:
    df = pd.DataFrame(
        {
            "image_id": ["a", "b"],
            "roi_id": [1, 2],
            "velocity": [0.5, NAN],
            "accepted": [True, False],
            "when": pd.to_datetime(["2024-01-01 12:00", "NaT"]),
            "kind": pd.Categorical(["x", "y"]),
            "count": pd.array([1, None], dtype="Int64"),
            "trace": [[1.0, 2.0], [3.0]],
            "info": [{"a": 1}, {"b": "x"}],
        }
    )
    data = encode_parquet(df)
    rows = pq.read_table(pa.BufferReader(data)).to_pylist()
    assert rows[0]["when"] == dt.datetime(2024, 1, 1, 12)
    assert [json.loads(row.pop("info")) for row in rows] == [{"a": 1}, {"b": "x"}]
    assert [row | {"when": None} for row in rows] == [
        {
            "image_id": "a",
            "roi_id": 1,
            "velocity": 0.5,
            "accepted": True,
            "when": None,
            "kind": "x",
            "count": 1,
            "trace": [1.0, 2.0],
        },
        {
            "image_id": "b",
            "roi_id": 2,
            "velocity": None,
            "accepted": False,
            "when": None,
            "kind": "y",
            "count": None,
            "trace": [3.0],
        },
    ]
    plain = [name for name in df.columns if name not in ("trace", "info")]
    assert_frame_equal(pd.read_parquet(io.BytesIO(data))[plain], df[plain])


@pytest.mark.parametrize("name", ["named index", "text index", "levels", "column order"])
def test_pandas_itself_finds_the_index(name: str) -> None:
    df = FRAMES[name]
    assert_frame_equal(pd.read_parquet(io.BytesIO(encode_parquet(df))), df)


def test_files_of_other_programs_decode_as_pandas_reads_them() -> None:
    df = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pd.Index([3, 4], name="i"))
    sink = io.BytesIO()
    df.to_parquet(sink)
    assert_frame_equal(decode_parquet(sink.getvalue(), where="t"), df)
    bare = io.BytesIO()
    pq.write_table(pa.table({"a": [1, None]}), bare)
    assert_frame_equal(decode_parquet(bare.getvalue(), where="t"), pd.DataFrame({"a": [1.0, NAN]}))
    text = gzip.compress(b"a,b\n1,x\n2,\n")
    expected = pd.read_csv(io.BytesIO(b"a,b\n1,x\n2,\n"))
    assert_frame_equal(decode_csv_gz(text, where="t"), expected)


def test_a_note_that_was_carried_over_to_other_rows_is_not_believed() -> None:
    data = encode_parquet(pd.DataFrame({"a": objects("x", None, NAN), "b": [1, 2, 3]}))
    table = pq.read_table(pa.BufferReader(data))
    for changed in (table.slice(1), table.select(["b"])):
        sink = io.BytesIO()
        pq.write_table(changed, sink)
        back = decode_parquet(sink.getvalue(), where="t")
        assert back["b"].tolist() == changed["b"].to_pylist()


def test_a_newer_version_is_refused() -> None:
    table = pq.read_table(pa.BufferReader(encode_parquet(pd.DataFrame({"a": [1]}))))
    metadata = dict(table.schema.metadata)
    note = json.loads(metadata[b"kymflow_zarr"])
    assert note["encoding"] == "dataframe"
    metadata[b"kymflow_zarr"] = json.dumps(note | {"encoding_version": 2}).encode()
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    with pytest.raises(FormatVersionError, match=r"version 2.*analysis/x\.parquet"):
        decode_parquet(sink.getvalue(), where="analysis/x.parquet")


@pytest.mark.parametrize(
    ("encode", "decode"), [(encode_parquet, decode_parquet), (encode_csv_gz, decode_csv_gz)]
)
def test_damage_is_found_and_named(encode: Any, decode: Any) -> None:
    df = pd.DataFrame({"a": np.arange(500.0), "b": [f"t{n}" for n in range(500)]})
    data = encode(df)
    for broken in (b"", b"no such format", data[:-9], data[: len(data) // 2]):
        with pytest.raises(CorruptDataError, match=r"images/i/analysis/x"):
            decode(broken, where="images/i/analysis/x")
    for position in range(5, len(data), 211):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        try:
            back = decode(bytes(flipped), where="x")
        except (CorruptDataError, FormatVersionError):
            continue
        # Some bytes carry no data; what comes back is never different data.
        assert back.to_numpy().tolist() == df.to_numpy().tolist()


def test_the_frame_that_comes_back_can_be_changed() -> None:
    df = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [1.0, 2.0], "d": [True, False]})
    for back in (
        decode_parquet(encode_parquet(df), where="t"),
        decode_csv_gz(encode_csv_gz(df), where="t"),
    ):
        changes: dict[str, Any] = {"a": 9, "b": "z", "c": 0.5, "d": False}
        for name, value in changes.items():
            back.loc[0, name] = value
        assert back.iloc[0].tolist() == [9, "z", 0.5, False]


def test_a_buffer_is_as_good_as_bytes() -> None:
    df = pd.DataFrame({"a": [1]})
    assert_frame_equal(decode_parquet(pa.py_buffer(encode_parquet(df)), where="t"), df)


def test_the_gzip_csv_is_plain_and_holds_no_time() -> None:
    df = pd.DataFrame({"a": [1, 2], "b": ["", None], "c": [0.1, NAN], "t": [1e-300, 1e22]})
    data = encode_csv_gz(df)
    assert gzip.decompress(data) == b'"a","b","c","t"\n1,"",0.1,1e-300\n2,,,1e+22\n'
    assert data[4:8] == bytes(4)
    indexed = encode_csv_gz(df.set_index("t"))
    assert gzip.decompress(indexed).startswith(b'"t","a","b","c"\n')


CELLS: dict[str, st.SearchStrategy[Any]] = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "Int16": st.none() | st.integers(-(2**15), 2**15 - 1),
    "float32": st.floats(width=32),
    "float64": st.floats(),
    "bool": st.booleans(),
    "boolean": st.none() | st.booleans(),
    "str": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    "string": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
    "category": st.none() | st.sampled_from(["a", "", "NA", "µ"]),
    "datetime64[ns]": st.none() | st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),
    "timedelta64[us]": st.none() | st.timedeltas(dt.timedelta(-90000), dt.timedelta(90000)),
    "object": st.sampled_from([None, NAN, "x", "", "None", pd.NA, pd.NaT]),
}


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    dtypes = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    rows = draw(st.integers(0, 5))
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    names = draw(st.lists(text, unique=True, min_size=len(dtypes), max_size=len(dtypes)))
    data = {
        name: pd.Series(draw(st.lists(CELLS[dtype], min_size=rows, max_size=rows)), dtype=dtype)
        for name, dtype in zip(names, dtypes, strict=True)
    }
    df = pd.DataFrame(data)
    return df.set_index(names[0]) if draw(st.booleans()) and len(names) > 1 else df


@settings(deadline=None, max_examples=100)
@given(frames())
def test_any_frame_of_these_columns_comes_back_from_parquet(df: pd.DataFrame) -> None:
    assert_same(df, decode_parquet(encode_parquet(df), where="t"))


@settings(deadline=None, max_examples=100)
@given(frames())
def test_any_frame_comes_back_from_csv_or_is_refused(df: pd.DataFrame) -> None:
    data = None
    with contextlib.suppress(UnsupportedDataError):
        data = encode_csv_gz(df)
    if data is not None:
        assert_same(df, decode_csv_gz(data, where="t"))


JSON_CELLS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text("ab$", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", ""]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.none() | st.dictionaries(st.sampled_from(["a", "b"]), JSON_CELLS), max_size=4)
    | st.lists(st.none() | st.lists(JSON_CELLS, max_size=3), max_size=4)
)
def test_whatever_json_can_say_comes_back(cells: list[Any]) -> None:
    df = pd.DataFrame({"x": objects(*cells)})
    assert_same(df, decode_parquet(encode_parquet(df), where="t"))
