"""``kymflow-zarr metadata``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kymflow_zarr.cli.options import dataset_argument, debug_option, json_option
from kymflow_zarr.errors import ArgumentError

__all__ = ["metadata"]


@click.command(short_help="Set metadata of many images from a sheet or from folders.")
@dataset_argument
@click.argument("sheet", required=False, type=click.Path(path_type=Path))
@click.option("--key", metavar="COLUMN", help="Names the images; the first column if left out.")
@click.option(
    "--folders", metavar="A,B,...", help="What the folders of the files mean, the innermost last."
)
@click.option(
    "--fields", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="JSON: the fields of the lab, with type, choices, unit and required.",
)  # fmt: skip
@click.option("--who", metavar="NAME", help="For the history; the user if left out.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@json_option
@debug_option
@click.pass_context
def metadata(
    ctx: click.Context,
    dataset: Path,
    sheet: Path | None,
    key: str | None,
    folders: str | None,
    fields: Path | None,
    who: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Set metadata of the images of DATASET from SHEET, a CSV or Excel file.

    The first row of SHEET names its columns; one of them names the images. What is wrong is
    refused by cell and named; the rest is one commit. Without SHEET and --folders, values that
    deviate from the fields of the lab are listed.

    \b
    Examples:
      kymflow-zarr metadata all.zarr animals.xlsx --key file
      kymflow-zarr metadata all.zarr --folders condition,animal
      kymflow-zarr metadata all.zarr --fields fields.json

    Exits with 1 if a cell was refused, or a value deviates.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.cells import print_frame
    from kymflow_zarr.cli.output.terminal import print_json, say

    if sheet is not None and folders is not None:
        raise click.UsageError("Give one of SHEET and --folders.")
    writes = fields is not None or sheet is not None or folders is not None
    with ZarrDataset(dataset, mode="r+" if writes and not dry_run else "r") as ds:
        if fields is not None and not dry_run:
            ds.save_metadata_fields(_read(fields))
        if sheet is None and folders is None:
            deviations = ds.check_metadata()
            print_frame(deviations, "json" if as_json else None)
            ctx.exit(1 if len(deviations) else 0)
        names = [name.strip() for name in (folders or "").split(",") if name.strip()]
        table = sheet if sheet is not None else ds.folder_sheet(names)
        report = ds.import_metadata(table, key=key, who=who, dry_run=dry_run)
    if as_json:
        print_json(report.to_dict())
    else:
        for line in str(report).splitlines():
            say(line)
    if report.refused:
        ctx.exit(1)


def _read(path: Path) -> dict[str, dict[str, object]]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArgumentError(f"the fields are not JSON: {error}", where=str(path)) from error
    if not isinstance(fields, dict) or not all(isinstance(v, dict) for v in fields.values()):
        raise ArgumentError(
            "the fields are no object of objects", where=str(path),
            hint='{"condition": {"choices": ["Control", "Drug"], "required": true}} is one.',
        )  # fmt: skip
    return fields
