"""Format cells of lists and data frames as text, CSV and JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from kymflow_zarr.cli.output.terminal import (
    add_column,
    new_table,
    plain,
    print_json,
    screen,
)
from kymflow_zarr.errors import printable

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

__all__ = ["Form", "cell_text", "flat", "is_missing", "print_frame", "print_rows", "records"]

Form: TypeAlias = Literal["json", "csv", "table"]

# Number of rows on a terminal; a pipe gets the whole data frame.
_LOOK_ROWS = 40
_GAP = 2
_MAX_LETTERS = 60
_MIN_LETTERS = 12


def is_missing(value: object) -> bool:
    """Return True if a cell is missing: None, NaN, NaT or NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return isinstance(value, np.datetime64 | np.timedelta64) and bool(np.isnat(value))


def cell_text(value: Any) -> str:
    """Return a cell as a short text on one line."""
    if is_missing(value):
        return ""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, float | np.floating):
        return f"{value:.6g}"
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).replace("T", " ")
    if isinstance(value, tuple | list) and not any(isinstance(v, Mapping | list) for v in value):
        return ", ".join(map(cell_text, value))
    if isinstance(value, Mapping | tuple | list | np.ndarray | bytes):
        return printable(json.dumps(plain(value), ensure_ascii=False))
    return printable(str(value))


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a data frame with distinct texts as column names; row labels become columns."""
    import pandas as pd

    labels = [_label_text(label) for label in frame.columns]
    columns = [frame.iloc[:, number] for number in range(frame.shape[1])]
    index = frame.index
    if index.names != [None] or not index.equals(pd.RangeIndex(len(frame))):
        levels = range(index.nlevels)
        labels = [
            *(_label_text(index.names[n]) if index.names[n] is not None else f"index_{n}"
              for n in levels),
            *labels,
        ]  # fmt: skip
        columns = [*(pd.Series(index.get_level_values(n)) for n in levels), *columns]
    taken: set[str] = set()
    parts = {}
    for label, column in zip(labels, columns, strict=True):
        name, number = label, 1
        while name in taken:
            name, number = f"{label}.{number}", number + 1
        taken.add(name)
        parts[name] = column.reset_index(drop=True)
    return pd.DataFrame(parts, index=pd.RangeIndex(len(frame)))


def _label_text(label: object) -> str:
    return ".".join(map(str, label)) if isinstance(label, tuple) else str(label)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a mapping for each row of a flat data frame."""
    names = list(frame.columns)
    columns = [frame[name].tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def print_frame(frame: pd.DataFrame, form: Form | None, *, look: int = _LOOK_ROWS) -> None:
    """Print a data frame: by default a table on a terminal and CSV in a pipe.

    Parameters
    ----------
    frame : DataFrame
    form : {"json", "csv", "table"}, optional
    look : int
        Number of rows on a terminal if no form is given.
    """
    frame = flat(frame)
    if form == "json":
        print_json(records(frame))
    elif form == "csv" or (form is None and not sys.stdout.isatty()):
        _print_csv(frame)
    else:
        shown = frame if form == "table" else frame.head(look)
        console = screen()
        print_rows(console, list(frame.columns), records(shown))
        if len(shown) < len(frame):
            left = len(frame) - len(shown)
            console.print(f"... {left} more rows; --csv prints all", style="dim")


def _print_csv(frame: pd.DataFrame) -> None:
    import pandas as pd

    is_terminal = sys.stdout.isatty()
    for name in frame.columns:
        # Numbers, booleans and times contain no control characters.
        if frame[name].dtype == object or (is_terminal and not _is_plain(frame[name].dtype)):
            # Keep dtype object, so that no number is converted.
            cells = [_csv_cell(value, for_terminal=is_terminal) for value in frame[name]]
            frame[name] = pd.Series(cells, dtype=object, index=frame.index)
    if is_terminal:
        frame.columns = pd.Index([printable(name) for name in frame.columns])
    frame.to_csv(sys.stdout, index=False, lineterminator="\n")


def _is_plain(dtype: Any) -> bool:
    return getattr(dtype, "kind", "O") in "biufcmM"


def _csv_cell(value: Any, *, for_terminal: bool) -> Any:
    if isinstance(value, Mapping | tuple | list | np.ndarray | bytes):
        value = json.dumps(plain(value), ensure_ascii=False)
    return printable(value) if for_terminal and isinstance(value, str) else value


def print_rows(console: Console, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table: truncated to the terminal's size, complete in a pipe."""
    titles = {name: printable(name) for name in names}
    cells = {name: [cell_text(row.get(name)) for row in rows] for name in names}
    numbers = {name: _are_numbers([row.get(name) for row in rows]) for name in names}
    if not console.is_terminal:
        _print_plain([[titles[name], *cells[name]] for name in names], list(numbers.values()))
        return
    cells = {name: [_short(text, _MAX_LETTERS) for text in cells[name]] for name in names}
    room = console.width
    shown: list[str] = []
    for name in names:
        letters = max(map(len, [titles[name], *cells[name]]))
        if letters > room and shown and room < _MIN_LETTERS:
            break
        cells[name] = [_short(text, max(room, _MIN_LETTERS)) for text in cells[name]]
        room -= letters + _GAP
        shown.append(name)
    table = new_table()
    for name in shown:
        add_column(table, titles[name], keep=True, justify="right" if numbers[name] else "left")
    for number in range(len(rows)):
        table.add_row(*(cells[name][number] for name in shown))
    console.print(table)
    if len(shown) < len(names):
        rest = ", ".join(titles[name] for name in names[len(shown) :])
        console.print(f"... and the columns {rest}", style="dim")


def _print_plain(columns: Sequence[Sequence[str]], numbers: Sequence[bool]) -> None:
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in columns]
    for line in zip(*columns, strict=True):
        parts = []
        for text, width, right in zip(line, widths, numbers, strict=True):
            space = " " * (width - cell_len(text))
            parts.append(space + text if right else text + space)
        print((" " * _GAP).join(parts).rstrip())


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _are_numbers(values: Sequence[object]) -> bool:
    number = (int, float, np.number)
    return bool(values) and all(is_missing(v) or isinstance(v, number) for v in values)
