"""``kymflow-zarr pyramids``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import dataset_argument, debug_option, json_option

__all__ = ["pyramids"]


@click.command(short_help="Add smaller versions of large images.")
@dataset_argument
@json_option
@debug_option
def pyramids(dataset: Path, as_json: bool) -> None:
    """Add smaller versions (levels) of the large images of DATASET that have none.

    Viewers read them instead of all pixels. Images get theirs when they are added; this is for
    datasets of earlier versions.

    \b
    Examples:
      kymflow-zarr pyramids all.zarr             build what is missing
      kymflow-zarr pyramids all.zarr --json      the ids of the images that got levels
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.terminal import print_json, progress_bar, say

    with ZarrDataset(dataset, mode="r+") as ds, progress_bar("Building") as progress:
        built = ds.build_pyramids(progress=progress)
        count = len(ds)
    if as_json:
        print_json({"built": built})
    else:
        say(f"{len(built)} of {count} images got smaller versions")
