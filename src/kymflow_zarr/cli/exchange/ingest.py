"""``kymflow-zarr ingest``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kymflow_zarr.cli.options import (
    DatasetParameter,
    debug_option,
    executor_of,
    json_option,
    shared_option,
    workers_options,
)

if TYPE_CHECKING:
    from rich.console import Console

    from kymflow_zarr import IngestReport, ZarrDataset

__all__ = ["ingest", "print_ingested"]

_STYLES = {"ingested": "green", "unchanged": "dim", "skipped": "yellow", "failed": "red"}


@click.command(short_help="Read TIFFs and what lies beside them into a dataset.")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("dataset", type=DatasetParameter(), required=False)
@click.option("--pattern", default="*.tif", show_default=True, help="Which files of a folder.")
@click.option("--no-sidecars", is_flag=True, help="Pixels alone: no metadata, no analysis.")
@click.option("--verify", is_flag=True, help="Read each image back and compare it with its file.")
@click.option("--keep-original", is_flag=True, help="Keep the image files in the dataset too.")
@shared_option
@workers_options
@json_option
@debug_option
@click.pass_context
def ingest(
    ctx: click.Context,
    source: Path,
    dataset: Path | None,
    pattern: str,
    no_sidecars: bool,
    verify: bool,
    keep_original: bool,
    shared: bool,
    workers: int | None,
    processes: int | None,
    as_json: bool,
) -> None:
    """Read SOURCE, a folder of TIFFs or one TIFF, into DATASET.

    DATASET is created if missing; it defaults to SOURCE's name with .zarr, in the current folder.
    Images already in it are skipped, so the command resumes after an interrupt. A file that cannot
    be read is reported and skipped.

    \b
    Examples:
      kymflow-zarr ingest ~/data/experiment
      kymflow-zarr ingest ~/data/experiment all.zarr --pattern "*_C001*.tif"
      kymflow-zarr ingest ~/data/vessel.tif all.zarr
      kymflow-zarr ingest ~/data/microscope all.zarr --pattern "*.czi" --keep-original

    Exits with 1 if a file of a folder could not be read, with 2 if there was none to read.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.terminal import command_line, print_json, progress_bar, screen
    from kymflow_zarr.errors import ArgumentError, SourceNotFoundError
    from kymflow_zarr.ingest.folder.folder import find_tiffs
    from kymflow_zarr.ingest.sources.registry import open_image_file

    # Check the arguments before a dataset is created on the disk.
    if not source.exists():
        raise SourceNotFoundError(
            "there is no such file or folder", where=str(source), hint="Check the path."
        )
    if (source / "zarr.json").is_file():
        raise ArgumentError(
            "this is a dataset, not a folder of TIFFs",
            where=str(source),
            hint="kymflow-zarr ls lists its images; kymflow-zarr export writes TIFFs of them.",
        )
    if source.is_dir():
        if not find_tiffs(source, pattern):
            hint = "--pattern says which files to take."
            raise SourceNotFoundError(f"no file matches {pattern!r}", where=str(source), hint=hint)
    else:
        open_image_file(source).close()
    if dataset is None:
        dataset = Path(f"{source.resolve().name if source.is_dir() else source.stem}.zarr")
    with (
        executor_of(workers, processes) as executor,
        ZarrDataset(dataset, mode="a", shared=shared) as ds,
    ):
        if source.is_dir():
            with progress_bar("Ingesting") as progress:
                report = ds.ingest_legacy_folder(
                    source,
                    pattern=pattern,
                    include_sidecars=not no_sidecars,
                    verify=verify,
                    keep_original=keep_original,
                    progress=progress,
                    executor=executor,
                )
        else:
            report = _ingest_file(
                ds,
                source,
                include_sidecars=not no_sidecars,
                verify=verify,
                keep_original=keep_original,
            )
        n_images = len(ds)
    if as_json:
        print_json({"dataset": str(dataset), "n_images": n_images, **report.to_dict()})
    else:
        console = screen()
        print_ingested(console, report)
        if report.skipped:
            console.print(
                "Skipped files were left as they are; where one has changed since it was ingested, "
                "kymflow-zarr refresh --mode reingest_if_changed updates it.",
                style="dim",
                soft_wrap=True,
            )
        hint = command_line("kymflow-zarr", "ls", dataset)
        console.print(f"{dataset} holds {n_images} images: {hint}", style="dim")
    if report.failed:
        ctx.exit(1)


def _ingest_file(
    dataset: ZarrDataset,
    source: Path,
    *,
    include_sidecars: bool,
    verify: bool,
    keep_original: bool,
) -> IngestReport:
    from kymflow_zarr import IngestItem, IngestReport

    before = set(dataset.list_image_ids())
    image_id = dataset.ingest_tiff(
        source,
        include_sidecars=include_sidecars,
        verify=verify,
        keep_original=keep_original,
    ).image_id
    item = IngestItem("unchanged" if image_id in before else "ingested", str(source), image_id)
    return IngestReport(str(source.parent), (item,))


def print_ingested(console: Console, report: IngestReport) -> None:
    """Print the number of ingested images, and the other files with reasons."""
    from rich.text import Text

    from kymflow_zarr.cli.output.terminal import add_column, new_table

    counted = [
        (f"{count} {status}", _STYLES.get(status, ""))
        for status, count in report.to_dict()["counts"].items()
        if count or status == "ingested"
    ]
    if report.results:
        counted.append((f"{report.results} results of other programs", ""))
    console.print(Text(", ").join(Text(text, style) for text, style in counted))
    reported = [item for item in report.items if item.reason is not None]
    if reported:
        table = new_table()
        add_column(table, "", keep=True)
        add_column(table, "file")
        add_column(table, "why")
        for item in reported:
            table.add_row(Text(item.status, _STYLES.get(item.status, "")), item.path, item.reason)
        console.print(table)
