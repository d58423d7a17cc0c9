"""Which images ``ls`` lists, and in which order: out of the list of images alone."""

from __future__ import annotations

import datetime as dt
import fnmatch
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr.cli.output.cells import cell_text, is_missing
from kymflow_zarr.errors import ArgumentError

if TYPE_CHECKING:
    from kymflow_zarr import ZarrDataset

__all__ = ["Condition", "Selection", "column_name", "parse_condition", "read_images"]

# What the columns of ls are called on a terminal.
_SHORT_NAMES: Final = {
    "id": "image_id",
    "created": "created_utc",
    "source": "source_path",
}
_NEEDED: Final = ("image_id", "error", "acquired_local_epoch_ns", "n_rois", "artifacts")
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NS: Final = 10**9
_EPOCH: Final = dt.datetime(1970, 1, 1)


@dataclass(frozen=True)
class Condition:
    """A comparison of a column with a text, as ``condition=Control`` is."""

    column: str
    operator: str
    text: str

    def holds(self, value: Any) -> bool:
        """Tell whether a cell fulfills it.

        Numbers are compared as numbers, and texts that look like them where it is about more
        and less; "007" and "7" are two names all the same.
        """
        said = cell_text(value)
        if self.operator == "~":
            return self.text.casefold() in said.casefold()
        if is_missing(value) and self.text:
            return self.operator == "!="  # It is neither less nor more than anything.
        compare = _COMPARE[self.operator]
        same = self.operator in ("=", "!=")
        numbers = _number(value), _number(self.text)
        if None not in numbers and not (same and isinstance(value, str)):
            return compare(*numbers)
        if same and isinstance(value, tuple | list):
            among = self.text == said or self.text in map(cell_text, value)
            return among == (self.operator == "=")
        return compare(said, self.text.replace("T", " ") if _is_time(value) else self.text)


def parse_condition(text: str) -> Condition:
    """Return the condition that a text spells.

    Raises
    ------
    ArgumentError
        If it is none.
    """
    found = re.fullmatch(r"\s*([^=!<>~]+?)\s*(!=|<=|>=|=|<|>|~)\s*(.*?)\s*", text, re.DOTALL)
    if found is None:
        raise ArgumentError(
            f"{text!r} is no condition",
            where="--where",
            hint="Write COLUMN=VALUE; != < <= > >= compare too, and ~ looks for a part of a text.",
        )
    return Condition(found[1], found[2], found[3])


@dataclass(frozen=True)
class Selection:
    """What ``ls`` was asked for.

    Parameters
    ----------
    where : sequence of Condition
        All of them must hold.
    since, until : datetime, optional
        The first moment of the clock at the microscope, and the first one too late.
    min_rois : int
    has : sequence of str
        Names of artifacts, in which ``*`` stands for anything; the image has all of them.
    sort : str, optional
        Column; the time of acquisition if left out.
    reverse : bool
    limit : int, optional
    """

    where: Sequence[Condition] = ()
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    min_rois: int = 0
    has: Sequence[str] = ()
    sort: str | None = None
    reverse: bool = False
    limit: int | None = None

    @property
    def columns(self) -> list[str]:
        """The columns that it takes to select."""
        return [condition.column for condition in self.where] + ([self.sort] if self.sort else [])

    def of(self, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the rows that were asked for, in order.

        Broken images come last, whatever was asked for: nobody can tell what they hold.
        """
        broken = [row for row in rows if not is_missing(row["error"])]
        chosen = [row for row in rows if is_missing(row["error"]) and self._takes(row)]
        column = self.sort or "acquired_local_epoch_ns"
        # Of those that are equal the one that was acquired first.
        chosen.sort(key=lambda row: _time_key(row["acquired_local_epoch_ns"]))
        known = [row for row in chosen if not is_missing(row[column])]
        known.sort(key=lambda row: _sort_key(row[column]), reverse=self.reverse)
        ordered = known + [row for row in chosen if is_missing(row[column])]
        return ordered[: self.limit] + broken

    def _takes(self, row: Mapping[str, Any]) -> bool:
        return (
            row["n_rois"] >= self.min_rois
            and self._is_in_time(row["acquired_local_epoch_ns"])
            and all(_is_among(name, row["artifacts"]) for name in self.has)
            and all(condition.holds(row[condition.column]) for condition in self.where)
        )

    def _is_in_time(self, epoch_ns: Any) -> bool:
        if self.since is None and self.until is None:
            return True
        if is_missing(epoch_ns):
            return False
        after = self.since is None or epoch_ns >= _epoch_ns(self.since)
        return after and (self.until is None or epoch_ns < _epoch_ns(self.until))


def read_images(dataset: ZarrDataset, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each image with some columns, and those that it takes to select.

    Raises
    ------
    ArgumentError
        If there is no such column.
    """
    from kymflow_zarr.cli.output.cells import records
    from kymflow_zarr.cli.output.facts import did_you_mean

    wanted = list(dict.fromkeys([*_NEEDED, *columns]))
    try:
        frame = dataset.images(wanted)
    except ArgumentError:
        known = list(map(str, dataset.images().columns))
        unknown = [name for name in wanted if name not in known]
        if not unknown:
            raise
        raise ArgumentError(
            f"the images have no column {unknown[0]!r}",
            where=str(dataset.path),
            hint=f"{did_you_mean(unknown[0], known)}kymflow-zarr ls --columns all shows them.",
        ) from None
    return records(frame)


def column_name(dataset: ZarrDataset, name: str) -> str:
    """Return the column that is meant, which may be spelled as ls prints it."""
    if name in _SHORT_NAMES:
        return _SHORT_NAMES[name]
    prefix = "experiment_metadata."
    if not name.startswith(prefix) or name in dataset.images().columns:
        return name
    return name.removeprefix(prefix)  # It has the long name only where the short one is taken.


def _time_key(epoch_ns: Any) -> tuple[bool, int]:
    missing = is_missing(epoch_ns)
    return missing, 0 if missing else int(epoch_ns)


def _is_among(name: str, artifacts: Sequence[str]) -> bool:
    return any(name == each or fnmatch.fnmatchcase(each, name) for each in artifacts)


def _number(value: Any) -> float | None:
    if isinstance(value, bool | np.bool_) or not isinstance(value, str | int | float | np.number):
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,30}\s*", value):
        return int(value)  # Nanoseconds are more than a float can tell apart.
    try:
        number = value if isinstance(value, int) else float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _is_time(value: Any) -> bool:
    return hasattr(value, "isoformat")


def _sort_key(value: Any) -> tuple[int, Any]:
    """Return what numbers, times and texts are sorted by, each among its own."""
    if isinstance(value, bool | np.bool_ | int | float | np.number):
        return (0, float(value)) if isinstance(value, np.floating) else (0, value)
    if isinstance(value, tuple | list):
        return 2, [_sort_key(item) for item in value]
    if isinstance(value, str):
        return 3, value
    return (1, value.isoformat()) if _is_time(value) else (4, cell_text(value))


def _epoch_ns(moment: dt.datetime) -> int:
    passed = moment - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * _NS + passed.microseconds * 1000
