"""``kymflow-zarr verify``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import (
    dataset_argument,
    debug_option,
    executor_of,
    json_option,
    workers_options,
)

__all__ = ["verify"]


@click.command(short_help="Check every byte of a dataset against its checksum.")
@dataset_argument
@click.option("--fast", is_flag=True, help="Look at presence and size of the files only.")
@workers_options
@json_option
@debug_option
@click.pass_context
def verify(
    ctx: click.Context,
    dataset: Path,
    fast: bool,
    workers: int | None,
    processes: int | None,
    as_json: bool,
) -> None:
    """Check that every file of DATASET is there, with the bytes that were written.

    Nothing is written, and other programs may write meanwhile. Each damage is reported with the
    image and the artifact that it belongs to.

    \b
    Examples:
      kymflow-zarr verify all.zarr
      kymflow-zarr verify all.zarr --fast        find lost files in a moment
      kymflow-zarr verify all.zarr --json | jq '.damages[].where'

    Exits with 1 if something is damaged; warnings do not count.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.terminal import (
        add_column,
        command_line,
        new_table,
        print_json,
        progress_bar,
        screen,
    )

    with (
        ZarrDataset(dataset, mode="r") as ds,
        executor_of(workers, processes) as executor,
        progress_bar("Verifying") as progress,
    ):
        report = ds.verify(level="fast" if fast else "full", progress=progress, executor=executor)
    if as_json:
        print_json(report.to_dict())
    else:
        console = screen()
        if report.damages:
            table = new_table()
            for title in ("", "code", "where"):
                add_column(table, title, keep=True)
            add_column(table, "what")
            for damage in report.damages:
                message = f"{damage.part}: {damage.what}. {damage.advice}"
                table.add_row(damage.severity, damage.code, damage.where, message)
            console.print(table)
            console.print()
        read = "sizes only" if fast else f"{report.bytes_checked} bytes"
        n_warnings = len(report.warnings)
        verdict = "whole" if report.ok else "damaged"
        counts = f", {len(report.errors)} errors, {n_warnings} warnings" if report.damages else ""
        console.print(
            f"{verdict}  {report.images_checked} images, {report.files_checked} files, "
            f"{read}{counts}",
            style="green" if report.ok else "red",
            soft_wrap=True,
        )
        if not report.ok:
            hint = command_line("kymflow-zarr", "repair", dataset)
            console.print(f"what can be done: {hint}", style="dim", soft_wrap=True)
    if not report.ok:
        ctx.exit(1)
