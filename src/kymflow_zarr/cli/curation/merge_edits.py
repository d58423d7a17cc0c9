"""``kymflow-zarr merge-edits``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import (
    DatasetParameter,
    dataset_argument,
    debug_option,
    json_option,
)

__all__ = ["merge_edits"]


@click.command("merge-edits", short_help="Take over the edits of a copy that was edited apart.")
@dataset_argument
@click.argument("other", type=DatasetParameter())
@json_option
@debug_option
@click.pass_context
def merge_edits(ctx: click.Context, dataset: Path, other: Path, as_json: bool) -> None:
    """Take over into DATASET the verdicts, notes, regions, metadata and events of OTHER.

    OTHER is a copy of DATASET that somebody else edited, such as an .ozx file that came back by
    mail. Where both changed the same value, the later edit is kept and named; of two notes both
    texts are kept. Both histories are kept whole.

    \b
    Examples:
      kymflow-zarr merge-edits all.zarr from_ada.ozx
      kymflow-zarr merge-edits all.zarr from_ada.zarr --json

    Exits with 1 if there are conflicts.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.terminal import print_json, progress_bar, say

    with (
        ZarrDataset(dataset, mode="r+") as ds,
        ZarrDataset(other, mode="r") as copy,
        progress_bar("Merging") as progress,
    ):
        report = ds.merge_edits(copy, progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        for line in str(report).splitlines():
            say(line)
    if report.conflicts:
        ctx.exit(1)
