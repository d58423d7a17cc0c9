"""Events of a data frame while an edit changes them. Imports pandas: import it late."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import math
import numbers
import operator
import uuid
from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from kymflow_zarr.engine.curation.document import EditChange
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError
from kymflow_zarr.types import FrameKind

# The type that a person set; without such a column, the one that the program found.
_COLUMNS: Final = ("user_type", "event_type")


# Ids are not part of what an event is: other programs do not know them.
_ID: Final = "event_id"
# What tells an event from others before it has an id.
_PLACE: Final = ("t_start_s", "t_end_s", "roi_id", "channel")
_START: Final = "t_start_s"
_END: Final = "t_end_s"
_NULLABLE: Final[dict[str, Any]] = {"i": "Int64", "u": "UInt64", "b": "boolean"}
_UNJUDGED: Final = frozenset({"", "unreviewed"})


def empty_events() -> pd.DataFrame:
    """Return a data frame of no events."""
    columns = {_ID: "str", _START: "float64", _END: "float64", "event_type": "str"}
    return pd.DataFrame({n: pd.Series(dtype=t) for n, t in {**columns, "user_type": "str"}.items()})


class EditedEvents:
    """A data frame of events, changed cell by cell or row by row.

    Types alone change in their cells. From the first event that is added, changed or removed on,
    events have ids, and changes are those of whole rows.

    Parameters
    ----------
    frame : pandas.DataFrame
    kind : {"parquet", "csv_gz"}
    name : str
        Of the artifact.
    """

    def __init__(self, frame: pd.DataFrame, kind: FrameKind, name: str) -> None:
        self.frame = frame
        self._kind = kind
        self._name = name
        self._before: dict[tuple[int, str], Any] = {}
        self._at_first: pd.DataFrame | None = None
        self._touched: dict[str, None] = {}

    def set_type(self, row: int, value: str | None) -> None:
        """Set the type of an event; see :meth:`RecordEdit.set_event_type`."""
        try:
            at = operator.index(row)
        except TypeError:
            raise ArgumentTypeError(
                f"row is {row!r}, not a whole number", where=self._name
            ) from None
        if not 0 <= at < len(self.frame):
            raise ArgumentError(
                f"row is {at}, but there are {len(self.frame)} events, counted from 0",
                where=self._name,
            )
        if not isinstance(value, str | None):
            raise ArgumentTypeError(
                f"the type of an event is text or None, not {value!r}", where=self._name
            )
        column = next((name for name in _COLUMNS if self._places(name)), None)
        if column is None:
            raise ArgumentError(
                f"the data frame has no column {_COLUMNS[0]!r} or {_COLUMNS[1]!r}",
                where=self._name,
                hint=f"Its columns are {', '.join(map(str, self.frame.columns))}.",
            )
        if value is not None or self.now(at, column) is not None:
            if self._at_first is not None:
                self.change(at, {column: value})
            else:
                self.put(at, column, value)

    def now(self, row: int, column: str) -> Any:
        """Return a cell, None for a missing value."""
        cell = self.frame.iat[row, self._place(column)]
        return None if _is_missing(cell) else cell

    def holds(self, change: EditChange) -> bool:
        """Return True if the event of a change exists and its other cells are unchanged."""
        if change.row is None or change.row >= len(self.frame) or not change.column:
            return False
        if len(self._places(change.column)) != 1:
            return False
        return self._digest(change.row, change.column) == change.row_sha256

    def put(self, row: int, column: str, value: Any) -> None:
        """Set a cell; the dtype of its column changes only if it cannot hold the value."""
        place = self._place(column)
        self._before.setdefault((row, column), self.now(row, column))
        cells = self.frame.iloc[:, place].copy()
        if isinstance(cells.dtype, pd.CategoricalDtype):
            if value is not None and value not in cells.cat.categories:
                cells = cells.cat.add_categories([value])
        elif isinstance(value, str) and not pd.api.types.is_string_dtype(cells.dtype):
            cells = cells.astype(object)
        cells.iloc[row] = value
        put: Any = self.frame.isetitem  # Its annotation lacks Series.
        put(place, cells)

    # Whole events ------------------------------------------------------------------------

    def add(self, start_s: float, end_s: float | None, cells: Mapping[str, Any]) -> str:
        """Add an event, and return its id."""
        self._begin()
        event_id = _new_id()
        row = dict.fromkeys(map(str, self.frame.columns))
        times = {_START: start_s, _END: end_s}
        self.put_event(event_id, _checked({**row, **times, **cells, _ID: event_id}, self._name))
        return event_id

    def change(self, event: str | int, cells: Mapping[str, Any]) -> str:
        """Set cells of an event, and return its id."""
        self._begin()
        event_id = self._id_of(event)
        if _ID in cells:
            raise ArgumentError("the id of an event stays", where=self._name)
        old = self.event(event_id) or {}
        self.put_event(event_id, _checked({**old, **cells}, self._name))
        return event_id

    def remove(self, event: str | int) -> None:
        """Remove an event."""
        self._begin()
        self.put_event(self._id_of(event), None)

    def event(self, event_id: str) -> dict[str, Any] | None:
        """Return the cells of an event, None if there is none of that id."""
        self._begin()
        return _row(self.frame, event_id)

    def put_event(
        self, event_id: str, cells: Mapping[str, Any] | None, position: int | None = None
    ) -> None:
        """Set the cells of an event, insert it at a position or the end, or remove it."""
        self._begin()
        self._touched[event_id] = None
        place = _place_of(self.frame, event_id)
        if cells is None:
            if place is not None:
                self.frame = self.frame.drop(index=self.frame.index[place]).reset_index(drop=True)
            return
        for column in cells:
            if column not in self.frame:
                self.frame[column] = pd.Series([None] * len(self.frame), dtype=object)
        if place is None:
            at = len(self.frame) if position is None else min(position, len(self.frame))
            self.frame = pd.DataFrame(
                {c: _inserted(self.frame[c], at, cells.get(c)) for c in self.frame.columns}
            )
            return
        for column, value in cells.items():
            if not _is_same(self.now(place, column), value):
                without = self.frame[column].drop(index=place).reset_index(drop=True)
                self.frame[column] = _inserted(without, place, value)

    def replace_detected(self, detected: pd.DataFrame, by_hand: Mapping[str, Any]) -> None:
        """Replace detected events; see :meth:`RecordEdit.replace_detected`."""
        if _START not in detected:
            raise ArgumentError(f"the detected events have no column {_START!r}", where=self._name)
        self._begin()
        judged_rows = [
            row
            for row in (_cells(self.frame, place) for place in range(len(self.frame)))
            if row[_ID] in by_hand or str(row.get("user_type") or "") not in _UNJUDGED
        ]
        kept_ids = {row[_ID] for row in judged_rows}
        judged = [*judged_rows, *(row for row in by_hand.values() if row[_ID] not in kept_ids)]
        for event_id in self.frame[_ID].tolist():
            if event_id not in kept_ids:
                self.put_event(event_id, None)
        for place in range(len(detected)):
            row = {**_cells(detected, place), _ID: _new_id()}
            if not any(_overlap(row, other) for other in judged):
                self.put_event(row[_ID], _checked(row, self._name))

    def _begin(self) -> None:
        """Give each event an id, and remember all as they were."""
        if self._at_first is not None:
            return
        labels: list[Any] = list(self.frame.columns)
        named = all(isinstance(label, str) and labels.count(label) == 1 for label in labels)
        if not (named and isinstance(self.frame.index, pd.RangeIndex)):
            raise ArgumentError(
                "the rows of the data frame have labels, or its columns no distinct names",
                where=self._name,
                hint="Save it with reset_index() and text as names of columns.",
            )
        self.frame = self.frame.reset_index(drop=True)
        event_ids = self.frame[_ID].tolist() if _ID in self.frame else [None] * len(self.frame)
        taken = {str(each) for each in event_ids if not _is_missing(each)}
        ids = [
            self._first_id(row, taken) if _is_missing(each) else str(each)
            for row, each in enumerate(event_ids)
        ]
        self.frame[_ID] = pd.Series(ids, dtype="str")
        changed = {ids[row]: None for row, _ in self._before}
        first = self.frame.copy()
        for (row, column), value in self._before.items():
            first[column] = _inserted(
                first[column].drop(index=row).reset_index(drop=True), row, value
            )
        self._at_first, self._touched, self._before = first, changed, {}

    def _first_id(self, row: int, taken: set[str]) -> str:
        """Return an id for an event that has none: the same one in each copy of the dataset."""
        cells = [_text(self.now(row, column)) for column in _PLACE if column in self.frame]
        digest = hashlib.sha256(json.dumps([self._name, *cells]).encode()).hexdigest()[:16]
        while digest in taken:
            digest = hashlib.sha256(digest.encode()).hexdigest()[:16]
        taken.add(digest)
        return digest

    def _id_of(self, event: str | int) -> str:
        if isinstance(event, str):
            if _place_of(self.frame, event) is None:
                raise ArgumentError(f"there is no event {event!r}", where=self._name)
            return event
        at = operator.index(event)
        if not 0 <= at < len(self.frame):
            raise ArgumentError(
                f"event is {at}, but there are {len(self.frame)}, counted from 0", where=self._name
            )
        return str(self.frame[_ID].iloc[at])

    def changes(self) -> list[EditChange]:
        """Return the changes of all cells or events that differ from before."""
        if self._at_first is not None:
            return [
                EditChange(
                    what="event", artifact_kind=self._kind, name=self._name, event_id=event_id,
                    position=_place_of(self._at_first, event_id),
                    before=_row(self._at_first, event_id), after=self.event(event_id),
                )
                for event_id in self._touched
            ]  # fmt: skip
        return [
            EditChange(
                what="event_type", artifact_kind=self._kind, name=self._name, row=row,
                column=column, row_sha256=self._digest(row, column), before=before,
                after=self.now(row, column),
            )
            for (row, column), before in self._before.items()
        ]  # fmt: skip

    def _places(self, column: str) -> list[int]:
        labels = self.frame.columns
        is_it: Any = lambda label: isinstance(label, str) and label == column  # noqa: E731
        return [i for i, label in enumerate(labels) if is_it(label)]

    def _place(self, column: str) -> int:
        places = self._places(column)
        if len(places) != 1:
            raise ArgumentError(f"{len(places)} columns are called {column!r}", where=self._name)
        return places[0]

    def _digest(self, row: int, column: str) -> str:
        cells = [
            [str(label), _text(self.frame.iat[row, i])]
            for i, label in enumerate(self.frame.columns)
            if str(label) not in (column, _ID)
        ]
        return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def _text(cell: Any) -> str:
    """Return a cell as text, independent of the dtype, which a program may widen."""
    if isinstance(cell, numbers.Real) and not isinstance(cell, bool):
        with contextlib.suppress(OverflowError):
            if abs(float(cell)) < 2**53:
                return repr(float(cell))
    return "" if _is_missing(cell) else str(cell)


def _is_missing(cell: Any) -> bool:
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return True
    return isinstance(cell, float) and cell != cell


def _new_id() -> str:
    return uuid.uuid4().hex[:16]


def _place_of(frame: pd.DataFrame, event_id: str) -> int | None:
    places = [i for i, each in enumerate(frame[_ID].tolist()) if each == event_id]
    return places[0] if places else None


def _row(frame: pd.DataFrame, event_id: str) -> dict[str, Any] | None:
    place = _place_of(frame, event_id)
    return None if place is None else _cells(frame, place)


def _cells(frame: pd.DataFrame, place: int) -> dict[str, Any]:
    """Return a row as plain values, None for missing ones."""
    return {str(column): _plain(frame[column].iloc[place]) for column in frame.columns}


def _plain(value: Any) -> Any:
    if _is_missing(value):
        return None
    if isinstance(value, dt.datetime | dt.timedelta):
        return str(value)
    return value.item() if hasattr(value, "item") else value


def _is_same(one: Any, other: Any) -> bool:
    return bool(_plain(one) == _plain(other)) and isinstance(one, bool) == isinstance(other, bool)


def _checked(cells: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the cells of an event whose times are in order."""
    start, end = _plain(cells[_START]), _plain(cells.get(_END))
    for time in (start, end):
        is_number = isinstance(time, numbers.Real) and not isinstance(time, bool)
        if time is not None and not (is_number and math.isfinite(time)):
            raise ArgumentError(f"{time!r} is no time in seconds", where=where)
    if start is None or (end is not None and end < start):
        raise ArgumentError(f"the event begins at {start} s and ends at {end} s", where=where)
    return {**cells, _START: float(start), _END: None if end is None else float(end)}


def _overlap(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return True if two events of one region and channel share a moment."""
    if any(_plain(one.get(key)) != _plain(other.get(key)) for key in ("roi_id", "channel")):
        return False
    (a, b), (c, d) = (
        (row[_START], row[_START] if _plain(row.get(_END)) is None else row[_END])
        for row in (one, other)
    )
    return bool(a <= d and c <= b)


def _inserted(values: pd.Series[Any], at: int, value: Any) -> pd.Series[Any]:
    """Return a column with a value inserted; its dtype changes only if it cannot hold it."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        if value is not None and value not in dtype.categories:
            values = values.cat.add_categories([value])
    elif value is None and dtype.kind in "iub":
        values = values.astype(_NULLABLE[dtype.kind])
    elif isinstance(value, str) and dtype.kind in "Mm":
        value = pd.Timestamp(value) if dtype.kind == "M" else pd.Timedelta(value)
    elif isinstance(value, float) and dtype.kind in "iu":
        values = values.astype("float64")
    elif isinstance(value, str) and not pd.api.types.is_string_dtype(dtype):
        values = values.astype(object)
    cells = values.tolist()
    cells.insert(at, value)
    try:
        return pd.Series(cells, dtype=values.dtype, name=values.name)
    except (TypeError, ValueError):
        return pd.Series(cells, dtype=object, name=values.name)
