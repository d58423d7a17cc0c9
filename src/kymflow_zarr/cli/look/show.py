"""``kymflow-zarr show``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kymflow_zarr.cli.options import dataset_argument, debug_option, id_argument, json_option
from kymflow_zarr.errors import KymflowZarrError, SchemaValidationError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from kymflow_zarr import ZarrDataset, ZarrImageRecord

__all__ = ["show"]

T = TypeVar("T")


@click.command(short_help="Show all about one image.")
@dataset_argument
@id_argument
@click.option(
    "--picture/--no-picture",
    default=None,
    help="Draw it with characters; on a terminal it is, if nothing is said.",
)
@json_option
@debug_option
@click.pass_context
def show(
    ctx: click.Context, dataset: Path, image_id: str, picture: bool | None, as_json: bool
) -> None:
    """Show one image of DATASET: a small picture, axes, metadata, regions, artifacts, tables.

    ID is the name of a file, with folders where several have it, or an image id or the beginning
    of one.

    \b
    Examples:
      kymflow-zarr show all.zarr 20250715_A87_0001.tif
      kymflow-zarr show all.zarr 3f9a
      kymflow-zarr show all.zarr 3f9a --no-picture
      kymflow-zarr show all.zarr 3f9a --json | jq .metadata.experiment_metadata

    Exits with 1 if the metadata or a table cannot be read; all else is shown.
    """
    from kymflow_zarr import ZarrDataset
    from kymflow_zarr.cli.output.facts import image_facts, metadata_of
    from kymflow_zarr.cli.output.picture import print_glance
    from kymflow_zarr.cli.output.terminal import print_json, screen

    damaged: dict[str, str] = {}

    def readable(part: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except KymflowZarrError as error:
            damaged[part] = str(error)
            return otherwise

    with ZarrDataset(dataset, mode="r") as ds:
        record = ds.find(image_id)
        metadata: Any = readable("metadata", lambda: metadata_of(record), {})
        names: list[str] = readable("tables", ds.list_table_names, [])
        rows = {
            name: readable(f"table {name}", partial(_table_rows, ds, name, record.image_id), None)
            for name in names
        }
        facts = {
            **image_facts(record, metadata),
            "channel_names": record.channel_names,
            "metadata": metadata,
            **_judged(record),
            "artifacts": [dataclasses.asdict(artifact) for artifact in record.list_artifacts()],
            "array_artifacts": record.list_array_artifacts(),
            "table_rows": {name: n for name, n in rows.items() if n is not None},
            "damaged": damaged,
        }
        if as_json:
            print_json(facts)
        else:
            console = screen()
            console.print(facts["image_id"], style="bold cyan")
            if console.is_terminal if picture is None else picture:
                print_glance(console, record)
            _print_image(console, facts)
    if damaged:
        ctx.exit(1)


def _judged(record: ZarrImageRecord) -> dict[str, str | None]:
    """Return verdict and note, if the artifact of that name is a valid curation."""
    try:
        curation = record.curation()
    except SchemaValidationError as error:
        return {"verdict": None, "note": None, "curation_error": str(error)}
    return {"verdict": curation.verdict, "note": curation.note}


def _table_rows(dataset: ZarrDataset, name: str, image_id: str) -> int | None:
    """Count the rows of a table that name the image; None if no column names images."""
    table = dataset.load_table(name)
    if [str(label) for label in table.columns].count("image_id") != 1:
        return None
    # Compare cell by cell: == of some Arrow types with text raises.
    return sum(1 for cell in table["image_id"] if _is_text(cell, image_id))


def _is_text(value: object, text: str) -> bool:
    return isinstance(value, str) and value == text


def _print_image(console: Console, facts: dict[str, Any]) -> None:
    from kymflow_zarr.cli.output.facts import axes_text, local_minute, part_of, shape_text
    from kymflow_zarr.cli.output.terminal import print_title

    _print_pairs(
        console,
        {
            "shape": f"{shape_text(facts['shape'])}  {facts['dtype']}",
            "axes": axes_text(facts["axes"]),
            "channels": ", ".join(facts["channel_names"] or ()),
            "acquired": (facts["acquired"] or "").replace("T", " "),
            "created": local_minute(facts["created_utc"]),
            "source": facts["source"],
            "verdict": facts["verdict"],
            "note": facts["note"],
            "curation": facts.get("curation_error"),
        },
    )
    metadata = facts["metadata"]
    experiment = part_of(metadata, "experiment_metadata")
    if not all(map(_is_blank, experiment.values())):
        print_title(console, "Metadata")
        _print_pairs(console, experiment)
    rois = metadata.get("rois") if isinstance(metadata, dict) else None
    if isinstance(rois, list) and rois:
        print_title(console, "Regions")
        _print_regions(console, rois)
    if facts["artifacts"] or facts["array_artifacts"]:
        print_title(console, "Artifacts")
        _print_artifacts(console, facts["artifacts"], facts["array_artifacts"])
    if facts["table_rows"]:
        print_title(console, "Rows in tables")
        _print_pairs(console, facts["table_rows"])
    if facts["damaged"]:
        print_title(console, "Damaged")
        _print_pairs(console, facts["damaged"])


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value)


def _print_pairs(console: Console, pairs: Mapping[Any, Any]) -> None:
    """Print names and values; omit those without a value."""
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs.items():
        if not _is_blank(value):
            # Keep the line breaks of a note.
            grid.add_row(str(name), Text(printable(str(value), keep="\n\t")))
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))


def _print_artifacts(
    console: Console, artifacts: Sequence[Mapping[str, Any]], arrays: Sequence[str]
) -> None:
    from rich.padding import Padding

    from kymflow_zarr.cli.output.terminal import add_column, new_table

    table = new_table()
    add_column(table, "name", keep=True)
    add_column(table, "kind", keep=True)
    add_column(table, "size", justify="right", keep=True)
    for artifact in artifacts:
        n_bytes = artifact["size_bytes"]
        size = f"{n_bytes / 1000:.1f} kB" if n_bytes >= 1000 else f"{n_bytes} B"
        table.add_row(artifact["name"], artifact["kind"], size)
    for name in arrays:
        table.add_row(name, "array")
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _print_regions(console: Console, rois: Sequence[Any]) -> None:
    from rich.padding import Padding

    from kymflow_zarr.cli.output.facts import part_of
    from kymflow_zarr.cli.output.terminal import add_column, new_table

    table = new_table()
    add_column(table, "id", justify="right", keep=True)
    add_column(table, "kind", keep=True)
    add_column(table, "y", justify="right", keep=True)
    add_column(table, "x", justify="right", keep=True)
    add_column(table, "name", overflow="ellipsis")
    for roi in rois:
        if not isinstance(roi, dict):
            table.add_row("", "", "", "", f"no region: {roi!r}")
            continue
        # Regions are nested since payload version 1.0, and flat before.
        data = part_of(roi, "data")
        y = (roi.get("dim0_start", data.get("y0")), roi.get("dim0_stop", data.get("y1")))
        x = (roi.get("dim1_start", data.get("x0")), roi.get("dim1_stop", data.get("x1")))
        table.add_row(
            str(roi.get("roi_id", roi.get("id", ""))),
            str(roi.get("roi_type", "rect")),
            _span_text(y),
            _span_text(x),
            next((str(roi[key]) for key in ("name", "note") if not _is_blank(roi.get(key))), ""),
        )
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _span_text(span: tuple[Any, Any]) -> str:
    return "" if any(end is None for end in span) else f"{span[0]}:{span[1]}"
