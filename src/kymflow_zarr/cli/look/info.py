"""``kymflow-zarr info``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import dataset_argument, debug_option, json_option

__all__ = ["info"]


@click.command(short_help="What a dataset holds, how large it is, since when, who judged.")
@dataset_argument
@json_option
@debug_option
def info(dataset: Path, as_json: bool) -> None:
    """Say what DATASET holds: images, verdicts, artifacts, tables; its size; since when; who.

    \b
    Examples:
      kymflow-zarr info all.zarr
      kymflow-zarr info all.zarr --json
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.terminal import print_json, say

    with ZarrDataset(dataset, mode="r") as ds:
        facts = ds.info()
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {n}" for key, n in value.items()) or "none"
        say(f"{name.replace('_', ' '):<14} {value}")
