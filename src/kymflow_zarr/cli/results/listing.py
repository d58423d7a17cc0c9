"""``kymflow-zarr results`` and ``kymflow-zarr stale``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import dataset_argument, debug_option, form_of, form_options

__all__ = ["results", "stale"]

_name = click.argument("name", required=False)


@click.command(short_help="List the results of all images.")
@dataset_argument
@_name
@form_options
@debug_option
def results(dataset: Path, name: str | None, as_json: bool, as_csv: bool, as_table: bool) -> None:
    """List the results in DATASET, or those called NAME: program, parameters, status.

    \b
    Examples:
      kymflow-zarr results all.zarr
      kymflow-zarr results all.zarr velocity --csv > velocity_results.csv
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.cells import print_frame

    form = form_of(as_json=as_json, as_csv=as_csv, as_table=as_table)
    with ZarrDataset(dataset, mode="r") as ds:
        frame = ds.results(name)
    if form == "table" or (form is None and len(frame)):
        # A person needs neither digests nor keys.
        frame = frame.drop(columns=["params_sha256", "artifact"]).dropna(axis="columns", how="all")
    print_frame(frame, form)


@click.command(short_help="List the results that are out of date, and why.")
@dataset_argument
@_name
@form_options
@debug_option
@click.pass_context
def stale(
    ctx: click.Context,
    dataset: Path,
    name: str | None,
    as_json: bool,
    as_csv: bool,
    as_table: bool,
) -> None:
    """List the results in DATASET that are out of date, or those called NAME, each with a reason.

    \b
    Examples:
      kymflow-zarr stale all.zarr
      kymflow-zarr stale all.zarr velocity --json | jq '.[].reason'

    Exits with 1 if something is out of date.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.cells import print_frame
    from kymflow_zarr.cli.output.terminal import say

    form = form_of(as_json=as_json, as_csv=as_csv, as_table=as_table)
    with ZarrDataset(dataset, mode="r") as ds:
        frame = ds.stale(name)
    if len(frame) == 0 and form is None:
        say("all results are up to date")
        return
    if form is None or form == "table":
        frame = frame.dropna(axis="columns", how="all")
    print_frame(frame, form)
    if len(frame):
        ctx.exit(1)
