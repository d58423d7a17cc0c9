"""SQL queries over a dataset, run by DuckDB, which can access only the given tables.

Imports Arrow: import it late.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from kymflow_zarr.engine.hints import did_you_mean
from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    CorruptDataError,
    KymflowZarrError,
    LimitExceededError,
    extra_module,
)
from kymflow_zarr.formats.parquet.footer import arrow_reader, check_parquet_size
from kymflow_zarr.runtime.limits import get_limits
from kymflow_zarr.storage.interface import Stat

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr.engine.dataset import OpenDataset
    from kymflow_zarr.engine.index.index import Index
    from kymflow_zarr.engine.tables import Tables

T = TypeVar("T")

_SETTINGS: Final = "".join(
    f"SET {setting} = {value};"
    for setting, value in {
        # Dates and hours must not depend on the time zone of the machine.
        "TimeZone": "'UTC'",
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "lock_configuration": "true",
    }.items()
)
# PIVOT is parsed as several statements (MULTI).
_READING: Final = ("SELECT", "EXPLAIN", "MULTI")
_MISSING_TABLE: Final = re.compile("Table with name (.+?) does not exist")
# Prefixes of DuckDB's own views.
_OF_DUCKDB: Final = ("duckdb_", "pg_", "pragma_", "sqlite_")
# Maximum number of tables that DuckDB reads itself; Arrow reads the others.
_FILES: Final = 50
_IMAGES: Final = "images"
_POLL_S: Final = 0.05
_FD_FOLDER: Final = "/proc/self/fd"
_KEPT_BYTES: Final = 256 << 20
# Each cached file is an open file of this process.
_KEPT_FILES: Final = 8

Source = Callable[[], Any]
"""Returns the data that DuckDB scans: an Arrow table or dataset."""


def ask(
    query: str,
    sources: Mapping[str, Source],
    more_sources: Callable[[], Mapping[str, Source]],
    params: Sequence[Any] | Mapping[str, Any] | None,
) -> pa.Table:
    """Return the answer to a query as an Arrow table.

    Parameters
    ----------
    query : str
        One read-only statement.
    sources : mapping of str to callable
        Sources by table name; called only for names in the query.
    more_sources : callable
        Returns further sources; called only if the query uses other names.
    params : sequence or mapping, optional
        Values of ``?`` or ``$name`` in the query.

    Raises
    ------
    ArgumentError
        If it is not such a statement, or DuckDB refuses it.
    MissingDependencyError
        If DuckDB is not installed.
    """
    values = _plain_params(params)
    spill = _spill_folder()
    files = _likely_files(query, sources)
    with _Session() as session:
        # The tables are read while DuckDB starts.
        started = session.submit(session.connect)
        ahead: dict[str, Any] = {}
        for name, (source, file) in files.items():
            # A damaged table is an error only if the query really uses it.
            with contextlib.suppress(KymflowZarrError):
                ahead[name] = source.filled(file)
        session.result(started)
        try:
            session.run(
                lambda c: c.execute(_settings([file.path for _, file in files.values()], spill))
            )
            session.run(partial(_check, query=query))
            find = partial(_mentioned, query=query, sources=sources, more_sources=more_sources)
            for name, make in session.run(find).items():
                data = ahead[name] if name in ahead else make()
                _refuse_twins(query, name, data)
                session.run(partial(_register, name=name, data=data))
            return session.run(partial(_answer, query=query, params=values))
        except session.duckdb.Error as error:
            raise _refusal(error, [*sources], more_sources) from error
        finally:
            if spill:
                shutil.rmtree(spill, ignore_errors=True)


class _Session:
    """A connection to DuckDB whose calls all run in one thread of their own.

    DuckDB converts exceptions of signal handlers during its calls to its own errors. The
    caller's thread only waits, so that Ctrl-C, or any exception of a handler, is raised there
    unchanged and interrupts the query.
    """

    def __init__(self) -> None:
        self.duckdb: Any = None
        self._connection: Any = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="kymflow_zarr sql")
        self._seconds = get_limits().sql_seconds
        self._deadline = time.monotonic() + self._seconds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        closed = self._pool.submit(self._close)  # Runs after a call that is still running.
        while wait([closed], timeout=_POLL_S).not_done:
            self._interrupt()
        self._pool.shutdown()

    def connect(self) -> None:
        """Start DuckDB; runs in the session's thread."""
        self.duckdb = _duckdb()
        self._connection = self.duckdb.connect(":memory:")

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Start a call in the session's thread."""
        return self._pool.submit(call)

    def run(self, call: Callable[[Any], T]) -> T:
        """Return the result of a call with the connection."""
        return self.result(self.submit(lambda: call(self._connection)))

    def result(self, future: Future[T]) -> T:
        """Wait for a call of the session's thread; interrupt it if the wait is interrupted.

        Raises
        ------
        LimitExceededError
            If it exceeds the time limit ``sql_seconds``.
        """
        try:
            return future.result(timeout=max(0.0, self._deadline - time.monotonic()))
        except TimeoutError as error:
            if future.done():
                raise
            self._interrupt()
            raise LimitExceededError(
                f"the query takes longer than the limit sql_seconds = {self._seconds}",
                where="query",
                hint="Narrow it down, or call kymflow_zarr.set_limits(sql_seconds=...).",
            ) from error
        except BaseException:
            self._interrupt()
            raise

    def _interrupt(self) -> None:
        # The connection may not be open yet, or may be closed already.
        with contextlib.suppress(Exception):
            self._connection.interrupt()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _refusal(
    error: Exception, names: Sequence[str], more_sources: Callable[[], Mapping[str, Source]]
) -> ArgumentError:
    """Return the error to raise for a query that DuckDB refuses."""
    missing = _MISSING_TABLE.search(str(error))
    if missing is not None:
        names = [*names, *more_sources()]
        return ArgumentError(
            f"the dataset has neither a table nor a data frame {missing[1]!r}",
            where="query",
            hint=f"{did_you_mean(missing[1], names)}A query reads {_IMAGES}, the tables of "
            "list_table_names() and the data frames of images()['artifacts'].",
        )
    return ArgumentError(
        f"DuckDB cannot answer the query: {error}",
        where="query",
        hint="Put names that are not plain words into double quotes.",
    )


def _refuse_twins(query: str, name: str, data: Any) -> None:
    """Refuse a query for one of two columns whose names are equal to DuckDB."""
    if isinstance(data, SealedFile):
        return
    folded: dict[str, str] = {}
    for column in data.schema.names:
        other = folded.setdefault(column.casefold(), column)
        if other != column and _is_word_in(column.casefold(), query.casefold()):
            raise ArgumentError(
                f"the columns {other!r} and {column!r} of {name!r} differ in capitals alone, "
                "which SQL does not tell apart",
                where="query",
                hint="Give them one name, or select from images() or gather() in pandas.",
            )


def _spill_folder() -> str:
    """Return a folder, not created yet, for DuckDB to spill to; empty if none is writable.

    DuckDB's default is below the working directory, where a query could read and write.
    """
    try:
        return str(Path(tempfile.gettempdir(), f"kymflow_zarr-{uuid.uuid4().hex}"))
    except FileNotFoundError:
        return ""  # Without a writable folder a query is limited to memory.


def _answer(connection: Any, query: str, params: Any) -> pa.Table:
    """Return the result of a query, in types that Arrow and pandas compute with."""
    relation = connection.sql(query, params=params)
    kinds = [str(kind) for kind in relation.types]
    table: pa.Table = relation.to_arrow_table()
    for i, kind in enumerate(kinds):
        column: Any = table.column(i)
        if kind in ("HUGEINT", "UHUGEINT"):
            column = _as_int64(column)
        elif kind == "INTERVAL":
            column = _as_duration(column)
        if column is not table.column(i):
            table = table.set_column(i, table.field(i).with_type(column.type), column)
    return table


def _as_int64(column: Any) -> Any:
    """Return 128-bit integers, as sums are, as int64 if they fit, else unchanged."""
    for kind in (pa.int64(), pa.uint64()):
        with contextlib.suppress(pa.ArrowInvalid):
            return column.cast(kind)
    return column


def _as_duration(column: Any) -> Any:
    """Return intervals as durations, unless one has months, whose length varies."""
    parts = np.dtype([("months", "i4"), ("days", "i4"), ("ns", "i8")])
    chunks = []
    for chunk in column.chunks:
        data = np.frombuffer(chunk.buffers()[1], parts)[chunk.offset :][: len(chunk)]
        known = chunk.is_valid().to_numpy(zero_copy_only=False)
        if data["months"][known].any():
            return column
        us = data["days"].astype("i8") * 86_400_000_000 + data["ns"] // 1000
        chunks.append(pa.array(us, pa.int64(), mask=~known).cast(pa.duration("us")))
    return pa.chunked_array(chunks, pa.duration("us"))


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return a result as a data frame; integers stay exact beside missing values."""
    import pandas as pd

    frame: pd.DataFrame = table.to_pandas(integer_object_nulls=True)
    for i, column in enumerate(table.columns):
        if pa.types.is_integer(column.type) and column.null_count:
            name = str(column.type).replace("int", "Int").replace("uI", "UI")
            nullable: Any = {column.type: pd.api.types.pandas_dtype(name)}
            put: Any = frame.isetitem  # Its annotation lacks Series.
            put(i, column.to_pandas(types_mapper=nullable.get))
    return frame


def _plain_params(params: Any) -> Any:
    """Return parameters as types that DuckDB supports."""
    if params is None:
        return None
    if isinstance(params, Mapping):
        return {name: _plain_value(value) for name, value in params.items()}
    if isinstance(params, str | bytes) or not hasattr(params, "__iter__"):
        raise ArgumentTypeError(
            f"params is a list of values, or a mapping of names to them, not {params!r}",
            where="params",
            hint="A single value goes into a list.",
        )
    return [_plain_value(value) for value in params]


def _plain_value(value: Any) -> Any:
    pandas: Any = sys.modules.get("pandas")  # If not loaded, no value is from pandas.
    if pandas is not None and (value is pandas.NaT or value is pandas.NA):
        return None
    if isinstance(value, np.datetime64):
        if np.isnat(value):
            return None
        pandas = import_module("pandas")
        value = pandas.Timestamp(value)
    if pandas is not None and isinstance(value, pandas.Timestamp):
        if value.tz is None and value.nanosecond:
            return _duckdb().Value(str(value), _duckdb().sqltype("TIMESTAMP_NS"))
        return value.to_pydatetime(warn=False)
    # timedelta64 is an np.number too, but would become a bare integer.
    scalar = isinstance(value, np.number | np.bool_) and not isinstance(value, np.timedelta64)
    return value.item() if scalar else value


def _likely_files(
    query: str, sources: Mapping[str, Source]
) -> dict[str, tuple[FileSource, SealedFile]]:
    """Return the tables that a query seems to name, and files for DuckDB to read them from."""
    if not SealedFile.available():
        return {}
    text = query.casefold()
    likely = (
        (name, source)
        for name, source in sources.items()
        if isinstance(source, FileSource) and _is_word_in(name.casefold(), text)
    )
    files: dict[str, tuple[FileSource, SealedFile]] = {}
    # If no more files can be opened, Arrow reads the remaining tables.
    with contextlib.suppress(OSError):
        for name, source in islice(likely, _FILES):
            files[name] = source, source.file()
    return files


def _settings(paths: Sequence[str], spill: str) -> str:
    """Return settings that let a query open only these files and load no extensions."""
    allowed = ", ".join(f"'{path}'" for path in paths)
    quoted = spill.replace("'", "''")
    settings = f"SET temp_directory = '{quoted}'; {_SETTINGS}"
    return f"SET allowed_paths = [{allowed}]; {settings}" if paths else settings


def _register(connection: Any, name: str, data: Any) -> None:
    if isinstance(data, SealedFile):
        quoted = name.replace('"', '""')
        connection.execute(f"CREATE TEMP VIEW \"{quoted}\" AS FROM read_parquet('{data.path}')")
    else:
        connection.register(name, data)


def _duckdb() -> Any:
    return extra_module("duckdb", extra="sql", needs="SQL needs the package duckdb")


def _check(connection: Any, query: str) -> None:
    statements = connection.extract_statements(query)
    if len(statements) != 1:
        raise ArgumentError(f"the query holds {len(statements)} statements, not one", where="query")
    kind = statements[0].type.name
    if kind not in _READING:
        raise ArgumentError(
            f"the query is of the kind {kind}, and a query only reads",
            where="query",
            hint="Use SELECT; save_table() saves what comes of it.",
        )


def _mentioned(
    connection: Any,
    query: str,
    sources: Mapping[str, Source],
    more_sources: Callable[[], Mapping[str, Source]],
) -> dict[str, Source]:
    """Return the sources that a query names; ask for further sources only if necessary."""
    names = _names_in(connection, query)
    if names is None or not names <= {name.casefold() for name in sources}:
        sources = {**more_sources(), **sources}
    all_names = {name.casefold() for name in sources}
    # DuckDB does not report its own views, and would read them instead of a table of that name.
    doubtful = {name for name in all_names if names is None or name.startswith(_OF_DUCKDB)}
    names = (names or set()) | {n for n in doubtful if _is_word_in(n, query.casefold())}
    mentioned = {name: source for name, source in sources.items() if name.casefold() in names}
    folded: dict[str, str] = {}
    for name in mentioned:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise ArgumentError(
                f"SQL does not tell {other!r} from {name!r}, which differ in capitals alone",
                where="query",
            )
    return mentioned


def _names_in(connection: Any, query: str) -> set[str] | None:
    """Return the names of the tables in a query; None if DuckDB needs the tables to find them."""
    try:
        return {name.casefold() for name in connection.get_table_names(query)}
    except Exception:  # noqa: BLE001 - DuckDB binds some joins to find the names.
        pass
    try:
        ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
        tree = json.loads(text)
    except Exception:  # noqa: BLE001 - It needs an extension, and supports only queries.
        return None
    return None if tree["error"] else {name.casefold() for name in _tables_in(tree)}


def _tables_in(node: Any) -> Iterator[str]:
    """Yield the names of the tables in a syntax tree, without those that WITH defines."""
    if isinstance(node, dict):
        given: set[str] = set()
        for part in node.get("cte_map", {}).get("map", []):
            inside = set(_tables_in(part["value"])) - given
            yield from inside
            # Within its own definition, the name refers to a table.
            given |= {part["key"]} - inside
        if node.get("type") == "BASE_TABLE":
            yield node["table_name"]
        rest = [value for key, value in node.items() if key != "cte_map"]
        yield from (name for name in _tables_in(rest) if name not in given)
    elif isinstance(node, list):
        for part in node:
            yield from _tables_in(part)


def _is_word_in(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w/]){re.escape(name)}(?![\w/])", text) is not None


class SealedFile:
    """An in-memory file that becomes immutable when it is filled.

    Queries are not trusted: DuckDB has SELECT statements that write to any file it may open.
    DuckDB must know the files that it may open before it parses a query, but only the query
    shows which tables are needed. Only Linux has sealed memory files (memfd); elsewhere Arrow
    reads the tables for DuckDB, which takes two to four times as long.

    Attributes
    ----------
    path : str
    size : int
        Size in bytes.
    """

    def __init__(self) -> None:
        self.size = 0
        self._number = -1
        if sys.platform == "linux":
            flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
            self._number = os.memfd_create("table", flags)
        self.path = f"{_FD_FOLDER}/{self._number}"

    @staticmethod
    def available() -> bool:
        """Return True if the operating system has sealed memory files."""
        return sys.platform == "linux" and os.path.isdir(_FD_FOLDER)  # noqa: PTH112

    def fill(self, data: bytes) -> None:
        """Write the content and seal the file."""
        if sys.platform == "linux":
            import fcntl

            left = memoryview(data)
            while left:
                left = left[os.write(self._number, left) :]
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self._number, fcntl.F_ADD_SEALS, seals)
            self.size = len(data)

    def __del__(self) -> None:
        if self._number >= 0:
            os.close(self._number)


class FileCache:
    """A cache of the files of the last few queries, valid while their tables are unchanged.

    Checking and copying a table takes longer than many queries.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Stat, SealedFile]] = {}

    def get(self, name: str, stat: Stat | None) -> SealedFile | None:
        """Return the cached file of a table, None if the table has changed."""
        cached = self._kept.get(name)
        return cached[1] if cached is not None and cached[0] == stat else None

    def keep(self, name: str, stat: Stat | None, file: SealedFile) -> None:
        """Cache the file of a table; `stat` is from before the table was read."""
        cached = {other: entry for other, entry in self._kept.items() if other != name}
        if stat is not None and stat.settled and stat.size == file.size <= _KEPT_BYTES:
            cached[name] = stat, file
        while len(cached) > _KEPT_FILES or sum(f.size for _, f in cached.values()) > _KEPT_BYTES:
            del cached[next(iter(cached))]
        self._kept = cached


@dataclass(frozen=True, slots=True)
class FileSource:
    """A table as a Parquet file, of which DuckDB scans only the columns and rows that it needs.

    Parameters
    ----------
    name : str
    read : callable
        Returns its bytes, and its name for error messages.
    stat : callable
        Returns its size and time.
    cache : FileCache
    """

    name: str
    read: Callable[[], tuple[bytes, str]]
    stat: Callable[[], Stat | None]
    cache: FileCache

    def file(self) -> SealedFile:
        """Return a file for DuckDB: the cached one with the table, or an empty one."""
        return self.cache.get(self.name, self.stat()) or SealedFile()

    def filled(self, file: SealedFile) -> Any:
        """Return the file filled with the table, or else the table as Arrow reads it."""
        if file.size:
            return file
        stat = self.stat()
        data, where = self.read()
        schema = _checked_schema(data, where)
        if not _is_plain(schema):
            return _scanned(data, schema, where)
        file.fill(data)
        self.cache.keep(self.name, stat, file)
        return file

    def __call__(self) -> Any:
        """Return the table as Arrow reads it.

        Raises
        ------
        CorruptDataError
            If it is not a Parquet file.
        LimitExceededError
            If it would take more memory than the limit ``table_bytes``.
        """
        data, where = self.read()
        return _scanned(data, _checked_schema(data, where), where)


def _checked_schema(data: bytes, where: str) -> pa.Schema:
    check_parquet_size(data, where=where)
    try:
        return pq.read_schema(pa.BufferReader(data))
    except Exception as error:  # pyarrow raises many exception types on corrupt input.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error


def _scanned(data: bytes, schema: pa.Schema, where: str) -> Any:
    file: Any = arrow_reader(data)
    try:
        if any(map(_is_odd, schema.types)):
            return plain(pq.read_table(file))
        texts = [field.name for field in schema if pa.types.is_string(field.type)]
        form = pads.ParquetFileFormat(dictionary_columns=texts)
        fragment = form.make_fragment(file)
        return pads.FileSystemDataset([fragment], fragment.physical_schema, form)
    except Exception as error:  # As above.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error


def plain(table: pa.Table) -> pa.Table:
    """Return a table with types that DuckDB supports."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column: Any = table[name]
        if isinstance(column.type, pa.BaseExtensionType):
            column = pa.chunked_array([chunk.storage for chunk in column.chunks])
        if pa.types.is_float16(column.type):
            column = column.cast(pa.float32())
        columns[name] = column
    return pa.table(columns)


def frame_source(frame: pd.DataFrame) -> pa.Table:
    """Return a data frame as a table; values of mixed types become JSON text."""
    columns = {}
    for name in frame.columns:
        try:
            columns[str(name)] = pa.array(frame[name], from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            texts = [None if v is None else json.dumps(v, default=str) for v in frame[name]]
            columns[str(name)] = pa.array(texts, pa.string())
    return plain(pa.table(columns))


def _is_odd(type_: pa.DataType) -> bool:
    return isinstance(type_, pa.BaseExtensionType) or pa.types.is_float16(type_)


def _is_plain(schema: pa.Schema) -> bool:
    """Return True if DuckDB and Arrow read the same types from a file."""
    names = {name.casefold() for name in schema.names}
    return 0 < len(names) == len(schema) and all(map(_is_usual, schema.types))


def _is_usual(type_: pa.DataType) -> bool:
    if pa.types.is_timestamp(type_):
        return type_.unit in ("us", "ns") and type_.tz in (None, "UTC")
    is_a = pa.types
    return any(
        of(type_)
        for of in (
            is_a.is_integer, is_a.is_float32, is_a.is_float64, is_a.is_boolean, is_a.is_string,
            is_a.is_large_string, is_a.is_date32,
        )
    )  # fmt: skip


def table_sources(dataset: OpenDataset, tables: Tables) -> dict[str, Source]:
    """Return the sources that need no listing of artifacts: the tables, then ``images``."""
    images = {_IMAGES: lambda: frame_source(dataset.images())}
    return images | {name: tables.source(name) for name in tables.names()}


def artifact_sources(dataset: OpenDataset, index: Index) -> Mapping[str, Source]:
    """Return a source for each name of a data-frame artifact."""
    from kymflow_zarr.engine.query.gather import frame_names

    return {name: partial(_artifact, dataset, name) for name in frame_names(index)}


def _artifact(dataset: OpenDataset, name: str) -> Any:
    return plain(dataset.gather(name, as_="arrow"))
