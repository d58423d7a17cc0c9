"""``kymflow-zarr repair``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kymflow_zarr.cli.options import dataset_argument, debug_option, json_option

if TYPE_CHECKING:
    from kymflow_zarr import RepairReport

__all__ = ["repair"]


@click.command(short_help="Restore what is damaged, or quarantine it.")
@dataset_argument
@click.option("--yes", is_flag=True, help="Do it, and do not ask.")
@json_option
@debug_option
@click.pass_context
def repair(ctx: click.Context, dataset: Path, yes: bool, as_json: bool) -> None:
    """Show the repairs of DATASET; carry them out with --yes, or after asking on a terminal.

    Files that were made of source files are rebuilt if those are unchanged. Other broken files are
    moved to the folder quarantine of the dataset; nothing is deleted.

    \b
    Examples:
      kymflow-zarr repair all.zarr               show what would be done
      kymflow-zarr repair all.zarr --yes         do it

    Exits with 1 if a repair was not carried out, or if something was quarantined or is lost.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.terminal import print_json, progress_bar

    with ZarrDataset(dataset, mode="r") as ds, progress_bar("Looking") as progress:
        report = ds.repair(dry_run=True, progress=progress)
    if report.actions and not yes and not as_json and sys.stdin.isatty():
        _print(report)
        yes = click.confirm("Do that?", err=True)
    if report.actions and yes:
        with ZarrDataset(dataset, mode="r+") as ds, progress_bar("Mending") as progress:
            report = ds.repair(progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)
    if report.actions and (report.dry_run or not report.ok):
        ctx.exit(1)


def _print(report: RepairReport) -> None:
    from kymflow_zarr.cli.output.terminal import add_column, new_table, screen

    console = screen()
    if not report.actions:
        console.print("nothing to repair", style="green")
        return
    table = new_table()
    for title in ("step", "where"):
        add_column(table, title, keep=True)
    add_column(table, "why")
    for action in report.actions:
        to = "" if action.quarantined_as is None else f" (now {action.quarantined_as})"
        table.add_row(action.kind, action.where, f"{action.why}{to}")
    console.print(table)
    if report.dry_run:
        console.print("A plan: nothing was changed. --yes does it.")
