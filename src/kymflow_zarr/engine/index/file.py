"""The index file: one Parquet file with a row for each image.

Imports Arrow: import it late.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kymflow_zarr import layout
from kymflow_zarr.engine.index.columns import INDEX, NEVER_TRUSTED, Row
from kymflow_zarr.engine.index.seal import NOTE, is_sealed, sealed
from kymflow_zarr.formats.parquet.footer import arrow_reader
from kymflow_zarr.schema.base import FORMAT, FORMAT_VERSION

_ARROW: Final[dict[str, Any]] = {"string": pa.string(), "json": pa.string(), "int64": pa.int64()}
SCHEMA: Final = pa.schema([(name, _ARROW[column.kind]) for name, column in INDEX.items()])
_NOTE: Final = "kymflow_zarr"
_ANALYSIS: Final = f"{layout.ANALYSIS}/"
_PARSED: Final = ("shape", "chunks", "axes", "artifacts", "source_files")
_MANIFEST_KEYS: Final = (
    "shape",
    "dtype",
    "chunks",
    "axes",
    "created_utc",
    "updated_utc",
    "acquired_local_epoch_ns",
    "source_files",
)


def table_of(rows: Iterable[Row]) -> pa.Table:
    """Return rows as a table."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def to_bytes(table: pa.Table) -> bytes:
    """Return the bytes of the file."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd", store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_NOTE: f"{NOTE}}}"})
    return sealed(sink.getvalue().to_pybytes())


def from_bytes(data: bytes, columns: Sequence[str]) -> pa.Table | None:
    """Return columns of the file; None if it is damaged, or of another version."""
    # Treat an unusable file as missing: the index is derived data.
    if not is_sealed(data):
        return None
    try:
        with pq.ParquetFile(arrow_reader(data)) as file:
            note: Any = msgspec.json.decode((file.metadata.metadata or {})[_NOTE.encode()])
            if note.get("format") != FORMAT or note.get("format_version") != FORMAT_VERSION:
                return None
            table = file.read(columns=list(columns)).select(list(columns))
    except (pa.ArrowException, KeyError, OSError, ValueError, AttributeError):
        return None  # Sealed by another program.
    return table if table.schema.types == [SCHEMA.field(name).type for name in columns] else None


class Places:
    """Finds the positions of ids; caches the last result, as most listings repeat the lookup."""

    def __init__(self) -> None:
        self._last: tuple[Any, list[str], Any] | None = None

    def of(self, names: list[str], ids: pa.ChunkedArray[Any]) -> Any:
        """Return the position of each name in the column `ids`, -1 for a missing one."""
        last = self._last  # Read once: another thread may replace it.
        if last is not None and last[1] == names and last[0].equals(ids):
            return last[2]
        places = pc.index_in(pa.array(names, pa.string()), value_set=ids).fill_null(-1).to_numpy()
        self._last = ids, names, places
        return places


def compare(
    table: pa.Table | None, versions: Mapping[str, int], places_in: Places | None = None
) -> tuple[pa.Table, dict[str, int]]:
    """Return the current rows, in the order of ids, and the images without one.

    Parameters
    ----------
    table : pyarrow.Table or None
        Rows in the order of their ids.
    versions : mapping of str to int
        The existing images with the times of their folders.
    places_in : Places, optional
        The cache of the file, if the rows come from it.
    """
    if table is None:
        return SCHEMA.empty_table(), dict(versions)
    names = list(versions)
    times = np.fromiter(versions.values(), np.int64, len(versions))
    places = (places_in or Places()).of(names, table["image_id"])
    saved = table["changed_ns"].to_numpy()
    if table["error"].null_count < len(table):
        # An unreadable image may be readable now. Earlier versions saved rows with errors.
        saved = np.where(table["error"].is_null().to_numpy(), saved, NEVER_TRUSTED)
    current = (np.append(saved, NEVER_TRUSTED)[places] == times) & (times >= 0)
    rows = np.sort(places[current])
    if len(rows) != len(table):
        table = table.take(pa.array(rows))
    if len(rows) == len(versions):
        return table, {}
    return table, {names[i]: int(times[i]) for i in np.flatnonzero(~current)}


def merged(one: pa.Table, other: pa.Table) -> pa.Table:
    """Return the rows of both tables in the order of their ids."""
    if not len(one) or not len(other):
        return other if len(other) else one
    # Not sort_by, which would process all columns once more.
    both = pa.concat_tables([one.select(other.column_names), other])
    return both.take(pc.sort_indices(both["image_id"]))


def with_all_images(trusted: pa.Table, fresh: pa.Table) -> pa.Table:
    """Return the trusted rows, and those of all other images as never to be trusted."""
    is_other = pc.invert(pc.is_in(fresh["image_id"], value_set=trusted["image_id"]))
    others = fresh.filter(is_other)
    never = pa.array([NEVER_TRUSTED] * len(others), pa.int64())
    place = others.column_names.index("changed_ns")
    return merged(trusted, others.set_column(place, SCHEMA.field("changed_ns"), never))


def entries_of(table: pa.Table) -> dict[str, dict[str, Any]]:
    """Return an entry for each row of the index, by image id."""
    texts = {name: values(table, name) for name in table.column_names}
    texts |= {name: parsed(texts[name]) for name in _PARSED}
    texts["axes"] = [None if axes is None else [axis[0] for axis in axes] for axes in texts["axes"]]
    entries: dict[str, dict[str, Any]] = {}
    for image_id, error, keys, *facts in zip(
        texts["image_id"],
        texts["error"],
        texts["artifacts"],
        *(texts[name] for name in _MANIFEST_KEYS),
        strict=True,
    ):
        entries[image_id] = entry = {"image_id": image_id}
        if error is not None:
            entry["error"] = error
            continue
        prefix = layout.image_prefix(image_id)
        entry |= zip(_MANIFEST_KEYS, facts, strict=True)
        entry["analysis_keys"] = [f"{prefix}/{key}" for key in keys if key.startswith(_ANALYSIS)]
    return entries


def values(table: pa.Table, column: str) -> list[Any]:
    """Return a column as a list."""
    array = table[column]
    if array.null_count and str(array.type) == "int64":
        listed: list[Any] = array.to_pylist()
        return listed
    return list(array.to_numpy(zero_copy_only=False).tolist())


def parsed(texts: Iterable[str | None]) -> list[Any]:
    """Return the values of JSON texts, parsed all at once; None for None."""
    joined = f"[{','.join([text or 'null' for text in texts])}]"
    try:
        whole: list[Any] = msgspec.json.decode(joined)
    except msgspec.DecodeError:
        whole = json.loads(joined)  # It accepts Python's extensions, such as NaN, too.
    return whole
