"""``kymflow-zarr explain``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import dataset_argument, debug_option, id_argument, json_option

__all__ = ["explain"]


@click.command(short_help="Show what a result was made of.")
@dataset_argument
@id_argument
@click.argument("name")
@click.option("--roi", type=int, help="Of this region.")
@click.option("--channel", type=int, help="Of this channel, from 1.")
@click.option("--variant", help="This variant; the one that counts if left out.")
@json_option
@debug_option
def explain(
    dataset: Path,
    image_id: str,
    name: str,
    roi: int | None,
    channel: int | None,
    variant: str | None,
    as_json: bool,
) -> None:
    """Show what the result NAME of one image of DATASET was made by and made of, as a tree.

    \b
    Examples:
      kymflow-zarr explain all.zarr 20250715_A87_0001.tif velocity
      kymflow-zarr explain all.zarr 3f9a velocity --roi 2
      kymflow-zarr explain all.zarr 3f9a velocity --json | jq '.inputs[].kind'
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.terminal import print_json

    with ZarrDataset(dataset, mode="r") as ds:
        record = ds.find(image_id)
        if as_json:
            result = record.result(name, roi=roi, channel=channel, variant=variant)
            print_json(result.to_dict())
        else:
            click.echo(record.explain(name, roi=roi, channel=channel, variant=variant))
