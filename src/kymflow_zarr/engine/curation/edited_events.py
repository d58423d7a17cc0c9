"""Events of a data frame while an edit changes their types. Imports pandas: import it late."""

from __future__ import annotations

import contextlib
import hashlib
import json
import numbers
import operator
from typing import Any, Final

import pandas as pd

from kymflow_zarr.engine.curation.document import EditChange
from kymflow_zarr.errors import ArgumentError, ArgumentTypeError
from kymflow_zarr.types import FrameKind

# The type that a person set; without such a column, the one that the program found.
_COLUMNS: Final = ("user_type", "event_type")


class EditedEvents:
    """A data frame of events, changed cell by cell.

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

    def changes(self) -> list[EditChange]:
        """Return the changes of all cells that differ from before."""
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
            if str(label) != column
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
