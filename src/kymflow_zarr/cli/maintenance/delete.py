"""``kymflow-zarr delete``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import choice_options, dataset_argument, debug_option

__all__ = ["delete"]

_SHOWN = 5


@click.command(short_help="Delete images of a dataset.")
@dataset_argument
@choice_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@debug_option
def delete(dataset: Path, ids: tuple[str, ...], where: tuple[str, ...], yes: bool) -> None:
    """Delete images of DATASET with their artifacts, and their rows in its tables.

    Says which, and asks, before anything is deleted. Files that the images came from are left
    alone, and a later scan of their folder takes them in again.

    \b
    Examples:
      kymflow-zarr delete all.zarr --ids 20250715_A87_0001.tif
      kymflow-zarr delete all.zarr --where verdict=rejected
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.look.images import chosen_ids
    from kymflow_zarr.cli.output.terminal import say

    with ZarrDataset(dataset, mode="r+") as ds:
        chosen = chosen_ids(ds, ids, where)
        if chosen is None:
            raise click.UsageError("Say which images: --ids or --where.")
        names = ds.image_names()
        called = [names.get(image_id, image_id) for image_id in chosen]
        more = "" if len(called) <= _SHOWN else f" and {len(called) - _SHOWN} more"
        if not chosen:
            say(f"none of the {len(ds)} images match; nothing was deleted")
            return
        say(f"{len(called)} of {len(ds)} images: {', '.join(called[:_SHOWN])}{more}")
        if not (yes or click.confirm("Delete them?")):
            say("nothing was deleted")
            return
        n_rows = sum(ds.delete_image(image_id) for image_id in chosen)
    say(f"deleted {len(chosen)} images and {n_rows} rows of tables")
