"""CSV as other programs write it: the right values, or refused with the reason."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from kymflow_zarr import ZarrDataset
from kymflow_zarr.formats.dataframe.csv_foreign import decode_csv, read_csv
from kymflow_zarr.formats.dataframe.parquet import encode_parquet


def test_rows_that_end_in_a_comma_keep_their_columns() -> None:
    table = decode_csv(b"frame,speed\n0,1.5,\n1,2.5,\n2,3.5,\n")
    assert table.to_dict("list") == {"frame": [0, 1, 2], "speed": [1.5, 2.5, 3.5]}


def test_a_first_column_that_counts_is_a_column() -> None:
    table = decode_csv(b"time,v\n0,5\n2,6\n4,7\n")
    assert table.to_dict("list") == {"time": [0, 2, 4], "v": [5, 6, 7]}
    assert isinstance(table.index, pd.RangeIndex)


def test_a_longer_row_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match="3, not 2, in line 2 below"):
        decode_csv(b"a,b\n1,2\n1,2,3\n")


def test_a_row_that_is_cut_short_has_gaps_at_its_end() -> None:
    table = decode_csv(b"a,b,c\n1,2,3\n4,5\n")
    assert table[["a", "b"]].to_dict("list") == {"a": [1, 4], "b": [2, 5]}
    assert table["c"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("time;velocity, mm/s\n0;1,5\n1;2,5\n", "semicolons, or by commas"),
        ("a;b\tc\n1;2\t3\n", "semicolons or tabs, or by commas"),
        ("a;b\n1;2\n1;2;3\n", "semicolons, not by commas"),
        ("a,b;c\n1,2;3,\n", "semicolons, or by commas"),
        ("My results\n0;1\n1;2\n", "semicolons, and a header of one field"),
        ("time velocity\n0 1.5\n1 2.5\n", "spaces"),
        ("sep=:\ntime:velocity\n0:1\n", "':', not by commas"),
        ("n;v\n1,234;2\n5,678;3\n", "a comma in column 'n', which may be thousands"),
        ("n;v\n1.234,5;2\n5,5;3\n", "points and commas in column 'n'"),
        ("n;v\n1,5;0.5\n2,5;0.25\n", "a comma in column 'n', and with a point in 'v'"),
        ("sep=;\na;b\n1;2\n1;2;3\n", "3, not 2, in line 2 below"),
        ("time,velocity\n0,1,5\n1,2,5\n", "more fields"),
        ('time,velocity\n0,"1,5"\n1,"2,25"\n', "a comma in column 'velocity'"),
        ("a,b\n1;2\n3;4\n", "a single field in each row"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ('a,b\n1,"2\n', "is no CSV"),
    ],
)
def test_what_is_no_csv_with_commas_is_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        decode_csv(text.encode("utf-8-sig"))


def test_text_of_another_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        decode_csv("a,b\n1,5 \N{MICRO SIGN}m\n".encode("latin-1"))


@pytest.mark.parametrize(
    "data",
    [
        "a,b\n1,5\n".encode("utf-16-le"),
        "a,b\n1,5\n".encode("utf-16-be"),
        "a,b\n1,5\n".encode("utf-32"),
        b"a,b\n1,5\n2,6\n" + bytes(100),
        b"PK\x03\x04\x14\x00\x06\x00,\n",
    ],
)
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="has null bytes"):
        decode_csv(data)


def test_a_second_byte_order_mark_is_no_part_of_a_name() -> None:
    table = decode_csv(b"\xef\xbb\xbf\xef\xbb\xbftime,v\n0,1.5\n")
    assert table.to_dict("list") == {"time": [0], "v": [1.5]}


def test_line_ends_of_two_kinds_are_read_or_refused_as_such() -> None:
    table = decode_csv(b"a,b\r\n1,2\n3,4\r\n")
    assert table.to_dict("list") == {"a": [1, 3], "b": [2, 4]}
    with pytest.raises(ValueError, match="end in CR beside lines that end in LF"):
        decode_csv(b"a,b\r1,2\r3,4\n5,6\r")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("0,1.5\n1,2.5\n", True),  # A table without a header.
        ("0,1\n5,2.5\n", False),  # pandas names columns so that have no names.
        ("time,0.5\n0,1.5\n", False),
    ],
)
def test_a_first_line_of_numbers_is_told(text: str, told: bool) -> None:
    notes: list[str] = []
    read_csv(text.encode(), notes=notes)
    assert notes == ["was read with the numbers of its first line as names of columns"] * told


def test_a_file_that_only_begins_as_utf_16_is_refused() -> None:
    with pytest.raises(ValueError, match="is no UTF-16 text"):
        decode_csv(b"\xff\xfea,b\n1,2\n3")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with mark"])
@pytest.mark.parametrize(
    "text",
    [
        "time;velocity\n0;1,5\n1;-2,25\n",
        "time;velocity\r\n0;1,5\r\n1;-2,25\r\n",
        "time\tvelocity\n0\t1,5\n1\t-2,25\n",
        "time\tvelocity\n0\t1.5\n1\t-2.25\n",
        "time|velocity\n0|1.5\n1|-2.25\n",
        "sep=;\ntime;velocity\n0;1,5\n1;-2,25\n",
        '"sep=\t"\r\ntime\tvelocity\r\n0\t1.5\r\n1\t-2.25\r\n',
        "sep=,\ntime,velocity\n0,1.5\n1,-2.25\n",
        'time;velocity\n"0";"1,5"\n"1";"-2,25"\n',
        "time;velocity\n0;0,15E+01\n1;-225e-2\n",
    ],
)
def test_semicolons_tabs_and_decimal_commas_are_read_as_numbers(text: str, encoding: str) -> None:
    data = text.encode(encoding.partition(" ")[0])
    table = decode_csv(b"\xfe\xff" + data if "mark" in encoding else data)
    assert table.to_dict("list") == {"time": [0, 1], "velocity": [1.5, -2.25]}


def test_commas_in_names_and_words_of_a_file_with_semicolons_stay() -> None:
    table = decode_csv(b'time;"velocity, mm/s";note\n0;1,5;red, small\n1;;1,5 um\n')
    assert table.drop(columns="velocity, mm/s").to_dict("list") == {
        "time": [0, 1],
        "note": ["red, small", "1,5 um"],
    }
    assert table["velocity, mm/s"].fillna(-1).tolist() == [1.5, -1]


def test_columns_of_known_programs_have_one_type_with_semicolons_too() -> None:
    usual = decode_csv(f"{VELOCITY}1,1,0.5,2,data,a.tif,mpRadon\n".encode())
    rows = VELOCITY.replace(",", ";") + "1;1;0,5;2;20250722;a.tif;mpRadon\n"
    table = decode_csv(rows.encode())
    assert table.dtypes.tolist() == usual.dtypes.tolist()
    assert (table["time"][0], table["parentFolder"][0]) == (0.5, "20250722")


def test_a_line_for_excel_before_the_header_is_no_header() -> None:
    table = decode_csv(b"sep=,\r\ntime,velocity\r\n0,1.5\r\n1,2.5\r\n")
    assert table.to_dict("list") == {"time": [0, 1], "velocity": [1.5, 2.5]}


def test_semicolons_in_words_are_no_delimiter() -> None:
    table = decode_csv(b"time;s,tags\n0,red;blue\n1,green\n")
    assert table.to_dict("list") == {"time;s": [0, 1], "tags": ["red;blue", "green"]}


def test_pairs_of_numbers_stay_text_where_decimals_have_points() -> None:
    table = decode_csv(b'at,v\n"3,4",1.5\n"5,6",2.5\n')
    assert table.to_dict("list") == {"at": ["3,4", "5,6"], "v": [1.5, 2.5]}


def test_long_numbers_beside_gaps_keep_their_digits() -> None:
    table = decode_csv(b"track,x\n9007199254740993,0\n,1\n9999999999999999,0.5\n")
    assert table["track"].tolist()[::2] == ["9007199254740993", "9999999999999999"]
    assert table["track"].isna().tolist() == [False, True, False]
    assert decode_csv(b"n,x\n9007199254740993,1\n")["n"].tolist() == [9007199254740993]
    assert decode_csv(b"n,x\n9007199254740993,1\n0.5,2\n")["n"].tolist() == [
        "9007199254740993",
        "0.5",
    ]


VELOCITY = "roi_id,channel,time,velocity,parentFolder,file,algorithm\n"


@pytest.mark.parametrize("folder", ["20250722", "007", "data", "1e5", "", "NA", "True"])
def test_columns_of_known_programs_have_one_type(folder: str) -> None:
    table = decode_csv(f"{VELOCITY}1,1,0,2,{folder},a.tif,mpRadon\n".encode())
    usual = decode_csv(f"{VELOCITY}1,1,0.5,-0.25,data,b.tif,mpRadon\n".encode())
    assert table.dtypes.tolist() == usual.dtypes.tolist()
    assert table["parentFolder"].fillna("").tolist() == [folder]


def test_whole_numbers_and_words_of_known_programs_may_have_gaps() -> None:
    table = decode_csv(
        b"rel_path,i_start,i_end,accepted,date\na.tif,1,,True,20250722\nb.tif,2,7,,\n"
    )
    assert table["i_end"].fillna(-1).tolist() == [-1, 7]
    assert table["accepted"].isna().tolist() == [False, True]
    assert table["date"].fillna("").tolist() == ["20250722", ""]
    assert decode_csv(b"rel_path,roi_id\na,9007199254740993\nb,\n")["roi_id"][0] == 9007199254740993


def test_folders_named_by_dates_and_by_words_are_gathered(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    (folder / "flow-analysis").mkdir(parents=True)
    for name, parent in (("a", "20250722"), ("b", "data")):
        tifffile.imwrite(folder / f"{name}.tif", np.full((20, 9), ord(name), "uint16"))
        (folder / "flow-analysis" / f"{name}_radon.csv").write_text(
            f"{VELOCITY}1,1,0.5,1.5,{parent},{name}.tif,mpRadon\n"
        )
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        ds.ingest_legacy_folder(folder)
        assert sorted(ds.gather("velocity")["parent_folder"]) == ["20250722", "data"]
        assert ds.gather("velocity", as_="dataset").count_rows() == 2
        found = ds.sql("select parent_folder from velocity order by 1")
        assert found["parent_folder"].tolist() == ["20250722", "data"]


def test_a_folder_from_a_german_spreadsheet_goes_in_and_the_report_says_how(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", np.zeros((20, 9), "uint16"))
    rows = "t;v\n0;1,5\n1;2,5\n"
    (folder / "a.peaks.csv").write_text(rows, encoding="utf-16")
    (folder / "lab_db.csv").write_text("rel_path;v\na.tif;0,5\n")
    with ZarrDataset(tmp_path / "x.zarr") as ds:
        report = ds.ingest_legacy_folder(folder)
        (rec,) = ds.iter_records()
        assert rec.load_df_parquet("peaks").to_dict("list") == {"t": [0, 1], "v": [1.5, 2.5]}
        assert ds.load_table("lab_db")["v"].tolist() == [0.5]
        (image,) = report.ingested
        assert image.reason is not None
        how = "was read with UTF-16, semicolons between the fields, decimal commas"
        assert f"a.peaks.csv {how}" in image.reason
        (pooled,) = report.pooled
        assert pooled.reason is not None
        assert "was read with semicolons between the fields, decimal commas" in pooled.reason
        ds.export_legacy_folder(tmp_path / "out", layout="kymflow")
    for name in ("a.peaks.csv", "lab_db.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


def by_pandas(data: bytes) -> pd.DataFrame:
    """Read a CSV with pandas, columns whose text would not come back as text."""
    table = pd.read_csv(io.BytesIO(data))
    raw = pd.read_csv(io.BytesIO(data), dtype=str, keep_default_na=False, na_filter=False)
    for name in table.columns:
        if loses(table[name], raw[name]):
            table[name] = raw[name].where(raw[name] != "", None)
    return table


def loses(column: pd.Series[Any], raw: pd.Series[Any]) -> bool:
    given = raw[raw != ""]
    if column.dtype.kind in "iuf":
        if given.str.strip().str.fullmatch(r"[+-]?0\d+|[+-]?\d{17,}").any():
            return True
        infinite = column.isin([float("inf"), float("-inf")])
        return bool((infinite & ~raw.str.lower().str.contains("inf")).any())
    return column.dtype.kind != "b" and bool((column.isna() & (raw != "")).any())


CELLS = st.one_of(
    st.sampled_from(
        [
            "", "NA", "nan", "NaN", "None", "null", "True", "False", "TRUE", "true", "007", "0",
            "+4", ".5", "5.", "1e5", "1E-3", " 1", "1 ", " 1.5", "1.5 ", "inf", "-inf", "Infinity",
            "1e999", "12345678901234567", "0x1A", "1_0", 'a"b', "a\nb", "x y", "2025-01-01",
            "NAN", "10:30", "-0", "-.5", "+.5", "e5", "1e", "--1", "1.2.3", "1d5", "+inf",
        ]
    ),
    st.integers(-1000, 1000).map(str),
    st.floats(allow_nan=False).map(repr),
    st.text("abcä ", min_size=1, max_size=4),
)  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> bytes:
    width = draw(st.integers(2, 4))
    pools = [draw(st.lists(CELLS, min_size=1, max_size=3)) for _ in range(width)]
    rows = draw(st.lists(st.tuples(*map(st.sampled_from, pools)), max_size=5))
    header = draw(st.lists(st.sampled_from(["a", "b", "c d", ""]), min_size=width, max_size=width))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    writer.writerows([["z", *header], *(["r", *row] for row in rows)])
    return text.getvalue().encode()


@given(files())
def test_values_and_types_are_those_that_pandas_infers(data: bytes) -> None:
    pd.testing.assert_frame_equal(decode_csv(data), by_pandas(data), check_exact=True)


@given(files())
def test_the_parquet_of_a_csv_is_that_of_its_data_frame(data: bytes) -> None:
    assert read_csv(data).to_bytes() == encode_parquet(decode_csv(data))


@st.composite
def pooled_files(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return one table of a known program twice: without quotes, and with text in quotes."""
    header = "rel_path,roi_id,i_start,t_start,strength,accepted,note,mine"
    cell = CELLS.filter(lambda text: text.isprintable() and not set(text) & set('",'))
    rows = draw(st.lists(st.lists(cell, min_size=7, max_size=7), max_size=4))
    quoted, plain = ("".join(f"{q}a.tif{q},{','.join(row)}\n" for row in rows) for q in ('"', ""))
    return f"{header}\n{plain}".encode(), f"{header}\n{quoted}".encode()


@given(pooled_files())
def test_numbers_of_known_programs_do_not_depend_on_quotes_around_other_fields(
    data: tuple[bytes, bytes],
) -> None:
    plain, quoted = (read_csv(each).to_bytes() for each in data)
    assert plain == quoted
