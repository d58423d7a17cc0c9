"""``kymflow-zarr copy``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import DatasetParameter, debug_option, json_option, shared_option

__all__ = ["copy"]


@click.command(short_help="Copy a dataset between folders, buckets and web hosts.")
@click.argument("source", type=DatasetParameter())
@click.argument("target", type=DatasetParameter())
@shared_option
@click.option("--overwrite", is_flag=True, help="Let SOURCE win over what changed in TARGET.")
@click.option("--delete", is_flag=True, help="Delete images that SOURCE has not any more.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@json_option
@debug_option
@click.pass_context
def copy(
    ctx: click.Context,
    source: Path | str,
    target: Path | str,
    shared: bool,
    overwrite: bool,
    delete: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Copy the dataset SOURCE to TARGET; either is a folder or an address.

    Only what differs is copied, and every byte is compared with its digest. An interrupted copy is
    continued by running the command again. What was changed in TARGET since the last copy stays;
    what was changed in both is a conflict. Credentials come from the environment.

    \b
    Examples:
      kymflow-zarr copy lab.zarr s3://bucket/lab.zarr            to a bucket
      kymflow-zarr copy s3://bucket/lab.zarr laptop.zarr         and to a laptop
      kymflow-zarr copy laptop.zarr s3://bucket/lab.zarr         one's changes back
      kymflow-zarr copy --shared lab.zarr /mnt/lab/shared.zarr   for several computers to write to

    Exits with 1 if something failed or is in conflict.
    """
    from kymflow_zarr import copy_dataset
    from kymflow_zarr.cli.output.terminal import print_json, progress_bar, screen

    with progress_bar("Copying") as progress:
        report = copy_dataset(
            source, target, shared=shared, overwrite=overwrite, delete=delete, dry_run=dry_run,
            progress=progress,
        )  # fmt: skip
    if as_json:
        print_json(report.to_dict())
    else:
        screen().print(str(report), soft_wrap=True, markup=False, highlight=False)
    if not report.ok:
        ctx.exit(1)
