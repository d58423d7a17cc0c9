"""Values by condition as a file: tidy CSV, a column for each group, or an Excel workbook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from kymflow_zarr.engine.query.summary import GroupedValues, group_columns, names_of
from kymflow_zarr.errors import ArgumentError
from kymflow_zarr.export.complete import complete_file, taken
from kymflow_zarr.export.sheets.excel import write_workbook
from kymflow_zarr.types import StrPath

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr.engine.dataset import OpenDataset

__all__ = ["ValuesLayout", "export_values"]

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
    suffix = target.suffix.casefold()
    if suffix not in _SUFFIXES:
        raise ArgumentError(
            f"the name of the file ends in {target.suffix!r}", where=str(target),
            hint="It ends in .csv or .xlsx.",
        )  # fmt: skip
    if layout not in get_args(ValuesLayout):
        raise ArgumentError(
            f"the layout is {layout!r}", where="layout", hint='It is "tidy" or "columns".'
        )
    if target.exists():
        raise taken(target)
    by = names_of(by)
    grouped = GroupedValues(dataset, table, value, by, unit, ids)
    columns = group_columns(grouped.units, value, by, unit, paired=paired, order=order)
    with complete_file(target) as part:
        if suffix == ".csv":
            frame = grouped.units if layout == "tidy" else columns
            frame.to_csv(part, index=False, lineterminator="\n", encoding="utf-8")
        else:
            sheets = {"summary": grouped.statistics(), "values": grouped.units, "columns": columns}
            write_workbook(part, sheets)
