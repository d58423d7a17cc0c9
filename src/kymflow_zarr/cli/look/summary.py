"""``kymflow-zarr summary``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kymflow_zarr.cli.complete import complete_tables
from kymflow_zarr.cli.options import (
    choice_options,
    dataset_argument,
    debug_option,
    form_of,
    form_options,
)

if TYPE_CHECKING:
    import pandas as pd

    from kymflow_zarr import ZarrDataset

__all__ = ["summary"]


@click.command(short_help="Mean, SD, SEM and median of a column by condition.")
@dataset_argument
@click.argument("table", shell_complete=complete_tables)
@click.argument("value")
@click.option("--by", metavar="A,B,...", default="", help="Columns that make the groups.")
@click.option("--unit", metavar="COLUMN", help="What counts once; the image if left out.")
@click.option("--order", metavar="A,B,...", help="These groups only, in this order.")
@click.option("--paired", is_flag=True, help="A row for each unit, joined in the figure.")
@click.option(
    "--out", "outs", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Write .csv (one row a unit), .columns.csv (one column a group), .xlsx, .svg, .pdf, .png.",
)  # fmt: skip
@click.option(
    "--kind", type=click.Choice(["swarm", "strip", "box"]), default="swarm", show_default=True,
    help="Of a figure.",
)  # fmt: skip
@choice_options
@form_options
@debug_option
def summary(
    dataset: Path,
    table: str,
    value: str,
    by: str,
    unit: str | None,
    order: str | None,
    paired: bool,
    outs: tuple[Path, ...],
    kind: str,
    ids: tuple[str, ...],
    where: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
    as_table: bool,
) -> None:
    """Summarize the column VALUE of TABLE, each image or animal counted once.

    TABLE is a table of DATASET, or else a data frame that its images have. Columns of --by and
    --unit are the table's, or those of the list of images. With --out the values behind the
    summary, or a figure of them, are written to new files.

    \b
    Examples:
      kymflow-zarr summary all.zarr events speed --by condition --unit animal
      kymflow-zarr summary all.zarr events speed --by condition --out speed.xlsx --out speed.pdf
      kymflow-zarr summary all.zarr events speed --by phase --unit animal --paired \\
          --order before,after --out speed.columns.csv
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.look.images import chosen_ids
    from kymflow_zarr.cli.output.cells import print_frame
    from kymflow_zarr.cli.output.terminal import say

    form = form_of(as_json=as_json, as_csv=as_csv, as_table=as_table)
    groups = _names(by)
    wanted = None if order is None else _names(order)
    for path in outs:
        if path.suffix.casefold() not in (*_DATA, *_FIGURES):
            raise click.UsageError(f"A file of --out ends in {', '.join((*_DATA, *_FIGURES))}.")
        if path.exists():
            raise click.UsageError(f"There is {path} already: choose another name for --out.")
    with ZarrDataset(dataset, mode="r") as ds:
        chosen = chosen_ids(ds, ids, where)
        rows = ds.load_table(table) if table in ds.list_table_names() else ds.gather(table)
        what: dict[str, Any] = {"by": groups, "unit": unit, "ids": chosen}
        frame = ds.summary(rows, value, **what)
        for path in outs:
            if path.suffix.casefold() in _FIGURES:
                _save_figure(ds, path, rows, value, kind=kind, paired=paired, order=wanted, **what)
            else:
                columns = path.name.casefold().endswith(".columns.csv")
                ds.export_values(
                    path, rows, value, layout="columns" if columns else "tidy", paired=paired,
                    order=wanted, **what,
                )  # fmt: skip
            say(f"wrote {path}", err=True)
    print_frame(frame, form)


_DATA: Final = (".csv", ".xlsx")
_FIGURES: Final = (".svg", ".pdf", ".png")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _save_figure(
    ds: ZarrDataset, path: Path, rows: pd.DataFrame, value: str, **options: Any
) -> None:
    from kymflow_zarr.views.plot import new_figure, save_figure

    figure = new_figure()
    ds.plot(rows, value, ax=figure.subplots(), **options)
    save_figure(figure, path)
