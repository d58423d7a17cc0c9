"""``kymflow-zarr unblind``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import dataset_argument, debug_option, form_of, form_options

__all__ = ["unblind"]


@click.command(short_help="Show a person what was hidden, and write down that it was.")
@dataset_argument
@click.option("--as", "who", metavar="NAME", help="As in view; the user by default.")
@form_options
@debug_option
def unblind(dataset: Path, who: str | None, as_json: bool, as_csv: bool, as_table: bool) -> None:
    """End the blinding of a person who judged DATASET blind, and print what was hidden.

    Each image that the person has judged is a row, with the columns that were hidden and the
    verdict. The table "blinding" gets a row: who was told, and when.

    \b
    Examples:
      kymflow-zarr unblind all.zarr
      kymflow-zarr unblind all.zarr --as ada --csv > ada.csv
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.cells import print_frame

    form = form_of(as_json=as_json, as_csv=as_csv, as_table=as_table)
    with ZarrDataset(dataset, mode="r+") as ds:
        print_frame(ds.unblind(who), form)
