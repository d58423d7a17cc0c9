"""Edited artifacts in the form of the files that they came from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from kymflow_zarr.schema.analysis_columns import EVENT_COLUMNS, VELOCITY_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["analysis_json", "edited_csv", "payload_json", "plain_json", "top_keys"]

_SIDECAR_VERSION: Final = "1.0"
_METADATA: Final = "analysis_metadata"
_EVENTS: Final = "velocity_events"


# JSON ----------------------------------------------------------------------------------


def plain_json(value: Any, stored: bytes) -> tuple[bytes, bool]:
    """Return a value as JSON that every program reads, and whether ingest gives it back equal.

    Parameters
    ----------
    value : object
    stored : bytes
        The artifact as the dataset has it, for values that plain JSON cannot hold.
    """
    from kymflow_zarr.formats.json import encode_json

    try:
        text = _dumped(value)
        same = encode_json(json.loads(text), where="") == encode_json(value, where="")
    except (TypeError, ValueError):
        return stored, False
    return text, same


def payload_json(payload: Any, stored: bytes) -> tuple[bytes, bool]:
    """Return a metadata payload as the sidecar that legacy programs read; see `plain_json`."""
    if isinstance(payload, Mapping) and payload.get("version") == "2.0":
        payload = {**payload, "version": _SIDECAR_VERSION}
    return plain_json(payload, stored)


def _dumped(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def top_keys(data: bytes) -> set[str]:
    """Return the keys of a JSON object, none if it is something else."""
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
    kept: bytes,
    kind: str,
    *,
    events: pd.DataFrame | None,
    said: Mapping[str, Any] | None,
    elsewhere: Collection[str],
) -> tuple[bytes, bool]:
    """Return an analysis file with its events, and what else it says, as they are now.

    It holds the events region by region: the second value tells whether the rows are so, too.

    Parameters
    ----------
    kept : bytes
        The file as it was.
    kind : {"kymanalysis_json", "radon_json", "events_json"}
    events : DataFrame, optional
        None where there are none any more.
    said : mapping, optional
        The artifact ``velocity_analysis``; None where it was deleted.
    elsewhere : collection of str
        Keys that another file of the same analysis has.

    Raises
    ------
    ValueError, TypeError, KeyError
        If they have no such form.
    """
    before = _object(kept)
    regions = before.get(_METADATA, {})
    listed = before.get(_EVENTS, {})
    keys = [*regions, *listed]
    by_channel = any(":" in key for key in keys) if keys else kind != "kymanalysis_json"
    document: dict[str, Any] = {}
    in_order = True
    if said is not None:
        document = _said(before, kind, said, by_channel=by_channel, elsewhere=elsewhere)
    if events is not None and (_EVENTS in before or len(events)):
        document[_EVENTS], in_order = _events(events, listed, by_channel=by_channel)
    ordered = {key: document[key] for key in before if key in document}
    return _dumped(ordered | document), in_order


def _said(
    before: Mapping[str, Any],
    kind: str,
    said: Mapping[str, Any],
    *,
    by_channel: bool,
    elsewhere: Collection[str],
) -> dict[str, Any]:
    document = {
        key: value
        for key, value in said.items()
        if key not in ("versions", "regions") and (key in before or key not in elsewhere)
    }
    versions = said.get("versions")
    if isinstance(versions, Mapping) and versions.get(kind) is not None:
        document["version"] = versions[kind]
    if _METADATA in before or (_METADATA not in elsewhere and said.get("regions")):
        known = before.get(_METADATA, {})
        document[_METADATA] = {}
        for region in said.get("regions", []):
            roi_id, channel = int(region["roi_id"]), int(region.get("channel", 1))
            key = _key(roi_id, channel, known, by_channel=by_channel)
            if key not in known and _METADATA in elsewhere and kind == "events_json":
                continue  # The other file has it.
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
    # A region of no events stays, as it was.
    found: dict[str, list[dict[str, Any]]] = {key: [] for key in before}
    order = []
    for row in frame.to_dict("records"):
        key = _key(int(row["roi_id"]), int(row["channel"]), before, by_channel=by_channel)
        event = {}
        for column, value in row.items():
            name = inverse.get(str(column), str(column))
            value = _plain(value)
            if column not in ("roi_id", "channel") and (value is not None or name in usual):
                event[name] = value
        found.setdefault(key, []).append(event)
        order.append(key)
    return found, order == [key for key, events in found.items() for _ in events]


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


def edited_csv(frame: pd.DataFrame, kept: bytes, *, velocity: bool) -> tuple[bytes, bool]:
    """Return a data frame as the CSV it came from, and whether ingest gives it back equal.

    Parameters
    ----------
    frame : DataFrame
    kept : bytes
        The file as it was: its columns come first, in its order.
    velocity : bool
        Whether it is a table of velocities, with the names of the flow programs.
    """
    original = _header(kept)
    plain = _numbers_rows(frame.index)
    table = frame if plain else frame.reset_index()
    if velocity:
        taken = {str(name) for name in table.columns}
        inverse = {new: old for old, new in VELOCITY_COLUMNS.items() if old not in taken}
        table = table.rename(columns=inverse)
        for name, usual in (("roi_id", 0), ("channel", 1)):
            # The oldest files have neither: ingest knows what is meant.
            if name in table and name not in original and (table[name] == usual).all():
                table = table.drop(columns=name)
    columns = [name for name in original if name in table.columns]
    columns += [name for name in table.columns if name not in columns]
    table = table[columns]
    if velocity and original and (not original[0] or original[0].startswith("Unnamed:")):
        table.insert(0, original[0], range(len(table)))
    end = "\r\n" if b"\r\n" in kept[: kept.find(b"\n") + 1] else "\n"
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
