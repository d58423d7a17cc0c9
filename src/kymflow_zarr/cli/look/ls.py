"""``kymflow-zarr ls``."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kymflow_zarr.cli.complete import complete_artifacts, complete_columns
from kymflow_zarr.cli.options import dataset_argument, debug_option, json_option

if TYPE_CHECKING:
    from kymflow_zarr import ZarrDataset

__all__ = ["ls"]


def _moment(_ctx: click.Context, param: click.Parameter, text: str | None) -> dt.datetime | None:
    """Parse a day or a time of the microscope's wall clock."""
    if text is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no date like 2025-07-22 or 2025-07-22T14:30."
        ) from None
    if moment.tzinfo is not None:
        raise click.BadParameter(f"{text!r} has a time zone, and the time of acquisition has none.")
    # --until with a day includes that whole day.
    whole_day = param.name == "until" and ":" not in text and moment < dt.datetime(9999, 12, 31)
    return moment + dt.timedelta(days=1) if whole_day else moment


@click.command(short_help="List the images of a dataset.")
@dataset_argument
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="COLUMN=VALUE, of the metadata too; also != < <= > >=, and ~ for a part of a text.",
)
@click.option("--since", metavar="DATE", callback=_moment, help="Acquired on that day or later.")
@click.option("--until", metavar="DATE", callback=_moment, help="Acquired on that day or earlier.")
@click.option("--min-rois", type=click.IntRange(min=0), default=0, help="Has so many regions.")
@click.option(
    "--has",
    multiple=True,
    metavar="ARTIFACT",
    shell_complete=complete_artifacts,
    help="Has that artifact; * stands for anything.",
)
@click.option("--sort", metavar="COLUMN", shell_complete=complete_columns, help="Sort by a column.")
@click.option("--reverse", is_flag=True, help="The last one first.")
@click.option("--limit", type=click.IntRange(min=1), help="List so many at most.")
@click.option(
    "--columns",
    metavar="A,B,...",
    shell_complete=complete_columns,
    help="Print these columns; all prints every one.",
)
@click.option(
    "--ids", multiple=True, metavar="A,B,...", help="Of these only: names of files or ids."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for a spreadsheet.")
@json_option
@debug_option
@click.pass_context
def ls(
    ctx: click.Context,
    dataset: Path,
    where: tuple[str, ...],
    since: dt.datetime | None,
    until: dt.datetime | None,
    min_rois: int,
    has: tuple[str, ...],
    sort: str | None,
    reverse: bool,
    limit: int | None,
    columns: str | None,
    ids: tuple[str, ...],
    as_csv: bool,
    as_json: bool,
) -> None:
    """List the images of DATASET, one line each, in the order they were acquired.

    On a terminal an id is shortened to a unique prefix; in a pipe it is complete. The other
    commands take it, or the name in the last column. Where results are out of date, a column says
    which and why. Only the list of images is read, so that it is fast for thousands of them.

    \b
    Examples:
      kymflow-zarr ls all.zarr
      kymflow-zarr ls all.zarr --where condition=Control --where "depth>50" --min-rois 1
      kymflow-zarr ls all.zarr --since 2025-07-01 --until 2025-07-31 --has "velocity*"
      kymflow-zarr ls all.zarr --sort line_period_s --reverse --limit 10
      kymflow-zarr ls all.zarr --columns image_id,condition,n_rois
      kymflow-zarr ls all.zarr --csv > images.csv
      kymflow-zarr ls all.zarr --json | jq '.[].image_id'

    Broken images are always listed last. Exits with 1 if there are any.
    """
    from dataclasses import replace

    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.look.images import (
        Selection,
        choose_columns,
        chosen_ids,
        column_name,
        is_broken,
        list_images,
        parse_condition,
        print_chosen,
        print_images,
    )
    from kymflow_zarr.cli.output.terminal import print_json, screen

    if as_csv and as_json:
        raise click.UsageError("Give one of --json and --csv.")
    selection = Selection(
        [parse_condition(text) for text in where], since, until, min_rois, has, sort, reverse, limit
    )
    with ZarrDataset(dataset, mode="r") as ds:
        selection = replace(
            selection,
            where=[replace(c, column=column_name(ds, c.column)) for c in selection.where],
            sort=None if sort is None else column_name(ds, sort),
            ids=chosen_ids(ds, ids, ()),
        )
        chosen = None if columns is None else choose_columns(ds, columns)
        if as_csv and chosen is None:
            chosen = choose_columns(ds, "all")
        images = list_images(ds, selection, columns=chosen, with_axes=as_json)
        names = ds.image_names()
        if not images and not as_json:
            _say_none(ds, dataset)
            return
    if as_json:
        print_json(images)
    elif as_csv and chosen is not None:
        whole = [image for image in images if not is_broken(image)]
        import pandas as pd

        from kymflow_zarr.cli.output.cells import print_frame

        print_frame(pd.DataFrame(whole, columns=chosen), "csv")
    elif chosen is None:
        print_images(screen(), images, names)
    else:
        print_chosen(screen(), chosen, images)
    if any(is_broken(image) for image in images):
        ctx.exit(1)


def _say_none(opened: ZarrDataset, dataset: Path) -> None:
    from kymflow_zarr.cli.output.terminal import say

    n_images = len(opened)
    if n_images:
        say(f"none of the {n_images} images in {dataset} match", err=True)
    else:
        say(f"{dataset} holds no images yet; kymflow-zarr ingest adds some.")
