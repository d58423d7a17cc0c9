"""Questions in SQL, answered by DuckDB from memory: a query sees tables and nothing else.

Imports Arrow: import it late.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from kymflow_zarr.engine.query.sql_files import FileCache, SealedFile
from kymflow_zarr.errors import (
    ArgumentError,
    ArgumentTypeError,
    CorruptDataError,
    MissingDependencyError,
)
from kymflow_zarr.formats.parquet.size import check_parquet_size
from kymflow_zarr.storage.local.storage import Stat

if TYPE_CHECKING:
    import pandas as pd

_SETTINGS: Final = "".join(
    f"SET {setting} = {value};"
    for setting, value in {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "python_enable_replacements": "false",
        "lock_configuration": "true",
    }.items()
)
_READING: Final = ("SELECT", "EXPLAIN")
# How the names of its own views begin.
_OF_DUCKDB: Final = ("duckdb_", "pg_", "pragma_", "sqlite_")
# How many tables of a query DuckDB reads itself; Arrow reads the others.
_FILES: Final = 50

Source = Callable[[], Any]
"""Returns what DuckDB scans: an Arrow table or dataset."""


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
        One statement that only reads.
    sources : mapping of str to callable
        What each name in the query stands for; called only for names that are in it.
    more_sources : callable
        Returns what other names stand for; called if there are any in the query.
    params : sequence or mapping, optional
        Values of ``?`` or ``$name`` in the query.

    Raises
    ------
    ArgumentError
        If it is no such statement, or DuckDB refuses it.
    MissingDependencyError
        If DuckDB is not installed.
    """
    duckdb = _duckdb()
    values = _plain_params(params)
    spill = _spill_folder()
    files = _likely_files(query, sources)
    with ThreadPoolExecutor(2) as pool:
        # They are read while DuckDB starts.
        ahead = {name: pool.submit(source.filled, file) for name, (source, file) in files.items()}
        connection = duckdb.connect(":memory:")
        try:
            connection.execute(_settings([file.path for _, file in files.values()], spill))
            _check(connection, query)
            for name, source in _mentioned(connection, query, sources, more_sources).items():
                _register(connection, name, ahead[name].result() if name in ahead else source())
            return _answered(pool, connection, query, values)
        except duckdb.Error as error:
            raise ArgumentError(
                f"DuckDB cannot answer the query: {error}",
                where="query",
                hint="Put names that are not plain words into double quotes.",
            ) from error
        finally:
            connection.close()
            if spill:
                shutil.rmtree(spill, ignore_errors=True)


def _spill_folder() -> str:
    """Return a folder, not made yet, for what DuckDB has no room for; empty if there is none.

    Its own choice is below the working directory, where a query could read and write.
    """
    try:
        return str(Path(tempfile.gettempdir(), f"kymflow_zarr-{uuid.uuid4().hex}"))
    except FileNotFoundError:
        return ""  # Nothing can be written: a query has the memory that there is.


def _answered(pool: Executor, connection: Any, query: str, params: Any) -> pa.Table:
    """Return the answer; Ctrl-C, which DuckDB hears late or calls an error, ends the query."""
    answer = pool.submit(lambda: connection.sql(query, params=params).to_arrow_table())
    try:
        table: pa.Table = answer.result()
    except KeyboardInterrupt:
        connection.interrupt()
        wait([answer])
        raise
    return table


def _plain_params(params: Any) -> Any:
    """Return parameters of types that DuckDB knows."""
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
    # A time span, which NumPy counts among the integers, would become a bare number.
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
    return {name: (source, source.file()) for name, source in islice(likely, _FILES)}


def _settings(paths: Sequence[str], spill: str) -> str:
    """Return the settings: whatever a query does, it opens these files alone, and loads no code."""
    allowed = ", ".join(f"'{path}'" for path in paths)
    quoted = spill.replace("'", "''")
    settings = f"SET temp_directory = '{quoted}'; {_SETTINGS}"
    return f"SET allowed_paths = [{allowed}]; {settings}" if paths else settings


def _register(connection: Any, name: str, made: Any) -> None:
    if isinstance(made, SealedFile):
        quoted = name.replace('"', '""')
        connection.execute(f"CREATE TEMP VIEW \"{quoted}\" AS FROM read_parquet('{made.path}')")
    else:
        connection.register(name, made)


def _duckdb() -> Any:
    try:
        return import_module("duckdb")
    except ImportError as error:
        raise MissingDependencyError(
            "SQL needs the package duckdb, which is not installed",
            hint="Install it with the extra: pip install 'kymflow-zarr[sql]'.",
        ) from error


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
    """Return the sources that a query names; to look for more of them takes time."""
    names = _names_in(connection, query)
    if names is None or not names <= {name.casefold() for name in sources}:
        sources = {**more_sources(), **sources}
    all_names = {name.casefold() for name in sources}
    # Of those it does not speak, and would answer with what its own view says.
    doubtful = {name for name in all_names if names is None or name.startswith(_OF_DUCKDB)}
    names = (names or set()) | {n for n in doubtful if _is_word_in(n, query.casefold())}
    found = {name: source for name, source in sources.items() if name.casefold() in names}
    folded: dict[str, str] = {}
    for name in found:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise ArgumentError(
                f"SQL does not tell {other!r} from {name!r}, which differ in capitals alone",
                where="query",
            )
    return found


def _names_in(connection: Any, query: str) -> set[str] | None:
    """Return the names of the tables in a query; None if DuckDB cannot tell before it has them."""
    try:
        return {name.casefold() for name in connection.get_table_names(query)}
    except Exception:  # noqa: BLE001 - It binds some joins to find out.
        pass
    try:
        ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
        tree = json.loads(text)
    except Exception:  # noqa: BLE001 - It needs an extension, and knows queries alone.
        return None
    return None if tree["error"] else {name.casefold() for name in _tables_in(tree)}


def _tables_in(node: Any) -> Iterator[str]:
    """Yield the names of the tables in a syntax tree, without those that WITH gives."""
    if isinstance(node, dict):
        given: set[str] = set()
        for part in node.get("cte_map", {}).get("map", []):
            inside = set(_tables_in(part["value"])) - given
            yield from inside
            # Within its own definition the name is that of a table.
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


@dataclass(frozen=True, slots=True)
class FileSource:
    """A table: a Parquet file of which DuckDB scans only the columns and rows it asks for.

    Parameters
    ----------
    name : str
    read : callable
        Returns its bytes, and how an error message calls it.
    stat : callable
        Returns its size and time.
    cache : FileCache
    """

    name: str
    read: Callable[[], tuple[bytes, str]]
    stat: Callable[[], Stat | None]
    cache: FileCache

    def file(self) -> SealedFile:
        """Return a file for DuckDB: with the table in it, or still empty."""
        return self.cache.get(self.name, self.stat()) or SealedFile()

    def filled(self, file: SealedFile) -> Any:
        """Return the file with the table in it, or else what Arrow reads of it."""
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
        """Return what Arrow reads of it.

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
    except Exception as error:  # What damaged bytes make the parser raise is open.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error


def _scanned(data: bytes, schema: pa.Schema, where: str) -> Any:
    file: Any = pa.BufferReader(data)
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
    """Return a table whose types DuckDB knows."""
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
    """Return a data frame as a table; values that share no type become JSON text."""
    columns = {}
    for name in frame.columns:
        try:
            columns[str(name)] = pa.array(frame[name], from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError):
            texts = [None if v is None else json.dumps(v, default=str) for v in frame[name]]
            columns[str(name)] = pa.array(texts, pa.string())
    return plain(pa.table(columns))


def _is_odd(type_: pa.DataType) -> bool:
    return isinstance(type_, pa.BaseExtensionType) or pa.types.is_float16(type_)


def _is_plain(schema: pa.Schema) -> bool:
    """Whether DuckDB finds the same types in a file as in what Arrow reads of it."""
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
