"""Convert edited artifacts and pooled tables back to the formats of their source files."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.engine.dataset import OpenDataset
from kymflow_zarr.errors import CorruptDataError, TableNotFoundError
from kymflow_zarr.export.dataset_layout.files import source_file_bytes
from kymflow_zarr.export.dataset_layout.places import table_place
from kymflow_zarr.export.lab_layout.plan import TreePlan
from kymflow_zarr.layout import table_key
from kymflow_zarr.schema.analysis_columns import (
    EVENT_COLUMNS,
    IMAGE_ID,
    POOLED_PATH,
    VELOCITY_COLUMNS,
    names_in_table,
)
from kymflow_zarr.schema.image import SourceFileDocument
from kymflow_zarr.storage.interface import Storage
from kymflow_zarr.storage.local.files import digest_of_bytes

if TYPE_CHECKING:
    import pandas as pd


_SIDECAR_VERSION: Final = "1.0"
_METADATA: Final = "analysis_metadata"
_EVENTS: Final = "velocity_events"


# JSON ----------------------------------------------------------------------------------


def plain_json(value: Any, stored: bytes) -> tuple[bytes, bool]:
    """Return a value as plain JSON, and True if ingest restores an equal value.

    Parameters
    ----------
    value : object
    stored : bytes
        The stored artifact, for values that plain JSON cannot represent.
    """
    from kymflow_zarr.formats.json import encode_json

    try:
        text = _dumped(value)
        same = encode_json(json.loads(text), where="") == encode_json(value, where="")
    except (TypeError, ValueError):
        return stored, False
    return text, same


def payload_json(payload: Any, stored: bytes) -> tuple[bytes, bool]:
    """Return a metadata payload as a sidecar for legacy programs; see `plain_json`."""
    if isinstance(payload, Mapping) and payload.get("version") == "2.0":
        payload = {**payload, "version": _SIDECAR_VERSION}
    return plain_json(payload, stored)


def _dumped(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def top_keys(data: bytes) -> set[str]:
    """Return the keys of a JSON object, an empty set for any other value."""
    try:
        return set(_object(data))
    except ValueError:
        return set()


def _object(data: bytes) -> dict[str, Any]:
    document = json.loads(data.decode("utf-8-sig"))
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")
    return document


# Analysis ------------------------------------------------------------------------------


def analysis_json(
    original: bytes,
    kind: str,
    *,
    events: pd.DataFrame | None,
    stored: Mapping[str, Any] | None,
    elsewhere: Collection[str],
) -> tuple[bytes, bool]:
    """Return an analysis file with the current events and other content.

    It groups the events by region; the second value is True if the rows have that order too.

    Parameters
    ----------
    original : bytes
        The file as it was.
    kind : {"kymanalysis_json", "radon_json", "events_json"}
    events : DataFrame, optional
        None if there are none any more.
    stored : mapping, optional
        The artifact ``velocity_analysis``; None if it was deleted.
    elsewhere : collection of str
        Keys that belong to another file of the same analysis.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the values do not fit the file's format.
    """
    before = _object(original)
    regions = before.get(_METADATA, {})
    listed = before.get(_EVENTS, {})
    keys = [*regions, *listed]
    by_channel = any(":" in key for key in keys) if keys else kind != "kymanalysis_json"
    document: dict[str, Any] = {}
    in_order = True
    if stored is not None:
        document = _said(before, kind, stored, by_channel=by_channel, elsewhere=elsewhere)
    if events is not None and (_EVENTS in before or len(events)):
        document[_EVENTS], in_order = _events(events, listed, by_channel=by_channel)
    ordered = {key: document[key] for key in before if key in document}
    return _dumped(ordered | document), in_order


def _said(
    before: Mapping[str, Any],
    kind: str,
    stored: Mapping[str, Any],
    *,
    by_channel: bool,
    elsewhere: Collection[str],
) -> dict[str, Any]:
    document = {
        key: value
        for key, value in stored.items()
        if key not in ("versions", "regions") and (key in before or key not in elsewhere)
    }
    versions = stored.get("versions")
    if isinstance(versions, Mapping) and versions.get(kind) is not None:
        document["version"] = versions[kind]
    if _METADATA in before or (_METADATA not in elsewhere and stored.get("regions")):
        known = before.get(_METADATA, {})
        document[_METADATA] = {}
        for region in stored.get("regions", []):
            roi_id, channel = int(region["roi_id"]), int(region.get("channel", 1))
            key = _key(roi_id, channel, known, by_channel=by_channel)
            if key not in known and _METADATA in elsewhere and kind == "events_json":
                continue  # The other file holds this key.
            own = known.get(key, {"roi_id": roi_id})
            document[_METADATA][key] = {
                name: value
                for name, value in region.items()
                if name not in ("roi_id", "channel") or name in own
            }
    return document


def _events(
    frame: pd.DataFrame, before: Mapping[str, Any], *, by_channel: bool
) -> tuple[dict[str, list[dict[str, Any]]], bool]:
    inverse = {new: old for old, new in EVENT_COLUMNS.items()}
    usual = {name for events in before.values() for event in events for name in event}
    # Keep a region without events.
    by_roi: dict[str, list[dict[str, Any]]] = {key: [] for key in before}
    order = []
    for row in frame.to_dict("records"):
        key = _key(int(row["roi_id"]), int(row["channel"]), before, by_channel=by_channel)
        event = {}
        for column, value in row.items():
            name = inverse.get(str(column), str(column))
            value = _plain(value)
            if column not in ("roi_id", "channel") and (value is not None or name in usual):
                event[name] = value
        by_roi.setdefault(key, []).append(event)
        order.append(key)
    return by_roi, order == [key for key, events in by_roi.items() for _ in events]


def _key(roi_id: int, channel: int, known: Collection[str], *, by_channel: bool) -> str:
    key = f"{roi_id}:{channel}"
    return key if by_channel or key in known or channel != 1 else str(roi_id)


def _plain(value: Any) -> Any:
    import pandas as pd

    if isinstance(value, list | dict | str):
        return value
    plain = value.item() if hasattr(value, "item") else value
    return None if plain is None or plain is pd.NA or plain != plain else plain


# CSV -----------------------------------------------------------------------------------


def edited_csv(frame: pd.DataFrame, source: bytes, *, velocity: bool) -> tuple[bytes, bool]:
    """Return a data frame as its source CSV, and True if ingest restores an equal one.

    Parameters
    ----------
    frame : DataFrame
    source : bytes
        The source file: its columns come first, in its order.
    velocity : bool
        Whether it is a velocity table with the column names of the flow programs.
    """
    original = _header(source)
    plain = _numbers_rows(frame.index)
    table = frame if plain else frame.reset_index()
    if velocity:
        taken = {str(name) for name in table.columns}
        inverse = {new: old for old, new in VELOCITY_COLUMNS.items() if old not in taken}
        table = table.rename(columns=inverse)
        for name, usual in (("roi_id", 0), ("channel", 1)):
            # The oldest files have neither column: ingest adds the defaults.
            if name in table and name not in original and (table[name] == usual).all():
                table = table.drop(columns=name)
    columns = [name for name in original if name in table.columns]
    columns += [name for name in table.columns if name not in columns]
    table = table[columns]
    if velocity and original and (not original[0] or original[0].startswith("Unnamed:")):
        table.insert(0, original[0], range(len(table)))
    end = "\r\n" if b"\r\n" in source[: source.find(b"\n") + 1] else "\n"
    data = table.to_csv(index=False, lineterminator=end).encode()
    return data, plain and _comes_back(data, frame, velocity=velocity)


def _header(data: bytes) -> list[str]:
    line = data.partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    return next(csv.reader(io.StringIO(line)), [])


def _numbers_rows(index: pd.Index) -> bool:
    import pandas as pd

    return isinstance(index, pd.RangeIndex) and (index.start, index.step) == (0, 1)


def _comes_back(data: bytes, frame: pd.DataFrame, *, velocity: bool) -> bool:
    from kymflow_zarr.formats.dataframe.csv_foreign import decode_csv
    from kymflow_zarr.formats.dataframe.parquet import encode_parquet

    try:
        back = decode_csv(data)
        if velocity:
            back = back.rename(columns=VELOCITY_COLUMNS)
            for name, usual in (("roi_id", 0), ("channel", 1)):
                if name not in back.columns:
                    back[name] = usual
        return encode_parquet(back[list(frame.columns)]) == encode_parquet(frame)
    except (ValueError, KeyError, TypeError):
        return False


def pooled_table_name(file: SourceFileDocument) -> str:
    """Return the name of the table that holds the rows of a pooled file."""
    return str(PurePosixPath(file.rel_path).with_suffix("")).lstrip("/")


@dataclass
class TreeTables:
    """Plan the files of the tables.

    Parameters
    ----------
    plan : TreePlan
    storage : Storage
    dataset : OpenDataset
    files : sequence of SourceFileDocument
        All pooled files that were ever ingested.
    """

    plan: TreePlan
    storage: Storage
    dataset: OpenDataset
    files: Sequence[SourceFileDocument]
    _from_files: set[str] = field(default_factory=set)

    def _load(self, name: str) -> tuple[pd.DataFrame, set[str]]:
        """Return a table and the paths of its files; cache a table without other rows."""
        table = self.dataset.load_table(name)
        paths = {file.path for file in self.files if pooled_table_name(file) == name}
        if paths and POOLED_PATH in table.columns and table[POOLED_PATH].isin(paths).all():
            self._from_files.add(name)
        return table, paths

    def pooled(self, file: SourceFileDocument, place: str) -> None:
        """Plan one pooled file: unchanged, or with its current rows."""
        name = pooled_table_name(file)
        if self._is_as_ingested(file, name):
            self._from_files.add(name)
            self._verbatim(file, place)
            return
        source = source_file_bytes(self.storage, file.kept_as or "", file)
        try:
            table, _ = self._load(name)
        except TableNotFoundError:
            self.plan.note(place, "not written: its table was deleted in the dataset")
            return
        except CorruptDataError:
            # The file is intact; the damaged table is reported separately.
            self._verbatim(file, place)
            return
        in_file = _of_csv(source)
        names = {} if in_file is None else names_in_table(list(in_file.columns))
        before = None if in_file is None else in_file.rename(columns=names)
        if POOLED_PATH not in table.columns or before is None:
            rows = table[:0]
        else:
            rows = table[table[POOLED_PATH] == file.path]
        if before is None or _same(rows, before):
            self._verbatim(file, place)
        elif rows.empty:
            self.plan.note(place, "not written: its rows were deleted in the dataset")
        else:
            in_table = {new: old for old, new in names.items()}
            write = partial(self._rows, rows, list(before), in_table, source)
            self.plan.built(name, place, write, "table")

    def _is_as_ingested(self, file: SourceFileDocument, name: str) -> bool:
        """Return True if a table is the one that ingest made of one file, to the byte."""
        ingested = file.feeds.get(table_key(name))
        if not ingested:
            return False
        with contextlib.suppress(TableNotFoundError):
            return digest_of_bytes(self.dataset.tables.read(name)[0]) == ingested
        return False

    def _verbatim(self, file: SourceFileDocument, place: str) -> None:
        read = partial(source_file_bytes, self.storage, file.kept_as or "", file)
        self.plan.verbatim(file.path, file, place, read, "source_file")

    @staticmethod
    def _rows(
        rows: pd.DataFrame, columns: list[Any], in_table: dict[str, str], source: bytes
    ) -> tuple[bytes, str]:
        own = rows.drop(columns=[c for c in (IMAGE_ID, POOLED_PATH) if c in rows.columns])
        # Files of one table may have different columns.
        others = [c for c in own.columns if c not in columns and own[c].isna().all()]
        own = own.drop(columns=others).reset_index(drop=True).rename(columns=in_table)
        data, same = edited_csv(own, source, velocity=False)
        reason = "its rows were edited in the dataset"
        return data, reason if same else f"{reason}; a CSV does not hold all of their types"

    def other(self, name: str) -> None:
        """Plan a file for the rows of a table that came from no file."""
        if name in self._from_files:
            return
        table, paths = self._load(name)
        reason = "made in the dataset; there was no such file"
        if paths and POOLED_PATH in table.columns:
            table = table[~table[POOLED_PATH].isin(paths)].reset_index(drop=True)
            if table.empty:
                return
            reason = "rows that were added in the dataset"
        self._table(name, table, reason)

    def _table(self, name: str, table: pd.DataFrame, reason: str) -> None:
        from kymflow_zarr.export.dataframes import csv_of
        from kymflow_zarr.formats.dataframe.parquet import encode_parquet

        place = table_place(name)
        assert place.plain is not None
        stored = encode_parquet(table)
        csv, complete = csv_of("parquet", stored, where=place.key)
        files = [(place.plain, csv)]
        if not complete:
            files.append((place.exact, stored))
        for path, data in files:
            stem, dot, suffix = path.rpartition(".")
            free = self.plan.names.take(stem, suffix=f"{dot}{suffix}")
            self.plan.built(name, free, partial(_given, data, reason), "table")


def _given(data: bytes, reason: str) -> tuple[bytes, str]:
    return data, reason


def _of_csv(data: bytes) -> pd.DataFrame | None:
    from kymflow_zarr.formats.dataframe.csv_foreign import decode_csv

    try:
        return decode_csv(data)
    except ValueError:
        return None  # The file never became a table.


def _same(now: pd.DataFrame, before: pd.DataFrame) -> bool:
    """Return True if rows equal those of a file, whatever images they match."""
    columns = [c for c in before.columns if c not in (IMAGE_ID, POOLED_PATH)]
    if not set(columns) <= set(now.columns) or len(now) != len(before):
        return False
    added = [c for c in now.columns if c not in (*before.columns, IMAGE_ID, POOLED_PATH)]
    if not now[added].isna().all(axis=None):
        return False
    return all(_same_column(now[column], before[column]) for column in columns)


def _same_column(now: pd.Series[Any], before: pd.Series[Any]) -> bool:
    one, other = now.reset_index(drop=True), before.reset_index(drop=True)
    if one.dtype == other.dtype:
        values = one.to_numpy(), other.to_numpy()
        # Compare bits, since 0.0 == -0.0.
        if one.dtype.kind in "iufb" and values[0].tobytes() == values[1].tobytes():
            return True
        if one.dtype == "str" and one.equals(other):
            return True
    return one.astype("object").astype("str").equals(other.astype("object").astype("str"))
