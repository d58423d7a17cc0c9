"""Data frames as an Excel workbook, without formulas, links, or rounded whole numbers."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kymflow_zarr.errors import LimitExceededError, extra_module

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["require_xlsxwriter", "write_workbook"]

# Limits of the file format: ECMA-376 as Excel reads it.
_MAX_ROWS: Final = 1_048_576
_MAX_COLUMNS: Final = 16_384
_MAX_LETTERS: Final = 32_767
_MAX_NAME: Final = 31
# Excel holds numbers as doubles, and shows 15 digits.
_EXACT: Final = 10**15
_FIRST_YEAR: Final = 1900
_FORBIDDEN: Final = re.compile(r"[\[\]:*?/\\\x00-\x1f]")


def require_xlsxwriter() -> Any:
    """Return the module xlsxwriter.

    Raises
    ------
    MissingDependencyError
        If it is not installed; names the extra.
    """
    needs = "Excel files need the package XlsxWriter"
    return extra_module("xlsxwriter", extra="excel", needs=needs)


def write_workbook(path: Path, sheets: Mapping[str, pd.DataFrame]) -> None:
    """Write data frames to an Excel workbook, one sheet each.

    Text is text even if it begins with ``=``. Whole numbers of more than 15 digits are written as
    text, and so are times with a zone, which Excel does not have; missing values are empty cells.

    Parameters
    ----------
    path : Path
    sheets : mapping of str to DataFrame
        By the name of the sheet, which is shortened to 31 letters.

    Raises
    ------
    LimitExceededError
        If a data frame has more rows or columns than a sheet, or a text is too long for a cell.
    MissingDependencyError
        If XlsxWriter is not installed; names the extra.
    """
    xlsxwriter = require_xlsxwriter()
    for name, frame in sheets.items():
        if len(frame) >= _MAX_ROWS or len(frame.columns) > _MAX_COLUMNS:
            raise LimitExceededError(
                f"{len(frame)} rows and {len(frame.columns)} columns are more than a sheet holds",
                where=name, hint="A CSV file holds them.",
            )  # fmt: skip
    options = {
        "strings_to_numbers": False, "strings_to_formulas": False, "strings_to_urls": False,
        "in_memory": False, "constant_memory": True,
    }  # fmt: skip
    # Otherwise XlsxWriter would drop what it was given when it goes out of scope.
    book = xlsxwriter.Workbook(str(path), options)
    try:
        bold = book.add_format({"bold": True})
        moment = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
        taken: set[str] = set()
        for name, frame in sheets.items():
            sheet = book.add_worksheet(_sheet_name(name, taken))
            sheet.freeze_panes(1, 0)
            for column, label in enumerate(frame.columns):
                sheet.write_string(0, column, str(label), bold)
            for row, cells in enumerate(frame.itertuples(index=False, name=None), start=1):
                for column, cell in enumerate(cells):
                    _write(sheet, row, column, cell, moment, where=f"{name}, row {row}")
    finally:
        book.close()


def _sheet_name(name: str, taken: set[str]) -> str:
    bare = _FORBIDDEN.sub("_", name).strip("'") or "sheet"
    short, number = bare[:_MAX_NAME], 2
    while short.casefold() in taken:
        short = f"{bare[: _MAX_NAME - 4]} {number}"
        number += 1
    taken.add(short.casefold())
    return short


def _write(sheet: Any, row: int, column: int, cell: Any, moment: Any, *, where: str) -> None:
    if isinstance(cell, np.generic):
        cell = cell.item()
    if cell is None or _is_missing(cell):
        return
    if isinstance(cell, bool):
        sheet.write_boolean(row, column, cell)
    elif _is_number(cell):
        sheet.write_number(row, column, cell)
    elif isinstance(cell, dt.datetime) and cell.tzinfo is None and cell.year >= _FIRST_YEAR:
        sheet.write_datetime(row, column, cell, moment)
    else:
        text = cell.isoformat() if hasattr(cell, "isoformat") else str(cell)
        if len(text) > _MAX_LETTERS:
            raise LimitExceededError(
                f"a text of {len(text)} letters is longer than a cell of Excel holds",
                where=where, hint="A CSV file holds it.",
            )  # fmt: skip
        sheet.write_string(row, column, text)


def _is_number(cell: Any) -> bool:
    """Return True if Excel has the same number."""
    if isinstance(cell, float):
        return math.isfinite(cell)
    return isinstance(cell, int) and abs(cell) < _EXACT


def _is_missing(cell: Any) -> bool:
    if type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float) and math.isnan(cell)
