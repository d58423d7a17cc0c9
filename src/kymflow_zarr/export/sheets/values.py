"""Values by condition as a file: tidy CSV, a column for each group, or an Excel workbook."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from kymflow_zarr.engine.query.summary import group_columns, summary, unit_values
from kymflow_zarr.errors import ArgumentError, TargetExistsError
from kymflow_zarr.export.sheets.excel import require_xlsxwriter, write_workbook
from kymflow_zarr.storage.local.files import os_errors
from kymflow_zarr.types import StrPath

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr.engine.dataset import OpenDataset

__all__ = ["ValuesLayout", "export_values", "write_values"]

ValuesLayout: TypeAlias = Literal["tidy", "columns"]
_SUFFIXES: Final = (".csv", ".xlsx")


def export_values(
    dataset: OpenDataset,
    path: StrPath,
    table: str | pd.DataFrame,
    value: str,
    by: str | Iterable[str],
    unit: str | None,
    ids: Iterable[str] | None,
    *,
    layout: ValuesLayout,
    paired: bool,
    order: Sequence[str] | None,
) -> None:
    """Write values by groups to a file; see :meth:`kymflow_zarr.ZarrDataset.export_values`."""
    target = Path(path).expanduser().absolute()
    if target.suffix.casefold() not in _SUFFIXES:
        raise ArgumentError(
            f"the name of the file ends in {target.suffix!r}", where=str(target),
            hint="It ends in .csv or .xlsx.",
        )  # fmt: skip
    if target.exists():
        raise TargetExistsError(
            "there is such a file already", where=str(target), hint="Choose another name."
        )
    by = [by] if isinstance(by, str) else list(by)
    write_complete(
        target,
        lambda part: write_values(
            dataset, part, table, value, by, unit, None if ids is None else list(ids),
            layout=layout, paired=paired, order=order,
        ),
    )  # fmt: skip


def write_values(
    dataset: OpenDataset,
    path: Path,
    table: str | pd.DataFrame,
    value: str,
    by: Sequence[str],
    unit: str | None,
    ids: Sequence[str] | None,
    *,
    layout: ValuesLayout,
    paired: bool,
    order: Sequence[str] | None,
) -> None:
    """Write the file of :func:`export_values` where none is."""
    if layout not in get_args(ValuesLayout):
        raise ArgumentError(
            f"the layout is {layout!r}", where="layout", hint='It is "tidy" or "columns".'
        )
    tidy = unit_values(dataset, table, value, by, unit, ids)
    columns = group_columns(tidy, value, by, unit, paired=paired, order=order)
    if path.suffix.casefold() == ".csv":
        frame = tidy if layout == "tidy" else columns
        frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")
        return
    require_xlsxwriter()
    sheets = {
        "summary": summary(dataset, table, value, by, unit, ids), "values": tidy,
        "columns": columns,
    }  # fmt: skip
    write_workbook(path, sheets)


def write_complete(target: Path, write: Callable[[Path], None]) -> None:
    """Write a file under another name, which it has until it is complete."""
    part = target.with_name(f".{uuid.uuid4().hex}{target.suffix}")
    with os_errors("write", str(target)):
        try:
            write(part)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
