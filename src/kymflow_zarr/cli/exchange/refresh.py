"""``kymflow-zarr refresh``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from kymflow_zarr.cli.exchange.ingest import print_ingested
from kymflow_zarr.cli.options import (
    DatasetParameter,
    debug_option,
    executor_of,
    json_option,
    workers_options,
)

if TYPE_CHECKING:
    from typing import Literal

__all__ = ["refresh"]


@click.command(short_help="Scan a folder again and bring the dataset up to date.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("dataset", type=DatasetParameter())
@click.option("--pattern", default="*.tif", show_default=True, help="Which files of the folder.")
@click.option(
    "--mode",
    type=click.Choice(["skip", "reingest_if_changed"]),
    default="skip",
    show_default=True,
    help="Whether images whose files have changed are left alone or updated in place.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--overwrite-edits", is_flag=True, help="Let changed files win over your edits.")
@click.option("--no-sidecars", is_flag=True, help="Look at the TIFFs alone.")
@workers_options
@json_option
@debug_option
@click.pass_context
def refresh(
    ctx: click.Context,
    folder: Path,
    dataset: Path,
    pattern: str,
    mode: str,
    dry_run: bool,
    overwrite_edits: bool,
    no_sidecars: bool,
    workers: int | None,
    processes: int | None,
    as_json: bool,
) -> None:
    """Scan FOLDER again: add what is new, find what has moved, update what has changed.

    If nothing has changed, no file is opened or written. Images whose files are gone stay. Your
    edits in the dataset stay, and the report names conflicts.

    \b
    Examples:
      kymflow-zarr refresh ~/data/experiment all.zarr --dry-run
      kymflow-zarr refresh ~/data/experiment all.zarr --mode reingest_if_changed

    Exits with 1 if a file could not be read.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.terminal import print_json, progress_bar, screen

    with ZarrDataset(dataset, mode="r" if dry_run else "r+") as ds:
        with executor_of(workers, processes) as executor, progress_bar("Scanning") as progress:
            result = ds.refresh_from_folder(
                folder,
                pattern,
                cast("Literal['skip', 'reingest_if_changed']", mode),
                include_sidecars=not no_sidecars,
                dry_run=dry_run,
                overwrite_edits=overwrite_edits,
                progress=progress,
                executor=executor,
            )
        n_images = len(ds)
    if as_json:
        changed = {"dataset": str(dataset), "dry_run": dry_run, "changed": list(result)}
        print_json({**changed, "n_images": n_images, **result.report.to_dict()})
    else:
        if dry_run:
            screen().print("A dry run: nothing was changed.")
        print_ingested(screen(), result.report)
    if result.report.failed:
        ctx.exit(1)
