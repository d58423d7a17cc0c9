"""A change of few rows leaves the row groups of all others as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from kymflow_zarr import ZarrDataset
from kymflow_zarr.errors import CorruptDataError
from kymflow_zarr.formats.dataframe import parquet
from kymflow_zarr.formats.dataframe.parquet import decode_parquet, encode_parquet
from kymflow_zarr.formats.parquet.footer import dump_struct, load_struct
from kymflow_zarr.formats.rows import row_groups as patch_module
from kymflow_zarr.formats.rows.replace import remove_rows, replace_rows
from kymflow_zarr.runtime.limits import set_limits

MOST = 8
"""Rows of a row group in these tests."""


@pytest.fixture(autouse=True)
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", MOST)
    monkeypatch.setattr(patch_module, "ROW_GROUP_ROWS", MOST)
    monkeypatch.setattr(patch_module, "FEW_ROWS", MOST // 4)
    monkeypatch.setattr(patch_module, "FEWEST_GROUPS", 2)


def table(*counts: int, **columns: Any) -> pd.DataFrame:
    """Rows of the images "i00", "i01", ..., so many of each."""
    ids = [f"i{number:02}" for number, count in enumerate(counts) for _ in range(count)]
    frame = pd.DataFrame({"image_id": ids, "n": range(len(ids)), "x": np.arange(len(ids)) / 4})
    return frame.assign(kind=pd.Categorical(frame["n"].mod(3).map({0: "a", 1: "b", 2: "c"})))


def rows_of(image_id: str, count: int, frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[:count].assign(image_id=image_id, x=-1.0)


def start_of(column: Any) -> int:
    start: int = column.dictionary_page_offset
    return start


def group_rows(data: bytes) -> list[int]:
    metadata = pq.ParquetFile(pa.BufferReader(data)).metadata
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def check_file(data: bytes) -> None:
    """The footer says what is there, for any reader."""
    file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
    metadata, at = file.metadata, 4
    assert metadata.num_rows == sum(group_rows(data)) == len(file.read())
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        columns = [group.column(j) for j in range(group.num_columns)]
        assert group.total_byte_size == sum(column.total_uncompressed_size for column in columns)
        for column in columns:
            start = min(p for p in (column.dictionary_page_offset, column.data_page_offset) if p)
            assert start == at
            at += column.total_compressed_size
        assert len(file.read_row_group(i)) == group.num_rows


def test_only_what_the_image_is_in_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = table(*[4] * 20)
    old = encode_parquet(frame)
    assert group_rows(old) == [8] * 10
    decoded: list[int] = []
    read = pq.ParquetFile.read_row_group

    def counted(self: Any, i: int, columns: Any = None, **options: Any) -> Any:
        if columns is None:
            decoded.append(i)
        return read(self, i, columns=columns, **options)

    def whole(self: Any, **options: Any) -> Any:
        raise AssertionError("all of the table was decoded")

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    monkeypatch.setattr(pq.ParquetFile, "read", whole)
    new = replace_rows(old, {"i05": rows_of("i05", 3, frame)}, where="t")
    assert decoded == [2, 9]
    decoded.clear()
    assert remove_rows(new, ["i00", "i01"], where="t")[1] == 8
    # Nothing is left of the row group.
    assert decoded == []
    groups = [pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(5) for data in (old, new)]
    spans = [start_of(group.column(0)) for group in groups]
    size = groups[0].column(3).total_compressed_size
    assert old[spans[0] : spans[0] + size] == new[spans[1] : spans[1] + size]


def test_the_memory_that_it_takes_does_not_follow_the_table() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for module in (parquet, patch_module):
            patch.setattr(module, "ROW_GROUP_ROWS", 1000)
        patch.setattr(patch_module, "FEW_ROWS", 250)
        peaks, pools = [], []
        for images in (100, 1000):
            frame = table(*[100] * images)
            old = encode_parquet(frame)
            usual = pa.default_memory_pool()
            pool = pa.proxy_memory_pool(usual)
            pools.append(pool)  # What lies in it may be freed later.
            pa.set_memory_pool(pool)
            try:
                replace_rows(old, {"i05": rows_of("i05", 3, frame)}, where="t")
            finally:
                pa.set_memory_pool(usual)
            peaks.append(pool.max_memory() or 0)
        assert 0 < peaks[1] < 2 * peaks[0]
        whole = pa.Table.from_pandas(frame).nbytes
        assert peaks[1] < whole / 4


def expected(frame: pd.DataFrame, new: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What comes of it by the words of the docstring, for frames of the same columns."""
    kept = frame[~frame["image_id"].isin(list(new))]
    return pd.concat([kept, *new.values()], ignore_index=True)


def test_a_mistake_in_the_short_way_is_no_reason_for_the_long_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frame = table(*[4] * 20)
    old = encode_parquet(frame)

    def mistaken(*_: object) -> None:
        raise AttributeError("a mistake")

    monkeypatch.setattr(patch_module, "_runs", mistaken)
    with pytest.raises(AttributeError, match="a mistake"):
        replace_rows(old, {"i00": rows_of("i00", 2, frame)}, where="x")


def test_rows_keep_their_order_and_new_ones_come_last() -> None:
    frame = table(*[3] * 20)
    for names in (["i00"], ["i19"], ["i07", "i03"], ["new"], ["i00", "i10", "i19", "new"]):
        new = {name: rows_of(name, 4, frame) for name in names}
        data = replace_rows(encode_parquet(frame), new, where="t")
        check_file(data)
        assert_frame_equal(decode_parquet(data, where="t"), expected(frame, new))


def test_row_groups_neither_vanish_nor_pile_up() -> None:
    frame = table(*[4] * 20)
    data = encode_parquet(frame)
    for number in range(60):
        name = f"i{number % 25:02}"
        data = replace_rows(data, {name: rows_of(name, 1, frame)}, where="t")
        frame = expected(frame, {name: rows_of(name, 1, frame)})
        counts = group_rows(data)
        assert max(counts) <= MOST
        assert min(counts) >= min(MOST // 4, len(frame))
    assert_frame_equal(decode_parquet(data, where="t")[["image_id", "n"]], frame[["image_id", "n"]])


def test_what_nothing_is_left_of_is_a_table_without_rows() -> None:
    frame = table(*[4] * 5)
    data, removed = remove_rows(encode_parquet(frame), set(frame["image_id"]), where="t")
    assert removed == 20
    assert_frame_equal(decode_parquet(data, where="t"), frame.iloc[:0])


def test_nothing_to_change_changes_no_byte() -> None:
    frame = table(*[4] * 20)
    old = encode_parquet(frame)
    assert replace_rows(old, {"new": frame.iloc[:0]}, where="t") == old
    assert remove_rows(old, ["new"], where="t") == (old, 0)
    frame = frame.drop(columns="kind")
    old = encode_parquet(frame)
    last = frame[frame["image_id"] == "i19"]
    assert replace_rows(old, {"i19": last}, where="t") == old


CELLS: dict[str, Any] = {
    "int64": st.integers(-5, 5),
    "Int64": st.none() | st.integers(-5, 5),
    "float64": st.sampled_from([0.5, -1.0, np.nan, np.inf]),
    "bool": st.booleans(),
    "str": st.sampled_from(["", "x", "yy", None]),
    "string": st.sampled_from(["", "x", "yy", None]),
    "category": st.sampled_from(["a", "b", "c", None]),
    "object": st.sampled_from(["a", "b", None, np.nan]),
    "list": st.lists(st.integers(0, 3), max_size=2),
    "datetime64[us]": st.sampled_from([pd.Timestamp("2024-01-01"), pd.NaT]),
    "float16": st.sampled_from([0.5, 2.0]),
}


@st.composite
def frames(draw: st.DrawFn, dtypes: dict[str, str], ids: list[str]) -> pd.DataFrame:
    columns: dict[str, Any] = {"image_id": pd.Series(ids, dtype="str")}
    for name, dtype in dtypes.items():
        cells = draw(st.lists(CELLS[dtype], min_size=len(ids), max_size=len(ids)))
        kind = "object" if dtype == "list" else dtype
        columns[name] = pd.Series(cells, dtype=kind)
    return pd.DataFrame(columns)


@st.composite
def changes(draw: st.DrawFn) -> tuple[pd.DataFrame, list[dict[str, pd.DataFrame]]]:
    names = ["a", "b", "c"]
    dtypes = {name: draw(st.sampled_from(sorted(CELLS))) for name in names}
    ids = draw(st.lists(st.sampled_from([f"i{i}" for i in range(9)]), min_size=17, max_size=45))
    frame = draw(frames(dtypes, draw(st.sampled_from([ids, sorted(ids)]))))
    steps = []
    for _ in range(draw(st.integers(1, 3))):
        step = {}
        for image_id in draw(st.lists(st.sampled_from([f"i{i}" for i in range(10)]), unique=True)):
            other = {
                name: draw(st.sampled_from([dtype, dtype, dtype, *sorted(CELLS)]))
                for name, dtype in dtypes.items()
                if draw(st.integers(0, 9))
            }
            step[image_id] = draw(frames(other, [image_id] * draw(st.integers(0, 12))))
        steps.append(step)
    return frame, steps


def outcome(data: bytes, step: dict[str, pd.DataFrame]) -> bytes | str:
    try:
        return replace_rows(data, step, where="t")
    except ValueError as error:
        return str(error)


@settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(changes())
def test_the_rows_are_those_of_a_rewrite_of_it_all(
    case: tuple[pd.DataFrame, list[dict[str, pd.DataFrame]]],
) -> None:
    frame, steps = case
    quick = plain = encode_parquet(frame)
    for step in steps:
        found = outcome(quick, step)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(patch_module.GroupedTable, "of_bytes", lambda data, where: None)
            wanted = outcome(plain, step)
        if isinstance(wanted, str) or isinstance(found, str):
            assert found == wanted
            continue
        check_file(found)
        assert_frame_equal(
            decode_parquet(found, where="t"), decode_parquet(wanted, where="t"), check_exact=True
        )
        names = [name for name in step if len(name) > 1][:2]
        assert decode_parquet(remove_rows(found, names, where="t")[0], where="t").equals(
            decode_parquet(remove_rows(wanted, names, where="t")[0], where="t")
        )
        assert pq.read_schema(pa.BufferReader(found)).names == (
            pq.read_schema(pa.BufferReader(wanted)).names
        )
        quick, plain = found, wanted


def written(frame: pd.DataFrame, **options: Any) -> bytes:
    """The file of a frame as another writer of the same format may have written it."""
    sink = pa.BufferOutputStream()
    made = pq.read_table(pa.BufferReader(encode_parquet(frame)))
    usual: dict[str, Any] = {"row_group_size": 5, "compression": "snappy"}
    pq.write_table(made, sink, **usual | options)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "options",
    [
        {"write_statistics": False},
        {"write_page_index": True, "write_page_checksum": True},
        {"data_page_version": "2.0", "use_dictionary": False},
        {"row_group_size": 1},
        {"row_group_size": 1000},
        {"version": "1.0"},
    ],
    ids=repr,
)
def test_files_of_other_writers(options: dict[str, Any]) -> None:
    frame = table(*[3] * 20)
    new = {name: rows_of(name, 2, frame) for name in ("i07", "new")}
    data = replace_rows(written(frame, **options), new, where="t")
    check_file(data)
    assert_frame_equal(decode_parquet(data, where="t"), expected(frame, new))
    assert len(group_rows(data)) < 20
    for i in range(len(group_rows(data))):
        column = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(i).column(0)
        # It told of pages by where they were.
        assert not column.has_column_index
        assert not column.has_offset_index


@pytest.mark.parametrize("gone", [["i00", "i01"], ["i05"]])
def test_columns_stored_another_way_are_not_described_as_usual(gone: list[str]) -> None:
    frame = table(*[4] * 20).assign(
        when=pd.date_range("2026-01-01", periods=80, freq="h").as_unit("ns")
    )
    # Times of 96 bits, and of the first images nothing is left of a row group.
    old = written(frame, use_deprecated_int96_timestamps=True, row_group_size=8)
    data, removed = remove_rows(old, gone, where="t")
    assert removed == 4 * len(gone)
    kept = frame[~frame["image_id"].isin(gone)].reset_index(drop=True)
    assert_frame_equal(decode_parquet(data, where="t"), kept)


def test_ids_that_are_numbers() -> None:
    frame = pd.DataFrame({"image_id": np.repeat(np.arange(20), 4), "x": np.arange(80)})
    new = frame[frame["image_id"] == 5].assign(x=-1)
    data = replace_rows(encode_parquet(frame), {"5": new.astype({"image_id": str})[:0]}, where="t")
    assert_frame_equal(
        decode_parquet(data, where="t"), frame[frame["image_id"] != 5].reset_index(drop=True)
    )


def test_a_damaged_page_does_not_get_new_checksums(tmp_path: Path) -> None:
    with ZarrDataset(tmp_path / "a.zarr", mode="w", durability="relaxed") as ds:
        frame = table(*[4] * 20)
        ds.save_table("t", frame)
        file = ds.path / "tables" / "t.parquet"
        data = bytearray(file.read_bytes())
        column = pq.ParquetFile(pa.BufferReader(bytes(data))).metadata.row_group(5).column(2)
        data[column.data_page_offset + column.total_compressed_size - 1] ^= 1
        file.write_bytes(data)
        with pytest.raises(CorruptDataError, match=r"t\.parquet"):
            ds.replace_rows_for_image_id("t", "i00", rows_of("i00", 1, frame))
        assert file.read_bytes() == data


def test_any_reader_reads_it(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    frame = table(*[4] * 20)
    new = {"i05": rows_of("i05", 3, frame)}
    data = replace_rows(encode_parquet(frame), new, where="t")
    wanted = expected(frame, new)
    plain = pd.read_parquet(pa.BufferReader(data))
    assert_frame_equal(plain, wanted, check_dtype=False, check_categorical=False)
    file = tmp_path / "t.parquet"
    file.write_bytes(data)
    with duckdb.connect(":memory:") as connection:
        found = connection.sql(f"select image_id, n, x from '{file}'").fetchall()
        assert found == list(wanted[["image_id", "n", "x"]].itertuples(index=False, name=None))
        assert len(connection.sql(f"from '{file}' where image_id = 'i05'").fetchall()) == 3


@pytest.fixture(params=[{}, {"write_page_index": True}, {"row_group_size": 3}], ids=repr)
def footer(request: pytest.FixtureRequest) -> bytes:
    data = written(table(*[2] * 40), **request.param)
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


def test_a_footer_is_written_as_it_was_read(footer: bytes) -> None:
    struct, end = load_struct(footer)
    assert end == len(footer)
    assert dump_struct(struct) == footer


def test_many_row_groups_of_many_texts_are_no_threat() -> None:
    frame = pd.DataFrame({"image_id": [f"image {'x' * (i % 7)}{i}" for i in range(400)]})
    data = encode_parquet(frame)
    # If each were as long as the dictionary of its row group, they would take 20 times this.
    with set_limits(table_bytes=40_000):
        assert_frame_equal(decode_parquet(data, where="t"), frame)
