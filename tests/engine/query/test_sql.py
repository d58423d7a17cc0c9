"""`ds.sql()`: questions that read the dataset, and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kymflow_zarr import ZarrDataset, set_limits
from kymflow_zarr.engine.query import gather, sql
from kymflow_zarr.errors import (
    ArgumentError,
    CorruptDataError,
    LimitExceededError,
    MissingDependencyError,
)
from tests.conftest import files_of

PIXELS = np.zeros((4, 4), "uint16")


@pytest.fixture
def asked(ds: ZarrDataset) -> ZarrDataset:
    """Two images with a condition, events of their own, and a table."""
    pytest.importorskip("duckdb")
    for name, condition in (("a", "control"), ("b", "drug")):
        rec = ds.add_image(PIXELS, image_id=name)
        rec.save_metadata_payload({"experiment_metadata": {"condition": condition}})
        rec.save_df_parquet("velocity_events/events", pd.DataFrame({"t": [1.0, 2.0]}))
    ds.save_table("scores", pd.DataFrame({"image_id": ["a", "b", "b"], "score": [1, 2, 4]}))
    return ds


def test_tables_images_and_artifacts_join(asked: ZarrDataset) -> None:
    frame = asked.sql(
        "select condition, sum(score) as total, max(t) as last from images "
        'join scores using (image_id) join "velocity_events/events" using (image_id) '
        "group by condition order by condition"
    )
    assert frame.to_dict("list") == {
        "condition": ["control", "drug"],
        "total": [2, 12],
        "last": [2.0, 2.0],
    }


def test_answers_as_arrow_and_parameters(asked: ZarrDataset) -> None:
    table = asked.sql("select score from scores where image_id = ?", ["a"], as_="arrow")
    assert table.to_pydict() == {"score": [1]}
    by_name = asked.sql("select score from scores where image_id = $id", {"id": "a"}, as_="arrow")
    assert by_name.equals(table)


def test_a_table_can_be_joined_with_itself(asked: ZarrDataset) -> None:
    frame = asked.sql("select count(*) as n from scores x join scores y using (image_id)")
    assert frame["n"].tolist() == [5]


def test_it_answers_with_what_is_there_now(asked: ZarrDataset) -> None:
    assert asked.sql("select count(*) n from scores")["n"].tolist() == [3]
    asked.save_table("scores", pd.DataFrame({"image_id": ["a"], "score": [1]}))
    asked.add_image(PIXELS, image_id="c")
    assert asked.sql("select count(*) n from scores")["n"].tolist() == [1]
    assert asked.sql("select count(*) n from images")["n"].tolist() == [3]


def test_a_table_that_was_asked_for_before_is_what_it_is_now(asked: ZarrDataset) -> None:
    file = asked.path / "tables" / "scores.parquet"
    for number in (1, 2, 3):
        asked.save_table("scores", pd.DataFrame({"image_id": ["a"], "score": [number]}))
        size = file.stat().st_size
        for seconds in (100, 100, 50):  # Long ago: only then is anything of it kept.
            os.utime(file, (time.time() - seconds + number,) * 2)
            assert asked.sql("select score from scores")["score"].tolist() == [number]
        assert file.stat().st_size == size
    with ZarrDataset(asked.path, mode="r+") as other:
        other.delete_table("scores")
    with pytest.raises(ArgumentError, match="scores"):
        asked.sql("select score from scores")


def test_every_dtype_a_table_keeps_can_be_asked_for(ds: ZarrDataset) -> None:
    pytest.importorskip("duckdb")
    frame = pd.DataFrame(
        {
            "half": np.array([1.5, 2], "float16"),
            "big": np.array([1, 2**64 - 1], "uint64"),
            "kind": pd.Categorical(["b", "a"]),
            "when": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True),
            "month": pd.period_range("2026-01", periods=2, freq="M"),
            "text": ["x", None],
            "list": [[1], [2, 3]],
        }
    )
    ds.save_table("mixed", frame)
    table = ds.sql("select * from mixed", as_="arrow")
    assert table.column_names == frame.columns.tolist()
    assert table["half"].to_pylist() == [1.5, 2.0]
    assert table["big"].to_pylist() == [1, 2**64 - 1]
    assert table["text"].to_pylist() == ["x", None]


NAMES = ["small", "big", "whole", "x", "yes", "text", "long", "day", "when", "fine", "utc"]


@pytest.mark.parametrize("sealed", [True, False], ids=["DuckDB reads", "Arrow reads"])
def test_the_types_are_the_same_with_any_executor(
    ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    pytest.importorskip("duckdb")
    if not sealed:
        monkeypatch.setattr(sql, "_FD_FOLDER", "/nowhere")
    when = pd.DatetimeIndex(["2026-01-01 00:00:00.000001", "NaT"])
    frame = pd.DataFrame(
        {
            "small": np.array([1, 2], "int8"),
            "big": np.array([1, 2**64 - 1], "uint64"),
            "whole": pd.array([1, None], dtype="Int32"),
            "x": np.array([1.5, np.nan], "float32"),
            "yes": [True, False],
            "text": ["x", None],
            "long": pd.array(["x", None], dtype="string[pyarrow]"),
            "day": pd.Series([1, None], dtype=pd.ArrowDtype(pa.date32())),
            "when": when.as_unit("us"),
            "fine": when.as_unit("ns"),
            "utc": when.as_unit("us").tz_localize("UTC"),
        }
    )
    ds.save_table("mixed", frame)
    table = ds.sql("select * from mixed", as_="arrow")
    assert table.column_names == NAMES
    assert [str(kind).replace("Etc/", "") for kind in table.schema.types] == [
        "int8", "uint64", "int32", "float", "bool", "string", "string", "date32[day]",
        "timestamp[us]", "timestamp[ns]", "timestamp[us, tz=UTC]",
    ]  # fmt: skip
    assert table.slice(0, 1).to_pylist() == pa.Table.from_pandas(frame.iloc[:1]).to_pylist()
    assert table["text"].to_pylist() == table["long"].to_pylist() == ["x", None]
    assert [table[name][1].as_py() for name in ("whole", "x", "day", "when", "utc")] == [None] * 5


def test_queries_that_write_do_not_reach_the_tables(asked: ZarrDataset) -> None:
    before = files_of(asked.path)
    for number in range(3, 40):
        path = f"/proc/self/fd/{number}"
        for copy in (
            f"copy (select 1) to '{path}' (use_tmp_file false)",
            f"copy (select * from scores) to '{path}' (format parquet, use_tmp_file false)",
        ):
            for query in (f"with x as ({copy}) select * from scores", f"explain analyze {copy}"):
                with contextlib.suppress(ArgumentError):
                    asked.sql(query)
    assert files_of(asked.path) == before
    assert asked.sql("select sum(score) n from scores")["n"].tolist() == [7]


def test_tables_are_joined_without_a_look_at_the_images(
    asked: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked.save_table("more", pd.DataFrame({"image_id": ["a", "b"], "weight": [1, 10]}))

    def looked(*_: object) -> None:
        raise AssertionError("it looked at the images")

    monkeypatch.setattr(gather, "frame_names", looked)
    for query in (
        "select sum(score * weight) as n from scores join more using (image_id)",
        "with m as (select * from more) select sum(score * weight) as n from scores natural join m",
        "select sum(score * weight) as n from scores, more where scores.image_id = more.image_id",
    ):
        assert asked.sql(query)["n"].tolist() == [61]


def test_a_table_named_images_is_that_table(asked: ZarrDataset) -> None:
    asked.save_table("images", pd.DataFrame({"mine": [1]}))
    assert asked.sql("select * from images").to_dict("list") == {"mine": [1]}


def test_whole_numbers_of_any_size_in_metadata_are_asked_for_as_text(ds: ZarrDataset) -> None:
    for image_id, serial in (("a", 2**70), ("b", 7)):
        rec = ds.add_image(np.zeros((2, 2), "uint8"), image_id=image_id)
        rec.save_metadata_payload({"version": "2.0", "experiment_metadata": {"serial": serial}})
    answer = ds.sql("select serial from images order by image_id")
    assert answer["serial"].tolist() == [str(2**70), "7"]


def test_metadata_of_many_types_is_text(asked: ZarrDataset) -> None:
    for name, value in (("a", {"x": 1}), ("b", "much")):
        asked[name].save_metadata_payload({"experiment_metadata": {"dose": value}})
    assert asked.sql("select dose from images order by image_id")["dose"].tolist() == [
        '{"x": 1}',
        '"much"',
    ]


@pytest.mark.parametrize(
    "query",
    [
        "copy (select 1) to '{out}/x.csv'",
        "copy scores to '{out}/x.parquet'",
        "explain analyze copy (select 1) to '{out}/x.csv'",
        "attach '{out}/x.db'",
        "export database '{out}/x'",
        "install httpfs",
        "load httpfs",
        "create table x as select 1",
        "copy (pivot scores on image_id using sum(score)) to '{out}/x.csv'",
        "pivot scores on image_id using sum(score); select 1",
        "insert into scores values ('a', 1)",
        "drop table scores",
        "set enable_external_access = true",
        "pragma enable_profiling",
        "call enable_logging()",
        "from enable_logging(storage = 'file', storage_config = {{'path': '{out}/x'}})",
        "select * from query('copy (select 1) to ''{out}/x.csv''')",
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('{secret}')",
        "select * from '{secret}'",
        "select * from read_parquet('{root}/tables/scores.parquet')",
        "select * from glob('{out}/*')",
        "select * from 'https://localhost:1/x.parquet'",
        "select 1; select 2",
        "",
        "select from where",
        "select * from nothing",
    ],
)
def test_a_query_only_reads_and_only_the_dataset(
    asked: ZarrDataset, tmp_path: Path, query: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    before = files_of(asked.path)
    with pytest.raises(ArgumentError):
        asked.sql(query.format(out=out, secret=secret, root=asked.path))
    assert list(out.iterdir()) == []
    assert files_of(asked.path) == before


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('.tmp/secret.csv')",
        "select * from glob('.tmp/*')",
        "with x as (copy (select 1) to '.tmp/x.csv') select 1",
        "explain analyze copy (select 1) to '.tmp/x.csv' (use_tmp_file false)",
    ],
)
def test_the_working_directory_is_out_of_reach(
    asked: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / ".tmp"  # DuckDB's own choice for what memory has no room for.
    folder.mkdir()
    (folder / "secret.csv").write_text("a\n1\n")
    with pytest.raises(ArgumentError):
        asked.sql(query)
    assert [path.name for path in folder.iterdir()] == ["secret.csv"]


def test_a_query_leaves_no_temporary_files(
    asked: ZarrDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spill = tmp_path / "it's here"
    spill.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spill))
    (setting,) = asked.sql("select current_setting('temp_directory') as folder")["folder"]
    assert Path(setting).parent == spill
    assert list(spill.iterdir()) == []

    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert asked.sql("select sum(score) as n from scores")["n"].tolist() == [7]


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_ends_a_query_as_it_ends_all_else(asked: ZarrDataset) -> None:
    long = "select count(*) from range(100000000) x, range(50) y where x.range * y.range % 7 = 3"
    threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        asked.sql(long)


def test_a_table_that_is_called_like_a_view_of_duckdb(asked: ZarrDataset) -> None:
    for name in ("duckdb_tables", "sqlite_master", "pg_class"):
        asked.save_table(name, pd.DataFrame({"mine": [name]}))
        assert asked.sql(f"select * from {name}").to_dict("list") == {"mine": [name]}


def test_parameters_are_values_of_a_frame_too(asked: ZarrDataset) -> None:
    scores = asked.load_table("scores")
    for value in (scores["score"].max(), scores["score"].to_numpy()[2], np.int8(4)):
        found = asked.sql("select image_id from scores where score = ?", [value])
        assert found["image_id"].tolist() == ["b"]
    half = asked.sql("select $half as x, $yes as y", {"half": np.float32(0.5), "yes": np.True_})
    assert half.to_dict("list") == {"x": [0.5], "y": [True]}
    with contextlib.suppress(ArgumentError):
        span = asked.sql("select typeof(?) as kind", [np.timedelta64(5, "s")])
        assert span["kind"].tolist() == ["INTERVAL"]  # It is no number, if it is taken at all.
    for wrong in ("a", 4):
        with pytest.raises(ArgumentError, match="goes into a list"):
            asked.sql("select ?", wrong)  # type: ignore[arg-type]


def test_variables_of_the_caller_are_not_seen(asked: ZarrDataset) -> None:
    local = pd.DataFrame({"secret": [1]})
    with pytest.raises(ArgumentError, match="local"):
        asked.sql("select * from local")
    assert len(local) == 1


def test_names_that_differ_in_capitals_alone(asked: ZarrDataset) -> None:
    asked.save_table("Scores", pd.DataFrame({"other": [1]}))
    with pytest.raises(ArgumentError, match="capitals"):
        asked.sql("select * from scores")


def test_a_damaged_table_is_named(asked: ZarrDataset) -> None:
    (asked.path / "tables" / "scores.parquet").write_bytes(b"PAR1 not PAR1")
    with pytest.raises(CorruptDataError, match=r"tables/scores.parquet"):
        asked.sql("select * from scores")
    assert asked.sql('select count(*) n from "velocity_events/events"')["n"].tolist() == [4]


def test_without_duckdb_the_error_names_the_extra(
    ds: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingDependencyError, match=r"kymflow-zarr\[sql\]") as info:
        ds.sql("select 1")
    assert isinstance(info.value, ImportError)


LONG = "select count(*) from range(100000000) x, range(50) y where x.range * y.range % 7 = 3"


# Between the call that opens a folder and the block that closes it Python closes it, and warns.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_at_any_moment_of_a_query_is_a_keyboard_interrupt(asked: ZarrDataset) -> None:
    query = 'select count(*) from scores, "velocity_events/events"'
    asked.sql(query)
    began = time.perf_counter()
    asked.sql(query)
    each = time.perf_counter() - began
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    others: list[str] = []
    try:
        for number in range(1, 41):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, each * number / 40)
                    asked.sql(query)
                except Exception as error:  # noqa: BLE001 - What it may not be.
                    others.append(repr(error))
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                pass
    finally:
        signal.signal(signal.SIGALRM, before)
    assert others == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_what_a_signal_handler_raises_ends_a_query(asked: ZarrDataset) -> None:
    class OverTimeError(Exception):
        pass

    def handler(*_: object) -> None:
        raise OverTimeError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(OverTimeError):
            asked.sql(LONG)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert asked.sql("select sum(score) n from scores")["n"].tolist() == [7]


def test_a_query_ends_at_the_time_limit(asked: ZarrDataset) -> None:
    with set_limits(sql_seconds=1), pytest.raises(LimitExceededError, match="sql_seconds = 1"):
        asked.sql(LONG)


def test_columns_that_differ_in_capitals_alone_are_never_mistaken(asked: ZarrDataset) -> None:
    for name, key in (("a", "Genotype"), ("b", "genotype")):
        asked[name].save_metadata_payload({"experiment_metadata": {key: name}})
        asked[name].save_df_parquet("twins", pd.DataFrame({key: [name]}))
    for query in (
        "select image_id from images where \"genotype\" = 'b'",
        "select max(GENOTYPE) from twins",
    ):
        with pytest.raises(ArgumentError, match="capitals"):
            asked.sql(query)
    assert asked.sql("select count(*) n from images")["n"].tolist() == [2]


def test_integers_beside_missing_values_stay_exact(asked: ZarrDataset) -> None:
    big = 2**53 + 1
    columns = {"whole": [big, None], "positive": [2**64 - 1, None], "all": [big, big + 2]}
    kinds = {"whole": "Int64", "positive": "UInt64", "all": "int64"}
    array: Any = pd.array
    frame = pd.DataFrame({name: array(columns[name], dtype=kinds[name]) for name in columns})
    asked.save_table("ids", frame)
    answer = asked.sql('select whole, positive, "all", whole from ids')
    first = [answer.iloc[:, i].iloc[0] for i in range(4)]
    assert first == [big, 2**64 - 1, big, big]
    assert [str(kind) for kind in answer.dtypes] == ["Int64", "UInt64", "int64", "Int64"]
    asked["a"].save_metadata_payload({"header": {"acquired_local_epoch_ns": 10**18 + 1}})
    times = asked.sql("select acquired_local_epoch_ns t from images order by image_id")
    assert times["t"].iloc[0] == 10**18 + 1


def test_sums_and_differences_of_times_are_numbers_and_durations(asked: ZarrDataset) -> None:
    assert asked.sql("select sum(score) / 2 as h, sum(score) as n from scores").dtypes["n"] == "i8"
    assert asked.sql("select sum(score) n from scores", as_="arrow")["n"].type == pa.int64()
    (large,) = asked.sql("select sum(x) n from (values (9223372036854775807), (2)) t(x)")["n"]
    assert large == 2**63 + 1
    spans = asked.sql(
        "select t - timestamp '2026-01-01' as d from (values (timestamp '2026-01-03 00:00:01.5'),"
        " (null)) x(t)"
    )["d"]
    assert spans.iloc[0] == pd.Timedelta(days=2, seconds=1.5)
    assert spans.isna().tolist() == [False, True]
    months = asked.sql("select interval 2 months as m", as_="arrow")
    assert months["m"].type == pa.month_day_nano_interval()


def test_an_answer_is_the_same_in_any_time_zone(asked: ZarrDataset) -> None:
    late = pd.to_datetime(["2025-01-01 23:30"]).tz_localize("Europe/Berlin")
    asked.save_table("runs", pd.DataFrame({"t": late}))
    code = (
        "import sys; from kymflow_zarr import ZarrDataset; "
        "answer = ZarrDataset(sys.argv[1], 'r').sql('select t::date d, hour(t) h, t from runs'); "
        "print(answer.iloc[0].tolist())"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code, str(asked.path)], env={**os.environ, "TZ": zone},
            capture_output=True, text=True, check=True,
        ).stdout
        for zone in ("UTC", "America/New_York", "Asia/Kathmandu")
    }  # fmt: skip
    assert len(answers) == 1
    assert "(22), Timestamp('2025-01-01 22:30:00+0000" in answers.pop()


def test_a_time_of_the_answer_finds_its_row_again(asked: ZarrDataset) -> None:
    when = pd.Timestamp("2025-01-01 12:00:00.123456789")
    asked.save_table("runs", pd.DataFrame({"t": pd.Series([when, None], dtype="datetime64[ns]")}))
    for value in (when, when.to_datetime64(), asked.load_table("runs")["t"].iloc[0]):
        assert asked.sql("select count(*) n from runs where t = ?", [value])["n"].tolist() == [1]
    for value in (when + pd.Timedelta(1), when.floor("us"), pd.NaT):
        assert asked.sql("select count(*) n from runs where t = ?", [value])["n"].tolist() == [0]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files")
def test_a_walk_through_many_tables_keeps_few_files_open(asked: ZarrDataset) -> None:
    for number in range(30):
        asked.save_table(f"t{number}", pd.DataFrame({"v": [number]}))
        os.utime(asked.path / "tables" / f"t{number}.parquet", (time.time() - 100,) * 2)
    before = len([*Path("/proc/self/fd").iterdir()])
    for number in range(30):
        assert asked.sql(f"select v from t{number}")["v"].tolist() == [number]
    assert len([*Path("/proc/self/fd").iterdir()]) <= before + 10


def test_where_no_file_can_be_opened_any_more_a_table_is_read_all_the_same(
    asked: ZarrDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
    assert asked.sql("select sum(score) n from scores")["n"].tolist() == [7]


def test_a_pivot_is_answered(asked: ZarrDataset) -> None:
    for query in (
        "pivot scores on image_id using sum(score)",
        "from (pivot scores on image_id using sum(score))",
    ):
        row = asked.sql(query).iloc[0]
        assert {name: int(row[name]) for name in ("a", "b") if row[name] == row[name]}
    events = asked.sql('pivot "velocity_events/events" on image_id using count(*)')
    assert events["a"].sum() == 2


def test_a_misspelled_name_says_what_was_meant(asked: ZarrDataset) -> None:
    for wrong, right in (
        ("scorse", "scores"), ('"velocity_event/events"', "velocity_events/events"),
        ("image", "images"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=f"Did you mean '{right}'") as info:
            asked.sql(f"select * from {wrong}")
        assert wrong.strip('"') in info.value.what
        assert "pg_" not in str(info.value)


def test_a_damaged_table_is_no_matter_where_its_name_is_but_a_word(asked: ZarrDataset) -> None:
    (asked.path / "tables" / "scores.parquet").write_bytes(b"PAR1 not PAR1")
    assert asked.sql("select 'scores' as word")["word"].tolist() == ["scores"]
