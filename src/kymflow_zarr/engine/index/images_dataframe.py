"""The data frame of all images, from index and tables. Imports pandas: import it late."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kymflow_zarr import layout
from kymflow_zarr.engine.hints import did_you_mean
from kymflow_zarr.engine.index.columns import IMAGES, INDEX
from kymflow_zarr.engine.index.file import parsed, values
from kymflow_zarr.engine.index.index import Index
from kymflow_zarr.engine.tables import Tables
from kymflow_zarr.errors import ArgumentError, KymflowZarrError
from kymflow_zarr.formats.json import TYPE_KEY, decode_json

ROWS: Final = "n_rows:"
EXPERIMENT: Final = "experiment_metadata"
_SOURCES_COLUMNS = {
    "source_primary_path": "str",
    "image_id": "str",
    "source_mtime_ns": "int64",
    "source_size_bytes": "int64",
    "ingested_epoch_ns": "int64",
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_CALIBRATION: Final = ("_step", "_unit")
_USUAL_AXES: Final = "tzyx"
_SEPARATORS: Final = re.compile(r"[/\\]")
_LAST_SEGMENT: Final = r"[^/\\]*$"
_ABOVE: Final = "above"


def images_frame(index: Index, tables: Tables, columns: Sequence[str] | None) -> pd.DataFrame:
    """Return a row for each image; see :meth:`kymflow_zarr.OpenDataset.images`."""
    read = list(dict.fromkeys(column.source for column in IMAGES.values()))
    wanted = None if columns is None else list(dict.fromkeys(columns))
    if wanted is not None:
        read = list(dict.fromkeys(stored for name in wanted for stored in _made_of(name)))
    elif EXPERIMENT not in read:
        read.append(EXPERIMENT)
    table = index.columns(read)
    values: dict[str, Any] = {}
    for name in read:
        if name == "results":
            values |= _out_of_date(table, tables)
        else:
            values |= _MAKERS.get(name, _stored)(table, name)
    errors: dict[str, str] = {}
    if wanted is None:
        values |= _row_counts(tables, table, tables.names(), errors)
    else:
        asked = [name.removeprefix(ROWS) for name in wanted if name.startswith(ROWS)]
        names = [name for name in tables.names() if name in asked]
        values |= _row_counts(tables, table, names, errors)
        _refuse_unknown(wanted, values)
    ordered = {name: values[name] for name in IMAGES if name in values and name != "error"}
    frame = pd.DataFrame(ordered | values, index=pd.RangeIndex(len(table)))
    frame = frame if wanted is None else frame[wanted]
    if errors:
        frame.attrs["errors"] = errors
    return frame


def _made_of(name: str) -> list[str]:
    if name in IMAGES:
        return [IMAGES[name].source]
    if name.startswith(ROWS):
        return []
    # A column of the experiment's metadata may be named like a calibration column.
    return ["axes", EXPERIMENT] if name.endswith(_CALIBRATION) else [EXPERIMENT]


def _refuse_unknown(wanted: Sequence[str], values: Mapping[str, Any]) -> None:
    for name in wanted:
        if name not in values:
            known = list(dict.fromkeys([*IMAGES, *values]))
            raise ArgumentError(
                f"the list of images has no column {name!r}",
                where="columns",
                hint=f"{did_you_mean(name, known)}images().columns tells which there are.",
            )


def _stored(table: pa.Table, name: str) -> dict[str, Any]:
    """Return a column with the values of the index; lists become tuples."""
    column = INDEX[name]
    if column.kind == "json":
        codes, texts = _distinct(table, name)
        values = [tuple(v) if isinstance(v, list) else v for v in parsed(texts)]
        return {name: _spread(codes, values, object)}
    if column.kind == "int64" and column.unread is None:
        nullable: Any = {pa.int64(): pd.Int64Dtype()}
        return {name: table[name].to_pandas(types_mapper=nullable.get)}
    return {name: table[name].to_pandas()}


def _acquired(table: pa.Table, name: str) -> dict[str, Any]:
    times = table[name].cast(pa.timestamp("ns")).to_pandas()
    return {"acquired": times, **_stored(table, name)}


def _axes(table: pa.Table, name: str) -> dict[str, Any]:
    codes, texts = _distinct(table, name)
    axes_of = parsed(texts)
    kinds = {axis[0]: axis[1] for listed in axes_of for axis in listed or ()}
    usual = [axis for axis in _USUAL_AXES if axis in kinds or axis in "yx"]
    others = [axis for axis in kinds if kinds[axis] != "channel" and axis not in usual]
    names = [None if listed is None else tuple(axis[0] for axis in listed) for listed in axes_of]
    facts = [_calibration(listed or ()) for listed in axes_of]
    columns = {name: _spread(codes, names, object)}
    for key in ("line_period_s", "pixel_size_um"):
        columns[key] = _spread(codes, [fact.get(key) for fact in facts], "float64")
    for axis in [*usual, *others]:
        step, unit = (f"{axis}{end}" for end in _CALIBRATION)
        columns[step] = _spread(codes, [fact.get(step) for fact in facts], "float64")
        columns[unit] = _spread(codes, _texts([fact.get(unit) for fact in facts]))
    return columns


def _calibration(axes: Sequence[Sequence[Any]]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for name, quantity, unit, step in axes:
        facts |= {f"{name}_step": step, f"{name}_unit": unit}
        if name == "y" and quantity == "time" and unit == "second":
            facts["line_period_s"] = step
        if name == "x" and unit == "micrometer":
            facts["pixel_size_um"] = step
    return facts


def _source(table: pa.Table, name: str) -> dict[str, Any]:
    # Paths are all different, but there are few folders.
    above = pc.replace_substring_regex(table[name], _LAST_SEGMENT, "")
    codes, texts = _distinct(table.append_column(_ABOVE, above), _ABOVE)
    folders = [_folders_of(path) for path in texts]
    return {
        **_stored(table, name),
        "parent_folder": _spread(codes, _texts([first for first, _ in folders])),
        "grandparent_folder": _spread(codes, _texts([second for _, second in folders])),
    }


def _folders_of(above: str | None) -> tuple[str | None, str | None]:
    if above is None:
        return None, None
    # The path may be from another operating system; split at both separators.
    *_, second, first, _ = "", "", *_SEPARATORS.split(above)
    return first or None, second or None


def _artifacts(table: pa.Table, name: str) -> dict[str, Any]:
    codes, texts = _distinct(table, name)
    names = [tuple(sorted(map(artifact_name, keys or ()))) for keys in parsed(texts)]
    return {
        name: _spread(codes, names, object),
        f"n_{name}": _spread(codes, [len(each) for each in names], "int64"),
    }


def artifact_name(key: str) -> str:
    """Return the name of the artifact at a key below its image."""
    parsed_key = layout.parse_artifact_key(key)
    if parsed_key is not None:
        return parsed_key[1]
    return layout.decode_name(key.removeprefix(f"{layout.ANALYSIS_ARRAYS}/")) or key


def _out_of_date(table: pa.Table, tables: Tables) -> dict[str, Any]:
    texts: dict[str, str] = {}
    if table["results"].null_count < len(table):
        from kymflow_zarr.engine.results.questions import AllResults

        texts = AllResults(table, tables.digests).texts()
    return {"out_of_date": _texts([texts.get(i) for i in values(table, "image_id")])}


def _experiment(table: pa.Table, name: str) -> dict[str, Any]:
    codes, texts = _distinct(table, name)
    payloads = [_decoded(text) for text in texts]
    columns = {}
    for key in sorted({key for each in payloads for key in each}):
        column = [each.get(key) for each in payloads]
        label = f"{name}.{key}" if is_own_column(key) else key
        columns[label] = _spread(codes, column, _dtype_of(column))
    return columns


def is_own_column(name: str) -> bool:
    """Return True if a name is that of a column which is no key of the experiment's metadata."""
    return name in IMAGES or name.startswith(ROWS) or name.endswith(_CALIBRATION)


def _dtype_of(items: Sequence[Any]) -> Any:
    """Return a dtype that changes none of the items; None lets pandas choose."""
    present = [value for value in items if value is not None]
    if any(isinstance(value, list | dict) for value in present):
        return object
    whole = [value for value in present if type(value) is int]
    if len(whole) == len(present) < len(items) and whole:
        return "Int64" if all(-(2**63) <= value < 2**63 for value in whole) else object
    # Large integers would lose digits as floats.
    return object if len(whole) < len(present) and any(abs(v) > 2**53 for v in whole) else None


def _decoded(text: str | None) -> Mapping[str, Any]:
    if text is None:
        return {}
    if TYPE_KEY not in text:
        plain: Mapping[str, Any] = parsed([text])[0]
        return plain
    value = decode_json(text.encode(), where=layout.artifact_key("json", layout.METADATA))
    return {str(key): v for key, v in value.items()} if isinstance(value, Mapping) else {}


def _row_counts(
    tables: Tables, table: pa.Table, names: Sequence[str], errors: dict[str, str]
) -> dict[str, Any]:
    """Return the number of rows of each image in each table; missing for a damaged table."""
    columns: dict[str, Any] = {}
    ids = values(table, "image_id")
    for name in names:
        try:
            counts = tables.count_rows(name)
        except KymflowZarrError as error:
            errors[layout.table_key(name)] = str(error)
            columns[f"{ROWS}{name}"] = pd.Series([pd.NA] * len(ids), dtype="Int64")
            continue
        if counts is not None:
            columns[f"{ROWS}{name}"] = pd.Series([counts.get(i, 0) for i in ids], dtype="int64")
    return columns


def _distinct(table: pa.Table, name: str) -> tuple[Any, list[str | None]]:
    """Return the distinct texts of a column, and the position of each row's text in them."""
    column: Any = table[name].combine_chunks()
    encoded: Any = column.dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    texts: list[str | None] = encoded.dictionary.to_pylist()
    if encoded.null_count:
        texts.append(None)
    return encoded.indices.fill_null(len(texts) - 1).to_numpy(), texts


def _spread(codes: Any, items: Any, dtype: Any = None) -> Any:
    """Return a column with the item of each row's code."""
    return pd.Series(pd.Series(items, dtype=dtype).array.take(codes))


def _texts(items: Sequence[str | None]) -> Any:
    return pa.array(items, pa.string()).to_pandas()


# Columns of the index from which columns of other names are made; _stored() makes the others.
_MAKERS: Final[dict[str, Callable[[pa.Table, str], dict[str, Any]]]] = {
    "axes": _axes,
    "acquired_local_epoch_ns": _acquired,
    "source_path": _source,
    "artifacts": _artifacts,
    EXPERIMENT: _experiment,
}


def sources_index(entries: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row for each image with a source file, from the entries of the index."""
    rows = []
    for entry in entries:
        files = [file for file in entry.get("source_files", ()) if file["role"] == "image"]
        if files:
            read = dt.datetime.fromisoformat(entry["updated_utc"]) - _EPOCH
            microseconds = (read.days * 86400 + read.seconds) * 10**6 + read.microseconds
            rows.append(
                (
                    files[0]["path"],
                    entry["image_id"],
                    files[0]["mtime_ns"],
                    files[0]["size_bytes"],
                    microseconds * 1000,
                )
            )
    return pd.DataFrame(rows, columns=list(_SOURCES_COLUMNS)).astype(_SOURCES_COLUMNS)
