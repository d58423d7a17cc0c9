"""``kymflow-zarr log``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import (
    choice_options,
    dataset_argument,
    debug_option,
    form_of,
    form_options,
)

__all__ = ["log"]


@click.command(short_help="Who changed what when, in all images.")
@dataset_argument
@click.option("--who", metavar="NAME", help="Edits of this person only.")
@choice_options
@form_options
@debug_option
@click.pass_context
def log(
    ctx: click.Context,
    dataset: Path,
    who: str | None,
    ids: tuple[str, ...],
    where: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
    as_table: bool,
) -> None:
    """Print the history of DATASET: each verdict, note, region, event and metadata value, by edit.

    \b
    Examples:
      kymflow-zarr log all.zarr
      kymflow-zarr log all.zarr --who ada --where condition=Drug --csv > edits.csv

    Exits with 1 if the history of an image cannot be read.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.look.images import chosen_ids
    from kymflow_zarr.cli.output.cells import print_frame
    from kymflow_zarr.cli.output.terminal import say

    form = form_of(as_json=as_json, as_csv=as_csv, as_table=as_table)
    with ZarrDataset(dataset, mode="r") as ds:
        edits = ds.history(chosen_ids(ds, ids, where), who=who)
    print_frame(edits, form)
    errors = edits.attrs.get("errors", {})
    for image_id, error in errors.items():
        say(f"{image_id} cannot be read: {error}", err=True)
    if errors:
        ctx.exit(1)
