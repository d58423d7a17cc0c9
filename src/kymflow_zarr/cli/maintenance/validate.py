"""``kymflow-zarr validate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kymflow_zarr.cli.options import dataset_argument, debug_option, json_option

if TYPE_CHECKING:
    from rich.console import Console

    from kymflow_zarr import ValidationReport

__all__ = ["validate"]


@click.command(short_help="Check a dataset against its format.")
@dataset_argument
@json_option
@debug_option
@click.pass_context
def validate(ctx: click.Context, dataset: Path, as_json: bool) -> None:
    """Check DATASET against its format.

    Documents, artifacts and tables are read. For pixels, only the existence and the sizes of the
    files are checked; their bytes are not read, since checksums detect damage when pixels are
    loaded.

    \b
    Examples:
      kymflow-zarr validate all.zarr
      kymflow-zarr validate all.zarr --json | jq '.problems[].where'

    Exits with 1 if there are errors; warnings do not count.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.terminal import print_json, progress_bar, screen

    with ZarrDataset(dataset, mode="r") as ds, progress_bar("Checking") as progress:
        report = ds.validate(progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_report(screen(), report)
    if not report.ok:
        ctx.exit(1)


def _print_report(console: Console, report: ValidationReport) -> None:
    from rich.text import Text

    from kymflow_zarr.cli.output.terminal import add_column, new_table

    checked = f"{report.images_checked} images checked"
    if not report.problems:
        console.print(Text.assemble(("valid", "green"), f"  {checked}"))
        return
    table = new_table()
    add_column(table, "", keep=True)
    add_column(table, "code", keep=True)
    add_column(table, "where")
    add_column(table, "what")
    for problem in report.problems:
        style = "red" if problem.severity == "error" else "yellow"
        table.add_row(Text(problem.severity, style), problem.code, problem.where, problem.message)
    console.print(table)
    n_errors = sum(problem.severity == "error" for problem in report.problems)
    verdict = ("not valid", "red") if n_errors else ("valid", "green")
    n_warnings = len(report.problems) - n_errors
    console.print()
    console.print(Text.assemble(verdict, f"  {checked}, {n_errors} errors, {n_warnings} warnings"))
