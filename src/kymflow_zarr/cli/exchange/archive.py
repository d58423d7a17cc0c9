"""``kymflow-zarr archive``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kymflow_zarr.cli.options import choice_options, dataset_argument, debug_option, json_option

if TYPE_CHECKING:
    from kymflow_zarr import ExportReport

__all__ = ["archive"]


@click.command(short_help="Write NWB files or an RO-Crate, as public archives take them.")
@dataset_argument
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--as", "form", type=click.Choice(["nwb", "ro-crate", "acq-collection", "scene"]),
    required=True,
    help="NWB files, one for each session; one packed file with a description; the OME-Zarr of "
    "many images that acqstore publishes; or a line scan (--ids) in the picture of its line, as a "
    "scene of OME-Zarr 0.6.",
)  # fmt: skip
@click.option(
    "--set", "pairs", multiple=True, metavar="KEY=VALUE",
    help="A value of all images that have none of their own.",
)  # fmt: skip
@click.option(
    "--metadata", "file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A JSON file with such values.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="List what is missing, and write nothing.")
@choice_options
@json_option
@debug_option
@click.pass_context
def archive(
    ctx: click.Context,
    dataset: Path,
    folder: Path,
    form: str,
    pairs: tuple[str, ...],
    file: Path | None,
    dry_run: bool,
    ids: tuple[str, ...],
    where: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write DATASET to FOLDER in a form that public archives take.

    What an archive requires and the dataset does not have is listed, with where to type it, and
    nothing is written then. --dry-run does only that.

    \b
    Examples:
      kymflow-zarr archive all.zarr upload --as nwb --dry-run
      kymflow-zarr archive all.zarr upload --as nwb --set timezone=Europe/Berlin --set species=mouse
      kymflow-zarr archive all.zarr crate --as ro-crate --metadata study.json

    Exits with 1 if something is missing.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.look.images import chosen_ids
    from kymflow_zarr.cli.output.terminal import print_json, progress_bar, screen

    given = _given(pairs, file)
    if form in ("acq-collection", "scene") and (given or dry_run):
        raise click.UsageError(f"--as {form} takes no --set, --metadata or --dry-run.")
    if form == "scene" and (len(ids) not in (1, 2) or where):
        raise click.UsageError("--as scene takes --ids of the line scan, and of its picture.")
    with ZarrDataset(dataset, mode="r") as ds, progress_bar("Writing") as progress:
        if form == "scene":
            ds.export_scene(folder, *ids)
            return
        chosen = chosen_ids(ds, ids, where)
        if form == "acq-collection":
            _print(ds.export_acq_collection(folder, image_ids=chosen, progress=progress), as_json)
            return
        export = ds.export_nwb if form == "nwb" else ds.export_ro_crate
        report = export(folder, metadata=given, image_ids=chosen, dry_run=True)
        if report.ok and not dry_run:
            report = export(folder, metadata=given, image_ids=chosen, progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        console = screen()
        written = report.ok and not dry_run
        for path in report.files if report.ok else ():
            console.print(f"{'' if written else 'would write '}{folder / path}", soft_wrap=True)
        for gap in report.missing:
            console.print(f"missing: {gap}", soft_wrap=True)
        for name in report.left_out:
            console.print(f"left out: {name}", soft_wrap=True)
    if not report.ok:
        ctx.exit(1)


def _print(report: ExportReport, as_json: bool) -> None:
    """Print the report of a collection."""
    from kymflow_zarr.cli.output.terminal import print_json, screen

    if as_json:
        print_json(report.to_dict())
        return
    console = screen()
    console.print(f"{len(report.files)} files in {report.folder}", soft_wrap=True)
    for difference in report.differences:
        console.print(str(difference), soft_wrap=True)


def _given(pairs: tuple[str, ...], file: Path | None) -> dict[str, Any]:
    """Return the values of a file, and over them those of the command line."""
    given: dict[str, Any] = {}
    if file is not None:
        try:
            stated = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise click.UsageError(f"{file} is no JSON: {error}") from None
        if not isinstance(stated, dict):
            raise click.UsageError(f"{file} holds no JSON object.")
        given |= stated
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--set takes KEY=VALUE, not {pair!r}.")
        given[key.strip()] = value.strip()
    return given
