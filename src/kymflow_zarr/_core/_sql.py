"""Questions in SQL, answered by DuckDB from memory: a query sees tables and nothing else.

Imports Arrow: import it late.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from kymflow_zarr._encodings._parquet_size import check_parquet_size
from kymflow_zarr.errors import ArgumentError, CorruptDataError, MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd

# Whatever a query does, it reads no file, writes none, and loads no code.
_SETTINGS: Final = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    "lock_configuration": True,
}
_READING: Final = ("SELECT", "EXPLAIN")

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
    connection = duckdb.connect(":memory:")
    try:
        for setting, value in _SETTINGS.items():
            connection.execute(f"SET {setting} = {str(value).lower()}")
        _check(connection, query)
        for name, source in _mentioned(connection, query, sources, more_sources).items():
            connection.register(name, source())
        table: pa.Table = connection.sql(query, params=params).to_arrow_table()
        return table
    except duckdb.Error as error:
        raise ArgumentError(
            f"DuckDB cannot answer the query: {error}",
            where="query",
            hint="Put names that are not plain words into double quotes.",
        ) from error
    finally:
        connection.close()


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
    if names is None:
        names = {n.casefold() for n in sources if _is_word_in(n.casefold(), query.casefold())}
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
        return None


def _is_word_in(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w/]){re.escape(name)}(?![\w/])", text) is not None


def parquet_source(data: bytes, where: str) -> Any:
    """Return a Parquet file for DuckDB to scan: of it only the columns and rows it asks for.

    Raises
    ------
    CorruptDataError
        If it is not a Parquet file.
    LimitExceededError
        If it would take more memory than the limit ``table_bytes``.
    """
    check_parquet_size(data, where=where)
    try:
        return _scanned(data)
    except Exception as error:  # What damaged bytes make the parser raise is open.
        raise CorruptDataError(f"not a readable Parquet file: {error}", where=where) from error


def _scanned(data: bytes) -> Any:
    file: Any = pa.BufferReader(data)
    schema = pq.read_schema(file)
    if any(map(_is_odd, schema.types)):
        return plain(pq.read_table(file))
    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    form = pads.ParquetFileFormat(dictionary_columns=texts)
    fragment = form.make_fragment(file)
    return pads.FileSystemDataset([fragment], fragment.physical_schema, form)


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
