"""``kymflow-zarr tables`` and ``kymflow-zarr head``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kymflow_zarr.cli.complete import complete_tables
from kymflow_zarr.cli.options import (
    dataset_argument,
    debug_option,
    form_of,
    form_options,
    json_option,
)

if TYPE_CHECKING:
    from kymflow_zarr import ZarrDataset

__all__ = ["head", "tables"]


@click.command(short_help="List the tables of a dataset.")
@dataset_argument
@json_option
@debug_option
@click.pass_context
def tables(ctx: click.Context, dataset: Path, as_json: bool) -> None:
    """List the tables of DATASET with their rows and columns.

    \b
    Examples:
      kymflow-zarr tables all.zarr
      kymflow-zarr tables all.zarr --json | jq '.[].name'

    Exits with 1 if a table cannot be read.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.cells import cell_text, print_rows
    from kymflow_zarr.cli.output.terminal import print_json, say, screen

    with ZarrDataset(dataset, mode="r") as ds:
        facts_of_tables = [table_facts(ds, name) for name in ds.list_table_names()]
    broken = [facts for facts in facts_of_tables if "error" in facts]
    if as_json:
        print_json(facts_of_tables)
    elif not facts_of_tables:
        say(f"{dataset} holds no tables yet; save_table() in Python saves one.")
    else:
        console = screen()
        rows = [{**facts, "columns": cell_text(facts.get("columns"))} for facts in facts_of_tables]
        print_rows(console, ["name", "rows", "columns"], rows)
        for facts in broken:
            console.print(f"{facts['name']} is broken: {facts['error']}", style="red")
    if broken:
        ctx.exit(1)


def table_facts(dataset: ZarrDataset, name: str) -> dict[str, Any]:
    from kymflow_zarr import KymflowZarrError

    try:
        frame = dataset.load_table(name)
    except KymflowZarrError as error:
        return {"name": name, "error": str(error)}
    return {"name": name, "rows": len(frame), "columns": [str(label) for label in frame.columns]}


@click.command(short_help="Print the first rows of a table.")
@dataset_argument
@click.argument("table", shell_complete=complete_tables)
@click.option(
    "-n",
    "n_rows",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many rows.",
)
@form_options
@debug_option
def head(
    dataset: Path, table: str, n_rows: int, as_json: bool, as_csv: bool, as_table: bool
) -> None:
    """Print the first rows of a TABLE of DATASET: a table on a terminal, CSV in a pipe.

    \b
    Examples:
      kymflow-zarr head all.zarr kym_event_db
      kymflow-zarr head all.zarr kym_event_db -n 100 --csv > events.csv
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.cells import print_frame
    from kymflow_zarr.cli.output.facts import did_you_mean
    from kymflow_zarr.errors import TableNotFoundError

    form = form_of(as_json=as_json, as_csv=as_csv, as_table=as_table)
    with ZarrDataset(dataset, mode="r") as ds:
        names = ds.list_table_names()
        if table not in names:
            raise TableNotFoundError(
                f"there is no table {table!r}",
                where=str(dataset),
                hint=f"{did_you_mean(table, names)}kymflow-zarr tables lists them.",
            )
        frame = ds.load_table(table).head(n_rows)
    print_frame(frame, form, look=n_rows)
