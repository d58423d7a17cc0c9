"""``kymflow-zarr migrate``."""

from __future__ import annotations

from pathlib import Path

import click

from kymflow_zarr.cli.options import debug_option, json_option

__all__ = ["migrate"]


@click.command(short_help="Carry a dataset of format version 1 over to version 2.")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path), required=False)
@click.option("--in-place", is_flag=True, help="Put the new dataset in the place of the old one.")
@json_option
@debug_option
@click.pass_context
def migrate(ctx: click.Context, old: Path, new: Path | None, in_place: bool, as_json: bool) -> None:
    """Migrate OLD, a dataset of format version 1, to NEW, in version 2.

    OLD is only read, and everything that was migrated is compared with it. An interrupted migration
    resumes when the command is run again. In place, the new dataset takes the name of the old one
    after everything was found equal, and the old one is kept beside it.

    \b
    Examples:
      kymflow-zarr migrate old.zarr new.zarr     leave old.zarr as it is
      kymflow-zarr migrate lab.zarr --in-place   keep the old one as lab.zarr.v1-backup

    Exits with 1 if something could not be migrated; in place, nothing is renamed then.
    """
    from kymflow_zarr import migrate_dataset, migrate_in_place
    from kymflow_zarr.cli.output.terminal import command_line, print_json, progress_bar, screen

    if in_place == (new is not None):
        raise click.UsageError("Give either NEW or --in-place.")
    with progress_bar("Migrating") as progress:
        if new is None:
            report = migrate_in_place(old, progress=progress)
        else:
            report = migrate_dataset(old, new, progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        console = screen()
        counts = [
            (len(report.migrated), "migrated"),
            (len(report.unchanged), "unchanged"),
            (len(report.failed), "failed"),
        ]
        summary = ", ".join(f"{n} {word}" for n, word in counts if n or word == "migrated")
        console.print(f"{summary}: images, tables and files")
        for item in report.items:
            if item.reason is not None:
                console.print(
                    f"{item.status} {item.kind} {item.name}: {item.reason}", soft_wrap=True
                )
        if report.backup is not None:
            console.print(f"the old dataset is kept as {report.backup}", soft_wrap=True)
        if not report.ok and in_place:
            summary = f"{old} is as it was; what was carried over is in {report.new}"
            console.print(summary, soft_wrap=True)
        hint = command_line("kymflow-zarr", "ls", report.new)
        console.print(f"{report.new} is in format version 2: {hint}", style="dim", soft_wrap=True)
    if not report.ok:
        ctx.exit(1)
