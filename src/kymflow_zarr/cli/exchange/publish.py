"""``kymflow-zarr publish``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import DatasetParameter, debug_option, json_option

__all__ = ["publish"]


@click.command(short_help="Write a dataset with its page as files for a static web host.")
@click.argument("source", type=DatasetParameter())
@click.argument("target", type=DatasetParameter())
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@json_option
@debug_option
@click.pass_context
def publish(
    ctx: click.Context, source: Path | str, target: Path | str, dry_run: bool, as_json: bool
) -> None:
    """Write the dataset SOURCE, with its page, to TARGET: a folder or a bucket.

    Any static web host that answers Range requests then serves it: to a browser the page, which
    shows and changes nothing; to Python the dataset, at the same address. Running it again writes
    only what differs, and continues a run that was interrupted. Credentials come from the
    environment.

    \b
    Examples:
      kymflow-zarr publish lab.zarr public/lab.zarr
      kymflow-zarr publish lab.zarr s3://bucket/lab.zarr

    Exits with 1 if an image could not be published.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.terminal import print_json, progress_bar, screen

    with ZarrDataset(source, mode="r") as ds, progress_bar("Publishing") as progress:
        report = ds.publish(target, dry_run=dry_run, progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        screen().print(str(report), soft_wrap=True, markup=False, highlight=False)
    if not report.ok:
        ctx.exit(1)
