"""``kymflow-zarr agreement``."""

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

__all__ = ["agreement"]


@click.command(short_help="How far people agree on verdicts, or on events.")
@dataset_argument
@click.argument("raters", nargs=-1)
@click.option("--events", metavar="NAME", help="Compare the events in this data frame instead.")
@click.option(
    "--by", metavar="COLUMN", default="rater", show_default=True,
    help="The column of --events that names the person.",
)  # fmt: skip
@choice_options
@form_options
@debug_option
def agreement(
    dataset: Path,
    raters: tuple[str, ...],
    events: str | None,
    by: str,
    ids: tuple[str, ...],
    where: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
    as_table: bool,
) -> None:
    """Compare what RATERS, or all who judged images of DATASET, said of the same images.

    Verdicts are compared pair by pair, with Cohen's kappa. With --events the events of two raters
    are, image by image: how many overlap, one with one, and the share of time in common.

    \b
    Examples:
      kymflow-zarr agreement all.zarr
      kymflow-zarr agreement all.zarr ada bob --where condition=Drug
      kymflow-zarr agreement all.zarr ada bob --events velocity_events/events --by rater
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.look.images import chosen_ids
    from kymflow_zarr.cli.output.cells import print_frame

    form = form_of(as_json=as_json, as_csv=as_csv, as_table=as_table)
    if events is not None and len(raters) != 2:
        raise click.UsageError("--events compares two raters: name both.")
    with ZarrDataset(dataset, mode="r") as ds:
        chosen = chosen_ids(ds, ids, where)
        if events is not None:
            compared = ds.event_agreement(raters[0], raters[1], of=events, by=by, ids=chosen)
        else:
            compared = ds.agreement(raters or None, ids=chosen)
    print_frame(compared, form)
