"""Replacing the rows of single images in a table leaves every other row alone."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from kymflow_zarr.errors import ArgumentError, ArgumentTypeError, CorruptDataError
from kymflow_zarr.formats.dataframe.parquet import decode_parquet, encode_parquet
from kymflow_zarr.formats.rows.replace import remove_rows, replace_rows


def events(*image_ids: str, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"image_id": list(image_ids), **columns})


def replaced(
    old: pd.DataFrame | None, new: dict[str, pd.DataFrame], **options: Any
) -> pd.DataFrame:
    existing = None if old is None else encode_parquet(old)
    return decode_parquet(replace_rows(existing, new, where="events", **options), where="events")


def values(column: pd.Series[Any]) -> list[Any]:
    return [
        None if missing else value for value, missing in zip(column, column.isna(), strict=True)
    ]


def test_rows_of_the_image_are_exchanged_and_all_others_keep_their_order() -> None:
    old = events("a", "b", "a", "c", score=[1, 2, 3, 4])
    new = events("a", "a", score=[10, 11])
    assert_frame_equal(
        replaced(old, {"a": new}),
        events("b", "c", "a", "a", score=[2, 4, 10, 11]),
        check_exact=True,
    )


def test_several_images_go_in_one_rewrite_in_the_order_given() -> None:
    old = events("a", "b", "c", score=[1, 2, 3])
    out = replaced(old, {"c": events("c", score=[30]), "a": events("a", score=[10])})
    assert_frame_equal(out, events("b", "c", "a", score=[2, 30, 10]))


@pytest.mark.parametrize("empty", [pd.DataFrame(), events(score=[])])
def test_an_empty_frame_only_removes(empty: pd.DataFrame) -> None:
    old = events("a", "b", score=[1, 2])
    assert_frame_equal(replaced(old, {"a": empty}), events("b", score=[2]))


def test_the_first_rows_make_the_table() -> None:
    rows = events("a", score=[1.5])
    assert_frame_equal(replaced(None, {"a": rows}), rows)
    assert_frame_equal(replaced(None, {"a": rows.iloc[:0]}), rows.iloc[:0])
    assert_frame_equal(replaced(None, {"a": pd.DataFrame()}), pd.DataFrame())
    assert_frame_equal(replaced(pd.DataFrame(), {"a": rows}), rows)


def test_the_callers_frames_are_left_alone() -> None:
    new = events("a", "a", score=[1, 2]).iloc[1:]
    before = new.copy(deep=True)
    replaced(events("a", score=[1]), {"a": new})
    assert_frame_equal(new, before)


def test_integers_stay_integers_where_a_side_lacks_the_column() -> None:
    old = events("a", count=[2**60 + 1], flag=[True], when=pd.to_datetime(["2024-01-01"]))
    new = events("b", extra=[7], note=["x"])
    out = replaced(old, {"b": new})
    assert list(out.columns) == ["image_id", "count", "flag", "when", "extra", "note"]
    assert out.dtypes.astype(str).to_dict() | {"image_id": "", "note": ""} == {
        "image_id": "",
        "count": "Int64",
        "flag": "boolean",
        "when": str(old["when"].dtype),
        "extra": "Int64",
        "note": "",
    }
    assert out["note"].dtype == new["note"].dtype
    assert values(out["count"]) == [2**60 + 1, None]
    assert values(out["extra"]) == [None, 7]
    assert values(out["note"]) == [None, "x"]


JOINED: dict[str, tuple[Any, Any, str | None, list[Any]]] = {
    "int32 and int64": (pd.Series([1], dtype="int32"), pd.Series([2]), "int64", [1, 2]),
    "int and float": (pd.Series([1]), pd.Series([0.5]), "float64", [1, 0.5]),
    "float and int": (pd.Series([0.5]), pd.Series([2**53]), "float64", [0.5, 2.0**53]),
    "uint64 and int64": (pd.Series([1], dtype="uint64"), pd.Series([-2]), "int64", [1, -2]),
    "int64 and large uint64": (
        pd.Series([1]),
        pd.Series([2**63], dtype="uint64"),
        "uint64",
        [1, 2**63],
    ),
    "uint8 and int8": (
        pd.Series([200], dtype="uint8"),
        pd.Series([-1], dtype="int8"),
        "int16",
        [200, -1],
    ),
    "Int64 and int64": (pd.Series([None], dtype="Int64"), pd.Series([2]), "Int64", [None, 2]),
    "bool and boolean": (
        pd.Series([True]),
        pd.Series([None], dtype="boolean"),
        "boolean",
        [True, None],
    ),
    "NaN and text": (pd.Series([np.nan]), pd.Series(["x"], dtype="str"), None, [None, "x"]),
    "NaN and int": (pd.Series([np.nan]), pd.Series([3]), "Int64", [None, 3]),
    "int and NaN": (pd.Series([3]), pd.Series([np.nan]), "Int64", [3, None]),
    "NaN and float32": (
        pd.Series([np.nan]),
        pd.Series([0.5], dtype="float32"),
        "float64",
        [None, 0.5],
    ),
    "NaN text and text": (
        pd.Series([np.nan], dtype="string"),
        pd.Series(["x"], dtype="object"),
        "string",
        [None, "x"],
    ),
    "one zone in two units": (
        pd.Series(np.array(["2024-01-01"], "M8[s]")).dt.tz_localize("Europe/Berlin"),
        pd.Series(np.array(["2024-01-02"], "M8[us]")).dt.tz_localize("Europe/Berlin"),
        "datetime64[us, Europe/Berlin]",
        [pd.Timestamp(f"2024-01-0{day}", tz="Europe/Berlin") for day in (1, 2)],
    ),
    "None and dates": (
        pd.Series([None], dtype=object),
        pd.Series([dt.date(2024, 1, 1)], dtype=object),
        "object",
        [None, dt.date(2024, 1, 1)],
    ),
    "s and ns": (
        pd.Series(["2024-01-01"]).astype("M8[s]"),
        pd.Series(["2024-01-02"]).astype("M8[ns]"),
        "datetime64[ns]",
        [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02")],
    ),
    "categories": (
        pd.Series(["x"], dtype="category"),
        pd.Series(["y"], dtype="category"),
        "category",
        ["x", "y"],
    ),
    "categories and text": (
        pd.Series(["x"], dtype="category"),
        pd.Series(["y"], dtype="str"),
        "category",
        ["x", "y"],
    ),
    "text and categories": (
        pd.Series(["x"], dtype="string"),
        pd.Series(["y"], dtype="category"),
        "string",
        ["x", "y"],
    ),
    "int categories": (
        pd.Series([5], dtype="category"),
        pd.Series([1], dtype="category"),
        "category",
        [5, 1],
    ),
    "object text and text": (
        pd.Series(["x", None], dtype=object),
        pd.Series(["y"], dtype="string"),
        "object",
        ["x", None, "y"],
    ),
    "lists": (
        pd.Series([[1]], dtype=object),
        pd.Series([[0.5], ["a"]], dtype=object),
        "object",
        [[1], [0.5], ["a"]],
    ),
    "dicts of other keys": (
        pd.Series([{"a": 1}], dtype=object),
        pd.Series([{"b": "x"}], dtype=object),
        "object",
        [{"a": 1}, {"b": "x"}],
    ),
}


@pytest.mark.parametrize("name", JOINED)
def test_a_common_type_that_changes_no_value(name: str) -> None:
    old, new, dtype, expected = JOINED[name]
    out = replaced(events(*["a"] * len(old), x=old), {"b": events(*["b"] * len(new), x=new)})
    if dtype is not None:
        assert str(out["x"].dtype) == dtype
    assert values(out["x"]) == expected


REFUSED = {
    "int and text": (pd.Series([1]), pd.Series(["x"])),
    "int and bool": (pd.Series([1]), pd.Series([True])),
    "large int and float": (pd.Series([2**53 + 1]), pd.Series([0.5])),
    "uint64 and int64 without a common type": (
        pd.Series([2**64 - 1], dtype="uint64"),
        pd.Series([-1]),
    ),
    "zone and no zone": (
        pd.Series(pd.to_datetime(["2024-01-01"])),
        pd.Series(pd.to_datetime(["2024-01-01"]).tz_localize("UTC")),
    ),
    "ordered categories": (
        pd.Series(pd.Categorical(["x"], categories=["x", "y"], ordered=True)),
        pd.Series(pd.Categorical(["x"], categories=["y", "x"], ordered=True)),
    ),
    "text that is no ordered category": (
        pd.Series(pd.Categorical(["x"], ordered=True)),
        pd.Series(["z"]),
    ),
    "time too far for ns": (
        pd.Series(np.array(["9000-01-01"], "M8[s]")),
        pd.Series(np.array(["2000-01-01"], "M8[ns]")),
    ),
    "lists and ints": (pd.Series([[1]], dtype=object), pd.Series([1])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_types_that_do_not_fit_are_refused_by_name(name: str) -> None:
    old, new = REFUSED[name]
    with pytest.raises(ArgumentError, match=r"column 'x' holds .* in the table and .*new rows"):
        replaced(events("a", x=old), {"b": events("b", x=new)})


KEPT = {
    "float16": pd.Series([1, np.nan, -0.0], dtype="float16"),
    "uint64": pd.Series([2**64 - 1, 0, 1], dtype="uint64"),
    "Int8": pd.Series([1, None, 3], dtype="Int8"),
    "category": pd.Series(pd.Categorical(["x", None, "y"], categories=["z", "y", "x"])),
    "ordered": pd.cut(pd.Series([0.1, 0.5, 0.9]), 3),
    "zone": pd.Series(pd.to_datetime(["2024-07-01", "NaT", "2024-01-01"])).dt.tz_localize(
        "Europe/Berlin"
    ),
    "seconds": pd.Series(np.array(["2024-01-01", "NaT", "1700-01-01"], "M8[s]")),
    "timedelta": pd.Series(pd.to_timedelta([1, None, 2], unit="s")),
    "period": pd.Series(pd.period_range("2024-01", periods=3, freq="M")),
    "lists": pd.Series([[1, 2], None, []], dtype=object),
    "json": pd.Series([{"a": 1}, {"b": "x"}, None], dtype=object),
    "mixed nulls": pd.Series(["x", None, np.nan], dtype=object),
    "arrays": pd.Series([np.arange(2.0), None, np.zeros(0)], dtype=object),
}


@pytest.mark.parametrize("name", KEPT)
def test_untouched_rows_keep_values_and_dtypes(name: str) -> None:
    old = events("a", "b", "c", x=KEPT[name])
    out = replaced(old, {"a": old.iloc[:1]})
    expected = old.iloc[[1, 2, 0]].reset_index(drop=True)
    assert_frame_equal(out, expected, check_exact=True)
    for got, given_ in zip(out["x"], expected["x"], strict=True):
        assert type(got) is type(given_)
    assert_frame_equal(replaced(old, {"a": pd.DataFrame()}), expected.iloc[:2], check_exact=True)


def test_each_null_stays_what_it_was_when_rows_are_appended() -> None:
    old = events("a", "b", "b", x=pd.Series(["x", None, None], dtype=object))
    new = events("c", "c", x=pd.Series(["y", np.nan], dtype=object))
    out = replaced(old, {"a": pd.DataFrame(), "c": new})["x"].tolist()
    assert out[:3] == [None, None, "y"]
    assert isinstance(out[3], float)


def test_a_table_of_another_program_can_be_changed(tmp_path: Any) -> None:
    old = events("a", "b", score=[1, 2])
    old.to_parquet(tmp_path / "t.parquet")
    data = replace_rows((tmp_path / "t.parquet").read_bytes(), {"a": pd.DataFrame()}, where="t")
    assert_frame_equal(decode_parquet(data, where="t"), events("b", score=[2]))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"score": [1]}), "no column 'image_id'"),
        (events("a", "b"), "name other images .*'a', 'b'"),
        (events("b"), "'b'"),
        (pd.DataFrame({"image_id": ["a", None]}), "null"),
    ],
)
def test_rows_of_another_image_are_refused(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        replaced(events("a"), {"a": frame})


def test_a_table_without_the_column_is_refused() -> None:
    with pytest.raises(ArgumentError, match="no column 'image_id'"):
        replaced(pd.DataFrame({"x": [1]}), {"a": events("a")})
    with pytest.raises(ArgumentError, match="no column 'image_id'"):
        remove_rows(encode_parquet(pd.DataFrame({"x": [1]})), ["a"], where="t")


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()], ids=str)
def test_large_integers_of_another_program_stay_what_they_are_beside_nulls(kind: Any) -> None:
    sink = pa.BufferOutputStream()
    most = 2**63 - 1 if kind == pa.int64() else 2**64 - 1
    large = [2**53 + 1, None, most, 5]
    made = pa.table({"image_id": ["a", "b", "c", "a"], "n": pa.array(large, kind)})
    pq.write_table(made, sink)
    data, removed = remove_rows(sink.getvalue().to_pybytes(), ["zz", "b"], where="t")
    assert removed == 1
    out = decode_parquet(data, where="t")
    assert values(out["n"]) == [2**53 + 1, most, 5]


def test_what_is_not_a_data_frame_is_refused() -> None:
    rows: Any = [{"image_id": "a"}]
    with pytest.raises(ArgumentTypeError, match="not a pandas DataFrame"):
        replace_rows(None, {"a": rows}, where="t")


def test_a_broken_table_is_named() -> None:
    with pytest.raises(CorruptDataError, match=r"tables/events\.parquet"):
        replace_rows(b"PAR1", {"a": events("a")}, where="tables/events.parquet")


def test_ids_are_compared_as_text() -> None:
    old = pd.DataFrame({"image_id": [1, 2, 1], "x": [1, 2, 3]})
    out = replaced(old, {"1": pd.DataFrame({"image_id": [1], "x": [9]})})
    assert_frame_equal(out, pd.DataFrame({"image_id": [2, 1], "x": [2, 9]}))


def test_another_id_column() -> None:
    old = pd.DataFrame({"rec": ["a", "b"], "x": [1, 2]})
    out = replaced(old, {"a": pd.DataFrame()}, image_id_col="rec")
    assert_frame_equal(out, pd.DataFrame({"rec": ["b"], "x": [2]}))


def test_named_row_labels_go_along_or_are_refused() -> None:
    old = events("a", "b", t=[0.0, 1.0]).set_index("t")
    new = events("a", t=[5.0]).set_index("t")
    expected = events("b", "a", t=[1.0, 5.0]).set_index("t")
    assert_frame_equal(replaced(old, {"a": new}), expected)
    with pytest.raises(ArgumentError, match="reset_index"):
        replaced(old, {"a": events("a")})
    with pytest.raises(ArgumentError, match="reset_index"):
        replaced(events("a"), {"a": new})


def test_a_frequency_does_not_outlive_its_rows() -> None:
    index = pd.date_range("2024", periods=3, freq="D", name="t")
    old = pd.DataFrame({"image_id": ["a", "b", "c"]}, index=index)
    out = replaced(old, {"b": pd.DataFrame()})
    assert out.index.tolist() == [index[0], index[2]]
    first = replaced(None, {"a": old.iloc[:1], "b": old.iloc[1:2], "c": old.iloc[2:]})
    assert first.index.tolist() == index.tolist()


def test_remove_counts_the_rows() -> None:
    data = encode_parquet(events("a", "b", "a", x=[1, 2, 3]))
    left, removed = remove_rows(data, ["a", "nobody"], where="t")
    assert removed == 2
    assert_frame_equal(decode_parquet(left, where="t"), events("b", x=[2]))
    assert remove_rows(data, ["nobody"], where="t") == (data, 0)


def test_thousands_of_images_of_unlike_frames() -> None:
    new = {
        f"i{number}": events(f"i{number}", x=[number] if number % 7 else [number + 0.5])
        for number in range(300)
    }
    out = replaced(events("old", x=[-1]), new)
    assert out["x"].tolist() == [-1.0, *(n if n % 7 else n + 0.5 for n in range(300))]


IDS = ["a", "b", "c", "1"]
ROW_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "count": st.integers(-(2**62), 2**62),
    "score": st.floats(allow_nan=False),
    "label": st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
    "flag": st.booleans(),
}
DTYPES = {"count": "Int64", "score": "float64", "label": "str", "flag": "boolean"}


@st.composite
def image_rows(draw: st.DrawFn, image_id: str) -> list[dict[str, Any]]:
    columns = draw(st.lists(st.sampled_from(sorted(ROW_VALUES)), unique=True, max_size=3))
    cells = {name: ROW_VALUES[name] | st.none() for name in columns}
    rows = draw(st.lists(st.fixed_dictionaries(cells), max_size=3))
    return [{"image_id": image_id, **row} for row in rows]


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    if not rows:
        return pd.DataFrame()
    data = {}
    for name in rows[0]:
        cells = [row[name] for row in rows]
        dtype = DTYPES.get(name, "str")
        if dtype in ("Int64", "boolean") and None not in cells:
            # As a user would have it: plain dtypes where nothing is missing.
            dtype = {"Int64": "int64", "boolean": "bool"}[dtype]
        data[name] = pd.Series(cells, dtype=dtype)
    return pd.DataFrame(data)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(IDS), st.just(None), max_size=3).flatmap(
            lambda ids: st.fixed_dictionaries({name: image_rows(name) for name in ids})
        ),
        max_size=4,
    )
)
def test_a_table_is_what_a_list_of_rows_would_be(
    steps: list[dict[str, list[dict[str, Any]]]],
) -> None:
    oracle: list[dict[str, Any]] = []
    data: bytes | None = None
    for step in steps:
        frames = {name: frame_of(rows) for name, rows in step.items()}
        data = replace_rows(data, frames, where="t")
        oracle = [row for row in oracle if row["image_id"] not in step]
        oracle += [row for rows in step.values() for row in rows]
        table = decode_parquet(data, where="t")
        assert len(table) == len(oracle)
        for name in {name for row in oracle for name in row}:
            expected = [row.get(name) for row in oracle]
            assert values(table[name]) == expected
            if name == "count":
                assert pd.api.types.is_integer_dtype(table[name]) or not any(
                    value is not None for value in expected
                )
        assert isinstance(table.index, pd.RangeIndex)
