"""``kymflow-zarr export``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import (
    choice_options,
    dataset_argument,
    debug_option,
    executor_of,
    json_option,
    workers_options,
)
from kymflow_zarr.types import ExportLayout

__all__ = ["export"]


@click.command(short_help="Write a dataset as a folder of TIFF, JSON and CSV.")
@dataset_argument
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--no-tiff", is_flag=True, help="Leave out the pixels.")
@click.option("--no-tables", is_flag=True, help="Leave out the tables of the dataset.")
@click.option(
    "--layout",
    type=click.Choice(["dataset", "kymflow", "acqstore"]),
    default="dataset",
    show_default=True,
    help="A folder for each image, or the folders that the dataset came from.",
)
@choice_options
@workers_options
@json_option
@debug_option
@click.pass_context
def export(
    ctx: click.Context,
    dataset: Path,
    folder: Path,
    no_tiff: bool,
    no_tables: bool,
    layout: ExportLayout,
    ids: tuple[str, ...],
    where: tuple[str, ...],
    workers: int | None,
    processes: int | None,
    as_json: bool,
) -> None:
    """Write DATASET to FOLDER as files that every program reads: TIFF, JSON, CSV.

    An earlier export of the dataset is brought up to date; files that are not the export's
    own are never overwritten. What cannot be read is reported and skipped; its files of an
    earlier export stay as they are.

    With --layout kymflow the original folders are restored, and every file that differs from the
    original is named. Nothing in FOLDER is overwritten or removed then. --layout acqstore does
    the same, and writes metadata and regions as the sidecars of acqstore.

    With --ids or --where only those images are exported, and the tables whole. Files of other
    images from an earlier export to FOLDER are removed.

    \b
    Examples:
      kymflow-zarr export all.zarr out
      kymflow-zarr export all.zarr drug --where condition=Drug
      kymflow-zarr export all.zarr tables-only --no-tiff
      kymflow-zarr export all.zarr back --layout kymflow

    Exits with 1 if a part of the dataset could not be read.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.look.images import chosen_ids
    from kymflow_zarr.cli.output.terminal import print_json, progress_bar, screen

    with (
        ZarrDataset(dataset, mode="r") as ds,
        executor_of(workers, processes) as executor,
        progress_bar("Exporting") as progress,
    ):
        chosen = chosen_ids(ds, ids, where)
        report = ds.export_legacy_folder(
            folder,
            include_tiff=not no_tiff,
            include_tables=not no_tables,
            layout=layout,
            image_ids=chosen,
            progress=progress,
            executor=executor,
        )
        n_images = len(ds) if chosen is None else len(chosen)
    if as_json:
        print_json({"folder": str(folder), **report.to_dict()})
    else:
        counts = [f"{len(report.written)} written now"]
        counts += [f"{len(report.removed)} removed"] if report.removed else []
        counts += [f"{len(report.differences)} not as they were"] if report.differences else []
        console = screen()
        console.print(
            f"{len(report.files)} files of {n_images} images in {folder}: {', '.join(counts)}",
        )
        for difference in report.differences:
            console.print(f"not as it was: {difference}")
        for failure in report.failed:
            console.print(f"failed: {failure}", style="red")
        for path in report.kept:
            console.print(f"kept, since it was changed after an earlier export: {path}")
    if report.failed:
        ctx.exit(1)
