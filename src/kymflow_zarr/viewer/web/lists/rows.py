"""Search, filter and sort the rows of a data frame in memory."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from kymflow_zarr.errors import ArgumentError

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

__all__ = ["Asked", "Column", "Rows"]

Kind = Literal["text", "number", "time", "list"]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]

_WHERE: Final = re.compile(
    r"(.+?):(eq|ne|lt|le|gt|ge|contains|present|absent)(?::(.*))?", re.DOTALL
)
_ORDERS: Final = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}
_MANY: Final = (list, tuple, set, frozenset, dict, np.ndarray)


class Column:
    """One column, with cached forms for comparing and sorting.

    Parameters
    ----------
    values : Series
    is_time : bool
        Whether its texts are ISO 8601 times.
    """

    def __init__(self, values: pd.Series[Any], *, is_time: bool = False) -> None:
        self.name = str(values.name)
        self.values = values
        self._is_time = is_time

    @cached_property
    def objects(self) -> npt.NDArray[np.object_]:
        """Its values as Python objects."""
        return self.values.astype(object).to_numpy()

    @cached_property
    def missing(self) -> Mask:
        """Mask of the missing values."""
        return np.asarray(self.values.isna(), dtype=bool)

    @cached_property
    def kind(self) -> Kind:
        """Kind of its values."""
        kind = self.values.dtype.kind
        if kind == "M" or self._is_time:
            return "time"
        if kind in "iufc":
            return "number"
        there = self.objects[~self.missing]
        if any(isinstance(value, _MANY) for value in there):
            return "list"
        if len(there) and all(isinstance(value, _NUMBERS) for value in there):
            return "text" if any(isinstance(value, _BOOLS) for value in there) else "number"
        if len(there) and all(isinstance(value, dt.datetime) for value in there):
            return "time"
        return "text"

    @cached_property
    def texts(self) -> list[str]:
        """Its values as case-folded texts for searching, empty if missing."""
        codes, texts = self._distinct
        return [texts[code] for code in codes.tolist()]

    @cached_property
    def _distinct(self) -> tuple[Positions, list[str]]:
        """The distinct values as case-folded texts, and which of them each value is."""
        if self.kind != "list":
            codes, values = pd.factorize(self.objects)
            # Missing values are -1, which is the last text.
            return codes, [*(_text(value).casefold() for value in values), ""]
        pairs = zip(self.objects, self.missing, strict=True)
        texts = ["" if gone else _text(value).casefold() for value, gone in pairs]
        return np.arange(len(texts)), texts

    def contains(self, sought: str) -> Mask:
        """Return a mask of the values whose text contains a case-folded text."""
        codes, texts = self._distinct
        mask: Mask = np.array([sought in text for text in texts], dtype=bool)[codes]
        return mask

    @cached_property
    def numbers(self) -> npt.NDArray[np.float64]:
        """Its values as numbers; times as seconds since 1970. NaN if missing."""
        if self.kind == "time":
            times: Any = pd.to_datetime(self.values, errors="coerce", utc=True, format="ISO8601")
            # Use the values' own unit: nanoseconds overflow after the year 2262.
            per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[times.dt.unit]
            whole = times.astype("int64").to_numpy()
            return np.where(times.isna(), np.nan, whole / per_second)
        if self.values.dtype.kind == "c":
            return np.asarray(np.abs(self.values.to_numpy()), np.float64)
        return pd.to_numeric(self.values, errors="coerce").to_numpy(np.float64, na_value=np.nan)

    def order(self, *, descending: bool) -> Positions:
        """Return the positions of the rows in the order of this column, missing ones last."""
        keys: npt.NDArray[Any]
        if self.kind in ("number", "time"):
            keys, gone = self.numbers, np.isnan(self.numbers)
        elif self.kind == "list":
            firsts = [_sortable(value) for value in self.objects]
            ranks = {key: rank for rank, key in enumerate(sorted(set(firsts)))}
            keys, gone = np.array([ranks[key] for key in firsts], np.int64), self.missing
        else:
            codes, texts = self._distinct
            _, ranks_of = np.unique(np.array(texts, dtype=object), return_inverse=True)
            keys, gone = ranks_of[codes], self.missing
        there = np.flatnonzero(~gone)
        by = -keys[there] if descending else keys[there]
        return np.concatenate([there[np.argsort(by, kind="stable")], np.flatnonzero(gone)])

    def holds(self, op: str, value: str) -> Mask:
        """Return a mask of the rows that fulfil a condition.

        Raises
        ------
        ArgumentError
            If the condition does not apply to this kind of values, or its value is of another kind.
        """
        if op in ("present", "absent"):
            return self.missing if op == "absent" else ~self.missing
        if op == "contains":
            return self.contains(value.casefold())
        if self.kind in ("number", "time"):
            return self._compared(op, value)
        if op in ("eq", "ne"):
            same = np.fromiter((_is(each, value) for each in self.objects), bool, len(self.objects))
            same &= ~self.missing
            return same if op == "eq" else ~same
        if self.kind == "list":
            raise ArgumentError(f"the lists of {self.name!r} have no order", where="where")
        sought = value.casefold()
        order = _ORDERS[op]
        matches: Mask = np.array([bool(order(text, sought)) for text in self.texts], dtype=bool)
        return np.logical_and(matches, ~self.missing)

    def _compared(self, op: str, value: str) -> Mask:
        sought = _moment(value) if self.kind == "time" else _number(value)
        if sought is None:
            raise ArgumentError(
                f"{value!r} is not a {self.kind}, which {self.name!r} holds", where="where"
            )
        with np.errstate(invalid="ignore"):
            if op in ("eq", "ne"):
                same: Mask = self.numbers == sought
                return same if op == "eq" else ~same
            matches: Mask = _ORDERS[op](self.numbers, sought)
        return matches


_BOOLS: Final = (bool, np.bool_)
_NUMBERS: Final = (int, float, np.integer, np.floating, np.bool_)


def _text(value: Any) -> str:
    if isinstance(value, _MANY):
        return ", ".join(map(str, value))
    return str(value)


def _sortable(value: Any) -> tuple[tuple[bool, float, str], ...]:
    """Return the sort key of a value: numbers precede texts."""
    parts = list(value) if isinstance(value, _MANY) else [value]
    return tuple(
        (False, float(part), "")
        if isinstance(part, _NUMBERS)
        else (True, 0.0, str(part).casefold())
        for part in parts
    )


def _is(each: Any, value: str) -> bool:
    if isinstance(each, _BOOLS):
        return value.casefold() == str(each).casefold()  # JSON literals are lower-case.
    if isinstance(each, _MANY):
        return value == _text(each) or any(value == str(part) for part in each)
    return value == str(each)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _moment(text: str) -> float | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


@dataclass(frozen=True)
class Asked:
    """A query of rows.

    Parameters
    ----------
    q : str
        Words that a row must all contain.
    where : sequence of (column, op, value)
        Conditions that a row must all fulfil.
    sort : str
        Column to sort by; empty keeps the existing order.
    descending : bool
    offset, limit : int
        The range of the matching rows to return.
    """

    q: str = ""
    where: Sequence[tuple[str, str, str]] = ()
    sort: str = ""
    descending: bool = False
    offset: int = 0
    limit: int = 100

    @classmethod
    def of(cls, query: QueryParams, *, offset: int = 0, limit: int = 100) -> Asked:
        """Return the query of a URL.

        Raises
        ------
        ArgumentError
            If a condition is invalid.
        """
        where = []
        for condition in query.getlist("where"):
            match = _WHERE.fullmatch(condition)
            if match is None:
                raise ArgumentError(
                    f"{condition!r} is no condition", where="where", hint="column:op:value is one."
                )
            where.append((match[1], match[2], match[3] or ""))
        down = query.get("descending", "").lower() in ("1", "true", "yes")
        return cls(query.get("q", ""), where, query.get("sort", ""), down, offset, limit)


@dataclass
class Rows:
    """Rows in memory.

    Parameters
    ----------
    frame : DataFrame
        Its column names are distinct texts.
    searched : sequence of str, optional
        The columns in which words are searched; those of text if left out.
    times : collection of str
        Columns whose texts are times.
    """

    frame: pd.DataFrame
    searched: Sequence[str] | None = None
    times: frozenset[str] = frozenset()
    _orders: dict[tuple[str, bool], Positions] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def columns(self) -> dict[str, Column]:
        """The columns by name."""
        return {
            name: Column(self.frame[name], is_time=name in self.times)
            for name in self.frame.columns
        }

    @cached_property
    def _haystacks(self) -> list[str]:
        wanted = self.searched
        if wanted is None:
            wanted = [name for name, col in self.columns.items() if col.kind in ("text", "list")]
        return list(map("\n".join, zip(*(self.columns[n].texts for n in wanted), strict=True)))

    def find(self, asked: Asked) -> Positions:
        """Return the positions of all rows that match a query, in its order.

        Raises
        ------
        ArgumentError
            If a column does not exist, or a condition does not apply to it.
        """
        mask = self.mask(asked)
        if not asked.sort:
            positions = np.flatnonzero(mask)
            return positions[::-1] if asked.descending else positions
        key = (asked.sort, asked.descending)
        order = self._orders.get(key)
        if order is None:
            order = self.column(asked.sort).order(descending=asked.descending)
            self._orders[key] = order
        return order[mask[order]]

    def mask(self, asked: Asked) -> Mask:
        """Return a mask of the rows that match a query."""
        mask = np.ones(len(self), dtype=bool)
        for name, op, value in asked.where:
            mask &= self.column(name).holds(op, value)
        words = asked.q.casefold().split()
        return mask & self.with_words(words) if words else mask

    def with_words(self, words: Sequence[str]) -> Mask:
        """Return a mask of the rows that have each word in one of the searched columns."""
        mask = np.ones(len(self), dtype=bool)
        for word in words:
            if self._haystacks:
                mask &= np.fromiter((word in text for text in self._haystacks), bool, len(mask))
            else:
                mask[:] = False
        return mask

    def kinds(self) -> dict[str, Kind]:
        """Return the kind of each column."""
        return {name: column.kind for name, column in self.columns.items()}

    def frame_of(self, positions: Positions) -> pd.DataFrame:
        """Return some rows as a data frame."""
        return self.frame.iloc[positions]

    def column(self, name: str) -> Column:
        """Return a column; raise ArgumentError if there is none of that name."""
        if name not in self.columns:
            known = ", ".join(list(self.columns)[:20])
            raise ArgumentError(f"there is no column {name!r}", where=name, hint=f"Some: {known}.")
        return self.columns[name]

    def rows(self, positions: Iterable[int], names: Sequence[str]) -> list[list[Any]]:
        """Return rows as lists of the values of some columns; missing ones are None."""
        at = np.fromiter(positions, np.intp)
        taken = []
        for name in names:
            column = self.columns[name]
            values = column.objects[at]
            values[column.missing[at]] = None
            taken.append(values)
        return [list(row) for row in zip(*taken, strict=True)] if names else [[] for _ in at]
