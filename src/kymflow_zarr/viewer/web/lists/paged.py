"""Rows of a large table, read by column and by row group."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from kymflow_zarr.api.internals import open_dataset_of
from kymflow_zarr.viewer.web.lists.rows import Asked, Column, Kind, Mask, Positions, Rows

if TYPE_CHECKING:
    from kymflow_zarr import ZarrDataset

__all__ = ["PagedRows"]

# Whole columns and orders that stay in memory, and cells that are decoded at a time.
_COLUMNS: Final = 3
_ORDERS: Final = 2
_CELLS: Final = 2**22


class PagedRows(Rows):
    """A table that is never in memory as a whole.

    Parameters
    ----------
    dataset : ZarrDataset
    name : str
        Of the table.
    """

    def __init__(self, dataset: ZarrDataset, name: str) -> None:
        self._file = open_dataset_of(dataset).table_columns(name)
        self._columns = _Columns(self._file.fields, lambda each: Column(self._file.read([each])[0]))
        self._kinds: dict[str, Kind] = {}
        self._orders = {}

    def __len__(self) -> int:
        return int(self._file.starts[-1])

    @property
    def columns(self) -> Mapping[str, Column]:  # type: ignore[override]
        """The columns by name, each read when it is asked for."""
        return self._columns

    def kinds(self) -> dict[str, Kind]:
        """Return the kind of each column, from the schema where that tells it."""
        if not self._kinds:
            kinds: Any = {name: self._file.kind_of(name) for name in self._file.fields}
            self._kinds = {name: kind or self.columns[name].kind for name, kind in kinds.items()}
        return self._kinds

    def find(self, asked: Asked) -> Positions:
        """Return the positions of all rows that match a query, in its order."""
        while len(self._orders) > _ORDERS:
            del self._orders[next(iter(self._orders))]
        return super().find(asked)

    def with_words(self, words: Sequence[str]) -> Mask:
        """Return a mask of the rows that have each word in one of the columns of text."""
        matches = np.zeros((len(words), len(self)), dtype=bool)
        for name, kind in self.kinds().items():
            if kind in ("text", "list"):
                (values,) = self._file.read([name])
                column = Column(values)
                for each, word in zip(matches, words, strict=True):
                    np.logical_or(each, column.contains(word), out=each)
        return np.asarray(matches.all(axis=0))

    def rows(self, positions: Iterable[int], names: Sequence[str]) -> list[list[Any]]:
        """Return rows as lists of the values of some columns; missing ones are None."""
        at = np.fromiter(positions, np.intp)
        if not len(at) or not names:
            return [[] for _ in at]
        starts = self._file.starts
        groups = np.unique(np.searchsorted(starts, at, side="right") - 1)
        sizes = starts[groups + 1] - starts[groups]
        # How far each of these row groups moves, as those before it are not all read.
        moved = np.cumsum(sizes) - sizes - starts[groups]
        local = at + moved[np.searchsorted(starts[groups], at, side="right") - 1]
        several = max(1, _CELLS // int(sizes.sum()))
        taken = []
        for first in range(0, len(names), several):
            some = names[first : first + several]
            for series in self._file.read(some, groups.tolist(), local):
                column = Column(series)
                values = column.objects.copy()
                values[column.missing] = None
                taken.append(values)
        return [list(row) for row in zip(*taken, strict=True)]

    def frame_of(self, positions: Positions) -> pd.DataFrame:
        """Return some rows as a data frame."""
        read = ((name, self._file.read([name])[0]) for name in self._file.fields)
        return pd.DataFrame({name: values.iloc[positions] for name, values in read})


class _Columns(Mapping[str, Column]):
    """The columns of a table, the last few of them in memory."""

    def __init__(self, names: Collection[str], read: Callable[[str], Column]) -> None:
        self._names = names
        self._from_file = read
        self._read: OrderedDict[str, Column] = OrderedDict()

    def __getitem__(self, name: str) -> Column:
        if name not in self._names:
            raise KeyError(name)
        column = self._read.get(name) or self._from_file(name)
        self._read[name] = column
        self._read.move_to_end(name)
        while len(self._read) > _COLUMNS:
            self._read.popitem(last=False)
        return column

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
